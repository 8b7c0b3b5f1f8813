"""A memory: short texts that belong to someone, added one at a time and found from any language."""

from __future__ import annotations

from pathlib import Path

from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import MlretError
from mlret.index.index import Index
from mlret.index.manifest import has_manifest
from mlret.memory import tables
from mlret.memory.finding import Finding
from mlret.memory.handle import THRESHOLDS
from mlret.memory.hits import Added, MemoryHit
from mlret.memory.keeping import Keeping
from mlret.memory.records import MemoryRecord
from mlret.memory.scope import parse_scope

__all__ = ["THRESHOLDS", "Added", "Memory", "MemoryHit", "MemoryRecord", "parse_scope"]


class Memory(Finding, Keeping):
    """Memories on disk, in one folder. Make or open one with :meth:`open`.

    Every record belongs to a scope, and every verb names one: what is outside it does not exist for that call. Nothing
    is changed in place: a record is a chain of versions, and a journal keeps what was done, so that all of it can be
    asked for and taken back, except :meth:`erase`. It may be used from several threads; one process writes at a time,
    and what others wrote is seen after :meth:`refresh` or one's own next write.
    """

    @classmethod
    def open(cls, path: str | Path, encoder: AnyEncoder | str | Path | None = None) -> Memory:
        """Open a memory store, or make it.

        Parameters
        ----------
        path
            The folder.
        encoder
            The encoder, its folder or hub id. By default the one that the store was made with, and the
            bundled one for a new store.

        Raises
        ------
        InputError
            If something that is no memory store stands at ``path``.
        FingerprintError
            If the store was made with another encoder: :meth:`reembed` moves it to a new one.
        """
        path = Path(path)
        if not has_manifest(path):
            try:
                return cls(Index.create(path, encoder, kind="memory", schema=tables.SCHEMA))
            except MlretError:
                if not has_manifest(path):  # else another process made it first: open that
                    raise
        return cls(Index.open(path, encoder, kind="memory"))
