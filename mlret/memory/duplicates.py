"""Whether a new text says what a stored one says, in whatever language: duplicate, related or new, with the evidence.

The evidence is a margin: how much nearer two texts are to each other than each is to its other neighbours. A cosine
alone does not transfer between encoders, nor between the dense and the sparse regions of one. A duplicate must pass a
threshold calibrated on the encoder in use, be the nearest both ways, and have no guard against it. What fails one of
these is linked, not merged: under-merging is meant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from mlret.errors import InputError
from mlret.memory.facts import facts_of
from mlret.memory.guards import conflicts, same_wording, unchecked
from mlret.memory.wording import same_form

NEIGHBOURS = 4
"""Neighbours that a density is averaged over, as in Artetxe and Schwenk, arXiv 1811.01136."""
CANDIDATES = 4
"""Nearest records that are looked at as possible duplicates."""

Kind = Literal["duplicate", "related", "new"]


@dataclass(frozen=True, slots=True)
class DuplicateThresholds:
    """What separates duplicates, related texts and answers from others, for one encoder.

    :func:`mlret.memory.calibration.calibrate` finds it.

    Attributes
    ----------
    fingerprint
        The encoder's.
    duplicate, related
        The least margins. ``duplicate`` may be infinite: then no margin reached the precision that was asked for, and
        only the same text in the same language is a duplicate.
    answer
        The least :func:`~mlret.memory.ranking.confidence` of a search that found something: of those that found the
        right thing in the sample, nine in ten have it.
    densities
        Language -> the usual density around its texts; ``""`` for a language that is not there.
    precision, recall
        What was asked for, and the part of the sample's translations that was found with it.
    texts
        How many texts that rests on.
    """

    fingerprint: str
    duplicate: float
    related: float
    answer: float
    densities: dict[str, float]
    precision: float
    recall: float
    texts: int

    def density(self, language: str | None) -> float:
        """The usual density around texts of a language."""
        code = (language or "").partition("-")[0]
        return self.densities.get(code, self.densities[""])

    def to_dict(self) -> dict[str, Any]:
        """For JSON; an infinite threshold is ``None`` there."""
        return {name: None if value == math.inf else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DuplicateThresholds:
        """What :meth:`to_dict` was called on.

        Raises
        ------
        InputError
            If a key is missing, unknown or of the wrong kind.
        """
        try:
            given: dict[str, Any] = {name: math.inf if value is None else value for name, value in values.items()}
            found = cls(**given)
            numbers = [found.duplicate, found.related, found.answer, found.densities[""], found.precision, found.recall]
            if not all(isinstance(number, int | float) for number in [*numbers, *found.densities.values()]):
                raise TypeError("a threshold or density is no number")
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"not the thresholds of duplicates ({error}); run `mlret memory calibrate` again"
            ) from error
        return found


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored record that may say the same.

    Attributes
    ----------
    id, text, language
        Of the record.
    cosine
        With the new text.
    others
        Its cosines with the ``NEIGHBOURS`` stored records nearest to it.
    more
        What the new text brings that the record does not hold, such as another event time: then it is no duplicate.
    """

    id: str
    text: str
    language: str | None
    cosine: float
    others: Sequence[float] = ()
    more: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a verdict was given, of one candidate.

    ``margin`` is ``cosine - density``, both rounded to six decimals; ``mutual``: whether no other record is nearer to
    either; ``conflicts`` are the guards against it and what the new text brings beyond it; ``unchecked`` are the guards
    that have no list for one of the languages, which rule a duplicate out as well.
    """

    id: str
    cosine: float
    density: float
    margin: float
    mutual: bool
    conflicts: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a new text is: a ``duplicate`` of ``id``, ``related`` to ``id``, or ``new``; ``evidence``, best first."""

    kind: Kind
    id: str | None
    reason: str
    evidence: tuple[Evidence, ...] = field(default=())


def text_key(text: str) -> str:
    """The form in which two texts are the same text: composed, in one width, white space as one blank."""
    return same_form(text)


def density(cosines: ArrayLike, usual: float) -> float:
    """How close a text's neighbours are: the mean of the ``NEIGHBOURS`` highest cosines, but at least the usual.

    A small store is sparse around everything, and would make each text stand out; hence the floor.

    Parameters
    ----------
    cosines
        ``(n,)``, the highest first.
    usual
        :meth:`DuplicateThresholds.density` of the text's language.
    """
    nearest = np.asarray(cosines, dtype=np.float64)[:NEIGHBOURS]
    return max(float(nearest.mean()), usual) if len(nearest) == NEIGHBOURS else usual


def promising(cosine: float, language: str | None, other: str | None, thresholds: DuplicateThresholds) -> bool:
    """Whether a candidate can be more than new at all: where it cannot, the search for its neighbours is spared.

    The languages are those of the new text and of the candidate; the margin is at most the cosine less what is usual.
    """
    usual = (thresholds.density(language) + thresholds.density(other)) / 2
    return cosine - usual >= min(thresholds.related, thresholds.duplicate)


def judge(
    text: str,
    language: str | None,
    candidates: Sequence[Candidate],
    cosines: ArrayLike,
    thresholds: DuplicateThresholds,
) -> Verdict:
    """Say whether a new text is a duplicate of a stored record, related to one, or new.

    The margin is ``cos(x, y) - (d_x + d_y) / 2``, ``d`` the mean cosine with the ``NEIGHBOURS`` nearest others: the
    *distance* margin of Artetxe and Schwenk (arXiv 1811.01136, section 3), half of CSLS. At equal precision it finds
    more translations than the ratio, and needs no care where densities are near zero.

    Parameters
    ----------
    text, language
        The new text; its language, ``None`` if not known.
    candidates
        Stored records of the same scope, the nearest first; :data:`CANDIDATES` are enough.
    cosines
        ``(n,)``: of the new text with the records nearest to it, the highest first, the candidates among them; best
        :data:`CANDIDATES` + :data:`NEIGHBOURS`.
    thresholds
        Of the encoder that made the vectors.

    Returns
    -------
    Verdict
        A duplicate has the same wording and no other language, or it passes the threshold and all guards, none of which
        lacks a list, and is mutual. Where it passes the threshold alone, or that for related texts, it is related.
    """
    new = facts_of(text, language)
    nearest = np.sort(np.asarray(cosines, dtype=np.float64))[::-1]
    found: list[Evidence] = []
    for candidate in candidates:
        of = facts_of(candidate.text, candidate.language)
        others = np.sort(np.asarray(candidate.others, dtype=np.float64))[::-1]
        around = density(_without(nearest, candidate.cosine), thresholds.density(language))
        mean = (around + density(others, thresholds.density(candidate.language))) / 2
        mutual = bool(
            candidate.cosine >= nearest[:1].max(initial=-1.0) and candidate.cosine >= others.max(initial=-1.0)
        )
        blocked = (*candidate.more, *map(str, conflicts(new, of)))
        missing = tuple(unchecked(new, of))
        if same_wording(new, of) and not candidate.more:
            evidence = Evidence(candidate.id, candidate.cosine, round(mean, 6), round(candidate.cosine - mean, 6), True)
            return Verdict("duplicate", candidate.id, "the same text", (evidence,))
        margin = round(candidate.cosine - mean, 6)
        found.append(Evidence(candidate.id, candidate.cosine, round(mean, 6), margin, mutual, blocked, missing))
    found.sort(key=lambda one: -one.margin)
    for one in found:
        if one.margin >= thresholds.duplicate and one.mutual and not one.conflicts and not one.unchecked:
            reason = f"margin {one.margin:.3f} of at least {thresholds.duplicate:.3f}, nearest both ways"
            return Verdict("duplicate", one.id, reason, tuple(found))
    for one in found:
        if one.margin >= min(thresholds.related, thresholds.duplicate):
            return Verdict("related", one.id, _why_not(one, thresholds), tuple(found))
    return Verdict("new", None, "no record is near enough", tuple(found))


def _without(cosines: np.ndarray[Any, np.dtype[np.float64]], one: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The cosines but for the one of a candidate."""
    if not len(cosines):
        return cosines
    place = int(np.argmin(np.abs(cosines - one)))
    return np.delete(cosines, place) if abs(cosines[place] - one) < 1e-6 else cosines


def _why_not(evidence: Evidence, thresholds: DuplicateThresholds) -> str:
    """Why a related record is no duplicate."""
    if evidence.margin < thresholds.duplicate:
        return f"margin {evidence.margin:.3f}; a duplicate needs {thresholds.duplicate:.3f}"
    if evidence.conflicts:
        return f"they differ in {'; '.join(evidence.conflicts)}"
    if evidence.unchecked:
        return f"a language has no list to compare {', '.join(evidence.unchecked)} by"
    return "another record is nearer to one of them"
