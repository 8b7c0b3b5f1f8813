"""Find the records that satisfy a condition: each part is looked up in the database, and the found rows are combined.

Only the parts themselves are SQL, and every value is a parameter of its statement. So a filter may be as deep and as
wide as :mod:`mlret.index.filtering.filters` allows, and strings are compared completely: SQLite's JSON functions, which
an earlier version used to pass many values at once, end a string at NUL.
"""

from __future__ import annotations

import json
import operator
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlret.data.languages import codes_found_by
from mlret.index.filtering.fields import (
    CUT_LENGTH,
    EXACT_INTEGERS,
    LONGEST_VALUE,
    Entry,
    Kind,
    entries,
    stored_value,
    value_at,
)
from mlret.index.filtering.filters import (
    All,
    Among,
    Comparison,
    Condition,
    Contains,
    Exists,
    Filled,
    HasId,
    HasLanguage,
    Leaf,
    Moment,
    Not,
    OfKind,
    Range,
    Same,
    Some,
    TextContains,
    TextIs,
)
from mlret.index.filtering.moments import compared_moments, sure_moments
from mlret.index.sqlite.sql import VARIABLES, marks, parts

Rows = NDArray[np.int64]
_NONE: Rows = np.empty(0, dtype=np.int64)
Test = Callable[[Entry], bool]
_COMPARE: dict[Comparison, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def matching_rows(connection: sqlite3.Connection, condition: Condition) -> Rows:
    """Return the rows of the table ``records`` that satisfy a condition: ``(m,)`` int64 in ascending order.

    Parameters
    ----------
    connection
        A database of :mod:`mlret.index.storage.records`, within a transaction, so that all parts see one state.
    condition
        A condition from :func:`mlret.index.filtering.filters.read_filter`.
    """
    return _Lookup(connection).rows(condition)


class _Lookup:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._found: dict[Leaf, Rows] = {}  # A part that occurs twice is looked up once.
        self._every: Rows | None = None

    def rows(self, condition: Condition) -> Rows:
        """Return the rows that satisfy a condition, in ascending order."""
        match condition:
            case All(some):
                return self._all(some)
            case Some(some):
                return _united([self.rows(part) for part in some])
            case Not(part):
                return _without(self._everything(), self.rows(part))
        if condition not in self._found:
            self._found[condition] = self._leaf(condition)
        return self._found[condition]

    def _all(self, some: Sequence[Condition]) -> Rows:
        negated = [one.part for one in some if isinstance(one, Not)]
        found: Rows | None = None
        # Parts that read records come last, so that only the few rows that are left are read.
        for part in sorted((one for one in some if not isinstance(one, Not)), key=_reads_records):
            if found is not None and len(found) <= VARIABLES and isinstance(part, HasLanguage | TextContains):
                found = self._of_few(part, found)
            else:
                rows = self.rows(part)
                found = rows if found is None else _common(found, rows)
            if not len(found):
                return found
        found = self._everything() if found is None else found
        for other in negated:
            found = _without(found, self.rows(other))
        return found

    def _of_few(self, leaf: HasLanguage | TextContains, rows: Rows) -> Rows:
        within = f"row IN ({marks(rows)})"
        if isinstance(leaf, TextContains):
            return self._text_contains(leaf, within, rows.tolist())
        query = f"SELECT row FROM records WHERE {within} AND language IS ? ORDER BY row"
        return self._select(query, *rows.tolist(), leaf.code)

    def _text_contains(self, leaf: TextContains, within: str = "true", parameters: Sequence[int] = ()) -> Rows:
        if not leaf.folded:
            query = f"SELECT row FROM records WHERE {within} AND instr(text, ?) ORDER BY row"
            return self._select(query, *parameters, leaf.text)
        # SQLite folds the case of ASCII letters only.
        found = self._connection.execute(f"SELECT row, text FROM records WHERE {within} ORDER BY row", parameters)
        return np.fromiter((row for row, text in found if leaf.text in text.casefold()), dtype=np.int64)

    def _everything(self) -> Rows:
        if self._every is None:
            self._every = self._select("SELECT row FROM records ORDER BY row")
        return self._every

    def _leaf(self, leaf: Leaf) -> Rows:
        match leaf:
            case HasLanguage() | HasId() | TextContains() | TextIs():
                return self._of_records(leaf)
            case Exists(key):
                return _unique(self._select("SELECT row FROM fields WHERE key = ?", key))
            case Filled(key):
                return self._filled(key)
            case OfKind(key, kind):
                return self._of_kind(key, kind)
            case Among(key, kind, values):
                return self._among(key, kind, values)
            case Range(key, comparison, value):
                return self._range(key, comparison, value)
            case Moment(key, comparison, value):
                return self._moment(key, comparison, value)
            case Contains():
                return self._contains(leaf)
            case Same(key, text):
                return self._same(key, json.loads(text))

    def _of_records(self, leaf: HasLanguage | HasId | TextContains | TextIs) -> Rows:
        match leaf:
            case HasLanguage(code):
                clause, codes = ("language IS NULL", []) if code is None else _in_language(code)
                return self._select(f"SELECT row FROM records WHERE {clause} ORDER BY row", *codes)
            case HasId(ids):
                found = [
                    self._select(f"SELECT row FROM records WHERE id IN ({marks(part)})", *part) for part in parts(ids)
                ]
                return _united(found)
            case TextContains():
                return self._text_contains(leaf)
            case TextIs(text):
                return self._select("SELECT row FROM records WHERE text = ? ORDER BY row", text)

    def _among(self, key: str, kind: str, values: Sequence[Any]) -> Rows:
        found = []
        large = {value for value in values if kind == "number" and abs(value) >= EXACT_INTEGERS}
        wanted = [stored_value(value).value for value in values if value not in large] if large else None
        for part in parts([stored_value(value).value for value in values] if wanted is None else wanted):
            condition = "value = ?" if len(part) == 1 else f"value IN ({marks(part)})"
            found.append(
                self._select(f"SELECT row FROM fields WHERE key = ? AND kind = ? AND {condition}", key, kind, *part)
            )
        for floats in parts(sorted(float(value) for value in large)):
            likely = self._select(
                f"SELECT row FROM fields WHERE key = ? AND kind = 'number' AND value IN ({marks(floats)})", key, *floats
            )
            found.append(self._verified(key, likely, lambda entry: _is_number(entry.value) and entry.value in large))
        return _united(found)

    def _range(self, key: str, comparison: Comparison, value: str | int | float) -> Rows:
        text = isinstance(value, str)
        kind = "string" if text else "number"
        query = "SELECT row FROM fields WHERE key = ? AND kind = ? AND "
        exact = len(value) <= LONGEST_VALUE if isinstance(value, str) else abs(value) < EXACT_INTEGERS
        if exact:
            return _unique(self._select(f"{query} value {comparison} ?", key, kind, value))
        # Values that were cut or rounded when they were stored are compared in full with the metadata.
        if isinstance(value, str):
            tie = "value >= ? AND value < ?"
            bounds: list[Any] = [value[:LONGEST_VALUE] + "#", value[:LONGEST_VALUE] + "$"]
            sure = self._select(f"{query} value {comparison} ? AND NOT ({tie})", key, kind, value, *bounds)
        else:
            tie, bounds = "value = ?", [float(value)]
            sure = self._select(f"{query} value {comparison} ? AND NOT ({tie})", key, kind, *bounds, *bounds)
        likely = self._select(f"{query} {tie}", key, kind, *bounds)
        compare = _COMPARE[comparison]

        def holds(entry: Entry) -> bool:
            found = entry.value
            return (isinstance(found, str) if text else _is_number(found)) and compare(found, value)

        return _united([sure, self._verified(key, likely, holds)])

    def _moment(self, key: str, comparison: Comparison | Literal["="], value: str) -> Rows:
        query = "SELECT row FROM fields WHERE key = ? AND kind = 'string' AND "
        wanted = datetime.fromisoformat(value)
        sure, likely = sure_moments(comparison, wanted)
        rows = self._select(query + sure.clause, key, *sure.parameters) if sure is not None else _NONE
        candidates = self._connection.execute(
            f"SELECT value, row FROM fields WHERE key = ? AND kind = 'string' AND {likely.clause}",
            (key, *likely.parameters),
        )
        compared = [row for found, row in candidates if compared_moments(found, comparison, wanted)]
        return _united([rows, np.array(compared, dtype=np.int64)])

    def _same(self, key: str, wanted: list[Any] | dict[str, Any]) -> Rows:
        kind: Kind = "list" if isinstance(wanted, list) else "object"
        likely = self._of_kind(key, kind)
        found = []
        for part in parts(likely.tolist()):
            query = f"SELECT row, metadata FROM records WHERE row IN ({marks(part)})"
            for row, metadata in self._connection.execute(query, part):
                if value_at(json.loads(metadata), key) == wanted:
                    found.append(row)
        return _unique(np.array(sorted(found), dtype=np.int64))

    def _of_kind(self, key: str, kind: Kind) -> Rows:
        return _unique(self._select("SELECT row FROM fields WHERE key = ? AND kind = ?", key, kind))

    def _filled(self, key: str) -> Rows:
        texts = self._select("SELECT row FROM fields WHERE key = ? AND kind = 'string' AND value > ''", key)
        sure = _united([texts, *(self._of_kind(key, kind) for kind in ("number", "boolean", "object"))])

        def holds(entry: Entry) -> bool:
            return not entry.empty and entry.value is not None and entry.value != ""

        # The table has no rows for the lists and objects in a list: it may be empty, or hold nothing else.
        return _united([sure, self._verified(key, _without(self._of_kind(key, "list"), sure), holds)])

    def _contains(self, leaf: Contains) -> Rows:
        key, wanted = leaf.key, leaf.value
        if not isinstance(wanted, str):
            return self._among(key, leaf.kind, [wanted])
        fold = str.casefold if leaf.folded else str
        query = "SELECT row, value FROM fields WHERE key = ? AND kind = 'string'"
        parameters: list[Any] = [key]
        equal = np.empty(0, dtype=np.int64)
        if not leaf.folded:  # SQLite folds the case of ASCII letters only.
            equal = self._among(key, leaf.kind, [wanted])
            query += " AND (instr(value, ?) OR length(CAST(value AS BLOB)) >= ?)"
            parameters += [wanted, CUT_LENGTH]
        sure: list[int] = []
        likely: list[int] = []
        # The cut-off rest of a long string may contain it; the appended hash does not count.
        for row, found in self._connection.execute(query, parameters):
            if len(found) < CUT_LENGTH:
                if wanted in fold(found):
                    sure.append(row)
            else:
                (sure if wanted in fold(found[:LONGEST_VALUE]) else likely).append(row)
        # An element of a list must equal the wanted string; containing it is not enough.
        lists = self._of_kind(key, "list")
        substrings = _unique(np.array(sure, dtype=np.int64))
        unsure = _united([_common(substrings, lists), np.array(likely, dtype=np.int64)])

        def holds(entry: Entry) -> bool:
            if not isinstance(entry.value, str):
                return False
            found = fold(entry.value)
            return found == wanted if entry.in_list else wanted in found

        verified = self._verified(key, _without(unsure, equal), holds)
        return _united([equal, _without(substrings, unsure), verified])

    def _verified(self, key: str, rows: Rows, holds: Test) -> Rows:
        """Return those rows whose metadata has under a name a value for which ``holds`` is true."""
        found = []
        for part in parts(_unique(rows).tolist()):
            query = f"SELECT row, metadata FROM records WHERE row IN ({marks(part)})"
            for row, metadata in self._connection.execute(query, part):
                if any(entry.path == key and holds(entry) for entry in entries(json.loads(metadata))):
                    found.append(row)
        return np.array(found, dtype=np.int64)

    def _select(self, query: str, *parameters: Any) -> Rows:
        rows: Iterable[tuple[int]] = self._connection.execute(query, parameters)
        return np.fromiter(chain.from_iterable(rows), dtype=np.int64)


def _reads_records(condition: Condition) -> int:
    return 2 if isinstance(condition, TextContains | TextIs) else int(isinstance(condition, HasLanguage))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _in_language(code: str) -> tuple[str, list[str]]:
    """Return the SQL condition and parameters for the languages that a code finds.

    A code that ends in ``-*`` stands for any script and becomes a range of strings.
    """
    codes = codes_found_by(code)
    full = [one for one in codes if not one.endswith("*")]
    clauses, parameters = [f"language IN ({marks(full)})"], full
    for one in codes:
        if one.endswith("*"):
            clauses.append("language >= ? AND language < ?")
            parameters += [one[:-1], one[:-2] + "."]
    return " OR ".join(clauses), parameters


def _unique(rows: Rows) -> Rows:
    """Return rows in ascending order and without duplicates."""
    if len(rows) < 2 or bool((rows[1:] > rows[:-1]).all()):
        return rows
    return np.unique(rows)


def _united(some: Sequence[Rows]) -> Rows:
    filled = [rows for rows in some if len(rows)]
    if not filled:
        return np.empty(0, dtype=np.int64)
    return _unique(filled[0] if len(filled) == 1 else np.concatenate(filled))


def _common(one: Rows, other: Rows) -> Rows:
    """Return the rows that are in both of two ascending lists."""
    few, many = (one, other) if len(one) <= len(other) else (other, one)
    return few[_among(few, many)]


def _without(rows: Rows, others: Rows) -> Rows:
    return rows[~_among(rows, others)]


def _among(rows: Rows, others: Rows) -> NDArray[np.bool_]:
    """Return for each row whether it is among ``others``; both are in ascending order."""
    if not len(others):
        return np.zeros(len(rows), dtype=np.bool_)
    places = np.searchsorted(others, rows)
    found: NDArray[np.bool_] = others[np.minimum(places, len(others) - 1)] == rows
    return found
