"""Read rows of a memory-mapped table without keeping the whole table in memory."""

from __future__ import annotations

import ctypes
import mmap
import sys

from torch import Tensor

_PAGE_OUT = 21  # MADV_PAGEOUT of Linux, for which Python's mmap has no constant
_PIECE_ROWS = 4_096


def rows_of(table: Tensor, kept: Tensor, *, sole: bool = False) -> Tensor:
    """Return a copy of the rows ``kept`` of a table.

    Parameters
    ----------
    table
        ``(rows, …)`` tensor, possibly mapped from a file.
    kept
        ``(n,)`` int64 row numbers in ascending order.
    sole
        Whether nothing else reads the table. On Linux, the part that has been read is then paged out at once. This is
        safe, because a later read loads it from its file again.

    Returns
    -------
    torch.Tensor
        ``(n, …)`` copy of the rows.
    """
    if not sole or table.device.type != "cpu" or not table.is_contiguous():
        return table[kept.to(table.device)]
    found = table.new_empty((len(kept), *table.shape[1:]))
    read = 0
    for start in range(0, len(kept), _PIECE_ROWS):
        piece = kept[start : start + _PIECE_ROWS]
        found[start : start + _PIECE_ROWS] = table[piece]
        end = int(piece[-1]) + 1
        _page_out(table[read:end])
        read = end
    return found


def _page_out(tensor: Tensor) -> None:
    """Ask Linux to page out the whole pages of a tensor; do nothing on other systems."""
    if sys.platform != "linux":
        return
    start = tensor.data_ptr()
    first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (start + tensor.numel() * tensor.element_size()) // mmap.PAGESIZE * mmap.PAGESIZE - first
    if length > 0:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), _PAGE_OUT)
