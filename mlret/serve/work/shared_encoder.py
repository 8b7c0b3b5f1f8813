"""Encoders for code that encodes in a thread of its own, such as an index that adds documents: the queue does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.encoder import Encoder, Side
from mlret.encoders.multi_vector import AnyEncoder
from mlret.encoders.reading import Tokenised, tokenised
from mlret.encoders.texts import checked_texts, languages_of
from mlret.encoders.token_encoder import TokenEncoder, Tokens
from mlret.serve.work.encoder_queue import EncoderQueue

Languages = str | Sequence[str | None] | None


class SharedEncoder(Encoder):
    """An encoder with one vector for each text that encodes queries and documents by a queue.

    Parameters
    ----------
    queue
        The queue; its encoder gives the vectors.
    """

    def __init__(self, queue: EncoderQueue) -> None:
        self._queue, self._encoder = queue, queue.encoder
        self.name, self.runtime = self._encoder.name, self._encoder.runtime

    @property
    def model(self) -> Any:  # type: ignore[override]
        """The model of the encoder."""
        return self._encoder.model

    @property
    def dims(self) -> int:
        """Number of dimensions of a vector."""
        return self._encoder.dims

    @property
    def fingerprint(self) -> str:
        """That of the encoder."""
        return self._encoder.fingerprint

    @property
    def calibration_languages(self) -> list[str]:
        """Those of the encoder."""
        return list(self._encoder.calibration_languages)

    @property
    def behind(self) -> AnyEncoder:
        """The encoder that the queue encodes by."""
        return self._encoder

    def tokenised(self, texts: Sequence[str]) -> Tokenised | None:
        """Return the tokens of documents before they are cut; see :func:`mlret.encoders.reading.tokenised`."""
        return tokenised(self._encoder, texts)

    @property
    def longest_document(self) -> int | None:
        """That of the encoder."""
        return self._encoder.longest_document

    def token_counts(self, texts: Sequence[str], *, cut: bool = True) -> list[int]:
        """Count tokens; by the queue, which reads only the beginning of a long text, unless all of it counts."""
        return self._queue.wait("count", texts) if cut else self._encoder.token_counts(texts, cut=False)

    def _behind_prompt(self, side: Side, texts: Sequence[str], language: Languages) -> NDArray[np.float32]:
        texts = checked_texts(texts)
        found = self._queue.wait(side, texts, languages_of(texts, language))
        return np.stack(found) if found else np.empty((0, self.dims), dtype=np.float32)


class SharedTokenEncoder(TokenEncoder):
    """An encoder with a vector for each token that encodes by a queue.

    Parameters
    ----------
    queue
        The queue; its encoder gives the vectors.
    """

    def __init__(self, queue: EncoderQueue) -> None:
        self._queue, self._encoder = queue, queue.encoder
        self.name, self.runtime = self._encoder.name, self._encoder.runtime

    @property
    def model(self) -> Any:  # type: ignore[override]
        """The model of the encoder."""
        return self._encoder.model

    @property
    def dims(self) -> int:
        """Number of dimensions of a token vector."""
        return self._encoder.dims

    @property
    def fingerprint(self) -> str:
        """That of the encoder."""
        return self._encoder.fingerprint

    @property
    def behind(self) -> AnyEncoder:
        """The encoder that the queue encodes by."""
        return self._encoder

    def tokenised(self, texts: Sequence[str]) -> Tokenised | None:
        """Return the tokens of documents before they are cut; see :func:`mlret.encoders.reading.tokenised`."""
        return tokenised(self._encoder, texts)

    @property
    def longest_document(self) -> int | None:
        """That of the encoder."""
        return self._encoder.longest_document

    def token_counts(self, texts: Sequence[str], *, cut: bool = True) -> list[int]:
        """Count tokens; by the queue, which reads only the beginning of a long text, unless all of it counts."""
        return self._queue.wait("count", texts) if cut else self._encoder.token_counts(texts, cut=False)

    def _encode(self, texts: Sequence[str], task: str, language: Languages) -> Tokens:
        texts = checked_texts(texts)
        return self._queue.wait("query" if task == "query" else "document", texts, languages_of(texts, language))


def shared(queue: EncoderQueue) -> AnyEncoder:
    """Return an encoder of the same kind as that of a queue, which encodes by the queue."""
    return SharedEncoder(queue) if queue.encoder.similarity == "cosine" else SharedTokenEncoder(queue)
