"""Filters: how they are written, and when two values are equal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.errors import InputError
from mlret.index.filters import Condition, comparable, conditions, parse_conditions

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(-5, 5, allow_nan=False)
    | st.text(st.characters(codec="utf-8"), max_size=3)
)


@given(SCALARS, SCALARS)
def test_values_are_equal_as_json_has_it(one: object, other: object) -> None:
    equal = one == other and isinstance(one, bool) == isinstance(other, bool)
    assert (comparable(one) == comparable(other)) == equal  # type: ignore[arg-type]


def test_long_values_are_told_apart_though_stored_short() -> None:
    assert comparable("x" * 5000) != comparable("x" * 5001)
    assert len(comparable("x" * 5000)) < 100


def test_language_is_brought_to_one_form_under_either_name() -> None:
    expected = [Condition(None, ("sw", "zh-Hant", None))]
    assert conditions({"lang": ["swh", "zh_TW", None]}) == expected
    assert conditions({"language": ("swh", "zh_TW", None)}) == expected
    assert conditions(None) == conditions({}) == []


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"lang": "xx"}, "unknown language code 'xx'"),
        ({"topic": {"a": 1}}, "the filter on 'topic' holds dict"),
        ({"topic": [["a"]]}, "the filter on 'topic' holds list"),
        ({3: "a"}, "names are strings"),
    ],
)
def test_bad_filter_is_refused(where: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        conditions(where)


def test_command_line_filters() -> None:
    assert parse_conditions(["lang=sw", "lang=en", "year=2024", "name=a=b", "empty="]) == {
        "lang": ["sw", "en"],
        "year": ["2024", 2024],
        "name": ["a=b"],
        "empty": [""],
    }
    for bad in ("lang", "=sw"):
        with pytest.raises(InputError, match="write NAME=VALUE"):
            parse_conditions([bad])
