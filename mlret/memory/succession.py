"""What takes the place of what: later records stand before those that they supersede or contradict.

Two records that cannot both hold are about the same thing, so a query that finds one finds the other; which is nearer
to the words of the query says nothing about which holds. Where the earlier one would stand before the later one they
change places, scores and all, and the hit of the earlier one says what it yields to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from mlret.memory.columns import Columns
from mlret.memory.facts import Facts, words_of
from mlret.memory.numbering import Positions
from mlret.memory.ranking import Ranked

SUPERSEDES, CONTRADICTS = "supersedes", "contradicts"
TERM = "succession"
"""What a record gains or loses by standing where a record that it excludes would have stood."""
_STEP = 1e-6  # the unit that scores are rounded to
# Of a record's words, how many a text repeats that denies it, or ends it and says what came after.
_DENIED, _ENDED = 0.8, 0.6
_ADDED = 0.6  # of the words of a text that does no more than deny


def denies(new: Facts, old: Facts) -> bool:
    """Whether a text says that what an earlier one says does not hold, or holds no longer.

    Read of the words alone: either they are nearly the same and one text negates them, or the new one has a word such
    as *no longer* and repeats most of the others. Between languages nothing is read.

    Parameters
    ----------
    new, old
        Of the texts.
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
    """Pairs of candidates of which the first takes the place of the second.

    A version takes that of earlier versions of its record, a record that of those that it ``supersedes``; of two that
    are linked by ``contradicts`` the later one does: by the time from which it holds, then by when it was stored.

    Parameters
    ----------
    columns
        Of the memory.
    positions
        ``(n,)`` of the candidates.
    """
    numbers = columns.record[positions].tolist()
    places: dict[int, list[int]] = {}
    for place, number in enumerate(numbers):
        places.setdefault(number, []).append(place)
    pairs = []
    ids = columns.ids.values
    by_id = {ids[number]: some for number, some in places.items()}
    for id, mine in by_id.items():
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


def settle(ranked: Ranked, pairs: Sequence[tuple[int, int]]) -> Ranked:
    """The ranking with each first of a pair before the second.

    The records that exclude each other share out the scores that they have, so that what holds stands where the best of
    them would have stood. Where pairs contradict each other, the ranking decides among them.

    Parameters
    ----------
    ranked
        The candidates.
    pairs
        Of :func:`exclusions`; numbers of candidates, before they were ranked.
    """
    rank = {int(place): number for number, place in enumerate(ranked.order.tolist())}
    known = [(rank[one], rank[other]) for one, other in pairs if one in rank and other in rank]
    if all(one < other for one, other in known):
        return ranked
    scores = ranked.scores.copy()
    for group in _groups(known):
        inside = [pair for pair in known if pair[0] in group]
        best = sorted((float(scores[one]) for one in group), reverse=True)
        for place, one in enumerate(_in_order(sorted(group), inside)):
            if place:
                best[place] = min(best[place], round(best[place - 1] - _STEP, 6))
            scores[one] = best[place]
    order = np.argsort(-scores, kind="stable")
    terms = {name: values[order] for name, values in ranked.terms.items()}
    return Ranked(ranked.order[order], scores[order], terms | {TERM: (scores - ranked.scores)[order]})


def _groups(pairs: Iterable[tuple[int, int]]) -> list[set[int]]:
    """The parts that pairs join."""
    found: list[set[int]] = []
    for pair in pairs:
        joined = [group for group in found if not group.isdisjoint(pair)]
        found = [group for group in found if group.isdisjoint(pair)] + [set(pair).union(*joined)]
    return found


def _in_order(group: Sequence[int], pairs: Sequence[tuple[int, int]]) -> list[int]:
    """The group, the first of each pair before the second; otherwise, and in circles, as it comes."""
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
    """Candidate -> the ids of what takes its place."""
    found: dict[int, list[str]] = {}
    for one, other in pairs:
        found.setdefault(other, []).append(columns.ids.values[columns.record[positions[one]]])
    return {place: tuple(dict.fromkeys(ids)) for place, ids in found.items()}
