"""Send the documents of files to an index on a server."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mlret.client.client import ClientIndex
from mlret.client.index_verbs import Numbers
from mlret.data.columns import Columns
from mlret.data.corpus import Corpus
from mlret.data.files import LONGEST_LINE
from mlret.index.build import BuildReport
from mlret.index.hits import Updated
from mlret.index.ingest import Existing


def send_files(
    index: ClientIndex,
    sources: Sequence[str | Path],
    *,
    vectors: Numbers | None = None,
    batch_size: int = 256,
    max_line: int = LONGEST_LINE,
    columns: Columns | None = None,
    existing: Existing = "error",
    progress: Callable[[Updated, float | None], None] | None = None,
) -> BuildReport:
    """Add the documents of files to an index on a server, as :func:`mlret.index.build.extend_index` does in a folder.

    Parameters
    ----------
    index
        The index.
    sources, max_line, columns
        What to read, the longest line, and columns that are read under another name; see
        :class:`mlret.data.corpus.Corpus`.
    vectors, batch_size, existing
        As for :meth:`mlret.client.client.ClientIndex.add_batches`.
    progress
        Called after each batch with what it did and the fraction of the input that has been read, or ``None`` if that
        is unknown.

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
    start, total = time.perf_counter(), Updated()
    for done in index.add_batches(corpus, vectors=vectors, batch_size=batch_size, existing=existing):
        total += done
        if progress is not None:
            progress(done, corpus.read_bytes / corpus.total_bytes if corpus.total_bytes else None)
    return BuildReport(total, corpus.blank, time.perf_counter() - start, [], index.info(), corpus.skipped)
