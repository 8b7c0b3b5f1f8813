"""Stream the documents of a corpus from files, benchmark folders, the Hugging Face hub or standard input."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

from mlret.data.archives import language_of_path
from mlret.data.documents import SENTENCE_KEYS, TEXT_KEYS, Document, document_from_mapping
from mlret.data.files import COMPRESSIONS, LONGEST_LINE, TrackedFile, open_raw, open_standard_input, read_lines
from mlret.data.json_text import RepeatedKeyError, decode_object, read_json
from mlret.data.tables import hub_rows, open_hub, parquet_rows
from mlret.errors import InputError, NotFound
from mlret.wording import counted

_KINDS = (".jsonl", ".ndjson", ".tsv", ".parquet")
# Where benchmarks keep their passages, compressed or not.
_LAYOUTS = ("corpus.jsonl", "collection/docs.jsonl", "docs-*.jsonl", "docs.jsonl")
# Number of bytes of a part that have been read, and a document; ``None`` if a passage is blank.
_Step = tuple[int, Document | None]


@dataclass(frozen=True, slots=True)
class Part:
    """One file or stream of a corpus.

    Attributes
    ----------
    name
        Name for messages; unique within a corpus.
    bytes
        Length in bytes; -1 if it is unknown.
    read
        Reads it from its start.
    language
        Language of the documents that do not state theirs.
    repeatable
        Whether it can be read again; a pipe cannot.
    """

    name: str
    bytes: int
    read: Callable[[], Iterator[_Step]]
    language: str | None = None
    repeatable: bool = True


class Corpus:
    """Stream the documents of several sources, one after another; memory use does not grow with their number.

    All sources are checked before the first is read: each must exist, have a known format, and begin with a document
    (except for pipes). Duplicate ids are not checked here, since the index looks up every id anyway.

    Parameters
    ----------
    sources
        Each of:

        - ``.jsonl`` or ``.ndjson`` (one object per line; see :func:`mlret.data.documents.document_from_mapping`) or
          ``.tsv`` (the first line names the columns, ``id`` and ``text`` among them; others become metadata),
          optionally compressed (``.gz``, ``.bz2``, ``.xz``); ``.parquet`` (columns like the keys of JSONL; ``metadata``
          may be JSON text; columns that JSON cannot represent, such as images, are skipped);
        - a folder of BEIR (``corpus.jsonl``), Mr.TyDi (``collection/docs.jsonl.gz``) or MIRACL (``docs-*.jsonl.gz``),
          or a file of it; for Mr.TyDi and MIRACL the language is taken from the folder's name;
        - ``hub:NAME``, ``hub:NAME:CONFIG``, ``hub:NAME:CONFIG@SPLIT``: a data set of the Hugging Face hub, streamed;
        - ``-``, or a named pipe: JSONL, uncompressed.
    max_line
        Maximum length of a line of a text file, in bytes after decompression.

    Attributes
    ----------
    total_bytes
        Total number of bytes to read; ``None`` if it is unknown for a source.
    read_bytes
        Number of bytes read so far; for compressed files, compressed bytes.
    blank
        Number of passages that were skipped because a benchmark has no title and text for them, as BEIR in FiQA. In
        your own documents, an empty text is an error.

    Raises
    ------
    InputError
        If there are no sources, or one is given twice, missing, of an unknown format, empty, or malformed at its start.
    MissingExtraError
        If a package for Parquet or the hub is not installed.
    """

    def __init__(self, sources: Sequence[str | Path], *, max_line: int = LONGEST_LINE) -> None:
        self._max_line = max_line
        if not sources:
            raise InputError("no files to read; name at least one, e.g. a .jsonl or .tsv file")
        self._parts = [part for source in sources for part in self._parts_of(source)]
        names: set[str] = set()
        for part in self._parts:
            if part.name in names:
                raise InputError(f"{part.name}: given twice; name each source once")
            names.add(part.name)
        for part in self._parts:
            if part.repeatable and all(document is None for _, document in part.read()):
                raise _empty(part)
        sizes = [part.bytes for part in self._parts]
        self.total_bytes = sum(sizes) if all(size >= 0 for size in sizes) else None
        self.read_bytes = 0
        self.blank = 0

    def __iter__(self) -> Iterator[Document]:
        """Stream the documents.

        Raises
        ------
        InputError
            If a source is empty or damaged, or a record is malformed; the message names the file and line (Parquet and
            hub: the row, from 1).
        """
        done = self.read_bytes = self.blank = 0
        for part in self._parts:
            found = False
            for position, document in part.read():
                self.read_bytes = done + position
                if document is None:
                    self.blank += 1
                    continue
                found = True
                if document.language is None and part.language is not None:
                    document = replace(document, language=part.language)
                yield document
            if not found:
                raise _empty(part)
            done += max(0, part.bytes)
            self.read_bytes = done

    def _parts_of(self, source: str | Path) -> list[Part]:
        if str(source) == "-":
            name = "standard input"
            return [
                Part(
                    name,
                    -1,
                    partial(_read_jsonl, Path(name), open_standard_input, longest=self._max_line),
                    repeatable=False,
                )
            ]
        if str(source).startswith("hub:"):
            return [_hub_part(str(source))]
        path = Path(source)
        if not path.exists():
            raise NotFound(f"{path}: no such file; check the path")
        if path.is_dir():
            return [_file_part(file, self._max_line) for file in _corpus_files(path)]
        if not path.is_file():
            return [Part(str(path), -1, partial(_read_jsonl, path, open_raw, longest=self._max_line), repeatable=False)]
        return [_file_part(path, self._max_line)]


def read_documents(path: str | Path) -> Iterator[Document]:
    """Stream the documents of one source; see :class:`Corpus`."""
    return iter(Corpus([path]))


def read_collection_tsv(path: Path, language: str | None = None) -> Iterator[Document]:
    """Stream a collection of MS MARCO: lines of ``pid<TAB>text`` without a header.

    Blank passages, which some translations contain, are skipped.

    Parameters
    ----------
    path
        The file.
    language
        Language of all passages; ``None`` if it is unknown.

    Yields
    ------
    Document
        The passages, in the order of the file.

    Raises
    ------
    InputError
        If the file is missing or empty, or a line has another form.
    """
    number = 0
    for number, line in read_lines(path):
        name, tab, text = line.partition("\t")
        if not tab or not name:
            raise InputError(f"{path}:{number}: not pid<TAB>text; fix the line")
        if text.strip():
            yield Document(name, text, language, origin=f"{path}:{number}")
    if not number:
        raise InputError(f"{path}: the file is empty; give at least one document")


def _empty(part: Part) -> InputError:
    return InputError(f"{part.name}: the file is empty; give at least one document")


def _corpus_files(folder: Path) -> list[Path]:
    """Return the files of a benchmark's corpus in the benchmark's own layout."""
    for layout in _LAYOUTS:
        for pattern in (layout, f"{layout}.gz"):
            if found := sorted(folder.glob(pattern), key=_natural):
                return found
    raise InputError(
        f"{folder}: a folder that is not a corpus of BEIR (corpus.jsonl), Mr.TyDi (collection/docs.jsonl.gz) or MIRACL "
        "(docs-*.jsonl.gz); name the files in it"
    )


def _natural(path: Path) -> list[int | str]:
    return [int(piece) if piece.isdigit() else piece for piece in re.split(r"(\d+)", path.name)]


def _file_part(path: Path, longest: int) -> Part:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compressed = bool(suffixes) and suffixes[-1] in COMPRESSIONS
    kind = "".join((suffixes[:-1] if compressed else suffixes)[-1:])
    if kind not in _KINDS or (compressed and kind == ".parquet"):
        raise InputError(
            f"{path}: unknown kind of file; give .jsonl, .ndjson or .tsv, optionally with {', '.join(COMPRESSIONS)}, "
            "or .parquet"
        )
    if kind == ".parquet":
        read = partial(_read_parquet, path)
    else:
        read = partial(_read_tsv if kind == ".tsv" else _read_jsonl, path, longest=longest)
    return Part(str(path), path.stat().st_size, read, language_of_path(path))


def _read_jsonl(
    path: Path, opener: Callable[[Path], IO[bytes]] | None = None, *, longest: int = LONGEST_LINE
) -> Iterator[_Step]:
    tracked = TrackedFile()
    for number, line in read_lines(path, opener or tracked.open, longest=longest):
        origin = f"{path}:{number}"
        yield tracked.position, _document(decode_object(line, origin), origin)


def _read_tsv(path: Path, *, longest: int = LONGEST_LINE) -> Iterator[_Step]:
    columns: list[str] | None = None
    tracked = TrackedFile()
    for number, line in read_lines(path, tracked.open, longest=longest):
        cells = line.split("\t")
        if columns is None:
            columns = [cell.strip() for cell in cells]
            for column in ("id", "text"):
                if column not in columns:
                    raise InputError(
                        f"{path}:{number}: the column {column!r} is missing; the first line must name the "
                        "columns, tab-separated: id, text, optionally lang"
                    )
            if len(set(columns)) != len(columns) or "" in columns:
                raise InputError(f"{path}:{number}: a column name is repeated or empty; name each column once")
            continue
        if len(cells) != len(columns):
            raise InputError(
                f"{path}:{number}: {counted(len(cells), 'column')} where the header has {len(columns)}; "
                "remove tabs and line breaks from the text"
            )
        record = {column: cell for column, cell in zip(columns, cells, strict=True) if cell or column in ("id", "text")}
        yield tracked.position, document_from_mapping(record, origin=f"{path}:{number}")


def _read_parquet(path: Path) -> Iterator[_Step]:
    for number, (position, record) in enumerate(parquet_rows(path), start=1):
        yield position, _document_of_row(record, f"{path}: row {number}")


def _hub_part(source: str) -> Part:
    rows = open_hub(source)

    def read() -> Iterator[_Step]:
        for number, record in enumerate(hub_rows(source, rows), start=1):
            yield 0, _document_of_row(record, f"{source}: row {number}")

    return Part(source, -1, read)


def _document(record: Mapping[str, Any], origin: str) -> Document | None:
    return None if _is_blank(record) else document_from_mapping(record, origin=origin)


def _is_blank(record: Mapping[str, Any]) -> bool:
    """Whether a record is a benchmark's passage without title and text."""
    passage = "contents" in record or (record.get("id") is None and ("_id" in record or "docid" in record))
    texts = [record[key] for key in (*TEXT_KEYS, *SENTENCE_KEYS) if key in record]
    return passage and bool(texts) and not any(map(_says_something, [*texts, record.get("title")]))


def _says_something(value: object) -> bool:
    return value is not None and (not isinstance(value, str) or bool(value.strip()))


def _document_of_row(record: Mapping[str, Any], origin: str) -> Document | None:
    """Convert the row of a table like a JSON record; empty cells are ignored, and metadata may be JSON text."""
    if _is_blank(record):
        return None
    values = {key: value for key, value in record.items() if value is not None}
    if not values.keys() & {*TEXT_KEYS, *SENTENCE_KEYS}:  # the cells are empty
        values["text"] = ""
    if isinstance(metadata := values.get("metadata"), str):
        try:
            values["metadata"] = read_json(metadata)
        except RepeatedKeyError as error:
            raise InputError(f"{origin}: the column 'metadata': {error}") from error
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{origin}: the column 'metadata' is not JSON ({error}); correct it, or give it another name"
            ) from error
    return document_from_mapping(values, origin=origin)
