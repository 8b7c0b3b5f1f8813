"""LongMemEval's files (``longmemeval_s``, ``_m`` and ``_oracle``, also the cleaned ones) as histories.

Documents, their ids and what is relevant are those of ``src/retrieval/run_retrieval.py`` of the repository.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from mlret.errors import InputError
from mlret.eval.readers.history import History, HistoryDocument, Question, ReadingNotes
from mlret.eval.readers.json_array import read_array
from mlret.eval.readers.json_values import parsed

NO_TARGET = "no target"
"""Tag of a question none of whose user turns is labelled as evidence."""
Unit = Literal["session", "turn"]


class _Turn(BaseModel):
    role: str
    content: str
    has_answer: bool | None = None


class _Instance(BaseModel):
    question_id: str
    question_type: str
    question: str
    question_date: str
    haystack_session_ids: list[str]
    haystack_dates: list[str]
    haystack_sessions: list[list[_Turn]]
    answer_session_ids: list[str]


def read_longmemeval(path: Path, unit: Unit, notes: ReadingNotes) -> Iterator[History]:
    """Yield the history of each question, except those of abstention questions, which the repository does not score.

    Parameters
    ----------
    path
        The file.
    unit
        What a document is: all user turns of a session, or one user turn.
    notes
        Receives what was left out.

    Raises
    ------
    InputError
        If the file is missing, is not LongMemEval's, or two questions have the same id.
    """
    seen: set[str] = set()
    for number, values in read_array(path, "question"):
        instance = _instance(values, path, number)
        where = f"{path}: question {number} ({instance.question_id!r})"
        if instance.question_id in seen:
            raise InputError(f"{where}: the id is taken by an earlier question; give the file as it is published")
        seen.add(instance.question_id)
        if "_abs" in instance.question_id:
            notes.add("abstention questions, which are not scored", instance.question_id)
            continue
        yield _history(instance, unit, where, notes)


def _instance(values: dict[str, Any], path: Path, number: int) -> _Instance:
    id = values.get("question_id", "without question_id")
    instance = parsed(_Instance, values, f"{path}: question {number} ({id!r})")
    lengths = {len(instance.haystack_session_ids), len(instance.haystack_dates), len(instance.haystack_sessions)}
    if len(lengths) > 1:
        raise InputError(
            f"{path}: question {number} ({id!r}): haystack_session_ids, haystack_dates and "
            "haystack_sessions differ in length; give the file as it is published"
        )
    return instance


def _history(instance: _Instance, unit: Unit, where: str, notes: ReadingNotes) -> History:
    labelled = {id for id in instance.haystack_session_ids if "answer" in id}
    if instance.answer_session_ids and not labelled:
        raise InputError(
            f"{where}: no session id contains 'answer', by which the repository recognises the evidence; give the file "
            "as it is published, with its own ids"
        )
    if labelled != set(instance.answer_session_ids) & set(instance.haystack_session_ids):
        notes.add("questions whose answer_session_ids differ from the session ids with 'answer'", instance.question_id)
    if len(set(instance.haystack_session_ids)) < len(instance.haystack_session_ids):
        notes.add("questions whose history contains a session twice; each copy is a document", instance.question_id)
    documents: list[HistoryDocument] = []
    sessions = zip(instance.haystack_session_ids, instance.haystack_dates, instance.haystack_sessions, strict=True)
    for place, (id, date, turns) in enumerate(sessions):
        at = _instant(date, f"{where}: haystack_dates.{place}")
        parts = _session(id, turns) if unit == "session" else _turns(id, turns)
        documents += [HistoryDocument(name, text, str(place), "user", at) for name, text in parts if text.strip()]
    targets = any(turn.has_answer for turns in instance.haystack_sessions for turn in turns if turn.role == "user")
    question = Question(
        instance.question_id,
        instance.question,
        instance.question_type,
        tuple(place for place, document in enumerate(documents) if "answer" in document.id),
        frozenset() if targets else frozenset({NO_TARGET}),
        _instant(instance.question_date, f"{where}: question_date"),
    )
    if not documents:
        raise InputError(f"{where}: no user said anything in its history; give the file as it is published")
    return History(instance.question_id, tuple(documents), (question,), unit)


def _session(id: str, turns: list[_Turn]) -> list[tuple[str, str]]:
    users = [turn for turn in turns if turn.role == "user"]
    evidence = any(turn.has_answer for turn in users)
    return [(id if evidence else id.replace("answer", "noans"), " ".join(turn.content for turn in users))]


def _turns(id: str, turns: list[_Turn]) -> list[tuple[str, str]]:
    return [
        (f"{id}_{number}" if turn.has_answer else f"{id}_{number}".replace("answer", "noans"), turn.content)
        for number, turn in enumerate(turns, start=1)
        if turn.role == "user"
    ]


def _instant(text: str, where: str) -> datetime:
    """Read a time as LongMemEval writes it, e.g. ``2023/05/30 (Tue) 21:56``; it states no time zone, so UTC is used."""
    day, _, rest = text.partition(" (")
    clock = rest.partition(")")[2].strip() or "00:00"
    try:
        return datetime.strptime(f"{day} {clock}", "%Y/%m/%d %H:%M").replace(tzinfo=UTC)
    except ValueError as error:
        raise InputError(f"{where}: {text!r} is not a time such as 2023/05/30 (Tue) 21:56; correct it") from error
