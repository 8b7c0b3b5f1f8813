"""The memory store: whose memory it is decides what is found."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mlret.encoders.encoder import Encoder
from mlret.errors import InputError
from mlret.index.index import Index
from mlret.memory.memory import Memory, MemoryRecord, parse_scope


def test_memory_is_found_after_reopening(tmp_path: Path, tiny_encoder: Encoder) -> None:
    before = datetime.now(UTC)
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        id = memory.add("the cat sat on a mat", scope={"user": "u1"}, language="eng", source="chat", turn=3)
        assert isinstance(id, str)
        record = memory.get(id)
        assert record is not None and record.id == id
        assert (record.text, record.scope, record.language) == ("the cat sat on a mat", {"user": "u1"}, "en")
        assert record.metadata == {"source": "chat", "turn": 3}
        assert before <= datetime.fromisoformat(record.created_at) <= datetime.now(UTC)
        assert datetime.fromisoformat(record.created_at).utcoffset() is not None
    with Memory.open(tmp_path / "m") as memory:
        assert len(memory) == 1
        assert memory.get(record.id) == record
        assert memory.get("nothing") is None
        [hit] = memory.search("the cat sat on a mat", {"user": "u1"})
        assert (hit.id, hit.rank, hit.score) == (record.id, 1, pytest.approx(1.0))
        assert hit.metadata == {
            "scope": {"user": "u1"},
            "created_at": record.created_at,
            "source": "chat",
            "turn": 3,
        }


def test_scope_is_applied_before_ranking(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        for i in range(20):
            memory.add("the cat sat on a mat", {"user": "other", "tenant": "t"}, n=i)
        mine = [memory.add(text, {"user": "u1", "tenant": "t"}) for text in ("seven dogs", "warm rain")]
        special = memory.add("rice", {"user": "u1", "tenant": "t", "agent": "cook"})

        def found(scope: dict[str, str], k: int = 50) -> set[str]:
            return {hit.id for hit in memory.search("the cat sat on a mat", scope, k)}

        assert found({"user": "u1"}) == {*mine, special}
        assert found({"user": "u1", "agent": "cook"}, 2) == {special}
        assert found({"tenant": "t"}) >= found({"user": "u1"})
        assert len(found({"user": "u1"}, 2)) == 2
        assert found({"user": "U1"}) == found({"user": "u1 "}) == found({"run": "u1"}) == set()


@pytest.mark.parametrize("scope", [{}, None, {"users": "u1"}, {"user": ""}, {"user": None}, {"user": ["u1"]}, "user"])
def test_scope_is_mandatory(tmp_path: Path, tiny_encoder: Encoder, scope: object) -> None:
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        memory.add("cat", {"user": "u1"})
        with pytest.raises(InputError, match="scope"):
            memory.add("cat", scope)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="scope"):
            memory.search("cat", scope)  # type: ignore[arg-type]
        assert len(memory) == 1


def test_metadata_cannot_move_a_memory_to_another_scope(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        for name in ("scope.user", "created_at"):
            with pytest.raises(InputError, match="may not use the name"):
                memory.add("cat", {"user": "u1"}, **{name: "u2"})
        id = memory.add("cat", {"user": "u1"}, user="u2")
        record = memory.get(id)
        assert record is not None
        assert memory.search("cat", {"user": "u2"}) == []
        assert record == MemoryRecord(id, "cat", {"user": "u1"}, record.created_at, record.language, {"user": "u2"})


def test_store_that_another_process_makes_first_is_opened(
    tmp_path: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Index.create

    def lose_the_race(path: Path, encoder: Encoder, **options: Any) -> Index:
        create(path, encoder, **options).close()
        return create(path, encoder, **options)

    monkeypatch.setattr(Index, "create", lose_the_race)
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        memory.add("cat", {"user": "u1"})
        assert len(memory) == 1


def test_bad_text_is_refused(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Memory.open(tmp_path / "m", tiny_encoder) as memory:
        for text, language in ((" ", None), ("cat", "xx"), (3, None)):
            with pytest.raises(InputError):
                memory.add(text, {"user": "u1"}, language=language)  # type: ignore[arg-type]
        assert len(memory) == 0


def test_index_and_memory_are_not_mixed_up(tmp_path: Path, tiny_encoder: Encoder) -> None:
    Index.create(tmp_path / "i", tiny_encoder).close()
    Memory.open(tmp_path / "m", tiny_encoder).close()
    with pytest.raises(InputError, match="is an index"):
        Memory.open(tmp_path / "i")
    with pytest.raises(InputError, match="is a memory store"):
        Index.open(tmp_path / "m")


def test_scope_on_the_command_line() -> None:
    assert parse_scope(["user=u1", "agent=a=b"]) == {"user": "u1", "agent": "a=b"}
    for bad in (["user"], ["user=u1", "user=u2"], ["who=u1"], []):
        with pytest.raises(InputError):
            parse_scope(bad)
