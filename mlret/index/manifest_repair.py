"""Do the manifest and the database of a folder belong together, and if not, which of the two can be made again?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlret.encoders.external import EXTERNAL
from mlret.errors import InputError, MlretError
from mlret.index.agreement import DisagreementError, check_agreement
from mlret.index.database import check_database, read_aside
from mlret.index.lock import LOCK, noted_changes
from mlret.index.manifest import MANIFEST, Manifest, Written, parse_manifest, read_written, write_manifest
from mlret.index.problems import Problem
from mlret.index.records import RECORDS, Records


@dataclass(frozen=True)
class Found:
    """The manifest to go on with, what was wrong, and how many changes were written down outside the database."""

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
        Write the manifest again from the copy, or the copy from the manifest, whichever is whole.

    Raises
    ------
    InputError
        If the folder is no index.
    MlretError
        If neither is whole, or the copy is of files that are not there.
    """
    written, why = _read(folder)
    if written is not None:
        check_database(folder / RECORDS)
    copy = _copy(folder / RECORDS)
    noted = 0 if written is None else noted_changes(folder / LOCK, written.manifest.identity)
    counted = _counters(folder / RECORDS)
    if written is not None and copy is not None:
        noted = max(noted, written.manifest.changes if _same_index(written, copy) else 0)
        try:
            # Lost changes are looked at afterwards: whatever they are, it is a manifest that the database knows.
            check_agreement(folder, written, copy, max(noted, counted.get("changes", 0)))
            return Found(written.manifest, [], noted)
        except MlretError as error:
            why = error
    if copy is not None:
        return _from_copy(folder, copy, why.what if isinstance(why, DisagreementError) else str(why), repair, noted)
    if written is None:
        assert why is not None
        raise why
    what = "its copy of the manifest is damaged"
    if repair:
        _write_copy(folder, written)
    return Found(written.manifest, [Problem(RECORDS, what, mended=repair)], noted)


def _from_copy(folder: Path, copy: Written, why: str, repair: bool, noted: int) -> Found:
    """Go on with the copy of the database, where what it names is there or can be made again."""
    missing = [info.file for info in copy.manifest.files if not (folder / info.file).is_file()]
    # Of tokens that are sealed the database has no vectors; mlret cannot make those again that came from elsewhere.
    if missing and copy.manifest.similarity == "maxsim" and copy.manifest.encoder.startswith(EXTERNAL):
        what = f"{why}; the copy in {RECORDS} names {missing[0]}, which is missing, and is not put in its place"
        return Found(copy.manifest, [Problem(MANIFEST, what, mendable=False)], noted)
    if repair:
        write_manifest(folder, copy)
    what = f"{why}; the copy in {RECORDS} is of generation {copy.manifest.generation}"
    return Found(copy.manifest, [Problem(MANIFEST, what, mended=repair)], noted)


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
    text = Records.read_manifest(database)
    if text is None:
        return None
    try:
        copy = parse_manifest(text)
    except ValueError:
        return None
    counted = _counters(database).get("generation", copy.manifest.generation)
    return copy if counted == copy.manifest.generation else None


def _counters(database: Path) -> dict[str, int]:
    found = read_aside(database, "SELECT name, value FROM counters")
    return {name: value for name, value in found if isinstance(name, str) and isinstance(value, int)}


def _same_index(written: Written, copy: Written) -> bool:
    return written.manifest.identity == copy.manifest.identity


def _write_copy(folder: Path, written: Written) -> None:
    from mlret.index.blobs import OneVector

    records = Records(folder / RECORDS, OneVector(written.manifest.dims), lenient=True)
    try:
        records.replace_manifest(written.manifest.generation, written.text)
    finally:
        records.close()
