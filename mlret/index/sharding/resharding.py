"""Divides an index again: the same documents and vectors in another number of shards.

The new shards are written into the folder of the index, under names of their own. Until the new ``shards.json`` is
renamed into place the index is what it was; from then on it consists of the new shards, and the old ones are removed.
A call that was interrupted leaves folders that nothing names, which the next call removes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlret.data.documents import Document
from mlret.data.durable import fsync_folder
from mlret.errors import Corrupt, InputError
from mlret.index.sharding.codec_of_shards import share_codec
from mlret.index.sharding.placement import by_shard
from mlret.index.sharding.shards_manifest import (
    ShardsManifest,
    check_shards,
    contents_of,
    gathered,
    has_shards,
    manifest_of,
    read_shards,
    shard_name,
    write_shards,
)
from mlret.index.storage.lock import LOCK, WriterLock
from mlret.index.storage.manifest import MANIFEST, VECTORS, Manifest
from mlret.index.storage.passages import Spans
from mlret.index.storage.records import RECORDS
from mlret.index.storage.unread import Note, notes_on, write_notes
from mlret.index.store import compaction
from mlret.index.store.new_folder import create_folder
from mlret.index.store.store import Store
from mlret.index.tokens.codec import TokenCodec
from mlret.index.tokens.codec_training import Batch
from mlret.index.tokens.stored_tokens import CodedTokens
from mlret.index.tokens.token_segments import TokenSegment
from mlret.index.tokens.token_space import MaxSimSpace
from mlret.index.tokens.token_writing import TokenSealer, batches_of

Progress = Callable[[int, int], None]
_BATCH = 1024


class _Carried(NamedTuple):
    """Documents that belong to one shard, in ascending order of their rows."""

    rows: NDArray[np.int64]
    documents: list[Document]
    spans: list[Spans]
    notes: list[Note | None]


def reshard_index(path: str | Path, shards: int, *, progress: Progress | None = None) -> ShardsManifest:
    """Divide an index, divided or not, into a number of shards. Nothing is encoded: vectors are carried over.

    Parameters
    ----------
    path
        The folder of the index. Others may search it meanwhile, but not write to it.
    shards
        The number of shards.
    progress
        Called with the number of documents that are carried over, and their total number.

    Returns
    -------
    ShardsManifest
        The new manifest.

    Raises
    ------
    InputError
        If ``path`` is no index, or is a memory.
    Corrupt
        If a shard is missing or damaged; the index stays as it is.
    Locked
        If another process keeps writing.

    Examples
    --------
    >>> from mlret import Index
    >>> from mlret.index.sharding.resharding import reshard_index
    >>> index.close()
    >>> manifest = reshard_index("news.index", 2)
    >>> with Index.open("news.index") as index:
    ...     len(index), len(index.shards)
    (3, 2)
    """
    path = Path(path)
    check_shards(shards)
    manifest = manifest_of(path)
    if manifest.kind != "index":
        raise InputError(f"{path} is a memory, whose tenants stay where they are; only an index is divided again")
    with WriterLock(path / LOCK):
        before = read_shards(path) if has_shards(path) else None
        sources = [path] if before is None else [path / info.folder for info in before.shards]
        generation = 0 if before is None else before.generation + 1
        _remove_leftovers(path, before)
        with ExitStack() as stack:
            opened = [stack.enter_context(closing(Store(source))) for source in sources]
            targets = []
            for number in range(shards):
                create_folder(path / shard_name(number, generation), _empty(manifest))
                targets.append(stack.enter_context(closing(Store(path / shard_name(number, generation)))))
            share_codec(lambda: targets)
            _carry(opened, targets, progress)
            for target in targets:
                with target.writing():
                    compaction.compact(target)
        made = gathered(path, shards, generation=generation)
        made = made.model_copy(update={"identity": manifest.identity})
        _check_complete(path, sources, made)
        write_shards(path, made)
        _remove_old(path, before)
    return made


def _empty(manifest: Manifest) -> Manifest:
    """Return the manifest of an index with the same settings and without segments."""
    shared = ("kind", "encoder", "fingerprint", "dims", "similarity", "settings")
    return Manifest(**{name: getattr(manifest, name) for name in shared})


def _carry(sources: Sequence[Store], targets: Sequence[Store], progress: Progress | None) -> None:
    """Write all documents of the sources into the targets."""
    total, done = sum(map(len, sources)), 0

    def count(number: int) -> None:
        nonlocal done
        done += number
        if progress is not None:
            progress(done, total)

    codec = next((one.space.codec for one in sources if isinstance(one.space, MaxSimSpace) and one.space.codec), None)
    if codec is not None:
        for target in targets:
            with target.writing():
                target.switch((), {"codec": target.files.seal("codec.1.safetensors", codec.save)})
    # Sealed rows come first, because the rows of segments precede those that are in no segment.
    carried: list[NDArray[np.int64]] = []
    for source in sources:
        segments = [one for one in source.segments if isinstance(one, TokenSegment) and _copies(one, codec)]
        copied = [_carry_segment(source, one, targets, codec, count) for one in segments]
        carried.append(np.unique(np.concatenate([np.empty(0, dtype=np.int64), *copied])))
    for source, rows in zip(sources, carried, strict=True):
        _carry_vectors(source, rows, targets, count)


def _copies(segment: TokenSegment, codec: TokenCodec | None) -> bool:
    """Return whether the tokens of a segment can be copied as they are stored."""
    if segment.info is None or segment.torn:
        return False
    if segment.info.units is None:  # in float16
        return True
    return codec is not None and isinstance(segment.tokens, CodedTokens) and _same(segment.tokens.codec, codec)


def _same(one: TokenCodec, other: TokenCodec) -> bool:
    return len(one.centroids) == len(other.centroids) and one.generation(0, len(one.centroids)) == other.generation(
        0, len(other.centroids)
    )


def _carry_segment(
    source: Store,
    segment: TokenSegment,
    targets: Sequence[Store],
    codec: TokenCodec | None,
    count: Callable[[int], None],
) -> NDArray[np.int64]:
    """Copy the tokens of a segment, and the documents that are completely in it; return the rows of their records."""
    passages = source.records.passages
    alive = np.setdiff1d(segment.numbers, source.records.tombstones.read(), assume_unique=True)
    owners, sizes = np.unique(passages.owners(alive), return_counts=True)
    rows: NDArray[np.int64] = owners[passages.counts(owners) == sizes]
    coded = segment.info is not None and segment.info.units is not None
    for number, some in _by_shard(source, rows, len(targets)).items():
        target = targets[number]
        with target.writing():
            new = np.concatenate([_append(target, source, part, count) for part in _parts(some)])
            old = passages.expanded(some)
            mask = np.isin(segment.numbers, old)
            numbers = target.records.passages.expanded(new)
            sealer = target.sealer()
            assert isinstance(sealer, TokenSealer)
            sealer.codec = codec if coded else None
            lengths = np.diff(segment.tokens.offsets)[mask]
            first = target.manifest.last_sealed_row + 1
            info = sealer.write(first, int(numbers[-1]), lengths, _renumbered(segment, mask, numbers))
            assert info is not None
            target.switch([*target.manifest.segments, info])
    return rows


def _renumbered(segment: TokenSegment, mask: NDArray[np.bool_], numbers: NDArray[np.int64]) -> Iterator[Batch]:
    start = 0
    for batch in batches_of(segment, mask):
        yield replace(batch, numbers=numbers[start : start + len(batch.numbers)])
        start += len(batch.numbers)


def _append(target: Store, source: Store, rows: NDArray[np.int64], count: Callable[[int], None]) -> NDArray[np.int64]:
    """Store documents without their vectors, which are written to a segment; return their rows."""
    part = _read(source, rows.tolist())
    with target.records.transaction() as connection:
        new = target.records.append(part.documents, spans=part.spans if any(map(len, part.spans)) else ())
        if any(part.notes):
            write_notes(connection, new.tolist(), part.notes)
    count(len(part.documents))
    return new


def _carry_vectors(
    source: Store, copied: NDArray[np.int64], targets: Sequence[Store], count: Callable[[int], None]
) -> None:
    """Store the remaining documents with their vectors."""
    after, query = 0, "SELECT row FROM records WHERE row > ? ORDER BY row LIMIT ?"
    while len(page := source.records.numbers(query, (after, _BATCH * len(targets)))):
        after = int(page[-1])
        for number, rows in _by_shard(source, np.setdiff1d(page, copied), len(targets)).items():
            part = _read(source, rows.tolist())
            every = source.records.passages.expanded(rows).tolist()
            known = source.vectors_of(every)
            vectors: Any = source.space.joined([known[row] for row in every])
            with targets[number].writing():
                targets[number].append(part.documents, vectors, notes=part.notes, spans=part.spans)
                compaction.maintain(targets[number], more=True)
            count(len(part.documents))


def _read(source: Store, rows: Sequence[int]) -> _Carried:
    documents = source.records.fetch(rows)
    spans, notes = source.records.passages.of(rows), notes_on(source.records, rows)
    return _Carried(
        np.array(rows, dtype=np.int64),
        [documents[row] for row in rows],
        [spans.get(row, ()) for row in rows],
        [notes.get(row) for row in rows],
    )


def _by_shard(source: Store, rows: NDArray[np.int64], shards: int) -> dict[int, NDArray[np.int64]]:
    """Return the rows whose documents belong to each shard, in ascending order."""
    ids = source.records.ids(rows.tolist())
    places = by_shard([ids[row] for row in rows.tolist()], shards)
    return {number: rows[some] for number, some in places.items()}


def _parts(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]


def _check_complete(path: Path, sources: Sequence[Path], made: ShardsManifest) -> None:
    """Raise if the new shards do not hold the records of the old ones."""
    before = [contents_of(source) for source in sources]
    after = [info.contents for info in made.shards]
    for field in ("documents", "checksum"):
        old, new = (sum(getattr(one, field) for one in some) % 2**64 for some in (before, after))
        if old != new:
            raise Corrupt(
                f"{path}: the new shards would not hold what the index does ({field} {new}, not {old}); it is as it was"
            )


def _remove_leftovers(path: Path, before: ShardsManifest | None) -> None:
    """Remove the folders of shards that the manifest does not name."""
    for folder in leftovers(path, before):
        shutil.rmtree(folder)
    if before is not None:
        remove_undivided(path)


def _remove_old(path: Path, before: ShardsManifest | None) -> None:
    """Remove what the new manifest has replaced."""
    if before is not None:
        for info in before.shards:
            shutil.rmtree(path / info.folder, ignore_errors=True)
    else:
        remove_undivided(path)
    fsync_folder(path)


def remove_undivided(path: Path) -> None:
    """Remove the files of an index that was not divided."""
    for name in (MANIFEST, RECORDS, f"{RECORDS}-wal", f"{RECORDS}-shm"):
        with suppress(FileNotFoundError):
            (path / name).unlink()
    shutil.rmtree(path / VECTORS, ignore_errors=True)


def leftovers(path: Path, manifest: ShardsManifest | None) -> list[Path]:
    """Return the folders of shards that a manifest does not name, left by a call that was interrupted."""
    named = set() if manifest is None else {info.folder for info in manifest.shards}
    return sorted(folder for folder in path.glob("shard-*") if folder.is_dir() and folder.name not in named)
