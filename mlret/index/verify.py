"""Is an index whole? Look at everything, and mend what can be mended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.encoder import Encoder
from mlret.errors import InputError
from mlret.index import compaction
from mlret.index.index import Index
from mlret.index.intake import cut
from mlret.index.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from mlret.index.records import RECORDS, Records
from mlret.index.sealed import SealedFiles, TornFileError
from mlret.index.segments import Segment, open_accelerator, open_segment
from mlret.index.store import Store

Say = Callable[[str], None]
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it was written: where, what, and whether it was mended, or could be."""

    file: str
    what: str
    mended: bool = False
    mendable: bool = True


def verify_index(
    path: str | Path, encoder: Encoder | str | Path | None = None, *, repair: bool = False, say: Say | None = None
) -> list[Problem]:
    """Check every file of an index, every record and every vector.

    Parameters
    ----------
    path
        The folder.
    encoder
        Encodes texts anew whose vectors are damaged; by default the one that the manifest names, loaded if needed.
    repair
        Mend what can be: the manifest, vector files and accelerators from the database, damaged vectors from their
        texts. The records themselves exist once: those that are damaged are named.
    say
        Called with what is being looked at.

    Returns
    -------
    list of Problem
        Empty if the index is whole.

    Raises
    ------
    InputError
        If the folder is no index.
    MlretError
        If the database cannot be opened at all, or another process keeps writing.
    """
    path, say = Path(path), say or (lambda _: None)
    problems: list[Problem] = []
    try:
        manifest = read_manifest(path)
    except InputError as error:
        copy = Records.read_manifest(path / RECORDS)
        if copy is None:
            raise
        problems.append(Problem(MANIFEST, str(error), mended=repair))
        if not repair:
            return problems
        manifest = _manifest_again(path, copy)
    say(f"{RECORDS}: every page, record and vector")
    records = Records(path / RECORDS, manifest.dims, lexical=manifest.settings.lexical)
    try:
        damage = records.damage()
        problems += [Problem(RECORDS, line, mendable=False) for line in damage.pages]
        problems += [Problem(RECORDS, f"the record {id!r} is damaged", mendable=False) for _, id in damage.records]
        if damage.fields or damage.counter:
            if repair:
                records.rebuild_fields()
            problems.append(Problem(RECORDS, "metadata to filter by is not what the records say", mended=repair))
        if damage.lexical:
            if repair and not damage.records:
                records.rebuild_lexical()
            what = "the lexical index is not what the records say"
            problems.append(Problem(RECORDS, what, mended=repair and not damage.records))
    finally:
        records.close()
    if damage.pages:
        return problems
    if damage.vectors:
        if repair:
            _vectors_again(path, encoder, damage.vectors)
        problems.append(Problem(RECORDS, f"{len(damage.vectors)} vectors are damaged", mended=repair))
        if not repair:
            return problems  # segments are compared with the vectors that are here
    return problems + list(_segments(path, repair, say))


def _segments(path: Path, repair: bool, say: Say) -> Iterator[Problem]:
    """The problems of the sealed files, each compared with the database."""
    manifest, files = read_manifest(path), SealedFiles(path)
    records = Records(path / RECORDS, manifest.dims)
    torn: set[str] = set()
    try:
        tombstones = records.tombstones()
        for info in manifest.segments:
            say(info.vectors.file)
            try:
                segment = open_segment(files, info, manifest.dims, thorough=True)
                _compare(records, segment, tombstones)
            except TornFileError as error:
                torn.add(info.vectors.file)
                yield Problem(info.vectors.file, str(error), mended=repair)
                continue
            try:
                if info.accelerator is not None:
                    files.check(info.accelerator, thorough=True)
                    open_accelerator(files, segment, manifest.settings)
            except TornFileError as error:
                torn.add(info.vectors.file)
                yield Problem(info.accelerator.file if info.accelerator else "", str(error), mended=repair)
    finally:
        records.close()
    if torn and repair:
        say("building again what was torn")
        with Index.open(path) as index:
            _build_again(index, torn)


def _compare(records: Records, segment: Segment, tombstones: NDArray[np.int64]) -> None:
    """Fail where a segment does not hold the vectors of the database, and of those that were deleted since."""
    info = segment.info
    assert info is not None
    alive = np.setdiff1d(segment.numbers, tombstones, assume_unique=True)
    count = 0
    for rows, vectors in records.vectors(info.first_row, info.last_row):
        positions = segment.positions_of(rows)
        if len(positions) != len(rows) or not np.array_equal(segment.matrix[positions], vectors):
            raise TornFileError(f"{info.vectors.file} does not hold the vectors of the records")
        count += len(rows)
    if count != len(alive):
        raise TornFileError(f"{info.vectors.file} has {len(alive)} vectors of {count} records")


def _manifest_again(path: Path, copy: str) -> Manifest:
    """Write the manifest from its copy: without segments, which are sealed again from the records."""
    manifest = Manifest.model_validate_json(copy)
    records = Records(path / RECORDS, manifest.dims)
    try:
        generation = records.counter("generation") + 1
    finally:
        records.close()
    manifest = manifest.model_copy(update={"generation": generation, "segments": ()})
    write_manifest(path, manifest)
    with Index.open(path) as index:
        index.seal()
    return read_manifest(path)


def _vectors_again(path: Path, encoder: Encoder | str | Path | None, rows: list[int]) -> None:
    """Give records whose vectors are damaged those of their sealed segment, or encode their texts anew."""
    with Index.open(path, encoder) as index:
        store = index.store
        with store.writing():
            for start in range(0, len(rows), _BATCH):
                found = _sealed_vectors(store, np.array(rows[start : start + _BATCH]))
                lost = store.records.fetch([row for row in rows[start : start + _BATCH] if row not in found])
                if lost:
                    texts, languages = zip(*((d.text, d.language) for d in lost.values()), strict=True)
                    vectors = index.encoder.encode(list(texts), language=list(languages))
                    found |= dict(zip(lost, cut(vectors, store.manifest.dims), strict=True))
                with store.records.transaction():
                    store.records.replace_vectors(list(found), list(found.values()))


def _sealed_vectors(store: Store, rows: NDArray[np.int64]) -> dict[int, NDArray[np.float32]]:
    found: dict[int, NDArray[np.float32]] = {}
    for segment in store.segments:
        if not segment.torn:
            positions = segment.positions_of(rows)
            found |= dict(zip(segment.numbers[positions].tolist(), segment.matrix[positions], strict=True))
    return found


def _build_again(index: Index, torn: set[str]) -> None:
    store: Store = index.store
    with store.writing():
        sealer, infos = store.sealer(), []
        for info in store.manifest.segments:
            fresh = info
            if info.vectors.file in torn:
                found = sealer.from_records(info.first_row, info.last_row)
                if found is None:
                    continue
                fresh = found
                if info.accelerator is not None:
                    fresh = sealer.accelerate(found, compaction.choose(store, found.rows))
            infos.append(fresh)
        store.switch(infos)
