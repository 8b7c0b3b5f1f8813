"""Format hits as a table that is readable in every script.

Terminals disagree about the width of some characters (spacing vowel signs of Indic scripts take one cell or none), and
they reorder right-to-left text across whatever is next to it. The text is therefore the last column with nothing to
its right, lines are measured by the larger width, and each line of right-to-left text is enclosed in isolate
characters, which take no cell.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from mlret.data.languages import language_name

if TYPE_CHECKING:
    from mlret.index.index import Hit
    from mlret.memory.results import MemoryHit

_LEFT, _RIGHT, _POP = "\u2066", "\u2067", "\u2069"  # isolate characters LRI, RLI and PDI
_RIGHT_TO_LEFT = frozenset({"R", "AL"})
_ELLIPSIS = "…"
_LINES = 3  # maximum number of lines of a text
_NEVER_FIRST = frozenset("、。,.!?:;)」』】》〉”’…ー～")  # characters that may not begin a line
# Directional embeddings, overrides and isolates in the text could affect the terminal beyond its cell.
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class ScriptText:
    """A text for a table's last column: wrapped, truncated to a few lines, and isolated if it is right-to-left.

    Parameters
    ----------
    text
        Any text. Control characters are removed, so that it cannot control the terminal.
    lines
        Maximum number of lines.
    style
        Style of the text, as in rich.
    """

    def __init__(self, text: str, *, lines: int = _LINES, style: str = "") -> None:
        self.text = printable(text)
        self._lines, self._style = lines, style

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        width = terminal_width(self.text)
        return Measurement(min(width, 20), max(width, 1)).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        style = console.get_style(self._style) if self._style else None
        for line in wrap(self.text, options.max_width, self._lines):
            yield Segment(isolate(line), style)
            yield Segment.line()


def hits_table(hits: Sequence[Hit | MemoryHit], *, title: str | None = None) -> Table:
    """Build a table of hits with rank, score, language and text, and the cosine if the score is something else.

    Parameters
    ----------
    hits
        The hits of a search.
    title
        Title of the table, as plain text.
    """
    table = Table(
        box=box.SIMPLE_HEAD,
        title=None if title is None else Text(printable(title)),
        title_justify="left",
        title_style="bold",
        pad_edge=False,
    )
    table.add_column("#", justify="right", style="dim", no_wrap=True)
    kinds = sorted({hit.kind for hit in hits})
    beside = any(hit.cosine is not None for hit in hits) and kinds != ["cosine"]
    table.add_column(f"score ({', '.join(kinds)})", justify="right", style="cyan", no_wrap=True)
    if beside:
        table.add_column("cosine", justify="right", style="cyan", no_wrap=True)
    table.add_column("language", style="green", no_wrap=True)
    table.add_column("text")
    for hit in hits:
        table.add_row(
            str(hit.rank),
            f"{hit.score:.3f}",
            *(["–" if hit.cosine is None else f"{hit.cosine:.3f}"] if beside else []),
            display_language(hit.language),
            _text_of(hit),
        )
    return table


def _text_of(hit: Hit | MemoryHit) -> RenderableType:
    """Return the text of a hit; of a document that was cut its beginning and the passage found, highlighted."""
    passage = getattr(hit, "passage", None)
    if passage is None:
        return ScriptText(hit.text)
    shown = ScriptText(passage.text, style="bold")
    if passage.start == 0:
        return shown
    where = f"[{passage.start:,}–{passage.end:,} of {len(hit.text):,} characters]"
    beginning = ScriptText(hit.text[: passage.start], lines=1, style="dim")
    return Group(beginning, Text(where, style="dim"), shown)


def display_language(code: str | None) -> str:
    """Return a language's English name, or a dash if the language is ``None``."""
    return "–" if code is None else language_name(code)


def printable(text: str) -> str:
    """Return the text on one line, without control characters and directional overrides."""
    kept = (" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text if c not in _BIDI_CONTROLS)
    return " ".join("".join(kept).split())


def isolate(line: str) -> str:
    """Enclose a line that contains right-to-left characters in isolates of its own direction."""
    directions = [unicodedata.bidirectional(character) for character in line]
    if not _RIGHT_TO_LEFT.intersection(directions):
        return line
    first = next(direction for direction in directions if direction in ("L", "R", "AL"))
    return f"{_RIGHT if first in _RIGHT_TO_LEFT else _LEFT}{line}{_POP}"


def terminal_width(text: str) -> int:
    """Return the maximum number of cells that a terminal may use for a text; a spacing vowel sign counts as one."""
    return cell_len(text) + sum(
        unicodedata.category(character) == "Mc" and cell_len(character) == 0 for character in text
    )


def wrap(text: str, width: int, max_lines: int) -> list[str]:
    """Break a text into lines of at most ``width`` cells, at spaces if possible.

    Combining marks stay with their character. The last of ``max_lines`` ends in an ellipsis if text was truncated.
    """
    lines: list[str] = []
    line = ""
    for fragment in _fragments(text, width):
        if line and terminal_width((line + fragment).rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
            if len(lines) > max_lines:
                break
        line += fragment if line else fragment.lstrip()
    lines.append(line.rstrip())
    if len(lines) <= max_lines:
        return lines
    clusters = list(_clusters(lines[max_lines - 1]))
    while clusters and terminal_width("".join(clusters)) + 1 > width:
        clusters.pop()
    return [*lines[: max_lines - 1], "".join(clusters).rstrip() + _ELLIPSIS]


def _fragments(text: str, width: int) -> Iterable[str]:
    """Yield the units that a line break may not split: words with their space, wide characters, parts of long words."""
    for word in text.split(" "):
        clusters = list(_clusters(word))
        if terminal_width(word) <= width and not any(map(_breaks_anywhere, clusters)):
            yield word + " "
            continue
        fragment = ""
        for cluster in clusters:
            if fragment and cluster not in _NEVER_FIRST:
                yield fragment
                fragment = ""
            fragment += cluster
        yield fragment + " "


def _breaks_anywhere(cluster: str) -> bool:
    """Return whether lines may break at a character: yes in Chinese and Japanese, not in Korean, which has spaces."""
    return cell_len(cluster) == 2 and not unicodedata.name(cluster[0], "").startswith("HANGUL")


def _clusters(text: str) -> Iterable[str]:
    """Yield each character together with the marks and joined characters that follow it."""
    cluster = ""
    for character in text:
        joined = cluster.endswith("\u200d")
        if cluster and not joined and not (unicodedata.category(character).startswith("M") or character == "\u200d"):
            yield cluster
            cluster = ""
        cluster += character
    if cluster:
        yield cluster
