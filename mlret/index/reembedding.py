"""Copy an index with the vectors of another encoder: everything that is stored stays, and its texts are encoded again.

The copy begins as a snapshot of the database, in ``.NAME.reembedding`` beside its later place. Row numbers are never
reused and a record never changes under its number, so a vector that was made for a row stays right: a copy that was
interrupted goes on where it stopped, also if the index has changed meanwhile.

Where a document is cut into passages depends on what the encoder reads. A document that the new encoder would cut
otherwise is stored again in the copy, under new row numbers, behind all others.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mlret.data.documents import Document
from mlret.data.durable import fsync_folder
from mlret.encoders.encoder import Encoder
from mlret.encoders.multi_vector import AnyEncoder, load_any_encoder
from mlret.encoders.token_encoder import TokenEncoder
from mlret.errors import InputError, MlretError
from mlret.index.cutting import Cutter
from mlret.index.hits import IndexInfo
from mlret.index.ingest import encode_documents
from mlret.index.settings import check_settings
from mlret.index.sharding.merged_info import merged_info
from mlret.index.sharding.shards_manifest import (
    contents_of,
    gathered,
    has_shards,
    manifest_of,
    read_shards,
    shard_name,
    write_shards,
)
from mlret.index.storage.creation import start_over
from mlret.index.storage.lock import LOCK, WriterLock
from mlret.index.storage.manifest import FORMAT_VERSION, VECTORS, Manifest, read_manifest, write_manifest, written_of
from mlret.index.storage.passages import BYTES, Spans
from mlret.index.storage.records import RECORDS, Records
from mlret.index.storage.unread import Note, carry_notes, write_notes
from mlret.index.store import compaction
from mlret.index.store.new_folder import beside, check_name, check_vacant
from mlret.index.store.noting import notes_of
from mlret.index.store.store import Store
from mlret.index.store.stored_encoder import reference_of
from mlret.index.store.summary import summary_of

Progress = Callable[[int, int], None]
Compacting = Callable[[str, int, int], None]

_BATCH = 256
# Changes of the index while it is copied are caught up with this often.
_ROUNDS = 3
# A counter in the database of a copy that is not finished: the changes of the index that it was copied from.
_COPIED = "copied"
# Rows that are written into one segment before segments are merged, so that memory is bounded.
_SEALED = 2**14


def reembed_index(
    path: str | Path,
    output: str | Path,
    encoder: AnyEncoder | str | Path | None = None,
    *,
    progress: Progress | None = None,
    compacting: Compacting | None = None,
) -> IndexInfo:
    """Write a copy of an index with the vectors of another encoder, or of another version of its own.

    The old index is only read and can be used meanwhile. The new one has the same documents with their ids, languages
    and metadata, and the same settings. Documents that are longer than the new encoder reads are cut into passages, if
    the settings say so, also in a copy of an index that was built before there were passages. It appears at ``output``
    when it is complete; if the call is interrupted or killed, the same call resumes it after its last batch.

    Parameters
    ----------
    path
        The folder of the index.
    output
        The folder to create.
    encoder
        The new encoder, its folder or its hub id; ``None`` for the bundled one.
    progress
        Called after each batch with the number of texts that are encoded and their total number.
    compacting
        Called while the segments are built at the end; see :meth:`mlret.Index.compact`.

    Returns
    -------
    IndexInfo
        A summary of the new index.

    Raises
    ------
    InputError
        If ``path`` is no index, something exists at ``output`` already, the settings do not fit the encoder, or another
        copy was begun there.
    Locked
        If another process writes the same copy.

    Examples
    --------
    >>> from mlret.index.reembedding import reembed_index
    >>> info = reembed_index("news.index", "news-new.index", "my-encoder")
    >>> info.documents
    3
    """
    return reembed_folder(path, output, encoder, kind="index", progress=progress, compacting=compacting)


def reembed_folder(
    path: str | Path,
    output: str | Path,
    encoder: AnyEncoder | str | Path | None = None,
    *,
    kind: Literal["index", "memory"],
    progress: Progress | None = None,
    compacting: Compacting | None = None,
) -> IndexInfo:
    """Copy the folder of an index, or of a memory that is built on one; see :func:`reembed_index`.

    Parameters
    ----------
    path, output, encoder, progress, compacting
        As for :func:`reembed_index`.
    kind
        What the folder must hold. Tables of code that is built on the index are copied as they are.

    Returns
    -------
    IndexInfo
        A summary of the new folder.
    """
    path, output = Path(path), Path(output)
    manifest = manifest_of(path)
    if manifest.kind != kind:
        names = {
            "memory": f"a memory store: mlret memory reembed --store {path} -o {output}",
            "index": f"an index: mlret index reembed {path} -o {output}",
        }
        raise InputError(f"{path} is {names[manifest.kind]}")
    if output.resolve().is_relative_to(path.resolve()):
        raise InputError(f"{output} is in the folder {path} itself; name a folder elsewhere")
    check_name(output)
    check_vacant(output)
    model = encoder if isinstance(encoder, Encoder | TokenEncoder) else load_any_encoder(encoder)
    building = beside(output, "reembedding")
    if has_shards(path):
        info = _copy_shards(path, building, model, kind, progress, compacting)
    else:
        info = _copy_folder(path, building, model, progress, compacting)
    try:
        building.replace(output)
    except OSError as error:  # Another process has created the folder in the meantime.
        raise MlretError(f"{output} cannot be made ({error.strerror}); the copy is in {building}") from error
    fsync_folder(output.resolve().parent)
    return replace(info, path=str(output))


def _copy_shards(
    path: Path,
    building: Path,
    model: AnyEncoder,
    kind: Literal["index", "memory"],
    progress: Progress | None,
    compacting: Compacting | None,
) -> IndexInfo:
    """Copy each shard, and return a summary of all. Shards that were copied before are kept if they did not change."""
    shards = read_shards(path).shards
    building.mkdir(parents=True, exist_ok=True)
    total, before = sum(contents_of(path / info.folder).documents for info in shards), 0

    def report(done: int, _: int) -> None:
        if progress is not None:
            progress(before + done, total)

    infos = []
    for number, info in enumerate(shards):
        source, target = path / info.folder, building / shard_name(number)
        if target.exists():
            _check_begun(target, _manifest_with(read_manifest(source), model))
            old, new = contents_of(source), contents_of(target)
            if (old.documents, old.checksum) != (new.documents, new.checksum):
                shutil.rmtree(target)
        if not target.exists():
            reembed_folder(source, target, model, kind=kind, progress=report, compacting=compacting)
        with closing(Store(target)) as store:
            infos.append(summary_of(store))
        before += infos[-1].documents
    write_shards(building, gathered(building, len(shards)))
    return merged_info(building, infos)


def _copy_folder(
    path: Path, building: Path, model: AnyEncoder, progress: Progress | None, compacting: Compacting | None
) -> IndexInfo:
    """Copy an index that is not divided, and return a summary of it."""
    for _ in range(_ROUNDS):
        copied = _copy_records(path, building, model)
        with closing(Store(building)) as store:
            _encode(store, model, progress)
        if copied == _changes(path):
            break
    with closing(Store(building)) as store:
        _seal(store, compacting)
        return summary_of(store)


def _copy_records(path: Path, building: Path, encoder: AnyEncoder) -> int:
    """Bring the database of a copy to the present state of an index, with the vectors that were made for it before.

    Returns the number of changes that the index counted then.
    """
    with closing(Store(path)) as old:
        changes = old.changes
        wanted = _manifest_with(old.manifest, encoder)
        if building.exists():
            _check_begun(building, wanted)
            if _copied(building) == changes:
                return changes
        fresh = building.with_name(f"{building.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        building.parent.mkdir(parents=True, exist_ok=True)
        (fresh / VECTORS).mkdir(parents=True)
        with old.records.reporting(), closing(sqlite3.connect(fresh / RECORDS)) as new:
            old.records.connection.backup(new)
            new.execute("PRAGMA journal_mode = WAL")
    written = written_of(wanted)
    start_over(fresh / RECORDS, wanted.generation, written.text, {_COPIED: changes})
    write_manifest(fresh, written)
    if building.exists():
        with WriterLock(building / LOCK):
            _carry_over(building / RECORDS, fresh / RECORDS)
            shutil.rmtree(building)
    fresh.replace(building)
    return changes


def _manifest_with(manifest: Manifest, encoder: AnyEncoder) -> Manifest:
    """Return the manifest of an index without segments whose vectors are to be those of an encoder."""
    settings = manifest.settings
    check_settings(settings, encoder.similarity)
    if settings.dims is not None and settings.dims > encoder.dims:
        raise InputError(f"the index keeps {settings.dims} dimensions, but {encoder.name} gives {encoder.dims}")
    changed: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "encoder": reference_of(encoder),
        "fingerprint": encoder.fingerprint,
        "dims": settings.dims or encoder.dims,
        "similarity": encoder.similarity,
        "segments": (),
        "codec": None,
        "probing": None,
    }
    return manifest.model_copy(update=changed)


def _check_begun(building: Path, wanted: Manifest) -> None:
    """Raise if a copy that was begun is of another index, or with another encoder."""
    begun = read_manifest(building)
    if any(getattr(begun, name) != getattr(wanted, name) for name in ("identity", "fingerprint", "dims", "settings")):
        raise InputError(
            f"a copy of another index, or with another encoder, was begun in {building}: remove it to start again, or "
            "name another output"
        )


def _carry_over(begun: Path, fresh: Path) -> None:
    """Copy vectors of records that two databases share, with the same passages, and what was not read of them."""
    with closing(sqlite3.connect(fresh)) as connection:
        connection.execute("ATTACH ? AS begun", (str(begun),))
        old, new = _passages_in(connection, "begun"), _passages_in(connection, "main")
        shared = "begun.records AS old JOIN main.records AS new ON old.row = new.row AND old.crc = new.crc"
        with connection:
            connection.execute(
                f"INSERT INTO main.vectors SELECT v.* FROM {shared} JOIN begun.vectors AS v ON v.row = old.row "
                f"WHERE old.row NOT IN (SELECT row FROM {old}) AND old.row NOT IN (SELECT row FROM {new})"
            )
            connection.execute(
                f"INSERT INTO main.vectors SELECT v.* FROM {shared} JOIN {old} AS p ON p.row = old.row "
                f"JOIN {new} AS q ON q.row = p.row AND q.spans = p.spans "
                f"JOIN begun.vectors AS v ON v.row BETWEEN p.row AND p.row + length(p.spans) / {BYTES} - 1"
            )
            carry_notes(connection, "begun")


def _passages_in(connection: sqlite3.Connection, database: str) -> str:
    """Return the table of passages of an attached database; an empty one if it has none."""
    there = connection.execute(f"SELECT 1 FROM {database}.sqlite_master WHERE name = 'passages'").fetchone()
    return f"{database}.passages" if there else "(SELECT 0 AS row, x'' AS spans WHERE 0)"


def _changes(folder: Path) -> int:
    """Return the number of changes that the database of a folder counts."""
    with closing(Records(folder / RECORDS)) as records:
        return records.changes


def _copied(folder: Path) -> int:
    """Return the number of changes that the index counted when the database of a folder was copied from it."""
    with closing(Records(folder / RECORDS)) as records:
        return records.counter(_COPIED)


def _encode(store: Store, encoder: AnyEncoder, progress: Progress | None) -> None:
    """Encode the texts that have no vector yet."""
    with store.writing():
        # Rows are sealed only when all have vectors.
        missing = store.records.numbers(
            "SELECT row FROM records WHERE row > ? AND row NOT IN (SELECT row FROM vectors) ORDER BY row",
            (store.last_sealed_row,),
        )
        total = len(store)
        # The memory, which has rows of its own for the parts of long texts, refers to them by number.
        cutter = Cutter(encoder, store.manifest.settings) if store.manifest.kind == "index" else None
        for start in range(0, len(missing), _BATCH):
            rows = missing[start : start + _BATCH].tolist()
            _encode_some(store, encoder, cutter, store.records.fetch(rows))
            if progress is not None:
                progress(total - len(missing) + start + len(rows), total)
        if cutter is not None:
            cutter.report()


def _encode_some(store: Store, encoder: AnyEncoder, cutter: Cutter | None, documents: Mapping[int, Document]) -> None:
    """Encode documents under their rows, or under new ones if they are to be cut otherwise than they were."""
    before = store.records.passages.of(list(documents))
    found: Sequence[Spans] = [()] * len(documents)
    if cutter is not None:
        found = cutter.spans(list(documents.values()))
    spans = dict(zip(documents, found, strict=True))
    kept = [row for row in documents if list(spans[row]) == before.get(row, [])]
    for rows in (kept, [row for row in documents if list(spans[row]) != before.get(row, [])]):
        if not rows:
            continue
        some, cuts = [documents[row] for row in rows], [spans[row] for row in rows]
        pieces = some if cutter is None else cutter.pieces(some, cuts)
        vectors = encode_documents(encoder, store.space, pieces)
        notes: Sequence[Note | None] = ()
        if cutter is not None:
            read = zip(notes_of(encoder, some), cuts, strict=True)
            notes = [note and (note.of_passages() if cut else note) for note, cut in read]
        if rows is kept:
            with store.records.transaction() as connection:
                store.vectors.add(store.records.passages.expanded(np.array(rows, dtype=np.int64)).tolist(), vectors)
                write_notes(connection, rows, notes or [None] * len(rows))
        else:
            store.append(some, vectors, rows, notes=notes, spans=cuts)


def _seal(store: Store, compacting: Compacting | None) -> None:
    """Write all vectors into segments, with the accelerators of the settings."""
    with store.writing():
        rows = store.records.rows(store.last_sealed_row + 1, store.last_row)
        for last in rows[_SEALED - 1 :: _SEALED].tolist():
            compaction.seal(store, compacting, last=last)
        compaction.compact(store, compacting)
        with store.records.transaction():
            store.records.counters.drop(_COPIED)
