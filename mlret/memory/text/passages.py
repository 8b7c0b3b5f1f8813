"""Several vectors for a long record: one for each of its parts, of which the best counts.

A single vector for a page is not near to questions about one line of it. The parts are runs of sentences of roughly
equal length. If there are more than may be stored, those are kept that leave no part far from its nearest kept one
(k-center), after InfLLM's representative tokens (Xiao et al., arXiv 2402.04617), which are chosen by attention.
"""

from __future__ import annotations

import numpy as np
import regex
from numpy.typing import NDArray

from mlret.errors import InputError
from mlret.wording import counted

WINDOW = 300
"""Characters of a part, about: two or three sentences."""
UNDIVIDED = int(1.5 * WINDOW)
"""A text of at most this many characters is not split."""
MOST = 8
"""Vectors of a record, beside the one of its whole text."""
# Marks that end sentences, in the scripts that have them, or a line end; then closing marks and white space.
_ENDS = regex.compile(r"(?:[.!?…]+[\"”’»)\]]*(?=\s)|[。！？｡।॥؟۔።፧။៕།]+[\"”’»」』）)]*|\n)\s*")
_SPACE = regex.compile(r"\s+")


def parts(text: str, length: int = WINDOW) -> list[tuple[int, int]]:
    """Split a text into parts of roughly equal length, at ends of sentences where possible.

    Parameters
    ----------
    text
        Any text.
    length
        Approximate length of a part in characters; a sentence of more than twice this length is cut at a space.

    Returns
    -------
    list of (start, end)
        Spans in ascending order; concatenated they are the text. A text of up to one and a half lengths is one part.

    Raises
    ------
    InputError
        If ``length`` is below 1.
    """
    if length < 1:
        raise InputError(f"parts of {counted(length, 'character')}; give a length of at least 1")
    if len(text) <= 1.5 * length:
        return [(0, len(text))]
    ends = [match.end() for match in _ENDS.finditer(text)]
    ends = _cut_long([*ends, len(text)] if not ends or ends[-1] < len(text) else ends, text, length)
    found, start = [], 0
    for place, end in enumerate(ends):
        following = ends[place + 1] if place + 1 < len(ends) else None
        # End the part here if adding the next sentence would overshoot by more than ending falls short.
        if following is None or following - start - length > length - (end - start):
            found.append((start, end))
            start = end
    if len(found) > 1 and found[-1][1] - found[-1][0] < length / 3:  # Join a short rest to the part before it.
        found[-2:] = [(found[-2][0], found[-1][1])]
    return found


def _cut_long(ends: list[int], text: str, length: int) -> list[int]:
    """Return the ends of sentences, with more of them inside sentences that are much too long."""
    found: list[int] = []
    start = 0
    for end in ends:
        while end - start > 2 * length:
            spaces = [match.end() for match in _SPACE.finditer(text, start + length // 2, start + length)]
            start = spaces[-1] if spaces else start + length
            found.append(start)
        found.append(end)
        start = end
    return found


def k_center(vectors: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Choose ``k`` vectors such that none is far from its nearest chosen one.

    The greedy choice of Gonzalez (Clustering to minimize the maximum intercluster distance, 1985) is at most twice as
    far off as the best. The first choice is the vector nearest to the mean.

    Parameters
    ----------
    vectors
        ``(n, dims)`` float32 of unit length.
    k
        Number of vectors to choose; all are chosen if there are no more.

    Returns
    -------
    numpy.ndarray
        ``(min(n, k),)`` int64, ascending indices; of equally far vectors the first is chosen.

    Raises
    ------
    InputError
        If ``k`` is below 1.
    """
    if k < 1:
        raise InputError(f"{k} representatives; give at least 1")
    if len(vectors) <= k:
        return np.arange(len(vectors), dtype=np.int64)
    chosen = [int((vectors @ vectors.mean(axis=0)).argmax())]
    nearest = vectors @ vectors[chosen[0]]
    while len(chosen) < k:
        nearest[chosen] = np.inf
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, vectors @ vectors[chosen[-1]])
    return np.sort(np.array(chosen, dtype=np.int64))
