"""Conversations of two people over several days, and questions about them with the turns that answer each.

Those that come with mlret are 12 in English, on which the ranking of turns was tuned. Written for mlret; CC0.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from mlret.data.files import read_lines
from mlret.errors import InputError
from mlret.eval.registry import BUNDLED

_FILE = Path(__file__).parent / "conversations" / "conversations.jsonl"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Turn(_Strict):
    """What one person said: the name of the speaker, and the text."""

    by: str = Field(min_length=1)
    text: str = Field(min_length=1)


class TalkSession(_Strict):
    """The turns of one day, and when the first was said."""

    at: AwareDatetime
    turns: tuple[Turn, ...] = Field(min_length=1)


class TalkQuestion(_Strict):
    """A question, and the turns that answer it, as ``session:turn``, both counted from 1."""

    text: str = Field(min_length=1)
    evidence: tuple[str, ...] = Field(min_length=1)


class Conversation(_Strict):
    """A conversation.

    Attributes
    ----------
    id, speakers, language
        Name of the conversation, names of the people, and their language.
    sessions, questions
        What was said, in order, and the questions about it.
    """

    id: str
    speakers: tuple[str, ...] = Field(min_length=2)
    language: str = "en"
    sessions: tuple[TalkSession, ...] = Field(min_length=1)
    questions: tuple[TalkQuestion, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        turns = {place for place, *_ in self.turns()}
        named = {place for question in self.questions for place in question.evidence}
        if named - turns:
            raise ValueError(f"no turn is {', '.join(sorted(named - turns))}")
        if unknown := {turn.by for session in self.sessions for turn in session.turns} - set(self.speakers):
            raise ValueError(f"{', '.join(sorted(unknown))} is not among the speakers")
        return self

    def turns(self) -> Iterator[tuple[str, datetime, Turn]]:
        """Yield the place of each turn as ``session:turn``, the time of its session, and the turn."""
        for number, session in enumerate(self.sessions, start=1):
            for place, turn in enumerate(session.turns, start=1):
                yield f"{number}:{place}", session.at, turn


def read_conversations(path: Path) -> list[Conversation]:
    """Read conversations from a file with a JSON object on each line.

    Parameters
    ----------
    path
        The file, or :data:`mlret.eval.registry.BUNDLED` for the conversations that come with mlret.

    Returns
    -------
    list of Conversation
        The conversations, in the order of the file.

    Raises
    ------
    InputError
        If the file is missing or holds no questions, a line is not a conversation, or two have the same id.
    """
    path = _FILE if str(path) == BUNDLED else path
    found: dict[str, Conversation] = {}
    for number, line in read_lines(path):
        try:
            conversation = Conversation.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "conversation"
            raise InputError(f"{path}:{number}: {key}: {first['msg']}; correct this line") from error
        if found.setdefault(conversation.id, conversation) is not conversation:
            raise InputError(f"{path}:{number}: the id {conversation.id!r} is taken by an earlier line")
    if not any(conversation.questions for conversation in found.values()):
        raise InputError(f"{path}: has no questions; write one conversation with questions on each line")
    return list(found.values())
