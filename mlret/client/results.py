"""Make the results of an index and of a memory from the answers of the server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mlret.data.documents import Document
from mlret.index.hits import Hit, Hits, IndexInfo, Passage, Unread, Updated
from mlret.memory.profiling import Profile, Topic
from mlret.memory.records import Link, MemoryRecord, Source
from mlret.memory.results import Added, Done, ErasureProof, Forgotten, Found, HistoryEntry, MemoryHit
from mlret.memory.search.context import Packed, Piece
from mlret.memory.text.duplicates import Evidence
from mlret.memory.watching import Changes, MemoryEvent

Values = Mapping[str, Any]


def hit_of(values: Values) -> Hit:
    """Return a hit of an index."""
    return Hit(
        values["rank"],
        values["id"],
        values["score"],
        values["text"],
        values["lang"],
        values["metadata"],
        values["scores"],
        values["kind"],
        values["cosine"],
        passage=values["passage"] and Passage(**values["passage"]),
    )


def hits_of(values: Values) -> Hits:
    """Return the hits of one query."""
    hits = Hits(map(hit_of, values["hits"]))
    hits.missing = tuple(values.get("missing", ()))
    return hits


def document_of(values: Values) -> Document:
    """Return a stored document."""
    return Document.stored(values["id"], values["text"], values["lang"], values["metadata"])


def info_of(values: Values, address: str) -> IndexInfo:
    """Return the summary of an index, whose path is its address."""
    own, of_settings = ("path", "languages", "unread"), ("kind", "dtype", "copies")
    settings = {name: values["settings"][name] for name in of_settings if name in values["settings"]}
    same = {name: values[name] for name in IndexInfo.__slots__ if name not in (*own, *of_settings)}
    languages = {None if code == "und" else code: count for code, count in values["languages"].items()}
    unread = Unread(**values.get("unread", {}))
    return IndexInfo(path=address, languages=languages, unread=unread, **settings, **same)


def updated_of(values: Values) -> Updated:
    """Return what became of documents; one that is stored already and is the same counts as skipped."""
    return Updated(values["added"], values["replaced"], values["skipped"] + values["unchanged"])


def record_of(values: Values) -> MemoryRecord:
    """Return a version of a record, which its ``as_json`` was called on."""
    times = {name: _instant(values[name]) for name in ("valid_to", "expires_at", "accessed_at")}
    event = values["event_time"]
    source = values["source"]
    return MemoryRecord(
        **{
            **{name: values[name] for name in MemoryRecord.__slots__},
            **times,
            "event_time": event and (datetime.fromisoformat(event[0]), datetime.fromisoformat(event[1])),
            "valid_from": datetime.fromisoformat(values["valid_from"]),
            "recorded_at": datetime.fromisoformat(values["recorded_at"]),
            "source": None if source is None else Source(**source),
            "tags": tuple(values["tags"]),
            "keys": tuple(values["keys"]),
            "links": tuple(Link(one["type"], one["target"]) for one in values["links"]),
        }
    )


def added_of(values: Values) -> Added:
    """Return what became of a text."""
    evidence = (
        Evidence(**{**one, "conflicts": tuple(one["conflicts"]), "unchecked": tuple(one["unchecked"])})
        for one in values["evidence"]
    )
    return Added(values["id"], values["verdict"], tuple(evidence), values["reason"], values["operation"])


def done_of(values: Values) -> Done:
    """Return what an operation changed."""
    return Done(tuple(values["ids"]), values["operation"])


def found_of(values: Values) -> Found:
    """Return the hits of a search of the memory."""
    hits = (
        MemoryHit(
            one["rank"],
            one["score"],
            record_of(one["record"]),
            one["scores"],
            tuple(one["why"]),
            tuple(map(record_of, one["conflicts"])),
            tuple(one["also"]),
            one["kind"],
            one["cosine"],
            tuple(one["yields_to"]),
        )
        for one in values["hits"]
    )
    return Found(tuple(hits), values["scope"], values["searched"], values["reason"])


def packed_of(values: Values) -> Packed:
    """Return the passages that fit a budget."""
    pieces = (Piece(one["id"], one["text"], one["form"], one["cost"]) for one in values["pieces"])
    return Packed(tuple(pieces), values["cost"], tuple(values["dropped"]))


def profile_of(values: Values) -> Profile:
    """Return what is known of a scope."""
    topics = (
        Topic(
            one["name"],
            tuple(map(record_of, one["records"])),
            datetime.fromisoformat(one["since"]),
            datetime.fromisoformat(one["until"]),
        )
        for one in values["topics"]
    )
    return Profile(tuple(topics), values["left"])


def changes_of(values: Values) -> Changes:
    """Return what changed in a scope."""
    events = (MemoryEvent(**{**one, "at": datetime.fromisoformat(one["at"])}) for one in values["changes"])
    return Changes(tuple(events), values["next"], values["more"])


def event_of(values: Values) -> HistoryEntry:
    """Return an event of the history of a record."""
    at = datetime.fromisoformat(values["at"])
    return HistoryEntry(values["operation"], at, values["verb"], tuple(values["changes"]), values["note"])


def forgotten_of(values: Values) -> Forgotten:
    """Return the records that a policy archives."""
    return Forgotten(values["reasons"], values["operation"])


def proof_of(values: Values) -> ErasureProof:
    """Return the proof of an erasure."""
    return ErasureProof(**{**values, "ids": tuple(values["ids"]), "shared": tuple(values["shared"])})


def _instant(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)
