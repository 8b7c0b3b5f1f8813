"""Topics, relevance judgements and runs: the files of a retrieval experiment, in TREC's formats.

Every reader takes plain or gzipped UTF-8 and names file, line and mend when a line is wrong.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mlret.data.durable import write_text_atomically
from mlret.data.files import read_lines
from mlret.data.languages import normalise_language
from mlret.errors import InputError

_ID_COLUMNS = ("qid", "query_id", "query-id")
_TEXT_COLUMNS = ("text", "query", "question")
_LANGUAGE_COLUMNS = ("lang", "language")

_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class Topic:
    """A query.

    Attributes
    ----------
    id
        Its name in qrels and runs.
    text
        What is asked.
    language
        In mlret's form; ``None`` where the file does not say.
    """

    id: str
    text: str
    language: str | None = None


def read_topics(path: str | Path) -> dict[str, Topic]:
    """Read queries; see :func:`stream_topics`.

    Returns
    -------
    dict
        Query id -> topic, in the file's order.

    Raises
    ------
    InputError
        As of :func:`stream_topics`, and if an id came before.
    """
    topics: dict[str, Topic] = {}
    first_lines: dict[str, int] = {}
    for number, topic in stream_topics(path):
        _check_new(topic.id, first_lines, number, f"{path}:{number}", f"query {topic.id!r}")
        topics[topic.id] = topic
    return topics


def stream_topics(path: str | Path) -> Iterator[tuple[int, Topic]]:
    """Read queries one by one, with the number of their line.

    A TSV file without a header has lines of ``qid<TAB>text``. With one, whose first column is ``qid`` (or
    ``query_id``), a column ``text``, ``query`` or ``question`` holds the text and a column ``lang``, if there is one,
    the language; other columns are passed over.

    Raises
    ------
    InputError
        If the file is missing, empty or not UTF-8, or a line has the wrong columns, an empty text or an unknown
        language.
    """
    path = Path(path)
    columns = ["qid", "text"]
    text_at, language_at, found = 1, None, False
    for position, (number, line) in enumerate(read_lines(path)):
        where = f"{path}:{number}"
        fields = line.split("\t")
        if position == 0 and fields[0].strip().lower() in _ID_COLUMNS:
            columns = [field.strip().lower() for field in fields]
            text_at = _column(columns, _TEXT_COLUMNS, where)
            language_at = next((columns.index(name) for name in _LANGUAGE_COLUMNS if name in columns), None)
            continue
        if len(fields) != len(columns):
            raise InputError(f"{where}: {_count(fields)}, not {len(columns)}; write {'<TAB>'.join(columns)}")
        key, text = fields[0].strip(), fields[text_at].strip()
        if not key or not text:
            raise InputError(f"{where}: the {'text' if key else 'id'} is empty; fill it in or drop the line")
        language = fields[language_at].strip() if language_at is not None else ""
        found = True
        yield number, Topic(key, text, _language(language, where) if language else None)
    if not found:
        raise InputError(f"{path}: has no queries; write one a line: qid<TAB>text")


def read_qrels(path: str | Path) -> dict[str, dict[str, int]]:
    """Read relevance judgements: ``qid iteration docid relevance``, separated by blanks or tabs.

    Returns
    -------
    dict
        Query id -> document id -> relevance.

    Raises
    ------
    InputError
        If the file is missing, empty or not UTF-8, a line has not 4 columns, a relevance is not a whole
        number, or a document is judged twice for a query.
    """
    path = Path(path)
    qrels: dict[str, dict[str, int]] = {}
    first_lines: dict[tuple[str, str], int] = {}
    for number, where, fields in _columns(path, ("qid", "iteration", "docid", "relevance")):
        query, _, document, relevance = fields
        _check_new((query, document), first_lines, number, where, f"document {document!r} of query {query!r}")
        try:
            qrels.setdefault(query, {})[document] = int(relevance)
        except ValueError as error:
            raise InputError(f"{where}: relevance {relevance!r} is not a whole number; write 0, 1, ...") from error
    if not qrels:
        raise InputError(f"{path}: has no judgements; write one a line: qid 0 docid relevance")
    return qrels


def read_beir_topics(path: Path, language: str | None = None) -> dict[str, Topic]:
    """Read queries in BEIR's form: ``{"_id": …, "text": …}`` a line, all in one language.

    Raises
    ------
    InputError
        If the file is missing or empty, a line is of another form, or an id came before.
    """
    topics: dict[str, Topic] = {}
    for number, line in read_lines(path):
        try:
            record = json.loads(line)
            name, text = str(record["_id"]), str(record["text"]).strip()
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f'{path}:{number}: not {{"_id": …, "text": …}} ({error}); mend the line') from error
        if name in topics:
            raise InputError(f"{path}:{number}: the query {name!r} occurs twice; drop one of them")
        if not text:
            raise InputError(f"{path}:{number}: the text of query {name!r} is empty; fill it in or drop the line")
        topics[name] = Topic(name, text, language)
    if not topics:
        raise InputError(f"{path}: has no queries")
    return topics


def read_beir_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Read judgements in BEIR's form: ``query-id<TAB>corpus-id<TAB>score`` under a header; otherwise as
    :func:`read_qrels`."""
    qrels: dict[str, dict[str, int]] = {}
    for number, line in read_lines(path):
        cells = line.split("\t")
        if number == 1 and cells[0].strip() in ("query-id", "query_id"):
            continue
        try:
            query, document, grade = (cell.strip() for cell in cells)
            relevance = int(grade)
        except ValueError as error:
            raise InputError(f"{path}:{number}: not query-id<TAB>corpus-id<TAB>score; mend the line") from error
        if document in qrels.setdefault(query, {}):
            raise InputError(f"{path}:{number}: document {document!r} is judged twice for {query!r}; drop one of them")
        qrels[query][document] = relevance
    if not qrels:
        raise InputError(f"{path}: has no judgements")
    return qrels


def read_run(path: str | Path) -> dict[str, dict[str, float]]:
    """Read a run: ``qid Q0 docid rank score tag``, separated by blanks or tabs.

    The scores decide, as they do for trec_eval; ranks are not looked at. An empty file is an empty run.

    Returns
    -------
    dict
        Query id -> document id -> score, in the file's order.

    Raises
    ------
    InputError
        If the file is missing or not UTF-8, a line has not 6 columns, a score is not a number, or a document
        stands twice under a query.
    """
    path = Path(path)
    run: dict[str, dict[str, float]] = {}
    first_lines: dict[tuple[str, str], int] = {}
    for number, where, fields in _columns(path, ("qid", "Q0", "docid", "rank", "score", "tag")):
        query, _, document, _, score, _ = fields
        _check_new((query, document), first_lines, number, where, f"document {document!r} of query {query!r}")
        try:
            value = float(score)
        except ValueError:
            value = math.nan
        if math.isnan(value):
            raise InputError(f"{where}: score {score!r} is not a number; write one such as 0.75")
        run.setdefault(query, {})[document] = value
    return run


def write_run(path: str | Path, run: Mapping[str, Mapping[str, float]], *, tag: str = "mlret") -> None:
    """Write a run in TREC's format, best document first; gzipped where the name ends in ``.gz``.

    Scores are written in full, so that :func:`read_run` gives back the same numbers.

    Parameters
    ----------
    path
        The file; what stood there is replaced as a whole.
    run
        Query id -> document id -> score, higher is better. Documents of equal score are ordered by id.
    tag
        What to call the run.

    Raises
    ------
    InputError
        If an id or the tag is empty or holds blanks, a score is not a number, or the file may not be written.
    """
    path = Path(path)
    _check_word(tag, "tag", path)
    lines = []
    for query, scores in run.items():
        _check_word(query, "query id", path)
        for document, score in scores.items():
            _check_word(document, "document id", path)
            if math.isnan(score):
                raise InputError(f"{path}: the score of {document!r} for {query!r} is not a number; mend the run")
        best = sorted(scores, key=lambda document: (-scores[document], document))
        for rank, document in enumerate(best, start=1):
            lines.append(f"{query} Q0 {document} {rank} {float(scores[document])!r} {tag}\n")
    write_text_atomically(path, "".join(lines))


def _columns(path: Path, names: tuple[str, ...]) -> Iterator[tuple[int, str, list[str]]]:
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        fields = line.split()
        if len(fields) != len(names):
            raise InputError(f"{where}: {_count(fields)}, not {len(names)}; write {' '.join(names)}")
        yield number, where, fields


def _column(columns: list[str], names: tuple[str, ...], where: str) -> int:
    for name in names:
        if name in columns:
            return columns.index(name)
    raise InputError(f"{where}: the header has no column {' or '.join(names)}; name the text's column so")


def _check_new(key: _Key, first_lines: dict[_Key, int], number: int, where: str, what: str) -> None:
    if first := first_lines.get(key):
        raise InputError(f"{where}: {what} is on line {first} too; drop one of them")
    first_lines[key] = number


def _check_word(word: str, what: str, path: Path) -> None:
    if not word or word.split() != [word]:
        raise InputError(f"{path}: the {what} {word!r} is empty or holds blanks, which a run file cannot; rename it")


def _language(code: str, where: str) -> str:
    try:
        return normalise_language(code)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _count(fields: list[str]) -> str:
    return f"{len(fields)} column{'' if len(fields) == 1 else 's'}"
