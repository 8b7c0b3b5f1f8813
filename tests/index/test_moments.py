"""Dates in metadata: what the database decides is what Python would decide about each string."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlret.index.filtering.filter_sql import matching_rows
from mlret.index.filtering.filters import Moment
from mlret.index.filtering.moments import Ordering, compared_moments, moment_of
from tests.conftest import examples

COMPARISONS: tuple[Ordering, ...] = ("<", "<=", ">", ">=", "=")
DAYS = ["2024-02-28", "2024-02-29", "2024-02-30", "2024-03-01", "2023-02-29", "2024-13-01", "0001-01-01", "9999-12-31"]
TIMES = [
    "",
    "T",
    " ",
    "T10",
    " 10:00",
    "T10:00:00",
    "t10:00",
    "T24:00",
    "T00:00",
    "T23:59:59.999999",
    "T10:61",
    "  10:00",
]
ENDS = ["", "Z", "z", "+00:00", "-23:59", "+14:30", "+0100", " ", " +01:00", ".5", ",5", "\n", "\0", "Ω"]
WRITTEN = st.builds("".join, st.tuples(*map(st.sampled_from, (DAYS, TIMES, ENDS)))) | st.text(
    "20-4T:Z+.9 ", max_size=20
)
ZONES = st.none() | st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.builds(
    lambda moment, zone: moment.replace(tzinfo=zone),
    st.datetimes(datetime(2024, 2, 25), datetime(2024, 3, 4)) | st.datetimes(),
    ZONES,
)


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlite3.Connection]:
    found = sqlite3.connect(":memory:")
    found.execute("CREATE TABLE fields (key TEXT, kind TEXT, value, row INTEGER)")
    yield found
    found.close()


@settings(max_examples=examples(300))
@example(["2024-02-28\0", "2024-02-28T10:00\0:00"], datetime(2024, 2, 25), ">")
@given(st.lists(WRITTEN | MOMENTS.map(datetime.isoformat), max_size=20), MOMENTS, st.sampled_from(COMPARISONS))
def test_the_database_decides_as_python_does(
    connection: sqlite3.Connection, strings: list[str], wanted: datetime, comparison: Ordering
) -> None:
    connection.execute("DELETE FROM fields")
    connection.executemany(
        "INSERT INTO fields VALUES ('date', 'string', ?, ?)", [(one, row) for row, one in enumerate(strings)]
    )
    expected = [row for row, one in enumerate(strings) if compared_moments(one, comparison, wanted)]
    assert matching_rows(connection, Moment("date", comparison, wanted.isoformat())).tolist() == expected


def test_only_whole_dates_of_iso_8601_are_moments() -> None:
    assert moment_of("2024-05-31T08:30:00+00:00") == datetime(2024, 5, 31, 8, 30, tzinfo=UTC)
    for text in ("2024", "2024-05", "20240531", "2024-W22-5", "2024-05-31x", "May 2024", "1", ""):
        assert moment_of(text) is None
