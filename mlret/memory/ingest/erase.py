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

from mlret.errors import InputError
from mlret.index.sqlite.raw import blocks
from mlret.index.storage.manifest import MANIFEST
from mlret.memory.ingest.change import descendants
from mlret.memory.results import ErasureProof
from mlret.memory.scope import Scope
from mlret.memory.storage.store import MemoryStore

# A long text may be spread over database pages that are not adjacent, so it is searched for in fragments. These are the
# length of a fragment in characters and the maximum number of fragments.
_PIECE = 16
_MOST_PIECES = 64
_BLOCK = 1 << 24
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
    emptied = store.folder.finish_erasing(indexed=indexed)
    there = _places(store.index.path, every_piece)
    cells = _Cells(store)
    accounted = {piece: cells.hold(piece) for found in there.values() for piece in found}
    left = {name: sum(not accounted[piece] for piece in found) for name, found in there.items()}
    shared = sorted({id for found in there.values() for piece in found for id in cells.records(piece)})
    note = "unexplained fragments are left" if any(left.values()) else ""
    if not emptied:
        note = "another process reads an older state; once it is done, any later write finishes the erasure"
    return ErasureProof(
        tuple(mine),
        versions,
        len(pieces),
        {name: {"places": count} for name, count in left.items()},
        tuple(id for id in shared if store.in_scope(id, scope)),
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


def _places(folder: Path, pieces: Sequence[str]) -> dict[str, list[str]]:
    """Return for each file of a folder, and each subfolder as a whole, which fragments occur in it."""
    found: dict[str, set[str]] = {one.name: set() for one in sorted(folder.iterdir())}
    overlap = max((len(piece.encode()) for piece in pieces), default=0)
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        there = found[file.relative_to(folder).parts[0]]
        for block in blocks(file, max(_BLOCK, 2 * overlap), overlap=overlap):
            there |= {piece for piece in pieces if piece not in there and piece.encode() in block}
    return {name: [piece for piece in pieces if piece in there] for name, there in found.items()}


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

    def records(self, piece: str) -> list[str]:
        """Return the tenant's records that contain a fragment in a text, in metadata or in the journal's changes."""
        query = """
            SELECT record FROM records JOIN memory_versions USING (row) WHERE instr(text, ?1) OR instr(metadata, ?1)
            UNION SELECT record FROM memory_journal WHERE instr(changes, ?1)
        """
        found = [self._store.columns.id_of(key) for (key,) in self._store.records.read(query, (piece,))]
        return [id for id in found if id is not None]
