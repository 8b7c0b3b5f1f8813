"""Who said what: the speakers of versions, read from the database when a question may be about one, and then kept."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import regex
from numpy.typing import NDArray

from mlret.memory.search.questions import Question
from mlret.memory.storage.positions import Positions
from mlret.memory.storage.store import MemoryStore

ASSISTANT = frozenset({"assistant", "ai", "bot", "model"})
"""Roles that a question calls *you*."""
NOBODY = ASSISTANT | {"user", "human", "system", "tool", ""}
"""Speakers that are not called by a name."""
SPEAKER = "speaker"
"""Key of the metadata that names the speaker of a text whose source has no role."""
_BEGINNING = regex.compile(r"(\p{Lu}[\p{L}\p{M}.' -]{0,30}):\s")
_BEGUN = 40  # Characters of a text that are read for the name that it begins with.
_SOME = 500  # Maximum number of rows in one SQL statement.
_LONGEST_SHORT = 4  # Letters up to which a name is compared in full; longer ones may have another ending.


def speaker_bonus(store: MemoryStore, question: Question, positions: Positions, weight: float) -> NDArray[np.float64]:
    """Return the bonus of versions that were said by whom the question names.

    Parameters
    ----------
    store
        The memory.
    question
        The question. *You* is the assistant.
    positions
        ``(n,)`` positions of the versions.
    weight
        The bonus.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` float64, ``weight`` or 0; all 0 if one speaker said everything, or the question names nobody.
    """
    said = speakers(store, positions)
    folded = question.text.casefold()
    meant = {name for name in set(said) if _is_meant(name, folded, you="q_you" in question.cues)}
    if not meant or meant == set(said):
        return np.zeros(len(positions))
    return weight * np.array([name in meant for name in said], dtype=np.float64)


def _is_meant(name: str, text: str, *, you: bool) -> bool:
    """Return whether a case-folded text names a speaker, possibly with an ending, or calls the assistant *you*."""
    if name in NOBODY:
        return you and name in ASSISTANT
    first = name.split()[0]
    stem = first if len(first) <= _LONGEST_SHORT else first[:-1]
    return len(name) > 1 and regex.search(rf"(?<!\w){regex.escape(stem)}", text) is not None


def speakers(store: MemoryStore, positions: Positions) -> list[str]:
    """Return who said each version, case-folded: the role of its source, else its metadata, else how its text begins.

    Parameters
    ----------
    store
        The memory.
    positions
        ``(n,)`` positions.

    Returns
    -------
    list of str
        ``n`` speakers; an empty string where nobody is named.
    """
    known = store.columns.speakers
    places = positions.tolist()
    unknown = [place for place in places if place not in known]
    if unknown:
        rows = store.columns.row[unknown].tolist()
        found = _read(store, rows)
        known.update((place, found.get(row, "")) for place, row in zip(unknown, rows, strict=True))
    return [known[place] for place in places]


def _read(store: MemoryStore, rows: Sequence[int]) -> dict[int, str]:
    found: dict[int, str] = {}
    for start in range(0, len(rows), _SOME):
        part = rows[start : start + _SOME]
        query = (
            f"SELECT version.row, changes, metadata, substr(text, 1, {_BEGUN}) FROM memory_versions AS version "
            "JOIN memory_journal AS journal ON journal.entry = version.entry "
            f"JOIN records AS record ON record.row = version.row WHERE version.row IN ({','.join('?' * len(part))})"
        )
        for row, changes, metadata, text in store.records.read(query, part):
            found[row] = (_role(changes, row) or _named(metadata) or _begun(text)).casefold()
    return found


def _role(changes: object, row: int) -> str:
    """Return the role in the journal's account of a version; damage is reported where the version is returned."""
    if not isinstance(changes, str) or '"role"' not in changes:
        return ""
    try:
        for kind, *values in json.loads(changes):
            if kind == "version" and values[0] == row:
                return next((str(one["source"].get("role") or "") for one in values if _has_source(one)), "")
    except (ValueError, TypeError, AttributeError):
        pass
    return ""


def _has_source(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("source"), dict)


def _named(metadata: object) -> str:
    if not isinstance(metadata, str) or f'"{SPEAKER}"' not in metadata:
        return ""
    try:
        name = json.loads(metadata).get(SPEAKER)
    except (ValueError, AttributeError):
        return ""
    return name if isinstance(name, str) else ""


def _begun(text: object) -> str:
    match = _BEGINNING.match(text) if isinstance(text, str) else None
    return "" if match is None else match[1]
