"""The folder of an index: keeps records and vectors consistent whatever happens between two writes."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.data.documents import Document
from mlret.errors import Corrupt, Locked, MlretError
from mlret.index.filtering.filters import Condition
from mlret.index.sqlite.database import read_only
from mlret.index.storage.agreement import DisagreementError, check_agreement, check_changes, copy_in
from mlret.index.storage.generations import finish, gaps_between, next_manifest, settle, upgrade
from mlret.index.storage.lock import LOCK, WriterLock, noted_changes
from mlret.index.storage.manifest import (
    FORMAT_VERSION,
    AnySegmentInfo,
    Manifest,
    read_manifest,
    read_written,
    write_manifest,
)
from mlret.index.storage.migration import FORMAT, STEPS, Step, newest
from mlret.index.storage.passages import Spans, expand
from mlret.index.storage.records import RECORDS, Records
from mlret.index.storage.sealed import SealedFiles
from mlret.index.storage.unread import Note, write_notes
from mlret.index.storage.vector_table import VectorTable
from mlret.index.store.new_folder import check_name
from mlret.index.store.opening import OutdatedError, SegmentOpener, space_of
from mlret.index.vectors.exact import Device
from mlret.index.vectors.faiss_index import check_faiss
from mlret.index.vectors.segments import Rows
from mlret.index.vectors.space import AnySealer, AnySpace, Joined, OpenTail, View

_FILTERS_KEPT = 64
# Each time that another process changes the segments while they are being opened, opening starts over, at most this
# often.
_ROUNDS = 100


class Store:
    """An open index folder.

    It shows the records that were committed when it was opened or at the last :meth:`refresh`, and its own changes
    since.

    Parameters
    ----------
    folder
        The folder of the index.
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
    vectors: VectorTable[Joined]
    space: AnySpace
    segments: list[Rows]
    last_row: int
    last_sealed_row: int
    changes: int

    def __init__(self, folder: Path, *, device: Device = "cpu") -> None:
        check_faiss()
        check_name(folder)
        self.folder = folder
        self.device = device
        self.lock = WriterLock(folder / LOCK)
        self.files = SealedFiles(folder)
        self.manifest = read_manifest(folder)
        self.space = space_of(self.files, self.manifest, device)
        # Read this before the database is opened, so that the database then counts at least as many changes.
        noted = noted_changes(folder / LOCK, self.manifest.identity)
        self.records = Records(folder / RECORDS, lexical=self.manifest.settings.lexical)
        self.vectors = VectorTable(self.records, self.space.blobs)
        self._opener = SegmentOpener(folder, self.space, self.records, self.vectors)
        self.segments, self.last_row, self.last_sealed_row = [], 0, self.manifest.last_sealed_row
        self._tail: OpenTail[Rows, Joined] | None = None
        self._tail_size: int | None = None
        self._dead: NDArray[np.int64] | None = None
        self.changes = -1
        self._agreed: tuple[str, int] | None = None
        self._components: dict[str, Sequence[Step]] = {FORMAT: STEPS}
        self._matching = lru_cache(_FILTERS_KEPT)(self._find_matching)
        try:
            check_changes(folder, self.records.changes, noted, LOCK)
            self._load()
            if any(segment.torn for segment in self.segments):
                self._repair()
        except BaseException:
            self.records.close()
            raise

    def __len__(self) -> int:
        return self.records.counter("documents")

    @property
    def tail(self) -> OpenTail[Rows, Joined]:
        """The vectors that are in no sealed segment, read from the database when they are first needed."""
        with self.records.lock:
            if self._tail is None:
                tail = self.space.tail()
                for numbers, vectors in self.vectors.batches(self.last_sealed_row + 1, self.last_row):
                    tail.add(numbers, vectors)
                self._tail = tail
            return self._tail

    def dead_rows(self) -> NDArray[np.int64]:
        """Return the deleted rows that segments may hold, ``(n,)`` int64, ascending; read when they are first needed.

        Raises
        ------
        MlretError
            If their list is damaged.
        """
        with self.records.lock:
            if self._dead is None:
                self._dead = self.records.tombstones.read()
            return self._dead

    def views(self, allowed: NDArray[np.int64] | None = None) -> list[View[Rows]]:
        """Return what can be searched: the sealed segments without their deleted rows, and the tail.

        Parameters
        ----------
        allowed
            ``(m,)`` row numbers in ascending order: the only rows to search. Only what may hold some of them is then
            returned. ``None`` for all rows.
        """
        with self.records.lock:
            segments = list(self.segments)
            if allowed is not None and len(allowed):
                first, last = int(allowed[0]), int(allowed[-1])
                segments = [one for one in segments if one.info.first_row <= last and first <= one.info.last_row]
            if allowed is None or (len(allowed) and allowed[-1] > self.last_sealed_row):
                segments.append(self.tail.segment())
            return [self._view(segment, allowed) for segment in segments]

    def _view(self, segment: Rows, allowed: NDArray[np.int64] | None) -> View[Rows]:
        if allowed is not None:  # These rows come from the database, which has no deleted ones.
            return View(segment, segment.positions_of(allowed))
        dead = segment.positions_of(self.dead_rows())
        if not len(dead):
            return View(segment)
        alive = np.ones(len(segment), dtype=np.bool_)
        alive[dead] = False
        return View(segment, np.flatnonzero(alive))

    def dead_in(self, segment: Rows) -> int:
        """Return how many rows of a segment were deleted."""
        return len(segment.positions_of(self.dead_rows()))

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
        with self.lock, self.records.lock:
            self.refresh()
            if self.records.generation < self.manifest.generation:
                # A writer was killed between writing the manifest and the database.
                finish(self.records, read_written(self.folder))
            self.dead_rows()  # If their list is damaged, that is noticed before anything is written.
            yield

    def refresh(self) -> None:
        """Load what other processes have committed since the last refresh.

        Raises
        ------
        MlretError
            If the folder was moved, removed or replaced since it was opened.
        """
        with self.records.lock:
            if not self.records.file.in_place:
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
        self.records.expect(component, newest(steps))
        upgrade(self.folder, self.records, component, steps)

    def vectors_of(self, rows: Sequence[int]) -> dict[int, NDArray[Any]]:
        """Return the vectors of row numbers, from the database or the segments.

        Rows that neither of them holds are missing from the result.
        """
        found = self.vectors.of(rows)
        if len(found) < len(rows):
            found |= self.sealed_vectors([row for row in rows if row not in found])
        return found

    def vectors_of_records(self, rows: Sequence[int]) -> dict[int, NDArray[Any]]:
        """Return one vector, or one matrix of tokens, for each document, made of those of all its passages.

        Parameters
        ----------
        rows
            The rows of records.

        Returns
        -------
        dict
            Row -> ``(dims,)`` or ``(t, dims)`` float32, without the rows that are no longer stored.
        """
        every = self._rows_of(rows)
        found = self.vectors_of(every)
        if len(every) == len(rows):
            return found
        owners = self.records.passages.owners(np.array(every, dtype=np.int64)).tolist()
        together: dict[int, list[NDArray[Any]]] = {}
        for row, owner in zip(every, owners, strict=True):
            if row in found:  # Another thread may have deleted the document meanwhile.
                together.setdefault(owner, []).append(found[row])
        return {row: some[0] if len(some) == 1 else self.space.of_passages(some) for row, some in together.items()}

    def sealed_vectors(self, rows: Sequence[int]) -> dict[int, NDArray[Any]]:
        """Return the vectors of those rows that are in segments; rows that were removed are missing from the result."""
        found: dict[int, NDArray[Any]] = {}
        wanted = np.setdiff1d(np.array(sorted(rows), dtype=np.int64), self.dead_rows())
        for segment in self.segments:
            positions = segment.positions_of(wanted)
            if len(positions):
                numbers = segment.numbers[positions].tolist()
                found |= dict(zip(numbers, self.space.taken_out(segment, positions), strict=True))
        return found

    def tail_size(self) -> int:
        """Return the approximate size of the tail, without reading the tail."""
        if self._tail_size is None:
            self._tail_size = self.space.size_in(self.vectors, self.last_sealed_row + 1, self.last_row)
        return self._tail_size

    def append(
        self,
        documents: Sequence[Document],
        vectors: Joined,
        replaced: Sequence[int] = (),
        also: Callable[[sqlite3.Connection, NDArray[np.int64]], None] | None = None,
        notes: Sequence[Note | None] = (),
        spans: Sequence[Spans] = (),
    ) -> None:
        """Store documents and their vectors in one transaction. Call it within :meth:`writing`.

        Parameters
        ----------
        documents
            ``n`` documents.
        vectors
            The joined vectors of the documents, or of the passages of each, one document after another; see
            :meth:`mlret.index.vectors.space.Space.joined`.
        replaced
            Rows of records to remove in the same transaction.
        also
            Called with the connection and the new row numbers of the documents, to write further tables in the same
            transaction.
        notes
            What the encoder does not read of each document; by default everything is read.
        spans
            The passages of each document, empty for one vector; by default each has one vector.
        """
        gone = self._rows_of(replaced)
        if not any(map(len, spans)):
            spans = ()
        elif self.manifest.format_version < FORMAT_VERSION:
            # Versions of mlret that know no passages refuse the folder from now on.
            self.switch(self.manifest.segments)
        with self.records.transaction() as connection:
            rows = self.records.append(documents, replaced=replaced, spans=spans)
            if any(notes):
                write_notes(connection, rows.tolist(), notes)
            if also is not None:
                also(connection, rows)
            if spans:
                rows = expand(rows, np.array([len(one) or 1 for one in spans], dtype=np.int64))
            self.vectors.add(rows.tolist(), vectors)
        # This comes first: an interrupt after it may hide rows until the next refresh, but never duplicates them.
        self.last_row = int(rows[-1])
        if self._tail is not None and self.tail_size() > self.space.segment_size:
            self._tail = None  # Many rows are being added; the tail is read again if anybody searches.
        if self._tail is not None:
            self._tail_size = self._tail.add(rows, vectors)
        elif self._tail_size is not None:
            self._tail_size += self.space.size_of(vectors)
        self._changed(gone)

    def remove(self, rows: Sequence[int], also: Callable[[sqlite3.Connection], None] | None = None) -> None:
        """Remove records in one transaction. Call it within :meth:`writing`.

        Parameters
        ----------
        rows
            The rows of the records.
        also
            Called with the connection, to write further tables in the same transaction.
        """
        gone = self._rows_of(rows)
        with self.records.transaction() as connection:
            self.records.remove(rows)
            if also is not None:
                also(connection)
        self._changed(gone)

    def commit(self, write: Callable[[sqlite3.Connection], None]) -> None:
        """Commit changes to tables of code that is built on the index. Call it within :meth:`writing`."""
        with self.records.transaction() as connection:
            write(connection)
            self.records.touch()
        self._count()

    def _rows_of(self, records: Sequence[int]) -> Sequence[int]:
        """Return all rows of the documents whose records are in some rows."""
        if not self.records.passages.any:
            return records
        rows: list[int] = self.records.passages.expanded(np.unique(np.array(records, dtype=np.int64))).tolist()
        return rows

    def _changed(self, removed: Sequence[int]) -> None:
        self._count()
        self._matching.cache_clear()
        if len(removed) and self._dead is not None:
            self._dead = np.union1d(self._dead, np.array(removed, dtype=np.int64))

    def _count(self) -> None:
        self.changes = self.records.changes
        self.lock.note(self.manifest.identity, self.changes)

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
        following = {"format_version": FORMAT_VERSION, "segments": tuple(segments), **(changes or {})}
        written = next_manifest(self.records, self.manifest, following)
        manifest = written.manifest
        write_manifest(self.folder, written)
        # A row number up to the last sealed one is in a segment that was kept, or in none.
        covered = [(info.first_row, info.last_row) for info in segments if info.main in kept]
        settle(
            self.records,
            written,
            gaps=gaps_between(covered, manifest.last_sealed_row),
            vectors=self._rows_in_segments_only(segments),
        )
        self.files.remove_all_but(manifest.files)
        self._load()

    def has_sealed_vectors(self) -> bool:
        """Return whether the database has vectors that are kept in segments only.

        A writer has left them that was killed between writing the manifest and removing them.
        """
        return any(self.vectors.has_any(*rows) for rows in self._rows_in_segments_only(self.manifest.segments))

    def _rows_in_segments_only(self, segments: Sequence[AnySegmentInfo]) -> list[tuple[int, int]]:
        """Return the first and the last row of each segment whose vectors need not stand in the database."""
        torn = {segment.info.main for segment in self.segments if segment.torn}
        alone = [info for info in segments if info.main not in torn and self.space.stands_alone(info)]
        return [(info.first_row, info.last_row) for info in alone]

    def sealer(self) -> AnySealer:
        """Return a sealer, which writes segments into this folder."""
        return self.space.sealer(self.vectors)

    def close(self) -> None:
        """Close the database and release the vectors."""
        self.records.close()
        self.segments, self._tail = [], self.space.tail()

    def _load(self) -> None:
        """Load the present state: the manifest first, so that the database is never the older of the two."""
        manifest, segments = self._opened()
        changes = self.records.changes
        if changes == self.changes and manifest is self.manifest and segments is self.segments:
            return
        last, sealed = self.records.last_row(), manifest.last_sealed_row
        if last < sealed:
            raise Corrupt(
                f"{self.records.path} is damaged: it ends at row {last}, but row {sealed} was sealed; restore the "
                "folder from a copy"
            )
        if changes != self.changes or manifest.generation != self.manifest.generation:
            self._dead = None
            self._matching.cache_clear()
        if self._tail is not None and sealed != self.last_sealed_row:
            self._tail = None
        if self._tail is not None and last > self.last_row:
            for numbers, vectors in self.vectors.batches(self.last_row + 1, last):
                self._tail.add(numbers, vectors)
        if last != self.last_row or manifest.generation != self.manifest.generation:
            self._tail_size = None
        self.manifest, self.segments = manifest, segments
        self.last_row, self.last_sealed_row, self.changes = last, sealed, changes

    def _opened(self) -> tuple[Manifest, list[Rows]]:
        """Return the manifest that the database agrees with, and its segments, reusing those that are open."""
        for _ in range(_ROUNDS):
            manifest = self._agreed_manifest()
            if manifest is None:
                continue
            if manifest is self._opener.loaded and manifest is self.manifest:
                return manifest, self.segments
            with contextlib.suppress(OutdatedError):
                before = {segment.info: segment for segment in self.segments}
                return manifest, self._opener.open_all(manifest, before)
        raise Locked(f"{self.folder} is changed by another process all the time; try again when that is done")

    def _agreed_manifest(self) -> Manifest | None:
        """Return the manifest if the database agrees with it, and show that state to all reads from now on.

        Returns ``None`` if another process changed both in the meantime.
        """
        written = read_written(self.folder)
        self.records.snapshot()
        old = self.records.outdated
        for name in old:
            upgrade(self.folder, self.records, name, self._components[name])
        seen = written.checksum, self.records.generation
        if old or seen == self._agreed:
            return None if old else written.manifest
        try:
            check_agreement(self.folder, written, copy_in(self.records), self.records.changes)
        except DisagreementError:
            # The manifest is always written before the database, so an unchanged manifest means that no writer is at
            # work.
            if read_written(self.folder).checksum == written.checksum:
                raise
            return None
        self._agreed = seen
        return written.manifest

    def _repair(self) -> None:
        """Rewrite damaged segments, unless another process writes or the disk is read-only."""
        with contextlib.suppress(MlretError, OSError), WriterLock(self.folder / LOCK, timeout=0.5):
            sealer = self.sealer()
            infos = [sealer.rewrite(segment) if segment.torn else segment.info for segment in self.segments]
            self.switch([info for info in infos if info is not None], sealer.changes)
