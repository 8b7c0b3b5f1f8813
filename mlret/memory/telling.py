"""The journal in words."""

from __future__ import annotations

from mlret.memory.hits import HistoryEntry
from mlret.memory.journal import Change, Entry, NewVersion, SetEnd, SetField, SetLink
from mlret.memory.times import from_micros, iso


def told(entry: Entry) -> HistoryEntry:
    """An entry as its reader knows it."""
    changes = ("erased",) if entry.changes is None else tuple(map(_told, entry.changes))
    return HistoryEntry(entry.operation, from_micros(entry.at), entry.verb, changes, dict(entry.note))


def _told(change: Change) -> str:
    match change:
        case NewVersion(_, version, _, valid_from):
            return f"version {version}, valid from {iso(valid_from)}"
        case SetField("row", _, _):
            return "the current version is another"
        case SetField(name, before, after):
            return f"{name.replace('_', ' ')}: {before} -> {after}"
        case SetEnd(_, _, after):
            return f"an earlier version is valid until {'further notice' if after is None else iso(after)}"
        case SetLink(type, target, on):
            return f"{'link' if on else 'no link'} {type} to {target}"
    raise AssertionError(change)
