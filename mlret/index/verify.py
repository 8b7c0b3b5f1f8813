"""Is an index whole? Look at everything, and mend what can be mended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.encoder import Encoder
from mlret.encoders.multi_vector import AnyEncoder, TokenEncoder, load_any_encoder
from mlret.errors import InputError
from mlret.index.index import Index, encoder_of
from mlret.index.manifest import MANIFEST, AnySegmentInfo, Manifest, read_manifest, write_manifest
from mlret.index.records import RECORDS, Records
from mlret.index.sealed import SealedFiles, TornFileError
from mlret.index.segments import Rows
from mlret.index.space import Sealer, Space
from mlret.index.store import Store, space_of

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
    path: str | Path, encoder: AnyEncoder | str | Path | None = None, *, repair: bool = False, say: Say | None = None
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
        texts, as well as token files, which the database has no copy of. The records themselves exist once: those that
        are damaged are named.
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
    space = space_of(SealedFiles(path), manifest)
    records = Records(path / RECORDS, space.blobs, lexical=manifest.settings.lexical)
    try:
        damage = records.damage(first_vector=1 if space.keeps_vectors else manifest.last_sealed_row + 1)
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
    return problems + list(_segments(path, encoder, repair, say))


def _segments(path: Path, encoder: AnyEncoder | str | Path | None, repair: bool, say: Say) -> Iterator[Problem]:
    """The problems of the sealed files, each compared with the database."""
    manifest = read_manifest(path)
    space = space_of(SealedFiles(path), manifest)
    records = Records(path / RECORDS, space.blobs)
    torn: set[str] = set()  # the main files of segments that are to be built again
    lost: list[AnySegmentInfo] = []  # those of which the database has no vectors
    try:
        tombstones = records.tombstones()
        try:
            space.load(manifest)
        except TornFileError as error:
            assert manifest.codec is not None
            yield Problem(manifest.codec.file, str(error), mended=repair)
        for info in manifest.segments:
            say(info.main.file)
            try:
                segment = space.open(info, thorough=True)
                _compare(space, records, segment, tombstones)
            except TornFileError as error:
                torn.add(info.main.file)
                lost += [] if space.keeps_vectors else [info]
                yield Problem(info.main.file, str(error), mended=repair)
                continue
            try:
                space.open_accelerator(segment, thorough=True)
            except TornFileError as error:
                torn.add(info.main.file)
                yield Problem(info.main.file, str(error), mended=repair)
        if repair and lost:
            say("encoding texts whose vectors are lost")
            _encode_again(path, manifest, records, encoder, lost)
    finally:
        records.close()
    if torn and repair:
        say("building again what was torn")
        with Index.open(path, kind=manifest.kind) as index:
            _build_again(index, torn)


def _compare(space: Space, records: Records, segment: Rows, tombstones: NDArray[np.int64]) -> None:
    """Fail where a segment does not hold the vectors of the database, and of those that were deleted since."""
    info = segment.info
    alive = np.setdiff1d(segment.numbers, tombstones, assume_unique=True)
    there = records.rows(info.first_row, info.last_row)
    if not np.array_equal(alive, there):
        raise TornFileError(f"{info.main.file} has {len(alive)} vectors of {len(there)} records")
    if space.keeps_vectors:
        for rows, vectors in records.vectors(info.first_row, info.last_row):
            sealed: Any = space.taken_out(segment, segment.positions_of(rows))
            if not np.array_equal(sealed, vectors):
                raise TornFileError(f"{info.main.file} does not hold the vectors of the records")


def _encode_again(
    path: Path,
    manifest: Manifest,
    records: Records,
    encoder: AnyEncoder | str | Path | None,
    segments: Sequence[AnySegmentInfo],
) -> None:
    """Put the vectors of records back into the database, from their texts."""
    space = space_of(SealedFiles(path), manifest)
    if encoder is None:
        encoder = encoder_of(path, manifest)
    loaded = encoder if isinstance(encoder, Encoder | TokenEncoder) else load_any_encoder(encoder)
    for info in segments:
        rows = records.rows(info.first_row, info.last_row).tolist()
        for start in range(0, len(rows), _BATCH):
            documents = records.fetch(rows[start : start + _BATCH])
            texts, languages = zip(*((d.text, d.language) for d in documents.values()), strict=True)
            vectors = space.prepared(loaded.encode_document(list(texts), language=list(languages)))
            with records.transaction():
                records.replace_vectors(list(documents), vectors)


def _manifest_again(path: Path, copy: str) -> Manifest:
    """Write the manifest from its copy, which is that of the last change of segments or of the one before."""
    manifest = Manifest.model_validate_json(copy)
    write_manifest(path, manifest)
    return manifest


def _vectors_again(path: Path, encoder: AnyEncoder | str | Path | None, rows: list[int]) -> None:
    """Give records whose vectors are damaged those of their sealed segment, or encode their texts anew."""
    with Index.open(path, encoder, kind=read_manifest(path).kind) as index:
        store = index.store
        with store.writing():
            for start in range(0, len(rows), _BATCH):
                found = store.sealed_vectors(rows[start : start + _BATCH])
                lost = store.records.fetch([row for row in rows[start : start + _BATCH] if row not in found])
                if lost:
                    texts, languages = zip(*((d.text, d.language) for d in lost.values()), strict=True)
                    vectors = index.encoder.encode_document(list(texts), language=list(languages))
                    found |= dict(zip(lost, store.space.prepared(vectors), strict=True))
                with store.records.transaction():
                    store.records.replace_vectors(list(found), list(found.values()))


def _build_again(index: Index, torn: set[str]) -> None:
    store: Store = index.store
    with store.writing():
        sealer, infos = store.sealer(), []
        for info in store.manifest.segments:
            fresh: AnySegmentInfo | None = info
            if info.main.file in torn:
                fresh = _sealed_again(store, sealer, info)
                if fresh is not None and info.why:
                    fresh = sealer.accelerate(fresh, store.space.choose(fresh.size))
            infos += [fresh] if fresh is not None else []
        store.switch(infos, sealer.changes)


def _sealed_again(store: Store, sealer: Sealer, info: AnySegmentInfo) -> AnySegmentInfo | None:
    """From the database where it has the vectors, else from the segment, of which only the accelerator is torn then."""
    segment = next(segment for segment in store.segments if segment.info == info)
    if store.space.keeps_vectors or segment.torn:
        return sealer.from_records(info.first_row, info.last_row)
    return sealer.rewrite(segment)
