"""A corpus: documents streamed from files, folders of benchmarks, data sets of the hub, or standard input."""

from __future__ import annotations

import datetime
import gzip
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from mlret.data.documents import Document, document_from_mapping
from mlret.data.files import read_lines
from mlret.data.languages import normalise_language
from mlret.errors import InputError, require

_SUFFIXES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".tsv", ".tsv.gz", ".parquet")
_HUB = re.compile(r"hub:(?P<name>[^:@]+)(:(?P<config>[^:@]+))?(@(?P<split>[^:@]+))?")
# What the official archives are called; Mr.TyDi names languages in English, MIRACL by code.
_ARCHIVE = re.compile(r"(mrtydi-v[\d.]+|miracl-corpus-v[\d.]+)-(?P<language>[a-z]+)")
_ENGLISH_NAMES = {
    "arabic": "ar",
    "bengali": "bn",
    "english": "en",
    "finnish": "fi",
    "indonesian": "id",
    "japanese": "ja",
    "korean": "ko",
    "russian": "ru",
    "swahili": "sw",
    "telugu": "te",
    "thai": "th",
}
_PARQUET_ROWS = 256


@dataclass(frozen=True, slots=True)
class Part:
    """One thing to read, -1 ``bytes`` long if unknown; its documents are of ``language`` unless they say theirs."""

    name: str
    bytes: int
    read: Callable[[], Iterator[tuple[int, Document]]]
    language: str | None = None


class Corpus:
    """Documents of several sources, one after another; memory does not grow with them.

    All sources are checked before the first is read.

    Parameters
    ----------
    sources
        Each of:

        - ``.jsonl`` (an object a line; see :func:`mlret.data.documents.document_from_mapping`), ``.tsv`` (the first
          line names the columns, ``id`` and ``text`` among them; others become metadata), both perhaps gzipped;
          ``.parquet`` (columns as the keys of JSONL; ``metadata`` may be JSON text);
        - a folder of BEIR (``corpus.jsonl``), Mr.TyDi (``collection/docs.jsonl.gz``) or MIRACL (``docs-*.jsonl.gz``),
          whose language is in the folder's name;
        - ``hub:NAME``, ``hub:NAME:CONFIG``, ``hub:NAME:CONFIG@SPLIT``: a data set of the Hugging Face hub, streamed;
        - ``-``: JSONL on standard input.

    Attributes
    ----------
    total_bytes
        How much there is to read; ``None`` where a source does not say.
    read_bytes
        How much of it has been read.

    Raises
    ------
    InputError
        If there are no sources, or one is missing or of an unknown kind.
    """

    def __init__(self, sources: Sequence[str | Path]) -> None:
        if not sources:
            raise InputError("no files to read; name at least one, e.g. a .jsonl or .tsv file")
        self._parts = [part for source in sources for part in self._parts_of(source)]
        sizes = [part.bytes for part in self._parts]
        self.total_bytes = sum(sizes) if all(size >= 0 for size in sizes) else None
        self.read_bytes = 0

    def __iter__(self) -> Iterator[Document]:
        """Stream the documents.

        Raises
        ------
        InputError
            If a source is empty, damaged, or a record is malformed; the message names file and line (Parquet and hub:
            row, from 1).
        """
        done = 0
        for part in self._parts:
            found = False
            for position, document in part.read():
                found = True
                if document.language is None and part.language is not None:
                    document = replace(document, language=part.language)
                self.read_bytes = done + position
                yield document
            if not found:
                raise InputError(f"{part.name}: the file is empty; give at least one document")
            done += max(0, part.bytes)
            self.read_bytes = done

    def _parts_of(self, source: str | Path) -> list[Part]:
        if str(source) == "-":
            return [Part("standard input", -1, partial(_read_jsonl, Path("standard input"), _standard_input))]
        if str(source).startswith("hub:"):
            return [_hub_part(str(source))]
        path = Path(source)
        if not path.exists():
            raise InputError(f"{path}: no such file; check the path")
        if path.is_dir():
            return [_file_part(file) for file in _corpus_files(path)]
        return [_file_part(path)]


def read_documents(path: str | Path) -> Iterator[Document]:
    """Stream the documents of one source; see :class:`Corpus`."""
    return iter(Corpus([path]))


def _corpus_files(folder: Path) -> list[Path]:
    """The files of a benchmark's corpus in its own layout."""
    for pattern in ("corpus.jsonl", "corpus.jsonl.gz", "collection/docs.jsonl.gz", "docs-*.jsonl.gz", "docs.jsonl.gz"):
        if found := sorted(folder.glob(pattern), key=_natural):
            return found
    raise InputError(
        f"{folder}: a folder that is no corpus of BEIR (corpus.jsonl), Mr.TyDi (collection/docs.jsonl.gz) or MIRACL "
        "(docs-*.jsonl.gz); name the files in it"
    )


def _natural(path: Path) -> list[int | str]:
    return [int(piece) if piece.isdigit() else piece for piece in re.split(r"(\d+)", path.name)]


def _file_part(path: Path) -> Part:
    kind = "".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:]).lower()
    if kind not in _SUFFIXES:
        raise InputError(f"{path}: unknown kind of file; give {', '.join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]}")
    if kind == ".parquet":
        require("pyarrow", extra="train", feature="reading Parquet")
        read = partial(_read_parquet, path)
    elif kind.startswith(".tsv"):
        read = partial(_read_tsv, path)
    else:
        read = partial(_read_jsonl, path)
    archive = _ARCHIVE.search(str(path.absolute()))
    language = None
    if archive is not None:
        name = archive["language"]
        language = normalise_language(_ENGLISH_NAMES.get(name, name))
    return Part(str(path), path.stat().st_size, read, language)


class _Tracked:
    """A file that is open, through gzip where its name says so, and how far it has been read in its own bytes."""

    def __init__(self) -> None:
        self._raw: IO[bytes] | None = None

    def open(self, path: Path) -> IO[bytes]:
        self._raw = path.open("rb")
        return cast(IO[bytes], gzip.GzipFile(fileobj=self._raw)) if path.suffix == ".gz" else self._raw

    @property
    def position(self) -> int:
        return self._raw.tell() if self._raw is not None and not self._raw.closed else 0


def _standard_input(path: Path) -> IO[bytes]:
    return sys.stdin.buffer


def _read_jsonl(path: Path, opener: Callable[[Path], IO[bytes]] | None = None) -> Iterator[tuple[int, Document]]:
    tracked = _Tracked()
    for number, line in read_lines(path, opener or tracked.open):
        origin = f"{path}:{number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{origin}: not JSON ({error.msg} at column {error.colno}); one object a line") from error
        except (ValueError, RecursionError) as error:  # a number of 5000 digits, brackets 1000 deep
            raise InputError(f"{origin}: not JSON that can be read ({error}); one object a line") from error
        if not isinstance(record, dict):
            raise InputError(f"{origin}: a JSON {type(record).__name__}, not an object; write one {{…}} a line")
        yield tracked.position, document_from_mapping(record, origin=origin)


def _read_tsv(path: Path) -> Iterator[tuple[int, Document]]:
    columns: list[str] | None = None
    tracked = _Tracked()
    for number, line in read_lines(path, tracked.open):
        cells = line.split("\t")
        if columns is None:
            columns = [cell.strip() for cell in cells]
            for column in ("id", "text"):
                if column not in columns:
                    raise InputError(
                        f"{path}:{number}: the column {column!r} is missing; the first line must name the "
                        "columns, tab-separated: id, text, perhaps lang"
                    )
            if len(set(columns)) != len(columns) or "" in columns:
                raise InputError(f"{path}:{number}: a column name is repeated or empty; name each column once")
            continue
        if len(cells) != len(columns):
            raise InputError(
                f"{path}:{number}: {len(cells)} columns where the header has {len(columns)}; "
                "remove tabs and line breaks from the text"
            )
        record = {column: cell for column, cell in zip(columns, cells, strict=True) if cell or column in ("id", "text")}
        yield tracked.position, document_from_mapping(record, origin=f"{path}:{number}")


def _read_parquet(path: Path) -> Iterator[tuple[int, Document]]:
    parquet = require("pyarrow.parquet", extra="train", feature="reading Parquet")
    arrow = require("pyarrow", extra="train", feature="reading Parquet")
    try:
        with parquet.ParquetFile(path) as file:
            columns = [name for name in file.schema_arrow.names if name != "vector"]
            size, rows, number = path.stat().st_size, max(1, file.metadata.num_rows), 0
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS, columns=columns):
                for record in batch.to_pylist():
                    number += 1
                    yield size * number // rows, _document(record, f"{path}: row {number}")
    except (arrow.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: no Parquet file that can be read ({error}); fetch it again") from error


def _hub_part(source: str) -> Part:
    found = _HUB.fullmatch(source)
    if found is None:
        raise InputError(f"{source!r} names no data set; write hub:NAME, hub:NAME:CONFIG or hub:NAME:CONFIG@SPLIT")
    require("datasets", extra="train", feature="reading a data set of the hub")
    return Part(source, -1, partial(_read_hub, source, found["name"], found["config"], found["split"] or "train"))


def _read_hub(source: str, name: str, config: str | None, split: str) -> Iterator[tuple[int, Document]]:
    datasets = require("datasets", extra="train", feature="reading a data set of the hub")
    try:
        rows = datasets.load_dataset(name, config, split=split, streaming=True)
    except (OSError, ValueError, ConnectionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{source}: no data set that can be reached ({reason})") from error
    for number, record in enumerate(rows, start=1):
        yield 0, _document(record, f"{source}: row {number}")


def _document(record: dict[str, Any], origin: str) -> Document:
    """A row of a table as a document: empty cells say nothing, times become ISO 8601."""
    values = {key: _as_json(value) for key, value in record.items() if value is not None}
    metadata = values.get("metadata")
    if isinstance(metadata, str):
        try:
            values["metadata"] = json.loads(metadata)
        except ValueError as error:
            raise InputError(f"{origin}: the column 'metadata' is not JSON ({error})") from error
    return document_from_mapping(values, origin=origin)


def _as_json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else value
