"""Kill a process at one of its durable writes, in a process that is forked from one with everything imported."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlret.index.index import Index
from mlret.index.storage import blocks, sealed, vector_table
from mlret.index.store import store
from mlret.index.vectors import begun_graph, segments, writing
from mlret.index.verify import verify_index
from tests.index import damaging
from tests.index.made import encoder, shrink
from tests.index.test_manifest import Replayed

# The modules that know how many rows share a checksum, and how many do so in these tests.
OF_BLOCKS = (blocks, segments, writing)
ROWS = 8
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__, "faiss"])


def write_until_killed(folder: Path, steps: int, act: str) -> int:
    """Compact or repair an index in another process, and return its exit code.

    It kills itself before or after a durable write: a file, the manifest, the transaction that follows it, vectors in
    the database, or the removal of files.

    Parameters
    ----------
    folder
        The index.
    steps
        How many such moments it survives.
    act
        ``compact``; ``add``, to add documents first; or ``repair``, with an encoder.
    """
    process = _PROCESSES.Process(target=_write, args=(folder, steps, act))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _write(folder: Path, steps: int, act: str) -> None:
    left = steps

    def survive() -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            survive()
            found = function(*arguments, **named)
            survive()
            return found

        return call

    shrink()
    for module in OF_BLOCKS:
        module.ROWS = ROWS
    begun_graph._SECONDS = 0.0
    for owner, name in (
        (sealed, "write_atomically"),
        (begun_graph, "write_atomically"),
        (store, "write_manifest"),
        (store, "settle"),
        (sealed.SealedFiles, "remove_all_but"),
        (vector_table.VectorTable, "add"),
    ):
        setattr(owner, name, counted(getattr(owner, name)))
    if act == "repair":
        verify_index(folder, Replayed("test", 8, "cosine"), repair=True)
        return
    with Index.open(folder, encoder()) as index:
        if act == "add":
            damaging.store(index, 80, 110)
        index.compact()
