"""Checks whether the manifest of a folder and its database belong together.

A change of segments writes ``manifest.json`` first, and then, in one transaction, the database with a copy of the
manifest. So the two manifests are equal unless a writer is between the two steps or was killed there: then the manifest
is newer by one generation and names the checksum of the copy. Anything else means a restored file, a file of another
folder, or damage.
"""

from __future__ import annotations

from pathlib import Path

from mlret.errors import Corrupt
from mlret.index.storage.manifest import MANIFEST, Manifest, Written, parse_manifest
from mlret.index.storage.manifest_copy import read_copy
from mlret.index.storage.records import RECORDS, Records

# A change of segments changes these fields and no others.
_CHANGING = {"format_version", "identity", "previous", "changes", "generation", "segments", "codec", "probing"}
_OF_SEGMENTS = {"segments", "codec", "probing"}


class DisagreementError(Corrupt):
    """A manifest and a database do not belong together; ``what`` is wrong, and ``trace`` is what may have caused it."""

    def __init__(self, folder: Path, what: str, trace: str = "") -> None:
        self.what = what
        trace = f", as when {trace}" if trace else ""
        super().__init__(
            f"{folder} is damaged: {what}{trace}; restore the folder from one copy, or continue with what is left: "
            f"`mlret index verify --repair {folder}`"
        )


def copy_in(records: Records) -> Written:
    """Return the copy of the manifest that a database keeps.

    Raises
    ------
    DisagreementError
        If it is not what was written, or of another generation than the database.
    """
    try:
        copy = parse_manifest(read_copy(records))
    except ValueError as error:
        raise DisagreementError(records.path.parent, f"the copy of {MANIFEST} in {RECORDS} ({error})") from error
    if copy.manifest.generation != records.generation:
        ours, theirs = records.generation, copy.manifest.generation
        what = f"{RECORDS} is of generation {ours}, and its copy of {MANIFEST} of generation {theirs}"
        raise DisagreementError(records.path.parent, what)
    return copy


def follows(manifest: Written, copy: Written) -> bool:
    """Return whether a manifest is the direct successor of the copy that a database keeps.

    Parameters
    ----------
    manifest
        The manifest of a folder.
    copy
        The copy in its database.
    """
    new, old = manifest.manifest, copy.manifest
    if new.generation != old.generation + 1 or not _same(new, old, _CHANGING):
        return False
    if new.format_version > 2:
        return new.previous == copy.checksum
    return old.format_version == 2 and not _same(new, old, set(Manifest.model_fields) - _OF_SEGMENTS)


def check_agreement(folder: Path, manifest: Written, copy: Written, changes: int) -> None:
    """Raise if a manifest and the database beside it do not belong together.

    Parameters
    ----------
    folder
        The folder of both.
    manifest
        The manifest of the folder.
    copy
        The manifest in the database.
    changes
        The number of changes that the database counts.

    Raises
    ------
    DisagreementError
        If they do not belong together; the message names both generations and how to fix it.
    """
    new, old = manifest.manifest, copy.manifest
    if manifest.checksum == copy.checksum or follows(manifest, copy):
        check_changes(folder, changes, new.changes, MANIFEST)
        return
    ours, theirs = f"{MANIFEST} (generation {new.generation})", f"{RECORDS} (generation {old.generation})"
    if new.identity != old.identity and new.format_version == old.format_version:
        what = f"{ours} is not of the same index as {theirs}"
    elif new.generation < old.generation:
        what = f"{ours} is older than {theirs}"
    elif new.generation > old.generation:
        what = f"{ours} is newer than {theirs}"
    else:
        what = f"{ours} is not the one that {theirs} has a copy of"
    raise DisagreementError(folder, what, "one of them was restored or copied alone")


def check_changes(folder: Path, found: int, noted: int, where: str) -> None:
    """Raise if a database counts fewer changes than were noted outside it.

    Parameters
    ----------
    folder
        The folder of the index.
    found
        The number of changes that the database counts.
    noted
        The number of changes that was noted outside it.
    where
        The name of the file in which that number was noted.

    Raises
    ------
    DisagreementError
        If the database has lost its last changes.
    """
    if found < noted:
        what = f"{RECORDS} has lost its last changes (it counts {found}, and {where} {noted})"
        raise DisagreementError(folder, what, f"its log {RECORDS}-wal was left behind or an older {RECORDS} put back")


def _same(one: Manifest, other: Manifest, but: set[str]) -> bool:
    return one.model_dump(exclude=but) == other.model_dump(exclude=but)
