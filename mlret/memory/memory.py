"""The :class:`Memory` class: a store of short texts that belong to a scope and can be searched from any language."""

from __future__ import annotations

from pathlib import Path

from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import MlretError
from mlret.index.index import Index
from mlret.index.storage.manifest import has_manifest
from mlret.memory.base import THRESHOLDS
from mlret.memory.editing import MemoryEditing
from mlret.memory.profiling import MemoryProfiling
from mlret.memory.reading import MemoryReading
from mlret.memory.records import MemoryRecord
from mlret.memory.results import Added, MemoryHit
from mlret.memory.scope import parse_scope
from mlret.memory.storage import tables
from mlret.memory.watching import MemoryWatching
from mlret.memory.writing import MemoryWriting

__all__ = ["THRESHOLDS", "Added", "Memory", "MemoryHit", "MemoryRecord", "parse_scope"]


class Memory(MemoryReading, MemoryWriting, MemoryEditing, MemoryWatching, MemoryProfiling):
    """A store of memories on disk, in one folder. Create or open one with :meth:`open`.

    Every record belongs to a scope, and every method takes one: records outside the scope do not exist for that call.
    Nothing is changed in place. A record is a chain of versions, and a journal records every operation, so that the
    whole history can be read and any operation undone, except :meth:`erase`. A store may be used from several threads.
    Only one process writes at a time; changes by other processes become visible after :meth:`refresh` or after this
    process's next write.

    Examples
    --------
    The examples of the methods use this memory and this scope.

    >>> from mlret import Memory
    >>> memory = Memory.open("agent.memory")
    >>> anna = {"user": "anna"}
    >>> memory.add("Je suis allergique aux arachides.", anna, id="nuts", language="fr").verdict
    'added'
    >>> memory.add("Ich wohne seit 2021 in Rom.", anna, id="home", language="de", tags=["address"]).verdict
    'added'
    >>> [hit.id for hit in memory.search("Which foods must she avoid?", anna, k=1)]
    ['nuts']
    """

    @classmethod
    def create(
        cls, path: str | Path, encoder: AnyEncoder | str | Path | None = None, *, shards: int | None = None
    ) -> Memory:
        """Create an empty memory store and open it.

        Parameters
        ----------
        path
            The folder to create.
        encoder
            The encoder, its folder or its hub id; ``None`` for the bundled one.
        shards
            Divide the tenants among this many shards, which are stores in folders of their own: all records of a tenant
            are in the shard of its name, and those without a tenant in one of them. ``None`` for one store.

        Returns
        -------
        Memory
            The open store.

        Raises
        ------
        InputError
            If something exists at ``path`` already.

        Examples
        --------
        >>> from mlret import Memory
        >>> with Memory.create("tenants.memory", shards=4) as tenants:
        ...     added = tenants.add("The invoice is due on Friday.", {"tenant": "acme", "user": "anna"})
        ...     len(tenants)
        1
        """
        return cls(Index.create(path, encoder, kind="memory", schema=tables.SCHEMA, shards=shards))

    @classmethod
    def open(cls, path: str | Path, encoder: AnyEncoder | str | Path | None = None) -> Memory:
        """Open a memory store, creating it if it does not exist.

        Parameters
        ----------
        path
            Folder of the store.
        encoder
            The encoder, its folder or its hub id. Defaults to the encoder that the store was created with, or to the
            bundled one for a new store.

        Returns
        -------
        Memory
            The open store.

        Raises
        ------
        InputError
            If ``path`` holds something other than a memory store.
        FingerprintError
            If the store was created with another encoder; :func:`mlret.memory.maintenance.upkeep.reembed` copies it
            to a new one.

        Examples
        --------
        >>> from mlret import Memory
        >>> with Memory.open("agent.memory") as memory:
        ...     len(memory)
        2
        """
        path = Path(path)
        if not has_manifest(path):
            try:
                return cls(Index.create(path, encoder, kind="memory", schema=tables.SCHEMA))
            except MlretError:
                if not has_manifest(path):  # Otherwise another process created it first; open that one.
                    raise
        return cls(Index.open(path, encoder, kind="memory"))
