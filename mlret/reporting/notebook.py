"""Tables in HTML, as notebooks show them for the last value of a cell.

All text is escaped. Colours are those of the notebook, so that a table is readable on a light and on a dark page, and
the direction of a text is that of its first letter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

_LONGEST = 300
_TABLE = "border-collapse: collapse; color: inherit; background: transparent; font-size: 0.9em; margin: 0.3em 0"
_LINE = "border: 0; border-bottom: 1px solid rgba(128, 128, 128, 0.35); padding: 0.25em 0.8em 0.25em 0"
_PLAIN = "color: inherit; background: transparent; vertical-align: top"
# Control characters that HTML cannot hold; a browser would show each as a box.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def html_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "", caption: str = "", text_columns: int = 1
) -> str:
    """Return a table in HTML.

    Parameters
    ----------
    headings
        The headings of the columns; none for a table without a head.
    rows
        The rows, with a cell for each column. Cells are plain text; a long one is cut.
    title, caption
        Plain text above and below the table.
    text_columns
        Number of leftmost columns that hold text; the others hold numbers, which are aligned at the right.

    Returns
    -------
    str
        The table.

    Examples
    --------
    >>> "&lt;b&gt;" in html_table(["text"], [["<b>"]])
    True
    """

    def cell(tag: str, text: str, column: int) -> str:
        align = "left" if column < text_columns else "right"
        direction = ' dir="auto"' if align == "left" else ""
        # A text from right to left begins at the right of its cell, which the direction says.
        style = f"{_LINE}; {_PLAIN}; text-align: {'start' if align == 'left' else 'right'}"
        return f'<{tag}{direction} style="{style}">{as_html(text)}</{tag}>'

    def row(tag: str, cells: Sequence[str]) -> str:
        inner = "".join(cell(tag, text, column) for column, text in enumerate(cells))
        return f'<tr style="{_PLAIN}">{inner}</tr>'

    head = f"<thead>{row('th', headings)}</thead>" if headings else ""
    body = "".join(row("td", cells) for cells in rows)
    above = f'<div style="font-weight: bold">{as_html(title)}</div>' if title else ""
    below = f'<div style="opacity: 0.75">{as_html(caption)}</div>' if caption else ""
    return f'<div>{above}<table style="{_TABLE}">{head}<tbody>{body}</tbody></table>{below}</div>'


def as_html(text: str, longest: int = _LONGEST) -> str:
    """Return plain text as HTML: escaped, without control characters, and cut after some characters.

    Parameters
    ----------
    text
        The text.
    longest
        The most characters.

    Returns
    -------
    str
        The HTML.
    """
    return escape(_CONTROLS.sub(" ", shortened(text, longest)))


def shortened(text: str, longest: int) -> str:
    """Return a text of at most ``longest`` characters; one that is cut ends in an ellipsis.

    Parameters
    ----------
    text
        The text.
    longest
        The most characters.

    Returns
    -------
    str
        The text.
    """
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"
