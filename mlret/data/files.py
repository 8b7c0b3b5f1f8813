"""Find files by pattern and read lines of plain or compressed text files, with errors that name the line."""

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

from mlret.errors import CorruptInput, InputError, NotFound

# Compression by file suffix.
COMPRESSIONS = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz"}
# Default maximum length of a line in bytes: larger than any record, but small enough that a file without line breaks
# does not fill the memory.
LONGEST_LINE = 64 << 20


def open_raw(path: Path) -> IO[bytes]:
    """Open a file for reading its raw bytes, without decompressing them."""
    return path.open("rb")


def open_standard_input(path: Path) -> IO[bytes]:
    """Return standard input, ignoring the path; an opener for :func:`read_lines`."""
    return sys.stdin.buffer


def _decompressed(raw: IO[bytes], path: Path) -> IO[bytes]:
    """Return the content of an open file, decompressed according to the suffix of its name."""
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
    """Opens a file and reports how many of its bytes have been read."""

    def __init__(self) -> None:
        self._raw: IO[bytes] | None = None

    def open(self, path: Path) -> IO[bytes]:
        """Open a file, as :func:`open_raw` does."""
        self._raw = open_raw(path)
        return self._raw

    @property
    def position(self) -> int:
        """Number of bytes read (compressed bytes of a compressed file); 0 when the file is closed."""
        return self._raw.tell() if self._raw is not None and not self._raw.closed else 0


def read_lines(
    path: Path, opener: Callable[[Path], IO[bytes]] = open_raw, *, longest: int = LONGEST_LINE
) -> Iterator[tuple[int, str]]:
    """Yield ``(line number from 1, line without line break)`` for every line that is not blank.

    Parameters
    ----------
    path
        The file; decompressed if its name ends in ``.gz``, ``.bz2`` or ``.xz``.
    opener
        Opens the file's raw bytes, compressed as they are; the result is closed here.
    longest
        Maximum length of a line in bytes after decompression; no more than this is held in memory at once.

    Raises
    ------
    InputError
        If the file is missing, is not compressed as its name says, or a line is not UTF-8 or too long.
    """
    for number, line in read_whole_lines(path, opener, longest=longest):
        stripped = line.rstrip("\r\n")
        if stripped.strip():
            yield number, stripped


def read_whole_lines(
    path: Path, opener: Callable[[Path], IO[bytes]] = open_raw, *, longest: int = LONGEST_LINE
) -> Iterator[tuple[int, str]]:
    """Yield ``(line number from 1, line with its line break)`` for every line, also blank ones.

    Parameters and errors are those of :func:`read_lines`.
    """
    number = 0
    with _named_errors(path, lambda: f":{number + 1}"), opener(path) as raw_file, _decompressed(raw_file, path) as file:
        while raw := file.readline(longest + 1):
            number += 1
            if number == 1:
                _refuse_utf16(raw, path)
            if len(raw) > longest and not raw.endswith(b"\n"):
                raise InputError(
                    f"{path}:{number}: the line is longer than {_in_words(longest)}; break it into records of one line "
                    "each, or raise the limit (`max_line=…`)"
                )
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}:{number}: not UTF-8 at byte {error.start}; convert the file, e.g. with iconv"
                ) from error
            yield number, line


def _refuse_utf16(start: bytes, path: Path) -> None:
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(
            f"{path}: UTF-16, not UTF-8; convert it with `iconv -f UTF-16 -t UTF-8`, or save it as UTF-8 (in Excel: "
            "CSV UTF-8)"
        )


def _in_words(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size} bytes"


def read_blocks(path: Path, opener: Callable[[Path], IO[bytes]] = open_raw, *, size: int = 1 << 20) -> Iterator[str]:
    """Yield the text of a file block by block, for formats that are not line-based; errors as in :func:`read_lines`.

    Parameters
    ----------
    path, opener
        As for :func:`read_lines`.
    size
        Number of bytes in a block, after decompression.
    """
    decoder, first = codecs.getincrementaldecoder("utf-8-sig")(), True
    with _named_errors(path), opener(path) as raw_file, _decompressed(raw_file, path) as file:
        while True:
            raw = file.read(size)
            if first:
                _refuse_utf16(raw, path)
            first = False
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
    """Convert errors of reading to input errors that name the file, the place and the reason."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a folder; name a file") from error
    except PermissionError as error:
        raise InputError(f"{path}: may not be read; change its permissions") from error
    except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk or the network failed, not the content
            raise InputError(f"{path}{place()}: cannot be read ({error.strerror}); try again") from error
        kind = COMPRESSIONS.get(path.suffix.lower(), "text")
        raise CorruptInput(f"{path}{place()}: damaged {kind} file ({error}); fetch it again") from error


def expand(patterns: Sequence[str], root: Path) -> list[Path]:
    """Return the files that match paths and globs relative to ``root``.

    Parameters
    ----------
    patterns
        Paths or globs, in order.
    root
        The folder that they are relative to.

    Returns
    -------
    list of pathlib.Path
        The files of each pattern in turn, sorted within a pattern.

    Raises
    ------
    InputError
        If a pattern matches nothing.
    """
    files: list[Path] = []
    for pattern in patterns:
        found = sorted(root.glob(pattern))
        if not found:
            raise NotFound(f"{root / pattern}: no such file; give the folder that holds it as `data=…`")
        files += found
    return files
