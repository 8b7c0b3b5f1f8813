"""The encoders of the server: each is loaded once, whatever asks for it, and has one queue."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlret.encoders.encoder import Encoder
from mlret.encoders.external import ExternalEncoder
from mlret.encoders.light.light_encoder import LightEncoder, LightTokenEncoder
from mlret.encoders.light.threads import usable_threads
from mlret.encoders.multi_vector import AnyEncoder, load_any_encoder, load_head_of
from mlret.errors import InputError, NotFound
from mlret.index.vectors.space import Vectors
from mlret.serve.work.encoder_queue import EncoderQueue
from mlret.serve.work.shared_encoder import shared

_MOST_THREADS = 4


@dataclass(frozen=True)
class ServedEncoder:
    """An encoder that is loaded.

    Attributes
    ----------
    id
        The name that clients know it by: that of its folder, without the path, or its id on the hub.
    encoder
        The encoder.
    queue
        Encodes texts; ``None`` if mlret does not run the encoder.
    """

    id: str
    encoder: AnyEncoder
    queue: EncoderQueue | None

    @property
    def shared(self) -> AnyEncoder:
        """The encoder for code that encodes in a thread of its own: it goes through the queue."""
        return self.encoder if self.queue is None else shared(self.queue)

    async def queries(self, texts: Sequence[str], languages: Sequence[str | None] | None = None) -> Vectors:
        """Encode queries; see :meth:`mlret.serve.work.encoder_queue.EncoderQueue.queries`."""
        return await self._queue().queries(texts, languages)

    async def passages(self, texts: Sequence[str], languages: Sequence[str | None] | None = None) -> Vectors:
        """Encode passages; see :meth:`mlret.serve.work.encoder_queue.EncoderQueue.passages`."""
        return await self._queue().passages(texts, languages)

    async def counts(self, texts: Sequence[str]) -> list[int]:
        """Count tokens; see :meth:`mlret.serve.work.encoder_queue.EncoderQueue.counts`."""
        return await self._queue().counts(texts)

    def _queue(self) -> EncoderQueue:
        if self.queue is None:
            raise InputError(f"the vectors of this index are made elsewhere, by {self.encoder.name}; send vectors")
        return self.queue


class Encoders:
    """All encoders that are loaded.

    Parameters
    ----------
    default
        The encoder of new indexes and of requests that name none: a folder or a hub id, ``None`` for the bundled one.
        It is loaded when it is first needed.
    """

    def __init__(self, default: str | None = None) -> None:
        self._default = default
        self._served: dict[str, ServedEncoder] = {}
        self._heads: dict[str, ServedEncoder] = {}
        self._loading = asyncio.Lock()
        self._default_fingerprint: str | None = None

    def of(self, fingerprint: str) -> ServedEncoder | None:
        """Return the encoder of a fingerprint; ``None`` if it is not loaded."""
        return self._served.get(fingerprint)

    def add(self, encoder: AnyEncoder) -> ServedEncoder:
        """Serve an encoder, and return it; the one that is served already if there is one of its fingerprint."""
        if encoder.fingerprint not in self._served:
            self._served[encoder.fingerprint] = self._serving(encoder)
        return self._served[encoder.fingerprint]

    async def default(self) -> ServedEncoder:
        """Return the encoder of new indexes, and load it if it is not loaded.

        Raises
        ------
        InputError
            If it cannot be loaded.
        """
        async with self._loading:
            if self._default_fingerprint is None:
                encoder = await asyncio.to_thread(load_any_encoder, self._default)
                self._default_fingerprint = self.add(encoder).encoder.fingerprint
            return self._served[self._default_fingerprint]

    async def all(self) -> list[ServedEncoder]:
        """Return the encoders that mlret runs, the default one first."""
        default = await self.default()
        return [default, *(one for one in self._served.values() if one is not default and one.queue is not None)]

    async def named(self, name: str | None) -> ServedEncoder:
        """Return the encoder of a name.

        Parameters
        ----------
        name
            One of the ids of :meth:`all`; ``None`` or ``"default"`` for the default one.

        Raises
        ------
        NotFound
            If there is none of this name.
        """
        found = await self.all()
        if name is None or name == "default":
            return found[0]
        for served in found:
            if served.id == name:
                return served
        raise NotFound(f"there is no model {name!r}; there are {', '.join(one.id for one in found)} (GET /v1/models)")

    async def reranking(self, served: ServedEncoder) -> ServedEncoder:
        """Return what ranks best with an encoder: its head with a vector for each token, or itself if it has none."""
        fingerprint = served.encoder.fingerprint
        async with self._loading:
            if fingerprint not in self._heads:
                encoder = served.encoder
                head = await asyncio.to_thread(load_head_of, encoder) if isinstance(encoder, Encoder) else None
                self._heads[fingerprint] = served if head is None else self.add(head)
            return self._heads[fingerprint]

    async def warm(self) -> None:
        """Load what the first text would load otherwise."""
        for served in list(self._served.values()):
            if served.queue is not None:
                await served.queue.queries(["the train is late"], ["en"])

    async def close(self) -> None:
        """Encode what waits, and refuse what comes later."""
        for served in self._served.values():
            if served.queue is not None:
                await served.queue.close()

    def _serving(self, encoder: AnyEncoder) -> ServedEncoder:
        name = encoder.name.removeprefix("bundled:")
        id = Path(name).name if Path(name).is_dir() else name
        if any(one.id == id for one in self._served.values()):
            id = f"{id}@{encoder.fingerprint[:8]}"
        return ServedEncoder(id, encoder, None if isinstance(encoder, ExternalEncoder) else _queue_of(encoder))


def _queue_of(encoder: AnyEncoder) -> EncoderQueue:
    """Return a queue with as many threads as are useful for an encoder."""
    if encoder.runtime != "light":
        return EncoderQueue(encoder)  # torch itself computes in several threads.
    # The light runtime encodes a short text hardly faster in several threads than in one, and wastes much of them if
    # something else runs; several calls at a time use all of them.
    assert isinstance(encoder, LightEncoder | LightTokenEncoder)
    encoder.threads = 1
    return EncoderQueue(encoder, threads=min(_MOST_THREADS, usable_threads()))
