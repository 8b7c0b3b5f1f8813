"""Succession: rank later records before those that they supersede or contradict.

Two records that cannot both hold are about the same thing, so a query that finds one finds the other; which is nearer
to the words of the query says nothing about which of them holds. Where the earlier one would be ranked before the later
one, they swap places and scores, and the hit of the earlier one names the later one in ``yields_to``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from mlret.memory.search.questions import groups_of
from mlret.memory.search.ranking import Ranked
from mlret.memory.storage.columns import Columns
from mlret.memory.storage.positions import Positions
from mlret.memory.text.features import Facts, words_of

SUPERSEDES, CONTRADICTS = "supersedes", "contradicts"
TERM = "succession"
"""What a record gains or loses by taking the rank of a record that it excludes."""
_STEP = 1e-6  # The unit that scores are rounded to.
# Minimum share of a record's words that a text repeats to negate it, or to end it.
_DENIED, _ENDED = 0.8, 0.6
_ADDED = 0.6  # Minimum share of a negating text's own words that come from the record.


def denies(new: Facts, old: Facts) -> bool:
    """Return whether a text says that an earlier one does not hold, or no longer holds.

    Only the words are compared: either they are nearly the same and one text negates them, or the new text has a word
    such as *no longer* and repeats most of the others. Texts in different languages never deny each other.

    Parameters
    ----------
    new, old
        Facts of the new and of the earlier text.
    """
    if new.language is None or new.language != old.language or new.question or old.question:
        return False
    mine, theirs = words_of(new), words_of(old)
    shared = (mine & theirs).total()
    ended = "ended" in (new.particles or ()) and "ended" not in (old.particles or ())
    if ended and shared >= _ENDED * theirs.total():
        return True
    negated = new.negations is not None and old.negations is not None and bool(new.negations) != bool(old.negations)
    return negated and shared >= _DENIED * theirs.total() and shared >= _ADDED * mine.total()


def exclusions(columns: Columns, positions: Positions) -> list[tuple[int, int]]:
    """Return pairs of candidates of which the first takes the place of the second.

    A version takes the place of earlier versions of its record, and a record that of the records that it
    ``supersedes``. Of two records linked by ``contradicts`` the later one takes the place of the other: by the start of
    validity, then by when it was stored.

    Parameters
    ----------
    columns
        The tenant's versions.
    positions
        ``(n,)`` positions of the candidates.

    Returns
    -------
    list of (int, int)
        Pairs of indices into ``positions``.
    """
    numbers = columns.record[positions].tolist()
    if not columns.links and len(set(numbers)) == len(numbers):
        return []
    places: dict[int, list[int]] = {}
    for place, number in enumerate(numbers):
        places.setdefault(number, []).append(place)
    pairs = []
    ids = columns.ids.by_number
    by_id = {ids[number]: some for number, some in places.items()}
    for id, mine in by_id.items():
        if len(mine) > 1:
            versions = sorted(mine, key=lambda place: int(columns.row[positions[place]]))
            pairs += [(later, earlier) for earlier, later in pairwise(versions)]
        for source, type, target in columns.links.get(id, ()):
            if source != id or type not in (SUPERSEDES, CONTRADICTS) or target == id:
                continue
            for one in mine:
                for other in by_id.get(target, ()):
                    swap = type == CONTRADICTS and _age(columns, positions, one) < _age(columns, positions, other)
                    pairs.append((other, one) if swap else (one, other))
    return pairs


def _age(columns: Columns, positions: Positions, place: int) -> tuple[int, int]:
    position = int(positions[place])
    return int(columns.valid_from[position]), int(columns.row[position])


def settle(ranked: Ranked, pairs: Sequence[tuple[int, int]], term: str = TERM) -> Ranked:
    """Return the ranking with the first of each pair before the second.

    Records that exclude each other redistribute their scores, so that the one that holds gets the best of them. Where
    pairs contradict each other, the original ranking decides.

    Parameters
    ----------
    ranked
        The ranked candidates.
    pairs
        The result of :func:`exclusions`, as indices before ranking.
    term
        Name of the term that states what each candidate gains or loses.

    Returns
    -------
    Ranked
        The same ranking if it already respects all pairs; else one with a further term.
    """
    rank = {int(place): number for number, place in enumerate(ranked.order.tolist())}
    known = [(rank[one], rank[other]) for one, other in pairs if one in rank and other in rank]
    if all(one < other for one, other in known):
        return ranked
    scores = ranked.scores.copy()
    for group in groups_of(known):
        inside = [pair for pair in known if pair[0] in group]
        best = sorted((float(scores[one]) for one in group), reverse=True)
        for place, one in enumerate(_in_order(sorted(group), inside)):
            if place:
                best[place] = min(best[place], round(best[place - 1] - _STEP, 6))
            scores[one] = best[place]
    order = np.argsort(-scores, kind="stable")
    terms = {name: values[order] for name, values in ranked.terms.items()}
    return Ranked(ranked.order[order], scores[order], terms | {term: (scores - ranked.scores)[order]})


def _in_order(group: Sequence[int], pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Return the group with the first of each pair before the second; ties and cycles keep their order."""
    left, found = list(group), []
    while left:
        held = {other for one, other in pairs if one in left}
        following = next((one for one in left if one not in held), left[0])
        left.remove(following)
        found.append(following)
    return found


def excluded_by(
    columns: Columns, positions: Positions, pairs: Sequence[tuple[int, int]]
) -> Mapping[int, tuple[str, ...]]:
    """Return for each excluded candidate the ids of the records that take its place.

    Parameters
    ----------
    columns
        The tenant's versions.
    positions
        ``(n,)`` positions of the candidates.
    pairs
        The result of :func:`exclusions`.
    """
    found: dict[int, list[str]] = {}
    for one, other in pairs:
        found.setdefault(other, []).append(columns.ids.by_number[columns.record[positions[one]]])
    return {place: tuple(dict.fromkeys(ids)) for place, ids in found.items()}
