"""A folder of shards that is open in this process, with a thread for each of several shards."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlret.data.columns import Columns
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import Corrupt, InputError, MlretError, NotFound
from mlret.index.ingest import Existing
from mlret.index.settings import Choice
from mlret.index.sharding.codec_of_shards import share_codec
from mlret.index.sharding.gathering import Answers, JoinedShards, Shards
from mlret.index.sharding.local_search import LocalSearch
from mlret.index.sharding.local_shard import LocalShard
from mlret.index.sharding.sharded_intake import ShardedIntake
from mlret.index.sharding.shards_manifest import ShardInfo, check_alike, read_shards
from mlret.index.storage.lock import LOCK, WriterLock
from mlret.index.storage.manifest import Manifest, has_manifest
from mlret.index.store.store import Store
from mlret.index.vectors.exact import Device

# Methods that one shard after another runs: they encode or build, for which each takes all processors, or they read so
# little that starting a thread takes longer.
_IN_TURN = frozenset(
    {"store_batch", "seal", "compact", "tune", "prepare", "complete", "ids", "fetch", "state", "get", "stored"}
)


class LocalShards(Shards):
    """The open shards of a folder.

    A shard that cannot be opened is named in the error of every call that needs it; :meth:`refresh` tries again.

    Parameters
    ----------
    folder
        The folder with ``shards.json``.
    device
        Where sealed segments are searched exactly, as for :class:`mlret.index.store.store.Store`.
    encoder
        The encoder; ``None`` to load it when it is first needed.

    Raises
    ------
    InputError
        If the folder is not divided into shards, or by another version of mlret.
    Corrupt
        If its manifest is damaged.
    """

    def __init__(self, folder: Path, *, device: Device = "cpu", encoder: AnyEncoder | None = None) -> None:
        self.stated = read_shards(folder)
        self._manifest = self.stated.described
        super().__init__(folder, tuple(info.folder for info in self.stated.shards), encoder, device)
        self._shards: dict[int, LocalShard | Exception] = {}
        self._threads = max(1, min(len(self), os.cpu_count() or 1))
        self._pool = ThreadPoolExecutor(self._threads, "mlret-shard")
        self._joined: JoinedShards | None = None
        self._open()

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    def intake(self, existing: Existing, columns: Columns) -> ShardedIntake:
        return ShardedIntake(self, existing, columns)

    def _stores(self) -> list[Store]:
        """Return the open shards, in their order."""
        shards = [self._shards[number] for number in range(len(self))]
        return [shard.store for shard in shards if isinstance(shard, LocalShard)]

    def maintain(self, *, more: bool) -> None:
        stores = self._stores()
        if self.manifest.similarity == "maxsim" and stores:
            space = stores[0].space
            if sum(store.tail_size() for store in stores) >= (space.bulk_size if more else space.segment_size):
                self.seal()

    def joined(self) -> JoinedShards | None:
        stores = self._stores()
        if len(stores) < len(self):
            return None
        if self._joined is None or list(self._joined.search.stores) != stores:
            search = LocalSearch(stores, lambda place, condition: stores[place].matching(condition), self._in_threads)
            self._joined = JoinedShards(self, search)
        return self._joined

    def _in_threads(self, call: Callable[[Sequence[int]], Any], places: Sequence[int]) -> list[Any]:
        """Call a function with as many parts of some places as there are threads; the last part in this thread."""
        parts = [places[start :: self._threads] for start in range(min(self._threads, len(places)))]
        running = [self._pool.submit(call, part) for part in parts[:-1]]
        last = call(parts[-1])
        return [*(one.result() for one in running), last]

    @contextmanager
    def writing(self) -> Iterator[None]:
        with WriterLock(self.folder / LOCK):
            self.refresh()
            yield

    def compact(self, due: bool, progress: Callable[[str, int, int], None] | None = None) -> list[Choice]:
        return [choice for some in self.every("compact", due, progress) for choice in some]

    def store_of(self, number: int) -> Store:
        shard = self._shards[number]
        if isinstance(shard, Exception):
            raise self.unanswered({number: shard})
        return shard.store

    def answering(self) -> list[int]:
        return [number for number, shard in self._shards.items() if isinstance(shard, LocalShard)]

    def _open(self) -> None:
        """Open the shards that are not open."""
        closed = [number for number in range(len(self)) if not isinstance(self._shards.get(number), LocalShard)]
        self._shards |= dict(zip(closed, self._pool.map(self._opened, closed), strict=True))
        if closed and self.manifest.similarity == "maxsim":
            share_codec(self._stores)

    def _opened(self, number: int) -> LocalShard | Exception:
        info = self.stated.shards[number]
        try:
            shard = LocalShard(self._store(info), lambda: self.encoder)
            shard.sealed_together = self.manifest.similarity == "maxsim"
            return shard
        except NotFound:
            return Corrupt(f"{self.folder / info.folder} is missing; restore it from a copy")
        except (MlretError, OSError) as error:
            return error

    def _store(self, info: ShardInfo) -> Store:
        path = self.folder / info.folder
        if not has_manifest(path):
            raise NotFound(path)
        store = Store(path, device=self.device)
        try:
            if store.manifest.identity != info.identity:
                raise Corrupt(f"{path} is a shard of another index; restore the one that belongs here")
            check_alike(self.folder, info.folder, store.manifest, self.manifest)
        except BaseException:
            store.close()
            raise
        return store

    def ask(self, method: str, arguments: Mapping[int, Sequence[Any]]) -> Answers:
        return self._gathered(lambda number: self._call(number, method, arguments[number]), list(arguments), method)

    def _call(self, number: int, method: str, arguments: Sequence[Any]) -> tuple[Any, Exception | None]:
        shard = self._shards[number]
        if isinstance(shard, Exception):
            return None, shard
        try:
            return getattr(shard, method)(*arguments), None
        except (MlretError, OSError) as error:
            return None, error

    def _gathered(
        self, call: Callable[[int], tuple[Any, Exception | None]], numbers: list[int], method: str
    ) -> Answers:
        answers = Answers({}, {})
        if method in _IN_TURN:
            done = [call(number) for number in numbers]
        else:
            # The last call runs in this thread, which would only wait otherwise.
            running = [self._pool.submit(call, number) for number in numbers[:-1]]
            last = [call(number) for number in numbers[-1:]]
            done = [one.result() for one in running] + last
        for number, (found, error) in zip(numbers, done, strict=True):
            if isinstance(error, InputError) and not isinstance(error, Corrupt):
                raise error  # What was given is wrong, not the shard.
            if error is None:
                answers.found[number] = found
            else:
                answers.failed[number] = error
        return answers

    def refresh(self) -> None:
        self._open()
        self.every("refresh")

    def delete(self, ids: Sequence[str], *, ignore_missing: bool = False) -> int:
        with self.writing():
            return super().delete(ids, ignore_missing=ignore_missing)

    def check_process(self) -> None:
        for shard in self._shards.values():
            if isinstance(shard, LocalShard):
                shard.store.records.check_process()

    def close(self) -> None:
        self._pool.shutdown()
        for shard in self._shards.values():
            if isinstance(shard, LocalShard):
                shard.close()
