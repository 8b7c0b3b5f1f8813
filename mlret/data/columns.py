"""Rename columns of tables and keys of records to those that documents have."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from mlret.errors import InputError

Columns = Mapping[str, str]
"""Name of a column, or of a key of records -> the name under which it is read, as in pandas' ``rename(columns=…)``."""

NO_COLUMNS: Columns = {}


def checked_columns(columns: Columns | None) -> Columns:
    """Return names of columns after checking them; an empty mapping for ``None``.

    Raises
    ------
    InputError
        If it is not a mapping of names, a name is empty, or two columns get the same name.
    """
    if columns is None:
        return NO_COLUMNS
    if not isinstance(columns, Mapping):
        raise InputError(f"columns is {type(columns).__name__}; give a dict such as {{'body': 'text', 'sku': 'id'}}")
    for name in (*columns, *columns.values()):
        if not isinstance(name, str) or not name:
            raise InputError(f"columns has the name {name!r}; names of columns are strings that are not empty")
    if (twice := _repeated(columns.values())) is not None:
        raise InputError(f"two columns are to be read as {twice!r}; name one")
    return dict(columns)


def new_names(names: Iterable[str], columns: Columns, where: str = "") -> list[str]:
    """Return the names of a table's columns after renaming.

    Parameters
    ----------
    names
        The names of the columns in the table.
    columns
        Which are renamed.
    where
        Start of error messages: the name of the table.

    Raises
    ------
    InputError
        If a column that is to be renamed does not exist, or two columns then have the same name.
    """
    names = list(names)
    for name in columns:
        if name not in names:
            raise InputError(f"{where}no column {name!r}, {there_are(names)}")
    found = [columns.get(name, name) for name in names]
    if (twice := _repeated(found)) is not None:
        raise _taken(twice, where)
    return found


def renamed(record: Mapping[str, Any], columns: Columns, where: str = "") -> Mapping[str, Any]:
    """Return a record with the keys that it has after renaming; keys that it lacks are ignored.

    Raises
    ------
    InputError
        If two keys then have the same name.
    """
    if not columns:
        return record
    found = {columns.get(key, key): value for key, value in record.items()}
    if len(found) != len(record):
        raise _taken(_repeated(columns.get(key, key) for key in record) or "", where)
    return found


def there_are(names: Collection[str]) -> str:
    """Format which columns a table has, for error messages."""
    return f"there are {', '.join(map(repr, names)) or 'none that JSON can represent'}"


def _repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _taken(name: str, where: str) -> InputError:
    return InputError(
        f"{where}two columns have the name {name!r}; rename one with columns={{'NAME': 'OTHER'}} "
        "(`mlret index build --column-as NAME=OTHER`)"
    )
