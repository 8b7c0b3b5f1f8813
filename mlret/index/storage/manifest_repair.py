"""Checks whether the manifest and the database of a folder belong together, and repairs either from the other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from mlret.encoders.external import EXTERNAL
from mlret.errors import InputError, Locked, MlretError
from mlret.index.sqlite.database import check_database, read_aside
from mlret.index.storage.agreement import DisagreementError, check_agreement
from mlret.index.storage.lock import LOCK, WriterLock, noted_changes
from mlret.index.storage.manifest import (
    MANIFEST,
    AnySegmentInfo,
    Manifest,
    SegmentInfo,
    Written,
    parse_manifest,
    read_written,
    write_manifest,
)
from mlret.index.storage.manifest_copy import read_copy_aside, replace_copy
from mlret.index.storage.problems import Problem
from mlret.index.storage.records import RECORDS, Records

_ROUNDS = 100


@dataclass(frozen=True)
class Found:
    """The manifest to continue with, the problems that were found, and the noted number of changes.

    ``noted`` is the number of changes that was noted outside the database.
    """

    manifest: Manifest
    problems: Sequence[Problem]
    noted: int


def check_manifest(folder: Path, *, repair: bool) -> Found:
    """Compare the manifest of a folder with the copy in its database.

    Parameters
    ----------
    folder
        The folder of an index.
    repair
        Rewrite the manifest from the copy, or the copy from the manifest, whichever is intact.

    Raises
    ------
    InputError
        If the folder is no index.
    MlretError
        If neither is intact, or another process keeps changing the folder.
    """
    for _ in range(_ROUNDS):
        written, why = _read(folder)
        if written is not None:
            check_database(folder / RECORDS)
        # Read this before the database, which then counts at least as many changes.
        noted = 0 if written is None else noted_changes(folder / LOCK, written.manifest.identity)
        copy = _copy(folder / RECORDS)
        if written is not None and copy is not None:
            counted = max(noted, written.manifest.changes)
            try:
                check_agreement(folder, written, copy, counted)  # Lost changes are examined later.
                return Found(written.manifest, [], counted)
            except MlretError as error:
                why = error
            noted = counted if written.manifest.identity == copy.manifest.identity else noted
        again, _ = _read(folder)
        if (again and again.checksum) == (written and written.checksum):  # Otherwise another process is at work.
            break
    else:
        raise Locked(f"{folder} is changed by another process all the time; try again when that is done")
    if written is None and copy is None:
        assert why is not None
        raise why
    with WriterLock(folder / LOCK) if repair else nullcontext():
        if copy is not None:
            return _from_copy(folder, copy, why.what if isinstance(why, DisagreementError) else str(why), repair, noted)
        assert written is not None
        if repair:
            _write_copy(folder, written)
        problem = Problem(RECORDS, "its copy of the manifest is damaged", repaired=repair)
        return Found(written.manifest, [problem], noted)


def _from_copy(folder: Path, copy: Written, why: str, repair: bool, noted: int) -> Found:
    """Continue with the copy in the database, if the files that it names exist or can be rebuilt."""
    missing = [info.file for info in copy.manifest.files if not (folder / info.file).is_file()]
    # mlret cannot make vectors again that were encoded elsewhere.
    main = {info.main.file for info in copy.manifest.segments if _stands_alone(info, copy.manifest)}
    if main & set(missing) and copy.manifest.encoder.startswith(EXTERNAL):
        what = f"{why}; the copy in {RECORDS} names {missing[0]}, which is missing, and is not put in its place"
        return Found(copy.manifest, [Problem(MANIFEST, what, repairable=False)], noted)
    if repair:
        write_manifest(folder, copy)
    what = f"{why}; the copy in {RECORDS} is of generation {copy.manifest.generation}"
    return Found(copy.manifest, [Problem(MANIFEST, what, repaired=repair)], noted)


def _stands_alone(info: AnySegmentInfo, manifest: Manifest) -> bool:
    """Return whether the database has no copy of the vectors of a segment."""
    return not isinstance(info, SegmentInfo) or (info.blocks is not None and manifest.settings.copies == 1)


def _read(folder: Path) -> tuple[Written | None, MlretError | None]:
    try:
        return read_written(folder), None
    except InputError as error:
        if not os.access(folder / RECORDS, os.R_OK):
            raise
        return None, error
    except MlretError as error:
        return None, error


def _copy(database: Path) -> Written | None:
    text = read_copy_aside(database)
    if text is None:
        return None
    try:
        copy = parse_manifest(text)
    except ValueError:
        return None
    return copy if _generation(database) in (None, copy.manifest.generation) else None


def _generation(database: Path) -> int | None:
    found = read_aside(database, "SELECT value FROM counters WHERE name = 'generation'")
    return found[0][0] if len(found) == 1 and isinstance(found[0][0], int) else None


def _write_copy(folder: Path, written: Written) -> None:
    records = Records(folder / RECORDS, lenient=True)
    try:
        replace_copy(records, written.manifest.generation, written.text)
    finally:
        records.close()
