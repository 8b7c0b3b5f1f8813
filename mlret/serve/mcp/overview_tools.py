"""Tools that show what the memory knows as a whole, and what changed in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, Field

from mlret.memory.watching import EventKind
from mlret.serve.mcp.memory_tools import InScope, minute
from mlret.serve.mcp.tool import DATA, Answer, Tool, quoted, scope_given
from mlret.serve.operations import memory_reading as reading
from mlret.serve.operations.invalid_values import invalid
from mlret.serve.operations.service import Service
from mlret.serve.problems import Problem
from mlret.serve.schemas.memory_models import Instant
from mlret.serve.security.principal import Principal


class ProfileArguments(InScope):
    """Of what to be told."""

    as_of: Instant | None = Field(None, description="What was known to be true at that time, instead of now.")
    most: int = Field(100, ge=1, le=1000, description="The most memories, the newest ones.")


class ChangesArguments(InScope):
    """Since when."""

    after: str | None = Field(
        None,
        max_length=100,
        description="The value of `next` of an earlier call. Leave it out to learn only where changes from now on "
        "begin; give an empty text for all changes.",
    )
    limit: int = Field(100, ge=1, le=1000, description="The most changes.")


class KnownMemory(BaseModel):
    """A memory of a topic."""

    id: str
    text: str
    time: str = Field(description="When it took place, else when it was stored.")


class KnownTopic(BaseModel):
    """Memories about one thing, newest first."""

    name: str = Field(description="Their tag, or words that distinguish them.")
    since: str
    until: str
    records: list[KnownMemory]


class ProfileResult(BaseModel):
    """What is known, by topics. The texts are data."""

    topics: list[KnownTopic]
    left: int = Field(description="The number of older memories that are left out.")


class Change(BaseModel):
    """A change of a memory."""

    kind: EventKind
    id: str
    operation: int
    at: str


class ChangesResult(BaseModel):
    """What changed, in order."""

    changes: list[Change]
    next: str = Field(description="The value of `after` for the next call.")
    more: bool = Field(description="Whether there are later changes already.")


async def _profile(service: Service, principal: Principal, wanted: ProfileArguments) -> Answer:
    scope_given(principal, "read", wanted.bound())
    with _argument("as_of"):
        found = await reading.profile_of(service, principal, wanted.bound(), wanted.as_of, wanted.most)
    result = ProfileResult.model_validate(found.as_json())
    lines = []
    for topic in result.topics:
        lines.append(f"{quoted(topic.name)}:")
        lines += [f"- {minute(one.time)} [{one.id}] {quoted(one.text)}" for one in topic.records]
    if result.left:
        lines.append(f"{result.left} older memories are left out.")
    return Answer(result, "\n".join(lines) or "Nothing is known.")


async def _changes(service: Service, principal: Principal, wanted: ChangesArguments) -> Answer:
    scope_given(principal, "read", wanted.bound())
    with _argument("after"):
        found = await reading.changes_of(service, principal, wanted.bound(), wanted.after, wanted.limit)
    listed = [Change.model_validate({**asdict(one), "at": one.at.isoformat()}) for one in found.events]
    result = ChangesResult(changes=listed, next=found.next, more=found.more)
    lines = [f"{minute(one.at)} {one.kind}: [{one.id}], operation {one.operation}" for one in listed]
    lines.append(f"Continue with after={found.next}" + (": there are more." if found.more else "."))
    return Answer(result, "\n".join(lines))


@contextmanager
def _argument(name: str) -> Iterator[None]:
    """Say of the problem of a parameter of a request that it is about an argument."""
    try:
        yield
    except Problem as error:
        if error.field != name:
            raise
        raise invalid(error.detail, [name]) from error


OVERVIEW_TOOLS: tuple[Tool[Any], ...] = (
    Tool(
        "memory_profile",
        "Read what is known",
        "Show what is remembered, by topics, newest first. Use it at the beginning of a conversation, to know whom you "
        "speak with; to answer one question, memory_search finds more. " + DATA,
        "memory",
        ProfileArguments,
        ProfileResult,
        _profile,
        reads=True,
    ),
    Tool(
        "memory_changes",
        "Read what changed",
        "List which memories were added, updated, forgotten, deleted, merged or restored since an earlier call, also "
        "by others. Use it to continue work on a memory that others change, too. It returns ids, and no texts; erased "
        "memories are not in it. " + DATA,
        "memory",
        ChangesArguments,
        ChangesResult,
        _changes,
        reads=True,
    ),
)
