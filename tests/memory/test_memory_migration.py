"""Test that a memory of format 2 is migrated without changes, whatever happens during the migration."""

from __future__ import annotations

import copy
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mlret.errors import InputError
from mlret.index.fusion import in_unit
from mlret.index.storage.records import RECORDS
from mlret.memory.maintenance.upkeep import verify
from mlret.memory.memory import Memory
from mlret.memory.search.ranking import Ranking
from tests.index.made import encoder, vector_of
from tests.memory.made import add, open_memory
from tests.memory.old.write_memories import HERE, SCOPES, answers

EXPECTED = json.loads((HERE / "memory-of-tenants.json").read_text(encoding="utf-8"))
# Opens a memory, and kills itself in the step given by its first argument.
_KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from mlret.memory.storage import migration
from tests.memory.made import open_memory

left = int(sys.argv[2])
class Counting:
    def __init__(self, connection):
        self._connection = connection
    def __getattr__(self, name):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return getattr(self._connection, name)

step = migration.STEPS[0]
def run(connection, run=step.run):
    run(Counting(connection))
object.__setattr__(step, "run", run)
open_memory(Path(sys.argv[1])).close()
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with tarfile.open(HERE / "memory-of-tenants-format-2.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "memory-of-tenants"


def the_same(memory: Memory) -> None:
    """Check every answer, except those about erased records, whose ids are no longer reported."""
    now_all = answers(memory, ranking=Ranking(window=0))  # The build of format 2 had no such term.
    for scope in SCOPES:
        now, then = now_all[scope["user"]], copy.deepcopy(EXPECTED[scope["user"]])
        assert now["records"] == then["records"] and now["versions"] == then["versions"]
        assert [id for id, _ in now["hits"]] == [id for id, _ in then["hits"]]
        # Format 2 returned the sums of standard scores without mapping them.
        scores = in_unit([score for _, score in then["hits"]])
        assert [score for _, score in now["hits"]] == pytest.approx(scores, abs=1e-5)
        again = f"{scope['user']}-9"  # the id was reused: the record that had it before is another one
        assert [one for one in then["history"][again] if "erase" in one] and len(now["history"][again]) == 1
        del now["history"][again], then["history"][again]
        assert now["history"] == then["history"]


def test_memory_of_format_2_answers_as_before(old: Path) -> None:
    with open_memory(old) as memory:
        the_same(memory)
        for scope in SCOPES:
            for id in memory.ids(scope):  # operations are numbered in the scope, and can be undone by these numbers
                numbers = [entry.operation for entry in memory.history(id, scope)]
                assert numbers == sorted(numbers) and numbers[-1] < 40
            user = scope["user"]
            [merging] = [one.operation for one in memory.history(f"{user}-6", scope) if one.verb == "merge"]
            memory.undo(merging, scope)
            assert memory.get(f"{user}-6", scope).state == "active"  # type: ignore[union-attr]
            add(memory, "one more", scope, id="one id for all")
            memory.erase(f"{user}-0", scope)
        assert memory.folder.records.read("SELECT content FROM memory_settings") == [('{"a":[1]}',)]
    assert verify(old, encoder()) == []


def test_ids_that_format_2_kept_of_erased_records_are_removed(old: Path) -> None:
    erased = [f"{scope['user']}-10".encode() for scope in SCOPES]
    assert any(id in (old / RECORDS).read_bytes() for id in erased)
    open_memory(old).close()
    assert not any(id in file.read_bytes() for id in erased for file in old.rglob("*") if file.is_file())


@pytest.mark.timeout(120)
def test_killed_while_it_is_brought_up_to_date_it_still_is_what_it_was(old: Path) -> None:
    for left in (0, 3, 20, 60, 150, 300):
        command = [sys.executable, "-c", _KILLED, str(old), str(left)]
        killed = subprocess.run(command, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
        assert killed.returncode in (0, -signal.SIGKILL)
    with open_memory(old) as memory:
        the_same(memory)
    assert verify(old, encoder()) == []


def test_read_only_memory_of_format_2_is_read(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlret.index.sqlite.database._allowed", lambda path, mode: mode != os.W_OK)
    before = {file.name: file.read_bytes() for file in old.iterdir() if file.is_file()}
    with open_memory(old) as memory:
        the_same(memory)
    assert {name: (old / name).read_bytes() for name in before} == before


def test_scope_that_damage_gave_to_another_tenant_is_taken_from_the_journal(old: Path) -> None:
    with closing(sqlite3.connect(old / RECORDS)) as connection:
        connection.execute("UPDATE memory_versions SET scope = 1, session = 'other', seq = 9")
        connection.commit()
    with open_memory(old) as memory:
        the_same(memory)
    assert verify(old, encoder()) == []


def test_damaged_entry_of_an_old_journal_is_reported_and_no_longer_used(old: Path) -> None:
    with closing(sqlite3.connect(old / RECORDS)) as connection:
        [(entry,)] = connection.execute("SELECT entry FROM memory_journal WHERE record = 'alice-1' AND verb = 'add'")
        connection.execute("UPDATE memory_journal SET changes = replace(changes, 'bob', 'eve')")
        connection.execute("UPDATE memory_journal SET at = at + 1 WHERE entry = ?", (entry,))
        connection.commit()
    with open_memory(old) as memory:
        assert memory.get("alice-1", SCOPES[0]) is None
        assert memory.get("alice-2", SCOPES[0]) is not None
    assert any(f"memory_journal, entry {entry}" in problem.what for problem in verify(old, encoder()))


def test_what_another_process_brought_up_to_date_is_read(old: Path) -> None:
    with open_memory(old) as one, open_memory(old) as two:
        add(one, "said by the first", SCOPES[0])
        two.refresh()
        about: dict[str, Any] = {"vector": vector_of("said by the first"), "language": "en"}
        assert two.search("said by the first", SCOPES[0], 1, **about)[0].text == "said by the first"
        with pytest.raises(InputError):
            two.undo(10**6, SCOPES[0])
