"""Find the words of a text that the lexical channel matches with a query, for display."""

from __future__ import annotations

from typing import NamedTuple

from mlret.index.lexical.ngrams import WHOLE, ngrams, normalise, runs

# A word is marked if at least this share of its n-grams is among those of the query: "Verspätungen" for "Verspätung",
# but not every word that shares four letters with one of the query.
_SHARE = 0.5


class Mark(NamedTuple):
    """A part of a text, from ``start`` to before ``end`` in characters, and its share of matching n-grams."""

    start: int
    end: int
    share: float


def marks(query: str, text: str) -> list[Mark]:
    """Return the parts of a text that match a query.

    Parameters
    ----------
    query
        The query.
    text
        The text of a document.

    Returns
    -------
    list of Mark
        Parts in ascending order, which do not overlap: words of scripts with spaces, and runs of characters of others.

    Examples
    --------
    >>> text = "Ersatzteil XK-4711 ist ab Lager lieferbar. 図書館が開館した。"
    >>> [text[mark.start : mark.end] for mark in marks("teil xk-4711, 図書館", text)]
    ['XK', '4711', '図書館']
    """
    wanted = set(ngrams(query))
    found: list[Mark] = []
    for start, end, spaced in runs(text):
        word = text[start:end]
        own = ngrams(word)
        if wanted.isdisjoint(own):
            continue
        if not spaced:
            found += _in_run(word, start, wanted)
        elif (share := sum(one in wanted for one in own) / len(own)) >= _SHARE or WHOLE + normalise(word) in wanted:
            found.append(Mark(start, end, share))
    return found


def _in_run(word: str, start: int, wanted: set[str]) -> list[Mark]:
    """Return the matching parts of a run of characters without spaces."""
    # Each pair of characters that the query has is marked, or where there is none, each single character.
    covered = _covered(word, 2, wanted)
    if not any(covered):
        covered = _covered(word, 1, wanted)
    found, begin = [], 0
    for place in range(len(word) + 1):
        inside = place < len(word) and covered[place]
        if not inside and place > begin:
            found.append(Mark(start + begin, start + place, 1.0))
        if not inside:
            begin = place + 1
    return found


def _covered(word: str, length: int, wanted: set[str]) -> list[bool]:
    """Return for each character whether it is part of an n-gram of this length that is wanted."""
    covered = [False] * len(word)
    for place in range(len(word) - length + 1):
        if normalise(word[place : place + length]) in wanted:
            covered[place : place + length] = [True] * length
    return covered
