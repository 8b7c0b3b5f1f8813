"""Test damage to a memory's tables: the right answer or an error that reports it, never data of another tenant."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mlret.errors import MlretError
from mlret.index.storage.records import RECORDS
from mlret.memory import times
from mlret.memory.maintenance.upkeep import verify
from mlret.memory.memory import Memory
from mlret.memory.records import Content
from mlret.memory.storage import cells, schema, tables
from mlret.memory.storage.drafts import Draft, Step
from mlret.memory.storage.store import MemoryStore
from tests.index.made import encoder, vector_of
from tests.memory.made import add, open_memory

TENANTS: list[dict[str, str]] = [{"tenant": f"t{number}", "user": "u"} for number in (1, 2)]
TABLES = ["memory_journal", *schema.COVERED]
# New values of a cell besides NULL and the values of other rows: other types, and numbers out of every range.
VALUES: list[Any] = [0, -1, 3, 2**62, -(2**63), 0.5, "", "x", "t1", "deleted", b"\xff\x00", b""]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make two tenants with the same ids and a row in every table."""
    folder = tmp_path_factory.mktemp("damage") / "m"
    with open_memory(folder) as memory:
        for scope in TENANTS:
            tenant = scope["tenant"]
            for number in range(3):
                add(memory, f"secret {number} of {tenant}", scope, id=f"id-{number}", session="s", tags=["tag"])
            memory.update("id-0", scope, f"changed secret of {tenant}", vector=vector_of(tenant), language="en")
            memory.link("id-0", "about", "id-1", scope)
            add_long(memory, f"a long text of {tenant}", scope)
            add(memory, f"behind secret of {tenant}", scope, id="behind")
            memory.merge("id-1", ["behind"], scope)
        with memory.folder.writing():
            memory.folder.store.commit(lambda connection: tables.write_setting(connection, "a setting", {"a": 1}))
            memory.folder.store.commit(lambda connection: cells.put(connection, "memory_erasing", (10**6,)))
        memory.folder.records.shrink(rewrite=False)
    for name in (f"{RECORDS}-wal", f"{RECORDS}-shm"):
        (folder / name).unlink(missing_ok=True)
    return folder


def add_long(memory: Memory, text: str, scope: dict[str, str]) -> None:
    """Add a text with a window of its own, which an encoder would be needed to cut."""
    store = MemoryStore(memory.folder, scope)
    with memory.folder.writing():
        draft = Draft("long", text, text, "en", Content(), vector=vector_of(text), scope=scope, seq=7)
        draft.valid_from = draft.recorded_at = times.now()
        draft.parts, draft.part_vectors = (text[2:],), [vector_of(text[2:])]
        store.commit("add", [Step("long", draft)])


def questions(memory: Memory, scope: dict[str, str]) -> Iterator[Callable[[], Any]]:
    """Return the calls of a tenant; writing comes last."""
    yield lambda: memory.list(scope)
    yield lambda: memory.list(scope, state="merged", current_only=False)
    yield lambda: memory.list({"tenant": scope["tenant"]})
    yield lambda: memory.ids(scope)
    yield lambda: memory.get("id-1", scope)
    yield lambda: memory.versions("id-0", scope)
    yield lambda: [(one.operation, one.verb, one.changes, one.note) for one in memory.history("id-0", scope)]
    yield lambda: [
        (hit.score, hit.record)
        for hit in memory.search("secret", scope, 20, vector=vector_of("secret"), language="en", conflicts=True)
    ]
    yield lambda: list(memory.export(scope))
    yield lambda: memory.undo(10**6, scope)
    yield lambda: (add(memory, "one more", scope, id="new").verdict, memory.get("new", scope).text)  # type: ignore[union-attr]
    yield lambda: memory.add("secret 2 of " + scope["tenant"], scope, language="en", vector=vector_of("2")).verdict
    yield lambda: memory.erase("id-2", scope).ids


def answers(folder: Path) -> list[str | None]:
    """Return the answers to each tenant; ``None`` for an error of mlret that reports where the damage is."""
    found: list[str | None] = []
    for scope in TENANTS:
        other = next(one["tenant"] for one in TENANTS if one != scope)
        try:
            memory = open_memory(folder)
        except MlretError as error:
            assert "damaged" in str(error), error
            return [None] * (len(TENANTS) * 13)
        with memory:
            for question in questions(memory, scope):
                answer: str | None
                try:
                    answer = repr(question())
                except MlretError as error:
                    message = str(error)
                    assert f"of {other}" not in message and f"secret of {other}" not in message
                    refused = "there is no operation" in message
                    assert refused or "damaged" in message or "run verify" in message, message
                    answer = message if refused else None
                assert answer is None or f"of {other}" not in answer
                found.append(answer)
    return found


def every_cell(folder: Path) -> list[tuple[str, str, int, Any]]:
    """Yield every cell of the first and last row of every table: table, column, position of the row, value."""
    found = []
    with closing(sqlite3.connect(folder / RECORDS)) as connection:
        for table in TABLES:
            columns = [name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]
            rows = connection.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
            assert rows, table
            for place in sorted({0, len(rows) - 1}):
                found += [(table, column, place, value) for column, value in zip(columns, rows[place], strict=True)]
    return found


def change(folder: Path, table: str, column: str, place: int, value: Any) -> bool:
    """Change a cell; return whether that was possible and the value is another one now."""
    with closing(sqlite3.connect(folder / RECORDS)) as connection:
        columns = [name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]
        row = connection.execute(f"SELECT {', '.join(columns)} FROM {table} LIMIT 1 OFFSET {place}").fetchone()
        where = " AND ".join(f"{name} IS ?" for name in columns)
        try:
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (value, *row))
        except sqlite3.Error:  # NULL in a column that forbids it, or a text as a row number
            return False
        connection.commit()
        after = connection.execute(f"SELECT 1 FROM {table} WHERE {where}", row).fetchone()
        return after is None


def check(folder: Path, original: Path, right: list[str | None], table: str, column: str, place: int, to: Any) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(original, folder)
    if not change(folder, table, column, place, to):
        return False
    # Every copy has an unfinished erasure; a value with the same meaning is not damage.
    problems = [problem.what for problem in verify(folder, encoder()) if "erasure is not finished" not in problem.what]
    same_meaning = to is None or (column in schema.NULLS and to in (0, times.FOREVER, times.UNTIMED))
    assert problems or same_meaning, (table, column, to)
    for number, (answer, expected) in enumerate(zip(answers(folder), right, strict=True)):
        assert answer is None or answer == expected, (table, column, place, to, number, answer, expected)
    return True


def sample(every: list[tuple[str, str, int, Any]], chance: random.Random, count: int) -> list[Any]:
    """Return cells with their new values: one of every column, then others at random."""
    others: dict[tuple[str, str], list[Any]] = {}
    for table, column, _, value in every:
        others.setdefault((table, column), []).append(value)
    cases = [
        (table, column, place, to)
        for table, column, place, value in every
        for to in (None, *VALUES, *others[table, column])
        if to != value or type(to) is not type(value)
    ]
    chance.shuffle(cases)
    first = {(table, column): (table, column, place, to) for table, column, place, to in cases}
    return [*first.values(), *cases[: max(0, count - len(first))]]


def fuzz(tmp_path: Path, original: Path, count: int) -> int:
    copy = tmp_path / "right"
    shutil.copytree(original, copy)
    right = answers(copy)
    assert None not in right
    cases = sample(every_cell(original), random.Random(3), count)
    return sum(check(tmp_path / "m", original, right, *case) for case in cases)


@pytest.mark.timeout(300)
def test_changed_cell_is_never_answered_from(tmp_path: Path, original: Path) -> None:
    assert fuzz(tmp_path, original, 90) > 50


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_cell_changed_in_every_way_is_never_answered_from(tmp_path: Path, original: Path) -> None:
    assert fuzz(tmp_path, original, 10**6) > 1000


def flips(tmp_path: Path, original: Path, rounds: int, seed: int) -> int:
    """Flip one to four bits of the database; return how often a tenant got an answer."""
    copy = tmp_path / "right"
    shutil.copytree(original, copy)
    right = answers(copy)
    content = (original / RECORDS).read_bytes()
    chance = random.Random(seed)
    answered = 0
    for turn in range(rounds):
        folder = tmp_path / "m"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(original, folder)
        changed = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(100, len(content))] ^= 1 << chance.randrange(8)
        (folder / RECORDS).write_bytes(bytes(changed))
        found = answers(folder)
        for number, (answer, expected) in enumerate(zip(found, right, strict=True)):
            assert answer is None or answer == expected, (seed, turn, number, answer, expected)
        answered += any(answer is not None for answer in found)
    return answered


@pytest.mark.timeout(300)
def test_flipped_bits_are_never_answered_from(tmp_path: Path, original: Path) -> None:
    assert flips(tmp_path, original, 60, 1) > 10


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_hundreds_of_flipped_bits_are_never_answered_from(tmp_path: Path, original: Path) -> None:
    assert flips(tmp_path, original, 600, 2) > 100


def test_record_that_one_bit_gave_to_another_tenant_is_refused(tmp_path: Path) -> None:
    scopes = [{"tenant": f"t{number}", "user": "u"} for number in range(4)]
    with open_memory(tmp_path / "m") as memory:
        for number in range(3):
            for scope in scopes:
                add(memory, f"secret {number} of {scope['tenant']}", scope)
    with closing(sqlite3.connect(tmp_path / "m" / RECORDS)) as connection:
        connection.execute("UPDATE memory_versions SET scope = 2 WHERE row = 3")
        connection.commit()
    with open_memory(tmp_path / "m") as memory:
        query: dict[str, Any] = {"vector": vector_of("secret 0 of t2"), "language": "en"}
        for scope in scopes[1:3]:  # the tenant that gained it, and the one that lost it
            with pytest.raises(MlretError, match=r"damaged \(memory_versions, row"):
                memory.search("secret 0 of t2", scope, **query)
            with pytest.raises(MlretError, match="damaged"):
                memory.list(scope)
        for scope in (scopes[0], scopes[3]):
            assert len(memory.list(scope)) == len(memory.search("secret", scope, **query)) == 3
    assert any("memory_versions, row 3" in problem.what for problem in verify(tmp_path / "m", encoder()))
