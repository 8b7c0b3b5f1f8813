"""Vectors that are determined by texts, one or several each, and indexes with segments small enough for tests."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.encoder import Similarity
from mlret.encoders.external import ExternalEncoder
from mlret.index.settings import IndexSettings
from mlret.index.tokens import codec_training
from mlret.index.tokens.token_space import MaxSimSpace
from mlret.index.vectors.cosine import CosineSpace
from mlret.index.vectors.space import Vectors

DIMS = 8
SIMILARITIES: tuple[Similarity, ...] = ("cosine", "maxsim")


def encoder(similarity: Similarity = "cosine") -> ExternalEncoder:
    return ExternalEncoder("test", DIMS, similarity)


def settings(similarity: Similarity) -> IndexSettings:
    if similarity == "cosine":
        return IndexSettings(kind="sq8", lexical=True)
    return IndexSettings(kind="probe", bits=8, lexical=True)


def shrink() -> None:
    """Make segments so small that a few documents fill several, with coded tokens."""
    CosineSpace.segment_size = CosineSpace.bulk_size = 24
    MaxSimSpace.segment_size = MaxSimSpace.bulk_size = 80
    codec_training.LEAST = 150


def vector_of(text: str) -> NDArray[np.float32]:
    """Return a vector that is determined by the text."""
    vector = np.random.default_rng(zlib.crc32(text.encode())).standard_normal(DIMS).astype(np.float32)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def tokens_of(text: str) -> NDArray[np.float32]:
    """Return one to six vectors that are determined by the text; none for an empty text."""
    count = 1 + zlib.crc32(text.encode()) % 6 if text else 0
    tokens = [vector_of(f"{text} {place}") for place in range(count)]
    return np.array(tokens, dtype=np.float32).reshape(-1, DIMS)


def vectors_of(texts: Sequence[str], similarity: Similarity) -> Vectors:
    if similarity == "maxsim":
        return [tokens_of(text) for text in texts]
    return np.stack([vector_of(text) for text in texts])


def score_of(text: str, query: str, similarity: Similarity) -> float:
    """Return the cosine or the MaxSim of two texts."""
    if similarity == "cosine":
        return float(vector_of(text).astype(np.float64) @ vector_of(query))
    return float((tokens_of(query).astype(np.float64) @ tokens_of(text).T).max(axis=1).sum())


def close(similarity: Similarity) -> float:
    """Return how far a score may be from the exact one, because codes of 8 bits are rounded."""
    return 1e-6 if similarity == "cosine" else 0.1
