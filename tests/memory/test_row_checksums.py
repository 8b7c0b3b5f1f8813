"""Test checksums of rows: the same whether computed by row or by column, and different for different rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.memory.storage.cells import checksum
from mlret.memory.storage.loading import DamagedColumnError, checksums, integers, texts

WHOLE = st.integers(-(2**63), 2**63 - 1)
TEXT = st.one_of(st.none(), st.text(st.characters(exclude_categories=("Cs",)), max_size=5), st.sampled_from("ab"))
ROWS = st.lists(st.tuples(WHOLE, TEXT, st.sampled_from([7, 7, 2**62]), TEXT), min_size=1, max_size=200)


@given(ROWS)
def test_columns_have_the_checksums_of_their_rows(rows: list[tuple[Any, ...]]) -> None:
    first, second, third, fourth = zip(*rows, strict=True)
    words = [integers(first).view(np.uint64), texts(second), integers(third).view(np.uint64), texts(fourth)]
    assert checksums(words).tolist() == [checksum(row) for row in rows]


@given(st.lists(WHOLE, min_size=1, max_size=20), st.integers(0, 19), st.integers(0, 63))
def test_one_bit_changes_the_checksum(values: list[int], place: int, bit: int) -> None:
    place %= len(values)
    changed = list(values)
    changed[place] = int(np.int64(np.uint64(values[place] & (2**64 - 1)) ^ np.uint64(1 << bit)))
    assert checksum(values) != checksum(changed)


@given(st.one_of(WHOLE, TEXT, st.binary(max_size=5), st.floats(allow_nan=False)))
def test_checksums_take_eight_bytes_in_a_row(value: Any) -> None:
    assert 2**62 <= checksum([value]) < 2**63


def test_value_of_another_type_in_a_column_is_damage() -> None:
    for values in ([1, "1"], [1.5], [b"x"], [None, 1], ["a"]):
        with pytest.raises(DamagedColumnError):
            integers(values)  # type: ignore[arg-type]
    for others in ([1], [b"x"], ["a", 1], [None, 0.5]):
        with pytest.raises(DamagedColumnError):
            texts(others)  # type: ignore[arg-type]
    assert integers([None, 5], null=7).tolist() == [7, 5]
    assert checksum([1]) != checksum(["1"]) != checksum([None])
