"""Drafts: checked texts on their way to the disk, and what the index and the memory's tables store of them."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlret.data.documents import Document
from mlret.data.scripts import scripts_of
from mlret.memory import times
from mlret.memory.records import Content, Link
from mlret.memory.storage.journal import Change, NewVersion
from mlret.memory.storage.lexical_scores import grams_of

NEW = -1  # Stands for the row of a version that is not stored yet.
TAGS = "tags"  # Tags are stored under this key of the index's metadata, so that filters see them.


@dataclass(slots=True)
class Draft:
    """A text that is to be stored as a version of a record, with everything that is known of it.

    :func:`mlret.memory.ingest.inputs.read_item` makes it from what a caller gives, and checks it;
    :func:`mlret.memory.ingest.inputs.prepare` sets the fields from ``scope`` on.

    Attributes
    ----------
    record
        Id of the record.
    text, value
        The text, and the string that is indexed, :func:`mlret.memory.records.value_of` the text and its keys.
    language, content
        Language of the text, ``None`` if unknown, and its other fields.
    links
        Links from the record that come with the text.
    vector
        The vector that was given, ``None`` if there is none; once prepared, the vector in the form that the index's
        space stores: ``(dims,)``, or ``(t, dims)``.
    hash
        The result of :func:`hash_of` for the folded text.
    scope
        The checked scope that the record belongs to.
    version, seq
        Number of the version, and position in the session.
    valid_from, recorded_at
        Microseconds since 1970 in UTC.
    parts, part_vectors
        Parts of a long text that get a vector of their own, and these vectors.
    """

    record: str
    text: str
    value: str
    language: str | None
    content: Content
    links: tuple[Link, ...] = ()
    vector: Any = None
    hash: bytes = b""
    scope: dict[str, str] = field(default_factory=dict)
    version: int = 1
    seq: int = 0
    valid_from: int = 0
    recorded_at: int = 0
    parts: tuple[str, ...] = ()
    part_vectors: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """What an operation does to one record: optionally a new version in place of the row ``replaces``, then changes.

    The row of the new version is not known in advance; a :class:`~mlret.memory.storage.journal.SetEnd` refers to it as
    row :data:`NEW`.
    """

    record: str
    draft: Draft | None = None
    replaces: int | None = None
    changes: Sequence[Change] = ()
    note: Mapping[str, Any] = field(default_factory=dict)


def folded(text: str) -> str:
    """Return a text with differences of form removed: Unicode composition, width and white space."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def hash_of(form: str) -> bytes:
    """Return the 16-byte hash of the :func:`folded` form of a text, under which identical texts are found."""
    return hashlib.blake2b(form.encode("utf-8"), digest_size=16).digest()


def document_id(key: int, version: int, part: int = 0) -> str:
    """Return the id under which the index stores the text of a version, or one of its parts.

    Parameters
    ----------
    key
        Key of the record.
    version
        Number of the version.
    part
        0 for the whole text, else the number of the part.
    """
    return f"{key}/{version}/{part}"


def documents_of(drafts: Iterable[Draft], keys: Mapping[str, int]) -> list[Document]:
    """Return what the index stores of drafts: for each its whole text with the keys, then its parts.

    Parameters
    ----------
    drafts
        Prepared drafts, whose fields were checked when they were read.
    keys
        Record id -> key.
    """
    found = []
    for draft in drafts:
        key = keys[draft.record]
        metadata = dict(draft.content.metadata)
        if draft.content.tags:
            metadata[TAGS] = list(draft.content.tags)
        found.append(Document.stored(document_id(key, draft.version), draft.value, draft.language, metadata))
        for place, text in enumerate(draft.parts, start=1):
            found.append(Document.stored(document_id(key, draft.version, place), text, draft.language, {}))
    return found


def versions_of(
    drafts: Iterable[Draft], rows: Iterable[int], keys: Mapping[str, int]
) -> list[tuple[NewVersion, dict[str, Any]]]:
    """Return what the journal and the table of versions store of drafts.

    Parameters
    ----------
    drafts
        Prepared drafts.
    rows
        Rows of the :func:`documents_of` the drafts.
    keys
        Record id -> key.

    Returns
    -------
    list of (NewVersion, dict)
        For each draft its account in the journal, and the columns of its row, except for ``entry`` and ``scope``.
    """
    numbers = iter(rows)
    found = []
    for draft in drafts:
        row, content = next(numbers), draft.content
        parts = tuple(next(numbers) for _ in draft.parts)
        known = content.as_json() | {"seq": draft.seq}
        new = NewVersion(
            *(row, draft.record, draft.version, draft.scope, draft.valid_from, draft.recorded_at), known, parts
        )
        value = draft.value
        grams, length = grams_of(value)
        start, end = (None, None) if content.event_time is None else map(times.micros, content.event_time)
        columns = {
            "row": row,
            "record": keys[draft.record],
            "session": content.session,
            "seq": draft.seq,
            "kind": content.kind,
            "level": content.level,
            "language": draft.language,
            "scripts": ",".join(sorted(scripts_of(value))),
            "valid_from": draft.valid_from,
            "event_from": start,
            "event_to": end,
            "expires_at": None if content.expires_at is None else times.micros(content.expires_at),
            "length": length,
            "hash": draft.hash or hash_of(folded(draft.text)),
            "grams": grams,
        }
        found.append((new, columns))
    return found
