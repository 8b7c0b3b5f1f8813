"""In-memory arrays of what a search needs from every version, so that scope checks and filters take microseconds.

A position is the index of a version in these arrays; versions are in ascending order of their rows. Erased versions
keep their position and are never visible. What only some methods need is read or computed on first use, so that the
first search starts quickly.

Each tenant has columns of its own, which hold nothing of any other tenant: ids, positions, links and counts are what
they would be in a store that the tenant had for itself.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.index.storage.records import Records
from mlret.memory.records import KINDS, LEVELS
from mlret.memory.scope import SCOPE_NAMES, Place, Scope, place_of
from mlret.memory.storage import cells
from mlret.memory.storage.journal import GONE, Change, Entry, NewVersion, SetEnd, SetField, SetLink, renamed
from mlret.memory.storage.loading import Loaded, Rows
from mlret.memory.storage.positions import Growing, Names, Positions, Turns
from mlret.memory.storage.postings import Postings
from mlret.memory.storage.record_state import ACTIVE, STATES, Standing, Standings
from mlret.memory.storage.row_checksums import is_constant
from mlret.memory.times import FOREVER
from mlret.memory.times import UNTIMED as UNTIMED

Mask = NDArray[np.bool_]
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
_FIRST = 64  # Initial capacity, in versions.


class Columns:
    """The versions of a tenant, up to the last journal entry that was applied.

    Parameters
    ----------
    records
        The database.
    tenant
        The tenant, ``""`` for records without one.
    places
        All scopes of the database, by number.

    Raises
    ------
    MlretError
        If a row of the tenant is damaged, or rows are missing.
    """

    def __init__(self, records: Records, tenant: str, places: Mapping[int, Place]) -> None:
        self._size = 0
        self._arrays = {name: np.empty(_FIRST, dtype=kind) for name, kind in _TYPES.items()}
        self.scopes: Names[Place] = Names()
        self.values: Names[str] = Names()  # Values of scope names.
        self._named: dict[tuple[str, str], Growing] = {}
        self._exact: dict[int, Growing] = {}
        self.ids: Names[str] = Names()
        self.keys: dict[str, int] = {}  # Record id -> key.
        self._ids: dict[int, str] = {}  # Key -> record id.
        self.sessions: Names[tuple[int, str | None]] = Names()
        self.languages: Names[str | None] = Names()
        self.scripts: Names[frozenset[str]] = Names()
        self.current = np.zeros(_FIRST, dtype=np.bool_)
        self.state = np.zeros(_FIRST, dtype=np.int8)
        self.wholes: dict[int, int] = {}  # Row of a part -> position of its version.
        self.parts: dict[int, tuple[int, ...]] = {}  # Position -> rows of the parts.
        self.links: dict[str, set[tuple[str, str, str]]] = {}  # Record id -> its links in and out: (from, type, to).
        self._rows = Rows(records, tenant)
        self._records = records
        self._path = records.path
        self._versions: dict[str, list[int]] | None = None
        self._hashes: dict[tuple[int, bytes], list[int]] | None = None
        collecting = gc.isenabled()
        gc.disable()  # Loading creates many objects and no garbage, so repeated collections would only cost time.
        try:
            self._load(records, places)
        except cells.UNREADABLE as error:
            raise cells.damage(self._path, "the state of the memory") from error
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
        """The positions of the versions of each record by id, oldest first."""
        if self._versions is None:
            self._versions = {}
            alive = np.flatnonzero(self.alive)
            for position, number in zip(alive.tolist(), self.record[alive].tolist(), strict=True):
                self._versions.setdefault(self.ids.values[number], []).append(position)
        return self._versions

    @property
    def hashes(self) -> dict[tuple[int, bytes], list[int]]:
        """The positions of versions by scope and text hash. May include erased versions; callers filter them."""
        if self._hashes is None:
            self._hashes = {}
            found = self._rows.read("row, hash")
            positions = self.positions(np.array([row for row, _ in found], dtype=np.int64))
            scopes = self.scope[positions].tolist()
            for position, scope, (_, hash) in zip(positions.tolist(), scopes, found, strict=True):
                self._hashes.setdefault((scope, hash), []).append(position)
        return self._hashes

    def _grams(self, positions: Sequence[int]) -> list[bytes]:
        """Return the n-grams of versions; empty for erased ones."""
        rows = self.row[np.array(positions, dtype=np.int64)].tolist()
        found: dict[int, bytes] = {}
        every = len(rows) > self._size // 8
        for row, crc, hash, grams in self._rows.read("row, text_crc, hash, grams", None if every else rows):
            if type(grams) is not bytes or type(hash) is not bytes or cells.text_crc(hash, grams) != crc:
                raise cells.damage(self._path, f"memory_versions, the n-grams of row {row}")
            found[row] = grams
        return [found.get(row, b"") for row in rows]

    def id_of(self, key: int) -> str | None:
        """Return the id of the record with a key; ``None`` if it is erased or belongs to another tenant."""
        return self._ids.get(key)

    def name_of(self, key: int) -> str:
        """Return the id of the record with a key, or :data:`GONE` if there is none."""
        return self._ids.get(key, GONE)

    def positions(self, rows: Positions) -> Positions:
        """Return the positions of the versions with some rows; ascending if the rows are."""
        return np.searchsorted(self.row, rows).astype(np.int64)

    def in_scope(self, scope: Scope) -> Positions:
        """Return the positions of the versions that a checked scope holds, in ascending order."""
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
        """Return the positions of the versions stored in exactly this scope, in ascending order."""
        number = self.scopes.known(place_of(scope))
        held = None if number is None else self._exact.get(number)
        if held is None:
            return np.empty(0, dtype=np.int64)
        found = held.all()
        alive: Positions = found[self._arrays["alive"][found]]
        return alive

    def next_seq(self, scope: Scope, session: str | None) -> int:
        """Return the position after the last one of a session.

        Parameters
        ----------
        scope
            The scope that the session is stored in.
        session
            Name of the session; ``None`` for texts without one.
        """
        number = self.scopes.known(place_of(scope))
        known = None if number is None else self.sessions.known((number, session))
        return 0 if known is None else self._turns.upcoming(known)

    def beside(self, position: int) -> list[int]:
        """Return the positions of the turns just before and after a version in its session, whatever their state."""
        session, place = int(self.session[position]), int(self.seq[position])
        if self.sessions.values[session][1] is None:
            return []
        return [*self._turns.at(session, place - 1), *self._turns.at(session, place + 1)]

    def add(self, record: str, place: Place, columns: Mapping[str, Any], parts: Sequence[int]) -> int:
        """Add a version and return its position.

        Parameters
        ----------
        record
            Id of the record.
        place
            Place of the record.
        columns
            Column -> value of the row of ``memory_versions``.
        parts
            Rows of its parts.
        """
        position = self._size
        if position == len(self.current):
            self._grow()
        scope = self.scopes.number(place)
        session = self.sessions.number((scope, columns["session"]))
        self._size += 1
        self.keys[record], self._ids[columns["record"]] = columns["record"], record
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
            self._hashes.setdefault((scope, columns["hash"]), []).append(position)
        self.current[position], self.state[position] = False, ACTIVE
        if parts:
            self.parts[position] = tuple(parts)
            self.wholes.update((row, position) for row in parts)
        self.postings.add([columns["grams"]])
        return position

    def apply(self, record: str, changes: Iterable[Change], columns: Mapping[int, Mapping[str, Any]]) -> None:
        """Apply the changes of an entry.

        Parameters
        ----------
        record
            Id of the record.
        changes
            Changes that name records by ids.
        columns
            For each new version, by row: the columns of ``memory_versions``.
        """
        for change in changes:
            match change:
                case NewVersion():
                    self.add(record, place_of(change.scope), columns[change.row], change.parts)
                case SetField(name, _, after):
                    self._set(record, name, after)
                case SetEnd(row, _, after):
                    position = int(np.searchsorted(self.row, row))
                    self._arrays["valid_to"][position] = FOREVER if after is None else after
                case SetLink(type, str(target), on) if target != GONE:
                    self._link((record, type, target), on)

    def read(self, entry: Entry, columns: Mapping[int, Mapping[str, Any]]) -> None:
        """Apply an entry of the journal in the form of the database, which names records by keys.

        Parameters
        ----------
        entry
            The entry.
        columns
            As for :meth:`apply`.
        """
        assert isinstance(entry.record, int)
        if entry.changes is None:
            return
        news = [change.id for change in entry.changes if type(change) is NewVersion]
        record = news[0] if news else self._ids.get(entry.record)
        if record is not None:
            self.apply(record, [renamed(change, self.name_of) for change in entry.changes], columns)

    def forget(self, key: int) -> None:
        """Remove an erased record."""
        record = self._ids.pop(key, None)
        if record is not None:
            del self.keys[record]
            self._forget(record)
            self.standing.left_by(record)

    def _link(self, link: tuple[str, str, str], on: bool) -> None:
        for end in (link[0], link[2]):
            held = self.links.setdefault(end, set())
            (held.add if on else held.discard)(link)
        if link[0] in self.standing:
            self.standing[link[0]].links = sum(one[0] == link[0] for one in self.links[link[0]])

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
            setattr(self.standing[record], name, None if value == GONE else value)

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

    def _load(self, records: Records, places: Mapping[int, Place]) -> None:
        found = self._rows.versions()
        if len(found):
            self._fill(found, places)
        self.postings = Postings([None] * self._size, self._grams)
        self._turns = Turns(self.session, self.seq)
        parts = self._rows.of_versions("memory_parts", "whole", "row").columns
        self._check_totals(found, len(parts["row"]))
        for row, whole in sorted(zip(parts["row"], parts["whole"], strict=True)):
            position = int(np.searchsorted(self.row, whole))
            self.wholes[row] = position
            self.parts[position] = (*self.parts.get(position, ()), row)
        links = self._rows.of_versions("memory_links", "record", "record").columns
        for key, type, target in zip(links["record"], links["type"], links["target"], strict=True):
            link = self._ids[key], type, self._ids[target]
            for end in (link[0], link[2]):
                self.links.setdefault(end, set()).add(link)
        self._load_standing(self._rows.of_versions("memory_records", "record", "record"))

    def _check_totals(self, versions: Loaded, parts: int) -> None:
        """Raise an error if versions or parts of a scope are missing, which their own checksums cannot detect."""
        totals = self._rows.totals().arrays
        scopes, counts = np.unique(versions.arrays["scope"], return_counts=True)
        if not np.array_equal(scopes, totals["scope"]) or not np.array_equal(counts, totals["versions"]):
            raise cells.damage(self._path, "memory_versions, rows are missing")
        if parts != totals["parts"].sum():
            raise cells.damage(self._path, "memory_parts, rows are missing")

    def _load_standing(self, found: Loaded) -> None:
        ids = [self._ids[key] for key in found.columns["record"]]
        if len(ids) != len(self.ids.values):
            raise cells.damage(self._path, "memory_records, rows are missing")
        current = self.positions(found.arrays["row"])
        if not np.array_equal(self.row[np.minimum(current, self._size - 1)], found.arrays["row"]):
            raise cells.damage(self._path, "memory_records, a current version is missing")
        self.standing = Standings(ids, current, found.columns["state"], self._read_uses)
        self.current[current] = True
        # The state of a record applies to all its versions.
        of_record = np.full(len(self.ids.values), ACTIVE, dtype=np.int8)
        for position, state in zip(current.tolist(), found.columns["state"], strict=True):
            if state != "active":
                of_record[self.record[position]] = STATES[state]
        self.state[: self._size] = of_record[self.record]

    def _read_uses(self, ids: Sequence[str]) -> list[tuple[Any, ...]]:
        """Return strength, accesses, accessed_at, merged_into and the number of links for each of some records."""
        uses = cells.read_uses(self._records, [self.keys[id] for id in ids])
        found = []
        for id in ids:
            *counts, survivor, links, _ = uses[self.keys[id]]
            found.append((*counts, None if survivor is None else self._ids.get(survivor), links))
        return found

    def _fill(self, versions: Loaded, places: Mapping[int, Place]) -> None:
        """Fill the arrays from all stored versions, column by column, which is ten times faster than one by one."""
        found, arrays = versions.columns, versions.arrays
        self._size = len(versions)
        capacity = max(_FIRST, 2 * self._size)
        self._arrays = {name: np.resize(array, capacity) for name, array in self._arrays.items()}
        self.current, self.state = np.zeros(capacity, dtype=np.bool_), np.zeros(capacity, dtype=np.int8)
        scopes = {number: self.scopes.number(places[number]) for number in dict.fromkeys(found["scope"])}
        scripts = found["scripts"]
        script_sets = {text: self.scripts.number(frozenset(filter(None, text.split(",")))) for text in set(scripts)}
        languages = dict.fromkeys(found["language"])
        numbers = list(map(scopes.__getitem__, found["scope"]))
        self.keys = dict(zip(found["id"], found["record"], strict=True))
        self._ids = dict(zip(found["record"], found["id"], strict=True))
        filled: dict[str, Any] = {
            "record": self.ids.numbers(found["id"]),
            "scope": numbers,
            "session": self.sessions.numbers(list(zip(numbers, found["session"], strict=True))),
            "kind": _numbered(found["kind"], {value: place for place, value in enumerate(KINDS)}),
            "level": _numbered(found["level"], {value: place for place, value in enumerate(LEVELS)}),
            "language": _numbered(found["language"], {value: self.languages.number(value) for value in languages}),
            "script": _numbered(scripts, script_sets),
            "alive": True,
        }
        filled |= {name: array for name, array in arrays.items() if name in _TYPES and name not in filled}
        for name, values in filled.items():
            self._arrays[name][: self._size] = values
        self._fill_scopes()

    def _fill_scopes(self) -> None:
        """Build the lists of positions by scope and by each name of a scope."""
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


def _numbered(values: Sequence[Any], numbers: Mapping[Any, int]) -> int | list[int]:
    """Return the number of each value, or a single number if all values are the same."""
    return numbers[values[0]] if is_constant(values) else list(map(numbers.__getitem__, values))
