"""Compaction: keeps segments few, large and free of deleted rows."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mlret.index.settings import Choice
from mlret.index.sqlite.pages import See
from mlret.index.storage.manifest import FORMAT_VERSION, AnySegmentInfo
from mlret.index.store.store import Store
from mlret.index.vectors.segments import Rows
from mlret.index.vectors.space import Part

# This many segments of about one size are merged, so that a row is copied once for each size and not once for each
# segment.
_MERGED = 8
# A segment is rewritten when this share of its rows is deleted.
_DEAD = 0.25


def maintain(store: Store, *, more: bool = False, seals: bool = True) -> None:
    """Do what is needed after a write: seal a long tail, merge small segments, remove deleted rows.

    Call it within ``writing``. No accelerator is built here, unless deletions require an accelerated segment to be
    rewritten. A write therefore takes time in proportion to what it writes, and a row is copied logarithmically often.

    Parameters
    ----------
    store
        The store of the index.
    more
        Whether more will be written at once; the tail may then be longer.
    seals
        Whether a long tail is sealed; not in a shard that is sealed together with the others.
    """
    if seals and store.tail_size() >= (store.space.bulk_size if more else store.space.segment_size):
        seal(store)
    worn = [segment for segment in store.segments if store.dead_in(segment) > _DEAD * len(segment)]
    if worn:
        _replace(store, [([segment], segment.kind != "flat") for segment in worn])
    while len(run := store.segments[-_MERGED:]) == _MERGED and _alike(store, run):
        _replace(store, [(run, False)])


def seal(store: Store, progress: Callable[[str, int, int], None] | None = None, *, last: int | None = None) -> None:
    """Write the vectors that are only in the database to a segment. Call it within ``writing``.

    Parameters
    ----------
    store
        The store of the index.
    progress
        Called with the name of the current step, the number of vectors that are done, and their total number.
    last
        The last row to write; by default the last one that there is.
    """
    sealer = store.sealer()
    sealer.progress = progress
    info = sealer.from_records(store.manifest.last_sealed_row + 1, store.last_row if last is None else last)
    if info is not None:
        store.switch([*store.manifest.segments, info], sealer.changes)


def purge(
    store: Store,
    rows: NDArray[np.int64],
    *,
    thorough: bool = False,
    indexed: bool = True,
    see: See | None = None,
    overlap: int = 0,
) -> bool:
    """Remove all traces of deleted rows from disk.

    The segments that hold some of the rows are rewritten, and the write-ahead log is emptied. Call it within
    ``writing``.

    Parameters
    ----------
    store
        The store of the index.
    rows
        The numbers of the deleted rows.
    thorough
        Look for copies that SQLite left when it moved rows between pages, and rewrite the database if there are any.
    indexed
        Whether any data of the rows was in an index or in a table without row numbers, as metadata is.
    see, overlap
        As for :func:`mlret.index.sqlite.pages.holds_traces`, which reads the database if ``thorough`` is set.

    Returns
    -------
    bool
        Whether the log is empty; it is not while another process reads an older state.
    """
    held = [segment for segment in store.segments if len(segment.positions_of(rows))]
    if held:
        _replace(store, [([segment], segment.kind != "flat") for segment in held])
    if not store.records.shrink(rewrite=False):
        return False
    if not thorough or not store.records.traces(indexes=indexed, see=see, overlap=overlap):
        return True
    return store.records.shrink()


def compact(store: Store, progress: Callable[[str, int, int], None] | None = None) -> list[Choice]:
    """Merge all segments into as few as possible, without deleted rows, with the accelerators of the settings.

    Segments that are in this state already are kept. Call it within ``writing``.

    Parameters
    ----------
    store
        The store of the index.
    progress
        Called with the name of the current step, the number of vectors that are done, and their total number.

    Returns
    -------
    list of Choice
        The kind of each segment, and why it was chosen.
    """
    seal(store, progress)
    for group in _groups(store):
        if len(group) > 1 or store.dead_in(group[0]):
            _replace(store, [(group, store.space.extends(group[0]))], progress)
    _bring_up_to_date(store, progress)
    choices = []
    for segment in list(store.segments):
        choice = store.space.kept(segment, segment.size)
        choices.append(choice)
        if segment.kind != choice.kind or store.space.outdated(segment):
            sealer = store.sealer()
            sealer.progress = progress
            info = sealer.accelerate(segment.info, choice, sealer.counting(f"building {choice.kind}", segment.size))
            store.switch([info if old == segment.info else old for old in store.manifest.segments], sealer.changes)
    if not store.records.fields.numbered:
        if store.manifest.format_version < FORMAT_VERSION:  # Earlier versions of mlret refuse the folder first.
            store.switch(store.manifest.segments)
        with store.records.transaction():
            store.records.fields.number_names()
    changes = store.space.calibrated(store.segments)
    if changes or store.has_sealed_vectors():
        store.switch(store.manifest.segments, changes)
    store.records.shrink()
    return choices


def _bring_up_to_date(store: Store, progress: Callable[[str, int, int], None] | None) -> None:
    """Bring segments of earlier formats to the present one; the database then drops the vectors that are in them."""
    sealer, infos, done = store.sealer(), [], 0
    sealer.progress = progress
    report = sealer.counting("bringing segments up to date", sum(segment.size for segment in store.segments))
    for segment in store.segments:
        info = sealer.rewrite(segment) if segment.torn else sealer.brought_up_to_date(segment.info)
        infos.append(info)
        done += segment.size
        if report is not None and info is not segment.info:
            report(done)
    if any(info is not segment.info for info, segment in zip(infos, store.segments, strict=True)):
        store.switch([info for info in infos if info is not None], sealer.changes)


def is_due(store: Store) -> bool:
    """Return whether enough vectors are outside any accelerator to make compaction worthwhile."""
    parts, tail = [], store.tail_size()
    for group in _groups(store):
        sizes = [_alive(store, segment) for segment in group]
        plain = sum(size for size, segment in zip(sizes, group, strict=True) if segment.kind == "flat")
        parts.append(Part(plain, sum(sizes), store.space.extends(group[0])))
    if parts and parts[-1].size + tail <= store.space.largest_segment:
        plain, size, extends = parts.pop()
        parts.append(Part(plain + tail, size + tail, extends))
    elif tail:
        parts.append(Part(tail, tail, False))
    return store.space.is_due(parts)


def _replace(
    store: Store,
    groups: list[tuple[list[Rows], bool]],
    progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """Rewrite each group of neighbouring segments as one segment, with an accelerator if the group's flag is set.

    What the manifest lists stays as it is until the new segments are complete with their accelerators.
    """
    sealer = store.sealer()
    sealer.progress = progress
    dead = store.records.tombstones.read()
    infos: dict[int, AnySegmentInfo | None] = {}
    for group, accelerated in groups:
        info = sealer.merge(group, dead)
        if info is not None and accelerated:
            choice = store.space.kept(group[0], info.size)
            info = sealer.extend(info, group[0], choice, sealer.counting(f"building {choice.kind}", info.size))
        infos |= {segment.info.first_row: None for segment in group} | {group[0].info.first_row: info}
    found = [infos.get(old.first_row, old) for old in store.manifest.segments]
    store.switch([info for info in found if info is not None], sealer.changes)


def _alike(store: Store, segments: list[Rows]) -> bool:
    """Return whether segments are of one size class, have no accelerator, and together stay within the largest size."""
    space = store.space
    classes = {int(math.log(max(1, segment.size / space.segment_size), _MERGED) + 1e-9) for segment in segments}
    plain = all(segment.kind == "flat" for segment in segments)
    return len(classes) == 1 and plain and sum(segment.size for segment in segments) <= space.largest_segment


def _groups(store: Store) -> list[list[Rows]]:
    """Group neighbouring segments that fit into one segment each, in a single greedy pass from the first one."""
    groups: list[list[Rows]] = []
    size = 0
    for segment in store.segments:
        alive = _alive(store, segment)
        if groups and size + alive <= store.space.largest_segment:
            groups[-1].append(segment)
            size += alive
        else:
            groups.append([segment])
            size = alive
    return groups


def _alive(store: Store, segment: Rows) -> int:
    """Return about what the size of a segment is without its deleted rows."""
    return segment.size * (len(segment) - store.dead_in(segment)) // max(1, len(segment))
