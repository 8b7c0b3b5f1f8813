"""Records derived from other records by callables of the user: facts, summaries, keys and events. All are optional.

Derived texts are stored beside the original, as records of kind ``derived`` that are linked to it and have its
language, scope and validity. The original text is unchanged, and erasing it erases what was derived from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError, NotFound
from mlret.memory.ingest.add import Adder
from mlret.memory.ingest.change import update
from mlret.memory.ingest.inputs import read_item
from mlret.memory.records import DERIVED_FROM, MemoryRecord
from mlret.memory.results import Added
from mlret.memory.scope import Scope
from mlret.memory.search.context import Packed, Passage, pack
from mlret.memory.search.selection import Selection
from mlret.memory.storage.store import MemoryStore
from mlret.memory.text.duplicates import DuplicateThresholds
from mlret.memory.text.event_segmentation import segment

Extract = Callable[[MemoryRecord], Iterable[str | Mapping[str, Any]]]
_LANGUAGE_AND_TIMES = ("event_time", "valid_from", "expires_at", "session", "importance")


def derive(
    store: MemoryStore,
    ids: Sequence[str],
    extract: Extract,
    scope: Scope,
    thresholds: DuplicateThresholds | None,
) -> list[Added]:
    """Store what a callable extracts from records; use it within ``writing``.

    Parameters
    ----------
    store
        The memory.
    ids
        Ids of the records.
    extract
        Called with each record; see :meth:`mlret.memory.memory.Memory.derive`.
    scope
        A scope that holds the records.
    thresholds
        Thresholds of the encoder, if calibrated.

    Returns
    -------
    list of Added
        One result for each extracted text.

    Raises
    ------
    InputError
        If the scope lacks a record, or what was extracted cannot be used.
    """
    added: list[Added] = []
    for id in ids:
        position = store.position(id, scope)
        [record] = store.fetch([position])
        items = []
        for made in extract(record):
            values = {"text": made} if isinstance(made, str) else dict(made)
            if "text" not in values:
                _keys(store, record, values, scope)
                continue
            usual = {name: getattr(record, name) for name in _LANGUAGE_AND_TIMES} | {
                "language": record.language,
                "level": "fact",
                "source": record.source,
            }
            if values.get("derived_from"):
                raise InputError("what is extracted from a record is derived from it: leave derived_from out")
            items.append(read_item({**usual, **values, "derived_from": id, "kind": "derived"}, f"extracted of {id!r}"))
        if items:
            added += Adder(store, record.scope, thresholds).add(items)
    return added


def _keys(store: MemoryStore, record: MemoryRecord, values: Mapping[str, Any], scope: Scope) -> None:
    """Add extracted keys and tags that come without a text to the record itself."""
    if set(values) - {"keys", "tags"}:
        raise InputError(f"what is extracted has a 'text', or 'keys' and 'tags' for the record, not {sorted(values)}")
    merged = {name: [*dict.fromkeys([*getattr(record, name), *some])] for name, some in values.items()}
    if merged and any(tuple(some) != getattr(record, name) for name, some in merged.items()):
        update(store, record.id, scope, merged)


@dataclass(frozen=True, slots=True)
class Event:
    """Consecutive turns of a session that belong together.

    Attributes
    ----------
    ids
        Ids of the turns.
    text
        Their texts, one per line.
    id
        Id of the record that holds the event; ``None`` if it was not stored.
    """

    ids: tuple[str, ...]
    text: str
    id: str | None = None


def events(
    store: MemoryStore, session: str, scope: dict[str, str], options: Mapping[str, Any], *, keep: bool
) -> list[Event]:
    """Split a session into events by the topics of its turns; with ``keep`` use it within ``writing``.

    Parameters
    ----------
    store
        The memory.
    session, scope
        Name of the session, and the scope that holds it.
    options
        Options of :func:`mlret.memory.text.event_segmentation.segment`.
    keep
        Whether to store each event as a record.

    Returns
    -------
    list of Event
        The events in order.

    Raises
    ------
    InputError
        If the scope has no turns of the session, more than one scope has them, or the store has a vector for each
        token.
    """
    columns = store.columns
    positions = Selection(scope, levels=["turn"]).positions(store)
    mine = [p for p in positions.tolist() if columns.sessions.by_number[columns.session[p]][1] == session]
    places = {columns.scopes.by_number[columns.scope[p]] for p in mine}
    if not mine:
        raise NotFound(f"the scope {scope} has no turns of a session {session!r}")
    if len(places) > 1:
        raise InputError(f"{len(places)} scopes have a session {session!r}; name one of them completely")
    if store.store.manifest.similarity != "cosine":
        raise InputError("events are cut by one vector a turn; this memory has one for each token")
    mine.sort(key=lambda position: (int(columns.seq[position]), int(columns.row[position])))
    rows = [int(columns.row[position]) for position in mine]
    vectors = store.store.vectors_of(rows)
    matrix: NDArray[np.float32] = np.stack([vectors[row] for row in rows])
    turns = store.fetch(mine)
    found = [
        Event(tuple(turn.id for turn in turns[start:end]), "\n".join(turn.text for turn in turns[start:end]))
        for start, end in segment(matrix, **options)
    ]
    return [_kept(store, event, turns) for event in found] if keep else found


def _kept(store: MemoryStore, event: Event, turns: Sequence[MemoryRecord]) -> Event:
    """Store an event as a record derived from its turns, and return it with its id."""
    mine = [turn for turn in turns if turn.id in event.ids]
    times = [turn.event_time for turn in mine if turn.event_time is not None]
    languages = {turn.language for turn in mine}
    item = read_item(
        {
            "text": event.text,
            "level": "event",
            "kind": "derived",
            "session": mine[0].session,
            "seq": mine[0].seq,
            "language": languages.pop() if len(languages) == 1 else None,
            "event_time": (min(start for start, _ in times), max(end for _, end in times)) if times else None,
            "derived_from": list(event.ids),
        }
    )
    [added] = Adder(store, mine[0].scope, None).add([item])
    return Event(event.ids, event.text, added.id)


def packed(
    store: MemoryStore, records: Sequence[MemoryRecord], budget: int, count: Callable[[str], int], scope: Scope
) -> Packed:
    """Fit records into a budget, in order of time: each in full, else by its shortest derived summary, else dropped.

    Parameters
    ----------
    store
        The memory.
    records
        The records, best first.
    budget, count
        As for :func:`mlret.memory.search.context.pack`.
    scope
        Scope that a summary must belong to.

    Returns
    -------
    Packed
        The chosen texts, their cost and the ids that were dropped.
    """
    columns = store.columns
    passages = []
    for record in records:
        summaries = [
            one
            for one, type, target in sorted(columns.links.get(record.id, ()))
            if type == DERIVED_FROM and target == record.id and store.in_scope(one, scope)
        ]
        found = [
            text.text
            for text in store.fetch([columns.statuses[one].position for one in summaries])
            if text.level == "summary" and text.state == "active"
        ]
        at = record.event_time[0] if record.event_time is not None else record.recorded_at
        passages.append(Passage(record.id, record.text, min(found, key=len) if found else None, at.timestamp()))
    return pack(passages, budget, count)
