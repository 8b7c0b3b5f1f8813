"""Stream the rows of Parquet files and of data sets of the Hugging Face hub as JSON objects."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlret.data.documents import ID_KEYS, SENTENCE_KEYS, TEXT_KEYS, VECTOR
from mlret.errors import InputError, first_line, require

_EXTRA = "data"
_HUB = re.compile(r"hub:(?P<name>[^:@]+)(:(?P<config>[^:@]+))?(@(?P<split>[^:@]+))?")
_PARQUET_ROWS = 256
_PARQUET_BUFFER_BYTES = 1 << 20


# A table of documents must have one column of each group.
DOCUMENT_COLUMNS = (ID_KEYS, (*TEXT_KEYS, *SENTENCE_KEYS))


def parquet_rows(
    path: Path, needed: Sequence[Sequence[str]] = DOCUMENT_COLUMNS
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Stream the rows of a Parquet file, batch by batch.

    Parameters
    ----------
    path
        The file. Columns of strings, numbers, booleans and times are read, as well as lists and structs of the first
        three.
    needed
        Groups of column names; the file must have at least one column of each group.

    Yields
    ------
    (position, row)
        Number of bytes of the file that have been read, estimated from the number of rows, and the row: JSON values by
        column, with times in ISO 8601.

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
            size, rows, number = path.stat().st_size, file.metadata.num_rows, 0
            if rows == 0:
                return
            columns = _columns(file.schema_arrow, str(path), needed)
            for batch in file.iter_batches(_PARQUET_ROWS, columns=columns):
                for record in batch.to_pylist():
                    number += 1
                    yield size * number // rows, _as_json(record)
    except PermissionError as error:
        raise InputError(f"{path}: may not be read; change its permissions") from error
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path}: no Parquet file that can be read ({first_line(error)}); fetch it again") from error


def open_hub(source: str, needed: Sequence[Sequence[str]] = DOCUMENT_COLUMNS) -> Any:
    """Open a data set of the Hugging Face hub for streaming.

    Parameters
    ----------
    source
        ``hub:NAME``, ``hub:NAME:CONFIG`` or ``hub:NAME:CONFIG@SPLIT``. The name is an id, or a local folder that
        ``datasets.load_dataset`` understands; code that comes with it is never run. The default split is ``train``.
    needed
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
    return rows if rows.features is None else rows.select_columns(_columns(rows.features.arrow_schema, source, needed))


def hub_rows(source: str, rows: Any) -> Iterator[dict[str, Any]]:
    """Stream the rows of a data set from :func:`open_hub`, from its start, as JSON values by column.

    Parameters
    ----------
    source
        The data set's name, for messages.
    rows
        What :func:`open_hub` returned.

    Raises
    ------
    InputError
        If the connection is lost, or the data set is damaged.
    """
    try:
        for record in rows:
            yield _as_json(record)
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


def _columns(schema: Any, where: str, needed: Sequence[Sequence[str]]) -> list[str]:
    """Return the columns of an Arrow schema that are read."""
    columns = [field.name for field in schema if field.name != VECTOR and _fits_json(field.type, times=True)]
    for keys in needed:
        if not any(key in columns for key in keys):
            raise InputError(
                f"{where}: no column {' or '.join(map(repr, keys))}; rename the one that is meant, "
                f"there are {', '.join(map(repr, columns)) or 'none that JSON can represent'}"
            )
    return columns


def _fits_json(kind: Any, *, times: bool = False) -> bool:
    """Whether the values of an Arrow type are JSON values; times count only if ``times`` is set."""
    types = require("pyarrow.types", extra=_EXTRA, feature="reading Parquet files")
    if types.is_struct(kind):
        return all(_fits_json(field.type) for field in kind)
    if types.is_dictionary(kind) or types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _fits_json(kind.value_type)
    if hasattr(kind, "storage_type"):  # an extension type, such as Arrow's own for JSON text
        return _fits_json(kind.storage_type)
    if types.is_date(kind) or types.is_timestamp(kind) or types.is_time(kind):
        return times
    scalars = (types.is_boolean, types.is_integer, types.is_floating, types.is_string, types.is_large_string)
    return types.is_null(kind) or any(check(kind) for check in scalars)


def _as_json(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value.isoformat() if isinstance(value, datetime.date | datetime.time) else value
        for key, value in record.items()
    }
