"""Read a file that holds one JSON array, element by element, so that it need not fit into memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlret.data.files import read_blocks
from mlret.errors import InputError

_BLOCK = 1 << 24
_LONGEST = 1 << 28
"""Characters of the longest element; a longer one is taken for a damaged file."""
_DECODER = json.JSONDecoder()


def read_array(path: Path, what: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number, from 1, and the content of each object of a JSON array.

    Parameters
    ----------
    path
        The file; decompressed if its name ends in ``.gz``, ``.bz2`` or ``.xz``.
    what
        What an element is, for errors.

    Raises
    ------
    InputError
        If the file is missing, or is not an array of objects.
    """
    blocks = read_blocks(path, size=_BLOCK)
    buffer = next(blocks, "").lstrip()
    if not buffer.startswith("["):
        raise InputError(f"{path}: not a JSON array of {what}s; give the file as it is published")
    buffer, number, more = buffer[1:], 0, True
    while True:
        buffer = buffer.lstrip(" \t\r\n,")
        if buffer.startswith("]"):
            break
        try:
            element, end = _DECODER.raw_decode(buffer)
        except json.JSONDecodeError as error:
            block = next(blocks, "") if more else ""
            more = bool(block)
            if not more or len(buffer) > _LONGEST:
                raise InputError(
                    f"{path}: {what} {number + 1}: not JSON, or cut off ({error.msg}); get the file again"
                ) from error
            buffer += block
            continue
        number += 1
        if not isinstance(element, dict):
            raise InputError(f"{path}: {what} {number}: not an object; give the file as it is published")
        yield number, element
        buffer = buffer[end:]
    if number == 0:
        raise InputError(f"{path}: has no {what}s; give the file as it is published")
