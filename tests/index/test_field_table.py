"""Test the table of fields: names are numbered, forgotten with their last value, and read as in earlier formats."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st

from mlret.index.filtering.field_sums import FieldSums
from mlret.index.filtering.field_table import OLD_SCHEMA, SCHEMA, FieldTable, field_names, field_values, has_field
from mlret.index.filtering.fields import Kind

NAMES = st.sampled_from(["year", "tags", "a.b", "ß", ""])
VALUES = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.sampled_from(["", "x", "y" * 300])
METADATA = st.dictionaries(NAMES, VALUES | st.lists(VALUES, max_size=3) | st.dictionaries(NAMES, VALUES, max_size=2))
RECORDS = st.lists(METADATA, max_size=8)


def filled(schema: str, records: list[dict[str, Any]]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.executescript(schema)
    FieldTable(connection).add(range(1, len(records) + 1), records)
    return connection


def content(connection: sqlite3.Connection) -> list[Any]:
    """Return all rows, and what is read of the names and values."""
    names = field_names(connection)
    values = [field_values(connection, name, 100) for name in names]
    there = [[has_field(connection, name, kind) for kind in get_args(Kind)] for name in names]
    rows = sorted(connection.execute("SELECT * FROM fields").fetchall(), key=repr)
    return [rows, names, values, there, len(FieldTable(connection))]


@given(records=RECORDS, removed=st.sets(st.integers(0, 7)))
def test_both_layouts_hold_the_same_and_the_old_one_becomes_the_new_one(
    records: list[dict[str, Any]], removed: set[int]
) -> None:
    gone = [place for place in removed if place < len(records)]
    left = [one for place, one in enumerate(records) if place not in removed]
    with closing(filled(SCHEMA, records)) as new, closing(filled(OLD_SCHEMA, records)) as old:
        assert FieldTable(new).numbered and not FieldTable(old).numbered
        assert content(new) == content(old)
        FieldTable(old).number_names()
        assert FieldTable(old).numbered and content(new) == content(old)
        for connection in (new, old):
            table = FieldTable(connection)
            table.remove([place + 1 for place in gone], [records[place] for place in gone])
            wanted = FieldSums()
            kept = [place for place in range(len(records)) if place not in removed]
            wanted.add_metadata([place + 1 for place in kept], [records[place] for place in kept])
            assert table.sums() == wanted and len(table) == len(wanted)
        assert content(new) == content(old)
        names = {name for (name,) in new.execute("SELECT key FROM field_names")}
        with closing(filled(SCHEMA, left)) as fresh:
            assert names == {name for (name,) in fresh.execute("SELECT key FROM field_names")}
        FieldTable(new).clear()
        assert content(new) == [[], [], [], [], 0]
        assert new.execute("SELECT count(*) FROM field_names").fetchone() == (0,)
