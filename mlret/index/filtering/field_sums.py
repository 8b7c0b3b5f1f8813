"""Checksums of the fields of records, by which the table of fields is compared with the metadata of all records.

The values under a name and of a kind have one checksum, the sum of those of each value with its row. So it does not
depend on the order, and the two sides can be read in whichever order each is stored in, many at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlret.index.filtering.fields import EXACT_INTEGERS, LONGEST_VALUE, Kind, fields_of, stored_value
from mlret.index.sqlite.checksums import MODULUS, mixed

_KINDS: dict[type, Kind] = {str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}
_CONTAINERS = frozenset((dict, list))
Class = Literal["integer", "float", "string", "other"]


class FieldSums:
    """The number of values under each name and of each kind, and their checksum.

    Two that were given the same values with the same rows, in any order, are equal. Others are equal with a probability
    of about ``2 ** -63``. As in the table of fields, ``1`` and ``1.0`` are equal. Checksums of strings differ from one
    process to the next.

    Examples
    --------
    >>> sums, others = FieldSums(), FieldSums()
    >>> sums.add_metadata([7, 9], [{"year": 1999}, {"year": 2000, "tags": ["a"]}])
    >>> others.add("year", "number", [2000, 1999], [9, 7])
    >>> sums == others
    False
    >>> others.add("tags", "list", [0], [9])
    >>> others.add("tags", "string", ["a"], [9])
    >>> sums == others
    True
    """

    __hash__ = None  # type: ignore[assignment]  # It changes.

    def __init__(self) -> None:
        # Integers equal floats of the same value; nothing else equals a value of another class.
        self._found: dict[tuple[str, str, Class], tuple[int, int]] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FieldSums) and self._found == other._found

    def __len__(self) -> int:
        """Return the number of values."""
        return sum(count for count, _ in self._found.values())

    def add(self, key: str, kind: str, values: Sequence[Any], rows: Sequence[int]) -> None:
        """Add values as the table of fields stores them.

        Parameters
        ----------
        key, kind
            The name of the values, and their kind.
        values
            ``n`` values.
        rows
            ``n`` row numbers: the record of each value.
        """
        for type_, some, places in _by_type(values, rows):
            for class_, contents, numbers in _hashed(type_, some, np.array(places, dtype=np.int64)):
                count, total = self._found.get((key, kind, class_), (0, 0))
                total += int(mixed(contents, numbers).view(np.uint64).sum(dtype=np.uint64))
                self._found[key, kind, class_] = count + len(contents), total % MODULUS

    def add_metadata(self, rows: Sequence[int], metadata: Sequence[dict[str, Any]]) -> None:
        """Add the fields of records.

        Parameters
        ----------
        rows
            ``n`` row numbers.
        metadata
            The metadata of each row.
        """
        shapes = set(map(tuple, metadata))
        if len(shapes) == 1:
            columns = dict(zip(shapes.pop(), zip(*map(dict.values, metadata), strict=True), strict=True))
            if all(_CONTAINERS.isdisjoint(map(type, values)) for values in columns.values()):
                self._add_columns((key, values, rows) for key, values in columns.items())
                return
        flat: dict[str, tuple[list[Any], list[int]]] = {}
        nested: dict[tuple[str, Kind], tuple[list[Any], list[int]]] = {}
        for row, some in zip(rows, metadata, strict=True):
            if _CONTAINERS.isdisjoint(map(type, some.values())):
                for key, value in some.items():
                    values, places = flat.setdefault(key, ([], []))
                    values.append(value)
                    places.append(row)
            else:
                for key, (kind, value) in fields_of(some):
                    values, places = nested.setdefault((key, kind), ([], []))
                    values.append(value)
                    places.append(row)
        self._add_columns((key, *column) for key, column in flat.items())
        for (key, kind), (values, places) in nested.items():
            self.add(key, kind, values, places)

    def _add_columns(self, columns: Iterable[tuple[str, Sequence[Any], Sequence[int]]]) -> None:
        """Add scalars as they are in metadata: names, ``n`` values under each, and their rows."""
        for key, values, rows in columns:
            for type_, some, places in _by_type(values, rows):
                self.add(key, _KINDS[type_], _stored(type_, some), places)


def _by_type(values: Sequence[Any], rows: Sequence[int]) -> Iterator[tuple[type, Sequence[Any], Sequence[int]]]:
    """Divide values with their rows by the types of the values."""
    types = set(map(type, values))
    if len(types) == 1:
        yield types.pop(), values, rows
        return
    for type_ in types:
        chosen = [place for place, value in enumerate(values) if type(value) is type_]
        yield type_, [values[place] for place in chosen], [rows[place] for place in chosen]


def _stored(type_: type, values: Sequence[Any]) -> Sequence[Any]:
    """Return scalars of one type as the table of fields stores them; see :func:`.stored_value`."""
    if type_ is float:
        return values
    if type_ is str and max(map(len, values)) <= LONGEST_VALUE:
        return values
    if type_ is int and min(values) > -EXACT_INTEGERS and max(values) < EXACT_INTEGERS:
        return values
    return [stored_value(value).value for value in values]


def _hashed(
    type_: type, values: Sequence[Any], rows: NDArray[np.int64]
) -> Iterator[tuple[Class, NDArray[np.int64], NDArray[np.int64]]]:
    """Divide stored values of one type by their classes, each as an integer, with their rows."""
    if type_ is int:
        yield "integer", np.array(values, dtype=np.int64), rows
    elif type_ is float:
        floats = np.array(values, dtype=np.float64)
        integral = (np.floor(floats) == floats) & (floats >= -EXACT_INTEGERS) & (floats < EXACT_INTEGERS)
        if integral.any():
            yield "integer", floats[integral].astype(np.int64), rows[integral]
        if not integral.all():
            yield "float", floats.view(np.int64)[~integral], rows[~integral]
    else:
        hashes = np.fromiter(map(hash, values), dtype=np.int64, count=len(values))
        yield "string" if type_ is str else "other", hashes, rows
