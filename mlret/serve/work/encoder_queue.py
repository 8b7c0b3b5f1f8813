"""One encoder for all requests: texts of concurrent requests are encoded together, in one thread."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from time import sleep
from typing import Any

import numpy as np

from mlret.data.detection import DETECTION_CHARACTERS, detect_language
from mlret.data.languages import normalise_language
from mlret.encoders.encoder import Side
from mlret.encoders.multi_vector import AnyEncoder
from mlret.encoders.texts import checked_texts, languages_of
from mlret.index.vectors.space import Vectors
from mlret.serve.work.crew import Answer, shutting_down, too_many

# Texts that are encoded together. Of passages fewer, since a query that arrives meanwhile waits for them.
_QUERIES = 64
_PASSAGES = 16


@dataclass
class _Wanted:
    """Texts of one request, and the vectors of those that are encoded already."""

    texts: list[str]
    languages: list[str | None]
    answer: Answer[Vectors]
    vectors: list[Any] = field(default_factory=list)

    def ahead(self, most: int) -> int:
        """Return how many of its next texts fit among ``most``."""
        return min(most, len(self.texts) - len(self.vectors))


class EncoderQueue:
    """Encodes texts for an event loop.

    Queries go before passages. The vectors are those that the encoder gives when it is called alone.

    Parameters
    ----------
    encoder
        The encoder.
    gather
        Seconds to wait for more queries to encode together, if several were encoded together last. A query that comes
        alone is encoded at once.
    most_waiting
        Number of texts that may wait. More are refused with status 429, unless nothing waits.
    """

    def __init__(self, encoder: AnyEncoder, *, gather: float = 0.002, most_waiting: int = 4096) -> None:
        self.encoder = encoder
        self._gather = gather
        self._most_waiting = most_waiting
        self._waiting: dict[Side, deque[_Wanted]] = {"query": deque(), "document": deque()}
        self._texts = 0
        self._closing = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="encoder", daemon=True)
        self._thread.start()

    async def queries(self, texts: Iterable[str], languages: Sequence[str | None] | None = None) -> Vectors:
        """Encode queries, as :meth:`mlret.encoders.encoder.Encoder.encode_query` does.

        Parameters
        ----------
        texts
            ``n`` texts.
        languages
            Their ``n`` languages, ``None`` where unknown.

        Returns
        -------
        numpy.ndarray or list of numpy.ndarray
            ``(n, dims)`` float32; ``n`` arrays of shape ``(t, dims)`` from an encoder with a vector for each token.

        Raises
        ------
        InputError
            If a text is not valid Unicode, or a language is unknown.
        Problem
            If too many texts wait, or the queue is being closed.
        """
        return await self._encoded("query", texts, languages)

    async def passages(self, texts: Iterable[str], languages: Sequence[str | None] | None = None) -> Vectors:
        """Encode passages, as :meth:`mlret.encoders.encoder.Encoder.encode_document` does; see :meth:`queries`."""
        return await self._encoded("document", texts, languages)

    @property
    def waiting(self) -> int:
        """Number of texts that wait."""
        return self._texts

    async def close(self) -> None:
        """Encode what waits, then stop the thread. Later calls are refused."""
        with self._news:
            self._closing = True
            self._news.notify_all()
        await asyncio.to_thread(self._thread.join)

    async def _encoded(self, side: Side, texts: Iterable[str], languages: Sequence[str | None] | None) -> Vectors:
        # Checked here, so that one bad text does not fail the requests that are encoded together with it.
        texts = checked_texts(texts)
        codes = [
            None if code is None else normalise_language(code)
            for code in languages_of(texts, None if languages is None else list(languages))
        ]
        if not texts:
            return self._joined([])
        wanted = _Wanted(texts, codes, Answer())
        with self._news:
            if self._closing:
                raise shutting_down()
            if self._texts and self._texts + len(texts) > self._most_waiting:
                raise too_many("texts to encode")
            self._texts += len(texts)
            self._waiting[side].append(wanted)
            self._news.notify()
        return await wanted.answer.future

    def _joined(self, vectors: list[Any]) -> Vectors:
        if self.encoder.similarity == "maxsim":
            return vectors
        return np.stack(vectors) if vectors else np.empty((0, self.encoder.dims), dtype=np.float32)

    def _work(self) -> None:
        several = False
        while True:
            with self._news:
                self._news.wait_for(lambda: any(self._waiting.values()) or self._closing)
                if not any(self._waiting.values()):
                    return
                queries = bool(self._waiting["query"])
            if queries and several:
                sleep(self._gather)
            with self._news:
                side: Side = "query" if self._waiting["query"] else "document"
                batch = self._next(side)
            if side == "query":
                several = len(batch) > 1
            self._encode(side, batch)

    def _next(self, side: Side) -> list[tuple[_Wanted, int]]:
        """Take the next texts: requests with the number of their texts, in the order in which they came."""
        waiting = self._waiting[side]
        room = _QUERIES if side == "query" else _PASSAGES
        batch = []
        while waiting and room:
            wanted = waiting[0]
            if not wanted.answer.wanted:
                self._texts -= wanted.ahead(len(wanted.texts))
                waiting.popleft()
                continue
            count = wanted.ahead(room)
            room -= count
            self._texts -= count
            batch.append((wanted, count))
            if len(wanted.vectors) + count < len(wanted.texts):
                break
            waiting.popleft()
        return batch

    def _encode(self, side: Side, batch: list[tuple[_Wanted, int]]) -> None:
        encode = self.encoder.encode_query if side == "query" else self.encoder.encode_document
        texts: list[str] = []
        languages: list[str | None] = []
        for wanted, count in batch:
            place = len(wanted.vectors)
            texts += wanted.texts[place : place + count]
            languages += wanted.languages[place : place + count]
        try:
            if self.encoder.calibration_languages:  # As an index does with queries and documents.
                languages = [
                    code or detect_language(text[:DETECTION_CHARACTERS])
                    for text, code in zip(texts, languages, strict=True)
                ]
            vectors = encode(texts, language=languages)
        except BaseException as error:
            if len(batch) == 1:
                batch[0][0].answer.fail(error)
            else:  # One of them is to blame.
                for one in batch:
                    self._encode(side, [one])
            return
        start = 0
        for wanted, count in batch:
            wanted.vectors.extend(vectors[start : start + count])
            start += count
            if len(wanted.vectors) == len(wanted.texts):
                wanted.answer.give(self._joined(wanted.vectors))
