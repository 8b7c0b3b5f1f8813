"""Stream the documents of a corpus from files, folders, the Hugging Face hub or standard input."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO

from mlret.data.archives import language_of_path
from mlret.data.columns import Columns, checked_columns
from mlret.data.documents import Document
from mlret.data.files import COMPRESSIONS, LONGEST_LINE, open_raw, open_standard_input, read_lines
from mlret.data.record_files import COMPRESSED_KINDS, RECORD_KINDS, Step, read_jsonl, record_reader, row_document
from mlret.data.tables import DOCUMENT_COLUMNS, hub_rows, open_hub
from mlret.data.text_files import TEXT_KINDS, FileWarning, text_reader
from mlret.errors import InputError, NotFound, warn

# Where benchmarks keep their passages, compressed or not.
_LAYOUTS = ("corpus.jsonl", "collection/docs.jsonl", "docs-*.jsonl", "docs.jsonl")


@dataclass(frozen=True, slots=True)
class Part:
    """One file or stream of a corpus.

    Attributes
    ----------
    name
        Name for messages; unique within a corpus.
    bytes
        Length in bytes; -1 if it is unknown.
    read
        Reads it from its start.
    language
        Language of the documents that do not state theirs.
    checked
        Whether its beginning is read before anything else is. A pipe cannot be read again.
    found
        Whether it is a file of text that was found in a folder: if it cannot be read, it is skipped with a warning.
    again
        Whether it can be read again, also by another process: it is not a pipe.
    """

    name: str
    bytes: int
    read: Callable[[], Iterator[Step]]
    language: str | None = None
    checked: bool = True
    found: bool = False
    again: bool = True


class Corpus:
    """Stream the documents of several sources, one after another; memory use does not grow with their number.

    All sources are checked before the first is read: each must exist, have a known format, and begin with a document
    (except for pipes). Duplicate ids are not checked here, since the index looks up every id anyway.

    Parameters
    ----------
    sources
        Each of:

        - a file of records: ``.jsonl`` or ``.ndjson`` (one object per line; see
          :func:`mlret.data.documents.document_from_mapping`), ``.json`` (an array of objects, an object with one such
          list, an object whose keys are ids and whose values are records, or one record), ``.csv`` or ``.tsv`` (the
          first line names the columns, ``id`` and ``text`` among them; others become metadata), these optionally
          compressed (``.gz``, ``.bz2``, ``.xz``); ``.parquet``, ``.arrow`` or ``.feather`` (columns like the keys of
          JSONL; ``metadata`` may be JSON text; columns that JSON cannot represent, such as images, are skipped);
        - a file of text: ``.txt``, ``.md``, ``.html`` and ``.docx`` are one document each, ``.pdf`` one for each page;
          see :func:`mlret.data.text_files.text_reader`;
        - a folder of BEIR (``corpus.jsonl``), Mr.TyDi (``collection/docs.jsonl.gz``) or MIRACL (``docs-*.jsonl.gz``),
          or a file of it; for Mr.TyDi and MIRACL the language is taken from the folder's name;
        - any other folder, or a pattern such as ``docs/**/*.md``: all files of these kinds in it, sorted; hidden files
          and folders are skipped, as are files of text that cannot be read, with a warning;
        - ``hub:NAME``, ``hub:NAME:CONFIG``, ``hub:NAME:CONFIG@SPLIT``: a data set of the Hugging Face hub, streamed;
        - ``-``, or a named pipe: JSONL, uncompressed.
    max_line
        Maximum length of a line of a text file, in bytes after decompression.
    columns
        Columns of tables and keys of records that are read under another name, e.g. ``{"body": "text", "sku": "id"}``.

    Attributes
    ----------
    total_bytes
        Total number of bytes to read; ``None`` if it is unknown for a source.
    read_bytes
        Number of bytes read so far; for compressed files, compressed bytes.
    blank
        Number of passages that were skipped because a benchmark has no title and text for them, as BEIR in FiQA. In
        your own documents, an empty text is an error.
    skipped
        Names of the files of text that were skipped because they hold no text or cannot be read.

    Raises
    ------
    InputError
        If there are no sources, or one is given twice, missing, of an unknown format, empty, or malformed at its start.
    MissingExtraError
        If a package that reads files of a kind is not installed.
    """

    def __init__(
        self, sources: Sequence[str | Path], *, max_line: int = LONGEST_LINE, columns: Columns | None = None
    ) -> None:
        self._max_line = max_line
        self._columns = checked_columns(columns)
        self.skipped: list[str] = []
        if not sources:
            raise InputError("no files to read; name at least one file or folder")
        self._parts = [part for source in sources for part in self._parts_of(source)]
        names: set[str] = set()
        for part in self._parts:
            if part.name in names:
                raise InputError(f"{part.name}: given twice; name each source once")
            names.add(part.name)
        for part in self._parts:
            if part.checked and all(document is None for _, document in part.read()):
                raise _empty(part)
        sizes = [part.bytes for part in self._parts]
        self.total_bytes = sum(sizes) if all(size >= 0 for size in sizes) else None
        self.read_bytes = 0
        self.blank = 0
        self._complete = True

    def __iter__(self) -> Iterator[Document]:
        """Stream the documents.

        Raises
        ------
        InputError
            If a source is empty or damaged, or a record is malformed; the message names the file and line (Parquet and
            hub: the row, from 1).
        """
        done = self.read_bytes = self.blank = count = 0
        self.skipped = []
        for part in self._parts:
            found = False
            for position, document in self._steps(part):
                self.read_bytes = done + position
                if document is None:
                    self.blank += 1
                    continue
                found = True
                if document.language is None and part.language is not None:
                    document = replace(document, language=part.language)
                yield document
            count += found
            if not found and part.name not in self.skipped:
                raise _empty(part)
            done += max(0, part.bytes)
            self.read_bytes = done
        if not count and self._complete:
            raise InputError(f"none of the {len(self._parts)} files can be read; see the warnings")

    def _parts_of(self, source: str | Path) -> list[Part]:
        name, columns = str(source), self._columns
        if name == "-":
            name = "standard input"
            return [self._stream(name, Path(name), open_standard_input)]
        if name.startswith("hub:"):
            return [_hub_part(name, columns)]
        path = Path(source)
        if not path.exists():
            if not glob.has_magic(name):
                raise NotFound(f"{path}: no such file; check the path")
            return self._found(name, _matches(name))
        if path.is_dir():
            if files := _benchmark_files(path):
                return [self._file(file) for file in files]
            return self._found(str(path), _files_in(path))
        if not path.is_file():
            return [self._stream(name, path, open_raw)]
        return [self._file(path)]

    def _stream(self, name: str, path: Path, opener: Callable[[Path], IO[bytes]]) -> Part:
        read = partial(read_jsonl, path, opener, columns=self._columns, longest=self._max_line)
        return Part(name, -1, read, checked=False, again=False)

    def _found(self, name: str, files: Sequence[Path]) -> list[Part]:
        """Return the parts of the files of known kinds that were found in a folder or by a pattern."""
        parts = [self._file(file, found=True) for file in files if _is_known(file)]
        if not parts:
            raise InputError(f"{name}: holds no files that can be read; {_KINDS_IN_WORDS} can be read")
        return parts

    def _file(self, path: Path, *, found: bool = False) -> Part:
        kind, compressed = _kind(path)
        if not _is_known(path):
            raise InputError(f"{path}: unknown kind of file; give {_KINDS_IN_WORDS}")
        if not compressed and (read := text_reader(path, kind)) is not None:
            size = path.stat().st_size
            return Part(str(path), size, partial(_texts, size, read), checked=not found, found=found)
        records = record_reader(path, kind, self._columns, self._max_line)
        assert records is not None
        return Part(str(path), path.stat().st_size, records, language_of_path(path))

    def _steps(self, part: Part) -> Iterable[Step]:
        """Stream the documents of a part; a file of text that was found in a folder is skipped if it cannot be read."""
        if not part.found:
            return part.read()
        try:
            return list(part.read())  # All of it is read first, so that it is stored completely or not at all.
        except InputError as error:
            self.skipped.append(part.name)
            warn(f"{error} (skipped)", FileWarning)
            return ()

    def divided(self, size: int) -> list[Corpus]:
        """Divide the sources into several corpora that hold the same documents in the same order.

        They can be pickled, so that other processes read them. Large files are not divided.

        Parameters
        ----------
        size
            The number of bytes from which on a corpus takes no further files.

        Raises
        ------
        InputError
            If a source is a pipe, which only this process can read.
        """
        groups: list[list[Part]] = []
        room = 0
        for part in self._parts:
            if not part.again:
                raise InputError(f"{part.name}: a stream is read by one process only; write it to a file first")
            if room <= 0:
                groups.append([])
                room = size
            groups[-1].append(part)
            room -= max(0, part.bytes)
        return [self._of(group) for group in groups]

    def _of(self, parts: list[Part]) -> Corpus:
        some = copy(self)
        some._parts, some.skipped, some.read_bytes, some.blank = parts, [], 0, 0
        some._complete = False  # If none of its files can be read, those of another corpus perhaps can.
        some.total_bytes = sum(part.bytes for part in parts) if all(part.bytes >= 0 for part in parts) else None
        return some

    def states(self) -> list[tuple[str, int, int]]:
        """Return of each source the name, the size in bytes, and the time of the last change in nanoseconds.

        The time is 0 where it is unknown.
        """
        found = []
        for part in self._parts:
            path = Path(part.name)
            found.append((part.name, part.bytes, path.stat().st_mtime_ns if path.is_file() else 0))
        return found


def _texts(size: int, read: Callable[[], Iterator[Document]]) -> Iterator[Step]:
    """Stream the documents of a file of text."""
    for document in read():
        yield size, document


def read_documents(path: str | Path, *, columns: Columns | None = None) -> Iterator[Document]:
    """Stream the documents of one source; see :class:`Corpus`.

    Parameters
    ----------
    path
        A file, a folder, a pattern or a data set of the hub.
    columns
        Columns of tables and keys of records that are read under another name.

    Returns
    -------
    iterator of Document
        The documents.

    Raises
    ------
    InputError
        If the source is missing, of an unknown kind, empty or damaged, or a record is not a document.
    """
    return iter(Corpus([path], columns=columns))


def read_collection_tsv(path: Path, language: str | None = None) -> Iterator[Document]:
    """Stream a collection of MS MARCO: lines of ``pid<TAB>text`` without a header.

    Blank passages, which some translations contain, are skipped.

    Parameters
    ----------
    path
        The file.
    language
        Language of all passages; ``None`` if it is unknown.

    Yields
    ------
    Document
        The passages, in the order of the file.

    Raises
    ------
    InputError
        If the file is missing or empty, or a line has another form.
    """
    number = 0
    for number, line in read_lines(path):
        name, tab, text = line.partition("\t")
        if not tab or not name:
            raise InputError(f"{path}:{number}: not pid<TAB>text; fix the line")
        if text.strip():
            yield Document(name, text, language, origin=f"{path}:{number}")
    if not number:
        raise InputError(f"{path}: the file is empty; give at least one document")


def _empty(part: Part) -> InputError:
    return InputError(f"{part.name}: the file is empty; give at least one document")


def _benchmark_files(folder: Path) -> list[Path]:
    """Return the files of a benchmark's corpus in the benchmark's own layout; none if the folder is another one."""
    for layout in _LAYOUTS:
        for pattern in (layout, f"{layout}.gz"):
            if found := sorted(folder.glob(pattern), key=_natural):
                return found
    return []


def _natural(path: Path) -> list[int | str]:
    return [int(piece) if piece.isdigit() else piece for piece in re.split(r"(\d+)", path.name)]


def _files_in(folder: Path) -> list[Path]:
    """Return the files below a folder, sorted; hidden ones and links to folders are skipped."""
    found: list[Path] = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        # Word marks a file that is open by one whose name starts with ~$.
        found += [Path(place, name) for name in files if not name.startswith((".", "~$"))]
    return sorted(file for file in found if file.is_file())


def _matches(pattern: str) -> list[Path]:
    """Return the files that a pattern matches, sorted; hidden ones are skipped unless the pattern names them."""
    found = sorted(Path(name) for name in glob.glob(pattern, recursive=True))  # noqa: PTH207
    if not found:
        raise NotFound(f"{pattern}: no such file; check the pattern")
    return [path for path in found if path.is_file()]


def _kind(path: Path) -> tuple[str, bool]:
    """Return the suffix of a file's name without that of a compression, and whether it has the latter."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compressed = bool(suffixes) and suffixes[-1] in COMPRESSIONS
    return "".join((suffixes[:-1] if compressed else suffixes)[-1:]), compressed


def _is_known(path: Path) -> bool:
    kind, compressed = _kind(path)
    return kind in (COMPRESSED_KINDS if compressed else (*RECORD_KINDS, *TEXT_KINDS))


_KINDS_IN_WORDS = (
    f"{', '.join(COMPRESSED_KINDS)}, optionally with {', '.join(COMPRESSIONS)}, or "
    f"{', '.join(kind for kind in (*RECORD_KINDS, *TEXT_KINDS) if kind not in COMPRESSED_KINDS)}"
)


def _hub_part(source: str, columns: Columns) -> Part:
    rows = open_hub(source, DOCUMENT_COLUMNS, columns)

    def read() -> Iterator[Step]:
        for number, record in enumerate(hub_rows(source, rows, columns), start=1):
            yield 0, row_document(record, f"{source}: row {number}")

    return Part(source, -1, read)
