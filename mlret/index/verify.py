"""Verifies every part of an index, and repairs what can be repaired."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.encoder import Encoder
from mlret.encoders.multi_vector import AnyEncoder, load_any_encoder
from mlret.encoders.token_encoder import TokenEncoder
from mlret.index.cutting import Cutter
from mlret.index.index import Index
from mlret.index.ingest import encode_documents
from mlret.index.sharding.shard_problems import is_divided, problems_of_shards, shards_of
from mlret.index.sqlite.database import read_only
from mlret.index.storage import damage
from mlret.index.storage.generations import gaps_between, upgrade
from mlret.index.storage.lock import LOCK, WriterLock
from mlret.index.storage.manifest import AnySegmentInfo, Manifest, read_manifest
from mlret.index.storage.manifest_repair import Found, check_manifest
from mlret.index.storage.problems import Problem
from mlret.index.storage.records import RECORDS, Records
from mlret.index.storage.sealed import SealedFiles, TornFileError
from mlret.index.storage.vector_table import VectorTable
from mlret.index.store.opening import space_of
from mlret.index.store.salvage import Salvage
from mlret.index.store.store import Store
from mlret.index.store.stored_encoder import encoder_of
from mlret.index.vectors.segments import Rows, map_array
from mlret.index.vectors.space import AnySealer, AnySpace, Joined
from mlret.wording import counted

__all__ = ["Problem", "verify_index"]

Say = Callable[[str], None]
_BATCH = 256


def verify_index(
    path: str | Path, encoder: AnyEncoder | str | Path | None = None, *, repair: bool = False, say: Say | None = None
) -> list[Problem]:
    """Check every file, record and vector of an index.

    Parameters
    ----------
    path
        The folder of the index.
    encoder
        Encodes texts again whose vectors are damaged. By default the encoder that the manifest names is loaded if
        needed.
    repair
        Rebuild what can be rebuilt: the manifest from its copy in the database, or the copy from the manifest; the list
        of removed rows, the counters, the filterable metadata and the lexical index from the records; vector files from
        their intact blocks, from what the database has of the others, and by encoding the texts of what is lost; and
        accelerators from the vectors. Documents whose passages are damaged are cut and encoded again. The records
        themselves exist only once, so damaged records are only reported. In an index that is divided, this is done in
        each shard, what an interrupted resharding left is removed, and the manifest of the shards is written again.
    say
        Called with the name of what is being checked.

    Returns
    -------
    list of Problem
        The problems; empty if the index is intact.

    Raises
    ------
    InputError
        If the folder is no index.
    MlretError
        If the database cannot be opened at all, another process keeps writing, or a read-only folder needs repair.
    """
    path, say = Path(path), say or (lambda _: None)
    if is_divided(path):
        return list(_shards(path, encoder, repair, say))
    return _folder(path, encoder, repair, say)


def _shards(path: Path, encoder: AnyEncoder | str | Path | None, repair: bool, say: Say) -> Iterator[Problem]:
    """Find the problems of an index that is divided: those of each shard, and then those of the whole."""
    found = shards_of(path)
    for folder in found.folders:

        def report(line: str, name: str = folder.name) -> None:
            say(f"{name}/{line}")

        for problem in _folder(folder, encoder, repair, report):
            yield replace(problem, file=f"{folder.name}/{problem.file}")
    yield from problems_of_shards(path, found, repair=repair)


def _folder(path: Path, encoder: AnyEncoder | str | Path | None, repair: bool, say: Say) -> list[Problem]:
    """Find the problems of an index that is not divided."""
    found = check_manifest(path, repair=repair)
    problems = list(found.problems)
    if any(not problem.repaired for problem in problems):
        return problems
    say(f"{RECORDS}: every page, record and vector")
    space = space_of(SealedFiles(path), found.manifest)
    lexical = found.manifest.settings.lexical
    with closing(Records(path / RECORDS, lexical=lexical, lenient=True)) as records:
        if not records.counters_damaged:
            upgrade(path, records)
        alone = [(info.first_row, info.last_row) for info in found.manifest.segments if space.stands_alone(info)]
        sealed = _sealed_rows(space.files, found.manifest)
        look = damage.damage_of(records, VectorTable(records, space.blobs), elsewhere=alone, sealed=sealed)
        problems += _database(path, records, look, found, repair)
    if look.passages:
        problems.append(
            Problem(RECORDS, f"the passages of {len(look.passages)} documents are damaged", repaired=repair)
        )
        if repair:
            say("cutting documents again")
            _cut_again(path, encoder, look.passages)
            return problems + _folder(path, encoder, True, say)
    if look.pages or any(not problem.repaired and problem.repairable for problem in problems):
        return problems
    if look.vectors:
        if repair:
            _vectors_again(path, found.manifest, encoder, look.vectors)
        problems.append(Problem(RECORDS, f"{counted(len(look.vectors), 'damaged vector')}", repaired=repair))
        if not repair:
            return problems  # Segments are compared with the vectors in the database.
    return problems + list(_segments(path, encoder, repair, say))


def _sealed_rows(files: SealedFiles, manifest: Manifest) -> NDArray[np.int64]:
    """Return the rows that have a vector in a segment whose list of rows is intact, in ascending order."""
    found = [np.empty(0, dtype=np.int64)]
    for info in manifest.segments:
        with suppress(TornFileError):
            found.append(map_array(files, info.numbers, (info.rows,), np.int64))
    return np.concatenate(found)


def _database(path: Path, records: Records, look: damage.Damage, found: Found, repair: bool) -> Iterator[Problem]:
    """Find the problems of the database except for its vectors, and repair each as it is found."""
    yield from (Problem(RECORDS, line, repairable=False) for line in look.pages)
    if look.pages:
        return
    lost = records.counter("changes") < found.noted
    broken = [look.fields, look.lexical, look.counters, look.orphans, look.tombstones, look.removed, look.strays, lost]
    if repair and any(broken) and not records.writable:
        raise read_only(path / RECORDS)
    yield from (Problem(RECORDS, f"the record {id!r} is damaged", repairable=False) for _, id in look.records)
    if look.tombstones or look.removed or look.counters or look.strays or lost:
        yield from _counts(path, records, look, found, repair, lost=lost)
    if look.orphans:
        if repair:
            damage.drop_orphans(records, look.orphans)
        yield Problem(RECORDS, f"{len(look.orphans)} vectors belong to no record", repaired=repair)
    if look.fields:
        if repair:
            damage.rebuild_fields(records)
        yield Problem(RECORDS, "filterable metadata differ from the records", repaired=repair)
    if look.lexical:
        if repair:
            damage.rebuild_lexical(records)
        yield Problem(RECORDS, "the lexical index differs from the records", repaired=repair)


def _counts(
    path: Path, records: Records, look: damage.Damage, found: Found, repair: bool, *, lost: bool
) -> Iterator[Problem]:
    """Find the problems of the list of removed rows and of the counters, which are repaired together."""
    if repair:
        with WriterLock(path / LOCK):
            records.snapshot()
            kept = np.setdiff1d(records.tombstones.read(checked=False), records.rows(1, records.last_row()))
            kept = kept[(kept > 0) & (kept <= records.last_row())]
            damage.recount(records, np.union1d(kept, look.strays).astype(np.int64), found.noted)
    if look.tombstones:
        what = f"{len(look.tombstones)} records are listed as removed, so that searches do not find them"
        yield Problem(RECORDS, what, repaired=repair)
    elif look.removed:
        yield Problem(RECORDS, "its list of removed rows is not what was written", repaired=repair)
    if look.counters:
        yield Problem(RECORDS, "its counters differ from the records", repaired=repair)
    if lost:
        what = f"its last changes are lost: it counts {records.counter('changes')}, and {found.noted} were made"
        yield Problem(RECORDS, f"{what}; repairing continues without them", repaired=repair)


def _segments(path: Path, encoder: AnyEncoder | str | Path | None, repair: bool, say: Say) -> Iterator[Problem]:
    """Find the problems of the sealed files by comparing each with the database."""
    manifest = read_manifest(path)
    space = space_of(SealedFiles(path), manifest)
    torn: set[str] = set()  # The main files of segments that must be rebuilt.
    lost: list[int] = []  # The rows whose vectors are neither in an intact block nor in the database.
    with closing(Records(path / RECORDS, lexical=manifest.settings.lexical)) as records:
        table = VectorTable(records, space.blobs)
        tombstones = records.tombstones.read()
        try:
            space.load(manifest)
        except TornFileError as error:
            assert manifest.codec is not None
            yield Problem(manifest.codec.file, str(error), repaired=repair)
        for info in manifest.segments:
            say(info.main.file)
            try:
                segment = space.open(info, thorough=True)
                there = records.rows(info.first_row, info.last_row)
                if problem := _unaccounted(path, records, segment, there, tombstones, repair):
                    yield problem
                    tombstones = records.tombstones.read()
                    there = records.rows(info.first_row, info.last_row)
                _compare(space, table, segment, there, tombstones)
            except TornFileError as error:
                torn.add(info.main.file)
                lost += Salvage(space, records, table, info).lost()
                yield Problem(info.main.file, str(error), repaired=repair)
                continue
            try:
                space.open_accelerator(segment, thorough=True)
            except TornFileError as error:
                torn.add(info.main.file)
                yield Problem(info.main.file, str(error), repaired=repair)
        uncovered = _uncovered(table, manifest)
        if uncovered:
            rows = [row for part in uncovered for row in records.rows(*part).tolist()]
            lost += sorted(set(rows) - set(table.of(rows)))
            yield Problem(RECORDS, f"the rows {uncovered} are in no vector file", repaired=repair)
        if repair and lost:
            say("encoding texts whose vectors are lost")
            _encode_again(path, manifest, records, table, encoder, lost)
    if (torn or uncovered) and repair:
        say("rebuilding damaged files")
        with Index.open(path, kind=manifest.kind) as index:
            _build_again(index, [info for info in manifest.segments if info.main.file in torn], uncovered)


def _unaccounted(
    path: Path,
    records: Records,
    segment: Rows,
    there: NDArray[np.int64],
    tombstones: NDArray[np.int64],
    repair: bool,
) -> Problem | None:
    """Report rows of a segment that have neither a record nor an entry in the list of removed rows."""
    odd = segment.numbers[~np.isin(segment.numbers, there) & ~np.isin(segment.numbers, tombstones)]
    if not len(odd):
        return None
    if repair:
        if not records.writable:
            raise read_only(path / RECORDS)
        with WriterLock(path / LOCK):
            records.snapshot()
            dead = np.union1d(records.tombstones.read(), odd)
            damage.recount(records, dead, records.counter("changes"))
    what = f"{len(odd)} vectors have neither a record nor a note that it was removed"
    return Problem(segment.info.main.file, f"{what}; repairing skips them", repaired=repair)


def _uncovered(table: VectorTable[Joined], manifest: Manifest) -> list[tuple[int, int]]:
    """Return the ranges of rows up to the last sealed one that have records but no segment."""
    covered = [(info.first_row, info.last_row) for info in manifest.segments]
    return [part for part in gaps_between(covered, manifest.last_sealed_row) if table.count(*part)]


def _compare(
    space: AnySpace,
    table: VectorTable[Joined],
    segment: Rows,
    there: NDArray[np.int64],
    tombstones: NDArray[np.int64],
) -> None:
    """Raise if a segment does not hold the vectors of the database, apart from those deleted since."""
    info = segment.info
    alive = np.setdiff1d(segment.numbers, tombstones, assume_unique=True)
    if not np.array_equal(alive, there):
        raise TornFileError(f"{info.main.file} has {len(alive)} vectors of {len(there)} records")
    if not space.stands_alone(info):
        for rows, vectors in table.batches(info.first_row, info.last_row):
            sealed = space.taken_out(segment, segment.positions_of(rows))
            if not np.array_equal(np.asarray(sealed), np.asarray(vectors)):
                raise TornFileError(f"{info.main.file} does not hold the vectors of the records")


def _encode_again(
    path: Path,
    manifest: Manifest,
    records: Records,
    table: VectorTable[Joined],
    encoder: AnyEncoder | str | Path | None,
    rows: Sequence[int],
) -> None:
    """Encode the texts of some rows again, and put their vectors back into the database."""
    space = space_of(SealedFiles(path), manifest)
    if encoder is None:
        encoder = encoder_of(path, manifest)
    loaded = encoder if isinstance(encoder, Encoder | TokenEncoder) else load_any_encoder(encoder)
    for start in range(0, len(rows), _BATCH):
        some = rows[start : start + _BATCH]
        vectors = _encoded(space, records, loaded, manifest, some)
        with records.transaction():
            table.add(some, vectors)


def _vectors_again(path: Path, manifest: Manifest, encoder: AnyEncoder | str | Path | None, rows: list[int]) -> None:
    """Replace damaged vectors of the database by those of a segment, or by encoding their texts again."""
    space = space_of(SealedFiles(path), manifest)
    with closing(Records(path / RECORDS)) as records, WriterLock(path / LOCK):
        records.snapshot()
        table = VectorTable(records, space.blobs)
        found = _sealed_vectors(space, manifest, np.array(rows, dtype=np.int64))
        with records.transaction():
            table.add(found, found.values())
        if lost := [row for row in rows if row not in found]:
            _encode_again(path, manifest, records, table, encoder, lost)


def _sealed_vectors(space: AnySpace, manifest: Manifest, rows: NDArray[np.int64]) -> dict[int, NDArray[Any]]:
    """Return the vectors of those rows that are in intact segments."""
    found: dict[int, NDArray[Any]] = {}
    with suppress(TornFileError):
        space.load(manifest)
    for info in manifest.segments:
        with suppress(TornFileError):
            segment = space.open(info)
            positions = segment.positions_of(rows)
            found |= dict(zip(segment.numbers[positions].tolist(), space.taken_out(segment, positions), strict=True))
    return found


def _encoded(space: AnySpace, records: Records, encoder: AnyEncoder, manifest: Manifest, rows: Sequence[int]) -> Joined:
    """Encode again what the vectors of some rows stand for: documents, or passages of them."""
    cutter = Cutter(encoder, manifest.settings)
    owners = records.passages.owners(np.array(rows, dtype=np.int64)).tolist()
    documents, cut = records.fetch(sorted(set(owners))), records.passages.of(owners)
    spans = [[cut[owner][row - owner]] if owner in cut else () for row, owner in zip(rows, owners, strict=True)]
    return encode_documents(encoder, space, cutter.pieces([documents[owner] for owner in owners], spans))


def _cut_again(path: Path, encoder: AnyEncoder | str | Path | None, rows: list[int]) -> None:
    """Store documents again whose passages are damaged."""
    with Index.open(path, encoder, kind=read_manifest(path).kind) as index:
        store, cutter = index.store, Cutter(index.encoder, index.store.manifest.settings)
        with store.writing():
            stored = store.records.fetch(rows)
            documents = list(stored.values())
            spans = cutter.spans(documents)
            vectors = encode_documents(index.encoder, store.space, cutter.pieces(documents, spans))
            store.records.passages.forget(list(stored))
            store.append(documents, vectors, list(stored), spans=spans)


def _build_again(index: Index, torn: Sequence[AnySegmentInfo], uncovered: Sequence[tuple[int, int]]) -> None:
    """Rewrite damaged segments with their accelerators, and seal rows that no segment covers."""
    store: Store = index.store
    before = {(info.first_row, info.last_row): info for info in torn}
    with store.writing():
        sealer = store.sealer()
        infos: list[AnySegmentInfo | None] = [sealer.from_records(*part) for part in uncovered]
        for info in store.manifest.segments:
            fresh: AnySegmentInfo | None = info
            old = before.get((info.first_row, info.last_row))
            if old is not None:
                # It may have been rewritten when the index was opened, without its accelerator.
                fresh = _sealed_again(store, sealer, info) if info == old else info
                if fresh is not None and old.why:
                    fresh = sealer.accelerate(fresh, store.space.choose(fresh.size))
            infos.append(fresh)
        found = sorted((info for info in infos if info is not None), key=lambda info: info.first_row)
        store.switch(found, sealer.changes)


def _sealed_again(store: Store, sealer: AnySealer, info: AnySegmentInfo) -> AnySegmentInfo | None:
    """Seal the rows of a segment again: from what was salvaged, from the database, or from the segment itself.

    In the last case only the accelerator of the segment is damaged.
    """
    segment = next(segment for segment in store.segments if segment.info == info)
    if segment.torn:
        return sealer.rewrite(segment)
    if not store.space.stands_alone(info):
        return sealer.from_records(info.first_row, info.last_row)
    # Leave removed rows out, because nothing records their removal any more once there is a new segment.
    return sealer.merge([segment], store.records.tombstones.read())
