"""A graph that is being built is written every minute, so that a compaction that was stopped goes on from there."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from mlret.data.durable import sha256_of, write_atomically, write_text_atomically
from mlret.errors import MlretError
from mlret.index.settings import IndexSettings
from mlret.index.storage.blocks import sums_of
from mlret.index.storage.manifest import SegmentInfo
from mlret.index.storage.sealed import BEGUN, SealedFiles
from mlret.index.vectors.graph_storage import read_links, write_links
from mlret.index.vectors.rounding import Matrix

_SECONDS = 60.0  # Writing the links of a graph of a million vectors takes a second.


class BegunGraph:
    """The links of a graph over the first vectors of a matrix, as far as it has been built, in two files.

    They are named after the vectors of a segment that the manifest lists, and are removed with these, or when the graph
    is complete. They belong to every matrix that begins with the vectors that they were made of, so that more vectors
    may come between a compaction that was stopped and the next one.

    Parameters
    ----------
    files
        The sealed files of the index.
    info
        The segment that the files are named after: the one that gets the graph, or that whose graph is extended.
    matrix
        ``(n, dims)``: the vectors that the graph is built over.
    settings
        The settings that the graph is built with.
    """

    def __init__(self, files: SealedFiles, info: SegmentInfo, matrix: Matrix, settings: IndexSettings) -> None:
        self._graph = files.folder / f"{info.vectors.file}{BEGUN}"
        self._note = self._graph.with_name(f"{self._graph.name}.json")
        self._codes = matrix if isinstance(matrix, np.ndarray) else matrix.codes
        self._settings = settings
        self._last = time.monotonic()

    def read(self) -> Any | None:
        """Return the links that a build which was stopped has left; ``None`` if there are none that are intact."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            note = json.loads(self._note.read_text(encoding="utf-8"))
            if note["rows"] <= len(self._codes) and note == self._stated(note["rows"]):
                return read_links(self._graph, self._codes.shape[1], note["rows"], self._settings)
        return None

    def keep(self, graph: Any) -> None:
        """Write the links of a graph if it is time to, unless the disk is full."""
        if time.monotonic() - self._last < _SECONDS:
            return
        with suppress(OSError, RuntimeError, MlretError):
            write_atomically(self._graph, partial(write_links, graph))
            write_text_atomically(self._note, json.dumps(self._stated(graph.ntotal)))
        self._last = time.monotonic()

    def remove(self) -> None:
        """Remove the files."""
        for path in (self._note, self._graph):
            path.unlink(missing_ok=True)

    def _stated(self, rows: int) -> dict[str, Any]:
        """Return what the note states about the file of a graph over the first ``rows`` vectors."""
        vectors = hashlib.sha256(sums_of(self._codes[:rows]).tobytes()).hexdigest()
        of = {
            "rows": rows,
            "vectors": vectors,
            "m": self._settings.m,
            "ef_construction": self._settings.ef_construction,
        }
        return of | {"sha256": sha256_of(self._graph)}
