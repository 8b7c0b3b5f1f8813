"""Plots: what is drawn is the data, and a reader can tell it apart."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from mlret.reporting import plots

LANGUAGES = [f"l{number}" for number in range(70)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Figure]:
    """Return a function that draws a plot and returns its figure."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, *arguments: Any, **options: Any) -> None:
        figures.append(self)
        save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)

    def draw(plot: Callable[..., None], *arguments: Any, **options: Any) -> Figure:
        plot(*arguments, tmp_path / "plot.png", **options)
        assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
        return figures[-1]

    return draw


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize("count", [1, 2, 8, 9, 60])
def test_no_two_labelled_curves_share_colour_and_dash(drawn: Callable[..., Figure], count: int) -> None:
    curves = {f"c{number}": [number / 100, number / 100 + 0.1] for number in range(count)}
    figure = drawn(plots.lines, "t", [1, 2], curves, x_label="x")
    (axes,) = figure.axes
    assert axes.get_legend() is None and not figure.legends
    named = [line for line in axes.lines if not line.get_label().startswith("_")]
    styles = {(to_rgba(line.get_color()), line.get_linestyle(), line._unscaled_dash_pattern) for line in named}
    assert len(styles) == len(named) == min(count, 8)
    assert len(axes.lines) == count
    labels = [text for text in texts(figure) if text]
    assert sorted(labels) == sorted([*(line.get_label() for line in named), *([f"{count - 8} others"] * (count > 8))])


def test_labels_of_curves_do_not_overlap(drawn: Callable[..., Figure]) -> None:
    curves = {f"c{number}": [0.5, 0.5 + number / 10_000] for number in range(8)}
    figure = drawn(plots.lines, "t", [1, 2], curves, x_label="x")
    boxes = sorted((text.get_window_extent().y0, text.get_window_extent().y1) for text in figure.axes[0].texts)
    assert all(below[1] <= above[0] + 1 for below, above in itertools.pairwise(boxes))


def test_no_two_marks_of_a_legend_share_colour_and_form() -> None:
    pairs = [plots._style(number, plots._MARKS) for number in range(56)]
    assert len(set(pairs)) == 56
    assert len({(colour, str(dash)) for colour, dash in (plots._style(n, plots._DASHES) for n in range(28))}) == 28


def test_bars_are_labelled_with_their_values_and_stand_in_no_legend(drawn: Callable[..., Figure]) -> None:
    random = np.random.default_rng(0)
    own = {language: float(random.uniform(0, 1)) for language in LANGUAGES}
    scores = {"own": own, "other": dict.fromkeys(LANGUAGES, 0.5), "third": {"l3": 0.9}}
    figure = drawn(plots.ranked_bars, "t", scores)
    order = sorted(LANGUAGES, key=lambda language: -own[language])
    shown = [label.get_text() for axes in figure.axes for label in axes.get_yticklabels()]
    assert shown == order  # every language is named, in columns
    widths = [bar.get_width() for axes in figure.axes for bar in axes.patches]
    assert widths == pytest.approx([100 * own[language] for language in order])
    assert sorted(text for text in texts(figure) if text) == sorted(f"{width:.0f}" for width in widths)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == ["other", "third"]
    assert figure.get_suptitle() == "t\nBars: own, per cent"


def test_strips_have_a_dot_for_each_score_and_a_line_at_the_mean(drawn: Callable[..., Figure]) -> None:
    figure = drawn(plots.strips, "t", {"sw": [0.1, 0.3], "de": [0.9, 0.5, 0.7]}, source="Data: made")
    (axes,) = figure.axes
    de, sw, means = axes.lines
    assert [label.get_text() for label in axes.get_yticklabels()] == ["de", "sw"]
    assert de.get_xdata() == pytest.approx([90, 50, 70]) and sw.get_xdata() == pytest.approx([10, 30])
    assert means.get_xdata() == pytest.approx([70, 20])
    assert figure.get_supxlabel() == "Data: made"


def test_colours_of_a_matrix_span_the_values_that_occur(drawn: Callable[..., Figure]) -> None:
    figure = drawn(plots.heat_map, "t", ["a", "b"], ["c", "d"], [[0.912, None], [0.978, 0.943]])
    image = figure.axes[0].images[0]
    assert image.get_clim() == (91, 98)
    assert sorted(texts(figure)) == ["91", "94", "98"]


def test_two_values_of_a_name_are_joined(drawn: Callable[..., Figure]) -> None:
    figure = drawn(plots.paired_bars, "t", {"a": 2.0, "b": 3.0}, {"a": 1.9, "b": 1.0})
    before, after = figure.axes[0].lines
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["b", "a"]
    assert (list(before.get_xdata()), list(after.get_xdata())) == ([3.0, 2.0], [1.0, 1.9])


def test_points_of_trade_offs_are_named_in_place(drawn: Callable[..., Figure]) -> None:
    points = [{"name": f"p{n}", "milliseconds": n + 1.0, "bytes": 10.0 * (n + 1), "score": 0.5} for n in range(12)]
    figure = drawn(plots.trade_offs, "t", points, "recall@10")
    assert sorted(texts(figure)) == sorted([point["name"] for point in points] * 2)
    assert not figure.legends


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
@example([5e-324, -10.0])
@example([0.0, 5e-324])
def test_a_scale_holds_all_values_and_uses_most_of_its_range(values: list[float]) -> None:
    low, high = plots.span_of(values)
    assert low <= min(values) and max(values) <= high and low < high
    if max(values) - min(values) > 1e-3:
        assert max(values) - min(values) >= 0.3 * (high - low)


def test_a_scale_of_nothing_is_a_scale() -> None:
    assert plots.span_of([]) == (0, 1)
