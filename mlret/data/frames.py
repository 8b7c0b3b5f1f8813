"""Stream the rows of pandas' data frames and of data sets of the package datasets as JSON objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlret.data.columns import Columns, new_names, renamed
from mlret.data.tables import TEXT_COLUMNS, check_needed, readable_columns
from mlret.data.values import cells_of

_ROWS = 256


def frame_rows(frame: Any, columns: Columns) -> Iterator[dict[str, Any]]:
    """Stream the rows of a data frame of pandas, without pyarrow, a slice of them at a time.

    Parameters
    ----------
    frame
        The data frame. The levels of its index that have a name count as columns.
    columns
        Columns that are read under another name.

    Raises
    ------
    InputError
        If there is no column of texts, or one that is to be renamed is missing.
    """
    levels = [name for name in frame.index.names if name is not None and name not in frame.columns]
    old = [str(name) for name in (*levels, *frame.columns)]
    names = new_names(old, columns, "DataFrame: ")
    check_needed(names, "DataFrame", TEXT_COLUMNS)
    for start in range(0, len(frame), _ROWS):
        part = frame.iloc[start : start + _ROWS]
        if levels:
            part = part.reset_index(level=levels)
        for values in part.itertuples(index=False, name=None):
            yield cells_of(dict(zip(names, values, strict=True)))


def data_set_rows(rows: Any, columns: Columns) -> Iterator[dict[str, Any]]:
    """Stream the rows of a ``datasets.Dataset`` or ``datasets.IterableDataset``.

    Parameters
    ----------
    rows
        The data set. Columns that JSON cannot represent, such as images, are not decoded. If it has a transform, that
        is applied; other formats, such as tensors, are not.
    columns
        Columns that are read under another name.

    Raises
    ------
    InputError
        If there is no column of texts, or one that is to be renamed is missing.
    """
    name = type(rows).__name__
    formatting = getattr(rows, "format", None) or {}
    if formatting.get("type") != "custom":
        rows = readable_columns(rows.with_format(None), name, TEXT_COLUMNS, columns)
    for record in rows:
        yield cells_of(renamed(record, columns, f"{name}: "))
