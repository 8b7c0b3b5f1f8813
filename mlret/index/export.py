"""Export the documents of an index to a file that an index can be built from."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from mlret.data.documents import Document
from mlret.data.durable import check_writable, write_atomically
from mlret.errors import InputError, require
from mlret.index.index import Index

_KINDS = (".jsonl", ".jsonl.gz", ".parquet")
_BATCH = 1024


def export_index(
    index: Index, file: str | Path, *, vectors: bool = False, progress: Callable[[int], None] | None = None
) -> int:
    """Write every document, in the order in which they were stored.

    Parameters
    ----------
    index
        The index.
    file
        A ``.jsonl``, ``.jsonl.gz`` or ``.parquet`` file. It is written completely or not at all.
    vectors
        Write the vectors too, as lists of ``dims`` floats under ``vector``; in a multi-vector index as lists of such
        lists under ``vectors``.
    progress
        Called with the number of documents written so far.

    Returns
    -------
    int
        The number of documents.

    Raises
    ------
    InputError
        If the file is of another kind or cannot be written.
    MissingExtraError
        If a Parquet file is asked for and pyarrow is not installed.
    """
    file = Path(file)
    kind = "".join(file.suffixes[-2:]) if file.suffix == ".gz" else file.suffix
    if kind not in _KINDS:
        raise InputError(f"{file}: unknown kind of file; give {', '.join(_KINDS)}")
    check_writable(file)
    write = partial(_write_parquet, dims=index.manifest.dims) if kind == ".parquet" else _write_jsonl
    count = 0

    def counted() -> Iterator[list[dict[str, Any]]]:
        nonlocal count
        for batch in _batches(index, vectors):
            yield batch
            count += len(batch)
            if progress is not None:
                progress(count)

    write_atomically(file, lambda path: write(path, counted(), kind))
    return count


def _batches(index: Index, vectors: bool) -> Iterator[list[dict[str, Any]]]:
    documents = index.documents()
    while batch := list(islice(documents, _BATCH)):
        rows = [_as_dict(document) for document in batch]
        if vectors:
            for row, vector in zip(rows, index.vectors([document.id for document in batch]), strict=True):
                row["vector" if vector.ndim == 1 else "vectors"] = vector.tolist()
        yield rows


def _as_dict(document: Document) -> dict[str, Any]:
    language = {} if document.language is None else {"lang": document.language}
    return {"id": document.id, "text": document.text, **language, "metadata": document.metadata}


def _write_jsonl(path: Path, batches: Iterator[list[dict[str, Any]]], kind: str) -> None:
    with gzip.open(path, "wt", encoding="utf-8") if kind.endswith(".gz") else path.open("w", encoding="utf-8") as out:
        for batch in batches:
            out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in batch)


def _write_parquet(path: Path, batches: Iterator[list[dict[str, Any]]], kind: str, dims: int) -> None:
    pa = require("pyarrow", extra="data", feature="writing Parquet")
    parquet = require("pyarrow.parquet", extra="data", feature="writing Parquet")
    # Metadata differs from record to record; as JSON it has one type.
    schema = pa.schema([("id", pa.string()), ("text", pa.string()), ("lang", pa.string()), ("metadata", pa.string())])
    writer = None
    try:
        for batch in batches:
            rows = [row | {"metadata": json.dumps(row["metadata"], ensure_ascii=False)} for row in batch]
            if writer is None:
                vector = pa.list_(pa.float32(), dims)
                given = {"vector": vector, "vectors": pa.list_(vector)}
                for name in given.keys() & rows[0].keys():
                    schema = schema.append(pa.field(name, given[name]))
                writer = parquet.ParquetWriter(path, schema)
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
        if writer is None:
            writer = parquet.ParquetWriter(path, schema)
    finally:
        if writer is not None:
            writer.close()
