"""The counters of a database: a few numbers for checking the rest of its content, protected by one checksum."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Mapping

from mlret.errors import Corrupt
from mlret.index.sqlite.checksums import MODULUS

# Format 2 had these counters, without a checksum and without the version of its tables.
_OF_FORMAT_2 = {"documents", "generation", "changes"}
_MODULAR = ("tombstones",)
_CHECKSUM = "checksum"


class DamagedCountersError(Corrupt):
    """The counters are not what was written."""


class Counters:
    """Integers by name, in the table ``counters``.

    ``documents`` is the number of documents, and ``passages``, which an index gets with its first long document, the
    number of rows that their passages take beyond one for each (:mod:`mlret.index.storage.passages`). ``changes`` grows
    with each transaction that changes something. ``generation`` is that of the manifest that the database was last
    brought in line with. ``tombstones`` is the checksum of the rows that were removed
    (:func:`mlret.index.sqlite.checksums.sum_of`). ``format`` is the version of the tables of the index; code that is
    built on the index keeps the version of its own tables under its own name, e.g. ``memory``.

    No method begins or ends a transaction.

    Parameters
    ----------
    connection
        An open database.
    name
        The name of the database in messages.
    """

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        # The rows that were read last, and the counters in them once they were checked.
        self._seen: tuple[list[tuple[str, int]], dict[str, int]] = [], {}

    def read(self, *, checked: bool = True) -> dict[str, int]:
        """Return all counters, without their checksum.

        Parameters
        ----------
        checked
            Raise if the checksum does not match. Otherwise counters that are not integers are skipped.

        Raises
        ------
        DamagedCountersError
            If the counters are not what was written.
        """
        rows = self._connection.execute("SELECT name, value FROM counters").fetchall()
        if checked and rows == self._seen[0]:
            return dict(self._seen[1])
        found = dict(rows)
        checksum = found.pop(_CHECKSUM, None)
        if not checked:
            return {name: value for name, value in found.items() if isinstance(name, str) and type(value) is int}
        old = checksum is None and found.keys() == _OF_FORMAT_2 and all(type(one) is int for one in found.values())
        if not old and checksum != _checksum(found):
            raise DamagedCountersError(
                f"{self._name} is damaged (its counters are not what was written); `mlret index verify --repair` counts"
                " again"
            )
        self._seen = rows, found
        return dict(found)

    def add(self, changes: Mapping[str, int]) -> None:
        """Add a number to each of some counters; one that there is not counts from 0."""
        found = self.read()
        self._write(found, {name: found.get(name, 0) + by for name, by in changes.items()})

    def set(self, values: Mapping[str, int]) -> None:
        """Set some counters to new values."""
        self._write(self.read(), values)

    def drop(self, name: str) -> None:
        """Remove a counter."""
        self.rewrite({other: value for other, value in self.read().items() if other != name})

    def rewrite(self, values: Mapping[str, int]) -> None:
        """Replace all counters."""
        self._connection.execute("DELETE FROM counters")
        self._connection.executemany(
            "INSERT INTO counters VALUES (?, ?)", [*values.items(), (_CHECKSUM, _checksum(values))]
        )

    def _write(self, found: dict[str, int], values: Mapping[str, int]) -> None:
        wrapped = {name: value % MODULUS if name in _MODULAR else value for name, value in values.items()}
        checksum = {_CHECKSUM: _checksum(found | wrapped)} if "format" in found | wrapped else {}
        self._connection.executemany(
            "INSERT INTO counters VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            [*wrapped.items(), *checksum.items()],
        )


def _checksum(values: Mapping[str, int]) -> int:
    return zlib.crc32("".join(sorted(map(repr, values.items()))).encode())  # Damaged values may be of any type.
