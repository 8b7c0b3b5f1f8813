"""Normalise text as the tokenizers library does, whichever version of Unicode this Python has.

The tokenizers library normalises (NFKC) by the tables of one version of Unicode, Python by those of another. A
normalisation never changes between versions for a character that both know, so the two differ in characters alone that
the library's version does not know: it leaves them as they are, and nothing combines with them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_SPACES = re.compile(" {2,}")


class Normaliser:
    """NFKC as the tokenizers library has it, then characters replaced by others and runs of spaces by one.

    Parameters
    ----------
    unknown
        ``(n, 2)`` int32: first and last code points of the ranges that the library's version of Unicode does not know,
        in ascending order.
    spelling
        Character -> what replaces it, such as Latin letters for those of a script that a vocabulary lacks.
    """

    def __init__(self, unknown: NDArray[np.int32], spelling: Mapping[str, str] | None = None) -> None:
        self._spelling = str.maketrans(dict(spelling or {}))
        # A position that is odd among the bounds is inside of a range.
        self._bounds = (unknown + np.array([0, 1], dtype=np.int32)).ravel()

    def __call__(self, text: str) -> str:
        """Return the normalised text."""
        if not text.isascii() and not unicodedata.is_normalized("NFKC", text):
            text = self._composed(text)
        if self._spelling:
            text = text.translate(self._spelling)
        return _SPACES.sub(" ", text) if "  " in text else text

    def _composed(self, text: str) -> str:
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<i4")
        kept = np.flatnonzero(np.searchsorted(self._bounds, points, side="right") % 2)
        parts = []
        start = 0
        for position in kept.tolist():
            parts += [unicodedata.normalize("NFKC", text[start:position]), text[position]]
            start = position + 1
        parts.append(unicodedata.normalize("NFKC", text[start:]))
        return "".join(parts)
