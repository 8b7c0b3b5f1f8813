"""Reads the pages of an SQLite file to find data that no row accounts for.

With ``secure_delete`` SQLite overwrites a row that is deleted and a page that is freed. But when it moves rows between
pages, to make room or to fill them up, it can leave a copy of a moved row in a page's unallocated space, which deleting
the row does not overwrite. In B-tree pages that space is the gap between the cell pointers and the cells
(https://www.sqlite.org/fileformat2.html, section 1.6).

The pages of the schema are not examined: they never held a user's row, and a definition that is longer than a page
leaves copies of itself each time that it is created.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from mlret.index.sqlite import raw

_TABLE_LEAF = 13
_INTERIOR_OF_TABLE = 5
# By the first byte of a page, which names its kind. Interior pages of tables hold only row numbers.
_IS_INTERIOR, _HAS_ROWS = (np.isin(np.arange(256), kinds) for kinds in ((2, 5), (2, 10, 13)))
# The head of a free block can stay in a page whose last row was removed: two numbers of two bytes.
_TRACE = re.compile(rb"[^\0]{4}")
_BLOCK = 3 << 19  # Bytes that are read at once: they stay in the cache of a core.
_ZEROS = memoryview(bytes(1 << 16))
# Called with the place of a block in a file and its content, which is valid until the call returns.
See = Callable[[int, NDArray[np.uint8]], object]
_FILE_HEADER = 100  # It precedes the header of the first page.


def holds_traces(path: Path, *, indexes: bool = True, see: See | None = None, overlap: int = 0) -> bool:
    """Return whether the unallocated space of a page holds any data. The write-ahead log must be empty.

    Parameters
    ----------
    path
        The database.
    indexes
        Examine all B-trees. Without it only the rows of tables are examined, and neither indexes nor ``WITHOUT ROWID``
        tables.
    see
        Called with each block that is read, for callers that examine it for something else. If there are traces,
        reading ends with the first.
    overlap
        Further bytes at the end of a block, with which the next one begins; only ``see`` reads them.
    """
    with raw.reading(path) as descriptor:
        head = os.pread(descriptor, _FILE_HEADER, 0)
        schema = _schema_pages(descriptor, head)
    size = int.from_bytes(head[16:18], "big")
    size = 65536 if size == 1 else size
    usable = size - head[20]
    for place, view in raw.views(path, _BLOCK // size * size, overlap=overlap):
        content = np.frombuffer(view, dtype=np.uint8)
        if see is not None:
            see(place, content)
        whole = min(len(content), _BLOCK // size * size) // size
        pages = content[: whole * size].reshape(-1, size)
        buffer = cast(bytearray, view.obj)
        for start, end in _gaps(pages, place // size + 1, schema, indexes=indexes):
            # Nearly all are zeros, and compared without a copy.
            if not buffer.startswith(_ZEROS[: end - start], start) and _written(bytes(view[start:end]), usable):
                return True
    return False


def _gaps(pages: NDArray[np.uint8], number: int, schema: set[int], *, indexes: bool) -> Iterator[tuple[int, int]]:
    """Yield where the unallocated space of each page that has rows starts and ends, counted from the first page.

    Parameters
    ----------
    pages
        ``(n, size)``: consecutive pages.
    number
        Number of the first of them in the file.
    schema
        Numbers of pages that are left out.
    indexes
        As for :func:`holds_traces`.
    """
    heads = pages[:, :8].astype(np.int64)
    before = _FILE_HEADER if number == 1 else 0
    heads[0] = pages[0, before : before + 8]
    kinds, cells, first = heads[:, 0], heads[:, 3] << 8 | heads[:, 4], heads[:, 5] << 8 | heads[:, 6]
    start = np.where(_IS_INTERIOR[kinds], 12, 8) + 2 * cells
    start[0] += before
    first[first == 0] = 65536
    wanted = _HAS_ROWS[kinds] if indexes else kinds == _TABLE_LEAF
    wanted[[page - number for page in schema if 0 <= page - number < len(pages)]] = False
    ends = np.minimum(first, pages.shape[1])
    left = np.flatnonzero(wanted & (ends > start))
    places = left * pages.shape[1]
    yield from zip((places + start[left]).tolist(), (places + ends[left]).tolist(), strict=True)


def _schema_pages(descriptor: int, head: bytes) -> set[int]:
    """Return the numbers of the pages of the schema table, whose root is the first page."""
    size = int.from_bytes(head[16:18], "big")
    size = 65536 if size == 1 else size
    found, pending = {1}, [1]
    while pending:
        number = pending.pop()
        page = os.pread(descriptor, size, (number - 1) * size)
        start = _FILE_HEADER if number == 1 else 0
        if page[start : start + 1] != bytes([_INTERIOR_OF_TABLE]):
            continue
        cells = int.from_bytes(page[start + 3 : start + 5], "big")
        pointers = [start + 12 + 2 * cell for cell in range(cells)]
        places = [int.from_bytes(page[one : one + 2], "big") for one in pointers]
        children = {int.from_bytes(page[one : one + 4], "big") for one in (*places, start + 8)} - found
        found |= children
        pending += children
    return found


def _written(gap: bytes, usable: int) -> bool:
    """Return whether a gap holds anything besides pointers to deleted cells, which are at its beginning."""
    if _TRACE.search(gap) is None:
        return False
    place = 0
    while 0 < int.from_bytes(gap[place : place + 2], "big") <= usable and place + 2 <= len(gap):
        place += 2
    return _TRACE.search(gap, place) is not None
