"""The BM25 formula, for the lexical channel of an index and for that of a memory.

BM25 as in Robertson and Zaragoza, The Probabilistic Relevance Framework (2009), section 3.5: the score of a text is the
sum over the terms of the query of :func:`rarity` times :func:`saturation`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# The usual parameters: how slowly repetitions of a term saturate, and how much long texts are discounted.
K1 = 1.2
B = 0.75
# Occurrences of a term in a text beyond this number are not counted: BM25 saturates, so a fourth occurrence would
# hardly change a score.
MOST_TIMES = 3
# Adding the same terms in another order changes the last bits. Rounding scores to this many digits keeps ties.
DIGITS = 9

Floats = NDArray[np.float64]


def rarity(texts: int, frequencies: NDArray[np.int64]) -> Floats:
    """Return the inverse document frequency of terms, in the variant that is never negative.

    Parameters
    ----------
    texts
        The number of all texts.
    frequencies
        ``(n,)`` int64: the number of texts that have each term.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` float64.
    """
    found: Floats = np.log1p((texts - frequencies + 0.5) / (frequencies + 0.5))
    return found


def length_norms(relative_lengths: Floats) -> Floats:
    """Return the normalisation by length that :func:`saturation` takes.

    Parameters
    ----------
    relative_lengths
        ``(n,)`` float64: the length of each text, divided by the mean length of all texts.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` float64.
    """
    norms: Floats = K1 * (1 - B + B * relative_lengths)
    return norms


def saturation(times: Floats | float, norms: Floats) -> Floats:
    """Return the factor by which a term counts that occurs a number of times in a text.

    Parameters
    ----------
    times
        Float64: the number of occurrences, at most ``MOST_TIMES``.
    norms
        Float64, broadcast against ``times``: the :func:`length_norms` of the texts.
    """
    factors: Floats = (K1 + 1) * times / (times + norms)
    return factors
