"""Stream the rows of Parquet and Arrow files, data frames and data sets of the Hugging Face hub as JSON objects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from mlret.data.columns import NO_COLUMNS, Columns, new_names, renamed, there_are
from mlret.data.documents import ID_KEYS, SENTENCE_KEYS, TEXT_KEYS, VECTOR
from mlret.data.values import cells_of
from mlret.errors import InputError, first_line, require

_EXTRA = "data"
_HUB = re.compile(r"hub:(?P<name>[^:@]+)(:(?P<config>[^:@]+))?(@(?P<split>[^:@]+))?")
# The column that pandas writes for an index without a name; it holds the numbers of the rows.
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")
_ROWS = 256
_PARQUET_BUFFER_BYTES = 1 << 20
_TEXT_COLUMNS = (*TEXT_KEYS, *SENTENCE_KEYS)
# A table of documents must have one column of each group.
DOCUMENT_COLUMNS = (ID_KEYS, _TEXT_COLUMNS)
# Documents that are given in Python may have no ids.
TEXT_COLUMNS = (_TEXT_COLUMNS,)


def parquet_rows(
    path: Path, needed: Sequence[Sequence[str]] = DOCUMENT_COLUMNS, columns: Columns = NO_COLUMNS
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Stream the rows of a Parquet file, batch by batch.

    Parameters
    ----------
    path
        The file. Columns of strings, numbers, booleans, UUIDs and times are read, as well as lists and structs of the
        first three.
    needed
        Groups of column names; the file must have at least one column of each group.
    columns
        Columns that are read under another name.

    Yields
    ------
    (position, row)
        Number of bytes of the file that have been read, estimated from the number of rows, and the row: JSON values by
        column, as :func:`mlret.data.values.cells_of` returns them.

    Raises
    ------
    InputError
        If the file is damaged or lacks a required column.
    MissingExtraError
        If pyarrow is not installed.
    """
    arrow = require("pyarrow", extra=_EXTRA, feature="reading Parquet files")
    parquet = require("pyarrow.parquet", extra=_EXTRA, feature="reading Parquet files")
    try:
        # Without these two options, the whole column of a row group would be read at once.
        with parquet.ParquetFile(path, pre_buffer=False, buffer_size=_PARQUET_BUFFER_BYTES) as file:
            size, rows = path.stat().st_size, file.metadata.num_rows
            if rows == 0:
                return
            names = columns_read(file.schema_arrow, str(path), needed, columns)
            for number, record in enumerate(_rows(file.iter_batches(_ROWS, columns=list(names)), names), start=1):
                yield size * number // rows, record
    except PermissionError as error:
        raise InputError(f"{path}: may not be read; change its permissions") from error
    except (arrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: no Parquet file that can be read ({first_line(error)}); fetch it again") from error


def arrow_file_rows(path: Path, columns: Columns = NO_COLUMNS) -> Iterator[tuple[int, dict[str, Any]]]:
    """Stream the rows of a file in Arrow's IPC format (also called Feather), or of a stream in that format.

    Parameters, results and errors are those of :func:`parquet_rows`.
    """
    arrow = require("pyarrow", extra=_EXTRA, feature="reading Arrow files")
    ipc = require("pyarrow.ipc", extra=_EXTRA, feature="reading Arrow files")
    try:
        with arrow.memory_map(str(path)) as source:
            size = source.size()
            try:
                file = ipc.open_file(source)
                batches = (file.get_batch(number) for number in range(file.num_record_batches))
            except arrow.ArrowInvalid:
                source.seek(0)
                file = batches = ipc.open_stream(source)
            names = columns_read(file.schema, str(path), DOCUMENT_COLUMNS, columns)
            yield from ((min(size, source.tell()), record) for record in _rows(batches, names))
    except PermissionError as error:
        raise InputError(f"{path}: may not be read; change its permissions") from error
    except (arrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: no Arrow file that can be read ({first_line(error)}); write it again") from error


def arrow_rows(table: Any, columns: Columns = NO_COLUMNS) -> Iterator[dict[str, Any]]:
    """Stream the rows of an object with the Arrow interface ``__arrow_c_stream__``, as polars' and Arrow's tables.

    Parameters
    ----------
    table
        The table; a column of texts is required.
    columns
        Columns that are read under another name.

    Raises
    ------
    InputError
        If a column is missing, or the table cannot be converted to Arrow.
    MissingExtraError
        If pyarrow is not installed.
    """
    name = type(table).__name__
    arrow = require("pyarrow", extra=_EXTRA, feature=f"reading a {name}")
    try:
        reader: AbstractContextManager[Any] = (
            nullcontext(table)
            if isinstance(table, arrow.RecordBatchReader)
            else arrow.RecordBatchReader.from_stream(table)
        )
        with reader as batches:
            yield from _rows(batches, columns_read(batches.schema, name, TEXT_COLUMNS, columns))
    except (arrow.ArrowException, ValueError, OverflowError, TypeError) as error:
        raise InputError(f"a {name} that cannot be read ({first_line(error)}); give a list of dicts") from error


def open_hub(source: str, needed: Sequence[Sequence[str]] = DOCUMENT_COLUMNS, columns: Columns = NO_COLUMNS) -> Any:
    """Open a data set of the Hugging Face hub for streaming.

    Parameters
    ----------
    source
        ``hub:NAME``, ``hub:NAME:CONFIG`` or ``hub:NAME:CONFIG@SPLIT``. The name is an id, or a local folder that
        ``datasets.load_dataset`` understands; code that comes with it is never run. The default split is ``train``.
    needed, columns
        As for :func:`parquet_rows`.

    Returns
    -------
    datasets.IterableDataset
        The data set, with the columns that JSON can represent.

    Raises
    ------
    InputError
        If ``source`` has another form, the data set, configuration or split does not exist, a required column is
        missing, or the hub cannot be reached.
    MissingExtraError
        If the package datasets is not installed.
    """
    found = _HUB.fullmatch(source)
    if found is None:
        raise InputError(f"{source!r} names no data set; write hub:NAME, hub:NAME:CONFIG or hub:NAME:CONFIG@SPLIT")
    datasets = require("datasets", extra=_EXTRA, feature="reading a data set of the hub")
    try:
        rows = datasets.load_dataset(found["name"], found["config"], split=found["split"] or "train", streaming=True)
    except _hub_errors() as error:
        raise _unreachable(source, error) from error
    # With some formats, the columns are only known from the rows.
    return readable_columns(rows, source, needed, columns)


def readable_columns(rows: Any, source: str, needed: Sequence[Sequence[str]], columns: Columns) -> Any:
    """Return a data set with the columns that JSON can represent; all of them if they are not known yet.

    Parameters
    ----------
    rows
        A ``datasets.Dataset`` or ``datasets.IterableDataset``.
    source
        Its name, for messages.
    needed, columns
        As for :func:`parquet_rows`.

    Raises
    ------
    InputError
        If a column is missing.
    """
    if rows.features is None:
        return rows
    return rows.select_columns(list(columns_read(rows.features.arrow_schema, source, needed, columns)))


def hub_rows(source: str, rows: Any, columns: Columns = NO_COLUMNS) -> Iterator[dict[str, Any]]:
    """Stream the rows of a data set from :func:`open_hub`, from its start, as JSON values by column.

    Parameters
    ----------
    source
        The data set's name, for messages.
    rows
        What :func:`open_hub` returned.
    columns
        Columns that are read under another name.

    Raises
    ------
    InputError
        If the connection is lost, or the data set is damaged.
    """
    try:
        for record in rows:
            yield cells_of(renamed(record, columns, f"{source}: "))
    except _hub_errors() as error:
        raise _unreachable(source, error) from error


def _hub_errors() -> tuple[type[Exception], ...]:
    datasets = require("datasets", extra=_EXTRA, feature="reading a data set of the hub")
    return (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError)


def _unreachable(source: str, error: Exception) -> InputError:
    return InputError(
        f"{source}: no data set that can be reached ({first_line(error)}); check its name, configuration and split, "
        "and the network"
    )


def columns_read(schema: Any, where: str, needed: Sequence[Sequence[str]], columns: Columns) -> dict[str, str]:
    """Return the columns of an Arrow schema that are read, and the name under which each is.

    Parameters
    ----------
    schema
        The schema.
    where
        The name of the table, for error messages.
    needed
        Groups of names; at least one column of each group must be there.
    columns
        Columns that are read under another name.

    Raises
    ------
    InputError
        If a column is missing.
    """
    readable = [
        field.name
        for field in schema
        if field.name != VECTOR and not _PANDAS_INDEX.fullmatch(field.name) and _fits_json(field.type, times=True)
    ]
    names = dict(zip(readable, new_names(readable, columns, f"{where}: "), strict=True))
    check_needed(names.values(), where, needed)
    return names


def check_needed(names: Iterable[str], where: str, needed: Sequence[Sequence[str]]) -> None:
    """Raise if a table has no column of one of these groups.

    Parameters
    ----------
    names
        The columns, after renaming.
    where
        The name of the table.
    needed
        Groups of names.

    Raises
    ------
    InputError
        The message names the columns that exist.
    """
    names = list(names)
    for keys in needed:
        if not any(key in names for key in keys):
            raise InputError(
                f"{where}: no column {' or '.join(map(repr, keys))}; rename the one that is meant with "
                f"columns={{'NAME': {keys[0]!r}}} (`mlret index build --{keys[0]}-column NAME`), {there_are(names)}"
            )


def _rows(batches: Iterable[Any], names: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Stream the rows of record batches, a slice of each at a time, with the columns under their new names."""
    for batch in batches:
        chosen = _without_nanoseconds(batch.select(list(names)).rename_columns(list(names.values())))
        for start in range(0, chosen.num_rows, _ROWS):
            yield from map(cells_of, chosen.slice(start, _ROWS).to_pylist())


def _without_nanoseconds(batch: Any) -> Any:
    """Return a record batch with its times cut to microseconds, which is what Python's own have."""
    arrow = require("pyarrow", extra=_EXTRA, feature="reading tables")
    for place, field in enumerate(batch.schema):
        if arrow.types.is_timestamp(field.type) and field.type.unit == "ns":
            kind = arrow.timestamp("us", field.type.tz)
            batch = batch.set_column(place, field.name, batch.column(place).cast(kind, safe=False))
    return batch


def _fits_json(kind: Any, *, times: bool = False) -> bool:
    """Whether the values of an Arrow type are JSON values; times count only if ``times`` is set."""
    types = require("pyarrow.types", extra=_EXTRA, feature="reading Parquet files")
    if types.is_struct(kind):
        return all(_fits_json(field.type) for field in kind)
    if types.is_dictionary(kind) or types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _fits_json(kind.value_type)
    if getattr(kind, "extension_name", None) == "arrow.uuid":
        return True
    if hasattr(kind, "storage_type"):  # an extension type, such as Arrow's own for JSON text
        return _fits_json(kind.storage_type)
    if types.is_date(kind) or types.is_timestamp(kind) or types.is_time(kind):
        return times
    scalars = (
        types.is_boolean,
        types.is_integer,
        types.is_floating,
        types.is_decimal,
        types.is_string,
        types.is_large_string,
        types.is_string_view,
    )
    return types.is_null(kind) or any(check(kind) for check in scalars)
