"""Keeping segments few, large and free of deleted rows."""

from __future__ import annotations

import math
from collections.abc import Callable

from mlret.index.kinds import Choice, choose_kind
from mlret.index.manifest import SegmentInfo
from mlret.index.segments import Segment
from mlret.index.store import Store

# The tail is read back from the database when the index is first searched: so many rows take a moment only.
SEGMENT_ROWS = 16_384
# So many segments of about one size become one: a row is then copied once per size, not once per segment.
_MERGED = 8
# A segment is written anew when this part of it is deleted rows.
_DEAD = 0.25
# An index is compacted at the end of a build when this part of it has no accelerator.
_PLAIN = 0.25
# Larger segments are not merged, so that building an accelerator takes bounded memory and time.
MOST_ROWS = 2**20


def maintain(store: Store) -> None:
    """What is due after a write: seal a long tail, merge small segments, drop deleted rows; within ``writing``.

    No accelerator is built here unless one is lost to deletes, so that a write takes time in proportion to what it
    writes, with logarithmically many copies of it.
    """
    if len(store.tail) >= SEGMENT_ROWS:
        seal(store)
    worn = [segment for segment in store.segments if store.dead_in(segment) > _DEAD * len(segment)]
    if worn:
        _replace(store, [([segment], segment.accelerator is not None) for segment in worn])
    while len(run := store.segments[-_MERGED:]) == _MERGED and _alike(run):
        _replace(store, [(run, False)])


def seal(store: Store) -> None:
    """Write the vectors that are in the database alone to a segment; within ``writing``."""
    info = store.sealer().from_records(store.manifest.last_sealed_row + 1, store.last_row)
    if info is not None:
        store.switch([*store.manifest.segments, info])


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
    seal(store)
    for group in _groups(store):
        if len(group) > 1 or store.dead_in(group[0]):
            _replace(store, [(group, False)], progress)
    choices = []
    for segment in list(store.segments):
        assert segment.info is not None
        choice = choose(store, len(segment))
        choices.append(choice)
        have = segment.info.accelerator
        if (have.kind if have and segment.accelerator else "flat") != choice.kind:
            info = store.sealer().accelerate(segment.info, choice, _counting(progress, choice.kind, len(segment)))
            store.switch([info if old == segment.info else old for old in store.manifest.segments])
    store.records.shrink()
    return choices


def is_due(store: Store) -> bool:
    """Whether enough vectors are outside any accelerator that building one pays."""
    plain = sum(len(segment) for segment in store.segments if segment.accelerator is None) + len(store.tail)
    return choose(store, plain).kind != "flat" and plain > _PLAIN * len(store)


def choose(store: Store, rows: int) -> Choice:
    """The kind of a segment of so many rows."""
    settings = store.manifest.settings
    if settings.kind == "auto":
        return choose_kind(rows, store.manifest.dims)
    return Choice(settings.kind, "the recipe says so")


def _replace(
    store: Store,
    groups: list[tuple[list[Segment], bool]],
    progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """Write each group of neighbouring segments as one, with an accelerator where it says so."""
    sealer = store.sealer()
    dead = store.records.tombstones()
    infos: dict[int, SegmentInfo | None] = {}
    for group, accelerated in groups:
        info = sealer.merge(group, dead)
        if info is not None and accelerated:
            choice = choose(store, info.rows)
            info = sealer.accelerate(info, choice, _counting(progress, choice.kind, info.rows))
        assert group[0].info is not None
        infos[group[0].info.first_row] = info
        infos |= {segment.info.first_row: None for segment in group[1:] if segment.info}
    found = [infos.get(old.first_row, old) for old in store.manifest.segments]
    store.switch([info for info in found if info is not None])


def _alike(segments: list[Segment]) -> bool:
    """Whether segments are of one size class, have no accelerator, and together stay below the bound."""
    classes = {int(math.log(max(1, len(segment) / SEGMENT_ROWS), _MERGED) + 1e-9) for segment in segments}
    plain = not any(segment.info and segment.info.accelerator for segment in segments)
    return len(classes) == 1 and plain and sum(map(len, segments)) <= MOST_ROWS


def _groups(store: Store) -> list[list[Segment]]:
    """Neighbours that fit into one segment each, in as few groups as a pass from the first on makes."""
    groups: list[list[Segment]] = []
    size = 0
    for segment in store.segments:
        alive = len(segment) - store.dead_in(segment)
        if groups and size + alive <= MOST_ROWS:
            groups[-1].append(segment)
            size += alive
        else:
            groups.append([segment])
            size = alive
    return groups


def _counting(progress: Callable[[str, int, int], None] | None, kind: str, rows: int) -> Callable[[int], None] | None:
    return None if progress is None else lambda done: progress(f"building {kind}", done, rows)
