"""Migrate the tables of a memory from an earlier version.

Version 2 named records by the ids that users gave them, in every table and in the index, and only its journal had
checksums. The journal is therefore what is trusted: the state is rebuilt from it, with keys for records, and only what
is derived from texts is copied from the old tables.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from mlret.index.storage.migration import Step
from mlret.index.storage.records import checksum_of, is_whole
from mlret.memory.scope import Place, mask_of, place_of, scope_at
from mlret.memory.storage import cells, schema
from mlret.memory.storage.journal import FIRST, checksum, dump
from mlret.memory.times import FOREVER

MEMORY = "memory"
_OLD = ("scopes", "journal", "versions", "parts", "records", "links", "erasing", "settings")
_INDEXES = ("memory_journal_record", "memory_journal_feedback", "memory_versions_record", "memory_links_target")
_DERIVED = ("language", "scripts", "event_from", "event_to", "expires_at", "length")
_DAMAGED = -1  # Never a valid checksum; marks rows that were damaged before, so that they remain so.
_SOME = 500


def keys_and_checksums(connection: sqlite3.Connection) -> None:
    """Migrate from version 2 to 3: records get keys besides their ids, and every row gets a checksum."""
    for name in _INDEXES:
        connection.execute(f"DROP INDEX IF EXISTS {name}")
    for name in _OLD:
        connection.execute(f"ALTER TABLE memory_{name} RENAME TO old_memory_{name}")
    for statement in _statements(schema.TABLES):
        connection.execute(statement)
    state = _State(connection)
    state.replay()
    state.write()
    _rename_documents(connection, state)
    for (row,) in connection.execute("SELECT row FROM old_memory_erasing").fetchall():
        cells.put(connection, "memory_erasing", (row,))
    # Old copies of rows with ids may remain in the database. Row 0, which no row has, schedules their removal.
    cells.put(connection, "memory_erasing", (0,))
    for name, content in connection.execute("SELECT name, content FROM old_memory_settings").fetchall():
        cells.put(connection, "memory_settings", (name, content))
    for name in _OLD:
        connection.execute(f"DROP TABLE old_memory_{name}")


STEPS = (Step(schema.VERSION, "keys of records and checksums of the memory's tables", keys_and_checksums),)


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script one by one, because running a script as a whole would end the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


class _State:
    """The state that results from an old journal, with a key for each record."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._keys: dict[str, int] = {}
        self._last_key = 0
        self._places: dict[int, Place] = {}
        self._last: dict[int, int] = {}  # Number of a scope -> its last operation.
        self._entries: Counter[int] = Counter()  # Key -> number of entries.
        self.ids: dict[int, str] = {}
        self.versions: dict[int, dict[str, Any]] = {}  # Versions by row.
        self.records: dict[int, dict[str, Any]] = {}  # Records by key.
        self.links: set[tuple[int, str, int]] = set()
        places = connection.execute("SELECT scope, tenant, user, agent, run FROM old_memory_scopes").fetchall()
        self._numbers: dict[Place, int] = {(t, u, a, r): scope for scope, t, u, a, r in places}

    def replay(self) -> None:
        """Write the journal in the new form, and apply its entries."""
        query = "SELECT entry, operation, at, verb, record, changes, note, crc FROM old_memory_journal ORDER BY entry"
        for _, rows in groupby(self._connection.execute(query).fetchall(), key=lambda row: row[1]):
            self._operation(list(rows))

    def _operation(self, rows: Sequence[tuple[Any, ...]]) -> None:
        read = [self._read(row) for row in rows]
        touched = {scope for _, _, scope, _, _ in read if scope}
        counted = 1 + max((self._last.get(scope, 0) for scope in touched), default=0)
        self._last.update(dict.fromkeys(touched, counted))
        for (entry, operation, at, verb, _, _, _, _), (whole, key, scope, changes, note) in zip(
            rows, read, strict=True
        ):
            asked = mask_of(scope_at(self._places[scope])) if scope else 0
            values = (entry, operation, counted if scope else 0, at, verb, scope, asked, key, changes, note)
            crc = checksum(*values) if whole else _DAMAGED
            self._connection.execute(
                "INSERT INTO memory_journal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*values, crc)
            )

    def _read(self, row: tuple[Any, ...]) -> tuple[bool, int, int, str | None, str]:
        """Return whether an entry is intact, its record's key, its scope, and its changes and note in the new form."""
        entry, operation, at, verb, record, text, note, crc = row
        if crc != _old_checksum(operation, at, verb, record, text, note):
            return False, 0, 0, None, "{}"
        key = self._key(record)
        self._entries[key] += 1
        changes = None if text is None else [self._change(entry, key, record, one) for one in json.loads(text)]
        if verb == "erase":
            self._forget(record, key)
        # The scope of an erased record is no longer known.
        scope = self.records[key]["scope"] if key in self.records else 0
        known = json.loads(note)
        if "merged" in known:
            known["merged"] = [self._key(one) for one in known["merged"]]
        return True, key, scope, None if changes is None else dump(changes), dump(known)

    def _key(self, id: str) -> int:
        if id not in self._keys:
            self._last_key += 1
            self._keys[id] = self._last_key
        return self._keys[id]

    def _change(self, entry: int, key: int, id: str, change: list[Any]) -> list[Any]:
        """Apply a change, and return it in the new form."""
        match change:
            case ["version", row, version, scope, valid_from, recorded_at, content, parts]:
                number = self._scope(place_of(scope))
                self.ids[key] = id
                self.records.setdefault(key, {**FIRST, "scope": number})
                known = {"session": content.get("session"), "seq": content["seq"]}
                known |= {"kind": content.get("kind", "raw"), "level": content.get("level", "turn")}
                self.versions[row] = known | {
                    "row": row,
                    "record": key,
                    "id": id,
                    "entry": entry,
                    "scope": number,
                    "valid_from": valid_from,
                    "valid_to": FOREVER,
                    "number": version,
                    "windows": parts,
                }
                return ["version", row, id, version, scope, valid_from, recorded_at, content, parts]
            case ["set", "merged_into", before, after]:
                before, after = (None if one is None else self._key(one) for one in (before, after))
                self._set(key, "merged_into", after)
                return ["set", "merged_into", before, after]
            case ["set", name, _, after]:
                self._set(key, name, after)
            case ["end", row, _, after]:
                if row in self.versions:
                    self.versions[row]["valid_to"] = FOREVER if after is None else after
            case ["link", type, target, on]:
                link = key, type, self._key(target)
                (self.links.add if on else self.links.discard)(link)
                return ["link", type, link[2], on]
        return change

    def _set(self, key: int, name: str, value: Any) -> None:
        if key in self.records:  # Otherwise the entry that created the record is damaged.
            self.records[key][name] = float(value) if name == "strength" else value

    def _scope(self, place: Place) -> int:
        number = self._numbers.setdefault(place, 1 + max(self._numbers.values(), default=0))
        self._places[number] = place
        return number

    def _forget(self, id: str, key: int) -> None:
        """Remove an erased record; a later record with the same id is a different one."""
        self._keys.pop(id)
        self.ids.pop(key, None)
        self.records.pop(key, None)
        self.versions = {row: one for row, one in self.versions.items() if one["record"] != key}
        self.links = {link for link in self.links if key not in (link[0], link[2])}
        for record in self.records.values():
            if record["merged_into"] == key:
                record["merged_into"] = None

    def write(self) -> None:
        """Write the tables of the state."""
        put, connection = cells.put, self._connection
        versions, parts = Counter[int](), Counter[int]()
        lost: list[int] = []
        for row, version in self.versions.items():
            found = connection.execute(
                f"SELECT {', '.join(_DERIVED)}, hash, grams FROM old_memory_versions WHERE row = ?", (row,)
            ).fetchone()
            if found is None:
                lost.append(row)
                continue
            version |= dict(zip((*_DERIVED, "hash", "grams"), found, strict=True))
            cells.put_version(connection, version)
            for part in version["windows"]:
                put(connection, "memory_parts", (row, part))
            versions[version["scope"]] += 1
            parts[version["scope"]] += len(version["windows"])
        for row in lost:
            del self.versions[row]
        # A record whose first entry is damaged is dropped, with all links from and to it.
        there = {version["record"] for version in self.versions.values()}
        self.records = {key: one for key, one in self.records.items() if key in there and one["row"] in self.versions}
        self.links = {link for link in self.links if link[0] in self.records and link[2] in self.records}
        for number in versions:
            put(connection, "memory_scopes", (number, *self._places[number]))
            put(connection, "memory_totals", (number, self._last.get(number, 0), versions[number], parts[number]))
        links = Counter(source for source, _, _ in self.links)
        for key, record in self.records.items():
            counts = {"record": key, "links": links[key], "entries": self._entries[key]}
            cells.put_record(connection, record | counts)
        for link in sorted(self.links):
            put(connection, "memory_links", link)


def _rename_documents(connection: sqlite3.Connection, state: _State) -> None:
    """Rename the documents of the index to keys, because a name remains in the journal after erasing."""
    names: dict[int, str] = {}
    for row, version in state.versions.items():
        name = f"{version['record']}/{version['number']}"
        names |= {one: f"{name}/{place}" for place, one in enumerate([row, *version["windows"]])}
    rows, renewed = list(names), []
    for start in range(0, len(rows), _SOME):
        part = rows[start : start + _SOME]
        query = f"SELECT row, id, text, language, metadata, crc FROM records WHERE row IN ({_marks(part)})"
        for row, id, *known, crc in connection.execute(query, part).fetchall():
            crc = checksum_of(names[row], *known) if is_whole(crc, id, *known) else _DAMAGED
            renewed.append((names[row], crc, row))
    # A new name may be the old name of another document, so all are first renamed to temporary names. Those have one
    # slash, final names have two.
    connection.executemany("UPDATE records SET id = '/' || row WHERE row = ?", [(row,) for row in names])
    connection.executemany("UPDATE records SET id = ?, crc = ? WHERE row = ?", renewed)


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _old_checksum(operation: int, at: int, verb: str, record: str, changes: str | None, note: str) -> int | None:
    try:
        joined = "\0".join((str(operation), str(at), verb, record, changes or "", note))
    except TypeError:
        return None
    return zlib.crc32(joined.encode("utf-8"))
