"""Baselines: encoders without any notion of meaning, whose scores put other scores into perspective."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


class RandomVectors:
    """A reproducible random unit vector for every text: retrieval by chance.

    Parameters
    ----------
    dims
        Number of dimensions of a vector.
    seed
        Seed of the vectors.
    """

    name = "random vectors"

    def __init__(self, dims: int = 64, seed: int = 0) -> None:
        self.dims = dims
        self.seed = seed

    def encode(
        self,
        texts: Sequence[str],
        *,
        language: str | Sequence[str | None] | None = None,
        calibrate: bool = True,
        batch_size: int = 64,
        show_progress: bool = False,
    ) -> NDArray[np.float32]:
        """Encode ``n`` texts as ``(n, dims)`` float32 unit vectors. The options are ignored."""
        vectors = np.empty((len(texts), self.dims), dtype=np.float32)
        for row, text in enumerate(texts):
            digest = hashlib.blake2b(text.encode(), digest_size=8, salt=self.seed.to_bytes(8, "big")).digest()
            vectors[row] = np.random.default_rng(int.from_bytes(digest, "big")).standard_normal(self.dims)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


class CharacterNGrams:
    """Hashed character n-gram counts (n from 2 to 4, within words, case-folded): what spelling alone can find.

    Names, loan words and related languages in one script share n-grams; languages in different scripts share none.

    Parameters
    ----------
    dims
        Number of hash buckets; the vectors are sparse.
    """

    name = "character n-grams"

    def __init__(self, dims: int = 2**18) -> None:
        self.dims = dims

    @cached_property
    def _vectorizer(self) -> Any:
        from sklearn.feature_extraction.text import HashingVectorizer

        return HashingVectorizer(
            analyzer="char_wb", ngram_range=(2, 4), n_features=self.dims, norm="l2", dtype=np.float32
        )

    def encode(
        self,
        texts: Sequence[str],
        *,
        language: str | Sequence[str | None] | None = None,
        calibrate: bool = True,
        batch_size: int = 64,
        show_progress: bool = False,
    ) -> Any:
        """Encode ``n`` texts as an ``(n, dims)`` float32 SciPy CSR matrix of unit vectors. The options are ignored."""
        if not texts:
            from scipy.sparse import csr_matrix

            return csr_matrix((0, self.dims), dtype=np.float32)
        return self._vectorizer.transform(texts)


BASELINES = (RandomVectors, CharacterNGrams)
