"""Test that checksums of fields see whatever looking up each field of each record sees."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.index.filtering.field_sums import FieldSums
from mlret.index.filtering.field_table import OLD_SCHEMA, SCHEMA, FieldTable
from mlret.index.filtering.fields import EXACT_INTEGERS, Kind, fields_of
from tests.conftest import examples

NAMES = st.sampled_from(["year", "tags", "a.b", ""])
# Those that Python's hash() or a conversion to another type could take for each other are frequent.
EDGES = (-2, -1, 0, 1, 1.0, 1.5, -0.0, 2**53, 2**53 + 1, float(2**53), EXACT_INTEGERS - 1, EXACT_INTEGERS, 1e300)
TEXTS = ("", "1", "a", "a\0", "a\0b", "ä", "y" * 200, "y" * 300, "y" * 299 + "x")
SCALARS = st.none() | st.booleans() | st.sampled_from([*EDGES, -EXACT_INTEGERS, *TEXTS]) | st.integers(-9, 9)
METADATA = st.dictionaries(NAMES, SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(NAMES, SCALARS, max_size=2))
RECORDS = st.lists(METADATA, min_size=1, max_size=8)
CELLS = st.sampled_from([*(one for one in EDGES if abs(one) < EXACT_INTEGERS), *TEXTS, b"", b"a", 5e-324])
CHANGES = ("remove", "add", "exchange", "as bytes", "value", "row", "key", "kind")


def table_of(layout: str, cells: Iterable[tuple[Any, ...]]) -> sqlite3.Connection:
    """Make a table of fields from names, kinds, values and rows."""
    connection = sqlite3.connect(":memory:")
    connection.executescript(SCHEMA if layout == "numbered" else OLD_SCHEMA)
    for key, kind, value, row in cells:
        if layout == "numbered":
            connection.execute("INSERT OR IGNORE INTO field_names (key, kind) VALUES (?, ?)", (key, kind))
            statement = (
                "INSERT OR IGNORE INTO field_values SELECT number, ?, ? FROM field_names WHERE (key, kind) = (?, ?)"
            )
            connection.execute(statement, (value, row, key, kind))
        else:
            connection.execute("INSERT OR IGNORE INTO fields VALUES (?, ?, ?, ?)", (key, kind, value, row))
    return connection


def fields(records: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(key, *value, row) for row, one in enumerate(records, 1) for key, value in fields_of(one)]


def sums_of(records: list[dict[str, Any]]) -> FieldSums:
    sums = FieldSums()
    sums.add_metadata(range(1, len(records) + 1), records)
    return sums


def looked_up(connection: sqlite3.Connection, records: list[dict[str, Any]]) -> bool:
    """Return whether the table holds the fields of the records and no more, by looking up each."""
    wanted = fields(records)
    query = "SELECT count(*) FROM fields WHERE key = ? AND kind = ? AND value = ? AND row = ?"
    found = [connection.execute(query, one).fetchone() for one in wanted]
    return set(found) <= {(1,)} and connection.execute("SELECT count(*) FROM fields").fetchone() == (len(wanted),)


def agrees(connection: sqlite3.Connection, records: list[dict[str, Any]]) -> bool:
    """Return whether the checksums of the table are those of the records."""
    table, wanted = FieldTable(connection), sums_of(records)
    return table.sums() == wanted and len(table) == len(wanted)


@pytest.mark.parametrize("layout", ["numbered", "old"])
@given(records=RECORDS, data=st.data())
@settings(max_examples=examples(300))
def test_a_changed_table_is_seen_as_by_looking_up_each_field(
    layout: str, records: list[dict[str, Any]], data: st.DataObject
) -> None:
    cells = fields(records)
    for what in data.draw(st.lists(st.sampled_from(CHANGES), max_size=3)):
        if not cells:
            break
        place, other = (data.draw(st.integers(0, len(cells) - 1)) for _ in range(2))
        key, kind, value, row = cells.pop(place)
        if what == "add":
            cells += [(key, kind, value, row), (key, kind, data.draw(CELLS), row + data.draw(st.integers(0, 1)))]
        elif what == "exchange" and other < len(cells):
            *name, second, there = cells[other]
            cells[other] = (*name, value, there)
            cells.append((key, kind, second, row))
        elif what != "remove":
            changed = {
                "as bytes": (key, kind, str(value).encode(), row),
                "value": (key, kind, data.draw(CELLS), row),
                "row": (key, kind, value, row + data.draw(st.integers(-2, 2))),
                "key": (data.draw(NAMES), kind, value, row),
                "kind": (key, data.draw(st.sampled_from(get_args(Kind))), value, row),
            }
            cells.append(changed.get(what, (key, kind, value, row)))
    with closing(table_of(layout, cells)) as connection:
        assert agrees(connection, records) == looked_up(connection, records)


@given(records=RECORDS)
def test_records_in_any_order_and_any_batches_have_one_checksum(records: list[dict[str, Any]]) -> None:
    one_by_one = FieldSums()
    for row, metadata in reversed(list(enumerate(records, 1))):
        one_by_one.add_metadata([row], [metadata])
    assert one_by_one == sums_of(records)
    assert len(one_by_one) == len(fields(records))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE field_values SET row = 'x' WHERE row = 1",
        "UPDATE field_values SET row = 1.5 WHERE row = 1",
        "INSERT INTO field_values VALUES (99, 1, 1)",
        "UPDATE field_values SET name = 'x' WHERE row = 1",
        "UPDATE field_names SET key = CAST(key AS BLOB)",
        "UPDATE field_values SET value = CAST(value AS BLOB) WHERE typeof(value) = 'text' AND row = 1",
        "UPDATE field_values SET value = CAST(value AS TEXT) WHERE typeof(value) = 'integer' AND row = 1",
        # Two values that changed places: a sum of weak hashes is the same.
        "UPDATE field_values SET row = 3 - row WHERE row IN (1, 2)",
    ],
)
def test_cells_that_no_record_can_have_are_seen(statement: str) -> None:
    records = [{"year": 1950 + place, "name": f"n{place}"} for place in range(4)]
    with closing(table_of("numbered", fields(records))) as connection:
        assert agrees(connection, records)
        connection.execute(statement)
        assert not agrees(connection, records)


def test_any_two_values_that_changed_places_are_seen() -> None:
    records = [{"year": place % 75, "name": f"n{place % 40}"} for place in range(80)]
    right = sums_of(records)
    for one in range(80):
        for other in range(one):
            wrong = list(records)
            wrong[one], wrong[other] = wrong[other], wrong[one]
            same = records[one] == records[other]
            assert (sums_of(wrong) == right) == same
