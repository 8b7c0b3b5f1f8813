"""Opens the sealed files that a manifest names, and falls back on the database where they are damaged."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from mlret.encoders.external import EXTERNAL
from mlret.errors import Corrupt, MlretError
from mlret.index.storage.manifest import AnySegmentInfo, Manifest, read_manifest
from mlret.index.storage.records import Records
from mlret.index.storage.sealed import SealedFiles, TornFileError
from mlret.index.storage.vector_table import VectorTable
from mlret.index.store.salvage import Salvage
from mlret.index.tokens.token_space import MaxSimSpace
from mlret.index.vectors.cosine import CosineSpace
from mlret.index.vectors.exact import Device
from mlret.index.vectors.segments import Rows, warn_without_accelerator
from mlret.index.vectors.space import AnySpace, Joined
from mlret.wording import counted

_log = logging.getLogger("mlret.index")


class OutdatedError(MlretError):
    """A manifest was replaced while it was read."""


def space_of(files: SealedFiles, manifest: Manifest, device: Device = "cpu") -> AnySpace:
    """Return the space for the vectors of an index, according to the similarity that its manifest names.

    Parameters
    ----------
    files
        The sealed files of the index.
    manifest
        The manifest of the index.
    device
        Where sealed segments are searched exactly; see :func:`mlret.index.vectors.exact.exact_search`.
    """
    space = MaxSimSpace if manifest.similarity == "maxsim" else CosineSpace
    return cast("AnySpace", space(files, manifest, device))


class SegmentOpener:
    """Opens the segments of an index folder.

    Parameters
    ----------
    folder
        The folder of the index.
    space
        The space of its vectors.
    records
        Its database.
    table
        The vectors in its database.

    Attributes
    ----------
    loaded
        The manifest whose files are open; ``None`` if there is none, or the codec of the latest one is damaged.
    """

    def __init__(self, folder: Path, space: AnySpace, records: Records, table: VectorTable[Joined]) -> None:
        self._folder = folder
        self._space = space
        self._records = records
        self._table = table
        self.loaded: Manifest | None = None

    def open_all(self, manifest: Manifest, before: Mapping[AnySegmentInfo, Rows]) -> list[Rows]:
        """Return the segments of a manifest, and let the space use the manifest.

        Parameters
        ----------
        manifest
            The manifest.
        before
            The segments that are open already, which are returned again.

        Raises
        ------
        OutdatedError
            If a file is missing because the manifest has been replaced.
        """
        self.loaded = None
        intact = self._load(manifest)
        segments = [before.get(info) or self._open(info) for info in manifest.segments]
        self.loaded = manifest if intact else None
        return segments

    def _load(self, manifest: Manifest) -> bool:
        """Let the space use a manifest, and return whether its codec is intact."""
        try:
            self._space.load(manifest)
            return True
        except TornFileError as error:
            if read_manifest(self._folder).codec != manifest.codec:
                raise OutdatedError from error
            _log.warning("%s", error)
            return False

    def _open(self, info: AnySegmentInfo) -> Rows:
        try:
            segment = self._space.open(info)
        except TornFileError as error:
            self._check_current(info)
            segment = self._salvaged(info, error)
            _log.warning("%s; its vectors are taken from its intact blocks and from the database", error)
            return segment
        try:
            self._space.open_accelerator(segment)
        except TornFileError as error:
            self._check_current(info)
            warn_without_accelerator(error)
        return segment

    def _check_current(self, info: AnySegmentInfo) -> None:
        if info not in read_manifest(self._folder).segments:
            raise OutdatedError

    def _salvaged(self, info: AnySegmentInfo, torn: TornFileError) -> Rows:
        left = Salvage(self._space, self._records, self._table, info)
        if lost := left.lost():
            raise Corrupt(f"{torn}; {_way_out(self._folder, self._space.manifest, len(lost))}")
        return left.segment()


def _way_out(folder: Path, manifest: Manifest, lost: int) -> str:
    """Return what to do about lost vectors, which are kept in their segment only."""
    them = f"{counted(lost, 'vector')} of it {'is' if lost == 1 else 'are'} lost"
    if manifest.similarity == "maxsim":
        them = f"the vectors that it has of {counted(lost, 'text')} are lost"
    if manifest.encoder.startswith(EXTERNAL):
        return (
            f"{them}, and mlret does not run {manifest.encoder!r} to make them again: restore {folder} from a copy, or "
            "build it again (with the setting copies=2 such vectors are kept twice)"
        )
    return f"{them}: `mlret index verify --repair {folder}` encodes their texts again"
