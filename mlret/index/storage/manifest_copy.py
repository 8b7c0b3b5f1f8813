"""The copy of the manifest in the database."""

from __future__ import annotations

from pathlib import Path

from mlret.errors import Corrupt
from mlret.index.sqlite.database import DAMAGED, read_aside
from mlret.index.storage.snapshots import Snapshots

_COPY = "SELECT CAST(content AS BLOB) FROM manifest"  # Read as bytes, because a damaged cell need not be text.


def read_copy(records: Snapshots) -> bytes:
    """Return the copy of the manifest, in the state that all reads see.

    Raises
    ------
    MlretError
        If there is none.
    """
    found = records.read(_COPY)
    if len(found) != 1 or not isinstance(found[0][0], bytes):
        raise Corrupt(f"{records.path} is damaged (it has no copy of the manifest); {DAMAGED}")
    return found[0][0]


def read_copy_aside(path: Path) -> bytes | None:
    """Return the copy of the manifest in a database that may be damaged, or ``None`` if none can be read."""
    found = read_aside(path, _COPY)
    return found[0][0] if len(found) == 1 and isinstance(found[0][0], bytes) else None


def replace_copy(records: Snapshots, generation: int, manifest: str) -> None:
    """Store a copy of a manifest and its generation in one transaction, whatever was there before.

    Parameters
    ----------
    records
        The database.
    generation
        The generation of the manifest.
    manifest
        The text of the manifest.
    """
    with records.transaction() as connection:
        connection.execute("DELETE FROM manifest")
        connection.execute("INSERT INTO manifest VALUES (?)", (manifest,))
        if not records.counters_damaged:  # Damaged counters are counted again later.
            records.counters.set({"generation": generation})
