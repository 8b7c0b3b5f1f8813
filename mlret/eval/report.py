"""What `mlret eval tatoeba` shows: the encoder and the floors side by side, averages first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import mlret
from mlret.eval.tatoeba import Accuracy, TatoebaAverage, TatoebaResult, TatoebaRow
from mlret.eval.tatoeba_joined import JoinedResult, JoinedRow

if TYPE_CHECKING:
    from rich.table import Table

_PACKAGES = ("torch", "transformers", "sentence-transformers", "numpy")
_EN_XX, _XX_EN = "en→xx", "xx→en"

_Scored = TatoebaRow | TatoebaAverage
_JoinedScored = JoinedRow | JoinedResult


@dataclass(frozen=True)
class TatoebaReport:
    """The results of an encoder and of the floors, over the same languages.

    Attributes
    ----------
    data
        Name of the folder or file that the test set was read from.
    results
        The encoder's result first, then the floors'.
    joined
        The same systems between languages other than English; empty where that was not asked for.
    """

    data: str
    results: list[TatoebaResult]
    joined: list[JoinedResult] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For JSON. Accuracies are from 0 to 1."""
        results = [result.to_dict() for result in self.results]
        for entry, joined in zip(results, self.joined, strict=False):
            entry["joined"] = joined.to_dict()
        return {
            "benchmark": "tatoeba",
            "metric": "accuracy of the nearest neighbour by cosine, from 0 to 1",
            "data": self.data,
            "versions": _versions(),
            "results": results,
        }

    def table(self) -> Table:
        """A table for the terminal, in per cent; 80 columns are enough for it."""
        table = _table(self._title(), _CAPTION, self._headings(), self._numeric())
        groups = self._groups()
        for group in groups:
            for cells in group:
                table.add_row(*cells, style="bold" if group is groups[0] else None)
            table.add_section()
        return table

    def joined_table(self) -> Table:
        """The averages between languages other than English, for the terminal, in per cent."""
        headings = self._joined_headings()
        table = _table(_JOINED_TITLE, _JOINED_CAPTION, headings, [False, *[True] * (len(headings) - 1)])
        table.add_row(*self._joined_average(), style="bold")
        return table

    def markdown(self) -> str:
        """All of it as Markdown, with a row for each pair of languages where these were asked for."""
        scored = [cells for group in self._groups() for cells in group]
        text = _markdown(self._title(), _CAPTION, self._headings(), self._numeric(), scored)
        if not self.joined:
            return text
        headings = self._joined_headings()
        rows = [self._joined_average()]
        for own, *floors in zip(*(result.rows for result in self.joined), strict=True):
            rows.append([f"{own.first}-{own.second}", f"{own.queries:,}", *self._joined_scores(own, floors)])
        numeric = [False, *[True] * (len(headings) - 1)]
        return f"{text}\n{_markdown(_JOINED_TITLE, _JOINED_CAPTION, headings, numeric, rows)}"

    def _joined_headings(self) -> list[str]:
        modes = [name for name, _ in self._modes()]
        return ["languages", "queries", *modes, *(result.encoder for result in self.results[1:])]

    def _joined_average(self) -> list[str]:
        own = self.joined[0]
        name = f"all {len(own.rows):,} pairs"
        return [name, f"{own.queries:,}", *self._joined_scores(own, self.joined[1:])]

    def _joined_scores(self, own: _JoinedScored, floors: Sequence[_JoinedScored]) -> Iterator[str]:
        yield _percent(own.raw)
        if own.calibrated is not None:
            yield _percent(own.calibrated)
        yield from (_percent(floor.raw) for floor in floors)

    def _title(self) -> str:
        first = self.results[0]
        mark = f", fingerprint {first.fingerprint}" if first.fingerprint else ""
        return f"Tatoeba: accuracy of {first.encoder} ({first.dims} dimensions{mark}), in per cent"

    def _headings(self) -> list[str]:
        headings = ["language", "code", "pairs"]
        for name, _ in self._modes():
            headings += [f"{name} {direction}" for direction in (_XX_EN, _EN_XX, "mean")]
        return headings + [f"{result.encoder} mean" for result in self.results[1:]]

    def _numeric(self) -> list[bool]:
        return [False, False] + [True] * (len(self._headings()) - 2)

    def _modes(self) -> list[tuple[str, Callable[[_Scored], Accuracy | None]]]:
        modes: list[tuple[str, Callable[[_Scored], Accuracy | None]]] = [("raw", lambda scored: scored.raw)]
        if self.results[0].rows[0].calibrated is not None:
            modes.append(("calibrated", lambda scored: scored.calibrated))
        return modes

    def _groups(self) -> list[list[list[str]]]:
        averages = [
            [average.name, "", "", *self._scores(average, [r.averages[key] for r in self.results[1:]])]
            for key, average in self.results[0].averages.items()
        ]
        languages = [
            [row.name, row.label, f"{row.n:,}", *self._scores(row, [r.rows[i] for r in self.results[1:]])]
            for i, row in enumerate(self.results[0].rows)
        ]
        return [averages, languages]

    def _scores(self, own: _Scored, floors: list[Any]) -> Iterator[str]:
        for _, of in self._modes():
            accuracy = of(own)
            if accuracy is not None:
                yield from (_percent(value) for value in (accuracy.xx_en, accuracy.en_xx, accuracy.mean))
        for floor in floors:
            yield _percent(floor.raw.mean)


_CAPTION = (
    "Nearest neighbour by cosine among the sentences of the same pair of languages. "
    f"{_XX_EN}: the query is in the language, the candidates are English; {_EN_XX}: the other way; "
    "mean: of both. Averages give every language the same weight."
)


_JOINED_TITLE = "Between languages other than English: accuracy in per cent, mean of both directions"
_JOINED_CAPTION = (
    "Sentences of two languages that translate the same English look for each other by cosine among all sentences of "
    "the other language; queries: of one direction. Pairs of languages with fewer than ten are left out; each has the "
    "same weight."
)


def _table(title: str, caption: str, headings: Sequence[str], numeric: Sequence[bool]) -> Table:
    """A table without rows, for the terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(title),  # as it is: a folder's name may look like markup
        caption=caption,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=0,
    )
    for column, (heading, is_number) in enumerate(zip(headings, numeric, strict=True)):
        stacked = heading.replace(" ", "\n").replace("calibrated", "calib.")
        # Only the name gives way where the terminal is narrow.
        table.add_column(
            stacked,
            justify="right" if is_number else "left",
            vertical="bottom",
            no_wrap=column > 0,
            min_width=None if column == 0 else max(len(word) for word in stacked.split()),
        )
    return table


def _markdown(
    title: str, caption: str, headings: Sequence[str], numeric: Sequence[bool], rows: Sequence[Sequence[str]]
) -> str:
    rule = ["---:" if is_number else "---" for is_number in numeric]
    lines = [_line(cells) for cells in (headings, rule, *rows)]
    return f"{title}\n\n" + "\n".join(lines) + f"\n\n{caption}\n"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _versions() -> dict[str, str]:
    versions = {"mlret": mlret.__version__}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
