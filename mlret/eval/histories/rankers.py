"""Systems that rank the documents of a history for its questions: BM25, the channels of the memory, and the memory."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

import mlret
from mlret.eval.bm25 import DESCRIPTION, NAME, Bm25
from mlret.eval.memory.channels import Records
from mlret.eval.readers.history import History

if TYPE_CHECKING:
    from mlret.encoders.encoder import Encoder

DEPTH = 100
"""Documents that a memory returns for a question."""


@dataclass(frozen=True)
class EncodedHistory:
    """A history with the vectors of its texts, which are computed when a system first needs them.

    Attributes
    ----------
    history
        The history.
    encoder
        An encoder with one vector per text; ``None`` if no system needs it.
    language
        Language code of all texts; ``None`` to let each system detect it.
    """

    history: History
    encoder: Encoder | None
    language: str | None

    @cached_property
    def documents(self) -> NDArray[np.float32]:
        """Vectors of the documents: ``(n, dims)`` of unit length."""
        assert self.encoder is not None
        return self.encoder.encode_document([one.text for one in self.history.documents], language=self.language)

    @cached_property
    def questions(self) -> NDArray[np.float32]:
        """Vectors of the questions: ``(q, dims)`` of unit length."""
        assert self.encoder is not None
        return self.encoder.encode_query([one.text for one in self.history.questions], language=self.language)

    def encode(self) -> None:
        """Compute all vectors now."""
        _ = self.documents, self.questions

    @cached_property
    def channels(self) -> Records:
        """The documents as the channels of the memory search them."""
        texts = [one.text for one in self.history.documents]
        vectors = np.zeros((len(texts), 1), dtype=np.float32) if self.encoder is None else self.documents
        return Records(texts, [self.language or ""] * len(texts), vectors)


class HistoryRanker(Protocol):
    """Interface of a system that ranks the documents of histories.

    Attributes
    ----------
    name
        The system's name in tables.
    """

    name: str

    @property
    def encoder(self) -> Encoder | None:
        """The encoder whose vectors it uses; ``None`` if it uses none."""

    def facts(self) -> dict[str, Any]:
        """Return what the rankings depend on, as JSON values."""

    def rank(self, encoded: EncodedHistory) -> list[list[int]]:
        """Return for each question the positions of documents, best first, each at most once."""

    def close(self) -> None:
        """Release what is open."""


class Bm25Ranker:
    """BM25 over words, with the analyzers of :mod:`mlret.eval.bm25`; its statistics are those of the one history."""

    name = NAME
    encoder = None

    def facts(self) -> dict[str, Any]:
        """Return a description of BM25's settings."""
        return {"description": DESCRIPTION}

    def rank(self, encoded: EncodedHistory) -> list[list[int]]:
        """Return the documents that share a word with each question."""
        texts = [one.text for one in encoded.history.documents]
        asked = [one.text for one in encoded.history.questions]
        bm25 = Bm25(texts, [encoded.language] * len(texts))
        scores = bm25.scores(asked, [encoded.language] * len(asked)).toarray()
        return [ordered(np.where(row > 0, row, -np.inf)) for row in scores.astype(np.float64)]

    def close(self) -> None:
        """Do nothing: nothing is open."""


class ChannelRanker:
    """One of the memory's channels, or both fused, without the other terms of its ranking.

    Parameters
    ----------
    name
        The system's name in tables.
    channel
        ``dense`` (cosine), ``lexical`` (BM25 over character n-grams) or ``fused``.
    encoder
        The encoder; ``None`` for ``lexical``.
    """

    def __init__(self, name: str, channel: str, encoder: Encoder | None) -> None:
        self.name = name
        self.encoder = encoder
        self._channel = channel

    def facts(self) -> dict[str, Any]:
        """Return the encoder and the version."""
        return {**({} if self.encoder is None else encoder_facts(self.encoder)), "version": mlret.__version__}

    def rank(self, encoded: EncodedHistory) -> list[list[int]]:
        """Return the documents that the channel finds."""
        records, asked = encoded.channels, [one.text for one in encoded.history.questions]
        if self._channel == "dense":
            return [ordered(row) for row in records.dense(encoded.questions)]
        lexical = records.lexical(asked)
        if self._channel == "fused":
            fused = records.fused(asked, encoded.language or "", records.dense(encoded.questions), lexical)
            return [ordered(row) for row in fused]
        return [ordered(np.where(np.isnan(row), -np.inf, row)) for row in lexical]

    def close(self) -> None:
        """Do nothing: nothing is open."""


class RandomRanker:
    """A baseline that ranks documents in a reproducible random order.

    Parameters
    ----------
    seed
        Seed of the order.
    """

    name = "random"
    encoder = None

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def facts(self) -> dict[str, Any]:
        """Return the seed."""
        return {"seed": self._seed}

    def rank(self, encoded: EncodedHistory) -> list[list[int]]:
        """Return all documents."""
        found: list[list[int]] = []
        for question in encoded.history.questions:
            digest = hashlib.blake2b(question.id.encode(), digest_size=8, salt=self._seed.to_bytes(8, "big")).digest()
            random = np.random.default_rng(int.from_bytes(digest, "big"))
            found.append([int(one) for one in random.permutation(len(encoded.history.documents))])
        return found

    def close(self) -> None:
        """Do nothing: nothing is open."""


class MemoryRanker:
    """A memory with its defaults: each history is a user, whose documents are added in one batch and then searched.

    Texts are compared on adding, so a document that repeats another is merged into it and has its rank, after it. So
    has a document that a search collapses into a hit.

    Parameters
    ----------
    name
        The system's name in tables.
    encoder
        The encoder of the memory.
    """

    def __init__(self, name: str, encoder: Encoder) -> None:
        from mlret.memory.memory import Memory

        self.name = name
        self.encoder = encoder
        self._open = ExitStack()
        folder = self._open.enter_context(TemporaryDirectory(prefix="mlret-eval-"))
        self._memory = self._open.enter_context(Memory.open(Path(folder) / "memory", encoder))

    def facts(self) -> dict[str, Any]:
        """Return the encoder, the version and the number of hits."""
        return {**encoder_facts(self.encoder), "version": mlret.__version__, "depth": DEPTH}

    def rank(self, encoded: EncodedHistory) -> list[list[int]]:
        """Return the documents of the best hits."""
        history = encoded.history
        scope = {"user": history.id}
        items = [
            {
                "text": document.text,
                "language": encoded.language,
                "level": "session" if history.unit == "session" else "turn",
                "session": document.session,
                "source": None if document.role is None else {"role": document.role},
                "vector": vector,
                **({} if document.at is None else {"event_time": document.at}),
            }
            for document, vector in zip(history.documents, encoded.documents, strict=True)
        ]
        places: dict[str, list[int]] = {}
        for place, added in enumerate(self._memory.add_batch(items, scope)):
            places.setdefault(added.id, []).append(place)
        found: list[list[int]] = []
        for question, vector in zip(history.questions, encoded.questions, strict=True):
            hits = self._memory.search(
                question.text, scope, k=DEPTH, language=encoded.language, vector=vector, now=question.at
            )
            ids = dict.fromkeys(id for hit in hits for id in (hit.id, *hit.also))
            found.append([place for id in ids for place in places[id]])
        return found

    def close(self) -> None:
        """Close the memory and delete it."""
        self._open.close()


def encoder_facts(encoder: Encoder) -> dict[str, Any]:
    """Return the name, the fingerprint and the number of dimensions of an encoder."""
    return {"encoder": encoder.name, "fingerprint": encoder.fingerprint, "dims": encoder.dims}


def ordered(scores: NDArray[np.float64]) -> list[int]:
    """Return the positions of finite scores in descending order; of equal scores the earlier document comes first."""
    order = np.argsort(-scores, kind="stable")
    return [int(place) for place in order if np.isfinite(scores[place])]
