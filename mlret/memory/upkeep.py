"""Looking after a memory: is it whole, and how does it move to another encoder."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from mlret.data.durable import fsync_folder
from mlret.encoders.encoder import Encoder
from mlret.encoders.multi_vector import AnyEncoder, TokenEncoder, load_any_encoder
from mlret.errors import InputError, MlretError
from mlret.index import compaction
from mlret.index.index import Index, _reference
from mlret.index.manifest import VECTORS, read_manifest, write_manifest, written_of
from mlret.index.records import RECORDS, Records
from mlret.index.store import Store, beside, check_vacant
from mlret.index.verify import Problem, verify_index
from mlret.memory import tables
from mlret.memory.journal import State, replay
from mlret.memory.lexical import grams_of
from mlret.memory.store import MemoryStore

_BATCH = 256


def verify(
    path: Path, encoder: AnyEncoder | None = None, *, repair: bool = False, say: Callable[[str], None] | None = None
) -> list[Problem]:
    """Check every file, record, vector and n-gram, and whether the journal, replayed, is the state.

    Parameters
    ----------
    path, encoder, repair, say
        As of :func:`mlret.index.verify.verify_index`. What can be repaired is what the index says, and n-grams.
    """
    problems = verify_index(path, encoder, repair=repair, say=say)
    if any(not problem.mended for problem in problems):
        return problems
    with Index.open(path, encoder, kind="memory") as index:
        store = MemoryStore(index)
        (say or (lambda _: None))("the journal, replayed")
        try:
            problems += _differences(replay(tables.entries(store.records)), tables.read_state(store.records))
        except MlretError as error:
            problems.append(Problem(RECORDS, str(error), mendable=False))
            return problems
        problems += _texts(store, repair=repair)
        if store.records.read("SELECT 1 FROM memory_erasing LIMIT 1"):
            problems.append(Problem(RECORDS, "an erasure is not finished; open the memory to write", mended=False))
    return problems


def _differences(journal: State, tables_say: State) -> Iterator[Problem]:
    for name in ("records", "versions", "links"):
        if getattr(journal, name) != getattr(tables_say, name):
            yield Problem(RECORDS, f"the {name} are not what the journal adds up to", mendable=False)


def _texts(store: MemoryStore, *, repair: bool) -> Iterator[Problem]:
    """Problems of what is derived from texts: every version has one, with its hash and n-grams."""
    records = store.records
    query = """
        SELECT row, record, version, hash, grams, length FROM memory_versions WHERE row > ? ORDER BY row LIMIT ?
    """
    last, wrong = 0, []
    while found := records.read(query, (last, _BATCH)):
        last = found[-1][0]
        documents = records.fetch([row for row, *_ in found])
        for row, record, version, _, grams, length in found:
            if row not in documents or documents[row].id != f"{record}/{version}/0":
                yield Problem(RECORDS, f"version {version} of {record!r} has lost its text", mendable=False)
            elif (grams, length) != grams_of(documents[row].text):
                wrong.append((row, documents[row].text))
    if wrong:
        yield Problem(RECORDS, f"the n-grams of {len(wrong)} versions are not those of their texts", mended=repair)
        if repair:
            with store.writing():
                store.store.commit(lambda connection: _grams_again(connection, wrong))
    orphans = """
        SELECT count(*) FROM records WHERE row NOT IN (SELECT row FROM memory_versions)
        AND row NOT IN (SELECT row FROM memory_parts)
    """
    if count := records.read(orphans)[0][0]:
        yield Problem(RECORDS, f"{count} texts belong to no version", mendable=False)


def _grams_again(connection: sqlite3.Connection, wrong: list[tuple[int, str]]) -> None:
    for row, text in wrong:
        grams, length = grams_of(text)
        connection.execute("UPDATE memory_versions SET grams = ?, length = ? WHERE row = ?", (grams, length, row))


def reembed(
    path: Path,
    output: Path,
    encoder: AnyEncoder | str | Path | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a copy of a memory whose vectors another encoder made, from the texts.

    The old store is only read, and serves meanwhile; the new one is made whole or not at all. Ids, versions, journal
    and settings are the same; thresholds of the old encoder are not used with the new one.

    Parameters
    ----------
    path
        The memory.
    output
        A new folder.
    encoder
        The new encoder; ``None`` for the bundled one.
    progress
        Called with how many texts are encoded, and of how many.

    Raises
    ------
    InputError
        If ``path`` is no memory, or something stands at ``output``.
    """
    manifest = read_manifest(path)
    if manifest.kind != "memory":
        raise InputError(f"{path} is an index, not a memory store; build it anew with `mlret index build`")
    encoder = encoder if isinstance(encoder, Encoder | TokenEncoder) else load_any_encoder(encoder)
    check_vacant(output)
    temporary = beside(output, f"{os.getpid()}.new")
    try:
        (temporary / VECTORS).mkdir(parents=True)
        settings = manifest.settings.model_copy(update={"dims": None})
        changed: dict[str, Any] = {
            "encoder": _reference(encoder),
            "fingerprint": encoder.fingerprint,
            "dims": encoder.dims,
            "similarity": encoder.similarity,
            "settings": settings,
            "segments": (),
            "codec": None,
            "probing": None,
        }
        written = written_of(manifest.model_copy(update=changed))
        _copy_database(path / RECORDS, temporary / RECORDS)
        Records.start_over(temporary / RECORDS, manifest.generation, written.text)
        write_manifest(temporary, written)
        store = Store(temporary)
        try:
            _encode_all(store, encoder, progress)
        finally:
            store.close()
        temporary.replace(output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    fsync_folder(output.resolve().parent)


def _copy_database(source: Path, target: Path) -> None:
    """A snapshot of a database."""
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)
        new.execute("PRAGMA journal_mode = WAL")


def _encode_all(store: Store, encoder: AnyEncoder, progress: Callable[[int, int], None] | None) -> None:
    total, done = len(store), 0
    with store.writing():
        for batch in store.records.stream(batch_size=_BATCH):
            texts = [document.text for _, document in batch]
            vectors = encoder.encode_document(texts, language=[document.language for _, document in batch])
            with store.records.transaction():
                store.records.replace_vectors([row for row, _ in batch], store.space.prepared(vectors))
            done += len(batch)
            if progress is not None:
                progress(done, total)
        compaction.seal(store)
