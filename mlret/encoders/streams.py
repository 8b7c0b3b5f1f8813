"""Encode documents into a file: `.npy` beside their ids, or Parquet."""

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
    """Encode documents in a stream; memory does not grow with them.

    Parameters
    ----------
    encoder
        The encoder.
    documents
        The documents. Where an encoder is calibrated by language and a document does not say its own, it is detected.
    file
        ``.npy``: ``(n, dims)`` float32, and beside it ``.ids.txt``, an id a line; ``.parquet``: columns ``id``,
        ``lang``, ``vector``. Written whole or not at all.
    progress
        Called with the number of documents encoded so far.

    Returns
    -------
    int
        How many documents there are.

    Raises
    ------
    InputError
        If the file is of another kind or cannot be written, there are no documents, or an id has a line break and the
        file has a line for each.
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
        # Room for the largest number of rows, so that the header can be written again when it is known.
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
