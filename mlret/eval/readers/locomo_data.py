"""LoCoMo's file ``locomo10.json`` as histories, and the audit of its annotations.

Documents and evidence are those of ``task_eval`` of the repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from mlret.data.files import read_lines
from mlret.errors import InputError
from mlret.eval.readers.history import History, HistoryDocument, Question, ReadingNotes
from mlret.eval.readers.json_values import parsed, read_json

CATEGORIES = {4: "single-hop", 1: "multi-hop", 2: "temporal", 3: "open-domain", 5: "adversarial"}
"""Category in the file -> its name, in the order in which the repository prints them."""
WRONG_CITATION = "WRONG_CITATION"
"""The audit's type of a question whose answer is right and whose evidence is wrong."""
Unit = Literal["turn", "session", "summary"]
_SESSION = re.compile(r"session_(\d+)")
_AUDIT_ID = re.compile(r"locomo_(\d+)_qa(\d+)")


class _Turn(BaseModel):
    speaker: str
    dia_id: str
    text: str
    blip_caption: str | None = None


class _Question(BaseModel):
    question: str
    category: int
    evidence: list[str] = []


class _Sample(BaseModel):
    sample_id: str
    conversation: dict[str, Any]
    qa: list[_Question]
    session_summary: dict[str, str] = {}


class _Audited(BaseModel):
    model_config = ConfigDict(extra="ignore")

    question_id: str
    error_type: str
    question: str | None = None
    correct_evidence: list[str] = []


@dataclass(frozen=True)
class LocomoAudit:
    """What an audit found wrong in the annotations.

    Attributes
    ----------
    left_out
        Ids of the questions whose answer is wrong, as the audit writes them: ``locomo_0_qa2`` is the third question of
        the first conversation.
    evidence
        Id -> the right evidence, of questions whose evidence alone is wrong.
    texts
        Id -> text of the question, to check that the audit is of this file.
    """

    left_out: frozenset[str] = frozenset()
    evidence: Mapping[str, Sequence[str]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


NO_AUDIT = LocomoAudit()


def read_audit(path: Path) -> LocomoAudit:
    """Read what an audit found.

    Parameters
    ----------
    path
        ``errors.json`` of `locomo-audit <https://github.com/dial481/locomo-audit>`_; the folder with its
        ``errors_conv_0.json`` and so on; or a text file with the id of a question to leave out on each line.

    Raises
    ------
    InputError
        If the file is missing or of another form.
    """
    if path.suffix.lower() != ".json" and not path.is_dir():
        ids = {line.strip(): number for number, line in read_lines(path)}
        for id, number in ids.items():
            if not _AUDIT_ID.fullmatch(id):
                raise InputError(
                    f"{path}:{number}: {id!r} is not a question such as locomo_0_qa2 (conversation 0, question 2)"
                )
        return LocomoAudit(frozenset(ids))
    files = sorted(path.glob("errors_conv_*.json")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: has no errors_conv_*.json; give the audit's errors.json or its folder audit/")
    found: list[_Audited] = []
    for file in files:
        content = read_json(file)
        if not isinstance(content, list):
            raise InputError(f"{file}: not a list of errors; give the audit's errors.json or its folder audit/")
        found += [parsed(_Audited, one, f"{file}: error {number}") for number, one in enumerate(content, start=1)]
    for one in found:
        if not _AUDIT_ID.fullmatch(one.question_id):
            raise InputError(f"{path}: {one.question_id!r} is not a question such as locomo_0_qa2; correct the audit")
    return LocomoAudit(
        frozenset(one.question_id for one in found if one.error_type != WRONG_CITATION),
        {one.question_id: one.correct_evidence for one in found if one.error_type == WRONG_CITATION},
        {one.question_id: one.question for one in found if one.question is not None},
    )


def read_locomo(path: Path, unit: Unit, audit: LocomoAudit, notes: ReadingNotes) -> Iterator[History]:
    """Yield the conversations.

    Parameters
    ----------
    path
        The file.
    unit
        What a document is: a turn, a session, or the summary of a session that is in the file.
    audit
        What to leave out and to correct.
    notes
        Receives what was left out.

    Raises
    ------
    InputError
        If the file is missing, is not LoCoMo's, or the audit is of another file.
    """
    content = read_json(path)
    if not isinstance(content, list) or not content:
        raise InputError(f"{path}: not a list of conversations; give locomo10.json as it is published")
    known: set[str] = set()
    for number, values in enumerate(content):
        id = values.get("sample_id", "without sample_id") if isinstance(values, dict) else ""
        where = f"{path}: conversation {number + 1} ({id!r})"
        sample = parsed(_Sample, values, where)
        if sample.sample_id in known:
            raise InputError(f"{where}: the sample_id is taken by an earlier conversation; give the file as published")
        known.add(sample.sample_id)
        yield _history(sample, number, unit, audit, where, notes)
    _check_audit(audit, len(content), path)


def _check_audit(audit: LocomoAudit, conversations: int, path: Path) -> None:
    for id in (*audit.left_out, *audit.evidence):
        if int(_numbers(id)[0]) >= conversations:
            raise InputError(f"the audit names {id}, but {path} has {conversations} conversations; give its own file")


def _numbers(id: str) -> tuple[int, int]:
    match = _AUDIT_ID.fullmatch(id)
    assert match is not None
    return int(match[1]), int(match[2])


def _history(sample: _Sample, number: int, unit: Unit, audit: LocomoAudit, where: str, notes: ReadingNotes) -> History:
    sessions = _sessions(sample, where)
    documents: list[HistoryDocument] = []
    places: dict[str, int] = {}
    for session, (at, turns) in sessions.items():
        for name, text, role in _parts(sample, session, turns, unit, where):
            if name in places:
                notes.add("turns with the id of an earlier turn, which is the evidence", f"{sample.sample_id}/{name}")
            if text.strip():
                places.setdefault(name, len(documents))
                documents.append(HistoryDocument(name, text, f"session {session}", role, at))
    if not documents:
        raise InputError(f"{where}: the conversation has no text; give the file as it is published")
    _check_places(audit, number, len(sample.qa), where)
    asked = max(at for at, _ in sessions.values())
    questions: list[Question] = []
    for place, item in enumerate(sample.qa):
        audit_id, id = f"locomo_{number}_qa{place}", f"{sample.sample_id}/{place}"
        _check_question(item, audit.texts.get(audit_id), f"{where}: question {place}", audit_id)
        if audit_id in audit.left_out:
            notes.add("questions left out because the audit lists their answer as wrong", id)
            continue
        if audit_id in audit.evidence:
            notes.add("questions with the evidence that the audit corrected", id)
        evidence = audit.evidence.get(audit_id, item.evidence)
        found = tuple(places.get(_document_of(one, unit)) for one in evidence)
        if not evidence:
            notes.add("questions without evidence", id)
        elif None in found:
            notes.add("questions with evidence that is not in the conversation, which counts as not found", id)
        questions.append(Question(id, item.question, CATEGORIES[item.category], found, at=asked))
    return History(sample.sample_id, tuple(documents), tuple(questions), "session" if unit != "turn" else "turn")


def _check_question(item: _Question, audited: str | None, where: str, audit_id: str) -> None:
    if item.category not in CATEGORIES:
        raise InputError(f"{where}: category {item.category} is not one of 1 to 5; give the file as it is published")
    if audited is not None and audited.strip() != item.question.strip():
        raise InputError(
            f"{where} is {item.question!r}, but the audit has {audited!r} as {audit_id}; give the file that was audited"
        )


def _check_places(audit: LocomoAudit, number: int, questions: int, where: str) -> None:
    for id in (*audit.left_out, *audit.evidence):
        conversation, place = _numbers(id)
        if conversation == number and place >= questions:
            raise InputError(f"{where}: has {questions} questions, but the audit names {id}; give the audited file")


def _document_of(evidence: str, unit: Unit) -> str:
    """Return the id of the document with a piece of evidence, e.g. ``D3:11``; of a session, the repository's ``S3``."""
    return evidence if unit == "turn" else f"S{evidence.split(':')[0][1:]}"


def _sessions(sample: _Sample, where: str) -> dict[int, tuple[datetime, list[_Turn]]]:
    """Return the time and the turns of each session, in the order of their numbers."""
    numbers = sorted(int(match[1]) for key in sample.conversation if (match := _SESSION.fullmatch(key)))
    found: dict[int, tuple[datetime, list[_Turn]]] = {}
    for number in numbers:
        key = f"session_{number}"
        turns = sample.conversation[key]
        if not isinstance(turns, list):
            raise InputError(f"{where}: {key}: not a list of turns; give the file as it is published")
        found[number] = (
            _instant(sample.conversation.get(f"{key}_date_time"), f"{where}: {key}_date_time"),
            [parsed(_Turn, turn, f"{where}: {key}.{place}") for place, turn in enumerate(turns)],
        )
    return found


def _parts(
    sample: _Sample, session: int, turns: Sequence[_Turn], unit: Unit, where: str
) -> list[tuple[str, str, str | None]]:
    """Return id, text and speaker of the documents of a session."""
    if unit == "summary":
        summary = sample.session_summary.get(f"session_{session}_summary")
        if summary is None:
            raise InputError(f"{where}: session_summary: session_{session}_summary is missing; use another granularity")
        return [(f"S{session}", summary, None)]
    said = [(turn.dia_id, _said(turn), turn.speaker) for turn in turns]
    return list(said) if unit == "turn" else [(f"S{session}", "\n".join(text for _, text, _ in said), None)]


def _said(turn: _Turn) -> str:
    """Return the text of a turn as the repository's retrieval writes it."""
    shared = "" if turn.blip_caption is None else f" and shared {turn.blip_caption}"
    return f'{turn.speaker} said, "{turn.text}"{shared}'


def _instant(text: object, where: str) -> datetime:
    """Read a time as LoCoMo writes it, e.g. ``1:56 pm on 8 May, 2023``; it states no time zone, so UTC is used."""
    try:
        return datetime.strptime(" ".join(str(text).split()), "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)
    except ValueError as error:
        raise InputError(f"{where}: {text!r} is not a time such as 1:56 pm on 8 May, 2023; correct it") from error
