"""Store texts by id on disk: the passages and queries that training files refer to by id."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from mlret.data.archives import language_of_file
from mlret.data.corpus import Corpus, read_collection_tsv
from mlret.data.documents import document_from_mapping
from mlret.data.durable import write_atomically
from mlret.data.files import COMPRESSIONS, read_lines
from mlret.data.json_text import decode_json
from mlret.data.retrieval import stream_topics
from mlret.data.tables import parquet_rows
from mlret.errors import InputError

Say = Callable[[str], None]
_HEADER_IDS = ("id", "_id", "docid")
_ID_KEYS = ("document_id", "passage_id", "pid", "query_id", "qid")
_TEXT_KEYS = ("document", "passage", "query", "question")
_ROWS_TOGETHER = 10_000
_MOST_VARIABLES = 500


class IdentifiedText(NamedTuple):
    """A passage or a query with its id and language."""

    id: str
    text: str
    language: str | None


class TextStore:
    """Texts by id in an SQLite file, so that a collection of millions of texts uses no memory.

    Parameters
    ----------
    path
        A file that :meth:`write` wrote.
    """

    def __init__(self, path: Path) -> None:
        # Read-only, so that several threads may share the connection.
        self._connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )

    @staticmethod
    def write(path: Path, texts: Iterable[IdentifiedText], what: str) -> None:
        """Write texts to a file, which appears only when it is complete.

        Parameters
        ----------
        path
            The file to write.
        texts
            The texts, in any order.
        what
            Name of the texts in error messages.

        Raises
        ------
        InputError
            If an id occurs twice.
        """

        def fill(target: Path) -> None:
            target.unlink(missing_ok=True)
            with sqlite3.connect(target) as connection:
                connection.execute("PRAGMA journal_mode = OFF")
                connection.execute("PRAGMA synchronous = OFF")
                connection.execute("CREATE TABLE texts (id TEXT NOT NULL, text TEXT NOT NULL, language TEXT)")
                rows = iter(texts)
                while some := list(islice(rows, _ROWS_TOGETHER)):
                    connection.executemany("INSERT INTO texts VALUES (?, ?, ?)", some)
                try:
                    # Building the index once at the end is much faster than updating it while rows arrive in any order.
                    connection.execute("CREATE UNIQUE INDEX by_id ON texts (id)")
                except sqlite3.IntegrityError as error:
                    twice = connection.execute("SELECT id FROM texts GROUP BY id HAVING count(*) > 1").fetchone()
                    raise InputError(f"{what}: the id {twice[0]!r} occurs twice; drop one of them") from error
            connection.close()

        write_atomically(path, fill)

    def get(self, ids: Sequence[str]) -> dict[str, IdentifiedText]:
        """Return the texts of the given ids that are in the store, by id."""
        found: dict[str, IdentifiedText] = {}
        for start in range(0, len(ids), _MOST_VARIABLES):
            some = ids[start : start + _MOST_VARIABLES]
            marks = ",".join("?" * len(some))
            rows = self._connection.execute(f"SELECT id, text, language FROM texts WHERE id IN ({marks})", some)
            found.update((row[0], IdentifiedText(*row)) for row in rows)
        return found

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def open_store(
    folder: Path,
    sources: Sequence[str | Path],
    read: Callable[[str | Path], Iterator[IdentifiedText]],
    *,
    say: Say,
) -> TextStore:
    """Open the store of some sources in a folder; it is written if it does not exist or the sources have changed.

    Parameters
    ----------
    folder
        Folder in which stores are kept.
    sources
        Files, folders, or anything else that ``read`` can read.
    read
        Streams the texts of a source.
    say
        Called from time to time with the number of texts written so far.

    Returns
    -------
    TextStore
        The opened store.

    Raises
    ------
    InputError
        If a source is missing or malformed, or an id occurs twice.
    """
    path = folder / f"texts-{_signature(sources, read.__name__)}.sqlite"
    if not path.exists():
        what = ", ".join(map(str, sources))
        folder.mkdir(parents=True, exist_ok=True)
        say(f"putting the texts of {what} on disk, to find them by id")
        TextStore.write(path, _reported((text for source in sources for text in read(source)), say), what)
    return TextStore(path)


def _reported(texts: Iterable[IdentifiedText], say: Say) -> Iterator[IdentifiedText]:
    for count, text in enumerate(texts, start=1):
        yield text
        if count % 1_000_000 == 0:
            say(f"{count:,} texts on disk")


def _signature(sources: Sequence[str | Path], kind: str) -> str:
    """Return a hash that changes when a source changes: its files' names, sizes and times."""
    parts: list[Any] = [kind]
    for source in sources:
        path = Path(source)
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        parts.append([str(path.absolute())])
        for file in files:
            if file.is_file():
                stat = file.stat()
                parts.append([str(file), stat.st_size, stat.st_mtime_ns])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def stream_passages(source: str | Path) -> Iterator[IdentifiedText]:
    """Stream the passages of a collection.

    Parameters
    ----------
    source
        Anything that :class:`mlret.data.corpus.Corpus` reads; a TSV file without a header, ``pid<TAB>text``, as in MS
        MARCO and mMARCO; or JSONL or Parquet whose id is ``document_id``, ``passage_id`` or ``pid``.

    Yields
    ------
    IdentifiedText
        The passages, in the order of the source.

    Raises
    ------
    InputError
        If it is missing, empty or malformed.
    """
    path = Path(source)
    language = language_of_file(path)
    kind = kind_of(path)
    if kind in (".tsv", ".txt") and path.is_file() and not _has_header(path):
        documents: Iterable[Any] = read_collection_tsv(path, language)
    elif kind in (".jsonl", ".ndjson", ".json", ".parquet") and path.is_file():
        documents = (
            document_from_mapping(_renamed(record, _ID_KEYS[:3]), origin=origin)
            for origin, record in _records(path)
            if not _blank(record)
        )
    else:
        documents = Corpus([source])
    for document in documents:
        yield IdentifiedText(document.id, document.text, document.language or language)


def stream_queries(source: str | Path) -> Iterator[IdentifiedText]:
    """Stream queries.

    Parameters
    ----------
    source
        A TSV file (:func:`mlret.data.retrieval.stream_topics`), or JSONL or Parquet whose id is ``_id``, ``query_id``
        or ``qid``, and whose text is ``text`` or ``query``.

    Yields
    ------
    IdentifiedText
        The queries, in the order of the source.

    Raises
    ------
    InputError
        If it is missing, empty or malformed.
    """
    path = Path(source)
    language = language_of_file(path)
    if kind_of(path) in (".jsonl", ".ndjson", ".json", ".parquet"):
        for origin, record in _records(path):
            query = document_from_mapping(_renamed(record, _ID_KEYS[3:]), origin=origin)
            yield IdentifiedText(query.id, query.text, query.language or language)
        return
    for _, topic in stream_topics(path):
        yield IdentifiedText(topic.id, topic.text, topic.language or language)


def kind_of(path: Path) -> str:
    """Return the suffix of a file in lower case, ignoring that of its compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _has_header(path: Path) -> bool:
    first = next((line for _, line in read_lines(path)), "")
    cells = [cell.strip().lower() for cell in first.split("\t")]
    return cells[0] in _HEADER_IDS and "text" in cells


def _records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if kind_of(path) == ".parquet":
        for number, (_, record) in enumerate(parquet_rows(path, ()), start=1):
            yield f"{path}: row {number}", {key: value for key, value in record.items() if value is not None}
        return
    for number, line in read_lines(path):
        origin = f"{path}:{number}"
        record = decode_json(line, origin)
        if not isinstance(record, dict):
            raise InputError(f"{origin}: a JSON {type(record).__name__}, not an object; write one {{…}} per line")
        yield origin, record


def _renamed(record: Mapping[str, Any], id_keys: Sequence[str]) -> dict[str, Any]:
    """Return the record with its keys renamed to those of a document."""
    renamed = dict(record)
    for name, keys in (("docid", id_keys), ("text", _TEXT_KEYS)):
        taken = ("id", "_id", "docid") if name == "docid" else ("text", "contents", "sents", "sentences")
        if not any(key in renamed for key in taken) and (key := next((k for k in keys if k in renamed), None)):
            renamed[name] = renamed.pop(key)
    return renamed


def _blank(record: Mapping[str, Any]) -> bool:
    return not any(str(record.get(key) or "").strip() for key in ("text", "contents", "title", *_TEXT_KEYS, "sents"))
