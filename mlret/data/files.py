"""Find files by pattern; read lines of text files, plain or compressed, with errors that name the line."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mlret.errors import InputError

# What compresses a file, by the end of its name.
COMPRESSIONS = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz"}
# Bytes of a line, by default: far more than any record, far less than a file without line ends that fills the memory.
LONGEST_LINE = 64 << 20


def open_raw(path: Path) -> IO[bytes]:
    """Open a file for reading its own bytes."""
    return path.open("rb")


def open_standard_input(path: Path) -> IO[bytes]:
    """Standard input, whatever the path: an opener for :func:`read_lines`."""
    return sys.stdin.buffer


def _decompressed(raw: IO[bytes], path: Path) -> IO[bytes]:
    """What an open file holds, decompressed as its name says."""
    match COMPRESSIONS.get(path.suffix.lower()):
        case "gzip":
            return gzip.open(raw, "rb")  # type: ignore[return-value]
        case "bzip2":
            return bz2.open(raw, "rb")
        case "xz":
            return lzma.open(raw, "rb")
        case _:
            return raw


class TrackedFile:
    """Opens a file, and says how far it has been read in its own bytes."""

    def __init__(self) -> None:
        self._raw: IO[bytes] | None = None

    def open(self, path: Path) -> IO[bytes]:
        """Open a file, as :func:`open_raw`."""
        self._raw = open_raw(path)
        return self._raw

    @property
    def position(self) -> int:
        """Bytes read, of a compressed file those of the compressed one; 0 when it is closed."""
        return self._raw.tell() if self._raw is not None and not self._raw.closed else 0


def read_lines(
    path: Path, opener: Callable[[Path], IO[bytes]] = open_raw, *, longest: int = LONGEST_LINE
) -> Iterator[tuple[int, str]]:
    """Yield ``(line number from 1, line without its end)`` for every line that is not blank.

    Parameters
    ----------
    path
        The file; decompressed where its name ends in ``.gz``, ``.bz2`` or ``.xz``.
    opener
        Opens its own bytes, compressed as they are; what it gives is closed here.
    longest
        Bytes that a line may have, decompressed. No more than that is ever in memory at once.

    Raises
    ------
    InputError
        If the file is missing, is not compressed as its name says, or a line is not UTF-8 or too long.
    """
    number = 0
    with _named_errors(path, lambda: f":{number + 1}"), opener(path) as raw_file, _decompressed(raw_file, path) as file:
        while raw := file.readline(longest + 1):
            number += 1
            if len(raw) > longest and not raw.endswith(b"\n"):
                raise InputError(
                    f"{path}:{number}: the line is longer than {_in_words(longest)}; break it into records of one line "
                    "each, or raise the limit (--max-line, in MiB)"
                )
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}:{number}: not UTF-8 at byte {error.start}; convert the file, e.g. with iconv"
                ) from error
            if line.strip():
                yield number, line


def _in_words(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size} bytes"


def read_blocks(path: Path, opener: Callable[[Path], IO[bytes]] = open_raw, *, size: int = 1 << 20) -> Iterator[str]:
    """Yield a text file piece by piece, for formats that are not lines; errors as of :func:`read_lines`.

    Parameters
    ----------
    path, opener
        As for :func:`read_lines`.
    size
        Bytes of a piece, decompressed.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    with _named_errors(path), opener(path) as raw_file, _decompressed(raw_file, path) as file:
        while True:
            raw = file.read(size)
            try:
                text = decoder.decode(raw, final=not raw)
            except UnicodeDecodeError as error:
                raise InputError(f"{path}: not UTF-8; convert the file, e.g. with iconv") from error
            if text:
                yield text
            if not raw:
                return


@contextmanager
def _named_errors(path: Path, place: Callable[[], str] = str) -> Iterator[None]:
    """Say which file could not be read, at which place, and why."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a folder; name a file") from error
    except PermissionError as error:
        raise InputError(f"{path}: may not be read; change its permissions") from error
    except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # not the content: the disk, the network
            raise InputError(f"{path}{place()}: cannot be read ({error.strerror}); try again") from error
        kind = COMPRESSIONS.get(path.suffix.lower(), "text")
        raise InputError(f"{path}{place()}: damaged {kind} file ({error}); fetch it again") from error


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
