"""Convert records of training files to examples; each function handles one format of record.

Each takes the record and ``file:line`` for messages; most also take the defaults for what records do not state. They
yield or return examples, or instead of an example the reason why it is skipped.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from mlret.data.archives import english_name
from mlret.data.ranking.example import Passage, RankingExample, build, id_of, language_of, number_of, passage_of
from mlret.errors import InputError
from mlret.wording import counted

QUERY_KEYS = ("query", "anchor", "question")
POSITIVE_KEYS = ("positives", "positive", "pos", "answer")
NEGATIVE_KEYS = ("negatives", "negative", "neg", "hard_negatives", "hard_negative")
LIST_KEYS = ("passages", "documents", "docs", "texts", "candidates")
ID_LIST_KEYS = ("document_ids", "documents_ids", "passage_ids", "doc_ids")
_QUERY_ID_KEYS = ("query_id", "qid", "id", "_id")
_NUMBERED = re.compile(r"negative_(\d+)(_id)?")
_TYDI_ID = re.compile(r"([a-z]+)-")

Outcome = RankingExample | str
Record = Mapping[str, Any]


class Defaults(NamedTuple):
    """Values for what a record does not state.

    ``passage_language`` is for data whose passages are all in one language that differs from that of the queries.
    ``article_negatives`` is the number of other paragraphs of an article that become negatives of its questions.
    """

    language: str | None = None
    task: str | None = None
    passage_language: str | None = None
    article_negatives: int = 0


@dataclass(frozen=True, slots=True)
class IdentifiedExample:
    """An example whose texts are given by ids; passages may have scores."""

    query_id: str
    positives: tuple[Passage, ...]
    negatives: tuple[Passage, ...]
    where: str


def read_columns(record: Record, where: str, defaults: Defaults) -> Iterator[Outcome]:
    """Read a record with a query, positives and negatives.

    The keys are those of sentence-transformers (``anchor``, ``positive``, ``negative_1``, …), FlagEmbedding (``pos``,
    ``neg``) or mlret (:meth:`RankingExample.to_record`); the values are strings, objects with ``text``, or lists of
    them. Alternatively, the record has a list of passages with ``labels``, or with a teacher's ``scores``, in which
    case the best passage is the positive.

    Scores are a list for the positives followed by the negatives (``scores``, ``teacher_scores``, or ``pos_scores`` and
    ``neg_scores``), or one number: the margin between the positive and the negative, as for MarginMSE.

    Parameters
    ----------
    record
        The decoded JSON object.
    where
        ``file:line``, for messages.
    defaults
        Values for what the record does not state.

    Yields
    ------
    RankingExample or str
        The example, or the reason why it is skipped.
    """
    query = record[_key(record, QUERY_KEYS, where)]
    if any(_given(record, key) for key in POSITIVE_KEYS):
        positives = _passages(record[_key(record, POSITIVE_KEYS, where)], where)
        negatives = [
            passage
            for key in _negative_keys(record)
            if _given(record, key)
            for passage in _passages(record[key], where)
        ]
        scores = _scores(record, len(positives), len(negatives), where)
        ids, languages = record.get("passage_ids"), record.get("passage_languages")
        both = _annotated([*positives, *negatives], where, scores=scores, passage_ids=ids, passage_languages=languages)
        positives, negatives = both[: len(positives)], both[len(positives) :]
    else:
        positives, negatives = _split(_passages(record[_key(record, LIST_KEYS, where)], where), record, where)
    yield _example(query, positives, negatives, record, where, defaults)


def read_judged_passages(record: Record, where: str, defaults: Defaults) -> Iterator[Outcome]:
    """Read a training record of Mr.TyDi or MIRACL: ``query``, ``positive_passages``, ``negative_passages``.

    Parameters
    ----------
    record
        The decoded JSON object.
    where
        ``file:line``, for messages.
    defaults
        Values for what the record does not state.

    Yields
    ------
    RankingExample or str
        The example, or the reason why it is skipped.
    """
    positives = _passages(_list(record, "positive_passages", where), where)
    negatives = _passages(_list(record, "negative_passages", where, optional=True), where)
    yield _example(record.get("query"), positives, negatives, record, where, defaults)


def read_dpr(record: Record, where: str, defaults: Defaults) -> Iterator[Outcome]:
    """Read a question of DPR's training files: ``positive_ctxs``, then ``hard_negative_ctxs`` and ``negative_ctxs``.

    The scores in these files are ignored: they are those of BM25 or DPR itself for one side only, not a teacher's.

    Parameters
    ----------
    record
        The decoded JSON object.
    where
        ``file:line``, for messages.
    defaults
        Values for what the record does not state.

    Yields
    ------
    RankingExample or str
        The example, or the reason why it is skipped.
    """
    found = {}
    for key in ("positive_ctxs", "hard_negative_ctxs", "negative_ctxs"):
        passages = _passages(_list(record, key, where, optional=key != "positive_ctxs"), where)
        found[key] = [replace(passage, score=None) for passage in passages]
    yield _example(
        record.get("question"),
        found["positive_ctxs"],
        found["hard_negative_ctxs"] + found["negative_ctxs"],
        record,
        where,
        defaults,
    )


def read_squad(record: Record, where: str, defaults: Defaults) -> Iterator[Outcome]:
    """Read the questions of an article of SQuAD, XQuAD, MLQA or TyDi GoldP, or one question with its ``context``.

    A question's positive is its paragraph; negatives are other paragraphs of the article, nearest first, if the
    defaults request any. Questions without an answer are skipped.

    Parameters
    ----------
    record
        The decoded JSON object.
    where
        ``file:line``, for messages.
    defaults
        Values for what the record does not state.

    Yields
    ------
    RankingExample or str
        The example, or the reason why it is skipped.
    """
    if "paragraphs" not in record:
        yield from _squad_question(record, Passage(_string(record, "context", where)), [], where, defaults)
        return
    paragraphs = _list(record, "paragraphs", where)
    contexts = [_string(paragraph, "context", where) for paragraph in paragraphs]
    for place, paragraph in enumerate(paragraphs):
        others = sorted(set(range(len(contexts))) - {place}, key=lambda other: (abs(other - place), other))
        negatives = [Passage(contexts[other]) for other in others if contexts[other] != contexts[place]]
        for question in _list(paragraph, "qas", where):
            some = negatives[: defaults.article_negatives]
            yield from _squad_question(question, Passage(contexts[place]), some, where, defaults)


def _squad_question(
    question: Record, positive: Passage, negatives: list[Passage], where: str, defaults: Defaults
) -> Iterator[Outcome]:
    answers = question.get("answers")
    texts = answers.get("text") if isinstance(answers, Mapping) else answers
    if question.get("is_impossible") or (texts is not None and not texts):
        yield "question without an answer"
        return
    name = question.get("id")
    tydi = _TYDI_ID.match(name) if isinstance(name, str) else None
    own = english_name(tydi[1]) if tydi else None
    if own is not None and not _language(question, where):
        question = {**question, "lang": own}
    yield _example(question.get("question"), [positive], negatives, question, where, defaults)


def read_text_triple(cells: Sequence[str], where: str, defaults: Defaults) -> Iterator[Outcome]:
    """Read a line of MS MARCO's triples: query, positive, negative, and optionally further negatives.

    Parameters
    ----------
    cells
        The cells of the line.
    where
        ``file:line``, for messages.
    defaults
        Values for what the record does not state.

    Yields
    ------
    RankingExample or str
        The example, or the reason why it is skipped.
    """
    if len(cells) < 3:
        raise InputError(f"{where}: {counted(len(cells), 'column')}; write query<TAB>positive<TAB>negative")
    query, positive, *negatives = (cell.strip() for cell in cells)
    yield _example(query, [Passage(positive)], [Passage(text) for text in negatives], {}, where, defaults)


def read_id_triple(cells: Sequence[str], where: str) -> IdentifiedExample:
    """Read a line of ids: query, positive, negative, and optionally further negatives.

    Parameters
    ----------
    cells
        The cells of the line.
    where
        ``file:line``, for messages.

    Returns
    -------
    IdentifiedExample
        The example, whose texts are looked up later.
    """
    if len(cells) < 3:
        raise InputError(f"{where}: {len(cells)} columns; write qid<TAB>positive pid<TAB>negative pid")
    query, positive, *negatives = (id_of(cell.strip(), where) for cell in cells)
    return IdentifiedExample(query, (Passage("", positive),), tuple(Passage("", name) for name in negatives), where)


def read_id_list(values: Sequence[Any], where: str) -> IdentifiedExample:
    """Read a line of ColBERT's files, ``[qid, pid, pid, …]`` or ``[qid, [pid, score], …]``, the positive first.

    Parameters
    ----------
    values
        The decoded JSON list.
    where
        ``file:line``, for messages.

    Returns
    -------
    IdentifiedExample
        The example, whose texts are looked up later.
    """
    if len(values) < 2:
        raise InputError(f"{where}: a list of {len(values)}; write [qid, [pid, score], …], the positive first")
    query, positive, *negatives = values
    return IdentifiedExample(
        id_of(query, where),
        (_identified(positive, where),),
        tuple(_identified(one, where) for one in negatives),
        where,
    )


def read_id_record(record: Record, where: str, per_system: int | None) -> IdentifiedExample:
    """Read a record of ids by key.

    It has one of three forms: ``qid``, ``pos`` and ``neg`` of sentence-transformers, where ``neg`` may hold ids by the
    system that found them, of which the first ``per_system`` of each are used; ``query_id``, ``positive_id`` and
    ``negative_id`` (``negative_1_id``, …); or ``query_id``, ``document_ids`` and ``scores`` of PyLate, where the best
    document is the positive.

    Parameters
    ----------
    record
        The decoded JSON object.
    where
        ``file:line``, for messages.
    per_system
        Maximum number of negatives of each system; ``None`` for all.

    Returns
    -------
    IdentifiedExample
        The example, whose texts are looked up later.
    """
    query = id_of(record[_key(record, ("query_id", "qid"), where)], where)
    if (key := next((key for key in ID_LIST_KEYS if _given(record, key)), None)) is not None:
        passages = [_identified(one, where) for one in _listed(record[key])]
        positives, negatives = _split(passages, record, where)
    elif "pos" in record:
        positives = [_identified(one, where) for one in _listed(record["pos"])]
        negatives = _of_systems(record.get("neg") or {}, per_system, where)
    else:
        positives = [_identified(record[_key(record, ("positive_id",), where)], where)]
        negatives = [_identified(record[key], where) for key in _negative_keys(record, "_id")]
        scores = _scores(record, 1, len(negatives), where)
        positives, negatives = (both := _annotated([*positives, *negatives], where, scores=scores))[:1], both[1:]
    taken = {passage.id for passage in positives}
    return IdentifiedExample(
        query, tuple(positives), tuple(passage for passage in negatives if passage.id not in taken), where
    )


def _of_systems(found: object, per_system: int | None, where: str) -> list[Passage]:
    """Merge the negatives of several systems without duplicates: the first of every system, then the second, …."""
    lists: list[Any] = list(found.values()) if isinstance(found, Mapping) else [found]
    if not all(isinstance(one, list) for one in lists):
        raise InputError(f"{where}: 'neg' must hold a list of ids for each system")
    passages: dict[str | None, Passage] = {}
    longest = max(map(len, lists), default=0)
    for rank in range(longest if per_system is None else min(per_system, longest)):
        for one in lists:
            if rank < len(one):
                passage = _identified(one[rank], where)
                passages.setdefault(passage.id, passage)
    return list(passages.values())


def _identified(value: object, where: str) -> Passage:
    """Read a passage given by id: ``pid``, ``[pid, score]`` or ``{"pid": …, "ce-score": …}``."""
    if isinstance(value, Mapping):
        return passage_of(value, where)
    if isinstance(value, list):
        if len(value) != 2:
            raise InputError(f"{where}: {value!r} is no [pid, score]; fix it")
        return Passage("", id_of(value[0], where), score=number_of(value[1], where))
    return Passage("", id_of(value, where))


def _split(passages: list[Passage], record: Record, where: str) -> tuple[list[Passage], list[Passage]]:
    """Split passages into positives and negatives, by their labels or with the best-scored passage as the positive."""
    if (labels := record.get("labels")) is not None:
        marks = [number_of(label, where) > 0 for label in _listed(labels)]
        if len(marks) != len(passages):
            raise InputError(f"{where}: {len(marks)} labels for {len(passages)} passages; give one a passage")
        if "scores" in record:
            passages = _annotated(passages, where, scores=_listed(record["scores"]))
        by_label = list(zip(marks, passages, strict=True))
        return [one for mark, one in by_label if mark], [one for mark, one in by_label if not mark]
    scores = next((record[key] for key in ("scores", "teacher_scores") if _given(record, key)), None)
    if scores is not None:
        passages = _annotated(passages, where, scores=_listed(scores))
    if not passages:
        return [], []
    if any(passage.score is None for passage in passages):
        raise InputError(f"{where}: no passage is marked as positive; give 'labels', or a teacher's 'scores'")
    best = max(range(len(passages)), key=lambda place: (passages[place].score or 0.0, -place))
    return [passages[best]], passages[:best] + passages[best + 1 :]


def _annotated(
    passages: list[Passage],
    where: str,
    *,
    scores: object = None,
    passage_ids: object = None,
    passage_languages: object = None,
) -> list[Passage]:
    """Add scores, ids and languages from separate lists to the passages; each list has one value per passage."""
    found = list(passages)
    for name, values in (("scores", scores), ("passage_ids", passage_ids), ("passage_languages", passage_languages)):
        if values is None:
            continue
        if not isinstance(values, list) or len(values) != len(passages):
            count = len(values) if isinstance(values, list) else type(values).__name__
            raise InputError(f"{where}: {count} {name} for {len(passages)} passages; give one a passage")
        for place, value in enumerate(values):
            match name:
                case "scores":
                    found[place] = replace(found[place], score=number_of(value, where))
                case "passage_ids" if value is not None:
                    found[place] = replace(found[place], id=id_of(value, where))
                case "passage_languages":
                    found[place] = replace(found[place], language=language_of(value, where))
    return found


def _scores(record: Record, positives: int, negatives: int, where: str) -> list[Any] | None:
    for key in ("scores", "teacher_scores"):
        if _given(record, key):
            return _listed(record[key])
    if _given(record, "pos_scores") or _given(record, "neg_scores"):
        return [*_listed(record.get("pos_scores") or []), *_listed(record.get("neg_scores") or [])]
    if _given(record, "score"):
        score = record["score"]
        if isinstance(score, list):
            return score
        if positives != 1 or negatives != 1:
            raise InputError(
                f"{where}: one 'score' for {positives + negatives} passages; give 'scores', one a passage (one number "
                "alone is the margin between a positive and a negative)"
            )
        return [score, 0.0]
    return None


def _example(
    query: object,
    positives: Sequence[Passage],
    negatives: Sequence[Passage],
    record: Record,
    where: str,
    defaults: Defaults,
) -> Outcome:
    language = _language(record, where) or defaults.language
    task = record.get("task")
    if task is not None and not isinstance(task, str):
        raise InputError(f"{where}: the task is {type(task).__name__}, not a string; name it")
    if defaults.passage_language is not None:
        positives = [replace(one, language=one.language or defaults.passage_language) for one in positives]
        negatives = [replace(one, language=one.language or defaults.passage_language) for one in negatives]
    name = next((record[key] for key in _QUERY_ID_KEYS if _given(record, key)), None)
    return build(
        query,
        positives,
        negatives,
        where=where,
        language=language,
        task=task or defaults.task,
        query_id=None if name is None else id_of(name, where),
    )


def _passages(value: object, where: str) -> list[Passage]:
    values = value if isinstance(value, list) else [value]
    return [passage_of(one, where) for one in values if one is not None]


def _negative_keys(record: Record, end: str = "") -> list[str]:
    """Return the columns of negatives; numbered columns are sorted by number."""
    numbered = [
        (int(found[1]), key) for key in record if (found := _NUMBERED.fullmatch(key)) and (found[2] or "") == end
    ]
    plain = [f"{key}{end}" for key in NEGATIVE_KEYS]
    return [key for key in plain if key in record] + [key for _, key in sorted(numbered)]


def _key(record: Record, keys: Sequence[str], where: str) -> str:
    for key in keys:
        if _given(record, key):
            return key
    raise InputError(f"{where}: the key {' or '.join(map(repr, keys))} is missing; there are {sorted(record)}")


def _given(record: Record, key: str) -> bool:
    return record.get(key) is not None


def _list(record: object, key: str, where: str, *, optional: bool = False) -> list[Any]:
    value = record.get(key) if isinstance(record, Mapping) else None
    if value is None and optional:
        return []
    if not isinstance(value, list):
        raise InputError(f"{where}: {key!r} must be a list; fix it")
    return value


def _string(record: object, key: str, where: str) -> str:
    value = record.get(key) if isinstance(record, Mapping) else None
    if not isinstance(value, str):
        raise InputError(f"{where}: {key!r} must be a string; fix it")
    return value


def _listed(value: object) -> list[Any]:
    """Return a value as a list; tables may store a list as a string."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            found = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return [value]
        return found if isinstance(found, list) else [value]
    return value if isinstance(value, list) else [value]


def _language(record: Record, where: str) -> str | None:
    return language_of(record.get("lang") or record.get("language"), where)
