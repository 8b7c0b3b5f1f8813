"""One encoder for all requests: texts of concurrent requests are encoded together."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from time import sleep
from typing import Any, Literal

import numpy as np

from mlret.data.detection import DETECTION_CHARACTERS, detect_language
from mlret.data.languages import normalise_language
from mlret.encoders.multi_vector import AnyEncoder
from mlret.encoders.texts import checked_texts, languages_of
from mlret.index.concurrency.crew import Answer, Reply, Result, give_all
from mlret.index.vectors.space import Vectors
from mlret.serve.work.refusals import refused

Task = Literal["query", "count", "document"]
# Texts that are worked on together, by task; tasks that come first go first. Of passages few, since a query that
# arrives meanwhile waits for them.
_TOGETHER: dict[Task, int] = {"query": 64, "count": 1024, "document": 16}
# Characters of a text that are read. No encoder reads as many; to divide one word of millions of letters into tokens
# would take seconds, in which all others wait.
_LONGEST = 100_000


@dataclass
class _Wanted:
    """Texts of one request, and the results of those that were worked on already."""

    texts: list[str]
    languages: list[str | None]
    answer: Answer[list[Any]] | Reply
    taken: int = 0
    found: list[Any] = field(init=False)
    left: int = field(init=False)

    def __post_init__(self) -> None:
        self.left = len(self.texts)
        self.found = [None] * self.left


class EncoderQueue:
    """Encodes texts for an event loop.

    Queries go before passages. The vectors are those that the encoder gives when it is called alone.

    Parameters
    ----------
    encoder
        The encoder.
    threads
        Number of threads that encode. More than one only for an encoder of the light runtime, which allows it.
    gather
        Seconds to wait for more queries to encode together, if several were encoded together last. A query that comes
        alone is encoded at once.
    most_waiting
        Number of texts that may wait. More are refused with status 429, unless nothing waits.
    """

    def __init__(
        self, encoder: AnyEncoder, *, threads: int = 1, gather: float = 0.002, most_waiting: int = 4096
    ) -> None:
        self.encoder = encoder
        self._gather = gather
        self._most_waiting = most_waiting
        self._waiting: dict[Task, deque[_Wanted]] = {task: deque() for task in _TOGETHER}
        self._texts = self._idle = 0
        self._closing = False
        self._news = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, name=f"encoder-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

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
        return self._joined(await self._done("query", texts, languages))

    async def passages(self, texts: Iterable[str], languages: Sequence[str | None] | None = None) -> Vectors:
        """Encode passages, as :meth:`mlret.encoders.encoder.Encoder.encode_document` does; see :meth:`queries`."""
        return self._joined(await self._done("document", texts, languages))

    async def counts(self, texts: Iterable[str]) -> list[int]:
        """Count the tokens of texts; see :meth:`mlret.encoders.encoder.Encoder.token_counts`."""
        return await self._done("count", texts)

    @property
    def waiting(self) -> int:
        """Number of texts that wait."""
        return self._texts

    async def close(self) -> None:
        """Encode what waits, then stop the threads. Later calls are refused."""
        with self._news:
            self._closing = True
            self._news.notify_all()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def wait(self, task: Task, texts: Iterable[str], languages: Sequence[str | None] | None = None) -> list[Any]:
        """Work on texts for a thread that is not an event loop, and wait for it.

        Parameters
        ----------
        task
            ``"query"`` or ``"document"`` to encode them, ``"count"`` to count their tokens.
        texts, languages
            As for :meth:`queries`.

        Returns
        -------
        list
            A vector, the vectors of the tokens, or the number of tokens of each text.

        Raises
        ------
        InputError
            If a text is not valid Unicode, or a language is unknown.
        Problem
            If the queue is being closed. The texts may be of a write that has begun, so they are never too many.
        """
        wanted = self._wanted(texts, languages, reply := Reply())
        if not wanted.texts:
            return []
        self._submit(task, wanted, bounded=False)
        found: list[Any] = reply.wait()
        return found

    async def _done(self, task: Task, texts: Iterable[str], languages: Sequence[str | None] | None = None) -> list[Any]:
        answer: Answer[list[Any]] = Answer()
        wanted = self._wanted(texts, languages, answer)
        if not wanted.texts:
            return []
        self._submit(task, wanted, bounded=True)
        return await answer.future

    def _wanted(
        self, texts: Iterable[str], languages: Sequence[str | None] | None, answer: Answer[list[Any]] | Reply
    ) -> _Wanted:
        # Checked here, so that one bad text does not fail the requests that are encoded together with it.
        texts = [text if len(text) <= _LONGEST else text.strip()[:_LONGEST] for text in checked_texts(texts)]
        codes = languages_of(texts, None if languages is None else list(languages))
        return _Wanted(texts, [None if code is None else normalise_language(code) for code in codes], answer)

    def _submit(self, task: Task, wanted: _Wanted, *, bounded: bool) -> None:
        with self._news:
            if self._closing:
                raise refused(None)
            if bounded and self._texts and self._texts + len(wanted.texts) > self._most_waiting:
                raise refused("texts to encode")
            self._texts += len(wanted.texts)
            self._waiting[task].append(wanted)
            self._news.notify()

    def _joined(self, vectors: list[Any]) -> Vectors:
        if self.encoder.similarity == "maxsim":
            return vectors
        return np.stack(vectors) if vectors else np.empty((0, self.encoder.dims), dtype=np.float32)

    def _work(self) -> None:
        several = False
        while True:
            with self._news:
                self._idle += 1
                self._news.wait_for(lambda: self._first() or self._closing)
                task = self._first()
                if task is None:
                    return
            if task == "query" and several:
                sleep(self._gather)
            with self._news:
                batch = self._taken(task)
            if task == "query":
                several = len(batch) > 1
            if batch:
                give_all(self._results(task, batch))

    def _first(self) -> Task | None:
        return next((task for task, waiting in self._waiting.items() if waiting), None)

    def _taken(self, task: Task) -> list[tuple[_Wanted, int, int]]:
        """Take the next texts: each request, with the first and the last position of its texts that are taken.

        If other threads are idle, a share is left for them.
        """
        waiting = self._waiting[task]
        room = min(_TOGETHER[task], -(-self._texts // self._idle))
        self._idle -= 1
        batch = []
        while waiting and room:
            wanted = waiting[0]
            start, end = wanted.taken, len(wanted.texts)
            if not wanted.answer.wanted:
                self._texts -= end - start
                waiting.popleft()
                continue
            end = min(end, start + room)
            room -= end - start
            self._texts -= end - start
            wanted.taken = end
            batch.append((wanted, start, end))
            if end == len(wanted.texts):
                waiting.popleft()
        if self._first() is not None:
            self._news.notify()
        return batch

    def _results(self, task: Task, batch: list[tuple[_Wanted, int, int]]) -> list[Result]:
        """Work on texts, and return the results of the requests of which none is left."""
        texts = [text for wanted, start, end in batch for text in wanted.texts[start:end]]
        languages = [code for wanted, start, end in batch for code in wanted.languages[start:end]]
        try:
            values = iter(self._worked(task, texts, languages))
        except BaseException as error:
            if len(batch) == 1:
                return [(batch[0][0].answer, None, error)]
            # One of them is to blame.
            return [result for one in batch for result in self._results(task, [one])]
        finished: list[Result] = []
        for wanted, start, end in batch:
            wanted.found[start:end] = islice(values, end - start)
            wanted.left -= end - start
            if not wanted.left:
                finished.append((wanted.answer, wanted.found, None))
        return finished

    def _worked(self, task: Task, texts: list[str], languages: list[str | None]) -> Any:
        encoder = self.encoder
        if task == "count":
            return encoder.token_counts(texts)
        if encoder.calibration_languages:  # As an index does with queries and documents.
            languages = [
                code or detect_language(text[:DETECTION_CHARACTERS])
                for text, code in zip(texts, languages, strict=True)
            ]
        encode = encoder.encode_query if task == "query" else encoder.encode_document
        return encode(texts, language=languages)
