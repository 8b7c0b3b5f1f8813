from __future__ import annotations

import csv
import io

from rich.console import Console

from mlret.reporting.table import ResultTable, percent

TABLE = ResultTable(
    "Title_of 100 % [red]",
    ["system", "xx→en", "mean"],
    [[["a & b|c", "1.0", "2.0"]], [["d, e", "3.0", "–"]]],
    "Caption.",
)


def shown(table: ResultTable, width: int = 60) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table.terminal())
    return console.export_text()


def test_markdown_escapes_bars_and_sets_numbers_to_the_right() -> None:
    assert TABLE.markdown().splitlines() == [
        "Title_of 100 % [red]",
        "",
        "| system | xx→en | mean |",
        "| --- | ---: | ---: |",
        r"| a & b\|c | 1.0 | 2.0 |",
        "| d, e | 3.0 | – |",
        "",
        "Caption.",
    ]


def test_latex_escapes_what_latex_would_take_for_its_own() -> None:
    lines = TABLE.latex().splitlines()
    assert r"a \& b|c & 1.0 & 2.0 \\" in lines
    assert r"system & xx$\rightarrow$en & mean \\" in lines
    assert r"\caption{Title\_of 100 \% [red]. Caption.}" in lines
    assert lines.count(r"\midrule") == 2
    assert r"\begin{tabular}{lrr}" in lines


def test_csv_reads_back() -> None:
    assert list(csv.reader(io.StringIO(TABLE.csv()))) == [list(TABLE.headings), *map(list, TABLE.rows)]


def test_the_terminal_shows_titles_as_they_are() -> None:
    text = shown(TABLE)
    assert "[red]" in text and "a & b|c" in text


def test_a_transposed_table_has_the_same_cells() -> None:
    transposed_table = TABLE.transposed()
    assert transposed_table.headings == ["", "a & b|c", "d, e"]
    assert transposed_table.rows == [["xx→en", "1.0", "3.0"], ["mean", "2.0", "–"]]


def test_width_is_what_the_terminal_needs() -> None:
    wide = ResultTable("t", ["system", *map(str, range(30))], [[["name", *["10.0"] * 30]]])
    assert wide.width > 100
    assert wide.transposed().width < 40
    assert "10.0" in shown(wide.transposed(), 40)


def test_shares_are_in_per_cent_and_what_is_missing_is_a_dash() -> None:
    assert (percent(0.1234), percent(1.0), percent(None)) == ("12.3", "100.0", "–")
