"""Lists of words and small patterns of which few occur in a text: only those that may occur are compiled and compared.

A language has hundreds of words for numbers, months and cues. Compiling a pattern of all of them takes tens of
milliseconds, so here a text is first searched for the letters that a pattern needs, which takes microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache

import regex

from mlret.data.lazy_pattern import LazyPattern

_WORD = regex.compile(r"\w+")
_QUANTIFIERS = "?*{"


class Patterns:
    """Alternative patterns, of which it matters only whether any of them occurs in a text.

    Parameters
    ----------
    sources
        Regular expressions in the syntax of the package regex, without flags.
    form
        Called with each; returns the regular expression that is searched for, which contains what it was called with.
    """

    def __init__(self, sources: Iterable[str], form: Callable[[str], str] = str) -> None:
        self._patterns = [(needed_letters(source), LazyPattern(form(source))) for source in dict.fromkeys(sources)]

    def occur_in(self, text: str) -> bool:
        """Return whether a text has a match of any of the patterns."""
        for letters, pattern in self._patterns:  # noqa: SIM110 - a loop takes half the time of a generator here.
            if letters in text and pattern.search(text) is not None:
                return True
        return False


class Names:
    """Names in the form of one pattern that finds the longest of them at each place.

    Parameters
    ----------
    names
        The names. Of two of one length, the first takes precedence.
    before, after
        Patterns that must match before and after a name.
    whole
        Whether these patterns say that a name is a word, or several words, of its own.
    """

    def __init__(self, names: Iterable[str], before: str = "", after: str = "", *, whole: bool = False) -> None:
        self._names = sorted(dict.fromkeys(names), key=len, reverse=True)
        self._around = before, after
        self._whole = whole

    def search(self, text: str) -> regex.Match[str] | None:
        """Return the first match."""
        pattern = self._pattern(text)
        return None if pattern is None else pattern.search(text)

    def finditer(self, text: str) -> Iterator[regex.Match[str]]:
        """Yield the matches in order, without overlaps."""
        pattern = self._pattern(text)
        return iter(() if pattern is None else pattern.finditer(text))

    @cached_property
    def _by_first_word(self) -> Mapping[str, Sequence[int]]:
        found: dict[str, list[int]] = {}
        for place, name in enumerate(self._names):
            first = _WORD.match(name)
            found.setdefault("" if first is None else first[0], []).append(place)
        return found

    def _pattern(self, text: str) -> regex.Pattern[str] | None:
        """Return the pattern of the names that a text may contain; ``None`` if there are none."""
        if self._whole:
            lists = self._by_first_word
            places = sorted(place for word in {"", *_WORD.findall(text)} for place in lists.get(word, ()))
            names = tuple(self._names[place] for place in places)
        else:
            names = tuple(name for name in self._names if name in text)
        return _joined(names, *self._around) if names else None


@lru_cache(maxsize=4096)
def _joined(names: tuple[str, ...], before: str, after: str) -> regex.Pattern[str]:
    return regex.compile(f"{before}(?:{'|'.join(map(regex.escape, names))}){after}")


def needed_letters(source: str) -> str:
    r"""Return the longest run of characters, other than digits, that every match of a regular expression contains.

    Parameters
    ----------
    source
        A regular expression in the syntax of the package regex, without flags.

    Returns
    -------
    str
        Empty if there is none that can be told without an analysis of groups.

    Examples
    --------
    >>> needed_letters(r"no\s+longer?"), needed_letters("mov(?:ed|ing)"), needed_letters("here|there")
    ('longe', 'mov', '')
    """
    runs = [""]
    depth = place = 0
    while place < len(source):
        character, size = source[place], 1
        literal = not (character.isdigit() or character in r"\[](){}|.^$?*+")
        if character == "\\":
            size, literal = _escape(source, place)
            character = source[place + 1] if literal else character
        elif character == "[":
            size = _set_end(source, place) - place
        elif character == "{":
            size = source.index("}", place) + 1 - place
        elif character == "|" and not depth:
            return ""
        elif character in "()":
            depth += 1 if character == "(" else -1
        place += size
        if literal and not depth and source[place : place + 1] not in {*_QUANTIFIERS}:
            runs[-1] += character
        else:
            runs.append("")
    return max(runs, key=len)


def alternatives(source: str) -> list[str]:
    """Return the alternatives of a regular expression, which are separated by bars outside of groups."""
    found, depth, place, start = [], 0, 0, 0
    while place < len(source):
        character = source[place]
        if character == "\\":
            place += _escape(source, place)[0]
            continue
        if character == "[":
            place = _set_end(source, place)
            continue
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "|" and not depth:
            found.append(source[start:place])
            start = place + 1
        place += 1
    return [*found, source[start:]]


def _escape(source: str, place: int) -> tuple[int, bool]:
    """Return the length of an escape sequence, and whether it stands for the character after the backslash."""
    character = source[place + 1]
    if character in "pP" and source[place + 2 : place + 3] == "{":
        return source.index("}", place) + 1 - place, False
    return 6 if character == "u" else 2, not character.isalnum()


def _set_end(source: str, place: int) -> int:
    """Return the place after a set of characters, such as ``[a-z]``."""
    place += 2 if source[place + 1] == "^" else 1
    place += source[place] == "]"
    while source[place] != "]":
        place += _escape(source, place)[0] if source[place] == "\\" else 1
    return place + 1
