"""Keeping segments few, large and free of deleted rows."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mlret.index.kinds import Choice
from mlret.index.manifest import AnySegmentInfo
from mlret.index.segments import Rows
from mlret.index.store import Store

# So many segments of about one size become one: a row is then copied once per size, not once per segment.
_MERGED = 8
# A segment is written anew when this part of it is deleted rows.
_DEAD = 0.25


def maintain(store: Store, *, more: bool = False) -> None:
    """What is due after a write: seal a long tail, merge small segments, drop deleted rows; within ``writing``.

    No accelerator is built here unless one is lost to deletes, so that a write takes time in proportion to what it
    writes, with logarithmically many copies of it. With ``more`` to come the tail may be longer.
    """
    if store.tail_size() >= (store.space.bulk_size if more else store.space.segment_size):
        seal(store)
    worn = [segment for segment in store.segments if store.dead_in(segment) > _DEAD * len(segment)]
    if worn:
        _replace(store, [([segment], segment.kind != "flat") for segment in worn])
    while len(run := store.segments[-_MERGED:]) == _MERGED and _alike(store, run):
        _replace(store, [(run, False)])


def seal(store: Store, progress: Callable[[str, int, int], None] | None = None) -> None:
    """Write the vectors that are in the database alone to a segment; within ``writing``."""
    sealer = store.sealer()
    sealer.progress = progress
    info = sealer.from_records(store.manifest.last_sealed_row + 1, store.last_row)
    if info is not None:
        store.switch([*store.manifest.segments, info], sealer.changes)


def purge(store: Store, rows: NDArray[np.int64], *, thorough: bool = False, indexed: bool = True) -> bool:
    """Leave nothing of removed rows on disk: write the segments that hold some of them anew, and empty the write-ahead
    log; within ``writing``.

    Parameters
    ----------
    store, rows
        Of what.
    thorough
        Look for copies that SQLite left when it moved rows between pages, and write the database anew if there are any.
    indexed
        Whether anything of the rows was in an index or a table without row numbers, which metadata are.

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
    return not thorough or not store.records.traces(indexes=indexed) or store.records.shrink()


def compact(store: Store, progress: Callable[[str, int, int], None] | None = None) -> list[Choice]:
    """Merge everything into as few segments as there should be, without deleted rows, each with the accelerator that
    the settings ask for; within ``writing``. What is so already stays.

    Parameters
    ----------
    store
        The index.
    progress
        Called with what is being done, how many vectors of it are done, and of how many.

    Returns
    -------
    list of Choice
        The kind of each segment, and why.
    """
    seal(store, progress)
    for group in _groups(store):
        if len(group) > 1 or store.dead_in(group[0]):
            _replace(store, [(group, False)], progress)
    choices = []
    for segment in list(store.segments):
        choice = store.space.choose(segment.size)
        choices.append(choice)
        if segment.kind != choice.kind or store.space.outdated(segment):
            sealer = store.sealer()
            sealer.progress = progress
            info = sealer.accelerate(segment.info, choice, sealer.counting(f"building {choice.kind}", segment.size))
            store.switch([info if old == segment.info else old for old in store.manifest.segments], sealer.changes)
    if changes := store.space.calibrated(store.segments):
        store.switch(store.manifest.segments, changes)
    store.records.shrink()
    return choices


def is_due(store: Store) -> bool:
    """Whether enough vectors are outside any accelerator that building one pays."""
    plain = sum(segment.size for segment in store.segments if segment.kind == "flat") + store.tail_size()
    return store.space.is_due(plain, sum(segment.size for segment in store.segments) + store.tail_size())


def _replace(
    store: Store,
    groups: list[tuple[list[Rows], bool]],
    progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """Write each group of neighbouring segments as one, with an accelerator where it says so."""
    sealer = store.sealer()
    sealer.progress = progress
    dead = store.records.tombstones()
    infos: dict[int, AnySegmentInfo | None] = {}
    for group, accelerated in groups:
        info = sealer.merge(group, dead)
        if info is not None and accelerated:
            choice = store.space.choose(info.size)
            info = sealer.accelerate(info, choice, sealer.counting(f"building {choice.kind}", info.size))
        infos |= {segment.info.first_row: None for segment in group} | {group[0].info.first_row: info}
    found = [infos.get(old.first_row, old) for old in store.manifest.segments]
    store.switch([info for info in found if info is not None], sealer.changes)


def _alike(store: Store, segments: list[Rows]) -> bool:
    """Whether segments are of one size class, have no accelerator, and together stay below the bound."""
    space = store.space
    classes = {int(math.log(max(1, segment.size / space.segment_size), _MERGED) + 1e-9) for segment in segments}
    plain = all(segment.kind == "flat" for segment in segments)
    return len(classes) == 1 and plain and sum(segment.size for segment in segments) <= space.largest_segment


def _groups(store: Store) -> list[list[Rows]]:
    """Neighbours that fit into one segment each, in as few groups as a pass from the first on makes."""
    groups: list[list[Rows]] = []
    size = 0
    for segment in store.segments:
        alive = segment.size * (len(segment) - store.dead_in(segment)) // max(1, len(segment))
        if groups and size + alive <= store.space.largest_segment:
            groups[-1].append(segment)
            size += alive
        else:
            groups.append([segment])
            size = alive
    return groups
