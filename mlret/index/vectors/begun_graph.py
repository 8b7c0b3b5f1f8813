"""A graph that is being built is written every minute, so that a compaction that was stopped goes on from there."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from importlib import import_module
from typing import Any

from mlret.data.durable import sha256_of, write_atomically, write_text_atomically
from mlret.errors import MlretError
from mlret.index.settings import IndexSettings
from mlret.index.storage.manifest import SegmentInfo
from mlret.index.storage.sealed import BEGUN, SealedFiles

_SECONDS = 60.0  # Writing a graph of a million vectors takes a second.


class BegunGraph:
    """The graph of a segment as far as it has been built, in two files beside the vectors of the segment.

    They belong to no manifest. They are removed with the vectors, or when the graph is complete.

    Parameters
    ----------
    files
        The sealed files of the index.
    info
        What the manifest states about the segment.
    settings
        The settings that the graph is built with.
    """

    def __init__(self, files: SealedFiles, info: SegmentInfo, settings: IndexSettings) -> None:
        self._graph = files.folder / f"{info.vectors.file}{BEGUN}"
        self._note = self._graph.with_name(f"{self._graph.name}.json")
        self._of = {"vectors": info.vectors.sha256, "m": settings.m, "ef_construction": settings.ef_construction}
        self._last = time.monotonic()

    def read(self) -> Any | None:
        """Return the graph that a build which was stopped has left; ``None`` if there is none that is intact."""
        with suppress(OSError, ValueError, RuntimeError):
            if json.loads(self._note.read_text(encoding="utf-8")) == self._of | {"sha256": sha256_of(self._graph)}:
                return import_module("faiss").read_index(str(self._graph))
        return None

    def keep(self, graph: Any) -> None:
        """Write a graph if it is time to, unless the disk is full."""
        if time.monotonic() - self._last < _SECONDS:
            return
        with suppress(OSError, RuntimeError, MlretError):
            write_atomically(self._graph, lambda path: import_module("faiss").write_index(graph, str(path)))
            note = self._of | {"sha256": sha256_of(self._graph)}
            write_text_atomically(self._note, json.dumps(note))
        self._last = time.monotonic()

    def remove(self) -> None:
        """Remove the files."""
        for path in (self._note, self._graph):
            path.unlink(missing_ok=True)
