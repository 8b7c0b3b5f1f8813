"""Documents: what an index stores. Read them from JSONL or TSV, one at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlret.data.files import read_lines
from mlret.data.languages import normalise_language
from mlret.errors import InputError

_LANGUAGE_KEYS = ("lang", "language")
_SENTENCE_KEYS = ("sents", "sentences")
# A filter on these names means the document's own field, so metadata may not shadow them.
RESERVED_KEYS = frozenset({"id", "text", *_LANGUAGE_KEYS})


@dataclass(frozen=True, slots=True)
class Document:
    """A text with its name, its language and whatever else is known about it.

    Parameters
    ----------
    id
        Names the document within an index; any non-empty string.
    text
        The text, in any language; not blank.
    language
        A language code in any spelling; kept in mlret's form. ``None`` where it is unknown.
    metadata
        JSON values by name. The names ``id``, ``text``, ``lang`` and ``language`` are taken.
    origin
        ``file:line`` that it was read from, for messages; no part of its identity.

    Raises
    ------
    InputError
        If the id or the text is empty or no valid Unicode, the language code is unknown, or the metadata is
        not JSON.
    """

    id: str
    text: str
    language: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    origin: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        where = f"{self.origin}: " if self.origin else ""
        _check_string(self.id, f"{where}the id", "give each document a name of its own")
        name = where or f"document {self.id!r}: "
        _check_string(self.text, f"{name}the text", "drop the document, or fill it in")
        if self.language is not None:
            if not isinstance(self.language, str):
                raise InputError(
                    f"{name}the language is {type(self.language).__name__}, not a string; "
                    "use an ISO 639 or BCP 47 code such as 'sw'"
                )
            try:
                code = normalise_language(self.language)
            except InputError as error:
                raise InputError(f"{name}{error}") from error
            object.__setattr__(self, "language", code)
        if not isinstance(self.metadata, dict) or not all(isinstance(key, str) for key in self.metadata):
            raise InputError(f"{name}metadata must be a dict whose keys are strings")
        if taken := RESERVED_KEYS & self.metadata.keys():
            raise InputError(f"{name}metadata may not use the name {min(taken)!r}; rename it")
        try:
            json.dumps(self.metadata, ensure_ascii=False, allow_nan=False).encode("utf-8")
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(
                f"{name}metadata is not JSON ({error}); keep to strings, numbers, booleans, lists and dicts"
            ) from error


def document_from_mapping(record: Mapping[str, Any], *, id: str | None = None, origin: str = "") -> Document:
    """Turn a decoded JSON object into a document.

    Parameters
    ----------
    record
        Has ``text``, or ``sents``/``sentences`` (a list, joined with a space); ``id`` (a string or an
        integer); perhaps ``lang``/``language``. A dict under ``metadata`` and all other keys become metadata.
    id
        The id to use where ``record`` has none.
    origin
        ``file:line``, for messages.

    Raises
    ------
    InputError
        If a key is missing or a value is of the wrong kind.
    """
    where = f"{origin}: " if origin else ""
    rest = dict(record)
    if rest.get("id") is None and id is None:
        raise InputError(f"{where}the key 'id' is missing; a document needs 'id' and 'text'")
    name = rest.pop("id", None)
    name = id if name is None else name
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    sentences = [rest.pop(key) for key in _SENTENCE_KEYS if key in rest]
    if "text" in rest:
        text = rest.pop("text")
    elif sentences:
        if not isinstance(sentences[0], list) or not all(isinstance(s, str) for s in sentences[0]):
            raise InputError(f"{where}the sentences must be a list of strings")
        text = " ".join(sentences[0])
    else:
        raise InputError(f"{where}the key 'text' is missing; a document needs 'id' and 'text' (or 'sents')")
    languages = [value for key in _LANGUAGE_KEYS if (value := rest.pop(key, None)) is not None]
    nested = rest.pop("metadata", None) or {}
    if not isinstance(nested, dict):
        raise InputError(f"{where}'metadata' must be an object")
    if twice := nested.keys() & rest.keys():
        raise InputError(f"{where}the key {min(twice)!r} stands both in 'metadata' and beside it; keep one")
    return Document(name, text, languages[0] if languages else None, {**nested, **rest}, origin)


def read_documents(path: str | Path) -> Iterator[Document]:
    """Stream the documents of a file.

    Parameters
    ----------
    path
        ``.jsonl`` with one object a line (see :func:`document_from_mapping`), or ``.tsv`` whose first line
        names the columns ``id``, ``text``, perhaps ``lang``; other columns become metadata. Either may be
        gzipped (``.gz``).

    Yields
    ------
    Document
        In the order of the file.

    Raises
    ------
    InputError
        If the file is missing, empty, damaged or of another kind, or a line is malformed or repeats an id;
        the message names file and line.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    kind = "".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:]).lower().removesuffix(".gz")
    if path.is_file() and kind not in (".jsonl", ".ndjson", ".tsv"):
        raise InputError(f"{path}: unknown kind of file; give .jsonl, .jsonl.gz, .tsv or .tsv.gz")
    line_of: dict[str, int] = {}
    for number, document in _read_tsv(path) if kind == ".tsv" else _read_jsonl(path):
        if document.id in line_of:
            raise InputError(
                f"{path}:{number}: the id {document.id!r} is already on line {line_of[document.id]}; make ids unique"
            )
        line_of[document.id] = number
        yield document
    if not line_of:
        raise InputError(f"{path}: the file is empty; give at least one document")


def _read_jsonl(path: Path) -> Iterator[tuple[int, Document]]:
    for number, line in read_lines(path):
        origin = f"{path}:{number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{origin}: not JSON ({error.msg} at column {error.colno}); one object a line") from error
        except (ValueError, RecursionError) as error:  # a number of 5000 digits, brackets 1000 deep
            raise InputError(f"{origin}: not JSON that can be read ({error}); one object a line") from error
        if not isinstance(record, dict):
            raise InputError(f"{origin}: a JSON {type(record).__name__}, not an object; write one {{…}} a line")
        yield number, document_from_mapping(record, origin=origin)


def _read_tsv(path: Path) -> Iterator[tuple[int, Document]]:
    columns: list[str] | None = None
    for number, line in read_lines(path):
        cells = line.split("\t")
        if columns is None:
            columns = [cell.strip() for cell in cells]
            for column in ("id", "text"):
                if column not in columns:
                    raise InputError(
                        f"{path}:{number}: the column {column!r} is missing; the first line must name the "
                        "columns, tab-separated: id, text, perhaps lang"
                    )
            if len(set(columns)) != len(columns) or "" in columns:
                raise InputError(f"{path}:{number}: a column name is repeated or empty; name each column once")
            continue
        if len(cells) != len(columns):
            raise InputError(
                f"{path}:{number}: {len(cells)} columns where the header has {len(columns)}; "
                "remove tabs and line breaks from the text"
            )
        record = {column: cell for column, cell in zip(columns, cells, strict=True) if cell or column in ("id", "text")}
        yield number, document_from_mapping(record, origin=f"{path}:{number}")


def _check_string(value: object, what: str, mend: str) -> None:
    if not isinstance(value, str):
        raise InputError(f"{what} is {type(value).__name__}, not a string; {mend}")
    if not value.strip():
        raise InputError(f"{what} is empty; {mend}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{what} holds half a surrogate pair at character {error.start}; {mend}") from error
