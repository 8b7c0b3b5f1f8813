"""Erasing: remove every byte of a text and its id from disk, and prove it.

The rows are deleted in one transaction that overwrites the freed space (``secure_delete``), together with the vectors,
n-grams, metadata, links, the id and the content of the journal. Then the vector files that contained one of the rows
are rewritten without it, and the write-ahead log is emptied. Where rows moved between the pages of the database, copies
of them can remain in it (:mod:`mlret.index.sqlite.pages`); if any do, of whatever row, the database is rewritten.
Finally every file of the store is read and searched for fragments of the texts and for the ids. After a crash, a list
of the remaining work is left in the database, which the next opening or write completes.

What remains of an erased record is its key, a number that was never its id, with what was done to it and when.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np

from mlret.errors import InputError
from mlret.index.sqlite.raw import views
from mlret.index.sqlite.sql import parts
from mlret.index.storage.manifest import MANIFEST
from mlret.index.storage.records import RECORDS
from mlret.memory.ingest.change import descendants
from mlret.memory.ingest.fragments import Bytes, Fragments
from mlret.memory.results import ErasureProof
from mlret.memory.scope import Scope
from mlret.memory.storage.cells import held_by
from mlret.memory.storage.store import MemoryStore

# A long text may be spread over database pages that are not adjacent, so it is searched for in fragments. These are the
# length of a fragment in characters and the maximum number of fragments.
_PIECE = 16
_MOST_PIECES = 64
_BLOCK = 3 << 19  # Bytes that are read at once.
_TOGETHER = 100  # Fragments in one SQL statement, whose expressions may not be deeper than 1,000.
_SHORTEST = 4  # Minimum length of a fragment in bytes; shorter ones occur in any file by chance.


def erase(store: MemoryStore, ids: Iterable[str], scope: Scope, *, cascade: bool = True) -> ErasureProof:
    """Erase records and, with ``cascade``, what was derived from them or merged into them; use it within ``writing``.

    Records derived in another scope of the tenant are erased as well, without being mentioned in the proof.

    Parameters
    ----------
    store
        The memory.
    ids
        One id or several.
    scope
        A scope that holds the records.
    cascade
        Whether to include derived and merged records.

    Returns
    -------
    ErasureProof
        The result of searching the files afterwards.

    Raises
    ------
    InputError
        If no id is given, or one is not in the scope.
    """
    named = list(dict.fromkeys([ids] if isinstance(ids, str) else ids))
    if not named:
        raise InputError("name one record or more to erase")
    for id in named:
        store.position(id, scope)
    every = list(dict.fromkeys([*named, *(descendants(store, named, merged=True) if cascade else ())]))
    mine = [id for id in every if store.in_scope(id, scope)]
    versions = sum(len(store.columns.versions[id]) for id in mine)
    rows = sorted(row for id in every for row in store.rows_of(id))
    documents = store.records.fetch(rows)
    texts = {row: document.text for row, document in documents.items()}
    my_texts = [texts[row] for id in mine for row in store.rows_of(id)]
    pieces = _sample(my_texts, mine)
    every_piece = list(dict.fromkeys([*pieces, *_sample(list(texts.values()), every)]))
    indexed = any(document.metadata for document in documents.values())
    indexed = indexed or any(store.columns.links.get(id) for id in every)
    indexed = store.forget_rows(every, rows) or indexed
    search = _FileSearch(store.index.path, every_piece)
    emptied = store.folder.finish_erasing(indexed=indexed, see=search.see_database, overlap=search.overlap)
    there = search.places()
    cells = _Cells(store)
    found_pieces = list(dict.fromkeys(piece for found in there.values() for piece in found))
    accounted = {piece: cells.hold(piece) for piece in found_pieces}
    left = {name: sum(not accounted[piece] for piece in found) for name, found in there.items()}
    shared = cells.records(found_pieces, scope)
    note = "unexplained fragments are left" if any(left.values()) else ""
    if not emptied:
        note = "another process reads an older state; once it is done, any later write finishes the erasure"
    return ErasureProof(
        tuple(mine),
        versions,
        len(pieces),
        {name: {"places": count} for name, count in left.items()},
        tuple(shared),
        emptied and not any(left.values()),
        note,
    )


def _sample(texts: Sequence[str], ids: Sequence[str]) -> list[str]:
    """Return fragments of texts and ids to search for: all of them if they are few, else some of each text."""
    pieces = [
        list(dict.fromkeys(text[start : start + _PIECE] for start in range(0, len(text), _PIECE))) for text in texts
    ]
    in_turn = [one for round in zip_longest(*pieces) for one in round if one is not None]
    return [*_long_enough(in_turn), *_long_enough(ids)]


def _long_enough(pieces: Sequence[str]) -> list[str]:
    return [one for one in dict.fromkeys(pieces) if len(one.encode()) >= _SHORTEST][:_MOST_PIECES]


class _FileSearch:
    """Searches all files of a folder for fragments, reading each file once.

    Parameters
    ----------
    folder
        The folder of the store.
    pieces
        The fragments.
    """

    def __init__(self, folder: Path, pieces: Sequence[str]) -> None:
        self._folder = folder
        self._pieces = {piece.encode(): piece for piece in pieces}
        self._fragments = Fragments(self._pieces)
        self.overlap = self._fragments.overlap
        # What was found in the database, up to which place, and its state at the beginning.
        self._in_database: set[bytes] = set()
        self._seen = 0
        self._state: tuple[int, ...] = ()

    def see_database(self, place: int, block: Bytes) -> None:
        """Search a block of the database, which is being read for another purpose; blocks come in order."""
        if not place:
            self._in_database, self._seen = set(), 0
            self._state = _state_of(self._folder / RECORDS)
        if place <= self._seen:
            self._in_database |= self._fragments.found_in(block)
            self._seen = place + len(block)

    def places(self) -> dict[str, list[str]]:
        """Return for each file of the folder, and each subfolder as a whole, which fragments occur in it."""
        found: dict[str, set[bytes]] = {one.name: set() for one in sorted(self._folder.iterdir())}
        for file in sorted(file for file in self._folder.rglob("*") if file.is_file()):
            found[file.relative_to(self._folder).parts[0]] |= self._in_file(file)
        return {name: [piece for code, piece in self._pieces.items() if code in there] for name, there in found.items()}

    def _in_file(self, file: Path) -> set[bytes]:
        # The database was read to its end already, and nothing was written to it since.
        if file == self._folder / RECORDS and (self._seen, self._state) == (file.stat().st_size, _state_of(file)):
            return self._in_database
        found: set[bytes] = set()
        for _, block in views(file, _BLOCK, overlap=self.overlap):
            found |= self._fragments.found_in(np.frombuffer(block, dtype=np.uint8))
        return found


def _state_of(file: Path) -> tuple[int, ...]:
    """Return what changes when a file is written to."""
    found = file.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class _Cells:
    """The current contents of the database's cells, which account for fragments that are found in its files.

    Any text can be part of another one: of another record's text, of a table definition or of the name of the encoder.
    """

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._manifest = (store.index.path / MANIFEST).read_text(encoding="utf-8")
        names = store.records.read("SELECT name FROM sqlite_master WHERE type = 'table'")
        self._columns: dict[str, list[str]] = {"sqlite_master": ["sql"]}
        for (table,) in names:
            columns = store.records.read("SELECT name FROM pragma_table_info(?) WHERE type != 'BLOB'", (table,))
            self._columns[table] = [name for (name,) in columns]

    def hold(self, piece: str) -> bool:
        """Return whether a fragment occurs in a cell of any table, or in the manifest."""
        return piece in self._manifest or any(
            self._store.records.read(f'SELECT 1 FROM "{table}" WHERE {self._says(columns)} LIMIT 1', (piece,))
            for table, columns in self._columns.items()
            if columns
        )

    @staticmethod
    def _says(columns: Sequence[str]) -> str:
        return " OR ".join(f'instr("{column}", ?1)' for column in columns)

    def records(self, pieces: Sequence[str], scope: Scope) -> list[str]:
        """Return the records of a scope that contain a fragment in a text, metadata or the journal's changes."""
        condition, names = held_by(scope)
        found: set[int] = set()
        for some in parts(pieces, _TOGETHER):
            marks = range(len(names) + 1, len(names) + len(some) + 1)
            texts = " OR ".join(f"instr(text, ?{one}) OR instr(metadata, ?{one})" for one in marks)
            changes = " OR ".join(f"instr(changes, ?{one})" for one in marks)
            query = f"""
                WITH mine AS (
                    SELECT row, record FROM memory_versions
                    WHERE scope IN (SELECT scope FROM memory_scopes WHERE {condition})
                )
                SELECT record FROM mine JOIN records USING (row) WHERE {texts}
                UNION SELECT record FROM memory_journal WHERE record IN (SELECT record FROM mine) AND ({changes})
            """
            found.update(key for (key,) in self._store.records.read(query, [*names, *some]))
        ids = [self._store.columns.id_of(key) for key in found]
        return sorted(id for id in ids if id is not None)
