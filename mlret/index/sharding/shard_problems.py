"""Finds what is wrong with the shards of an index as a whole, and repairs what can be repaired."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from mlret.errors import Corrupt, MlretError
from mlret.index.sharding.placement import shard_of
from mlret.index.sharding.resharding import leftovers, remove_undivided
from mlret.index.sharding.shards_manifest import (
    ShardInfo,
    ShardsManifest,
    check_alike,
    contents_of,
    gathered,
    has_shards,
    read_shards,
    record_contents,
    write_shards,
)
from mlret.index.storage.lock import LOCK, WriterLock
from mlret.index.storage.manifest import MANIFEST, SHARDS, read_manifest
from mlret.index.storage.problems import Problem
from mlret.index.storage.records import RECORDS, Records

_NAME = re.compile(r"shard-([0-9]{5})(?:[.]([0-9]+))?")
_PAGE = 10_000


class Divided(NamedTuple):
    """The shards of an index.

    Attributes
    ----------
    folders
        The folders of those shards that are there.
    manifest
        The manifest; ``None`` if it is missing or damaged.
    why
        What is wrong with the manifest; empty if nothing is.
    """

    folders: list[Path]
    manifest: ShardsManifest | None
    why: str = ""


def is_divided(folder: Path) -> bool:
    """Return whether a folder holds the shards of an index, perhaps without their manifest."""
    try:
        return has_shards(folder) or (not (folder / MANIFEST).exists() and bool(_numbered(folder)))
    except PermissionError:  # Whoever opens it says what cannot be read.
        return False


def shards_of(folder: Path) -> Divided:
    """Return the shards of an index, as its manifest names them, or as they are found if it is damaged.

    Raises
    ------
    InputError
        If another version of mlret wrote the manifest.
    """
    if not has_shards(folder):
        return Divided(_numbered(folder), None, f"{SHARDS} is missing")
    try:
        manifest = read_shards(folder)
    except Corrupt as error:
        return Divided(_numbered(folder), None, str(error))
    return Divided([folder / info.folder for info in manifest.shards if _is_index(folder / info.folder)], manifest)


def _is_index(folder: Path) -> bool:
    return (folder / MANIFEST).exists() or (folder / RECORDS).exists()


def _numbered(folder: Path) -> list[Path]:
    """Return the folders of the shards of the newest generation, by number."""
    found = [(path, _NAME.fullmatch(path.name)) for path in folder.glob("shard-*")]
    named = {(int(match[2] or 0), int(match[1])): path for path, match in found if match is not None}
    newest = max((generation for generation, _ in named), default=0)
    return [path for (generation, _), path in sorted(named.items()) if generation == newest]


def problems_of_shards(folder: Path, found: Divided, *, repair: bool) -> Iterator[Problem]:
    """Find the problems of an index that is divided, other than those within a shard.

    Parameters
    ----------
    folder
        The folder of the index.
    found
        Its shards, which have been checked and repaired one by one.
    repair
        Write the manifest again if that is needed and possible, and remove what an interrupted call left.
    """
    if found.manifest is None:
        yield _manifest_again(folder, found, repair)
        return
    manifest = found.manifest
    problems = [
        problem for number, info in enumerate(manifest.shards) for problem in _of_shard(folder, number, info, manifest)
    ]
    yield from problems
    if not problems:
        yield from _behind(folder, manifest, repair)
    rest = leftovers(folder, manifest)
    if rest or (folder / MANIFEST).exists():
        if repair:
            with WriterLock(folder / LOCK):
                for path in rest:
                    shutil.rmtree(path)
                remove_undivided(folder)
        yield Problem(SHARDS, "files of a resharding that was interrupted are left", repaired=repair)


def _of_shard(folder: Path, number: int, info: ShardInfo, manifest: ShardsManifest) -> Iterator[Problem]:
    path = folder / info.folder
    if not _is_index(path):
        yield Problem(info.folder, "the shard is missing", repairable=False)
        return
    try:
        own = read_manifest(path)
        check_alike(folder, info.folder, own, manifest.described)
        if own.identity != info.identity:
            yield Problem(info.folder, "the shard is of another index", repairable=False)
        elif manifest.kind == "index" and (count := misplaced(path, number, len(manifest.shards))):
            yield Problem(info.folder, f"{count} documents belong to other shards by their ids", repairable=False)
    except MlretError as error:
        yield Problem(info.folder, str(error), repairable=False)


def _behind(folder: Path, manifest: ShardsManifest, repair: bool) -> Iterator[Problem]:
    """Find shards that cannot have come from what the manifest records of them."""
    behind = []
    for info in manifest.shards:
        found, stated = contents_of(folder / info.folder), info.contents
        if found.changes < stated.changes or (found.changes == stated.changes and found != stated):
            behind.append(info.folder)
    if behind and repair:
        with WriterLock(folder / LOCK):
            record_contents(folder)
    for name in behind:
        what = "it does not hold what was recorded: its last changes are lost, or it was replaced by an older copy"
        yield Problem(name, f"{what}; repairing continues with what it holds", repaired=repair)


def _manifest_again(folder: Path, found: Divided, repair: bool) -> Problem:
    """Report that the manifest of the shards is lost, after writing it again if all shards are there."""
    count = len(found.folders)
    match = _NAME.fullmatch(found.folders[0].name) if found.folders else None
    try:
        made = gathered(folder, count, generation=int(match[2] or 0) if match is not None else 0)
    except MlretError as error:
        return Problem(SHARDS, f"{found.why}; it cannot be written again: {error}", repairable=False)
    # If the last shards are missing, documents are not where their ids place them among those that are left.
    if made.kind == "index" and any(misplaced(path, number, count) for number, path in enumerate(found.folders)):
        return Problem(SHARDS, f"{found.why}; it cannot be written again, since shards are missing", repairable=False)
    if repair:
        write_shards(folder, made)
    return Problem(SHARDS, found.why, repaired=repair)


def misplaced(folder: Path, number: int, shards: int) -> int:
    """Return how many documents of a shard belong to another one by their ids.

    Parameters
    ----------
    folder
        The folder of the shard.
    number
        Its number.
    shards
        The number of shards.
    """
    count = last = 0
    with closing(Records(folder / RECORDS)) as records:
        query = "SELECT row, id FROM records WHERE row > ? ORDER BY row LIMIT ?"
        while page := records.read(query, (last, _PAGE)):
            count += sum(shard_of(id, shards) != number for _, id in page)
            last = page[-1][0]
    return count
