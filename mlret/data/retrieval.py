"""Read and write the files of a retrieval experiment: topics, relevance judgements and runs, in TREC's formats.

Every reader accepts plain or gzipped UTF-8, and errors name the file, the line and how to fix it.

Only ASCII white space separates columns or is trimmed from ids, as in trec_eval: an id may contain U+00A0, U+3000 or
U+2028. Lines end at a line feed.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mlret.data.durable import write_text_atomically
from mlret.data.files import read_lines
from mlret.data.json_text import decode_json
from mlret.data.languages import normalise_language
from mlret.data.unicode_text import check_unicode
from mlret.errors import InputError

_ID_COLUMNS = ("qid", "query_id", "query-id")
_TEXT_COLUMNS = ("text", "query", "question")
_LANGUAGE_COLUMNS = ("lang", "language")

# The characters that trec_eval treats as white space: C's isspace.
_BLANKS = " \t\n\v\f\r"
_FIELD = re.compile(rf"[^{_BLANKS}]+")
_BLANK = re.compile(rf"[{_BLANKS}]")
_INTEGER = re.compile(r"[+-]?[0-9]+")
# trec_eval counts grades in a table with one row for each grade up to the highest, for every query.
HIGHEST_GRADE = 1_000_000
# Marks a line whose ids are percent-encoded, in a column of the run that no reader uses.
_ENCODED = "Q0-percent-encoded"
_ESCAPED = re.compile(r"%([0-9A-Fa-f]{2})")

Qrels = dict[str, dict[str, int]]
_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class Topic:
    """A query.

    Attributes
    ----------
    id
        Its id in qrels and runs.
    text
        The text of the query.
    language
        Normalised language code; ``None`` if the file does not state it.
    """

    id: str
    text: str
    language: str | None = None


def read_topics(path: str | Path) -> dict[str, Topic]:
    """Read all queries of a file; see :func:`stream_topics` for the format.

    Returns
    -------
    dict
        Query id -> topic, in the order of the file.

    Raises
    ------
    InputError
        As :func:`stream_topics`, and if an id occurs twice.
    """
    topics: dict[str, Topic] = {}
    first_lines: dict[str, int] = {}
    for number, topic in stream_topics(path):
        _check_new(topic.id, first_lines, number, f"{path}:{number}", f"query {topic.id!r}")
        topics[topic.id] = topic
    return topics


def stream_topics(path: str | Path) -> Iterator[tuple[int, Topic]]:
    """Read queries one by one.

    A TSV file without a header has lines of ``qid<TAB>text``. In a file with a header, the first column is ``qid`` (or
    ``query_id``, ``query-id``), a column ``text``, ``query`` or ``question`` holds the text and an optional column
    ``lang`` or ``language`` holds the language; other columns are ignored.

    Yields
    ------
    (number, topic)
        The line number, from 1, and the query.

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
        key, text = fields[0].strip(_BLANKS), fields[text_at].strip()
        if not key or not text:
            raise InputError(f"{where}: the {'text' if key else 'id'} is empty; fill it in or drop the line")
        language = fields[language_at].strip() if language_at is not None else ""
        found = True
        yield number, Topic(key, text, _language(language, where) if language else None)
    if not found:
        raise InputError(f"{path}: has no queries; write one per line: qid<TAB>text")


def read_qrels(path: str | Path) -> Qrels:
    """Read relevance judgements: ``qid iteration docid relevance``, separated by spaces or tabs.

    A judgement that is repeated counts once; a warning states how many are repeated.

    Returns
    -------
    dict
        Query id -> document id -> relevance.

    Raises
    ------
    InputError
        If the file is missing, empty or not UTF-8, a line does not have 4 columns, a relevance is not an integer
        between -1,000,000 and 1,000,000, or a document has two different judgements for a query.
    """
    path = Path(path)
    judgements = _Judgements(path)
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        fields = _FIELD.findall(line)
        if len(fields) == 3 and (_INTEGER.fullmatch(fields[2]) or _is_beir_header(fields)):
            raise InputError(
                f"{where}: 3 columns, not 4: these look like qrels of three columns (query, document, relevance), as "
                "BEIR has them; put the column of the iteration between the first two, e.g. with "
                "awk '$3 ~ /^-?[0-9]+$/ {print $1, 0, $2, $3}'"
            )
        if len(fields) != 4:
            raise InputError(f"{where}: {_count(fields)}, not 4; write qid iteration docid relevance")
        query, _, document, relevance = fields
        judgements.add(query, document, relevance, number)
    return judgements.all("qid 0 docid relevance")


def read_beir_topics(path: Path, language: str | None = None) -> dict[str, Topic]:
    """Read queries in BEIR's format: one object ``{"_id": …, "text": …}`` per line, all in one language.

    Parameters
    ----------
    path
        The file.
    language
        Language of all queries; ``None`` if it is unknown.

    Returns
    -------
    dict
        Query id -> topic, in the order of the file.

    Raises
    ------
    InputError
        If the file is missing or empty, a line has another form, or an id occurs twice.
    """
    topics: dict[str, Topic] = {}
    first_lines: dict[str, int] = {}
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        record = decode_json(line, where)
        if not isinstance(record, dict) or not {"_id", "text"} <= record.keys():
            raise InputError(f'{where}: not {{"_id": …, "text": …}}; correct the line')
        name, text = record["_id"], record["text"]
        if isinstance(name, int) and not isinstance(name, bool):
            name = str(name)
        if not isinstance(name, str) or not isinstance(text, str):
            raise InputError(f'{where}: "_id" and "text" must be strings; correct the line')
        if not name:
            raise InputError(f"{where}: the id is empty; fill it in or drop the line")
        if not text.strip():
            raise InputError(f"{where}: the text of query {name!r} is empty; fill it in or drop the line")
        if first_lines.setdefault(name, number) != number:
            raise InputError(
                f"{where}: the query {name!r} occurs twice (on line {first_lines[name]} too); drop one of them"
            )
        check_unicode(name, f"{where}: the query id", "correct it")
        check_unicode(text, f"{where}: the text of query {name!r}", "correct it")
        topics[name] = Topic(name, text.strip(), language)
    if not topics:
        raise InputError(f"{path}: has no queries")
    return topics


def read_beir_qrels(path: Path) -> Qrels:
    """Read judgements in BEIR's format: ``query-id<TAB>corpus-id<TAB>score`` below a header.

    Ids are used exactly as written and may contain spaces. Otherwise this is like :func:`read_qrels`.

    Returns
    -------
    dict
        Query id -> document id -> relevance.
    """
    judgements = _Judgements(path)
    for position, (number, line) in enumerate(read_lines(path)):
        where = f"{path}:{number}"
        cells = line.split("\t")
        if position == 0 and _is_beir_header(cells):
            continue
        if len(cells) != 3 or not cells[0] or not cells[1]:
            trec = len(_FIELD.findall(line)) == 4
            raise InputError(
                f"{where}: not query-id<TAB>corpus-id<TAB>score"
                + (" but TREC's qid 0 docid relevance; remove the second column" if trec else "; correct the line")
            )
        query, document, relevance = cells
        judgements.add(query, document, relevance.strip(_BLANKS), number)
    return judgements.all("query-id<TAB>corpus-id<TAB>score")


def read_any_qrels(path: Path) -> Qrels:
    """Read judgements in BEIR's format if the file begins with BEIR's header, otherwise in TREC's.

    Returns
    -------
    dict
        Query id -> document id -> relevance.
    """
    first = next((line for _, line in read_lines(path)), "")
    return read_beir_qrels(path) if _is_beir_header(first.split("\t")) else read_qrels(path)


def grade_of(value: object, where: str) -> int:
    """Return a relevance grade as an integer.

    Parameters
    ----------
    value
        A string or an integer.
    where
        Start of the error message, such as ``file:line``.

    Raises
    ------
    InputError
        If the value is not an integer, or outside [-1,000,000, 1,000,000].
    """
    grade: int | None = None
    if isinstance(value, str):
        if _INTEGER.fullmatch(value):
            # Longer numbers are out of range, and int() may refuse to parse them.
            grade = int(value) if len(value) < 20 else HIGHEST_GRADE + 1
    elif hasattr(value, "__index__"):
        grade = int(value)
    if grade is None:
        raise InputError(f"{where}: relevance {value!r} is not an integer; write 0, 1, ...")
    if abs(grade) > HIGHEST_GRADE:
        shown = str(value) if len(str(value)) < 20 else f"{str(value)[:20]}…"
        raise InputError(
            f"{where}: relevance {shown} is beyond {HIGHEST_GRADE:,}; write smaller grades, such as 0 to 3"
        )
    return grade


class _Judgements:
    """Collects the judgements of a file and compares each line with those before it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._qrels: Qrels = {}
        self._first_lines: dict[tuple[str, str], int] = {}
        self._repeated = 0

    def add(self, query: str, document: str, relevance: str, number: int) -> None:
        """Add the judgement of a line."""
        where = f"{self._path}:{number}"
        grade = grade_of(relevance, where)
        judged = self._qrels.setdefault(query, {})
        if (before := judged.get(document)) is None:
            judged[document] = grade
            self._first_lines[query, document] = number
        elif before == grade:
            self._repeated += 1
        else:
            first = self._first_lines[query, document]
            raise InputError(
                f"{where}: document {document!r} of query {query!r} is on line {first} too, "
                f"with relevance {before} there and {grade} here; keep one of them"
            )

    def all(self, form: str) -> Qrels:
        """Return all judgements, with a warning if some are repeated; ``form`` is the expected format of a line."""
        if not self._qrels:
            raise InputError(f"{self._path}: has no judgements; write one per line: {form}")
        if self._repeated:
            lines = "1 line repeats" if self._repeated == 1 else f"{self._repeated:,} lines repeat"
            warnings.warn(f"{self._path}: {lines} a judgement of another line, which counts once", stacklevel=3)
        return self._qrels


def read_run(path: str | Path) -> dict[str, dict[str, float]]:
    """Read a run: ``qid Q0 docid rank score tag``, separated by spaces or tabs.

    Documents are ordered by their scores, as in trec_eval; the ranks are ignored. An empty file is an empty run. Ids
    that :func:`write_run` had to encode are decoded.

    Returns
    -------
    dict
        Query id -> document id -> score, in the order of the file.

    Raises
    ------
    InputError
        If the file is missing or not UTF-8, a line does not have 6 columns, a score is not a number, or a document
        occurs twice for a query.
    """
    path = Path(path)
    run: dict[str, dict[str, float]] = {}
    first_lines: dict[tuple[str, str], int] = {}
    for number, where, fields in _columns(path, ("qid", "Q0", "docid", "rank", "score", "tag")):
        query, literal, document, _, score, _ = fields
        if literal == _ENCODED:
            query, document = _decoded(query, where), _decoded(document, where)
        _check_new((query, document), first_lines, number, where, f"document {document!r} of query {query!r}")
        try:
            # float() would also accept "1_0" and digits of other scripts.
            value = float(score) if score.isascii() and "_" not in score else math.nan
        except ValueError:
            value = math.nan
        if math.isnan(value):
            raise InputError(f"{where}: score {score!r} is not a number; write one such as 0.75")
        run.setdefault(query, {})[document] = value
    return run


def write_run(path: str | Path, run: Mapping[str, Mapping[str, float]], *, tag: str = "mlret") -> None:
    """Write a run in TREC's format, best document first; gzipped if the name ends in ``.gz``.

    Scores are written with full precision, so that :func:`read_run` returns the same numbers. White space within an id,
    which would separate columns, is percent-encoded (``New%20York``), and so is ``%`` in the ids of that line. The
    second column of such a line is ``Q0-percent-encoded`` instead of ``Q0``, so that :func:`read_run` returns the same
    ids.

    Parameters
    ----------
    path
        The file to write; an existing file is replaced atomically.
    run
        Query id -> document id -> score, higher is better. Documents with equal scores are sorted by id.
    tag
        Name of the run.

    Raises
    ------
    InputError
        If an id is empty or not valid Unicode, the tag is empty or contains white space, a score is not a number, or
        the file cannot be written.
    """
    path = Path(path)
    if not tag or _BLANK.search(tag):
        raise InputError(f"{path}: the tag {tag!r} is empty or holds blanks, which a run file cannot; rename it")
    lines = []
    for query, scores in run.items():
        check_id(query, "query id", f"{path}")
        for document, score in scores.items():
            check_id(document, "document id", f"{path}")
            if math.isnan(score):
                raise InputError(f"{path}: the score of {document!r} for {query!r} is not a number; correct the run")
        best = sorted(scores, key=lambda document: (-scores[document], document))
        blank = _BLANK.search(query)
        for rank, document in enumerate(best, start=1):
            ids = f"{query} Q0 {document}"
            if blank or _BLANK.search(document):
                ids = f"{_encoded(query)} {_ENCODED} {_encoded(document)}"
            lines.append(f"{ids} {rank} {float(scores[document])!r} {tag}\n")
    write_text_atomically(path, "".join(lines))


def _columns(path: Path, names: tuple[str, ...]) -> Iterator[tuple[int, str, list[str]]]:
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        fields = _FIELD.findall(line)
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


def check_id(name: str, what: str, where: str) -> None:
    """Raise an error for an id that files of judgements and runs cannot hold.

    Parameters
    ----------
    name
        The id.
    what
        Name of the kind of id in the error message: ``"query id"``.
    where
        Start of the error message, such as the file.

    Raises
    ------
    InputError
        If the id is empty or not valid Unicode.
    """
    if not name:
        raise InputError(f"{where}: the {what} {name!r} is empty; name it")
    check_unicode(name, f"{where}: the {what}", "correct it")


def _encoded(name: str) -> str:
    return _BLANK.sub(lambda blank: f"%{ord(blank[0]):02X}", name.replace("%", "%25"))


def _decoded(name: str, where: str) -> str:
    if "%" in _ESCAPED.sub("", name):
        raise InputError(f"{where}: the id {name!r} is not percent-encoded as declared; write {_encoded(name)!r}")
    return _ESCAPED.sub(lambda code: chr(int(code[1], 16)), name)


def _is_beir_header(cells: list[str]) -> bool:
    return cells[0].strip(_BLANKS).lower() in ("query-id", "query_id")


def _language(code: str, where: str) -> str:
    try:
        return normalise_language(code)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _count(fields: list[str]) -> str:
    return f"{len(fields)} column{'' if len(fields) == 1 else 's'}"
