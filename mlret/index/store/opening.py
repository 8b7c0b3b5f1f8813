"""Opens the sealed files that a manifest names, and falls back on the database where they are damaged."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from mlret.errors import Corrupt, MlretError
from mlret.index.storage.manifest import AnySegmentInfo, Manifest, read_manifest
from mlret.index.storage.records import RECORDS
from mlret.index.storage.sealed import SealedFiles, TornFileError
from mlret.index.storage.vector_table import DamagedVectorError, VectorTable
from mlret.index.tokens.token_space import MaxSimSpace
from mlret.index.vectors.cosine import CosineSpace
from mlret.index.vectors.exact import Device
from mlret.index.vectors.segments import Rows
from mlret.index.vectors.space import AnySpace, Joined

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
    table
        The vectors in its database.

    Attributes
    ----------
    loaded
        The manifest whose files are open; ``None`` if there is none, or the codec of the latest one is damaged.
    """

    def __init__(self, folder: Path, space: AnySpace, table: VectorTable[Joined]) -> None:
        self._folder = folder
        self._space = space
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
            _log.warning("%s; taking its vectors from %s", error, self._folder / RECORDS)
            return self._from_records(info, error)
        try:
            self._space.open_accelerator(segment)
        except TornFileError as error:
            self._check_current(info)
            _log.warning("%s; searching without it until `mlret index verify --repair` builds it again", error)
        return segment

    def _check_current(self, info: AnySegmentInfo) -> None:
        if info not in read_manifest(self._folder).segments:
            raise OutdatedError

    def _from_records(self, info: AnySegmentInfo, torn: TornFileError) -> Rows:
        tail = self._space.tail()
        try:
            for numbers, vectors in self._table.batches(info.first_row, info.last_row):
                tail.add(numbers, vectors)
        except DamagedVectorError as error:
            if self._space.keeps_vectors:
                raise
            raise Corrupt(
                f"{torn}, and vectors that are sealed are kept nowhere else: `mlret index verify --repair "
                f"{self._folder}` encodes the {info.rows} texts again"
            ) from error
        segment = tail.segment()
        segment.info = info
        segment.torn = True
        return segment
