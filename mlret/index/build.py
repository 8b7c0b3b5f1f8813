"""Build an index from files in a single pass over them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlret.data.columns import Columns
from mlret.data.corpus import Corpus
from mlret.data.durable import fsync_folder
from mlret.data.files import LONGEST_LINE
from mlret.encoders.encoder import Encoder
from mlret.encoders.multi_vector import AnyEncoder, load_any_encoder
from mlret.encoders.precision import Precision, check_precision
from mlret.encoders.token_encoder import TokenEncoder
from mlret.errors import AlreadyExists, FingerprintError, InputError, MlretError
from mlret.index.hits import IndexInfo, Updated
from mlret.index.index import Index
from mlret.index.ingest import Existing
from mlret.index.settings import Choice, IndexSettings
from mlret.index.sharding.shards_manifest import check_shards, has_shards, record_contents
from mlret.index.storage.manifest import has_manifest
from mlret.index.store.new_folder import beside, check_vacant
from mlret.index.vectors.space import Vectors
from mlret.reporting.notebook import as_html
from mlret.wording import counted

Progress = Callable[[Updated, float | None], None]
Compacting = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class BuildReport:
    """The result of building or extending an index.

    Attributes
    ----------
    documents
        How many documents were added, replaced and skipped.
    blank
        The number of benchmark passages that have neither title nor text. They are not stored.
    seconds
        The time that reading, encoding and storing took.
    kinds
        The kind of each segment and why it was chosen; empty if the index was not compacted.
    index
        A summary of the index afterwards.
    unread
        The files of text that were found in a folder and skipped, because they hold no text or cannot be read.
    """

    documents: Updated
    blank: int
    seconds: float
    kinds: list[Choice]
    index: IndexInfo
    unread: list[str] = field(default_factory=list)

    @property
    def warnings(self) -> list[str]:
        """A sentence for each kind of what the encoder does not read of the documents of the index."""
        return self.index.warnings

    def _repr_html_(self) -> str:
        done = self.documents
        what = f"{done.added:,} added, {done.replaced:,} replaced, {done.skipped:,} skipped in {self.seconds:.1f} s"
        return f"<div>{as_html(what)}</div>{self.index._repr_html_()}"


def build_index(
    path: str | Path,
    sources: Sequence[str | Path] | Corpus,
    encoder: AnyEncoder | str | Path | None = None,
    *,
    settings: IndexSettings | None = None,
    shards: int | None = None,
    precision: Precision = "auto",
    vectors: Vectors | None = None,
    batch_size: int = 256,
    max_line: int = LONGEST_LINE,
    columns: Columns | None = None,
    progress: Progress | None = None,
    compacting: Compacting | None = None,
) -> BuildReport:
    """Build a new index from files.

    The index is built in ``.NAME.building`` beside ``path`` and is renamed to ``path`` when it is complete, so that
    nobody opens a partial index. A build that was interrupted, killed, or stopped by invalid input is kept, and the
    same call resumes it after its last batch: documents that are stored already and have not changed are read, compared
    and skipped.

    Parameters
    ----------
    path
        The folder to create.
    sources
        What to read: files, folders, patterns, or data sets of the hub; see :class:`mlret.data.corpus.Corpus`. A corpus
        is read as it is.
    encoder
        The encoder, its folder or its hub id; ``None`` for the bundled one.
    settings, shards
        As for :meth:`Index.create`.
    precision
        As for :func:`mlret.load_encoder`, if ``encoder`` names an encoder.
    vectors
        The vectors of the documents in the same order, as for :meth:`Index.add_batches`. If their number differs from
        that of the documents, nothing is stored. By default the texts are encoded.
    batch_size
        Number of documents in one transaction.
    max_line
        The longest line of a text file that is accepted, in bytes.
    columns
        Columns of tables and keys of records that are read under another name: ``{"body": "text", "sku": "id"}``.
    progress
        Called after each batch with what it did and the fraction of the input that has been read, or ``None`` if that
        is unknown.
    compacting
        Called while the segments are merged at the end; see :meth:`Index.compact`.

    Returns
    -------
    BuildReport
        What was stored.

    Raises
    ------
    InputError
        If a file is missing or malformed, an id occurs twice, something exists at ``path`` already, or a build with
        other settings was begun there.
    FingerprintError
        If the folder holds an index, or an unfinished build, of another encoder.
    MlretError
        If an unfinished build holds documents that the files do not have.
    """
    path = Path(path)
    check_precision(precision)
    if shards is not None:
        check_shards(shards)
    corpus = sources if isinstance(sources, Corpus) else Corpus(sources, max_line=max_line, columns=columns)
    if has_manifest(path):  # An encoder that is named is loaded, to compare it with the index; the default is not.
        with Index.open(path, encoder) as index:
            raise AlreadyExists(
                f"{path} is an index of {counted(len(index), 'document')} already: add to it (`extend_index`), or "
                "remove it first"
            )
    check_vacant(path)
    encoder = encoder if isinstance(encoder, Encoder | TokenEncoder) else load_any_encoder(encoder, precision=precision)
    building = beside(path, "building")
    begun = building.exists()
    with (
        _resumed(building, encoder, settings, shards)
        if begun
        else Index.create(building, encoder, settings=settings, shards=shards) as index
    ):
        try:
            existing: Existing = "replace" if begun else "error"
            report = _fill(index, corpus, vectors, batch_size, existing, progress)
            _check_complete(report, building)
            kinds = index.compact_if_due(compacting)
            index.seal()
            if shards is not None:
                record_contents(building)
            report = replace(report, kinds=kinds, index=index.info())
        except InputError as error:
            if not len(index):
                index.close()
                shutil.rmtree(building)
                raise
            raise type(error)(
                f"{error} (stored before it: {counted(len(index), 'document')}; fix it and repeat the call to resume)"
            ) from error
        except BaseException:
            if not len(index):
                index.close()
                shutil.rmtree(building)
            raise
    try:
        building.replace(path)
    except OSError as error:  # Another process has created the folder in the meantime.
        raise MlretError(f"{path} cannot be made ({error.strerror}); what was stored is in {building}") from error
    fsync_folder(path.parent)
    return replace(report, index=replace(report.index, path=str(path)))


def _resumed(building: Path, encoder: AnyEncoder, settings: IndexSettings | None, shards: int | None) -> Index:
    """Open an unfinished build, and raise if it has another encoder, other settings or another number of shards."""
    fix = f"name another folder, or remove {building} to start again"
    try:
        index = Index.open(building, encoder)
    except FingerprintError as error:
        raise FingerprintError(f"a build with another encoder was begun here: {fix}") from error
    if index.manifest.settings != (settings or IndexSettings()):
        index.close()
        raise InputError(f"a build with other settings was begun here: {fix}")
    if has_shards(building) != (shards is not None) or len(index.shards) != (shards or 1):
        index.close()
        raise InputError(f"a build with another number of shards was begun here: {fix}")
    return index


def _check_complete(report: BuildReport, building: Path) -> None:
    """Raise if an unfinished build, perhaps begun with other files, holds documents that these files do not have."""
    read = report.documents.added + report.documents.replaced + report.documents.skipped
    if read != report.index.documents:
        raise MlretError(
            f"the files have {counted(read, 'document')}, but the build that was begun here holds "
            f"{report.index.documents}: an id occurs twice, or documents were taken out since; remove "
            f"{building} to start again"
        )


def extend_index(
    path: str | Path,
    sources: Sequence[str | Path],
    encoder: AnyEncoder | str | Path | None = None,
    *,
    vectors: Vectors | None = None,
    batch_size: int = 256,
    max_line: int = LONGEST_LINE,
    columns: Columns | None = None,
    existing: Existing = "error",
    progress: Progress | None = None,
    compacting: Compacting | None = None,
) -> BuildReport:
    """Add the documents of files to an existing index.

    Parameters
    ----------
    path
        The folder of the index.
    sources, encoder, batch_size, max_line, columns, progress, compacting
        As for :func:`build_index`. By default the encoder is the one that the manifest names.
    vectors, existing
        As for :meth:`Index.add_batches`.

    Returns
    -------
    BuildReport
        What was stored.

    Raises
    ------
    InputError
        If a file is missing or malformed, or an id is stored already and ``existing`` is ``"error"``. The batches
        before it stay stored, and the message states how many documents they hold.
    """
    corpus = Corpus(sources, max_line=max_line, columns=columns)
    stored = Updated()

    def count(done: Updated, part: float | None) -> None:
        nonlocal stored
        stored += done
        if progress is not None:
            progress(done, part)

    with Index.open(path, encoder) as index:
        try:
            report = _fill(index, corpus, vectors, batch_size, existing, count)
        except InputError as error:
            if not stored.added + stored.replaced:
                raise
            raise type(error)(
                f"{error} (stored before it: {counted(stored.added + stored.replaced, 'document')}; "
                'fix it and repeat with `existing="skip"`)'
            ) from error
        kinds = index.compact_if_due(compacting)
        return replace(report, kinds=kinds, index=index.info())


def _fill(
    index: Index,
    corpus: Corpus,
    vectors: Vectors | None,
    batch_size: int,
    existing: Existing,
    progress: Progress | None,
) -> BuildReport:
    start = time.perf_counter()
    total = Updated()
    for done in index.add_batches(corpus, vectors=vectors, batch_size=batch_size, existing=existing):
        total += done
        if progress is None:
            continue
        if vectors is not None:  # The files were first read to their end, to count the documents.
            progress(done, (total.added + total.replaced + total.skipped) / len(vectors))
        else:
            progress(done, corpus.read_bytes / corpus.total_bytes if corpus.total_bytes else None)
    return BuildReport(total, corpus.blank, time.perf_counter() - start, [], index.info(), corpus.skipped)
