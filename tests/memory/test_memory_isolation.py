"""Test that everything outside a scope is treated as nonexistent, and that erasing removes both text and id."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlret.errors import InputError
from mlret.index.vectors.cosine import CosineSpace
from mlret.memory.maintenance.upkeep import verify
from mlret.memory.memory import Memory
from mlret.memory.records import Link
from tests.index.made import encoder, vector_of
from tests.memory.made import add, open_memory

ALICE, BOB = {"tenant": "acme", "user": "alice"}, {"tenant": "bolt", "user": "bob"}


def doors(memory: Memory, id: str, mine: str, scope: dict[str, str]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Return every method that takes the id of an existing record; ``mine`` is one."""
    about: dict[str, Any] = {"vector": vector_of("x"), "language": "en"}
    yield "get", lambda: memory.get(id, scope)
    yield "history", lambda: memory.history(id, scope)
    yield "versions", lambda: memory.versions(id, scope)
    yield "update", lambda: memory.update(id, scope, "x", **about)
    yield "link from", lambda: memory.link(id, "about", mine, scope)
    yield "link to", lambda: memory.link(mine, "about", id, scope)
    yield "unlink", lambda: memory.unlink(mine, "about", id, scope)
    yield "merge", lambda: memory.merge(id, [mine], scope)
    yield "merge into", lambda: memory.merge(mine, [id], scope)
    yield "delete", lambda: memory.delete(id, scope)
    yield "restore", lambda: memory.restore([id], scope)
    yield "erase", lambda: memory.erase(id, scope)
    yield "derive", lambda: memory.derive(id, lambda _: ["x"], scope)
    yield "add with a link", lambda: memory.add("x", scope, links=[("about", id)], **about)
    yield "add derived", lambda: memory.add("x", scope, derived_from=id, **about)


def answer_of(door: Callable[[], Any], id: str) -> str:
    """Return the result of a call in a form that does not depend on the id."""
    try:
        return repr(door())
    except InputError as error:
        return str(error).replace(repr(id), "ID")


def test_id_of_another_tenant_is_answered_as_one_that_never_was(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        theirs = add(memory, "a secret", ALICE, id="alice-passport").id
        add(memory, "another", ALICE, id="twice")
        memory.delete(add(memory, "deleted", ALICE, id="gone").id, ALICE)
        mine = add(memory, "a note", BOB).id
        never = {name: answer_of(door, "never-was") for name, door in doors(memory, "never-was", mine, BOB)}
        assert sum("no record ID in the scope" in answer for answer in never.values()) == len(never) - 1
        for id in (theirs, "twice", "gone"):
            assert {name: answer_of(door, id) for name, door in doors(memory, id, mine, BOB)} == never
        assert [record.text for record in memory.list(BOB)] == ["a note"]


def test_ids_belong_to_a_tenant(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        for scope in (ALICE, BOB, {"user": "alice"}):
            assert add(memory, f"said by {scope['user']}", scope, id="x").id == "x"
            add(memory, "y", scope, id="y", links=[("about", "x")])
        with pytest.raises(InputError, match="taken"):
            add(memory, "again", {"tenant": "acme", "user": "carol"}, id="x")
        memory.update("x", BOB, "changed by bob", vector=vector_of("b"), language="en")
        memory.erase("x", ALICE)
        assert memory.get("x", ALICE) is None and memory.get("y", ALICE).links == ()  # type: ignore[union-attr]
        assert memory.get("x", BOB).text == "changed by bob"  # type: ignore[union-attr]
        assert memory.get("y", {"user": "alice"}).links == (Link("about", "x"),)  # type: ignore[union-attr]
        assert add(memory, "anew", ALICE, id="x").operation == 4 and len(memory.history("x", ALICE)) == 1
    assert verify(tmp_path / "m", encoder()) == []


def test_import_looks_at_ones_own_tenant_alone(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        for scope in (ALICE, BOB):
            add(memory, f"said by {scope['user']}", scope, id="x")
            add(memory, "y", scope, id="y", links=[("about", "x")])
        lines = [json.loads(json.dumps(line)) for line in memory.export(BOB, vectors=True)]
        assert [line["id"] for line in lines] == ["x", "y"]
        memory.erase(["x", "y"], BOB)
        assert memory.import_records(lines, BOB, existing="error") == 2
        assert memory.import_records(lines, BOB, existing="skip") == 0
        assert memory.get("y", BOB).links == (Link("about", "x"),)  # type: ignore[union-attr]
        foreign = [
            {**line, "id": f"new {line['id']}", "merged_into": None, "links": [["about", "z"]]} for line in lines
        ]
        add(memory, "only alice has it", ALICE, id="z")
        with pytest.raises(InputError, match="no record 'z' in the scope"):
            memory.import_records(foreign, BOB)
        # Within a tenant an id belongs to one record; a line of another scope does not change it.
        narrow = [{**line, "scope": {**BOB, "run": "r"}} for line in lines]
        with pytest.raises(InputError, match="not by the record of this line"):
            memory.import_records(narrow, BOB, existing="skip")
        assert [record.text for record in memory.list(ALICE)] == ["said by alice", "y", "only alice has it"]


def test_operations_are_numbered_within_the_scope(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        for number in range(5):
            add(memory, f"a {number}", ALICE)
        first, second = add(memory, "b 0", BOB), add(memory, "b 1", BOB)
        assert (first.operation, second.operation) == (1, 2)
        with pytest.raises(InputError) as outside:
            memory.undo(4, BOB)  # alice has one
        with pytest.raises(InputError) as never:
            memory.undo(4000, BOB)
        assert str(outside.value) == str(never.value).replace("4000", "4")
        run = add(memory, "b in a run", {**BOB, "run": "r"})
        assert run.operation == 1  # of the records in that scope
        wide = memory.delete([first.id, run.id], BOB)
        assert wide.operation == 3 and memory.history(run.id, BOB)[-1].operation == 3
        with pytest.raises(InputError, match="no operation 3"):
            memory.undo(3, {**BOB, "run": "r"})  # it changed a record outside this scope
        memory.undo(3, BOB)
        assert len(memory.list(BOB)) == 3 and memory.history(first.id, BOB)[-1].note == {"undoes": 3}
        with pytest.raises(InputError, match=r"3 operations .* name the scope"):
            add(memory, "b in another run", {**BOB, "run": "s"})
            memory.undo(1, {"tenant": "bolt"})
        memory.undo(1, BOB)  # an operation that was requested in this scope
        assert memory.get(first.id, BOB) is None
        memory.undo(1, {**BOB, "run": "r"})
        assert [record.text for record in memory.list(BOB)] == ["b 1", "b in another run"]


def test_undo_of_an_erased_record_has_the_error_of_an_unknown_operation(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        one, two = (add(memory, f"text {word}", ALICE, id=f"secret-id-{word}") for word in ("one", "two"))
        merged = memory.merge(one.id, [two.id], ALICE).operation
        linked = memory.link(two.id, "about", one.id, ALICE).operation
        memory.erase(one.id, ALICE, cascade=False)
        assert memory.get(two.id, ALICE).merged_into is None  # type: ignore[union-attr]
        history = json.dumps([[entry.changes, entry.note] for entry in memory.history(two.id, ALICE)])
        assert one.id not in history and "a record that is not in this scope" in history
        for number in (one.operation, merged, linked, 99):
            with pytest.raises(InputError, match=f"^there is no operation {number} in the scope"):
                memory.undo(number, ALICE)
        memory.restore(two.id, ALICE)
        assert [record.id for record in memory.list(ALICE)] == [two.id]
    with open_memory(tmp_path / "m") as memory:
        three = add(memory, "text three", ALICE)
        memory.merge(three.id, [two.id], ALICE)
    assert verify(tmp_path / "m", encoder()) == []


def test_erase_leaves_no_byte_of_an_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in a table, an index, a note of another record, a vector file or the write-ahead log."""
    for name in ("segment_size", "bulk_size"):
        monkeypatch.setattr(CosineSpace, name, 24)
    with open_memory(tmp_path / "m") as memory:
        for scope in (ALICE, BOB):
            ids = [
                add(memory, f"{scope['user']} {n}", scope, id=f"passport-{scope['user']}-{n:03d}").id for n in range(60)
            ]
            memory.merge(ids[0], ids[1:4], scope)
            memory.link(ids[5], "about", ids[0], scope)
            memory.unlink(ids[5], "about", ids[0], scope)
            memory.link(ids[6], "about", ids[1], scope)
            add(memory, "derived", scope, id=f"passport-{scope['user']}-derived", derived_from=[ids[0], ids[7]])
            memory.undo(memory.merge(ids[8], [ids[9], ids[2 + 8]], scope).operation, scope)
            memory.update(ids[11], scope, "anew", vector=vector_of("anew"), language="en")
        memory._index.compact()
        gone = [f"passport-alice-{n:03d}" for n in (0, 1, 2, 3, 8, 11, 30)] + ["passport-alice-derived"]
        proof = memory.erase([gone[0], *gone[4:7]], ALICE)
        assert set(proof.ids) == set(gone) and proof.complete and proof.pieces >= len(gone)
        files = {file: file.read_bytes() for file in (tmp_path / "m").rglob("*") if file.is_file()}
        assert not [(file, id) for file, content in files.items() for id in gone if id.encode() in content]
        assert any(b"passport-alice-031" in content for content in files.values())
        assert len(memory.list(BOB)) == 58
    content = b"".join(file.read_bytes() for file in (tmp_path / "m").rglob("*") if file.is_file())
    assert not [id for id in gone if id.encode() in content]
    assert verify(tmp_path / "m", encoder()) == []


def test_proof_of_an_erasure_reveals_nothing_of_others(tmp_path: Path) -> None:
    """Neither how many records they have, nor that one has the erased text or id."""
    proofs = []
    for others in (False, True):
        with open_memory(tmp_path / str(others)) as memory:
            if others:
                for number in range(300):
                    add(memory, f"a sentence of bob's, number {number}", BOB)
                memory._index.seal()
                add(
                    memory, "my only sentence, said twice", BOB, id="my only sentence", metadata={"said twice": "twice"}
                )
                add(memory, "x", {"tenant": "my only sentence", "user": "said twice"}, session="my only sentence")
            mine = add(memory, "my only sentence, said twice", ALICE, id="a name of mine").id
            proofs.append(memory.erase(mine, ALICE))
    assert proofs[0] == proofs[1] and proofs[0].complete and not proofs[0].shared


def test_texts_that_are_in_the_folder_anyway_are_not_counted_as_remains(tmp_path: Path) -> None:
    with open_memory(tmp_path / "m") as memory:
        for text in ("memory", "CREATE TABLE memory_scopes", "cosine"):
            assert memory.erase(add(memory, text, ALICE).id, ALICE).complete


def test_what_a_wider_scope_drew_is_not_shown_in_a_narrower_one(tmp_path: Path) -> None:
    tenant, carol = {"tenant": "acme"}, {"tenant": "acme", "user": "carol"}
    with open_memory(tmp_path / "m") as memory:
        mine = add(memory, "of alice", ALICE, id="mine").id
        theirs = add(memory, "of carol", carol, id="hidden-id").id
        memory.link(mine, "about", theirs, tenant)
        memory.link(theirs, "derived_from", mine, tenant)
        assert memory.get(mine, tenant).links == (Link("about", theirs),)  # type: ignore[union-attr]
        query: dict[str, Any] = {"vector": vector_of("of alice"), "language": "en", "conflicts": True}
        shown: list[Any] = [
            memory.get(mine, ALICE),
            memory.history(mine, ALICE),
            *memory.search("of alice", ALICE, **query),
        ]
        shown += [memory.versions(mine, ALICE), list(memory.export(ALICE))]
        assert "hidden-id" not in repr(shown) and "a record that is not in this scope" in repr(shown)
        done = memory.delete(mine, ALICE)
        assert done.ids == (mine,) and memory.get(theirs, carol) is not None
        memory.undo(done.operation, ALICE)
        proof = memory.erase(mine, ALICE)  # derived records are erased in every scope, and not mentioned
        assert (proof.ids, proof.versions, proof.complete) == ((mine,), 1, True)
        assert memory.get(theirs, carol) is None
