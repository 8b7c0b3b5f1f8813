"""Encode documents to a file: ``.npy`` with a separate file of ids, or Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlret.data.detection import detect_language
from mlret.data.documents import Document
from mlret.data.durable import check_writable, write_atomically, write_text_atomically
from mlret.encoders.encoder import Encoder
from mlret.errors import InputError, require

_BATCH = 4096
_KINDS = (".npy", ".parquet")
Batches = Iterator[tuple[list[Document], NDArray[np.float32]]]


def encode_to_file(
    encoder: Encoder, documents: Iterable[Document], file: str | Path, *, progress: Callable[[int], None] | None = None
) -> int:
    """Encode documents as a stream to a file; memory use does not grow with the number of documents.

    Parameters
    ----------
    encoder
        The encoder.
    documents
        The documents. If the encoder has a calibration, the language of documents that do not state one is detected.
    file
        ``.npy`` gets an ``(n, dims)`` float32 array, with a separate ``.ids.txt`` of one id per line; ``.parquet`` gets
        the columns ``id``, ``lang`` and ``vector``. The file is written completely or not at all.
    progress
        Called with the number of documents encoded so far.

    Returns
    -------
    int
        Number of documents.

    Raises
    ------
    InputError
        If the file has another suffix or cannot be written, there are no documents, or an id that goes into
        ``.ids.txt`` contains a line break.
    """
    file = Path(file)
    if file.suffix not in _KINDS:
        raise InputError(f"{file}: unknown kind of file; give {' or '.join(_KINDS)}")
    check_writable(file)
    if file.suffix == ".parquet":
        require("pyarrow", extra="data", feature="writing Parquet")
    counted = _Counted(progress)
    batches = counted(_encoded(encoder, documents))
    if file.suffix == ".parquet":
        write_atomically(file, partial(_write_parquet, batches=batches, dims=encoder.dims))
    else:
        ids: list[str] = []
        write_atomically(file, partial(_write_npy, batches=batches, dims=encoder.dims, ids=ids))
        write_text_atomically(file.with_suffix(".ids.txt"), "".join(f"{id}\n" for id in ids))
    return counted.count


class _Counted:
    def __init__(self, progress: Callable[[int], None] | None) -> None:
        self.count = 0
        self._progress = progress

    def __call__(self, batches: Batches) -> Batches:
        for documents, vectors in batches:
            self.count += len(documents)
            yield documents, vectors
            if self._progress is not None:
                self._progress(self.count)
        if not self.count:
            raise InputError("there are no documents to encode")


def _encoded(encoder: Encoder, documents: Iterable[Document]) -> Batches:
    source = iter(documents)
    detects = bool(encoder.calibration_languages)
    while batch := list(islice(source, _BATCH)):
        languages = [d.language or (detect_language(d.text) if detects else None) for d in batch]
        yield batch, encoder.encode_document([document.text for document in batch], language=languages)


def _write_npy(path: Path, batches: Batches, dims: int, ids: list[str]) -> None:
    def header(rows: int) -> bytes:
        # The header is padded for the largest number of rows, so that it can be rewritten when the number is known.
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dims}), }}".ljust(117) + "\n"
        return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("latin1")

    with path.open("wb") as out:
        out.write(header(0))
        for documents, vectors in batches:
            for document in documents:
                if "\n" in document.id or "\r" in document.id:
                    raise InputError(f"the id {document.id!r} has a line break; write Parquet instead")
                ids.append(document.id)
            out.write(np.ascontiguousarray(vectors, dtype="<f4").data)
        out.seek(0)
        out.write(header(len(ids)))


def _write_parquet(path: Path, batches: Batches, dims: int) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    vector = pa.list_(pa.float32(), dims)
    schema = pa.schema([("id", pa.string()), ("lang", pa.string()), ("vector", vector)])
    with parquet.ParquetWriter(path, schema) as writer:
        for documents, vectors in batches:
            columns = [
                pa.array([document.id for document in documents]),
                pa.array([document.language for document in documents], pa.string()),
                pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dims),
            ]
            writer.write_table(pa.table(columns, schema=schema))
