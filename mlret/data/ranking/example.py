"""A training example for retrieval: a query, passages that answer it, passages that do not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mlret.data.documents import titled
from mlret.data.languages import normalise_language
from mlret.errors import InputError

_TEXT_KEYS = ("text", "contents", "passage", "document")
_ID_KEYS = ("docid", "_id", "id", "pid", "passage_id", "document_id")
_SCORE_KEYS = ("score", "ce-score")


@dataclass(frozen=True, slots=True)
class RankingExample:
    """A query with passages that answer it and passages that do not.

    Parameters
    ----------
    query
        The query; not blank.
    positives
        Passages that answer it, at least one: title and text joined as documents of an index are, the title the first
        line.
    negatives
        Passages that do not, or are taken not to; may be none.
    scores
        A teacher's, of the positives and then of the negatives; higher is better. ``None`` where there is no teacher.
    language
        Of the query, in mlret's form; ``None`` where it is unknown.
    task
        What the query asks for, by a name of the user's; for instructions, and batches of one task.
    query_id
        Where the data has one.
    passage_ids
        Of the positives and then of the negatives, where the data has them.
    passage_languages
        The same for languages; ``None`` where all passages are in the language of the query, or it is unknown.
    origin
        ``file:line`` that it was read from, for messages; no part of its identity.

    Raises
    ------
    InputError
        If the query or a passage is blank or no valid Unicode, there is no positive, or scores, ids or languages are
        more or fewer than the passages, or a score is not finite.
    """

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    scores: tuple[float, ...] | None = None
    language: str | None = None
    task: str | None = None
    query_id: str | None = None
    passage_ids: tuple[str | None, ...] | None = None
    passage_languages: tuple[str | None, ...] | None = None
    origin: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        where = f"{self.origin}: " if self.origin else ""
        if not self.positives:
            raise InputError(f"{where}no positive passage; give at least one, or drop the example")
        _check_text(self.query, f"{where}the query")
        for passage in self.passages:
            _check_text(passage, f"{where}a passage")
        count = len(self.passages)
        for name in ("scores", "passage_ids", "passage_languages"):
            values = getattr(self, name)
            if values is not None and len(values) != count:
                raise InputError(f"{where}{len(values)} {name} for {count} passages; give one a passage, or none")
        if self.scores is not None and not all(map(math.isfinite, self.scores)):
            raise InputError(f"{where}a score is not a finite number; mend it, or drop the scores")

    @property
    def passages(self) -> tuple[str, ...]:
        """The positives, then the negatives: the order of scores, ids and languages."""
        return self.positives + self.negatives

    @property
    def languages(self) -> tuple[str | None, ...]:
        """The language of each passage."""
        return self.passage_languages or (self.language,) * len(self.passages)

    def with_passages(self, places: Sequence[int]) -> RankingExample:
        """The example with some of its passages, by their places in :attr:`passages`, in rising order."""

        def some(values: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
            return None if values is None else tuple(values[place] for place in places)

        first = len(self.positives)
        return replace(
            self,
            positives=tuple(self.positives[place] for place in places if place < first),
            negatives=tuple(self.negatives[place - first] for place in places if place >= first),
            scores=some(self.scores),
            passage_ids=some(self.passage_ids),
            passage_languages=some(self.passage_languages),
        )

    def to_record(self) -> dict[str, Any]:
        """The example as mlret writes it, for JSON: what is not known is left out."""
        record: dict[str, Any] = {
            "query": self.query,
            "positives": list(self.positives),
            "negatives": list(self.negatives),
        }
        more = {
            "scores": self.scores,
            "lang": self.language,
            "task": self.task,
            "query_id": self.query_id,
            "passage_ids": self.passage_ids,
            "passage_languages": self.passage_languages,
        }
        return record | {
            key: list(value) if isinstance(value, tuple) else value for key, value in more.items() if value is not None
        }


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage as a file has it, with what the file says about it. ``text`` is blank where the file left it so."""

    text: str
    id: str | None = None
    language: str | None = None
    score: float | None = None


def passage_of(value: object, where: str) -> Passage:
    """A passage from a string, or an object with ``text`` and perhaps ``title``, ``docid`` (or ``id``, …), ``score``
    and ``lang``.

    Raises
    ------
    InputError
        If it is neither, or a value is of the wrong kind.
    """
    if isinstance(value, str):
        return Passage(value)
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: a passage is {type(value).__name__}; give a string, or an object with 'text'")
    text = next((value[key] for key in _TEXT_KEYS if value.get(key) is not None), "")
    title = value.get("title") or ""
    if not isinstance(text, str) or not isinstance(title, str):
        raise InputError(f"{where}: title and text of a passage must be strings; mend them")
    name = next((value[key] for key in _ID_KEYS if value.get(key) is not None), None)
    score = next((value[key] for key in _SCORE_KEYS if value.get(key) is not None), None)
    language = value.get("lang") or value.get("language")
    return Passage(
        titled(title, text),
        None if name is None else id_of(name, where),
        language_of(language, where),
        None if score is None else number_of(score, where),
    )


def build(
    query: object,
    positives: Sequence[Passage],
    negatives: Sequence[Passage],
    *,
    where: str,
    language: str | None = None,
    task: str | None = None,
    query_id: str | None = None,
) -> RankingExample | str:
    """An example, or why it is passed over. Blank passages, as some collections and translations have, are left out.

    Raises
    ------
    InputError
        If the query is blank or no string, or some passages have scores and some do not.
    """
    if not isinstance(query, str):
        raise InputError(f"{where}: the query is {type(query).__name__}, not a string; mend it")
    positives = [passage for passage in positives if passage.text.strip()]
    negatives = [passage for passage in negatives if passage.text.strip()]
    if not positives:
        return "no positive passage with text"
    passages = [*positives, *negatives]
    scores = [passage.score for passage in passages]
    known = [score for score in scores if score is not None]
    if known and len(known) < len(scores):
        raise InputError(f"{where}: {len(known)} of {len(scores)} passages have a score; give one to each, or to none")
    languages = [passage.language or language for passage in passages]
    ids = [passage.id for passage in passages]
    return RankingExample(
        query.strip(),
        tuple(passage.text for passage in positives),
        tuple(passage.text for passage in negatives),
        scores=tuple(known) if known else None,
        language=language,
        task=task,
        query_id=query_id,
        passage_ids=tuple(ids) if any(name is not None for name in ids) else None,
        passage_languages=tuple(languages) if any(code != language for code in languages) else None,
        origin=where,
    )


def id_of(value: object, where: str) -> str:
    """An id that is a string or a whole number.

    Raises
    ------
    InputError
        If it is neither.
    """
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise InputError(f"{where}: the id {value!r} is neither a string nor a whole number; mend it")
    return str(value)


def number_of(value: object, where: str) -> float:
    """A finite number.

    Raises
    ------
    InputError
        If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{where}: the score {value!r} is not a finite number; mend it")
    return float(value)


def language_of(value: object, where: str) -> str | None:
    """A language code in mlret's form; ``None`` where nothing is given.

    Raises
    ------
    InputError
        If it is no language code.
    """
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise InputError(f"{where}: the language is {type(value).__name__}, not a string; use a code such as 'sw'")
    try:
        return normalise_language(value)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _check_text(value: object, what: str) -> None:
    if not isinstance(value, str):
        raise InputError(f"{what} is {type(value).__name__}, not a string; mend it")
    if not value.strip():
        raise InputError(f"{what} is empty; fill it in, or drop the example")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{what} holds half a surrogate pair at character {error.start}; mend it") from error
