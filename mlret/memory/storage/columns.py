"""In-memory arrays of what a search needs from every version, so that scope checks and filters take microseconds.

A position is the index of a version in these arrays; versions are in ascending order of their rows. Erased versions
keep their position and are never visible. What only some methods need is read or computed on first use, so that the
first search starts quickly.

Each tenant has columns of its own, which hold nothing of any other tenant: ids, positions, links and counts are what
they would be in a store that the tenant had for itself. A call that needs nothing outside its scope can have columns of
this scope alone, which load in milliseconds however many records the tenant has; see
:meth:`mlret.memory.storage.folder.Folder.columns_in`.
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
from mlret.memory.storage.lexical_scores import Postings
from mlret.memory.storage.loading import Loaded, Rows, ids_of, is_constant
from mlret.memory.storage.positions import Names, Positions, Turns
from mlret.memory.storage.record_state import ACTIVE, STATES, RecordStatus, RecordStatuses
from mlret.memory.storage.version_arrays import VersionArrays
from mlret.memory.times import FOREVER
from mlret.memory.times import UNTIMED as UNTIMED

Mask = NDArray[np.bool_]


class _Growing:
    """An ascending array of positions that can be appended to."""

    def __init__(self, positions: Positions | None = None) -> None:
        self._array = np.empty(4, dtype=np.int64) if positions is None else positions
        self._size = 0 if positions is None else len(positions)

    def append(self, position: int) -> None:
        if self._size == len(self._array):
            self._array = np.resize(self._array, 2 * self._size)
        self._array[self._size] = position
        self._size += 1

    def all(self) -> Positions:
        """Return the positions; arrays that were returned earlier are unaffected by later appends."""
        return self._array[: self._size]


class Columns(VersionArrays):
    """The versions of a tenant or scope, up to the last journal entry that was applied.

    Positions below ``len`` are in use.

    Parameters
    ----------
    records
        The database.
    tenant
        The tenant, ``""`` for records without one.
    places
        Scopes of the database by number, which include those that are loaded.
    part
        Load the versions of ``places`` alone, and not the whole tenant. Links to records outside are loaded; links from
        them are not.

    Raises
    ------
    MlretError
        If a row of the tenant is damaged, or rows are missing.
    """

    def __init__(self, records: Records, tenant: str, places: Mapping[int, Place], *, part: bool = False) -> None:
        super().__init__()
        self._size = 0
        self.scopes: Names[Place] = Names()
        self.values: Names[str] = Names()  # Values of scope names.
        self._named: dict[tuple[str, str], _Growing] = {}
        self._exact: dict[int, _Growing] = {}
        self.ids: Names[str] = Names()
        self.keys: dict[str, int] = {}  # Record id -> key.
        self._ids: dict[int, str] = {}  # Key -> record id.
        self.sessions: Names[tuple[int, str | None]] = Names()
        self.languages: Names[str | None] = Names()
        self.scripts: Names[frozenset[str]] = Names()
        self.wholes: dict[int, int] = {}  # Row of a part -> position of its version.
        self.parts: dict[int, tuple[int, ...]] = {}  # Position -> rows of the parts.
        self.links: dict[str, set[tuple[str, str, str]]] = {}  # Record id -> its links in and out: (from, type, to).
        self.speakers: dict[int, str] = {}  # Position -> who said it, as far as it was needed.
        self._rows = Rows(records, tenant, list(places) if part else None)
        self._part = part
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

    @property
    def versions(self) -> dict[str, list[int]]:
        """The positions of the versions of each record by id, oldest first."""
        if self._versions is None:
            self._versions = {}
            alive = np.flatnonzero(self.alive)  # Places that are not in use yet are not alive.
            for position, number in zip(alive.tolist(), self.record[alive].tolist(), strict=True):
                self._versions.setdefault(self.ids.by_number[number], []).append(position)
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
        return np.searchsorted(self.row[: self._size], rows).astype(np.int64)

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
                numbers: NDArray[np.int32] = getattr(self, name)
                found = found[numbers[found] == self.values.get(value)]
        return found[self.alive[found]]

    def exactly(self, place: Place) -> Positions:
        """Return the positions of the versions stored at exactly this place, in ascending order."""
        held = self._exact.get(self.scopes.get(place, -1))
        if held is None:
            return np.empty(0, dtype=np.int64)
        found = held.all()
        return found[self.alive[found]]

    def next_seq(self, place: Place, session: str | None) -> int:
        """Return the position after the last one of a session.

        Parameters
        ----------
        place
            The place that the session is stored in.
        session
            Name of the session; ``None`` for texts without one.
        """
        known = self.sessions.get((self.scopes.get(place, -1), session))
        return 0 if known is None else self._turns.upcoming(known)

    def beside(self, position: int, reach: int = 1) -> list[int]:
        """Return the positions of the turns up to ``reach`` before and after a version in its session, in any state."""
        session, place = int(self.session[position]), int(self.seq[position])
        if self.sessions.by_number[session][1] is None:
            return []
        turns = [step for step in range(-reach, reach + 1) if step]
        return [one for step in turns for one in self._turns.at(session, place + step)]

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
        if position == len(self.row):
            self.make_room(2 * position)
        self._size += 1
        scope = self.scopes[place]
        session = self.sessions[scope, columns["session"]]
        self.keys[record], self._ids[columns["record"]] = columns["record"], record
        self.row[position] = columns["row"]
        self.record[position] = self.ids[record]
        self.scope[position] = scope
        self.tenant[position], self.user[position], self.agent[position], self.run[position] = map(
            self.values.__getitem__, place
        )
        self.session[position], self.seq[position] = session, columns["seq"]
        self.kind[position] = KINDS.index(columns["kind"])
        self.level[position] = LEVELS.index(columns["level"])
        self.language[position] = self.languages[columns["language"]]
        self.script[position] = self.scripts[frozenset(filter(None, columns["scripts"].split(",")))]
        self.valid_from[position], self.valid_to[position] = columns["valid_from"], FOREVER
        untimed = columns["event_from"] is None
        self.event_from[position] = UNTIMED if untimed else columns["event_from"]
        self.event_to[position] = UNTIMED if untimed else columns["event_to"]
        self.expires_at[position] = FOREVER if columns["expires_at"] is None else columns["expires_at"]
        self.length[position] = columns["length"]
        self.alive[position], self.current[position], self.state[position] = True, False, ACTIVE
        self._exact.setdefault(scope, _Growing()).append(position)
        for name, value in zip(SCOPE_NAMES, place, strict=True):
            if value:
                self._named.setdefault((name, value), _Growing()).append(position)
        self._turns.add(session, columns["seq"], position)
        if self._versions is not None:
            self._versions.setdefault(record, []).append(position)
        if self._hashes is not None:
            self._hashes.setdefault((scope, columns["hash"]), []).append(position)
        if parts:
            self.parts[position] = tuple(parts)
            self.wholes.update((row, position) for row in parts)
        self.postings.add([columns["grams"]])
        return position

    def apply(
        self, operations: Iterable[tuple[str, Iterable[Change]]], columns: Mapping[int, Mapping[str, Any]]
    ) -> None:
        """Apply the changes of entries, in order.

        Parameters
        ----------
        operations
            For each entry the id of the record, and the changes, which name records by ids.
        columns
            For each new version, by row: the columns of ``memory_versions``.
        """
        for record, changes in operations:
            for change in changes:
                match change:
                    case NewVersion():
                        self.add(record, place_of(change.scope), columns[change.row], change.parts)
                    case SetField("row", before, after):
                        self._set_current(record, self._position(after), new=before is None)
                    case SetField(name, _, after):
                        self._set(record, name, after)
                    case SetEnd(row, _, after):
                        self.valid_to[self._position(row)] = FOREVER if after is None else after
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
            self.apply([(record, renamed(entry.changes, self.name_of))], columns)

    def forget(self, key: int) -> None:
        """Remove an erased record."""
        record = self._ids.pop(key, None)
        if record is not None:
            del self.keys[record]
            self._forget(record)
            self.statuses.left_by(record)

    def _link(self, link: tuple[str, str, str], on: bool) -> None:
        for end in (link[0], link[2]):
            held = self.links.setdefault(end, set())
            (held.add if on else held.discard)(link)
        self.statuses.set_links(link[0], sum(one[0] == link[0] for one in self.links.get(link[0], ())))

    def _set_current(self, record: str, position: int, *, new: bool) -> None:
        """Make a version the current one of its record."""
        if new:
            self.statuses[record] = RecordStatus(position, ACTIVE, 1.0, 0, None, None)
        else:
            there = self.statuses[record]
            self.current[there.position] = False
            there.position = position
            self.state[position] = there.state
        self.current[position] = True

    def _set(self, record: str, name: str, value: Any) -> None:
        if name == "state":
            self.statuses[record].state = STATES[value]
            self.state[self.versions[record]] = STATES[value]
        else:
            setattr(self.statuses[record], name, None if value == GONE else value)

    def _forget(self, record: str) -> None:
        positions = self.versions.pop(record, [])
        if record in self.statuses:
            del self.statuses[record]  # Not pop, which reads the counters, and they are gone.
        for link in list(self.links.pop(record, ())):
            self._link(link, False)
        for position in positions:
            self.alive[position] = self.current[position] = False
            for row in self.parts.pop(position, ()):
                self.wholes.pop(row, None)

    def _position(self, row: int) -> int:
        return int(np.searchsorted(self.row[: self._size], row))

    def _load(self, records: Records, places: Mapping[int, Place]) -> None:
        found = self._rows.versions()
        if len(found):
            self._fill(found, places)
        self.postings = Postings([None] * self._size, self._grams)
        self._turns = Turns(self.session[: self._size], self.seq[: self._size])
        parts = self._rows.of_versions("memory_parts", "whole", "row").columns
        self._check_totals(found, len(parts["row"]))
        for row, whole in sorted(zip(parts["row"], parts["whole"], strict=True)):
            position = self._position(whole)
            self.wholes[row] = position
            self.parts[position] = (*self.parts.get(position, ()), row)
        links = self._rows.of_versions("memory_links", "record", "record").columns
        id_of = self._with_outside(links["target"])
        for key, type, target in zip(links["record"], links["type"], links["target"], strict=True):
            link = self._ids[key], type, id_of[target]
            for end in (link[0], link[2]):
                self.links.setdefault(end, set()).add(link)
        self._load_statuses(self._rows.of_versions("memory_records", "record", "record"))

    def _check_totals(self, versions: Loaded, parts: int) -> None:
        """Raise an error if versions or parts of a scope are missing, which their own checksums cannot detect."""
        totals = self._rows.totals().arrays
        scopes, counts = np.unique(versions.arrays["scope"], return_counts=True)
        if not np.array_equal(scopes, totals["scope"]) or not np.array_equal(counts, totals["versions"]):
            raise cells.damage(self._path, "memory_versions, rows are missing")
        if parts != totals["parts"].sum():
            raise cells.damage(self._path, "memory_parts, rows are missing")

    def _load_statuses(self, found: Loaded) -> None:
        ids = [self._ids[key] for key in found.columns["record"]]
        if len(ids) != len(self.ids.by_number):
            raise cells.damage(self._path, "memory_records, rows are missing")
        current = self.positions(found.arrays["row"])
        if not np.array_equal(self.row[np.minimum(current, self._size - 1)], found.arrays["row"]):
            raise cells.damage(self._path, "memory_records, a current version is missing")
        self.statuses = RecordStatuses(ids, current, found.columns["state"], self._read_uses)
        self.current[current] = True
        # The state of a record applies to all its versions.
        of_record = np.full(len(self.ids.by_number), ACTIVE, dtype=np.int8)
        for position, state in zip(current.tolist(), found.columns["state"], strict=True):
            if state != "active":
                of_record[self.record[position]] = STATES[state]
        self.state[: self._size] = of_record[self.record[: self._size]]

    def _read_uses(self, ids: Sequence[str]) -> list[tuple[Any, ...]]:
        """Return strength, accesses, accessed_at, merged_into and the number of links for each of some records."""
        uses = cells.read_uses(self._records, [self.keys[id] for id in ids])
        id_of = self._with_outside(use[3] for use in uses.values() if use[3] is not None)
        found = []
        for id in ids:
            *counts, survivor, links, _ = uses[self.keys[id]]
            found.append((*counts, None if survivor is None else id_of.get(survivor), links))
        return found

    def _with_outside(self, keys: Iterable[int]) -> Mapping[int, str]:
        """Return key -> id of all records, with those keys that belong to records outside the columns."""
        outside = {key for key in keys if key not in self._ids} if self._part else ()
        return {**self._ids, **ids_of(self._records, outside)} if outside else self._ids

    def _fill(self, versions: Loaded, places: Mapping[int, Place]) -> None:
        """Fill the arrays from all stored versions, column by column, which is ten times faster than one by one."""
        found, arrays = versions.columns, versions.arrays
        self._size = len(versions)
        self.make_room(2 * self._size)
        scopes = {number: self.scopes[places[number]] for number in dict.fromkeys(found["scope"])}
        scripts = found["scripts"]
        script_sets = {text: self.scripts[frozenset(filter(None, text.split(",")))] for text in set(scripts)}
        languages = dict.fromkeys(found["language"])
        numbers = list(map(scopes.__getitem__, found["scope"]))
        self.keys = dict(zip(found["id"], found["record"], strict=True))
        self._ids = dict(zip(found["record"], found["id"], strict=True))
        size = slice(0, self._size)
        self.row[size] = arrays["row"]
        self.record[size] = self.ids.fill(found["id"])
        self.scope[size] = numbers
        self.session[size] = self.sessions.fill(list(zip(numbers, found["session"], strict=True)))
        self.seq[size] = arrays["seq"]
        self.kind[size] = _numbered(found["kind"], {value: place for place, value in enumerate(KINDS)})
        self.level[size] = _numbered(found["level"], {value: place for place, value in enumerate(LEVELS)})
        self.language[size] = _numbered(found["language"], {value: self.languages[value] for value in languages})
        self.script[size] = _numbered(scripts, script_sets)
        self.valid_from[size], self.valid_to[size] = arrays["valid_from"], arrays["valid_to"]
        self.event_from[size], self.event_to[size] = arrays["event_from"], arrays["event_to"]
        self.expires_at[size], self.length[size] = arrays["expires_at"], arrays["length"]
        self.alive[size] = True
        self._fill_scopes()

    def _fill_scopes(self) -> None:
        """Build the lists of positions by scope and by each name of a scope."""
        of = self.scope[: self._size]
        order = np.argsort(of, kind="stable")
        cuts = np.searchsorted(of[order], np.arange(len(self.scopes.by_number) + 1))
        groups: dict[tuple[str, str], list[Positions]] = {}
        for number, place in enumerate(self.scopes.by_number):
            positions = order[cuts[number] : cuts[number + 1]]
            self._exact[number] = _Growing(positions)
            for name, value in zip(SCOPE_NAMES, place, strict=True):
                getattr(self, name)[positions] = self.values[value]
                if value:
                    groups.setdefault((name, value), []).append(positions)
        self._named = {key: _Growing(np.sort(np.concatenate(some))) for key, some in groups.items()}


def _numbered(values: Sequence[Any], numbers: Mapping[Any, int]) -> int | list[int]:
    """Return the number of each value, or a single number if all values are the same."""
    return numbers[values[0]] if is_constant(values) else list(map(numbers.__getitem__, values))
