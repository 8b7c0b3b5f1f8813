"""Read JSON from text files: one value per line, or one array that may be larger than memory."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator
from json import JSONDecodeError
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from mlret.data.files import LONGEST_LINE, open_raw, read_blocks, read_lines
from mlret.errors import InputError

# Larger than any record of a training file. Without a limit, one missing quote would make it read the whole file.
_LARGEST_VALUE = 1 << 28
# A literal that is cut by the end of a block (-Infinity, \uXXXX) causes an error at most this far from the end.
_LONGEST_CUT = 12
_NUMBER_CUT = 2
_SPACE = re.compile(r"[ \t\r\n]*")


class RepeatedKeyError(ValueError):
    """An object contains a key twice, and JSON does not define which of the two values counts."""


def read_json(text: str) -> Any:
    """Parse JSON like :func:`json.loads`, but reject objects that contain a key twice.

    Raises
    ------
    json.JSONDecodeError
        If it is not JSON.
    RepeatedKeyError
        If an object contains a key twice.
    ValueError, RecursionError
        If it is JSON that Python cannot read: a number of 5000 digits, brackets nested 1000 deep.
    """
    return _DECODER.decode(text)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise RepeatedKeyError(f"the key {key!r} occurs twice in one object; keep one of the two")
    return found


# A shared decoder, because json.loads creates a new one at each call with a hook.
_DECODER = json.JSONDecoder(object_pairs_hook=_without_repeats)


def decode_json(text: str, origin: str) -> Any:
    """Parse the JSON value of a line.

    Parameters
    ----------
    text
        JSON.
    origin
        ``file:line``, for messages.

    Returns
    -------
    object
        The decoded value.

    Raises
    ------
    InputError
        If it is not JSON, is JSON that Python cannot read, or an object contains a key twice.
    """
    try:
        return read_json(text)
    except JSONDecodeError as error:
        raise InputError(f"{origin}: not JSON ({error.msg} at column {error.colno}); one object per line") from error
    except RepeatedKeyError as error:
        raise InputError(f"{origin}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{origin}: not readable JSON ({error}); one object per line") from error


def decode_object(text: str, origin: str) -> dict[str, Any]:
    """Parse a JSON object like :func:`decode_json`.

    Parameters
    ----------
    text
        JSON.
    origin
        ``file:line``, for messages.

    Returns
    -------
    dict
        The decoded object.

    Raises
    ------
    InputError
        If the text is not a JSON object.
    """
    found = decode_json(text, origin)
    if not isinstance(found, dict):
        raise InputError(f"{origin}: a JSON {type(found).__name__}, not an object; write one {{…}} per line")
    return found


def read_objects(
    path: Path, opener: Callable[[Path], IO[bytes]] = open_raw, *, longest: int = LONGEST_LINE
) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a file with one object per line.

    Parameters
    ----------
    path
        The file, optionally compressed.
    opener, longest
        As for :func:`mlret.data.files.read_lines`.

    Raises
    ------
    InputError
        As :func:`mlret.data.files.read_lines`, and if a line is not a JSON object; the message names the line.
    """
    for number, line in read_lines(path, opener, longest=longest):
        yield decode_object(line, f"{path}:{number}")


def stream_array(
    path: Path,
    key: str | None = None,
    *,
    opener: Callable[[Path], IO[bytes]] = open_raw,
    block_bytes: int = 1 << 20,
) -> Iterator[tuple[int, Any]]:
    """Yield ``(line number from 1, value)`` for each element of a JSON array, holding one in memory at a time.

    Parameters
    ----------
    path
        The file, optionally compressed.
    key
        Key of the array in an object that is the whole file; by default the array itself is the whole file.
    opener
        As for :func:`mlret.data.files.read_lines`.
    block_bytes
        Number of bytes that are read at once.

    Raises
    ------
    InputError
        If the file is missing or damaged, has another form, or an element is not JSON; the message names the line.
    """
    text = _Cursor(path, read_blocks(path, opener, size=block_bytes))
    if key is not None:
        text.expect("{", f"an object with the key {key!r}")
        while True:
            name = text.value()
            text.expect(":", "a colon")
            if name == key:
                break
            text.value()
            if text.next_of(",}", "a comma or }") == "}":
                raise InputError(f"{path}: has no key {key!r}; give a file of the form {{{key!r}: [...]}}")
    yield from _elements(text)


class Layout(NamedTuple):
    """Where the records of a JSON file are.

    Attributes
    ----------
    form
        ``"array"``: the file is a list of records; ``"list"``: it is an object, one of whose values is that list;
        ``"objects"``: it is an object whose values are the records; ``"record"``: it is a single record.
    key
        The key of the list.
    """

    form: Literal["array", "list", "objects", "record"]
    key: str | None = None


def json_layout(path: Path, marks: Collection[str]) -> Layout:
    """Find out where the records of a JSON file are. A file that is an object is read to its end, in bounded memory.

    Parameters
    ----------
    path
        The file, optionally compressed.
    marks
        Keys of which a record has at least one; a file that is an object with one of them is a single record.

    Raises
    ------
    InputError
        If the file is damaged, or has another form.
    """
    text = _Cursor(path, read_blocks(path))
    first = text.peek()
    if first == "[" or not first:
        return Layout("array")
    lists: list[str] = []
    objects = 0
    for name, start in _members(text):
        if name in marks:
            return Layout("record")
        if start == "[":
            lists.append(name)
            for _ in _elements(text):
                pass
        else:
            objects += start == "{"
            text.value()
    if len(lists) == 1:
        return Layout("list", lists[0])
    if objects and not lists:
        return Layout("objects")
    found = f"the lists {', '.join(map(repr, lists))}" if lists else "no list and no objects"
    raise InputError(
        f"{path}: {found}, where the documents should be; give an array of objects, an object with one such list, or "
        "an object of the form {id: {…}, …}"
    )


def stream_records(
    path: Path, layout: Layout, *, opener: Callable[[Path], IO[bytes]] = open_raw
) -> Iterator[tuple[int, str | None, Any]]:
    """Yield ``(line number from 1, key, value)`` for each record of a JSON file, holding one in memory at a time.

    Parameters
    ----------
    path
        The file, optionally compressed.
    layout
        What :func:`json_layout` returned. Keys are ``None`` unless the records are values of an object.
    opener
        As for :func:`mlret.data.files.read_lines`.

    Raises
    ------
    InputError
        As :func:`stream_array`.
    """
    if layout.form in ("array", "list"):
        yield from ((line, None, value) for line, value in stream_array(path, layout.key, opener=opener))
        return
    text = _Cursor(path, read_blocks(path, opener))
    text.peek()
    if layout.form == "record":
        yield text.line, None, text.value()
    else:
        for name, start in _members(text):
            line, value = text.line, text.value()
            if start == "{":
                yield line, name, value
    text.end()


def _members(text: _Cursor) -> Iterator[tuple[str, str]]:
    """Yield the key and the first character of each value of an object; the caller then reads the value."""
    text.expect("{", "an array [...] or an object {...}")
    if text.peek() == "}":
        text.expect("}", "}")
        return
    while True:
        name = text.value()
        text.expect(":", "a colon")
        yield str(name), text.peek()
        if text.next_of(",}", "a comma or }") == "}":
            return


def _elements(text: _Cursor) -> Iterator[tuple[int, Any]]:
    """Yield the line and the value of each element of an array."""
    text.expect("[", "an array [...]")
    if text.peek() == "]":
        text.expect("]", "]")
        return
    while True:
        text.peek()
        line = text.line
        yield line, text.value()
        if text.next_of(",]", "a comma or ]") == "]":
            return


class _Cursor:
    """A position in a text of which only the part from there on is held in memory."""

    def __init__(self, path: Path, blocks: Iterator[str]) -> None:
        self._path = path
        self._blocks = blocks
        self._text = ""
        self._at = 0
        self._ended = False
        self._decode = _DECODER.raw_decode
        self.line = 1

    def peek(self) -> str:
        """Return the next character that is not white space, or ``""`` at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            assert found is not None
            self._move(found.end())
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(1):
                return ""

    def next_of(self, characters: str, what: str) -> str:
        """Return the next character that is not white space, which must be one of ``characters``, and move past it."""
        found = self.peek()
        if not found or found not in characters:
            shown = repr(found) if found else "the end of the file"
            raise InputError(f"{self._path}:{self.line}: {shown} where {what} should be; fix the file")
        self._move(self._at + 1)
        return found

    def end(self) -> None:
        """Raise if anything but white space follows."""
        if found := self.peek():
            way_out = "name a file with one object per line .jsonl" if found == "{" else "fix the file"
            raise InputError(f"{self._path}:{self.line}: {found!r} where the file should end; {way_out}")

    def expect(self, character: str, what: str) -> None:
        """Move past a character that must come next."""
        self.next_of(character, what)

    def value(self) -> Any:
        """Read a value, loading as much text as it needs."""
        self.peek()
        wanted = 1 << 16
        while True:
            try:
                found, end = self._decode(self._text, self._at)
                # The number may continue in the next block: 1|5, 1|.5, 1e|5, 1e+|5.
                if end + _NUMBER_CUT < len(self._text) or not self._more(1):
                    self._move(end)
                    return found
            except JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - _LONGEST_CUT
                if not cut or len(self._text) - self._at > _LARGEST_VALUE or not self._more(wanted):
                    line = self.line + self._text.count("\n", self._at, error.pos)
                    raise InputError(f"{self._path}:{line}: not JSON ({error.msg}); fix the file") from error
                wanted *= 2
            except RepeatedKeyError as error:
                raise InputError(f"{self._path}:{self.line}: {error}") from error
            except (ValueError, RecursionError) as error:
                raise InputError(f"{self._path}:{self.line}: not JSON that can be read ({error})") from error

    def _move(self, to: int) -> None:
        self.line += self._text.count("\n", self._at, to)
        self._at = to

    def _more(self, characters: int) -> bool:
        """Load at least this many more characters, if there are any, and return whether there were.

        If there were none, positions stay valid.
        """
        if self._ended:
            return False
        blocks, length = [self._text[self._at :]], 0
        while length < characters:
            block = next(self._blocks, "")
            if not block:
                self._ended = True
                break
            blocks.append(block)
            length += len(block)
        if length:
            self._text, self._at = "".join(blocks), 0
        return length > 0
