"""A shard behind a deployment of Ray Serve: what a replica answers."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from mlret.cluster.call_server import CallServer
from mlret.cluster.connection import node_address
from mlret.cluster.direct_connection import Address
from mlret.errors import Corrupt, InputError, MlretError, first_line
from mlret.index.sharding.local_shard import LocalShard
from mlret.index.sharding.shard import Shard, State
from mlret.index.storage.manifest import has_manifest
from mlret.index.store.store import Store

# What a replica is not asked. Writes go to the folder, by the one process that writes.
_WRITING = {"close", "compact", "delete", "delete_matching", "finish", "keep_receipt", "seal", "store_batch", "tune"}
READING = {name for name in vars(Shard) if not name.startswith("_")} - _WRITING


class Call(NamedTuple):
    """What a replica is asked.

    Attributes
    ----------
    method
        The name of a method of :class:`mlret.index.sharding.shard.Shard` that reads; or ``"refresh"``, after which the
        state is returned.
    arguments
        Its arguments.
    least
        The number of changes that the answer must know of.
    """

    method: str
    arguments: Sequence[Any]
    least: int


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

    Ray Serve starts and replaces it and hands out its address; the calls come over direct connections.

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
    Unavailable
        If it cannot listen on the address of its node.
    """

    def __init__(self, folder: str, identity: str, threads: int) -> None:
        self._closed = True  # Until it is open.
        os.environ["OMP_NUM_THREADS"] = str(threads)
        self._path = Path(folder)
        self._identity = identity
        # A connection to SQLite belongs to a thread.
        self._thread = ThreadPoolExecutor(1, "mlret-shard")
        self._shard = self._thread.submit(self._opened).result()
        self._calls = CallServer(node_address(), self.answer)
        self._closed = False

    async def address(self) -> Address:
        """Return where this replica answers calls, with the key that whoever connects must know."""
        return self._calls.address

    def check_health(self) -> None:
        """Raise if nobody can connect to this replica, so that Ray Serve replaces it."""
        if not self._calls.listens:
            raise MlretError("the replica does not listen any more")

    def answer(self, call: Call) -> Answer | MlretError:
        """Call a method of the shard, and return what it returned or the error that it raised."""
        try:
            return self._thread.submit(self._found, *call).result()
        except MlretError as error:
            return error
        except Exception as error:
            # The logger that writes to the files of Ray Serve.
            logging.getLogger("ray.serve").exception("a call of %s failed", call.method)
            return MlretError(f"{type(error).__name__}: {first_line(error)}")

    def close(self) -> None:
        """Close the connections and the folder. Whoever waits for an answer asks another replica."""
        if not self._closed:
            self._closed = True
            self._calls.close()
            self._thread.submit(self._shard.close)
            self._thread.shutdown(wait=False)

    def __del__(self) -> None:
        """Close the replica, if it could be opened. Ray Serve calls this at the end of a graceful shutdown."""
        self.close()

    def _found(self, method: str, arguments: Sequence[Any], least: int) -> Answer:
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
