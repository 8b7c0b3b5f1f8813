"""BEAM's folders of chats (``chats/100K``, ``500K``, ``1M`` and ``10M`` of its repository) as histories."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from mlret.errors import InputError, NotFound
from mlret.eval.readers.history import History, HistoryDocument, Question, ReadingNotes
from mlret.eval.readers.json_values import parsed, read_json

ABSTENTION = "abstention"
Unit = Literal["message", "pair", "turn"]
# The repository reads the first of these that exists; the spelling is its own.
_CHATS = ("chat_trunecated.json", "chat.json")
_QUESTIONS = Path("probing_questions") / "probing_questions.json"


class _Message(BaseModel):
    role: str = ""
    content: str = ""
    id: int | None = None
    time_anchor: str | None = None


class _Batch(BaseModel):
    batch_number: int | None = None
    time_anchor: str | None = None
    turns: list[list[_Message]]


class _Question(BaseModel):
    question: str
    source_chat_ids: Any = None


@dataclass(frozen=True)
class _Part:
    """A document to be: its messages, their session and the last time that was stated before its end."""

    messages: Sequence[_Message]
    session: str
    at: datetime | None


def chat_folders(path: Path) -> list[Path]:
    """Return the folders of the chats, in the order of their numbers.

    Parameters
    ----------
    path
        The folder of one chat, or a folder with one for each chat.

    Raises
    ------
    InputError
        If the folder does not exist, or contains no chat.
    """
    if not path.is_dir():
        raise NotFound(
            f"{path}: no such folder; give one of the folders in chats/ of BEAM's repository, e.g. chats/100K"
        )
    if any((path / name).is_file() for name in _CHATS):
        return [path]
    folders = [one for one in path.iterdir() if one.is_dir() and any((one / name).is_file() for name in _CHATS)]
    if not folders:
        raise InputError(f"{path}: has no chat (chat.json); give one of the folders in chats/ of BEAM's repository")
    return sorted(folders, key=lambda one: (int(one.name) if one.name.isdigit() else sys.maxsize, one.name))


def read_beam(path: Path, unit: Unit, notes: ReadingNotes) -> Iterator[History]:
    """Yield the chats, without questions that have no evidence.

    Parameters
    ----------
    path
        The folder of one chat, or a folder with one for each chat.
    unit
        What a document is: a message, a message of the user with its answer, or all messages of a turn.
    notes
        Receives what was left out.

    Raises
    ------
    InputError
        If a file is missing or is not BEAM's.
    """
    for folder in chat_folders(path):
        yield _history(folder, unit, notes)


def _history(folder: Path, unit: Unit, notes: ReadingNotes) -> History:
    chat = next(folder / name for name in _CHATS if (folder / name).is_file())
    parts = [part for part in _parts(chat, unit, notes) if any(one.content.strip() for one in part.messages)]
    if not parts:
        raise InputError(f"{chat}: has no message; give the file as it is published")
    places: dict[int, list[int]] = {}
    documents: list[HistoryDocument] = []
    for place, part in enumerate(parts):
        for message in part.messages:
            if message.id is not None:
                places.setdefault(message.id, []).append(place)
        documents.append(_document(part, place, unit))
    file = folder / _QUESTIONS
    content = read_json(file)
    if not isinstance(content, dict):
        raise InputError(f"{file}: not an object of abilities; give the file as it is published")
    questions: list[Question] = []
    for ability, items in content.items():
        if not isinstance(items, list):
            raise InputError(f"{file}: {ability}: not a list of questions; give the file as it is published")
        for number, values in enumerate(items):
            where = f"{file}: {ability}.{number}"
            item = parsed(_Question, values, where)
            id = f"{folder.name}/{ability}/{number}"
            evidence = _evidence(item, ability, places, id, notes)
            if evidence:
                questions.append(Question(id, item.question, ability, evidence, at=parts[-1].at))
    return History(folder.name, tuple(documents), tuple(questions))


def _evidence(
    item: _Question, ability: str, places: dict[int, list[int]], id: str, notes: ReadingNotes
) -> tuple[int, ...]:
    """Return the documents with the evidence; nothing for a question that is left out."""
    if ability == ABSTENTION:
        notes.add("abstention questions, which have no evidence", id)
        return ()
    stated = list(dict.fromkeys(_flat(item.source_chat_ids)))
    ids = [one for one in stated if one is not None]
    if len(ids) < len(stated):
        notes.add("questions left out because source_chat_ids has something else than ids", id)
    elif not ids:
        notes.add("questions left out because they have no source_chat_ids", id)
    elif any(one not in places for one in ids):
        notes.add("questions left out because a message of source_chat_ids is not in the chat", id)
    elif any(len(places[one]) > 1 for one in ids):
        notes.add("questions left out because several messages have an id of source_chat_ids", id)
    else:
        return tuple(places[one][0] for one in ids)
    return ()


def _flat(value: Any) -> Iterator[int | None]:
    """Yield the ids of ``source_chat_ids``, a list or an object of lists; ``None`` for what is not an id."""
    if isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _flat(one)
    elif value is not None:
        yield value if isinstance(value, int) and not isinstance(value, bool) else None


def _parts(chat: Path, unit: Unit, notes: ReadingNotes) -> Iterator[_Part]:
    at: datetime | None = None
    for session, batch in _batches(chat):
        for place, turn in enumerate(batch.turns):
            where = f"{chat.parent.name}, {session}, turn {place + 1}"
            step = {"message": 1, "pair": 2}.get(unit, max(len(turn), 1))
            for first in range(0, len(turn), step):
                messages = turn[first : first + step]
                for message in messages:
                    anchor = message.time_anchor or (batch.time_anchor if place == first == 0 else None)
                    at = at if anchor is None else _instant(anchor, where, notes) or at
                yield _Part(messages, session, at)


def _batches(chat: Path) -> Iterator[tuple[str, _Batch]]:
    """Yield the name and the content of each batch; the chats of 10 million tokens have several plans of them."""
    content = read_json(chat)
    if not isinstance(content, list):
        raise InputError(f"{chat}: not a list of batches; give the file as it is published")
    for number, element in enumerate(content, start=1):
        if isinstance(element, dict) and "turns" in element:
            yield f"batch {number}", parsed(_Batch, element, f"{chat}: batch {number}")
            continue
        if not isinstance(element, dict):
            raise InputError(f"{chat}: batch {number}: not an object; give the file as it is published")
        for plan, batches in element.items():
            for place, batch in enumerate(batches or [], start=1):
                name = f"{plan} batch {place}"
                yield name, parsed(_Batch, batch, f"{chat}: {name}")


def _document(part: _Part, place: int, unit: Unit) -> HistoryDocument:
    if unit == "message":
        (message,) = part.messages
        return HistoryDocument(f"{place}", message.content, part.session, message.role, part.at)
    text = "\n\n".join(f"{message.role.upper()}: {message.content}" for message in part.messages)
    return HistoryDocument(f"{place}", text, part.session, None, part.at)


def _instant(text: str, where: str, notes: ReadingNotes) -> datetime | None:
    """Read a day as BEAM writes it, e.g. ``March-15-2024``; ``None`` for anything else."""
    try:
        return datetime.strptime(text.strip(), "%B-%d-%Y").replace(tzinfo=UTC)
    except ValueError:
        notes.add("time anchors that are ignored because they are no day such as March-15-2024", where)
        return None
