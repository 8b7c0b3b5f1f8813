"""Encoders of a few words at most, whose vectors follow from the words of a text."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.encoder import Encoder
from mlret.encoders.token_encoder import TokenEncoder

DIMS = 12


def vector_of_word(word: str) -> NDArray[np.float32]:
    seed = zlib.crc32(word.strip(".,").casefold().encode())
    return np.random.default_rng(seed).standard_normal(DIMS).astype(np.float32)


class _Words:
    """Reads the first ``longest`` tokens: a beginning, the words, and an end."""

    def __init__(self, longest: int) -> None:
        self.name = f"words-{longest}"
        self.longest = longest
        self.texts: list[str] = []  # all that were encoded

    @property
    def dims(self) -> int:
        return DIMS

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.name.encode()).hexdigest()[:16]

    @property
    def calibration_languages(self) -> list[str]:
        return []

    @property
    def longest_document(self) -> int | None:
        return self.longest

    def token_counts(self, texts: Sequence[str], *, cut: bool = True) -> list[int]:
        counts = [len(text.split()) + 2 for text in texts]
        return [min(count, self.longest) for count in counts] if cut else counts

    def read(self, text: str) -> list[str]:
        return text.split()[: self.longest - 2]


class WordEncoder(_Words, Encoder):
    """The mean of the vectors of the words."""

    def encode(self, texts: Sequence[str], **options: Any) -> NDArray[np.float32]:
        self.texts += texts
        found = [np.sum([vector_of_word(word) for word in self.read(text)], axis=0) for text in texts]
        matrix = np.array(found, dtype=np.float32).reshape(-1, DIMS)
        return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True), dtype=np.float32)

    def _behind_prompt(self, side: str, texts: Sequence[str], language: Any) -> NDArray[np.float32]:
        return self.encode(texts)


class WordTokenEncoder(_Words, TokenEncoder):
    """The vectors of the words."""

    def _encode(self, texts: Sequence[str], task: str, language: Any) -> list[NDArray[np.float32]]:
        self.texts += texts
        found = [np.array([vector_of_word(word) for word in self.read(text)]).reshape(-1, DIMS) for text in texts]
        return [
            np.asarray(one / np.maximum(np.linalg.norm(one, axis=1, keepdims=True), 1e-12), dtype=np.float32)
            for one in found
        ]
