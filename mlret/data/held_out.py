"""Read the texts of evaluation files, so that training can exclude them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mlret.data.files import COMPRESSIONS, read_blocks, read_lines
from mlret.data.same_text import normalised
from mlret.errors import InputError

__all__ = ["held_out_keys", "normalised", "read_held_out"]

# Shorter texts ("Yes.", "42") occur everywhere, and training on them reveals nothing about an evaluation.
_MIN_CHARACTERS = 10


def read_held_out(files: Iterable[Path]) -> set[str]:
    """Return the normalised texts of evaluation files that have at least ten characters after normalisation.

    For TSV these are all fields; for JSON lines and ``.json`` files (SQuAD's format) all strings, however deeply
    nested.

    Raises
    ------
    InputError
        If a file is missing or damaged, or JSON is malformed.
    """
    return held_out_keys(text for path in files for text in _texts(path))


def held_out_keys(texts: Iterable[str]) -> set[str]:
    """Return the normalised forms of texts, :func:`normalised`, that have at least ten characters."""
    return {key for text in texts if len(key := normalised(text)) >= _MIN_CHARACTERS}


def _texts(path: Path) -> Iterator[str]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if ".json" in suffixes[-1:] or (suffixes[-1:] and suffixes[-1] in COMPRESSIONS and ".json" in suffixes[-2:]):
        try:
            yield from _strings(json.loads("".join(read_blocks(path))))
            return
        except json.JSONDecodeError as error:
            if "Extra data" not in error.msg:  # that message means a .json file that holds JSON lines
                raise InputError(f"{path}:{error.lineno}: not JSON ({error.msg}); fix the file") from error
    for number, line in read_lines(path):
        if not line.lstrip().startswith("{"):
            yield from line.split("\t")
            continue
        try:
            yield from _strings(json.loads(line))
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{number}: not JSON ({error.msg}); one object per line") from error


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)
