"""Rankings that are stored while an evaluation runs, so that one that was interrupted continues where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlret.errors import InputError
from mlret.eval.readers.history import History

Rankings = list[list[int]]


class StoredRankings:
    """Rankings of one system, in a file with a line for each history; kept in memory alone if there is no folder.

    A line is only used for a history with the same documents and questions.

    Parameters
    ----------
    folder
        The folder, created if necessary; ``None`` to store nothing.
    settings
        What the rankings depend on besides the history: the system, its encoder, versions. Rankings of other settings
        are stored in other files.

    Raises
    ------
    InputError
        If the folder cannot be written, or a file in it is damaged.
    """

    def __init__(self, folder: Path | None, settings: Mapping[str, Any]) -> None:
        self._known: dict[str, Rankings] = {}
        self._path: Path | None = None
        if folder is None:
            return
        key = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=6).hexdigest()
        name = "".join(c if c.isalnum() else "-" for c in str(settings["system"]))
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: {error.strerror}; name a folder that can be written") from error
        self._path = folder / f"{name}-{key}.jsonl"
        self._read()

    def _read(self) -> None:
        assert self._path is not None
        if not self._path.exists():
            return
        content = self._path.read_bytes()
        complete, _, rest = content.rpartition(b"\n")
        if rest:  # The last line was being written when the program was killed.
            with self._path.open("r+b") as file:
                file.truncate(len(content) - len(rest))
        for number, line in enumerate(complete.splitlines(), start=1):
            try:
                stored = json.loads(line)
                self._known[stored["digest"]] = stored["rankings"]
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{self._path}:{number}: damaged; delete this file, and its rankings are computed again"
                ) from error

    def get(self, history: History) -> Rankings | None:
        """Return the rankings of a history, one for each question; ``None`` if they are not stored."""
        return self._known.get(history.digest()) if self._known else None

    def put(self, history: History, rankings: Sequence[Sequence[int]]) -> None:
        """Store the rankings of a history."""
        if self._path is None:
            return
        line = {"digest": history.digest(), "history": history.id, "rankings": [list(one) for one in rankings]}
        with self._path.open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
