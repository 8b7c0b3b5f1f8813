"""From one generation of a folder to the next: the manifest first, then its database."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlret.index.agreement import check_agreement, copy_in
from mlret.index.lock import LOCK, WriterLock
from mlret.index.manifest import (
    FORMAT_VERSION,
    Manifest,
    Written,
    new_identity,
    read_written,
    write_manifest,
    written_of,
)
from mlret.index.migration import FORMAT, STEPS, Step, newest
from mlret.index.records import Records

_log = logging.getLogger("mlret.index")


def next_manifest(records: Records, manifest: Manifest, changes: Mapping[str, Any]) -> Written:
    """The manifest after one that the database has a copy of."""
    following = {
        "generation": manifest.generation + 1,
        "previous": copy_in(records).checksum,
        "changes": records.counter("changes"),
    }
    return written_of(manifest.model_copy(update=following | dict(changes)))


def finish(records: Records, written: Written) -> None:
    """Bring the database in step with the manifest, where a writer was killed between the two; for the writer to call.

    What the manifest made superfluous in the database stays there until the next change of segments.
    """
    if records.counter("generation") < written.manifest.generation:
        records.settle((), written.manifest.generation, written.text)


def upgrade(folder: Path, records: Records, component: str = FORMAT, steps: Sequence[Step] = STEPS) -> None:
    """Bring tables of an earlier version up to date (:mod:`mlret.index.migration`): in the folder where it may be
    written to, else in a temporary copy of the database.

    The manifest of the new format comes first, so that earlier versions of mlret, which do not know it, stay away. A
    crash at any point leaves a folder that the next open brings up to date.

    Raises
    ------
    MlretError
        If another process keeps writing, or the manifest and the database do not belong together.
    """
    if records.version(component) >= newest(steps):
        return
    if not records.writable:
        records.bring_up_to_date(component, steps)
        return
    with WriterLock(folder / LOCK):
        records.snapshot()
        written = read_written(folder)
        check_agreement(folder, written, copy_in(records), records.counter("changes"))
        finish(records, written)
        if written.manifest.format_version < FORMAT_VERSION:
            added = {"format_version": FORMAT_VERSION, "identity": new_identity()}
            written = next_manifest(records, written.manifest, added)
            write_manifest(folder, written)
        done = records.bring_up_to_date(component, steps)
        finish(records, written)
        _log.info("%s: brought up to date (%s)", folder, ", ".join(done))
