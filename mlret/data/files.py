"""Find files by pattern; read lines of text files, plain or gzipped, with errors that name the line."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from mlret.errors import InputError


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading, through gzip where its name ends in ``.gz``."""
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def read_lines(path: Path, opener: Callable[[Path], IO[bytes]] = open_bytes) -> Iterator[tuple[int, str]]:
    """Yield ``(line number from 1, line without its end)`` for every line that is not blank.

    Parameters
    ----------
    path
        The file.
    opener
        Opens it; what it gives is closed here.

    Raises
    ------
    InputError
        If the file is missing, is not gzip though its name says so, or a line is not UTF-8.
    """
    number = 0
    try:
        with opener(path) as handle:
            for number, raw in enumerate(handle, start=1):
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise InputError(
                        f"{path}:{number}: not UTF-8 at byte {error.start}; convert the file, e.g. with iconv"
                    ) from error
                if line.strip():
                    yield number, line
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a folder; name a file") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}:{number + 1}: damaged gzip file ({error}); fetch it again") from error
    except PermissionError as error:
        raise InputError(f"{path}: may not be read; change its permissions") from error


def expand(patterns: Sequence[str], root: Path) -> list[Path]:
    """The files that paths and globs name, relative to ``root``, sorted.

    Raises
    ------
    InputError
        If a pattern matches nothing.
    """
    files: list[Path] = []
    for pattern in patterns:
        found = sorted(root.glob(pattern))
        if not found:
            raise InputError(f"{root / pattern}: no such file; give the folder that holds it with --data")
        files += found
    return files
