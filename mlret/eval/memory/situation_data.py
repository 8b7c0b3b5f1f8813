"""Small situations that a memory should judge as a person would: records, a question, and what must come first.

Those that come with mlret are 300 in twelve languages. Written for mlret; CC0.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mlret.data.files import read_lines
from mlret.errors import InputError
from mlret.eval.registry import BUNDLED

_FILE = Path(__file__).parent / "situations" / "situations.jsonl"


class SituationRecord(BaseModel):
    """A record of a situation.

    Attributes
    ----------
    id
        Name of the record within its situation.
    at
        The day on which it was said.
    language
        Language of the text.
    text
        What was said.
    by
        Who said it, if that matters: a name, ``user`` or ``assistant``.
    session
        The conversation that it was said in.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    at: date
    language: str
    text: str = Field(min_length=1)
    by: str | None = None
    session: str | None = None


class Situation(BaseModel):
    """Records, a question about them, and how a person would rank them.

    Attributes
    ----------
    id, kind
        Name of the situation, and what makes it hard, such as ``moved house``.
    records
        The records, in the order in which they were said.
    question, language, asked
        The question, its language, and the day on which it is asked.
    first
        Ids of the records that answer the question. One of them must come first, and all of them before ``behind``.
    behind
        Ids of the records that must not come before an answer.
    superseded
        Id of a record that no longer holds, or never did -> ids of the records that replace it, one of which must be
        named with it. No other record may be said to be replaced.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    kind: str
    records: tuple[SituationRecord, ...] = Field(min_length=2)
    question: str = Field(min_length=1)
    language: str
    asked: date
    first: tuple[str, ...] = Field(min_length=1)
    behind: tuple[str, ...] = Field(min_length=1)
    superseded: dict[str, tuple[str, ...]] = {}

    @model_validator(mode="after")
    def _check(self) -> Self:
        ids = {record.id for record in self.records}
        named = {
            *self.first,
            *self.behind,
            *self.superseded,
            *(one for some in self.superseded.values() for one in some),
        }
        if len(ids) < len(self.records):
            raise ValueError("two records have one id")
        if named - ids:
            raise ValueError(f"no record is called {', '.join(sorted(named - ids))}")
        if set(self.first) & set(self.behind):
            raise ValueError("a record is both first and behind")
        if [record.at for record in self.records] != sorted(record.at for record in self.records):
            raise ValueError("the records are not in the order of their days")
        return self

    @property
    def crosses(self) -> bool:
        """Whether the question is in another language than every record that answers it."""
        return all(record.language != self.language for record in self.records if record.id in self.first)


def read_situations(path: Path) -> list[Situation]:
    """Read situations from a file with a JSON object on each line.

    Parameters
    ----------
    path
        The file, or :data:`mlret.eval.registry.BUNDLED` for the situations that come with mlret.

    Returns
    -------
    list of Situation
        The situations, in the order of the file.

    Raises
    ------
    InputError
        If the file is missing or empty, a line is not a situation, or two have the same id.
    """
    path = _FILE if str(path) == BUNDLED else path
    found: dict[str, Situation] = {}
    for number, line in read_lines(path):
        situation = _parsed(line, f"{path}:{number}")
        if found.setdefault(situation.id, situation) is not situation:
            raise InputError(f"{path}:{number}: the id {situation.id!r} is taken by an earlier line; give it another")
    if not found:
        raise InputError(f"{path}: has no situations; write one JSON object on each line")
    return list(found.values())


def development_half(situations: Sequence[Situation]) -> frozenset[str]:
    """Return the ids of the situations that the ranking was tuned on: of each kind the half with the lower SHA-256.

    Parameters
    ----------
    situations
        All situations that come with mlret.
    """
    kinds: dict[str, list[str]] = {}
    for situation in situations:
        kinds.setdefault(situation.kind, []).append(situation.id)
    halves = (sorted(ids, key=lambda id: sha256(id.encode()).hexdigest())[: len(ids) // 2] for ids in kinds.values())
    return frozenset(id for half in halves for id in half)


def _parsed(line: str, where: str) -> Situation:
    try:
        values: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not JSON: {error.msg}; write one JSON object on each line") from error
    try:
        return Situation.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "situation"
        raise InputError(f"{where}: {key}: {first['msg']}; correct this line") from error
