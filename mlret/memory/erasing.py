"""Erasing: no byte of a text is left on disk, and a proof of it.

The rows go in one transaction that overwrites what it frees (``secure_delete``), with the vectors, the n-grams, the
metadata, the links, and the content of the journal. Then the vector files that held a row of them are written anew
without it, and the write-ahead log is emptied. Where rows were moved between the pages of the database, copies of them
can be left in it (:mod:`mlret.index.pages`): if there are any, of whatever row, it is written anew. Then every file of
the store is read, and looked through for pieces of the texts. A crash on the way leaves a list of what is still to be
done, which the next opening or write does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path

from mlret.errors import InputError
from mlret.index.raw import blocks
from mlret.memory.changing import descendants
from mlret.memory.hits import ErasureProof
from mlret.memory.scope import Scope
from mlret.memory.store import MemoryStore

# Long texts stand in pages of the database that need not follow each other: they are looked for in pieces, of so many
# characters, so many in all.
_PIECE = 16
_MOST_PIECES = 64
_BLOCK = 1 << 24
_SHORTEST = 4  # bytes that are looked for; fewer stand in any file


def erase(store: MemoryStore, ids: Iterable[str], scope: Scope, *, cascade: bool = True) -> ErasureProof:
    """Erase records, what was derived from them and what was merged into them; within ``writing``.

    Raises
    ------
    InputError
        If one is not in the scope.
    """
    named = list(dict.fromkeys([ids] if isinstance(ids, str) else ids))
    if not named:
        raise InputError("name one record or more to erase")
    for id in named:
        store.position(id, scope)
    every = list(dict.fromkeys([*named, *(descendants(store, named, merged=True) if cascade else ())]))
    rows = sorted(row for id in every for row in store.rows_of(id))
    versions = sum(len(store.columns.versions[id]) for id in every)
    documents = store.records.fetch(rows).values()
    texts = [document.text for document in documents]
    indexed = any(document.metadata for document in documents) or any(store.columns.links.get(id) for id in every)
    store.forget_rows(every, rows)
    emptied = store.finish_erasing(indexed=indexed)
    pieces = _sample(texts)
    there = _places(store.index.path, pieces)
    found = {piece for places in there.values() for piece in places}
    said = {piece: _said_by(store, piece) for piece in sorted(found)}
    mine = sorted({id for ids in said.values() for id in ids if store.in_scope(id, scope)})
    files = {
        name: {"bytes": (store.index.path / name).stat().st_size, "places": sum(not said[one] for one in places)}
        for name, places in there.items()
    }
    left = sum(one["places"] for one in files.values())
    note = "pieces of the text are left that no record accounts for" if left else ""
    if not emptied:
        note = "another process reads an older state; once it is done, any later write finishes the erasure"
    return ErasureProof(tuple(every), versions, len(pieces), files, tuple(mine), emptied and not left, note)


def _sample(texts: Sequence[str]) -> list[str]:
    """Pieces of texts: all of a few, of many some of each."""
    pieces = [
        list(dict.fromkeys(text[start : start + _PIECE] for start in range(0, len(text), _PIECE))) for text in texts
    ]
    long_enough = [[one for one in some if len(one.encode()) >= _SHORTEST] for some in pieces]
    in_turn = [one for round in zip_longest(*long_enough) for one in round if one is not None]
    return list(dict.fromkeys(in_turn))[:_MOST_PIECES]


def _places(folder: Path, pieces: Sequence[str]) -> dict[str, list[str]]:
    """The files of a folder, and which pieces stand in each."""
    found: dict[str, list[str]] = {}
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        name = str(file.relative_to(folder))
        there: set[str] = set()
        for block in blocks(file, _BLOCK, overlap=4 * _PIECE):  # a character has four bytes at most
            there |= {piece for piece in pieces if piece not in there and piece.encode() in block}
        found[name] = [piece for piece in pieces if piece in there]
    return found


def _said_by(store: MemoryStore, piece: str) -> list[str]:
    """The records that hold a piece, in whatever scope."""
    query = """
        SELECT record FROM records JOIN memory_versions USING (row) WHERE instr(text, ?1) OR instr(metadata, ?1)
        UNION SELECT record FROM memory_journal WHERE instr(changes, ?1)
    """
    return sorted({record for (record,) in store.records.read(query, (piece,))})
