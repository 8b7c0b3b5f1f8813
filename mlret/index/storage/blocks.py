"""Checksums of the blocks of a sealed array, by which what is intact in a damaged file is told from what is not.

The SHA-256 of a file says that it is damaged; the checksums of its blocks say which rows are lost. The vectors of a
segment stand nowhere else, so that only those rows have to be encoded again.
"""

from __future__ import annotations

import io
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Rows that share a checksum.
ROWS = 256


def sums_of(array: NDArray[Any]) -> NDArray[np.uint32]:
    """Return the CRC-32 of the bytes of each block of an array.

    Parameters
    ----------
    array
        ``(n, …)``, C-contiguous; a memory map is read once.

    Returns
    -------
    numpy.ndarray
        ``(ceil(n / ROWS),)`` uint32.
    """
    starts = range(0, len(array), ROWS)
    return np.fromiter((zlib.crc32(array[start : start + ROWS].data) for start in starts), np.uint32, len(starts))


def read_intact(
    path: Path, shape: tuple[int, ...], dtype: str, sums: NDArray[np.uint32]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Read what is intact of a damaged ``.npy`` file, whose header may be damaged as well.

    Parameters
    ----------
    path
        The file, which may be missing or cut.
    shape, dtype
        What it was written as, by :func:`mlret.index.storage.sealed.write_npy`.
    sums
        The checksums of its blocks.

    Returns
    -------
    (array, intact)
        The array, and ``(n,)`` bool: which of its rows are what was written. The others are not to be used.
    """
    array = np.zeros(shape, dtype=dtype)
    size = array[:1].nbytes
    with suppress(OSError), path.open("rb", buffering=0) as handle:
        for start in range(0, len(array), ROWS):
            with suppress(OSError):  # A block that the disk does not give is lost, and the next ones are read still.
                handle.seek(header_size(shape, dtype) + start * size)
                handle.readinto(array[start : start + ROWS].data.cast("B"))
    return array, np.repeat(sums_of(array) == sums, ROWS)[: len(array)]


def header_size(shape: tuple[int, ...], dtype: str) -> int:
    """Return the number of bytes before the values in a file of :func:`mlret.index.storage.sealed.write_npy`."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
    return header.tell()
