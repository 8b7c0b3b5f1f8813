"""Build an index from files, in one pass over them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from mlret.data.documents import read_documents
from mlret.data.durable import fsync_folder
from mlret.encoders.encoder import Encoder, load_encoder
from mlret.errors import InputError, MlretError
from mlret.index.index import Index, IndexInfo
from mlret.index.manifest import MANIFEST
from mlret.index.store import beside, check_vacant


@dataclass(frozen=True, slots=True)
class BuildReport:
    """How many documents were stored, in how many seconds, and what the index holds now."""

    added: int
    seconds: float
    index: IndexInfo


def build_index(
    path: str | Path,
    files: Sequence[str | Path],
    encoder: Encoder | str | Path | None = None,
    *,
    batch_size: int = 256,
    progress: Callable[[int], None] | None = None,
) -> BuildReport:
    """Build a new index from files.

    The index is made beside ``path``, as ``.NAME.building``, and takes its name when it is whole, so that
    nobody opens half of it. Bad input leaves nothing behind. An interrupted build (Ctrl-C) keeps what it stored
    under its name: go on with :func:`extend_index` and ``skip_existing``. A killed one keeps it under the other
    name, and the next build says how to go on.

    Parameters
    ----------
    path
        The folder to make.
    files
        JSONL or TSV; see :func:`mlret.data.documents.read_documents`.
    encoder
        The encoder, its folder or hub id; ``None`` for the bundled one.
    batch_size
        Documents in one transaction.
    progress
        Called after each batch with the number of documents stored so far.

    Raises
    ------
    InputError
        If a file is missing or malformed, an id occurs twice, or something stands at ``path`` already, or at
        ``.NAME.building``: another build, running or killed.
    FingerprintError
        If what stands there is an index of another encoder.
    """
    path = Path(path)
    _check_files(files)
    encoder = encoder if isinstance(encoder, Encoder) else load_encoder(encoder)
    if (path / MANIFEST).exists():
        with Index.open(path, encoder) as index:
            raise InputError(
                f"{path} is an index of {len(index)} documents already: add to it with "
                f"`mlret index add {path} FILES` (--skip-existing to go on after an interrupt), "
                "or remove it first"
            )
    check_vacant(path)
    building = beside(path, "building")
    if building.exists():
        raise InputError(
            f"{building} is another build of {path}, running or killed: wait for it; or keep what it stored "
            f"(mv {building} {path}; then mlret index add {path} FILES --skip-existing); or remove it"
        )
    index = Index.create(building, encoder)
    try:
        report = _fill(index, files, batch_size, False, progress, seal=True)
    except BaseException as error:
        # What hours of encoding gave is kept, unless it came from input that turned out to be bad.
        keep = len(index) > 0 and not isinstance(error, InputError)
        index.close()
        if keep:
            _give_name(building, path)
        else:
            shutil.rmtree(building)
        raise
    index.close()
    _give_name(building, path)
    return replace(report, index=replace(report.index, path=str(path)))


def extend_index(
    path: str | Path,
    files: Sequence[str | Path],
    encoder: Encoder | str | Path | None = None,
    *,
    batch_size: int = 256,
    skip_existing: bool = False,
    progress: Callable[[int], None] | None = None,
) -> BuildReport:
    """Add the documents of files to an index; parameters as for :func:`build_index`.

    Raises
    ------
    InputError
        If a file is missing or malformed, or an id is stored already and ``skip_existing`` is false. The
        batches before it stay, and the message says how many documents they are.
    """
    _check_files(files)
    stored = 0

    def count(so_far: int) -> None:
        nonlocal stored
        stored = so_far
        if progress is not None:
            progress(so_far)

    with Index.open(path, encoder) as index:
        try:
            return _fill(index, files, batch_size, skip_existing, count, seal=False)
        except InputError as error:
            if not stored:
                raise
            raise type(error)(
                f"{error} ({stored} documents before it are stored; mend it and repeat with --skip-existing)"
            ) from error


def _fill(
    index: Index,
    files: Sequence[str | Path],
    batch_size: int,
    skip_existing: bool,
    progress: Callable[[int], None] | None,
    *,
    seal: bool,
) -> BuildReport:
    start = time.perf_counter()
    added = 0
    documents = chain.from_iterable(map(read_documents, files))
    for count in index.add_batches(documents, batch_size=batch_size, skip_existing=skip_existing):
        added += count
        if progress is not None:
            progress(added)
    if seal:
        index.seal()
    return BuildReport(added, time.perf_counter() - start, index.info())


def _give_name(building: Path, path: Path) -> None:
    try:
        building.replace(path)
    except OSError as error:  # something was put there meanwhile
        raise MlretError(f"{path} cannot be made ({error.strerror}); what was stored is in {building}") from error
    fsync_folder(path.parent)


def _check_files(files: Sequence[str | Path]) -> None:
    """Say at once, not after an hour, that the last file of many is missing."""
    if not files:
        raise InputError("no files to read; name at least one .jsonl or .tsv file")
    for file in files:
        if not Path(file).exists():
            raise InputError(f"{file}: no such file; check the path")
