"""A shard behind a deployment of Ray Serve: what a replica answers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from mlret.errors import Corrupt, InputError
from mlret.index.sharding.local_shard import LocalShard
from mlret.index.sharding.shard import Shard, State
from mlret.index.storage.manifest import has_manifest
from mlret.index.store.store import Store

# What a replica is not asked. Writes go to the folder, by the one process that writes.
_WRITING = {"close", "compact", "delete", "delete_matching", "finish", "keep_receipt", "seal", "store_batch", "tune"}
READING = {name for name in vars(Shard) if not name.startswith("_")} - _WRITING


class Answer(NamedTuple):
    """What a replica answers.

    Attributes
    ----------
    found
        What the method of the shard returned.
    changes
        The number of changes that the shard counted then.
    """

    found: Any
    changes: int


class ShardServer:
    """A replica of a shard: an open folder that is read by one thread.

    Parameters
    ----------
    folder
        The folder of the shard, which is on this node under the same path.
    identity
        The identity of the index in it.
    threads
        The number of threads that it computes with.

    Raises
    ------
    InputError
        If the folder is not on this node.
    Corrupt
        If the folder holds another index.
    """

    def __init__(self, folder: str, identity: str, threads: int) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        self._path = Path(folder)
        self._identity = identity
        # A connection to SQLite belongs to a thread.
        self._thread = ThreadPoolExecutor(1, "mlret-shard")
        self._shard = self._thread.submit(self._opened).result()

    async def ask(self, method: str, arguments: Sequence[Any], least: int) -> Answer:
        """Call a method of the shard that reads.

        Parameters
        ----------
        method
            The name of a method of :class:`mlret.index.sharding.shard.Shard`; or ``"refresh"``, after which the state
            is returned.
        arguments
            Its arguments.
        least
            The number of changes that the answer must know of.

        Returns
        -------
        Answer
            What was found.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, method, arguments, least)

    def _answer(self, method: str, arguments: Sequence[Any], least: int) -> Answer:
        shard = self._shard
        if method == "refresh" or shard.store.changes < least:
            shard.refresh()
        if method == "refresh":
            state: State = shard.state()
            return Answer(state, state.changes)
        if method not in READING:
            raise InputError(f"a replica of a shard only reads: {method} goes to the folder itself")
        return Answer(getattr(shard, method)(*arguments), shard.store.changes)

    def _opened(self) -> LocalShard:
        if not has_manifest(self._path):
            raise InputError(f"{self._path} is not on this node: keep indexes in a folder that all nodes share")
        store = Store(self._path)
        if store.manifest.identity != self._identity:
            store.close()
            raise Corrupt(f"{self._path} is a shard of another index; restore the one that belongs here")
        return LocalShard(store)
