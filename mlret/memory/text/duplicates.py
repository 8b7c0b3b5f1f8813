"""Decide whether a new text is a duplicate of a stored one, related to one, or new, across languages.

The decision rests on a margin: how much nearer two texts are to each other than each is to its other neighbours. A
cosine alone does not transfer between encoders, nor between the dense and the sparse regions of one. A duplicate must
pass a threshold calibrated for the encoder in use, be the nearest neighbour in both directions, and have no guard
against it. A text that fails one of these tests is linked, not merged: the rules prefer to merge too little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from mlret.errors import InputError
from mlret.memory.text.features import facts_of
from mlret.memory.text.merge_guards import conflicts, same_wording, unchecked
from mlret.memory.text.wording import same_form

NEIGHBOURS = 4
"""Neighbours that a density is averaged over, as in Artetxe and Schwenk, arXiv 1811.01136."""
CANDIDATES = 4
"""Nearest records that are looked at as possible duplicates."""

Kind = Literal["duplicate", "related", "new"]


@dataclass(frozen=True, slots=True)
class DuplicateThresholds:
    """Thresholds that separate duplicates, related texts and answers from the rest, for one encoder.

    :func:`mlret.memory.maintenance.thresholds.calibrate` computes them.

    Attributes
    ----------
    fingerprint
        Fingerprint of the encoder.
    duplicate, related
        Minimum margins. ``duplicate`` may be infinite if no margin reached the requested precision; then only the same
        text in the same language is a duplicate.
    answer
        Minimum :func:`~mlret.memory.search.ranking.confidence` of a search that found something: nine in ten of the
        searches in the sample that found the right record reach it.
    densities
        Language -> usual density around its texts; ``""`` for languages that are not listed.
    precision, recall
        The requested precision, and the share of the sample's translations that was found with it.
    texts
        Number of texts that the calibration used.
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
        """Return the usual density around texts of a language."""
        code = (language or "").partition("-")[0]
        return self.densities.get(code, self.densities[""])

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON; an infinite threshold becomes ``None``."""
        return {name: None if value == math.inf else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DuplicateThresholds:
        """Return the thresholds that :meth:`to_dict` was called on.

        Raises
        ------
        InputError
            If a key is missing, unknown or of the wrong type.
        """
        try:
            given: dict[str, Any] = {name: math.inf if value is None else value for name, value in values.items()}
            found = cls(**given)
            numbers = [found.duplicate, found.related, found.answer, found.densities[""], found.precision, found.recall]
            if not all(isinstance(number, int | float) for number in [*numbers, *found.densities.values()]):
                raise TypeError("a threshold or density is not a number")
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"not the thresholds of duplicates ({error}); run `mlret memory calibrate` again"
            ) from error
        return found


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored record that may say the same as a new text.

    Attributes
    ----------
    id, text, language
        Id, text and language of the record.
    cosine
        Cosine with the new text.
    others
        Cosines of the record with the ``NEIGHBOURS`` stored records nearest to it.
    more
        What the new text adds that the record does not hold, such as another event time; if anything, the text is not a
        duplicate.
    """

    id: str
    text: str
    language: str | None
    cosine: float
    others: Sequence[float] = ()
    more: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a verdict was given: the measurements for one candidate.

    Attributes
    ----------
    id
        Id of the candidate.
    cosine
        Cosine of the candidate with the new text.
    density
        Mean of the densities around the two texts, rounded to six decimals.
    margin
        ``cosine - density``, rounded to six decimals.
    mutual
        Whether no other record is nearer to either.
    conflicts
        The guards that speak against it, and what the new text adds beyond it.
    unchecked
        The guards that have no list for one of the languages, which rules a duplicate out as well.
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
    """The decision about a new text.

    Attributes
    ----------
    kind
        ``duplicate`` of ``id``, ``related`` to ``id``, or ``new``.
    id
        Id of the stored record, ``None`` for a new text.
    reason
        The decision explained in words.
    evidence
        The evidence for each candidate, best first.
    """

    kind: Kind
    id: str | None
    reason: str
    evidence: tuple[Evidence, ...] = field(default=())


def text_key(text: str) -> str:
    """Return the form that identical texts share: composed, in one width, with white space as single blanks."""
    return same_form(text)


def density(cosines: ArrayLike, usual: float) -> float:
    """Return how close a text's neighbours are: the mean of the highest cosines, but at least the usual density.

    The mean is over :data:`NEIGHBOURS` cosines; with fewer, the usual density is returned. A small store is sparse
    everywhere, which would make every text stand out; hence the lower bound.

    Parameters
    ----------
    cosines
        ``(n,)``, in descending order.
    usual
        :meth:`DuplicateThresholds.density` of the text's language.
    """
    nearest = np.asarray(cosines, dtype=np.float64)[:NEIGHBOURS]
    return max(float(nearest.mean()), usual) if len(nearest) == NEIGHBOURS else usual


def promising(cosine: float, language: str | None, other: str | None, thresholds: DuplicateThresholds) -> bool:
    """Return whether a candidate can be more than new; if not, the search for its neighbours is skipped.

    Parameters
    ----------
    cosine
        Cosine of the new text with the candidate; the margin is at most this less the usual density.
    language, other
        Languages of the new text and of the candidate.
    thresholds
        Thresholds of the encoder.
    """
    usual = (thresholds.density(language) + thresholds.density(other)) / 2
    return cosine - usual >= min(thresholds.related, thresholds.duplicate)


def promising_ones(
    cosines: Sequence[float], language: str | None, others: Sequence[str | None], thresholds: DuplicateThresholds
) -> list[int]:
    """Return the indices of the candidates that are :func:`promising`.

    Parameters
    ----------
    cosines
        ``n`` cosines of the new text with the candidates.
    language, others
        Language of the new text, and the ``n`` languages of the candidates.
    thresholds
        Thresholds of the encoder.
    """
    pairs = enumerate(zip(cosines, others, strict=True))
    return [place for place, (cosine, other) in pairs if promising(cosine, language, other, thresholds)]


def judge(
    text: str,
    language: str | None,
    candidates: Sequence[Candidate],
    cosines: ArrayLike,
    thresholds: DuplicateThresholds,
) -> Verdict:
    """Decide whether a new text is a duplicate of a stored record, related to one, or new.

    The margin is ``cos(x, y) - (d_x + d_y) / 2``, where ``d`` is the mean cosine with the ``NEIGHBOURS`` nearest
    others: the *distance* margin of Artetxe and Schwenk (arXiv 1811.01136, section 3), half of CSLS. At equal precision
    it finds more translations than the ratio, and needs no special care where densities are near zero.

    Parameters
    ----------
    text, language
        The new text, and its language, ``None`` if unknown.
    candidates
        Stored records of the same scope, nearest first; :data:`CANDIDATES` are enough.
    cosines
        ``(n,)``: cosines of the new text with the records nearest to it, in descending order, candidates included;
        preferably :data:`CANDIDATES` + :data:`NEIGHBOURS` of them.
    thresholds
        Thresholds of the encoder that produced the vectors.

    Returns
    -------
    Verdict
        A duplicate has the same wording in the same language, or it passes the threshold and all guards, none of which
        lacks a list, and is mutual. A text that passes only the threshold, or the one for related texts, is related.
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
    """Return the cosines without that of one candidate."""
    if not len(cosines):
        return cosines
    place = int(np.argmin(np.abs(cosines - one)))
    return np.delete(cosines, place) if abs(cosines[place] - one) < 1e-6 else cosines


def _why_not(evidence: Evidence, thresholds: DuplicateThresholds) -> str:
    """Return why a related record is not a duplicate."""
    if evidence.margin < thresholds.duplicate:
        return f"margin {evidence.margin:.3f}; a duplicate needs {thresholds.duplicate:.3f}"
    if evidence.conflicts:
        return f"they differ in {'; '.join(evidence.conflicts)}"
    if evidence.unchecked:
        return f"a language has no list to compare {', '.join(evidence.unchecked)} by"
    return "another record is nearer to one of them"
