"""What search asks of every version, in memory: arrays by position, so that scope and filters cost microseconds.

A position is the place of a version among those that were stored when the columns were read, and those that came
since, in the order of their rows. Erased versions keep their position and are never visible. What only some verbs ask
for is read, or worked out, when one first does, so that the first search waits for little.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.index.records import Records
from mlret.memory.journal import Entry, NewVersion, SetEnd, SetField, SetLink
from mlret.memory.lexical import Postings
from mlret.memory.numbering import Growing, Names, Positions, Turns
from mlret.memory.records import KINDS, LEVELS
from mlret.memory.scope import SCOPE_NAMES, Place, Scope, place_of
from mlret.memory.standing import ACTIVE, STATES, Standing, Standings
from mlret.memory.times import FOREVER

Mask = NDArray[np.bool_]
UNTIMED = -(2**62)  # of a version without an event time
_TYPES: dict[str, Any] = {
    "row": np.int64,
    "record": np.int32,
    "scope": np.int32,
    **dict.fromkeys(SCOPE_NAMES, np.int32),
    "session": np.int32,
    "seq": np.int64,
    "kind": np.int8,
    "level": np.int8,
    "language": np.int32,
    "script": np.int32,
    "valid_from": np.int64,
    "valid_to": np.int64,
    "event_from": np.int64,
    "event_to": np.int64,
    "expires_at": np.int64,
    "length": np.int32,
    "alive": np.bool_,
}
_QUERY = """
    SELECT row, record, memory_versions.scope, session, seq, kind, level, language, scripts, valid_from,
        valid_to, event_from, event_to, expires_at, length
    FROM memory_versions ORDER BY row
"""
_SOME = 500  # rows in one statement


class Columns:
    """The versions of a memory, as of the last entry that was taken in.

    Parameters
    ----------
    records
        The database.
    """

    def __init__(self, records: Records) -> None:
        self._size = 0
        self._arrays = {name: np.empty(1024, dtype=kind) for name, kind in _TYPES.items()}
        self.scopes: Names[Place] = Names()
        self.values: Names[str] = Names()  # of the names of scopes
        self._named: dict[tuple[str, str], Growing] = {}
        self._exact: dict[int, Growing] = {}
        self.ids: Names[str] = Names()
        self.sessions: Names[tuple[int, str | None]] = Names()
        self.languages: Names[str | None] = Names()
        self.scripts: Names[frozenset[str]] = Names()
        self.current = np.zeros(1024, dtype=np.bool_)
        self.state = np.zeros(1024, dtype=np.int8)
        self.wholes: dict[int, int] = {}  # position of the whole, by the row of a part
        self.parts: dict[int, tuple[int, ...]] = {}  # rows of the parts, by position
        self.links: dict[str, set[tuple[str, str, str]]] = {}  # both ways, by each end: (from, type, to)
        self._records = records
        self._versions: dict[str, list[int]] | None = None
        self._hashes: dict[tuple[int, bytes], list[int]] | None = None
        collecting = gc.isenabled()
        gc.disable()  # so many new objects would be looked through again and again, and none is garbage
        try:
            self._load(records)
        finally:
            if collecting:
                gc.enable()

    def __len__(self) -> int:
        return self._size

    def __getattr__(self, name: str) -> Any:
        if name in _TYPES:
            return self._arrays[name][: self._size]
        raise AttributeError(name)

    @property
    def versions(self) -> dict[str, list[int]]:
        """The positions of the versions of each record, the first first."""
        if self._versions is None:
            self._versions = {}
            alive = np.flatnonzero(self.alive)
            for position, number in zip(alive.tolist(), self.record[alive].tolist(), strict=True):
                self._versions.setdefault(self.ids.values[number], []).append(position)
        return self._versions

    @property
    def hashes(self) -> dict[tuple[int, bytes], list[int]]:
        """The positions of versions by their scope and the hash of their text, erased ones perhaps among them."""
        if self._hashes is None:
            self._hashes = {}
            found = self._records.read("SELECT row, hash FROM memory_versions ORDER BY row")
            positions = self.positions(np.array([row for row, _ in found], dtype=np.int64))
            scopes = self.scope[positions].tolist()
            for position, scope, (_, hash) in zip(positions.tolist(), scopes, found, strict=True):
                self._hashes.setdefault((scope, hash), []).append(position)
        return self._hashes

    def _grams(self, positions: Sequence[int]) -> list[bytes]:
        """The n-grams of versions; none of erased ones."""
        rows = self.row[np.array(positions, dtype=np.int64)].tolist()
        if len(rows) > self._size // 8:
            found = dict(self._records.read("SELECT row, grams FROM memory_versions"))
        else:
            found = {}
            for start in range(0, len(rows), _SOME):
                some = rows[start : start + _SOME]
                query = f"SELECT row, grams FROM memory_versions WHERE row IN ({','.join('?' * len(some))})"
                found.update(self._records.read(query, some))
        return [found.get(row, b"") for row in rows]

    def positions(self, rows: Positions) -> Positions:
        """Where the versions of rows are: rising where the rows are."""
        return np.searchsorted(self.row, rows).astype(np.int64)

    def in_scope(self, scope: Scope) -> Positions:
        """The versions that a checked scope holds, rising."""
        names = list(scope.items())
        lists = [self._named.get(name) for name in names]
        if not names or None in lists:
            return np.empty(0, dtype=np.int64)
        held = [one.all() for one in lists if one is not None]
        fewest = min(range(len(held)), key=lambda place: len(held[place]))
        found = held[fewest]
        for place, (name, value) in enumerate(names):
            if place != fewest:
                number = self.values.known(value)
                found = found[self._arrays[name][found] == number]
        alive: Positions = found[self._arrays["alive"][found]]
        return alive

    def exactly(self, scope: Scope) -> Positions:
        """The versions of this very scope, rising."""
        number = self.scopes.known(place_of(scope))
        held = None if number is None else self._exact.get(number)
        if held is None:
            return np.empty(0, dtype=np.int64)
        found = held.all()
        alive: Positions = found[self._arrays["alive"][found]]
        return alive

    def next_seq(self, scope: Scope, session: str | None) -> int:
        """The place after the last one of a session."""
        number = self.scopes.known(place_of(scope))
        known = None if number is None else self.sessions.known((number, session))
        return 0 if known is None else self._turns.upcoming(known)

    def beside(self, position: int) -> list[int]:
        """The positions of the turns before and after one in its conversation, whatever their state."""
        session, place = int(self.session[position]), int(self.seq[position])
        if self.sessions.values[session][1] is None:
            return []
        return [*self._turns.at(session, place - 1), *self._turns.at(session, place + 1)]

    def add(
        self, record: str, place: Place, columns: Mapping[str, Any], parts: Sequence[int], grams: bytes, hash: bytes
    ) -> int:
        """Take in a version; its position."""
        position = self._size
        if position == len(self.current):
            self._grow()
        scope = self.scopes.number(place)
        session = self.sessions.number((scope, columns["session"]))
        self._size += 1
        values: dict[str, Any] = {
            "row": columns["row"],
            "record": self.ids.number(record),
            "scope": scope,
            **{name: self.values.number(value) for name, value in zip(SCOPE_NAMES, place, strict=True)},
            "session": session,
            "seq": columns["seq"],
            "kind": KINDS.index(columns["kind"]),
            "level": LEVELS.index(columns["level"]),
            "language": self.languages.number(columns["language"]),
            "script": self.scripts.number(frozenset(filter(None, columns["scripts"].split(",")))),
            "valid_from": columns["valid_from"],
            "valid_to": FOREVER,
            "event_from": UNTIMED if columns["event_from"] is None else columns["event_from"],
            "event_to": UNTIMED if columns["event_to"] is None else columns["event_to"],
            "expires_at": FOREVER if columns["expires_at"] is None else columns["expires_at"],
            "length": columns["length"],
            "alive": True,
        }
        for name, value in values.items():
            self._arrays[name][position] = value
        self._exact.setdefault(scope, Growing()).append(position)
        for name, value in zip(SCOPE_NAMES, place, strict=True):
            if value:
                self._named.setdefault((name, value), Growing()).append(position)
        self._turns.add(session, columns["seq"], position)
        if self._versions is not None:
            self._versions.setdefault(record, []).append(position)
        if self._hashes is not None:
            self._hashes.setdefault((scope, hash), []).append(position)
        self.current[position], self.state[position] = False, ACTIVE
        if parts:
            self.parts[position] = tuple(parts)
            self.wholes.update((row, position) for row in parts)
        self.postings.add([grams])
        return position

    def apply(self, entry: Entry, columns: Mapping[int, Mapping[str, Any]]) -> None:
        """Take in an entry of the journal; ``columns`` are those of its new versions, as the table has them."""
        if entry.verb == "erase":
            self._forget(entry.record)
            return
        for change in entry.changes or ():
            match change:
                case NewVersion():
                    more = columns[change.row]
                    self.add(entry.record, place_of(change.scope), more, change.parts, more["grams"], more["hash"])
                case SetField(name, _, after):
                    self._set(entry.record, name, after)
                case SetEnd(row, _, after):
                    position = int(np.searchsorted(self.row, row))
                    self._arrays["valid_to"][position] = FOREVER if after is None else after
                case SetLink(type, target, on):
                    self._link((entry.record, type, target), on)

    def _link(self, link: tuple[str, str, str], on: bool) -> None:
        for end in (link[0], link[2]):
            held = self.links.setdefault(end, set())
            (held.add if on else held.discard)(link)

    def _set(self, record: str, name: str, value: Any) -> None:
        if name == "row":
            position = int(np.searchsorted(self.row, value))
            there = self.standing.setdefault(record, Standing(position, ACTIVE, 1.0, 0, None, None))
            self.current[there.position] = False
            there.position = position
            self.current[position] = True
            self.state[position] = there.state
        elif name == "state":
            self.standing[record].state = STATES[value]
            self.state[self.versions[record]] = STATES[value]
        else:
            setattr(self.standing[record], name, value)

    def _forget(self, record: str) -> None:
        positions = self.versions.pop(record, [])
        self.standing.pop(record, None)
        for link in list(self.links.pop(record, ())):
            self._link(link, False)
        for position in positions:
            self._arrays["alive"][position] = self.current[position] = False
            for row in self.parts.pop(position, ()):
                self.wholes.pop(row, None)

    def _grow(self) -> None:
        capacity = 2 * len(self.current)
        for name, array in self._arrays.items():
            self._arrays[name] = np.resize(array, capacity)
        self.current, self.state = np.resize(self.current, capacity), np.resize(self.state, capacity)

    def _load(self, records: Records) -> None:
        scopes = records.read("SELECT * FROM memory_scopes")
        places: dict[int, Any] = {number: tuple(place) for number, *place in scopes}
        found = records.read(_QUERY)
        if found:
            self._fill(places, *zip(*found, strict=True))
        self.postings = Postings([None] * self._size, self._grams)
        self._turns = Turns(self.session, self.seq)
        for row, whole in records.read("SELECT row, whole FROM memory_parts ORDER BY row"):
            position = int(np.searchsorted(self.row, whole))
            self.wholes[row] = position
            self.parts[position] = (*self.parts.get(position, ()), row)
        for record, type, target in records.read("SELECT record, type, target FROM memory_links"):
            self._link((record, type, target), True)
        fields = "record, state, strength, accesses, accessed_at, merged_into"
        standing = records.read(f"SELECT row, {fields} FROM memory_records")
        current = self.positions(np.array([row for row, *_ in standing], dtype=np.int64))
        self.standing = Standings([one[1:] for one in standing], current)
        self.current[current] = True
        # All versions of a record are in its state.
        of_record = np.full(len(self.ids.values), ACTIVE, dtype=np.int8)
        for position, one in zip(current.tolist(), standing, strict=True):
            if one[2] != "active":
                of_record[self.record[position]] = STATES[one[2]]
        self.state[: self._size] = of_record[self.record]

    def _fill(self, places: Mapping[int, Place], *columns: tuple[Any, ...]) -> None:
        """Take in all that is stored, column by column: ten times faster than one by one."""
        row, record, scope, session, seq, kind, level, language, scripts, *times, length = columns
        self._size = len(row)
        capacity = max(1024, 2 * self._size)
        self._arrays = {name: np.resize(array, capacity) for name, array in self._arrays.items()}
        self.current, self.state = np.zeros(capacity, dtype=np.bool_), np.zeros(capacity, dtype=np.int8)
        scopes = {number: self.scopes.number(place) for number, place in places.items()}
        script_sets = {text: self.scripts.number(frozenset(filter(None, text.split(",")))) for text in set(scripts)}
        numbers = list(map(scopes.__getitem__, scope))
        filled: dict[str, Any] = {
            "row": row,
            "record": self.ids.numbers(record),
            "scope": numbers,
            "session": self.sessions.numbers(list(zip(numbers, session, strict=True))),
            "seq": seq,
            "kind": _places(kind, KINDS),
            "level": _places(level, LEVELS),
            "language": self.languages.numbers(language),
            "script": list(map(script_sets.__getitem__, scripts)),
            "length": length,
            "alive": True,
        }
        names = ("valid_from", "valid_to", "event_from", "event_to", "expires_at")
        for name, values in zip(names, times, strict=True):
            open_end = UNTIMED if name.startswith("event") else FOREVER
            filled[name] = [open_end if one is None else one for one in values] if None in values else values
        for name, values in filled.items():
            self._arrays[name][: self._size] = values
        self._fill_scopes()

    def _fill_scopes(self) -> None:
        """The lists of positions by scope, and by each of its names."""
        of = self.scope
        order = np.argsort(of, kind="stable")
        cuts = np.searchsorted(of[order], np.arange(len(self.scopes.values) + 1))
        groups: dict[tuple[str, str], list[Positions]] = {}
        for number, place in enumerate(self.scopes.values):
            positions = order[cuts[number] : cuts[number + 1]]
            self._exact[number] = Growing(positions)
            for name, value in zip(SCOPE_NAMES, place, strict=True):
                self._arrays[name][positions] = self.values.number(value)
                if value:
                    groups.setdefault((name, value), []).append(positions)
        self._named = {key: Growing(np.sort(np.concatenate(some))) for key, some in groups.items()}


def _places(values: Iterable[str], known: Sequence[str]) -> list[int]:
    """The place of each of some values among those that there are."""
    places = {value: place for place, value in enumerate(known)}
    return list(map(places.__getitem__, values))
