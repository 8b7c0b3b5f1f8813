"""The training example for retrieval: a query, passages that answer it and passages that do not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mlret.data.documents import titled
from mlret.data.languages import normalise_language
from mlret.data.unicode_text import check_unicode
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
        Passages that answer it, at least one. Title and text are joined like those of documents in an index, with the
        title as the first line.
    negatives
        Passages that do not answer it, or are assumed not to; may be empty.
    scores
        A teacher's scores of the positives, followed by those of the negatives; higher is better. ``None`` without a
        teacher.
    language
        Normalised language code of the query; ``None`` if it is unknown.
    task
        User-defined name of what the query asks for; used for instructions and for batches of one task.
    query_id
        Id of the query, if the data has one.
    passage_ids
        Ids of the positives, followed by those of the negatives, if the data has them.
    passage_languages
        Languages of the positives, followed by those of the negatives; ``None`` if all passages are in the language of
        the query, or their language is unknown.
    origin
        ``file:line`` from which the example was read, for messages; ignored in comparisons.

    Raises
    ------
    InputError
        If the query or a passage is blank or not valid Unicode, there is no positive, a score is not finite, or the
        number of scores, ids or languages differs from the number of passages.

    Examples
    --------
    The examples of the methods use this example.

    >>> from mlret.data.ranking import RankingExample
    >>> example = RankingExample(
    ...     query="Wann fährt der Zug?",
    ...     positives=("Der Zug nach Köln fährt um acht Uhr ab.",),
    ...     negatives=("Treni imechelewa.", "駅前に図書館がある。"),
    ...     language="de",
    ...     passage_languages=("de", "sw", "ja"),
    ... )
    >>> len(example.passages)
    3
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
            raise InputError(f"{where}a score is not a finite number; fix it, or drop the scores")

    @property
    def passages(self) -> tuple[str, ...]:
        """The positives, followed by the negatives: the order of scores, ids and languages.

        Examples
        --------
        >>> example.passages[1]
        'Treni imechelewa.'
        """
        return self.positives + self.negatives

    @property
    def languages(self) -> tuple[str | None, ...]:
        """The language of each passage; ``None`` if it is unknown.

        Examples
        --------
        >>> example.languages
        ('de', 'sw', 'ja')
        """
        return self.passage_languages or (self.language,) * len(self.passages)

    def with_passages(self, places: Sequence[int]) -> RankingExample:
        """Return the example with only the passages at ``places``, ascending positions in :attr:`passages`.

        Parameters
        ----------
        places
            Positions in :attr:`passages`, counted from 0, in ascending order. At least one positive must be among them.

        Returns
        -------
        RankingExample
            The example with these passages, and with their scores, ids and languages.

        Raises
        ------
        InputError
            If no positive is left.

        Examples
        --------
        >>> example.with_passages([0, 2]).negatives
        ('駅前に図書館がある。',)
        """

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
        """Return the example as a JSON object in the format that mlret writes; unknown fields are omitted.

        Returns
        -------
        dict
            The fields by the names that :func:`read_ranking` recognises.

        Examples
        --------
        >>> record = example.to_record()
        >>> record["query"], record["lang"], "scores" in record
        ('Wann fährt der Zug?', 'de', False)
        """
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
    """A passage as it is in a file, with what the file states about it; ``text`` is blank if the file has no text."""

    text: str
    id: str | None = None
    language: str | None = None
    score: float | None = None


def passage_of(value: object, where: str) -> Passage:
    """Convert a JSON value to a passage.

    Parameters
    ----------
    value
        A string, or an object with ``text`` and optionally ``title``, ``docid`` (or ``id``, …), ``score`` and ``lang``.
    where
        ``file:line``, for messages.

    Returns
    -------
    Passage
        The passage.

    Raises
    ------
    InputError
        If it is neither, or a value has the wrong type.
    """
    if isinstance(value, str):
        return Passage(value)
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: a passage is {type(value).__name__}; give a string, or an object with 'text'")
    text = next((value[key] for key in _TEXT_KEYS if value.get(key) is not None), "")
    title = value.get("title") or ""
    if not isinstance(text, str) or not isinstance(title, str):
        raise InputError(f"{where}: title and text of a passage must be strings; fix them")
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
    """Return an example, or the reason why it is skipped.

    Blank passages, which some collections and translations contain, are excluded.

    Parameters
    ----------
    query
        The query.
    positives, negatives
        The passages.
    where
        ``file:line``, for messages.
    language
        Normalised language code of the query; ``None`` if it is unknown.
    task
        Name of the task.
    query_id
        Id of the query.

    Raises
    ------
    InputError
        If the query is blank or not a string, or only some of the passages have scores.
    """
    if not isinstance(query, str):
        raise InputError(f"{where}: the query is {type(query).__name__}, not a string; fix it")
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
    """Return an id, given as a string or an integer, as a string.

    Parameters
    ----------
    value
        A string or an integer.
    where
        ``file:line``, for messages.

    Raises
    ------
    InputError
        If it is neither, or empty.
    """
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise InputError(f"{where}: the id {value!r} is neither a string nor an integer; fix it")
    return str(value)


def number_of(value: object, where: str) -> float:
    """Return a finite number as a float.

    Parameters
    ----------
    value
        A number.
    where
        ``file:line``, for messages.

    Raises
    ------
    InputError
        If the value is not a finite number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{where}: the score {value!r} is not a finite number; fix it")
    return float(value)


def language_of(value: object, where: str) -> str | None:
    """Return a normalised language code; ``None`` if the value is ``None`` or empty.

    Parameters
    ----------
    value
        A language code in any spelling, or nothing.
    where
        ``file:line``, for messages.

    Raises
    ------
    InputError
        If it is not a language code.
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
        raise InputError(f"{what} is {type(value).__name__}, not a string; fix it")
    if not value.strip():
        raise InputError(f"{what} is empty; fill it in, or drop the example")
    check_unicode(value, what, "fix it")
