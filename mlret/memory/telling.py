"""Format journal entries as readable text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlret.memory.results import HistoryEntry
from mlret.memory.storage.journal import Change, Entry, NewVersion, SetEnd, SetField, SetLink
from mlret.memory.times import from_micros, iso

# The keys of a note that a history shows; other keys hold data that feedback is learned from.
_SAID = ("again", "source", "reason", "merged", "undoes")
_ELSEWHERE = "a record that is not in this scope"


def told(entry: Entry, numbers: Mapping[int, int], seen: Callable[[str], bool]) -> HistoryEntry:
    """Return a journal entry as a readable history entry.

    Parameters
    ----------
    entry
        An entry that names records by ids.
    numbers
        Number of an operation in the journal -> the number that the reader knows it by.
    seen
        Whether the reader's scope holds a record; records that it does not hold are not named.
    """
    changes = ("erased",) if entry.changes is None else tuple(_told(change, seen) for change in entry.changes)
    note: dict[str, Any] = {name: entry.note[name] for name in _SAID if name in entry.note}
    if "merged" in note:
        note["merged"] = [one for one in note["merged"] if seen(one)]
    if "undoes" in note:
        note["undoes"] = numbers.get(note["undoes"])
    return HistoryEntry(entry.counted, from_micros(entry.at), entry.verb, changes, note)


def _told(change: Change, seen: Callable[[str], bool]) -> str:
    match change:
        case NewVersion(_, _, version, _, valid_from):
            return f"version {version}, valid from {iso(valid_from)}"
        case SetField("row", _, _):
            return "the current version is another"
        case SetField("merged_into", before, after):
            names = [one if one is None or seen(one) else _ELSEWHERE for one in (before, after)]
            return f"merged into: {names[0]} -> {names[1]}"
        case SetField("accessed_at", before, after):
            times = ["never" if one is None else iso(one) for one in (before, after)]
            return f"accessed at: {times[0]} -> {times[1]}"
        case SetField(name, before, after):
            return f"{name.replace('_', ' ')}: {before} -> {after}"
        case SetEnd(_, _, after):
            return f"an earlier version is valid until {'further notice' if after is None else iso(after)}"
        case SetLink(type, target, on):
            name = target if isinstance(target, str) and seen(target) else _ELSEWHERE
            return f"{'link' if on else 'no link'} {type} to {name}"
    raise AssertionError(change)
