"""Read documents that a program gives: strings, dicts, data frames, tables, data sets, or paths of files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Protocol

from mlret.data.columns import NO_COLUMNS, Columns, renamed
from mlret.data.documents import Document, document_from_mapping
from mlret.errors import InputError

Incoming = str | Mapping[str, Any] | Document | PathLike[str]


class ArrowTable(Protocol):
    """A table with the Arrow interface: a data frame of pandas or polars, a table of Arrow, and others."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Return a capsule with a stream of record batches."""


Given = Iterable[Incoming] | ArrowTable | PathLike[str]
"""Documents that a program gives; :func:`documents_of` states what they may be."""


# Methods of what documents can be read from; a client also reads them from asynchronous iterators.
_READABLE = ("__iter__", "__getitem__", "__aiter__", "__arrow_c_stream__", "__fspath__")


def check_several(given: object, what: str = "documents") -> None:
    """Raise an error if something is a single document, or no collection of documents at all.

    Parameters
    ----------
    given
        What was given.
    what
        What it should contain.

    Raises
    ------
    InputError
        The message names its type and what to give instead.
    """
    if isinstance(given, list | tuple):
        return
    kind = type(given).__name__
    if isinstance(given, str | bytes | Document):
        way_out = ""
        # Path.exists raises an error for a long text.
        if isinstance(given, str) and os.path.exists(given):  # noqa: PTH110
            way_out = f"; to read a file or folder, give pathlib.Path({given!r})"
        raise InputError(f"give a list of {what} to add, not one {kind}{way_out}")
    if isinstance(given, Mapping):
        way_out = "; of a data set, give one split" if hasattr(given, "column_names") else ""
        raise InputError(f"give a list of {what} to add, not one {kind}{way_out}")
    if hasattr(given, "collect") and not hasattr(given, "__iter__"):
        raise InputError(f"a {kind} is not computed yet; give what its method collect() returns")
    if not any(hasattr(given, name) for name in _READABLE):
        raise InputError(f"give a list of {what} to add, not {kind}; an iterator or a data frame will do, too")


def documents_of(given: Given, columns: Columns = NO_COLUMNS, *, after: int = 0) -> Iterator[Document]:
    """Stream documents that a program gives.

    Parameters
    ----------
    given
        Strings, dicts (see :func:`mlret.data.documents.document_from_mapping`), documents or paths of files, in any
        iterable, which is read as it is needed; or a data frame of pandas, an object with the Arrow interface such as a
        data frame of polars or a table of Arrow, or a data set of the package datasets, each with a column ``text``; or
        the path of a file or folder, as for :class:`mlret.data.corpus.Corpus`. A Series is read as its values.
    columns
        Columns, or keys of dicts, that are read under another name.
    after
        Documents without an id get the ids ``auto-N``, where N is counted from the number behind this one.

    Raises
    ------
    InputError
        At the first that is not a document; the message of a table names the row.
    """
    if isinstance(given, list | tuple):
        yield from _each(given, columns, after)
    elif isinstance(given, PathLike):
        yield from _files(given, columns)
    elif (rows := table_rows(given, columns)) is not None:
        from mlret.data.record_files import row_document

        for number, row in enumerate(rows, start=1):
            origin = f"{type(given).__name__}: row {number}"
            document = row_document(row, origin, f"auto-{after + number}")
            if document is None:  # Of files of benchmarks such rows are skipped; here each row may have a vector.
                raise InputError(f"{origin}: title and text are empty; drop the row, or fill it in")
            yield document
    else:
        yield from _each(_iterator(given), columns, after)


def incoming_of(given: Given, columns: Columns = NO_COLUMNS) -> Iterator[str | Mapping[str, Any] | Document]:
    """Stream what a program gives as in :func:`documents_of`, without checking it and without ids of its own.

    Rows of tables and dicts are dicts, files are documents; everything else is as it was given.
    """
    if isinstance(given, PathLike):
        yield from _files(given, columns)
    elif (rows := None if isinstance(given, list | tuple) else table_rows(given, columns)) is not None:
        yield from rows
    else:
        for one in _iterator(given):
            if isinstance(one, PathLike):
                yield from _files(one, columns)
            else:
                yield renamed(one, columns) if columns and isinstance(one, Mapping) else one


def sized(given: Given) -> object:
    """Return what was given if its length is the number of its documents, otherwise an object without a length."""
    paths = isinstance(given, list | tuple) and any(isinstance(one, PathLike) for one in given)
    return object() if paths else given


def _each(given: Iterable[Incoming], columns: Columns, number: int) -> Iterator[Document]:
    for document in given:
        if isinstance(document, Document):
            yield document
            continue
        number += 1
        if isinstance(document, str):
            yield Document(f"auto-{number}", document)
        elif isinstance(document, Mapping):
            record = renamed(document, columns) if columns else document
            yield document_from_mapping(record, id=f"auto-{number}")
        elif isinstance(document, PathLike):
            yield from _files(document, columns)
        else:
            raise InputError(f"a document is a string, a dict or a Document, not {type(document).__name__}")


def _files(path: PathLike[str], columns: Columns) -> Iterator[Document]:
    from mlret.data.corpus import Corpus

    return iter(Corpus([Path(fspath(path))], columns=columns))


def _iterator(given: Any) -> Iterator[Any]:
    try:
        return iter(given)
    except TypeError as error:
        raise InputError(f"give a list of documents to add, not {type(given).__name__}") from error


def table_rows(given: Any, columns: Columns) -> Iterator[dict[str, Any]] | None:
    """Return the rows of a table, or ``None`` if something is not a table.

    Nothing is imported to find out: pandas' data frames and the data sets of the package datasets are recognised by
    their methods, all other tables by the Arrow interface.

    Parameters
    ----------
    given
        Any object.
    columns
        Columns that are read under another name.
    """
    if hasattr(given, "dtype") or hasattr(given, "type"):  # A Series, or an array of Arrow.
        return None
    if hasattr(given, "iloc") and hasattr(given, "to_dict") and hasattr(given, "columns"):
        from mlret.data.frames import frame_rows

        return frame_rows(given, columns)
    if hasattr(given, "select_columns") and hasattr(given, "features"):
        from mlret.data.frames import data_set_rows

        return data_set_rows(given, columns)
    if hasattr(given, "__arrow_c_stream__"):
        from mlret.data.tables import arrow_rows

        return arrow_rows(given, columns)
    return None
