"""Memory records: a text kept word for word, and everything that is known about it.

A record is a chain of immutable versions. The content of a version (text, language, kind, times, source, tags, keys)
never changes; what happens to the record afterwards (state, strength, links, end of validity) is in the journal.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Literal, TypedDict, cast, get_args
from uuid import UUID

from mlret.data.documents import check_metadata
from mlret.data.unicode_text import check_unicode
from mlret.errors import InputError
from mlret.memory.times import Instant, read_instant

Kind = Literal["raw", "derived"]
Level = Literal["turn", "event", "session", "summary", "fact"]
# The state of a version: ``superseded`` if there is a later one, else the state of its record.
State = Literal["active", "superseded", "archived", "deleted", "merged"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LEVELS: tuple[Level, ...] = get_args(Level)
DERIVED_FROM = "derived_from"


@dataclass(frozen=True, slots=True)
class Source:
    """The origin of a text.

    Attributes
    ----------
    uri
        Where the text comes from.
    span
        Start and end of the text in ``uri``, in characters.
    role
        Who said it (``user``, ``assistant``, …).
    trust
        How far the writer trusts it, 0 to 1. It is returned with every hit and does not change the ranking.
    """

    uri: str | None = None
    span: tuple[int, int] | None = None
    role: str | None = None
    trust: float | None = None

    def __post_init__(self) -> None:
        for name in ("uri", "role"):
            _string_or_none(getattr(self, name), f"the source's {name}")
        if self.trust is not None and not (_number(self.trust) and 0 <= self.trust <= 1):
            raise InputError(f"the source's trust is {self.trust!r}; give a number from 0 to 1")
        if self.span is not None:
            span = self.span
            good = isinstance(span, Sequence) and len(span) == 2 and all(type(one) is int for one in span)
            if not good or not 0 <= span[0] <= span[1]:
                raise InputError(f"the source's span is {span!r}; give two ascending positions")
            object.__setattr__(self, "span", tuple(span))


@dataclass(frozen=True, slots=True)
class Link:
    """A directed link from one record to another.

    Attributes
    ----------
    type
        A word of the user's, or one that the memory interprets: ``derived_from``, ``related`` or ``contradicts``.
    target
        Id of the record that the link leads to.
    """

    type: str
    target: str


class RecordFields(TypedDict, total=False):
    """The optional fields of a text that is stored, for type checkers and editors; all may be left out.

    Attributes
    ----------
    kind
        ``raw`` if the text was said (the default), ``derived`` if it was made from other records.
    level
        ``turn`` (the default), ``event``, ``session``, ``summary`` or ``fact``.
    session, seq
        A conversation within the scope, and the position in it, an integer from 0; by default the next one.
    event_time
        When the event that the text describes took place: one instant, or its start and end.
    valid_from
        When the text begins to hold; by default the start of the event, else now.
    expires_at
        When the record stops being found.
    source
        Where the text comes from: a URI, a dict of the fields of :class:`Source`, or a :class:`Source`.
    tags, keys
        Tags to filter by, and expansions that are searched with the text.
    importance
        Rating by the writer, 0 to 1.
    metadata
        Other JSON values.
    links
        Links to other records: pairs of a type and an id.
    derived_from
        Ids of the records that this one was derived from.
    vector
        ``(dims,)`` floats as the encoder of the store gives them; ``(t, dims)`` if it gives a vector for each token. By
        default the text is encoded.
    """

    kind: Kind
    level: Level
    session: str | None
    seq: int | None
    event_time: Instant | Sequence[Instant] | None
    valid_from: Instant | None
    expires_at: Instant | None
    source: Source | str | Mapping[str, Any] | None
    tags: Sequence[str]
    keys: Sequence[str]
    importance: float | None
    metadata: Mapping[str, Any] | None
    links: Sequence[Link | Sequence[str]]
    derived_from: str | Sequence[str]
    vector: Any


class AddFields(RecordFields, total=False):
    """The optional fields of :meth:`mlret.memory.memory.Memory.add`: those of every text, and the ``id`` of a new one.

    Attributes
    ----------
    id
        Id of the new record; by default a random one.
    """

    id: str | None


class UpdateFields(RecordFields, total=False):
    """What :meth:`mlret.memory.memory.Memory.update` can change besides the text.

    Attributes
    ----------
    language
        Language of the new version.
    """

    language: str | None


@dataclass(frozen=True, slots=True)
class Content:
    """The fields of one version besides text and language; see :class:`MemoryRecord` for their meaning."""

    kind: Kind = "raw"
    level: Level = "turn"
    session: str | None = None
    seq: int | None = None
    event_time: tuple[datetime, datetime] | None = None
    valid_from: datetime | None = None
    expires_at: datetime | None = None
    source: Source | None = None
    tags: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    importance: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults as JSON values, except metadata, stored elsewhere."""
        found: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name == "metadata" or value in (None, ()):
                continue
            if isinstance(value, datetime):
                value = value.isoformat()
            elif one.name == "event_time":
                value = [instant.isoformat() for instant in value]
            elif isinstance(value, Source):
                value = {name: part for name, part in asdict(value).items() if part is not None}
            found[one.name] = list(value) if isinstance(value, tuple) else value
        return found

    @classmethod
    def from_json(cls, values: Mapping[str, Any], metadata: Mapping[str, Any]) -> Content:
        """Return the content that :meth:`as_json` was called on; all of it was checked when it was stored."""
        found = dict(values)
        if "event_time" in values:
            start, end = map(datetime.fromisoformat, values["event_time"])
            found["event_time"] = start, end
        for name in ("valid_from", "expires_at"):
            if name in values:
                found[name] = datetime.fromisoformat(values[name])
        for name in ("tags", "keys"):
            if name in values:
                found[name] = tuple(values[name])
        if "source" in values:
            found["source"] = Source(**values["source"])
        return cls(**found, metadata=metadata)


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """One version of a record.

    Attributes
    ----------
    id, version
        Id of the record, and number of the version, from 1.
    text
        The text, word for word as it was given.
    language
        Language of the text, given or detected; ``None`` if unknown.
    scope
        The scope that the record belongs to.
    kind
        ``raw`` if the text was said, ``derived`` if it was made from other records (links ``derived_from``).
    level
        ``turn``, ``event``, ``session``, ``summary`` or ``fact``.
    session, seq
        A conversation within the scope, and the position in it.
    event_time
        Start and end of the event that the text describes.
    valid_from, valid_to
        When the content holds; ``valid_to`` is ``None`` while no end is known.
    recorded_at
        When it was stored.
    expires_at
        When it stops being found.
    source
        Where it comes from, and how far it is trusted.
    tags, keys
        Tags to filter by, and expansions that are searched with the text.
    links
        Links to other records.
    importance
        Rating by the writer, 0 to 1; policies of :meth:`~mlret.memory.memory.Memory.forget` may use it.
    strength, accesses, accessed_at
        How often it was said, how often :meth:`~mlret.memory.memory.Memory.feedback` reported it as used, and when
        last.
    state
        ``active``, ``superseded`` by a later version, ``archived``, ``deleted`` or ``merged`` into ``merged_into``.
    metadata
        Other JSON values.
    """

    id: str
    version: int
    text: str
    language: str | None
    scope: dict[str, str]
    kind: Kind
    level: Level
    session: str | None
    seq: int
    event_time: tuple[datetime, datetime] | None
    valid_from: datetime
    valid_to: datetime | None
    recorded_at: datetime
    expires_at: datetime | None
    source: Source | None
    tags: tuple[str, ...]
    keys: tuple[str, ...]
    links: tuple[Link, ...]
    importance: float | None
    strength: float
    accesses: int
    accessed_at: datetime | None
    state: State
    merged_into: str | None
    metadata: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return all fields as JSON values; times are in ISO 8601."""
        return cast("dict[str, Any]", _plain(asdict(self)))


def make_content(
    *,
    kind: Kind = "raw",
    level: Level = "turn",
    session: str | None = None,
    seq: int | None = None,
    event_time: Instant | Sequence[Instant] | None = None,
    valid_from: Instant | None = None,
    expires_at: Instant | None = None,
    source: Source | str | Mapping[str, Any] | None = None,
    tags: Sequence[str] = (),
    keys: Sequence[str] = (),
    importance: float | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Content:
    """Check the fields that accompany a text, and return them as a :class:`Content`.

    The parameters are the fields of :class:`MemoryRecord`. Times may be strings or datetimes, ``event_time`` one
    instant or two, and ``source`` a URI, a dict or a :class:`Source`.

    Raises
    ------
    InputError
        At the first value that cannot be used.
    """
    if kind not in KINDS:
        raise InputError(f"kind is {kind!r}; there are {', '.join(KINDS)}")
    if level not in LEVELS:
        raise InputError(f"level is {level!r}; there are {', '.join(LEVELS)}")
    if seq is not None and (type(seq) is not int or not 0 <= seq < 2**31):
        raise InputError(f"seq is {seq!r}; give an integer of 0 or more")
    if importance is not None and not (_number(importance) and 0 <= importance <= 1):
        raise InputError(f"importance is {importance!r}; give a number from 0 to 1")
    _string_or_none(session, "session")
    return Content(
        kind=kind,
        level=level,
        session=session,
        seq=seq,
        event_time=None if event_time is None else _period(event_time),
        valid_from=None if valid_from is None else read_instant(valid_from, "valid_from"),
        expires_at=None if expires_at is None else read_instant(expires_at, "expires_at"),
        source=_source(source),
        tags=_strings(tags, "tags"),
        keys=_strings(keys, "keys"),
        importance=importance,
        metadata=check_metadata(metadata) if metadata else {},
    )


def value_of(text: str, keys: Sequence[str]) -> str:
    """Return the string that is indexed for a text: the text, followed by its expansion keys, one per line."""
    return "\n".join([text, *keys]) if keys else text


def text_of(value: str, keys: Sequence[str]) -> str:
    """Return the text that :func:`value_of` was called with, given its result and the same keys."""
    return value[: len(value) - len(value_of("", keys))]


def new_id() -> str:
    """Return a new random id.

    Ids are UUIDs of version 7 (RFC 9562), which sort by time of creation, so that new ones are appended at the end of
    database indexes.
    """
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 7 << 76
    return str(UUID(int=value & ~(0x3 << 62) | 0x2 << 62))


def check_id(id: str) -> str:
    """Return the id if it can name a record.

    Raises
    ------
    InputError
        If it is not a string, is blank, contains NUL or is not valid Unicode.
    """
    if not isinstance(id, str) or not id.strip() or "\0" in id:
        raise InputError(f"the id {id!r} cannot name a record; give a string that is not empty")
    check_unicode(id, f"the id {id!r}")
    return id


def check_link_type(type: str) -> str:
    """Return the link type if it is valid.

    Raises
    ------
    InputError
        If it is not a string, is blank or is not valid Unicode.
    """
    if not isinstance(type, str) or not type.strip():
        raise InputError(f"a link's type is {type!r}; give a word such as 'about'")
    check_unicode(type, f"the link's type {type!r}")
    return type


def _source(source: Source | str | Mapping[str, Any] | None) -> Source | None:
    if source is None or isinstance(source, Source):
        return source
    if isinstance(source, str):
        return Source(uri=source)
    known = {one.name for one in fields(Source)}
    if not isinstance(source, Mapping) or source.keys() - known:
        raise InputError(f"the source is {source!r}; give a string, or a dict of {', '.join(sorted(known))}")
    return Source(**source)


def _period(value: Instant | Sequence[Instant]) -> tuple[datetime, datetime]:
    pair = [value, value] if isinstance(value, str | datetime) else list(value)
    if len(pair) != 2:
        raise InputError(f"event_time is {value!r}; give an instant, or two: from when and to when")
    start, end = (read_instant(one, "event_time") for one in pair)
    if end < start:
        raise InputError(f"event_time ends at {end.isoformat()}, before it starts at {start.isoformat()}")
    return start, end


def _strings(values: Sequence[str], what: str) -> tuple[str, ...]:
    if isinstance(values, str) or not all(isinstance(one, str) and one.strip() for one in values):
        raise InputError(f"{what} is {values!r}; give a list of strings that are not empty")
    for one in values:
        check_unicode(one, f"{one!r} among {what}")
    return tuple(dict.fromkeys(values))


def _string_or_none(value: object, what: str) -> None:
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise InputError(f"{what} is {value!r}; give a string that is not empty")
    if isinstance(value, str):
        check_unicode(value, f"{what} {value!r}")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
