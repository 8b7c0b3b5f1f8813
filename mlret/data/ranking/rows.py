"""Read the rows of a file of any format: JSON lines, one JSON array, SQuAD's object, TSV, Parquet, or the hub."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mlret.data.files import TrackedFile, read_blocks, read_lines
from mlret.data.json_text import decode_json, stream_array
from mlret.data.ranking.records import QUERY_KEYS
from mlret.data.ranking.texts import kind_of
from mlret.data.tables import hub_rows, open_hub, parquet_rows
from mlret.errors import InputError, NotFound
from mlret.wording import counted

_SQUAD = re.compile(r'"data"\s*:\s*\[')
_LOOKED_AT = 1 << 16


class Row(NamedTuple):
    """A row: number of bytes of the file read so far, ``file:line``, and a JSON value or a list of TSV cells."""

    position: int
    origin: str
    value: Any


@dataclass(frozen=True, slots=True)
class Rows:
    """A file whose rows can be read repeatedly.

    Attributes
    ----------
    name
        Name for messages.
    bytes
        Length in bytes; -1 if it is unknown.
    read
        Reads the file from its start.
    tabular
        Whether its rows are cells without column names.
    """

    name: str
    bytes: int
    read: Callable[[], Iterator[Row]]
    tabular: bool = False

    def first(self) -> Any:
        """Return the value of the first row.

        Raises
        ------
        InputError
            If the file has no rows.
        """
        rows = self.read()
        first = next(rows, None)
        if first is None:
            raise InputError(f"{self.name}: the file is empty; give at least one example")
        return first.value


def rows_of(source: str | Path) -> Rows:
    """Return the rows of a file; the format is recognised from its beginning, or from the suffix for Parquet.

    Raises
    ------
    InputError
        If the file is missing, empty or damaged.
    MissingExtraError
        If a package for Parquet or the hub is not installed.
    """
    if str(source).startswith("hub:"):
        return _hub(str(source))
    path = Path(source)
    if kind_of(path) == ".parquet":
        if not path.exists():
            raise NotFound(f"{path}: no such file")
        return Rows(str(path), path.stat().st_size, partial(_parquet, path))
    beginning = next(read_blocks(path, size=_LOOKED_AT), "").lstrip()
    if not beginning:
        raise InputError(f"{path}: the file is empty; give at least one example")
    read, tabular = _form(path, beginning)
    return Rows(str(path), path.stat().st_size, partial(read, path), tabular)


def _form(path: Path, beginning: str) -> tuple[Callable[[Path], Iterator[Row]], bool]:
    if beginning.startswith("["):
        # A line of ColBERT's files is also a list, but one of ids.
        array = beginning[1:].lstrip()[:1] in ("{", "")
        return (partial(_array, key=None) if array else _json_lines), False
    if beginning.startswith("{"):
        squad = kind_of(path) == ".json" and _SQUAD.search(beginning) is not None
        return (partial(_array, key="data") if squad else _json_lines), False
    cells = [cell.strip() for cell in beginning.partition("\n")[0].split("\t")]
    if {*QUERY_KEYS, "query_id", "qid"} & set(cells):
        return _named_cells, False
    return _cells, True


def _json_lines(path: Path) -> Iterator[Row]:
    tracked = TrackedFile()
    for number, line in read_lines(path, tracked.open):
        origin = f"{path}:{number}"
        yield Row(tracked.position, origin, decode_json(line, origin))


def _array(path: Path, key: str | None) -> Iterator[Row]:
    tracked = TrackedFile()
    for number, value in stream_array(path, key, opener=tracked.open):
        yield Row(tracked.position, f"{path}:{number}", value)


def _cells(path: Path) -> Iterator[Row]:
    tracked = TrackedFile()
    for number, line in read_lines(path, tracked.open):
        yield Row(tracked.position, f"{path}:{number}", line.split("\t"))


def _named_cells(path: Path) -> Iterator[Row]:
    columns: list[str] | None = None
    for row in _cells(path):
        if columns is None:
            columns = [cell.strip() for cell in row.value]
        elif len(row.value) != len(columns):
            raise InputError(
                f"{row.origin}: {counted(len(row.value), 'column')} where the header has {len(columns)}; remove tabs "
                "and line breaks from the text"
            )
        else:
            named = {name: cell for name, cell in zip(columns, row.value, strict=True) if cell.strip()}
            yield row._replace(value=named)


def _parquet(path: Path) -> Iterator[Row]:
    for number, (position, record) in enumerate(parquet_rows(path, ()), start=1):
        yield Row(position, f"{path}: row {number}", record)


def _hub(source: str) -> Rows:
    rows = open_hub(source, ())

    def read() -> Iterator[Row]:
        for number, record in enumerate(hub_rows(source, rows), start=1):
            yield Row(0, f"{source}: row {number}", record)

    return Rows(source, -1, read)
