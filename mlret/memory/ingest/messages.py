"""Messages of a conversation as texts to store, one per turn, and the facts that a callable extracts from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mlret.errors import InputError
from mlret.memory.ingest.import_export import ZONE_HINT, read_chat
from mlret.memory.ingest.inputs import read_item
from mlret.memory.storage.drafts import Draft

Message = Mapping[str, Any]
"""A turn: ``role``, ``content``, and optionally ``time``, ``session`` and ``language``."""
ExtractFacts = Callable[[Sequence[Message]], Iterable[str | Mapping[str, Any]]]
"""Called with messages; returns facts: texts, or dicts as for ``add_batch``, with ``messages`` for where it is from."""
_FROM = "messages"  # Key of a fact: the positions of the messages that it is from, from 0.


def read_messages(messages: Iterable[Message], about: Mapping[str, Any]) -> tuple[list[Message], list[Draft]]:
    """Check messages and prepare the turns that are stored of them.

    Parameters
    ----------
    messages
        The messages; those without text are skipped.
    about
        Fields that every turn gets, unless its message has them.

    Returns
    -------
    list of Message
        The messages that have text.
    list of Draft
        A turn for each of them.

    Raises
    ------
    InputError
        If something is not a message, or a value cannot be used.
    """
    given: list[Message] = []
    drafts = []
    for number, message in _numbered(messages):
        try:
            draft = read_message(message, about)
        except InputError as error:
            raise InputError(f"message {number}: {error}") from error
        if draft is not None:
            drafts.append(draft)
            given.append(message)
    return given, drafts


def read_message(message: Message, about: Mapping[str, Any]) -> Draft | None:
    """Check a message and prepare the turn that is stored of it; ``None`` if it has no text.

    Parameters
    ----------
    message, about
        As for :func:`read_messages`.

    Raises
    ------
    InputError
        If it is not a message, or a value cannot be used.
    """
    turn = _turn(message, about.get("session"))
    if turn is None:
        return None
    own = {name: value for name, value in turn.items() if value is not None}
    return read_item({**about, **own})


def with_text(messages: Iterable[Message]) -> list[Message]:
    """Return the messages that have text.

    Raises
    ------
    InputError
        If something is not a message.
    """
    found = []
    for number, message in _numbered(messages):
        try:
            if _turn(message, None) is not None:
                found.append(message)
        except InputError as error:
            raise InputError(f"message {number}: {error}") from error
    return found


def _numbered(messages: Iterable[Message]) -> Iterable[tuple[int, Message]]:
    if isinstance(messages, str | Mapping):
        raise InputError(f"give a list of messages, not one {type(messages).__name__}")
    return enumerate(messages, start=1)


def _turn(message: Message, session: str | None) -> dict[str, Any] | None:
    """Return the fields of the turn that a message is; ``None`` if it has no text."""
    try:
        return next(read_chat([message], session=session), None)
    except InputError as error:
        raise InputError(str(error).removeprefix("line 1: ").removesuffix(ZONE_HINT)) from error


def extracted_from(messages: Sequence[Message], extract: ExtractFacts) -> list[Mapping[str, Any]]:
    """Return the facts that a callable extracts from messages, as dicts.

    Raises
    ------
    InputError
        If it returns anything but a list of texts and dicts.
    """
    facts: Any = extract(messages)
    if isinstance(facts, str | Mapping) or not isinstance(facts, Iterable):
        raise InputError(f"extract returned one {type(facts).__name__}; return a list of facts")
    found: list[Mapping[str, Any]] = []
    for number, fact in enumerate(facts, start=1):
        if not isinstance(fact, str | Mapping):
            raise InputError(f"fact {number} that extract returned is {type(fact).__name__}; return texts or dicts")
        found.append({"text": fact} if isinstance(fact, str) else fact)
    return found


def read_facts(facts: Iterable[Mapping[str, Any]], turns: Sequence[Draft]) -> list[Draft]:
    """Check what was extracted from messages and prepare it to be stored as records derived from their turns.

    Parameters
    ----------
    facts
        The facts. They may name the positions of their messages under ``messages``; by default a fact is from all.
    turns
        The turns of the messages.

    Returns
    -------
    list of Draft
        The facts, of level ``fact``, with the session of the turns and the time of the last of theirs.

    Raises
    ------
    InputError
        If a fact cannot be used, or names a message that does not exist.
    """
    drafts = []
    for number, fact in enumerate(facts, start=1):
        try:
            drafts.append(read_fact(fact, turns))
        except InputError as error:
            raise InputError(f"fact {number} that extract returned: {error}") from error
    return drafts


def read_fact(fact: Mapping[str, Any], turns: Sequence[Draft]) -> Draft:
    """Check a fact and prepare it to be stored as a record derived from its turns.

    Parameters
    ----------
    fact, turns
        As for :func:`read_facts`.

    Raises
    ------
    InputError
        If it cannot be used, or names a message that does not exist.
    """
    values = dict(fact)
    if values.get("derived_from"):
        raise InputError("name its messages under 'messages', not under 'derived_from'")
    sources = [turns[place] for place in _places(values.pop(_FROM, None), len(turns))]
    times = [turn.content.event_time for turn in sources if turn.content.event_time is not None]
    sessions = {turn.content.session for turn in sources}
    usual = {
        "level": "fact",
        "kind": "derived",
        "session": sessions.pop() if len(sessions) == 1 else None,
        "event_time": max(times) if times else None,
        "source": sources[0].content.source if len(sources) == 1 else None,
    }
    return read_item({**usual, **values, "derived_from": [turn.record for turn in sources]})


def _places(given: Any, count: int) -> Sequence[int]:
    if given is None:
        return range(count)
    places = [given] if isinstance(given, int) else list(given) if isinstance(given, Iterable) else []
    if not places or not all(type(one) is int and 0 <= one < count for one in places):
        raise InputError(f"'messages' is {given!r}; give positions from 0 to {count - 1}")
    return places
