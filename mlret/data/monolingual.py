"""Read monolingual documents as lists of sentences, from JSONL, plain text, Parquet or a Hugging Face dataset."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mlret.data.detection import DETECTION_CHARACTERS, detect_language
from mlret.data.files import COMPRESSIONS, read_lines
from mlret.data.json_text import decode_json
from mlret.data.languages import normalise_language
from mlret.data.sentences import split_sentences
from mlret.data.unicode_text import check_unicode
from mlret.errors import CorruptInput, InputError, NotFound, first_line, require

_KINDS = (".jsonl", ".ndjson", ".txt", ".parquet")
# Without this limit, a text file without blank lines would be one document, held in memory completely.
_MOST_LINES = 10_000
_PARQUET_ROWS = 256
_PARQUET_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class MonolingualDocument:
    """The ordered sentences of one document.

    Attributes
    ----------
    language
        Normalised language code (:func:`mlret.data.languages.normalise_language`).
    sentences
        At least one sentence; each is stripped and not empty.
    """

    language: str
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TextColumns:
    """The names of the keys (JSONL) or columns (Parquet, Hugging Face datasets) to read.

    Attributes
    ----------
    text
        Name of the running text, a string, which is split into sentences.
    sentences
        Name of the list of sentences, which takes precedence over ``text`` if a record has both.
    language
        Name of the language code, which may be in any spelling.
    """

    text: str = "text"
    sentences: str = "sents"
    language: str = "lang"


def is_text_file(path: Path) -> bool:
    """Whether :func:`read_monolingual` supports a file with this name."""
    return _kind_of(path) is not None


def _kind_of(path: Path) -> str | None:
    """Return the suffix of a text file, ignoring that of its compression; ``None`` if it is not supported."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compressed = bool(suffixes) and suffixes[-1] in COMPRESSIONS
    kind = "".join((suffixes[:-1] if compressed else suffixes)[-1:])
    return kind if kind in _KINDS and not (compressed and kind == ".parquet") else None


def read_monolingual(
    path: Path, *, language: str | None = None, columns: TextColumns = TextColumns(), as_found: bool = False
) -> Iterator[MonolingualDocument]:
    """Stream the documents of a file; memory use does not grow with the size of the file.

    Parameters
    ----------
    path
        The format depends on the suffix. ``.jsonl`` or ``.ndjson``: one object per line. ``.txt``: one sentence per
        line and a blank line between documents; more than 10,000 lines without a blank line are split into several
        documents. ``.parquet``: one document per row. All except Parquet may be compressed (``.gz``, ``.bz2``,
        ``.xz``).
    language
        Language of documents for which the file states none; what the file states takes precedence.
    columns
        The names of keys or columns.
    as_found
        Whether to be lenient with files that were not prepared for mlret: the language of a document that does not
        state one is detected (a document that is too short for that has the language of the one before), lines of plain
        text may hold several sentences, and a file may be empty.

    Returns
    -------
    iterator of MonolingualDocument
        The documents in the order of the file. Records without any text are skipped.

    Raises
    ------
    InputError
        At once if the suffix or the language is unknown, or the language of a text file is not given; while reading if
        the file is missing, damaged or without a document, or a record is malformed. The message names the file and the
        line (Parquet: the row, from 1).
    MissingExtraError
        If a package for Parquet or for sentence splitting is not installed.
    """
    kind = _kind_of(path)
    if kind is None:
        raise InputError(
            f"{path}: unknown kind of file; give .jsonl, .jsonl.gz, .txt, .txt.gz (.ndjson, .bz2 and .xz do, too) or "
            ".parquet"
        )
    given = None if language is None else normalise_language(language)
    detect = _Detector() if as_found and given is None else None
    if kind == ".txt":
        if given is None and detect is None:
            raise InputError(f"{path}: a text file does not state its language; give it, e.g. 'sw'")
        documents = _read_text(path, given, detect, split=as_found)
    elif kind == ".parquet":
        documents = _read_parquet(path, given, columns, detect)
    else:
        documents = _read_jsonl(path, given, columns, detect)
    return documents if as_found else _not_empty(documents, f"{path}: empty file; expected at least one document")


class _Detector:
    """Detects the language of consecutive texts; a text that is too short has the language of the one before."""

    def __init__(self) -> None:
        self._last: str | None = None

    def __call__(self, text: str) -> str | None:
        """Return the language, or ``None`` if the text has no words and there was no text before."""
        detected = detect_language(text[:DETECTION_CHARACTERS])
        self._last = detected or self._last or detect_language(text[:DETECTION_CHARACTERS], confidence=0)
        return self._last


def read_hub(
    dataset: str,
    *,
    config: str | None,
    split: str,
    language: str | None,
    columns: TextColumns,
    limit: int | None = None,
) -> Iterator[MonolingualDocument]:
    """Stream the documents of a Hugging Face dataset, without downloading it completely.

    Parameters
    ----------
    dataset
        The name on the hub, e.g. ``"wikimedia/wikipedia"``, or a local folder of files that ``datasets.load_dataset``
        understands. Code that comes with a dataset is never run.
    config
        The configuration, e.g. ``"20231101.sw"``; ``None`` for the default one.
    split
        The split, e.g. ``"train"``.
    language
        Language of documents for which the dataset states none; what the dataset states takes precedence.
    columns
        The names of the columns.
    limit
        Maximum number of documents; ``None`` for all.

    Returns
    -------
    iterator of MonolingualDocument
        The documents in the order of the dataset. Records without any text are skipped.

    Raises
    ------
    InputError
        At once if the language is unknown, the limit is below 1, the dataset, configuration, split or column does not
        exist, or the hub cannot be reached; while reading if a record is malformed, the split has no document, or the
        connection is lost.
    MissingExtraError
        If the package ``datasets`` is not installed.
    """
    given = None if language is None else normalise_language(language)
    if limit is not None and limit < 1:
        raise InputError(f"{dataset}: the limit is {limit}; give 1 or more, or none for all documents")
    where = dataset if config is None else f"{dataset} ({config})"
    datasets = require("datasets", extra="train", feature="reading Hugging Face datasets")
    errors = (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError)
    try:
        stream = datasets.load_dataset(dataset, config, split=split, streaming=True)
    except errors as error:
        raise _hub_error(where, split, error) from error
    # With some formats, the columns are only known from the records.
    if stream.column_names is not None:
        stream = stream.select_columns(
            _wanted_columns(stream.column_names, columns, f"{where}: split {split!r}", language_known=given is not None)
        )

    def read() -> Iterator[MonolingualDocument]:
        records = iter(stream)
        number = 0
        while True:
            number += 1
            try:
                record = next(records)
            except StopIteration:
                return
            except errors as error:
                raise _hub_error(where, split, error) from error
            document = _document(record, f"{where}: split {split!r}, row {number}", given, columns)
            if document is not None:
                yield document

    return _not_empty(islice(read(), limit), f"{where}: split {split!r} has no document with text; choose another")


def _not_empty(documents: Iterator[MonolingualDocument], message: str) -> Iterator[MonolingualDocument]:
    empty = True
    for document in documents:
        empty = False
        yield document
    if empty:
        raise InputError(message)


def _read_jsonl(
    path: Path, language: str | None, columns: TextColumns, detect: _Detector | None
) -> Iterator[MonolingualDocument]:
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        record = decode_json(line, where)
        if not isinstance(record, dict):
            raise InputError(f"{where}: a JSON {type(record).__name__}, not an object; write one {{…}} per line")
        document = _document(record, where, language, columns, detect)
        if document is not None:
            yield document


def _read_text(
    path: Path, language: str | None, detect: _Detector | None, *, split: bool
) -> Iterator[MonolingualDocument]:
    for lines in _paragraphs(path):
        code = language or (detect(" ".join(lines)) if detect is not None else None)
        if code is None:
            continue
        sentences = [one for line in lines for one in split_sentences(line, code)] if split else lines
        yield MonolingualDocument(code, tuple(sentences))


def _paragraphs(path: Path) -> Iterator[list[str]]:
    """Yield the lines of a text file between two blank lines, at most ``_MOST_LINES`` at a time."""
    lines: list[str] = []
    last = 0
    for number, line in read_lines(path):
        # read_lines skips blank lines, so a gap in the line numbers is the end of a document.
        if lines and (number > last + 1 or len(lines) == _MOST_LINES):
            yield lines
            lines = []
        lines.append(line.strip())
        last = number
    if lines:
        yield lines


def _read_parquet(
    path: Path, language: str | None, columns: TextColumns, detect: _Detector | None
) -> Iterator[MonolingualDocument]:
    arrow = require("pyarrow", extra="train", feature="reading Parquet files")
    parquet = require("pyarrow.parquet", extra="train", feature="reading Parquet files")
    if not path.exists():
        raise NotFound(f"{path}: no such file")
    if not path.is_file():
        raise InputError(f"{path}: is a folder; name a file")
    try:
        # Without these two options, the whole column of a row group would be read at once.
        with parquet.ParquetFile(path, pre_buffer=False, buffer_size=_PARQUET_BUFFER_BYTES) as file:
            known = language is not None or detect is not None
            wanted = _wanted_columns(file.schema_arrow.names, columns, f"{path}", language_known=known)
            number = 0
            for batch in file.iter_batches(_PARQUET_ROWS, columns=wanted):
                for record in batch.to_pylist():
                    number += 1
                    document = _document(record, f"{path}: row {number}", language, columns, detect)
                    if document is not None:
                        yield document
    except PermissionError as error:
        raise InputError(f"{path}: may not be read; change its permissions") from error
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise CorruptInput(f"{path}: damaged or no Parquet file ({first_line(error)}); fetch it again") from error


def _wanted_columns(names: Collection[str], columns: TextColumns, where: str, *, language_known: bool) -> list[str]:
    """Return the columns to read, out of those that exist."""
    if columns.sentences not in names and columns.text not in names:
        raise InputError(
            f"{where}: no column {columns.sentences!r} or {columns.text!r}; name the one that holds the text, "
            f"there are {sorted(names)}"
        )
    if columns.language not in names and not language_known:
        raise InputError(
            f"{where}: no column {columns.language!r}; give the language, or name the column that holds it, "
            f"there are {sorted(names)}"
        )
    # In this order and without duplicates, since two of the three may have the same name.
    wanted = dict.fromkeys((columns.sentences, columns.text, columns.language))
    return [name for name in wanted if name in names]


def _document(
    record: Mapping[str, Any],
    where: str,
    language: str | None,
    columns: TextColumns,
    detect: _Detector | None = None,
) -> MonolingualDocument | None:
    """Return the document of a record; ``None`` if it has no text."""
    sentences, text = record.get(columns.sentences), record.get(columns.text)
    if columns.sentences not in record and columns.text not in record:
        raise InputError(
            f"{where}: a document needs the keys {columns.language!r} and {columns.sentences!r} (or {columns.text!r})"
        )
    if detect is not None and record.get(columns.language) in (None, ""):
        known = " ".join(map(str, sentences)) if isinstance(sentences, list) else text
        language = detect(known) if isinstance(known, str) else None
        if language is None and known is not None and not isinstance(known, str):
            language = "und"  # the record is malformed; the error is raised below
        elif language is None:
            return None
    language = _language(record.get(columns.language), where, language, columns)
    if sentences is not None:
        if not isinstance(sentences, list) or not all(isinstance(sentence, str) for sentence in sentences):
            raise InputError(
                f"{where}: {columns.sentences!r} must be a list of strings; give running text as {columns.text!r}"
            )
    elif not isinstance(text, str | None):
        raise InputError(
            f"{where}: {columns.text!r} is {type(text).__name__}, not a string; "
            f"give a list of sentences as {columns.sentences!r}"
        )
    check_unicode("".join(sentences or [text or ""]), f"{where}: the text", "drop the document, or fix it")
    if sentences is None:
        sentences = split_sentences(text or "", language)
    kept = tuple(stripped for sentence in sentences if (stripped := sentence.strip()))
    return MonolingualDocument(language, kept) if kept else None


def _language(value: object, where: str, given: str | None, columns: TextColumns) -> str:
    if value is None or value == "":
        if given is None:
            raise InputError(
                f"{where}: a document needs the key {columns.language!r}, or a language for the whole file"
            )
        return given
    if not isinstance(value, str):
        raise InputError(
            f"{where}: {columns.language!r} is {type(value).__name__}, not a string; use a code such as 'sw'"
        )
    try:
        return normalise_language(value)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _hub_error(where: str, split: str, error: Exception) -> InputError:
    if isinstance(error, ConnectionError | TimeoutError):
        return InputError(f"{where}: the Hugging Face Hub cannot be reached ({first_line(error)}); check the network")
    return InputError(
        f"{where}: split {split!r} cannot be read ({first_line(error)}); check the name, the configuration, the split"
    )
