"""The fields that an editor offers for Memory.add and Memory.update are those that they take."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Unpack, get_args, get_type_hints

import numpy as np
import pytest

from mlret.encoders.external import ExternalEncoder
from mlret.errors import InputError
from mlret.memory.memory import Memory
from mlret.memory.records import AddFields, MemoryRecord, UpdateFields

ANNA = {"user": "anna"}
VECTOR = np.eye(1, 4, dtype="float32")[0]
# A value for each field, other than its default.
VALUES = {
    "kind": "derived",
    "level": "fact",
    "session": "monday",
    "seq": 7,
    "event_time": "2026-01-02T03:04+00:00",
    "valid_from": "2026-01-03T03:04+00:00",
    "expires_at": "2099-01-03T03:04+00:00",
    "source": "https://example.org/a",
    "tags": ["allergy"],
    "keys": ["nuts"],
    "importance": 0.5,
    "metadata": {"page": 3},
    "links": [("about", "first")],
    "derived_from": ["first"],
    "vector": VECTOR,
    "id": "second",
    "language": "fr",
}


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    memory = Memory.open(tmp_path / "m", ExternalEncoder("tests", 4))
    memory.add("Je suis allergique aux arachides.", ANNA, id="first", vector=VECTOR, language="fr")
    return memory


def test_signatures_name_the_fields() -> None:
    assert get_args(get_type_hints(Memory.add)["about"]) == (AddFields,)
    assert get_args(get_type_hints(Memory.update)["changes"]) == (UpdateFields,)
    assert get_type_hints(Memory.add)["about"] == Unpack[AddFields]


def test_there_is_a_value_for_each_field() -> None:
    assert set(VALUES) == {*AddFields.__annotations__, *UpdateFields.__annotations__} | inherited(AddFields)


def inherited(kind: type) -> set[str]:
    return set(get_type_hints(kind))


@pytest.mark.parametrize("name", sorted(inherited(AddFields)))
def test_add_takes_and_keeps_each_field(name: str, memory: Memory) -> None:
    given = {"id": "second", "vector": VECTOR, "language": "de", name: VALUES[name]}
    memory.add("Noten sind ihr wichtig.", ANNA, dedupe=False, **given)
    record = memory.get("second", ANNA)
    assert record is not None
    assert_kept(record, name)


@pytest.mark.parametrize("name", sorted(inherited(UpdateFields)))
def test_update_takes_and_keeps_each_field(name: str, memory: Memory) -> None:
    memory.add("Noten sind ihr wichtig.", ANNA, dedupe=False, id="second", vector=VECTOR, language="de")
    memory.update("second", ANNA, **{"vector": VECTOR, name: VALUES[name]})
    record = memory.get("second", ANNA)
    assert record is not None
    assert record.version == 2
    assert_kept(record, name)


def assert_kept(record: MemoryRecord, name: str) -> None:
    if name in ("links", "derived_from"):
        assert [link.target for link in record.links] == ["first"]
    elif name in ("event_time", "valid_from", "expires_at"):
        value = getattr(record, name)
        first = value[0] if name == "event_time" else value
        assert first.strftime("%Y-%m-%dT%H:%M+00:00") == VALUES[name]
    elif name == "source":
        assert record.source is not None
        assert record.source.uri == VALUES[name]
    elif name in ("tags", "keys"):
        assert list(getattr(record, name)) == VALUES[name]
    elif name != "vector":
        assert getattr(record, name) == VALUES[name]


@pytest.mark.parametrize("call", ["add", "update", "events", "calibrate"])
def test_a_field_that_does_not_exist_is_refused_by_name(call: str, memory: Memory) -> None:
    if call == "add":
        with pytest.raises(InputError, match="unknown key 'levl'"):
            memory.add("x", ANNA, vector=VECTOR, levl="fact")  # type: ignore[call-arg]
    elif call == "update":
        with pytest.raises(InputError, match="unknown key 'levl'"):
            memory.update("first", ANNA, vector=VECTOR, levl="fact")  # type: ignore[call-arg]
    else:
        assert not [
            one for one in inspect.signature(getattr(Memory, call)).parameters.values() if one.kind == one.VAR_KEYWORD
        ]
    assert len(memory) == 1
