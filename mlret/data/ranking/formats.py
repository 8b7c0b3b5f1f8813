"""The formats of training data for retrieval, and how the format of a file is recognised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mlret.data.ranking import records
from mlret.data.ranking.records import Defaults, IdentifiedExample, Outcome
from mlret.errors import InputError

FileFormat = Literal["columns", "mrtydi", "dpr", "squad", "triples", "id-triples", "id-records", "id-lists"]
Format = Literal[FileFormat, "judged"]
FORMATS: tuple[Format, ...] = get_args(Format)
# Maximum length of ids of MS MARCO, Mr.TyDi, BEIR and the like. Texts are longer, or contain spaces or non-ASCII
# letters.
_LONGEST_ID = 64


@dataclass(frozen=True, slots=True)
class Form:
    """A format: its description, an example of a line, how to recognise it, and the function that reads a row.

    Formats with texts set ``read``, which yields examples. Formats with ids set ``identify`` instead, which returns
    examples whose texts are looked up by their ids.
    """

    name: FileFormat
    title: str
    example: str
    matches: Callable[[Any], bool]
    read: Callable[[Any, str, Defaults], Iterator[Outcome]] | None = None
    identify: Callable[[Any, str, int | None], IdentifiedExample] | None = None


def _has(*keys: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(value.get(key) is not None for key in keys)


def _is_columns(value: Any) -> bool:
    return isinstance(value, dict) and all(
        any(key in value for key in keys) for keys in (records.QUERY_KEYS, (*records.POSITIVE_KEYS, *records.LIST_KEYS))
    )


def _is_id_record(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and any(key in value for key in ("qid", "query_id"))
        and any(key in value for key in ("pos", "positive_id", *records.ID_LIST_KEYS))
    )


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and value.isascii() and 0 < len(value) <= _LONGEST_ID and " " not in value


def _is_squad(value: Any) -> bool:
    return _has("paragraphs")(value) or _has("context", "question")(value)


# In the order in which they are tried.
FORMS: tuple[Form, ...] = (
    Form(
        "mrtydi",
        "training file of Mr.TyDi or MIRACL",
        '{"query_id": "1", "query": "…", "positive_passages": [{"docid": "7#1", "title": "…", "text": "…"}], '
        '"negative_passages": […]}',
        _has("positive_passages"),
        read=records.read_judged_passages,
    ),
    Form(
        "dpr",
        "training file of DPR",
        '[{"question": "…", "positive_ctxs": [{"title": "…", "text": "…"}], "hard_negative_ctxs": […]}, …]',
        _has("positive_ctxs"),
        read=records.read_dpr,
    ),
    Form(
        "squad",
        "questions with their paragraphs, as in SQuAD",
        '{"data": [{"title": "…", "paragraphs": [{"context": "…", "qas": [{"id": "…", "question": "…"}]}]}]}',
        _is_squad,
        read=records.read_squad,
    ),
    Form(
        "columns",
        "queries with positive and negative passages",
        '{"query": "…", "positive": "…", "negative": "…"}',
        _is_columns,
        read=records.read_columns,
    ),
    Form(
        "id-records",
        "ids of queries and passages under names, as in sentence-transformers' hard negatives",
        '{"qid": 1, "pos": [7], "neg": {"bm25": [8, 9]}}',
        _is_id_record,
        identify=records.read_id_record,
    ),
    Form(
        "id-lists",
        "ids with a teacher's scores, as in ColBERT",
        "[1, [7, 12.5], [8, 3.25]]",
        lambda value: isinstance(value, list) and len(value) > 1,
        identify=lambda value, where, _: records.read_id_list(value, where),
    ),
)
TABULAR: tuple[Form, ...] = (
    Form(
        "id-triples",
        "triples of ids, as in MS MARCO",
        "1<TAB>7<TAB>8",
        lambda cells: len(cells) >= 3 and all(map(_is_id, cells)),
        identify=lambda cells, where, _: records.read_id_triple(cells, where),
    ),
    Form(
        "triples",
        "triples of texts, as in MS MARCO",
        "who wrote it?<TAB>a passage that says who<TAB>another passage",
        lambda cells: len(cells) >= 3,
        read=records.read_text_triple,
    ),
)


def recognise(value: Any, *, tabular: bool, source: str) -> Form:
    """Recognise the format of a file by its first row.

    Parameters
    ----------
    value
        A JSON value, or the cells of a line.
    tabular
        Whether ``value`` is the cells of a line.
    source
        The file, for messages.

    Returns
    -------
    Form
        The format.

    Raises
    ------
    InputError
        If the format is unknown; the message lists the known ones.
    """
    for form in TABULAR if tabular else FORMS:
        if form.matches(value):
            return form
    if isinstance(value, dict):
        found = f"an object with {', '.join(map(repr, value)) or 'nothing'}"
    else:
        found = f"{len(value)} columns" if tabular else f"a JSON {type(value).__name__}"
    known = "\n".join(f"  {form.name:<10} {form.example}" for form in (*FORMS, *TABULAR))
    raise InputError(
        f"{source}: begins with {found}, which is no known format of training data for retrieval. Known are\n{known}\n"
        "and folders of queries, judgements and a corpus (judged)"
    )


def form_named(name: str) -> Form:
    """Return a format by its name.

    Raises
    ------
    InputError
        If there is no format of that name.
    """
    for form in (*FORMS, *TABULAR):
        if form.name == name:
            return form
    raise InputError(f"no format {name!r}; there are {', '.join(FORMATS)}, and auto")
