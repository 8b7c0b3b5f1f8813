"""Compare what accompanies a repeated text: another time, another speaker or other metadata make it another occasion.

The same words of another day are another occasion, and are stored as a record of their own. Only a text whose
accompanying fields are all stored already loses nothing by being counted as a repetition. A different source does not
matter, because it is noted in the history of the record that holds the text, unless the speaker's role differs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mlret.memory.records import Content, Link, MemoryRecord


def additions(
    content: Content, links: Iterable[Link], there: Content | MemoryRecord, there_links: Iterable[Link]
) -> list[str]:
    """Return the names of the fields that a text adds to the record with the same words; empty if it adds nothing.

    Parameters
    ----------
    content, links
        Content and links of the new text.
    there, there_links
        Content and links of the stored record.
    """
    compared = {
        "event time": (content.event_time, there.event_time),
        "session": (content.session, there.session),
        "place in the session": (content.seq, there.seq),
        "validity": (content.valid_from, there.valid_from),
        "importance": (content.importance, there.importance),
        "speaker": (_role(content), _role(there)),
    }
    found = [name for name, (new, old) in compared.items() if new is not None and new != old]
    # A text without an expiry must still be found after a record that has one has expired.
    found += ["expiry"] * (content.expires_at != there.expires_at)
    found += ["tags"] * bool(set(content.tags) - set(there.tags))
    found += ["keys"] * bool(set(content.keys) - set(there.keys))
    found += ["links"] * bool(set(links) - set(there_links))
    stored = there.metadata
    found += ["metadata"] * any(
        name not in stored or not _same(value, stored[name]) for name, value in content.metadata.items()
    )
    return found


def _role(content: Content | MemoryRecord) -> str | None:
    return None if content.source is None else content.source.role


def _same(one: Any, other: Any) -> bool:
    """Return whether two JSON values are equal; ``true`` does not equal 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
