"""Read rows of a table that is mapped from a file without having the whole table in memory."""

from __future__ import annotations

import ctypes
import mmap
import sys

from torch import Tensor

_PAGE_OUT = 21  # Linux' MADV_PAGEOUT, which Python's mmap does not name
_PIECE_ROWS = 4_096


def rows_of(table: Tensor, kept: Tensor, *, sole: bool = False) -> Tensor:
    """The rows ``kept`` of a table.

    Parameters
    ----------
    table
        ``(rows, …)``.
    kept
        ``(n,)`` int64, ascending.
    sole
        Nobody else reads the table: on Linux the part that was read leaves memory at once. Nothing is lost by it, for
        whoever reads it still gets it from its file again.

    Returns
    -------
    torch.Tensor
        ``(n, …)``, a copy.
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
    """Ask the system to take a tensor's whole pages out of memory; where it cannot, nothing happens."""
    if sys.platform != "linux":
        return
    start = tensor.data_ptr()
    first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (start + tensor.numel() * tensor.element_size()) // mmap.PAGESIZE * mmap.PAGESIZE - first
    if length > 0:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), _PAGE_OUT)
