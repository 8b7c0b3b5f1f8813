"""Test metadata: JSON is kept exactly as it is read back from disk, and everything else is refused with its path."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.data.documents import Document
from mlret.data.metadata import DEEPEST, checked_metadata
from mlret.errors import InputError

TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**300), 10**300)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXT, VALUES, max_size=4))
def test_metadata_is_from_the_start_what_the_disk_gives_back(metadata: dict[str, Any]) -> None:
    assert checked_metadata(metadata) == json.loads(json.dumps(metadata))


def test_metadata_is_a_copy() -> None:
    given_metadata: dict[str, Any] = {"a": [{"b": 1}], "c": (1, (2,))}
    document = Document("id", "text", None, given_metadata)
    given_metadata["a"][0]["b"] = given_metadata["d"] = float("nan")
    assert document.metadata == {"a": [{"b": 1}], "c": [1, [2]]}


def nested(depth: int, lists: bool) -> dict[str, Any]:
    value: Any = 1
    for _ in range(depth - 1):
        value = [value] if lists else {"a": value}
    return {"x": value}


@pytest.mark.parametrize("lists", [False, True])
def test_nesting_has_a_limit(lists: bool) -> None:
    assert checked_metadata(nested(DEEPEST, lists)) == nested(DEEPEST, lists)
    for depth in (DEEPEST + 1, 900, 100_000):
        with pytest.raises(InputError, match=r"document 'id': metadata\['x'\].*nested more than 32 levels"):
            Document("id", "text", None, nested(depth, lists))


def test_metadata_that_holds_itself_is_refused() -> None:
    metadata: dict[str, Any] = {}
    metadata["a"] = metadata
    with pytest.raises(InputError, match="nested more than"):
        checked_metadata(metadata)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"a": {"b": [0, float("nan")]}}, r"metadata\['a'\]\['b'\]\[1\] is nan"),
        ({"a": float("inf")}, r"metadata\['a'\] is inf"),
        ({"a": {1: 2}}, r"metadata\['a'\] has the key 1, which is not a string"),
        ({None: 2}, "metadata has the key None"),
        ({"a": {"x\udce9": 2}}, "which is not valid Unicode"),
        ({"a": ["x\udce9"]}, r"metadata\['a'\]\[0\] is not valid Unicode"),
        ({"a": 10**400}, "an integer beyond 1e308"),
        ({"a": -(10**5000)}, "an integer beyond 1e308"),
        ({"a": {1, 2}}, "is set, which is not JSON"),
        ({"a": b"x"}, "is bytes, which is not JSON"),
        ({"a": 1j}, "is complex, which is not JSON"),
        ({"a": np.complex64(1)}, "is complex64, which is not JSON"),
        ({"a": [np.ones(1, complex)]}, r"\['a'\]\[0\]\[0\] is complex128, which is not JSON"),
        ({"a": object()}, "is object, which is not JSON"),
        ([("a", 1)], "must be a dict whose keys are strings, not list"),
        ("a", "must be a dict whose keys are strings, not str"),
    ],
)
def test_what_is_not_json_is_refused_with_its_place(metadata: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Document("id", "text", None, metadata)
    assert "\n" not in str(caught.value)
