"""Write the memory of format 2 that ``tests/memory/test_memory_migration.py`` opens, and the answers of its build.

It was written by commit ``a5b616b``, the last one of format 2, with that commit checked out in ``FOLDER``:

    PYTHONPATH=FOLDER:. python tests/memory/old/write_memories.py

Two tenants and a user without one have versions, links, merges, undone and erased records, an id that was reused after
an erasure, an expired record, feedback, a setting, and vectors both in sealed files and in the tail.
"""

from __future__ import annotations

import json
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from mlret.memory.memory import Memory
from mlret.memory.storage import tables
from tests.index.made import shrink, vector_of
from tests.memory.made import add, open_memory

HERE = Path(__file__).parent
SCOPES = [{"tenant": "acme", "user": "alice"}, {"tenant": "bolt", "user": "bob"}, {"user": "nina"}]


def write(folder: Path) -> None:
    """Write everything that a memory can contain, for each scope."""
    with open_memory(folder) as memory:
        for scope in SCOPES:
            user = scope["user"]
            ids = [
                add(
                    memory,
                    f"{user} says thing number {number}",
                    scope,
                    id=f"{user}-{number}",
                    session="s",
                    tags=["odd"] if number % 2 else [],
                ).id
                for number in range(12)
            ]
            memory.update(ids[2], scope, f"{user} corrects", vector=vector_of(user), language="en")
            memory.link(ids[3], "about", ids[4], scope)
            memory.merge(ids[5], [ids[6]], scope)
            memory.delete([ids[7]], scope)
            memory.undo(memory.delete([ids[8]], scope).operation, scope)
            memory.erase([ids[9]], scope)
            add(memory, f"{user} again", scope, id=ids[9])
            add(memory, f"{user} derived", scope, id=f"{user}-d", derived_from=[ids[1]], kind="derived")
            add(memory, f"{user} expired", scope, expires_at="2020-01-01T00:00:00+00:00", metadata={"user": "nina"})
            add(memory, f"{user} in a run", {**scope, "run": "r"})
            memory.erase([ids[10]], scope)
        with memory.folder.writing():
            memory.folder.store.commit(lambda connection: tables.write_setting(connection, "kept", {"a": [1]}))


def answers(memory: Memory, **options: Any) -> dict[str, Any]:
    """Return the records, search results (with options of the search) and histories of each scope."""
    found: dict[str, Any] = {}
    for scope in SCOPES:
        ids = memory.ids(scope)
        query: dict[str, Any] = {"vector": vector_of("says thing"), "language": "en", **options}
        found[scope["user"]] = {
            "records": [
                [record.as_json() for record in memory.list(scope, state=state)]
                for state in ("active", "archived", "merged")
            ],
            "versions": {id: [record.as_json() for record in memory.versions(id, scope)] for id in ids},
            "history": {
                id: [[one.at.isoformat(), one.verb, list(one.changes)] for one in memory.history(id, scope)]
                for id in ids
            },
            "hits": [[hit.id, hit.score] for hit in memory.search("says thing", scope, 30, **query)],
        }
    return found


def main() -> None:
    """Write the archive and the answers."""
    shrink()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "memory-of-tenants"
        write(folder)
        with open_memory(folder) as memory:
            found = answers(memory)
        (folder / "writer.lock").write_text(json.dumps({"pid": 1, "host": "host"}), encoding="utf-8")
        with tarfile.open(HERE / "memory-of-tenants-format-2.tar.gz", "w:gz") as archive:
            archive.add(folder, folder.name)
    text = json.dumps(found, ensure_ascii=False)
    (HERE / "memory-of-tenants.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
