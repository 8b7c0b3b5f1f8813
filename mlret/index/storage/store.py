"""The folder of an index: keeps records and vectors consistent whatever happens between two writes."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.data.documents import Document
from mlret.data.durable import fsync_folder
from mlret.data.unicode_text import check_unicode
from mlret.errors import AlreadyExists, Corrupt, InputError, Locked, MlretError
from mlret.index.filters import Condition
from mlret.index.storage.agreement import DisagreementError, check_agreement, check_changes, copy_in
from mlret.index.storage.database import read_only
from mlret.index.storage.generations import finish, next_manifest, upgrade
from mlret.index.storage.lock import LOCK, WriterLock, noted_changes
from mlret.index.storage.manifest import (
    VECTORS,
    AnySegmentInfo,
    Manifest,
    has_manifest,
    new_identity,
    read_manifest,
    read_written,
    write_manifest,
    written_of,
)
from mlret.index.storage.migration import FORMAT, STEPS, Step, newest
from mlret.index.storage.records import RECORDS, DamagedVectorError, Records
from mlret.index.storage.sealed import SealedFiles, TornFileError
from mlret.index.tokens.token_space import MaxSimSpace
from mlret.index.vectors.cosine import CosineSpace
from mlret.index.vectors.exact import Device
from mlret.index.vectors.faiss_index import faiss_module
from mlret.index.vectors.segments import Rows
from mlret.index.vectors.space import Growing, Sealer, Space, View

_log = logging.getLogger("mlret.index")
_FILTERS_KEPT = 64
# Each time that another process changes the segments while they are being opened, opening starts over, at most this
# often.
_ROUNDS = 100


def check_vacant(folder: Path) -> None:
    """Raise if an index cannot be created in a folder because something exists there already.

    Raises
    ------
    InputError
        If ``folder`` exists and is not an empty folder, or is the current folder, which no rename can replace.
    """
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise InputError(
            f"{folder} cannot be read ({error.strerror}); choose another path, or check its rights"
        ) from error
    if taken:
        if has_manifest(folder):
            raise AlreadyExists(
                f"{folder} is an index already: open it (Index.open), choose another path, or remove it"
            )
        raise AlreadyExists(f"{folder} already exists and is not an index: choose another path, or remove it first")
    if folder.exists() and folder.samefile(Path.cwd()):
        raise InputError(f"{folder} is the current folder: name a new one in it, e.g. {folder / 'NAME'}")


def _check_name(folder: Path) -> None:
    """Raise if FAISS could not open files in the folder: it accepts only names in UTF-8."""
    path = str(folder.absolute())
    check_unicode(path, f"the name of the folder {path!r}", "rename it: FAISS opens files by names in UTF-8 alone")


def beside(folder: Path, suffix: str) -> Path:
    """Return a hidden name beside a folder, on the same disk.

    The folder is made under this name before it gets its own.

    Parameters
    ----------
    folder
        The folder that is to be made.
    suffix
        The end of the name, without the dot.
    """
    folder = folder.resolve()  # Resolve "." and "..", which have no name of their own.
    return folder.with_name(f".{folder.name}.{suffix}")


class Store:
    """An open index folder.

    It shows the records that were committed when it was opened or at the last :meth:`refresh`, and its own changes
    since.

    Parameters
    ----------
    folder
        The folder of the index.
    thorough
        Hash every sealed file, including those that have not changed since they were last hashed.
    device
        Where sealed segments are searched exactly; see :func:`mlret.index.vectors.exact.exact_search`.

    Raises
    ------
    InputError
        If the folder is no index, or one of another format.
    MlretError
        If the database is missing or damaged, or does not belong to the manifest.
    MissingExtraError
        If faiss is not installed.
    """

    manifest: Manifest
    records: Records
    space: Space
    segments: list[Any]
    last_row: int
    changes: int

    def __init__(self, folder: Path, *, thorough: bool = False, device: Device = "cpu") -> None:
        faiss_module()
        _check_name(folder)
        self._thorough = thorough
        self.folder = folder
        self.files = SealedFiles(folder)
        self.manifest = read_manifest(folder)
        self.space = space_of(self.files, self.manifest, device)
        # Read this before the database is opened, so that the database then counts at least as many changes.
        noted = noted_changes(folder / LOCK, self.manifest.identity)
        self.records = Records(folder / RECORDS, self.space.blobs, lexical=self.manifest.settings.lexical)
        self.segments, self.last_row = [], 0
        self._tail: Growing | None = None
        self._tail_size: int | None = None
        self._dead = np.empty(0, dtype=np.int64)
        self.changes = -1
        self._agreed: tuple[str, int] | None = None
        self._lock: WriterLock | None = None
        self._components: dict[str, Sequence[Step]] = {FORMAT: STEPS}
        self._matching = lru_cache(_FILTERS_KEPT)(self._find_matching)
        try:
            check_changes(folder, self.records.counter("changes"), noted, LOCK)
            self._load()
            if any(segment.torn for segment in self.segments):
                self._mend()
        except BaseException:
            self.records.close()
            raise

    @staticmethod
    def create(folder: Path, manifest: Manifest, schema: str = "") -> None:
        """Create the folder of an empty index, completely or not at all.

        Parameters
        ----------
        folder
            The folder to create.
        manifest
            The manifest of the index; it gets a new identity.
        schema
            SQL that creates further tables in the database, for code that is built on the index.

        Raises
        ------
        InputError
            If something that is not an empty folder exists there.
        MlretError
            If the folder cannot be created.
        """
        faiss_module()
        _check_name(folder)
        check_vacant(folder)
        temporary = beside(folder, f"{os.getpid()}.new")
        written = written_of(manifest.model_copy(update={"identity": new_identity()}))
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            (temporary / VECTORS).mkdir(parents=True)
            lexical = manifest.settings.lexical
            Records.create(temporary / RECORDS, written.text, lexical=lexical, schema=schema)
            write_manifest(temporary, written)
            temporary.replace(folder)
        except OSError as error:
            raise MlretError(f"{folder} cannot be made ({error.strerror}); check the path and its rights") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        fsync_folder(folder.parent)

    def __len__(self) -> int:
        return self.records.counter("documents")

    @property
    def tail(self) -> Growing:
        """The vectors that are in no sealed segment, read from the database when they are first needed."""
        with self.records.lock:
            if self._tail is None:
                tail = self.space.tail()
                for numbers, vectors in self.records.vectors(self.manifest.last_sealed_row + 1, self.last_row):
                    tail.add(numbers, vectors)
                self._tail = tail
            return self._tail

    def views(self, allowed: NDArray[np.int64] | None = None) -> list[View]:
        """Return what can be searched: every sealed segment without its deleted rows, and the tail.

        Parameters
        ----------
        allowed
            ``(m,)`` row numbers in ascending order: the only rows to search. The tail is then returned only if it may
            hold some of them. ``None`` for all rows.
        """
        with self.records.lock:
            segments = list(self.segments)
            if allowed is None or (len(allowed) and allowed[-1] > self.manifest.last_sealed_row):
                segments.append(self.tail.segment())
            return [self._view(segment, allowed) for segment in segments]

    def _view(self, segment: Rows, allowed: NDArray[np.int64] | None) -> View:
        if allowed is not None:  # These rows come from the database, which has no deleted ones.
            return View(segment, segment.positions_of(allowed))
        dead = segment.positions_of(self._dead)
        if not len(dead):
            return View(segment)
        alive = np.ones(len(segment), dtype=np.bool_)
        alive[dead] = False
        return View(segment, np.flatnonzero(alive))

    def dead_in(self, segment: Rows) -> int:
        """Return how many rows of a segment were deleted."""
        return len(segment.positions_of(self._dead))

    def matching(self, condition: Condition) -> NDArray[np.int64]:
        """Return the rows that satisfy a condition, in ascending order; cached until the index changes."""
        with self.records.lock:
            return self._matching(condition)

    def _find_matching(self, condition: Condition) -> NDArray[np.int64]:
        return self.records.matching(condition)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the writer lock: no other process writes in the meantime, and everything written before is seen.

        Raises
        ------
        MlretError
            If the folder is read-only or was moved, or another process keeps writing.
        """
        if not self.records.writable:
            raise read_only(self.records.path)
        with WriterLock(self.folder / LOCK) as lock, self.records.lock:
            self.refresh()
            if self.records.counter("generation") < self.manifest.generation:
                # A writer was killed between writing the manifest and the database.
                finish(self.records, read_written(self.folder))
            self._lock = lock
            try:
                yield
            finally:
                self._lock = None

    def refresh(self) -> None:
        """Load what other processes have committed since the last refresh.

        Raises
        ------
        MlretError
            If the folder was moved, removed or replaced since it was opened.
        """
        with self.records.lock:
            if not self.records.in_place:
                raise MlretError(
                    f"{self.folder} was moved, removed or replaced since it was opened; open it where it is now"
                )
            self._load()

    def bring_up_to_date(self, component: str, steps: Sequence[Step]) -> None:
        """Migrate the tables of code that is built on the index; see :mod:`mlret.index.storage.migration`.

        Parameters
        ----------
        component
            The name under which the version of the tables is kept: the ``kind`` of the manifest.
        steps
            All migration steps.
        """
        self._components[component] = steps
        upgrade(self.folder, self.records, component, steps)

    def vectors_of(self, rows: Sequence[int]) -> dict[int, NDArray[Any]]:
        """Return the vectors of row numbers, from the database or the segments.

        Rows that neither of them holds are missing from the result.
        """
        found = self.records.vectors_of(rows)
        if not self.space.keeps_vectors:
            found |= self.sealed_vectors([row for row in rows if row not in found])
        return found

    def sealed_vectors(self, rows: Sequence[int]) -> dict[int, NDArray[Any]]:
        """Return the vectors of those rows that are in intact segments."""
        found: dict[int, NDArray[Any]] = {}
        wanted = np.array(sorted(rows), dtype=np.int64)
        for segment in self.segments:
            positions = segment.positions_of(wanted)
            if not segment.torn and len(positions):
                numbers = segment.numbers[positions].tolist()
                found |= dict(zip(numbers, self.space.taken_out(segment, positions), strict=True))
        return found

    def tail_size(self) -> int:
        """Return the approximate size of the tail, without reading the tail."""
        if self._tail_size is None:
            self._tail_size = self.space.size_in(self.records, self.manifest.last_sealed_row + 1, self.last_row)
        return self._tail_size

    def append(
        self,
        documents: Sequence[Document],
        vectors: Any,
        replaced: Sequence[int] = (),
        also: Callable[[sqlite3.Connection, NDArray[np.int64]], None] | None = None,
    ) -> None:
        """Store documents and their vectors in one transaction. Call it within :meth:`writing`.

        Parameters
        ----------
        documents
            ``n`` documents.
        vectors
            The joined vectors of the documents; see :meth:`mlret.index.vectors.space.Space.joined`.
        replaced
            Rows to remove in the same transaction.
        also
            Called with the connection and the new row numbers, to write further tables in the same transaction.
        """
        with self.records.transaction() as connection:
            rows = self.records.append(documents, vectors, replaced=replaced)
            if also is not None:
                also(connection, rows)
        # This comes first: an interrupt after it may hide rows until the next refresh, but never duplicates them.
        self.last_row = int(rows[-1])
        if self._tail_size is not None:
            self._tail_size += self.space.size_of(vectors)
        if self._tail is not None:
            if self._tail.size > self.space.segment_size:
                self._tail = None  # Many rows are being added; the tail is read again if anybody searches.
            else:
                self._tail.add(rows, vectors)
        self._changed(replaced)

    def remove(self, rows: Sequence[int], also: Callable[[sqlite3.Connection], None] | None = None) -> None:
        """Remove records in one transaction. Call it within :meth:`writing`.

        Parameters
        ----------
        rows
            The row numbers.
        also
            Called with the connection, to write further tables in the same transaction.
        """
        with self.records.transaction() as connection:
            self.records.remove(rows)
            if also is not None:
                also(connection)
        self._changed(rows)

    def commit(self, write: Callable[[sqlite3.Connection], None]) -> None:
        """Commit changes to tables of code that is built on the index. Call it within :meth:`writing`."""
        with self.records.transaction() as connection:
            write(connection)
            self.records.touch()
        self._count()

    def _changed(self, removed: Sequence[int]) -> None:
        self._count()
        self._matching.cache_clear()
        if len(removed):
            self._dead = np.union1d(self._dead, np.array(removed, dtype=np.int64))

    def _count(self) -> None:
        self.changes = self.records.counter("changes")
        if self._lock is not None:
            self._lock.note(self.manifest.identity, self.changes)

    def switch(self, segments: Sequence[AnySegmentInfo], changes: Mapping[str, Any] | None = None) -> None:
        """Replace the list of sealed segments. Call it within :meth:`writing`.

        The manifest is written first, then what it makes superfluous is removed from the database, then the files that
        it does not name are removed.

        Parameters
        ----------
        segments
            The segments that the manifest names from now on.
        changes
            Other fields of the manifest with their new values.
        """
        kept = {info.main for info in self.manifest.segments}
        torn = {segment.info.main for segment in self.segments if segment.torn}
        written = next_manifest(self.records, self.manifest, {"segments": tuple(segments), **(changes or {})})
        manifest = written.manifest
        write_manifest(self.folder, written)
        # A row number up to the last sealed one is in a segment that was kept, or in none.
        covered = [(info.first_row, info.last_row) for info in segments if info.main in kept]
        whole = [(info.first_row, info.last_row) for info in segments if info.main not in torn]
        self.records.settle(
            gaps_between(covered, manifest.last_sealed_row),
            manifest.generation,
            written.text,
            vectors=() if self.space.keeps_vectors else whole,
        )
        self.files.remove_all_but(manifest.files)
        self._load()

    def sealer(self) -> Sealer:
        """Return a sealer, which writes segments into this folder."""
        return self.space.sealer(self.records)

    def close(self) -> None:
        """Close the database and release the vectors."""
        self.records.close()
        self.segments, self._tail = [], self.space.tail()

    def _load(self) -> None:
        """Load the present state: the manifest first, so that the database is never the older of the two."""
        before = {segment.info: segment for segment in self.segments}
        manifest, segments = self._opened(before)
        last, changes = self.records.last_row(), self.records.counter("changes")
        if last < manifest.last_sealed_row:
            raise Corrupt(
                f"{self.records.path} is damaged: it ends at row {last}, but row {manifest.last_sealed_row} was sealed;"
                " restore the folder from a copy"
            )
        if changes != self.changes or manifest.generation != self.manifest.generation:
            self._dead = self.records.tombstones()
            self._matching.cache_clear()
        if self._tail is not None and manifest.last_sealed_row == self.manifest.last_sealed_row:
            for numbers, vectors in self.records.vectors(self.last_row + 1, last):
                self._tail.add(numbers, vectors)
        else:
            self._tail = None
        if last != self.last_row or manifest.generation != self.manifest.generation:
            self._tail_size = None
        self.manifest, self.segments, self.last_row, self.changes = manifest, segments, last, changes

    def _opened(self, before: Mapping[AnySegmentInfo, Any]) -> tuple[Manifest, list[Any]]:
        """Return the manifest that the database agrees with, and its segments, reusing those open ``before``."""
        for _ in range(_ROUNDS):
            manifest = self._agreed_manifest()
            if manifest is None:
                continue
            try:
                self._load_space(manifest)
                return manifest, [before.get(info) or self._open_segment(info) for info in manifest.segments]
            except _OutdatedError:
                continue
        raise Locked(f"{self.folder} is changed by another process all the time; try again when that is done")

    def _agreed_manifest(self) -> Manifest | None:
        """Return the manifest if the database agrees with it, and show that state to all reads from now on.

        Returns ``None`` if another process changed both in the meantime.
        """
        written = read_written(self.folder)
        self.records.snapshot()
        old = [name for name, steps in self._components.items() if self.records.version(name) < newest(steps)]
        for name in old:
            upgrade(self.folder, self.records, name, self._components[name])
        seen = written.checksum, self.records.counter("generation")
        if old or seen == self._agreed:
            return None if old else written.manifest
        try:
            check_agreement(self.folder, written, copy_in(self.records), self.records.counter("changes"))
        except DisagreementError:
            # The manifest is always written before the database, so an unchanged manifest means that no writer is at
            # work.
            if read_written(self.folder).checksum == written.checksum:
                raise
            return None
        self._agreed = seen
        return written.manifest

    def _load_space(self, manifest: Manifest) -> None:
        try:
            self.space.load(manifest)
        except TornFileError as error:
            if read_manifest(self.folder).codec != manifest.codec:
                raise _OutdatedError from error
            _log.warning("%s", error)

    def _open_segment(self, info: AnySegmentInfo) -> Any:
        try:
            segment = self.space.open(info, thorough=self._thorough)
        except TornFileError as error:
            self._check_current(info)
            _log.warning("%s; taking its vectors from %s", error, self.records.path)
            return self._from_records(info, error)
        try:
            self.space.open_accelerator(segment)
        except TornFileError as error:
            self._check_current(info)
            _log.warning("%s; searching without it until `mlret index verify --repair` builds it again", error)
        return segment

    def _check_current(self, info: AnySegmentInfo) -> None:
        if info not in read_manifest(self.folder).segments:
            raise _OutdatedError

    def _from_records(self, info: AnySegmentInfo, torn: TornFileError) -> Any:
        tail = self.space.tail()
        try:
            for numbers, vectors in self.records.vectors(info.first_row, info.last_row):
                tail.add(numbers, vectors)
        except DamagedVectorError as error:
            if self.space.keeps_vectors:
                raise
            raise Corrupt(
                f"{torn}, and vectors that are sealed are kept nowhere else: `mlret index verify --repair "
                f"{self.folder}` encodes the {info.rows} texts again"
            ) from error
        segment = tail.segment()
        segment.info = info
        segment.torn = True
        return segment

    def _mend(self) -> None:
        """Rewrite damaged segments, unless another process writes or the disk is read-only."""
        with contextlib.suppress(MlretError, OSError), WriterLock(self.folder / LOCK, timeout=0.5):
            sealer = self.sealer()
            infos = [sealer.rewrite(segment) if segment.torn else segment.info for segment in self.segments]
            self.switch([info for info in infos if info is not None], sealer.changes)


class _OutdatedError(MlretError):
    """A manifest was replaced while it was read."""


def space_of(files: SealedFiles, manifest: Manifest, device: Device = "cpu") -> Space:
    """Return the space for the vectors of an index, according to the similarity that its manifest names."""
    if manifest.similarity == "maxsim":
        return MaxSimSpace(files, manifest, device)
    return CosineSpace(files, manifest, device)


def gaps_between(ranges: Sequence[tuple[int, int]], last: int) -> list[tuple[int, int]]:
    """Return the parts of 1 … ``last`` that lie in none of some ranges.

    Parameters
    ----------
    ranges
        The first and the last number of each range, in ascending order.
    last
        The last number.

    Returns
    -------
    list of (int, int)
        The first and the last number of each gap.
    """
    gaps, start = [], 1
    for first, end in ranges:
        if first > start:
            gaps.append((start, first - 1))
        start = end + 1
    return [*gaps, (start, last)] if start <= last else gaps
