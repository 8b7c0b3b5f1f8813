"""Tables of results, formatted for the terminal, Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlret.reporting.notebook import html_table

if TYPE_CHECKING:
    from rich.table import Table

_LATEX = {
    "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "→": r"$\rightarrow$", "–": "--", "×": r"$\times$",
}  # fmt: skip


@dataclass(frozen=True)
class ResultTable:
    """The cells of a table and how to format them.

    Attributes
    ----------
    title, caption
        Plain text above and below the table.
    headings
        Column headings.
    sections
        Groups of rows, separated by rules; each row has a cell for every heading.
    text_columns
        Number of leftmost columns that hold text and are left-aligned; the others hold numbers and are right-aligned.
    strong
        Whether the first section is bold on a terminal.
    """

    title: str
    headings: Sequence[str]
    sections: Sequence[Sequence[Sequence[str]]]
    caption: str = ""
    text_columns: int = 1
    strong: bool = False
    breaks: dict[str, str] = field(default_factory=dict)
    """Shorter words for the headings of a terminal."""

    @property
    def rows(self) -> list[Sequence[str]]:
        """The rows of all sections."""
        return [row for section in self.sections for row in section]

    @property
    def width(self) -> int:
        """Minimum width of the table in terminal cells, with stacked headings."""
        longest = [max((len(row[column]) for row in self.rows), default=0) for column in range(len(self.headings))]
        words = [max((len(word) for word in heading.split()), default=0) for heading in self.headings]
        # The first column may wrap, but not within a word.
        return min(longest[0], 24) + sum(max(pair) + 2 for pair in zip(longest[1:], words[1:], strict=True))

    def terminal(self) -> Table:
        """Return a rich table without the caption; headings are stacked, and only the first column may wrap."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title=Text(self.title),  # plain text, because a folder's name may look like markup
            title_justify="left",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            padding=0,
        )
        for column, heading in enumerate(self.headings):
            stacked = heading.replace(" ", "\n")
            for long, short in self.breaks.items():
                stacked = stacked.replace(long, short)
            table.add_column(
                stacked,
                justify="left" if column < self.text_columns else "right",
                vertical="bottom",
                no_wrap=column > 0,
                min_width=None if column == 0 else max((len(word) for word in stacked.split()), default=1),
            )
        for number, section in enumerate(self.sections):
            for row in section:
                table.add_row(*map(Text, row), style="bold" if self.strong and number == 0 else None)
            table.add_section()
        return table

    def transposed(self) -> ResultTable:
        """Return the table with columns as rows, for terminals that are too narrow for many languages side by side."""
        names = [" ".join(filter(None, row[: self.text_columns])) for row in self.rows]
        columns = list(zip(*self.rows, strict=True))[self.text_columns :]
        rows = [[heading, *cells] for heading, cells in zip(self.headings[self.text_columns :], columns, strict=True)]
        return ResultTable(self.title, ["", *names], [rows], self.caption, breaks=self.breaks)

    def markdown(self) -> str:
        """Return a table in GitHub's Markdown, with title and caption as paragraphs."""
        rule = ["---" if column < self.text_columns else "---:" for column in range(len(self.headings))]
        cells = [[cell.replace("|", r"\|") for cell in row] for row in (self.headings, rule, *self.rows)]
        lines = "\n".join(f"| {' | '.join(row)} |" for row in cells)
        return f"{self.title}\n\n{lines}\n" + (f"\n{self.caption}\n" if self.caption else "")

    def latex(self) -> str:
        """Return a LaTeX ``table`` with rules of the package booktabs."""
        columns = "l" * self.text_columns + "r" * (len(self.headings) - self.text_columns)
        lines = [r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
        lines.append(_latex_row(self.headings))
        for section in self.sections:
            lines += [r"\midrule", *map(_latex_row, section)]
        caption = _latex(f"{self.title}. {self.caption}" if self.caption else self.title)
        lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{caption}}}", r"\end{table}"]
        return "\n".join(lines) + "\n"

    def _repr_html_(self) -> str:
        """Return the table in HTML, as notebooks show it."""
        return html_table(
            self.headings, self.rows, title=self.title, caption=self.caption, text_columns=self.text_columns
        )

    def csv(self) -> str:
        """Return headings and rows as comma-separated values, quoted where necessary."""
        target = io.StringIO()
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(self.headings)
        writer.writerows(self.rows)
        return target.getvalue()


def percent(value: float | None) -> str:
    """Format a share from 0 to 1 in per cent with one decimal, or as a dash if it is ``None``."""
    return "–" if value is None else f"{100 * value:.1f}"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(_latex, cells)) + r" \\"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
