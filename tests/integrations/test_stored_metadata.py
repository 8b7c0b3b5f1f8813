"""Metadata of frameworks under the names that an index allows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.data.documents import RESERVED_KEYS, Document
from mlret.integrations.stored_metadata import from_stored, language_in, stored_name, to_stored

NAMES = st.text(min_size=1, max_size=4) | st.sampled_from([*RESERVED_KEYS, "~id", "~~text", "id.part"])


@given(st.dictionaries(NAMES, st.integers()))
def test_metadata_comes_back_as_it_was(metadata: dict[str, int]) -> None:
    assert from_stored(to_stored(metadata)) == metadata


def test_an_index_takes_names_that_it_reserves_itself() -> None:
    metadata = dict.fromkeys(RESERVED_KEYS, 1)
    assert Document("a", "text", None, to_stored(metadata)).metadata.keys() == {f"~{name}" for name in RESERVED_KEYS}


def test_a_path_into_a_reserved_name_leads_to_the_stored_value() -> None:
    assert stored_name("language.code") == "~language.code"
    assert stored_name("author.id") == "author.id"


@pytest.mark.parametrize(
    ("metadata", "language"),
    [
        ({"lang": "swa"}, "sw"),
        ({"language": "de"}, "de"),
        ({"language": "German-ish!"}, None),
        ({"lang": 3}, None),
        ({}, None),
    ],
)
def test_the_language_is_taken_from_the_metadata_if_it_is_a_code(
    metadata: dict[str, Any], language: str | None
) -> None:
    assert language_in(metadata) == language
