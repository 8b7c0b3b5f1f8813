"""Regular expressions that are compiled when they are first used, so that importing a module takes no time for them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import regex


class LazyPattern:
    """A pattern of the package regex with the methods that mlret uses, compiled at its first use.

    Parameters
    ----------
    source
        The regular expression.
    """

    def __init__(self, source: str) -> None:
        self.source = source

    @cached_property
    def compiled(self) -> regex.Pattern[str]:
        """The compiled pattern."""
        import regex  # It takes longer to import than most modules that have patterns.

        return regex.compile(self.source)

    def search(self, text: str) -> regex.Match[str] | None:
        """Return the first match."""
        return self.compiled.search(text)

    def fullmatch(self, text: str) -> regex.Match[str] | None:
        """Return the match of the whole text."""
        return self.compiled.fullmatch(text)

    def finditer(self, text: str) -> Iterator[regex.Match[str]]:
        """Yield the matches in order, without overlaps."""
        return iter(self.compiled.finditer(text))

    def findall(self, text: str) -> list[Any]:
        """Return what the matches hold."""
        found: list[Any] = self.compiled.findall(text)
        return found
