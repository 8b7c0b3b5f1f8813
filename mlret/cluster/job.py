"""What the processes of a build on Ray are told."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mlret
from mlret.cluster.storage import Storage, is_url
from mlret.encoders.external import ExternalEncoder
from mlret.encoders.multi_vector import AnyEncoder, load_any_encoder
from mlret.encoders.precision import Precision
from mlret.errors import FingerprintError, InputError
from mlret.index.settings import IndexSettings
from mlret.index.vectors.space import Vectors

# The folder of what is needed only until the index is complete.
WORK = "work"


@dataclass(frozen=True)
class Job:
    """A build on Ray, the same for all its processes.

    Attributes
    ----------
    place
        The index to build: a path or a URL.
    building
        The folder in which it is built until it is complete; of a URL, that of the work.
    shards, parts
        The number of shards, and of parts of the corpus.
    encoder, precision
        What encodes: the name or folder of an encoder, ``None`` for the bundled one.
    fingerprint
        The fingerprint of this encoder.
    settings, batch_size
        As for :func:`mlret.index.build.build_index`.
    vectors, lengths
        The files of given vectors; see :func:`mlret.index.vectors.vector_files.load_vectors`.
    threads
        The number of threads that an actor computes with.
    folder
        The current folder, which relative paths start from.
    version
        The version of mlret.
    """

    place: str
    building: str
    shards: int
    parts: int
    encoder: str | ExternalEncoder | None
    precision: Precision
    fingerprint: str
    settings: IndexSettings
    batch_size: int
    vectors: Path | None
    lengths: Path | None
    threads: int
    folder: str
    version: str

    @property
    def storage(self) -> Storage:
        """Where the divided corpus is, and what is known of complete shards."""
        return Storage(f"{self.building}/{WORK}")

    @property
    def in_place(self) -> bool:
        """Whether shards are built in the shared folder, and not in a folder of the node and then copied."""
        return not is_url(self.place)

    def enter(self) -> None:
        """Prepare a process of a node for its work.

        Raises
        ------
        InputError
            If the node has another version of mlret, or does not share the current folder.
        """
        if mlret.__version__ != self.version:
            raise InputError(
                f"the node {socket.gethostname()} has mlret {mlret.__version__}, not {self.version}: install the same "
                "version on all nodes"
            )
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise InputError(
                f"{self.folder} is not a folder on the node {socket.gethostname()}: work in one that all nodes share"
            ) from error

    def load_encoder(self) -> AnyEncoder:
        """Load the encoder.

        Raises
        ------
        FingerprintError
            If the node has another encoder under its name.
        """
        named = self.encoder
        found = named if isinstance(named, ExternalEncoder) else load_any_encoder(named, precision=self.precision)
        if found.fingerprint != self.fingerprint:
            raise FingerprintError(
                f"the node {socket.gethostname()} has another encoder {found.name} than this machine: give all nodes "
                "the same"
            )
        return found

    def load_vectors(self, places: NDArray[np.int64], scratch: Path) -> Vectors | None:
        """Return the given vectors of some documents, in a file that is mapped; ``None`` if texts are encoded.

        Parameters
        ----------
        places
            ``(n,)`` int64: the places of the documents in the corpus.
        scratch
            A folder for the file.
        """
        if self.vectors is None:
            return None
        from mlret.index.vectors.ragged import Ragged, rows_of
        from mlret.index.vectors.vector_files import load_vectors

        given = load_vectors(self.vectors, self.lengths)
        if isinstance(given, Ragged):
            rows, offsets = rows_of(given.offsets, places)
            return Ragged(_copied(given.values, rows, scratch), offsets)
        return _copied(given, places, scratch)


# Rows that are copied at once.
_ROWS = 1 << 14


def _copied(matrix: NDArray[Any], rows: NDArray[np.int64], scratch: Path) -> NDArray[Any]:
    """Copy rows of a matrix to a file, a part at a time, and return it mapped."""
    if not len(rows):  # An empty file cannot be mapped.
        return np.empty((0, matrix.shape[1]), matrix.dtype)
    path = scratch / "vectors.npy"
    made = np.lib.format.open_memmap(path, "w+", dtype=matrix.dtype, shape=(len(rows), matrix.shape[1]))
    for start in range(0, len(rows), _ROWS):
        made[start : start + _ROWS] = matrix[rows[start : start + _ROWS]]
    made.flush()
    found: NDArray[Any] = np.load(path, mmap_mode="r")
    return found
