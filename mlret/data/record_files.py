"""Stream the documents of files of records: JSON, JSON lines, CSV, TSV, Parquet and Arrow."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

from mlret.data.columns import NO_COLUMNS, Columns, new_names, renamed
from mlret.data.documents import SENTENCE_KEYS, TEXT_KEYS, Document, document_from_mapping
from mlret.data.files import LONGEST_LINE, TrackedFile, read_lines, read_whole_lines
from mlret.data.json_text import RepeatedKeyError, decode_object, json_layout, read_json, stream_records
from mlret.data.tables import DOCUMENT_COLUMNS, arrow_file_rows, check_needed, parquet_rows
from mlret.errors import InputError
from mlret.wording import counted

# Number of bytes of a part that have been read, and a document; ``None`` if a passage is blank.
Step = tuple[int, Document | None]
_TEXTS = (*TEXT_KEYS, *SENTENCE_KEYS)
# Spreadsheets separate the cells of CSV files by a semicolon where the comma is the decimal sign.
_DELIMITERS = ",;\t|"
# The kinds of files that hold records, by the suffix of their names, and those that may be compressed.
COMPRESSED_KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
RECORD_KINDS = (*COMPRESSED_KINDS, ".parquet", ".arrow", ".feather", ".ipc")


def record_reader(path: Path, kind: str, columns: Columns, longest: int) -> Callable[[], Iterator[Step]] | None:
    """Return a function that streams the documents of a file of records from its start.

    Parameters
    ----------
    path
        The file.
    kind
        The suffix of its name, without that of a compression, in lower case.
    columns
        Columns that are read under another name.
    longest
        Maximum length of a line of a text file, in bytes.

    Returns
    -------
    callable or None
        ``None`` if files of this kind do not hold records.

    Raises
    ------
    InputError
        If a JSON file is damaged, or has a form in which no records are recognised.
    """
    match kind:
        case ".jsonl" | ".ndjson":
            return partial(read_jsonl, path, columns=columns, longest=longest)
        case ".json":
            marks = {old for old, new in columns.items() if new in _TEXTS} | {*_TEXTS} - columns.keys()
            return partial(_read_json, path, json_layout(path, marks), columns)
        case ".csv":
            return partial(_read_csv, path, columns, longest)
        case ".tsv":
            return partial(_read_tsv, path, columns, longest)
        case ".parquet":
            return lambda: _read_rows(path, parquet_rows(path, columns=columns))
        case ".arrow" | ".feather" | ".ipc":
            return lambda: _read_rows(path, arrow_file_rows(path, columns))
        case _:
            return None


def read_jsonl(
    path: Path,
    opener: Callable[[Path], IO[bytes]] | None = None,
    *,
    columns: Columns = NO_COLUMNS,
    longest: int = LONGEST_LINE,
) -> Iterator[Step]:
    """Stream the documents of a file with one JSON object per line.

    Parameters
    ----------
    path, opener, longest
        As for :func:`mlret.data.files.read_lines`.
    columns
        Keys that are read under another name.

    Raises
    ------
    InputError
        If a line is not a JSON object, or not a document; the message names the line.
    """
    tracked = TrackedFile()
    for number, line in read_lines(path, opener or tracked.open, longest=longest):
        origin = f"{path}:{number}"
        yield tracked.position, _document(renamed(decode_object(line, origin), columns, f"{origin}: "), origin)


def _read_json(path: Path, layout: Any, columns: Columns) -> Iterator[Step]:
    tracked, position = TrackedFile(), 0
    for number, key, value in stream_records(path, layout, opener=tracked.open):
        origin = f"{path}:{number}"
        if not isinstance(value, dict):
            raise InputError(f"{origin}: a JSON {type(value).__name__}, where a document {{…}} should be; fix the file")
        # The file is closed when its end has been read, before the last records are.
        position = max(position, tracked.position)
        yield position, _document(renamed(value, columns, f"{origin}: "), origin, key)


def _read_tsv(path: Path, columns: Columns, longest: int) -> Iterator[Step]:
    names: list[str] | None = None
    tracked = TrackedFile()
    for number, line in read_lines(path, tracked.open, longest=longest):
        cells = line.split("\t")
        origin = f"{path}:{number}"
        if names is None:
            names = _header(cells, origin, columns)
        elif len(cells) != len(names):
            raise InputError(
                f"{origin}: {counted(len(cells), 'column')} where the header has {len(names)}; "
                "remove tabs and line breaks from the text"
            )
        else:
            yield tracked.position, row_document(_filled(names, cells), origin)


def _read_csv(path: Path, columns: Columns, longest: int) -> Iterator[Step]:
    tracked = TrackedFile()
    lines = _Lines(read_whole_lines(path, tracked.open, longest=longest))
    # The limit is one of the whole process, so it is only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), longest))
    names: list[str] | None = None
    try:
        rows = csv.reader(lines, delimiter=lines.delimiter(), strict=True)
        start = 1
        for cells in rows:
            origin, start = f"{path}:{start}", lines.number + 1
            if not any(cells):
                continue
            if names is None:
                names = _header(cells, origin, columns)
            elif len(cells) != len(names):
                raise InputError(
                    f"{origin}: {counted(len(cells), 'column')} where the header has {len(names)}; put cells that "
                    "contain a delimiter, a quote or a line break in quotes"
                )
            else:
                yield tracked.position, row_document(_filled(names, cells), origin)
    except csv.Error as error:
        raise InputError(f"{path}:{lines.number}: not CSV ({error}); check the quotes") from error


class _Lines:
    """The lines of a text file, of which the first can be looked at before they are read."""

    def __init__(self, lines: Iterator[tuple[int, str]]) -> None:
        self._lines = lines
        self._first = next(lines, None)
        self.number = 0

    def delimiter(self) -> str:
        """Return the delimiter that divides the first line into most cells."""
        line = "" if self._first is None else self._first[1]

        def cells(delimiter: str) -> int:
            return len(next(csv.reader([line], delimiter=delimiter), []))

        return max(_DELIMITERS, key=cells)

    def __iter__(self) -> Iterator[str]:
        if self._first is not None:
            self.number, line = self._first
            yield line
        for self.number, line in self._lines:  # noqa: B020
            yield line


def _header(cells: list[str], origin: str, columns: Columns) -> list[str]:
    """Return the names of the columns of a table from its first line."""
    found = [cell.strip() for cell in cells]
    if len(set(found)) != len(found) or "" in found:
        raise InputError(f"{origin}: a column name is repeated or empty; name each column once")
    names = new_names(found, columns, f"{origin}: ")
    check_needed(names, origin, DOCUMENT_COLUMNS)
    return names


def _filled(names: list[str], cells: list[str]) -> dict[str, str]:
    """Return the cells that are not empty by column."""
    return {name: cell for name, cell in zip(names, cells, strict=True) if cell}


def _read_rows(path: Path, rows: Iterator[tuple[int, dict[str, Any]]]) -> Iterator[Step]:
    for number, (position, record) in enumerate(rows, start=1):
        yield position, row_document(record, f"{path}: row {number}")


def _document(record: Mapping[str, Any], origin: str, id: str | None = None) -> Document | None:
    return None if _is_blank(record) else document_from_mapping(record, id=id, origin=origin)


def _is_blank(record: Mapping[str, Any]) -> bool:
    """Whether a record is a benchmark's passage without title and text."""
    passage = "contents" in record or (record.get("id") is None and ("_id" in record or "docid" in record))
    texts = [record[key] for key in _TEXTS if key in record]
    return passage and bool(texts) and not any(map(_says_something, [*texts, record.get("title")]))


def _says_something(value: object) -> bool:
    return value is not None and (not isinstance(value, str) or bool(value.strip()))


def row_document(record: Mapping[str, Any], origin: str, id: str | None = None) -> Document | None:
    """Convert the row of a table, without its empty cells, like a JSON record; metadata may be JSON text.

    Parameters
    ----------
    record
        Values by column.
    origin
        Name of the table and number of the row, for messages.
    id
        The id to use if the row has none.

    Returns
    -------
    Document or None
        ``None`` if it is a benchmark's passage without title and text.

    Raises
    ------
    InputError
        If it is not a document.
    """
    values = dict(record)
    if not values.keys() & {*_TEXTS}:  # the cells are empty
        values["text"] = ""
    if _is_blank(values):
        return None
    if isinstance(metadata := values.get("metadata"), str):
        try:
            values["metadata"] = read_json(metadata)
        except RepeatedKeyError as error:
            raise InputError(f"{origin}: the column 'metadata': {error}") from error
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{origin}: the column 'metadata' is not JSON ({error}); correct it, or give it another name"
            ) from error
    return document_from_mapping(values, id=id, origin=origin)
