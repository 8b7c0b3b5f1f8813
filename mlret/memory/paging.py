"""Pages of records, in the order in which their versions were stored."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mlret.memory.page_cursors import cursor_after, number_of
from mlret.memory.records import MemoryRecord
from mlret.memory.search.selection import Selection
from mlret.memory.storage.store import MemoryStore


class Records(list[MemoryRecord]):
    """Records, and where the next ones begin.

    Attributes
    ----------
    next
        The cursor of the next page; ``None`` if there are no more records.
    """

    def __init__(self, records: Iterable[MemoryRecord] = (), next: str | None = None) -> None:
        super().__init__(records)
        self.next = next


def page(store: MemoryStore, selection: Selection, after: str | None, limit: int | None) -> Records:
    """Return the selected records behind a cursor.

    A page starts behind a version and not at a number of records: changes between two pages make no record go missing.
    A record that was changed has a new version, and so moves to the end.

    Parameters
    ----------
    store
        The memory.
    selection
        Which records.
    after
        The cursor of the page before; ``None`` for the first page.
    limit
        The number of records; ``None`` for all.

    Raises
    ------
    InputError
        If the cursor is not one of this memory, or a value cannot be used.
    """
    identity = store.store.manifest.identity
    start = 0 if after is None else number_of(after, identity)
    with store.lock:
        positions = selection.positions(store)
        rows = store.columns.row[positions]
        order = np.argsort(rows, kind="stable")
        behind = order[np.searchsorted(rows[order], start, side="right") :]
        chosen = behind[:limit]
        records = store.fetch(positions[chosen])
    if len(chosen) == len(behind):
        return Records(records)
    last = int(rows[chosen[-1]]) if len(chosen) else start
    return Records(records, cursor_after(last, identity))
