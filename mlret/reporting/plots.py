"""Plots of results. Each function draws one PNG file; matplotlib comes with the extra `eval`.

What is drawn is labelled in place instead of in a legend wherever that is possible, and no two things in a legend share
a colour and a mark. Colours are from Okabe and Ito's palette, which colour-blind readers can distinguish, and scales
span the values that are drawn.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.errors import require

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
_MARKS = "osD^v<>p"
_GREY, _LIGHT, _BAR = "#6B6B6B", "#DDDDDD", "#A9CBE8"
_ROWS = 30
"""Number of rows of a column, in plots with a row for each language."""
_LABELLED = 8
"""Number of curves that a reader can tell apart."""


def heat_map(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    path: Path,
    *,
    row_label: str = "",
    column_label: str = "",
    source: str = "",
) -> None:
    """Draw a matrix of scores, in per cent. The colours span the scores that occur.

    The value is written into every cell if there are at most 40 columns.

    Parameters
    ----------
    title
        Title of the plot.
    rows, columns
        Labels of the rows and columns.
    values
        Scores from 0 to 1 for each row and column; a cell with ``None`` stays blank.
    path
        The PNG file to write.
    row_label, column_label
        Labels of the axes.
    source
        Where the values are from; written below the plot.
    """
    matrix = np.array([[np.nan if value is None else 100 * value for value in row] for row in values], dtype=float)
    cell = 0.42 if len(columns) <= 40 else 0.2
    figure = _figure(2 + cell * len(columns), 1.6 + 0.8 * cell * len(rows))
    axes = figure.subplots()
    low, high = span_of(matrix[~np.isnan(matrix)])
    image = axes.imshow(matrix, cmap="viridis", vmin=low, vmax=high, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=90 if max(map(len, columns)) > 3 else 0, fontsize=9)
    axes.set_yticks(range(len(rows)), rows, fontsize=9)
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(0.5, len(columns) - 1), minor=True)
    axes.set_yticks(np.arange(0.5, len(rows) - 1), minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(column_label)
    axes.set_ylabel(row_label)
    if cell > 0.3:
        for (row, column), value in np.ndenumerate(matrix):
            if not np.isnan(value):
                colour = "white" if value < low + 0.6 * (high - low) else "black"
                axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8, color=colour)
    bar = figure.colorbar(image, ax=axes, label="per cent", fraction=0.03, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=9)
    _finish(figure, title, source, path)


def ranked_bars(title: str, scores: Mapping[str, Mapping[str, float]], path: Path, *, source: str = "") -> None:
    """Draw scores by language, best first: a labelled bar for the first system, a mark for each of the others.

    Parameters
    ----------
    title
        Title of the plot. The name of the first system is added to it.
    scores
        System -> language -> score from 0 to 1.
    path
        The PNG file to write.
    source
        Where the values are from; written below the plot.
    """
    first, *others = scores
    order = sorted(scores[first], key=lambda language: -scores[first][language])
    top = max(100 * value for of in scores.values() for value in of.values())
    height = max(0.2, 0.085 * len(others))
    figure, panels = _columns(order, height, limits=(0, 1.09 * top))
    for axes, languages in panels:
        places = np.arange(len(languages))
        values = [100 * scores[first][language] for language in languages]
        bars = axes.barh(places, values, 0.84, color=_BAR)
        _label_bars(
            axes, bars, values, [max([0, *(100 * scores[one].get(code, 0) for one in others)]) for code in languages]
        )
        for number, name in enumerate(others):
            colour, mark = _style(number, _MARKS)
            # The marks of a language are one below the other, so that equal scores do not hide each other.
            shift = 0 if len(others) == 1 else 0.6 * (number / (len(others) - 1) - 0.5)
            points = [100 * scores[name].get(language, np.nan) for language in languages]
            axes.plot(
                points, places + shift, mark, color=colour, markersize=4.5 if len(order) > _ROWS else 6.5,
                markeredgecolor="white", markeredgewidth=0.4, label=name,
            )  # fmt: skip
    if others:
        _legend_below(figure, panels[0][0], source)
    _finish(figure, f"{title}\nBars: {first}, per cent", "" if others else source, path)


def strips(title: str, scores: Mapping[str, Sequence[float]], path: Path, *, source: str = "") -> None:
    """Draw several scores for each language as dots in a row, with a line at their mean; the best language first.

    Parameters
    ----------
    title
        Title of the plot.
    scores
        Language -> scores from 0 to 1.
    path
        The PNG file to write.
    source
        Where the values are from; written below the plot.
    """
    means = {language: 100 * float(np.mean(values)) for language, values in scores.items()}
    order = sorted(means, key=lambda language: -means[language])
    figure, panels = _columns(order, 0.2, limits=span_of([100 * value for of in scores.values() for value in of]))
    for axes, languages in panels:
        for place, language in enumerate(languages):
            values = [100 * value for value in scores[language]]
            axes.plot(values, [place] * len(values), "o", color=_COLOURS[0], alpha=0.3, markersize=4, markeredgewidth=0)
        axes.plot([means[one] for one in languages], range(len(languages)), "|", color=_COLOURS[1], markersize=10,
                  markeredgewidth=2)  # fmt: skip
    _finish(figure, title, source, path)


def baselines(
    title: str, ours: Mapping[str, float], published: Mapping[str, float], path: Path, *, source: str = ""
) -> None:
    """Draw average scores as horizontal bars: our measurements in colour, published scores in grey.

    Parameters
    ----------
    title
        Title of the plot.
    ours, published
        System -> score from 0 to 1.
    path
        The PNG file to write.
    source
        Where the values are from; written below the plot.
    """
    bars = [(name, value, _COLOURS[0]) for name, value in ours.items()]
    bars += [(f"{name} (published)", value, "#BBBBBB") for name, value in published.items()]
    bars.sort(key=lambda bar: bar[1])
    figure = _figure(7, 1.1 + 0.32 * len(bars))
    axes = figure.subplots()
    drawn = axes.barh([name for name, _, _ in bars], [100 * v for _, v, _ in bars], 0.7, color=[c for _, _, c in bars])
    axes.bar_label(drawn, fmt="%.1f", padding=3, fontsize=9)
    axes.set_xlabel("per cent")
    _plain(axes, grid="x")
    axes.spines["left"].set_visible(True)
    _finish(figure, title, source, path)


def embedding_map(title: str, panels: Mapping[str, NDArray[np.float32]], languages: Sequence[str], path: Path) -> None:
    """Draw parallel sentences in the plane, coloured by language, with one panel for each set of vectors.

    Parameters
    ----------
    title
        Title of the plot.
    panels
        Name -> ``(n, d)`` vectors. Each set is projected by t-SNE from its fifty leading principal components.
    languages
        Language of each of the ``n`` sentences.
    path
        The PNG file to write.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    figure = _figure(6 * len(panels), 5.4)
    language_of = np.array(languages)
    for axes, (name, vectors) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels.items(), strict=True):
        reduced = PCA(min(50, *vectors.shape), random_state=0).fit_transform(vectors)
        perplexity = min(30.0, (len(vectors) - 1) / 3)
        plane = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(reduced)
        for number, code in enumerate(dict.fromkeys(languages)):
            colour, mark = _style(number, _MARKS)
            points = plane[language_of == code]
            axes.scatter(*points.T, s=12, color=colour, marker=mark, label=code, linewidths=0)
        axes.set_title(name, fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color(_LIGHT)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right", markerscale=2, **_LEGEND)
    _finish(figure, title, "", path)


def lines(
    title: str,
    x: Sequence[float | str],
    curves: Mapping[str, Sequence[float]],
    path: Path,
    *,
    x_label: str,
    y_label: str = "per cent",
    log_x: bool = False,
    source: str = "",
) -> None:
    """Draw curves over a common axis, each labelled at its right end; the first curve is emphasised.

    Of more than eight curves, the first and the seven with the lowest means are labelled; the others are grey.

    Parameters
    ----------
    title
        Title of the plot.
    x
        Positions on the horizontal axis.
    curves
        Name -> scores from 0 to 1, one for each position.
    path
        The PNG file to write.
    x_label, y_label
        Labels of the axes.
    log_x
        Whether the horizontal axis is logarithmic.
    source
        Where the values are from; written below the plot.
    """
    rest = sorted(list(curves)[1:], key=lambda name: float(np.mean(curves[name])))[_LABELLED - 1 :]
    named = [name for name in curves if name not in rest]
    figure = _figure(8, 4.2)
    axes = figure.subplots()
    for name in rest:
        axes.plot(x, [100 * value for value in curves[name]], "-", color="#C4C4C4", linewidth=0.8)
    ends = []
    for number, name in enumerate(named):
        colour, dash = _style(number, _DASHES)
        shares = [100 * value for value in curves[name]]
        axes.plot(x, shares, linestyle=dash, color=colour, label=name, linewidth=1.2 if number else 2.8)
        ends.append((shares[-1], name, colour))
    if rest:
        ends.append((100 * max(curves[name][-1] for name in rest), f"{len(rest)} others", _GREY))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    if log_x:
        axes.set_xscale("log")
    else:
        axes.set_xticks(x)
    _plain(axes, grid="both")
    _label_ends(axes, x[-1], ends)
    _finish(figure, title, source, path)


def paired_bars(title: str, before: Mapping[str, float], after: Mapping[str, float], path: Path) -> None:
    """Draw two values for each name, before and after, as two dots on a line; the largest change first.

    Parameters
    ----------
    title
        Title of the plot.
    before, after
        Name -> value, drawn in its own unit.
    path
        The PNG file to write.
    """
    order = sorted(before, key=lambda name: before[name] - after[name], reverse=True)
    values = [*before.values(), *after.values()]
    figure, panels = _columns(order, 0.24, limits=span_of(values))
    for axes, names in panels:
        places = np.arange(len(names))
        old, new = [before[name] for name in names], [after[name] for name in names]
        axes.hlines(places, old, new, color=_LIGHT, linewidth=3)
        axes.plot(old, places, "o", color=_GREY, markersize=6, label="before")
        axes.plot(new, places, "D", color=_COLOURS[0], markersize=6, label="after")
    _legend_below(figure, panels[0][0], "")
    _finish(figure, title, "", path)


def available() -> bool:
    """Return whether plots can be drawn, that is, whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def trade_offs(title: str, points: Sequence[Mapping[str, Any]], score: str, path: Path, *, source: str = "") -> None:
    """Draw quality against cost in two panels: over milliseconds per query and over bytes per document.

    Parameters
    ----------
    title
        Title of the plot.
    points
        Each has ``name``, ``milliseconds``, ``bytes`` and ``score`` (from 0 to 1).
    score
        Name of the score.
    path
        The PNG file to write.
    source
        Where the values are from; written below the plot.
    """
    figure = _figure(11, 4.2)
    for axes, key, label in zip(
        figure.subplots(1, 2, sharey=True),
        ("milliseconds", "bytes"),
        ("milliseconds per query", "bytes per document"),
        strict=True,
    ):
        for point in points:
            axes.scatter(point[key], 100 * point["score"], color=_COLOURS[0])
            axes.annotate(
                point["name"], (point[key], 100 * point["score"]), fontsize=8, xytext=(5, 5), textcoords="offset points"
            )
        axes.set_xscale("log")
        axes.set_xlabel(label)
        axes.margins(0.15)
        _plain(axes, grid="both")
    figure.axes[0].set_ylabel(f"{score}, per cent")
    _finish(figure, title, source, path)


def span_of(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """Return the limits of a scale: the smallest and the largest value, rounded outwards.

    They are multiples of half the largest power of ten that the difference of the values reaches.

    Parameters
    ----------
    values
        The values to be drawn; they may be empty.
    """
    if len(values) == 0:
        return 0.0, 1.0
    low, high = float(np.min(values)), float(np.max(values))
    if high - low <= 1e-9 * max(1.0, abs(low), abs(high)):
        low, high = low - 0.5, high + 0.5
    step = 10.0 ** math.floor(math.log10(high - low)) / 2
    # Quotients of very small numbers are rounded to zero, so the values themselves are limits, too.
    return min(low, step * math.floor(low / step)), max(high, step * math.ceil(high / step))


_LEGEND: dict[str, Any] = {"frameon": False, "fontsize": 9, "handletextpad": 0.3, "columnspacing": 1.4}


def _style(number: int, forms: Sequence[Any]) -> tuple[str, Any]:
    """Return the pair of a colour and a form (a dash or a mark) of a thing that is drawn.

    The first ``len(_COLOURS) * len(forms)`` numbers have different pairs. Marks change with each number, because two
    small marks are easier to tell apart by both colour and form.
    """
    turn, place = divmod(number, len(_COLOURS))
    if forms is _MARKS:
        turn += place
    return _COLOURS[place], forms[turn % len(forms)]


def _columns(
    names: Sequence[str], height: float, *, limits: tuple[float, float]
) -> tuple[Any, list[tuple[Any, Sequence[str]]]]:
    """Return a figure with a row for each name, in as many columns as necessary, and the names of each column."""
    count = max(1, math.ceil(len(names) / _ROWS))
    rows = math.ceil(len(names) / count)
    figure = _figure(max(7.0, 2.5 * count), 1.4 + height * rows)
    panels = []
    for number, axes in enumerate(np.atleast_1d(figure.subplots(1, count, sharex=True))):
        some = names[number * rows : (number + 1) * rows]
        axes.set_yticks(range(len(some)), some, fontsize=9)
        axes.set_ylim(rows - 0.4, -0.6)
        axes.set_xlim(*limits)
        _plain(axes, grid="x")
        axes.tick_params(axis="y", length=0)
        panels.append((axes, some))
    return figure, panels


def _label_bars(axes: Any, bars: Any, values: Sequence[float], marks: Sequence[float]) -> None:
    """Write each bar's value at its end: beyond the bar, unless a mark (the furthest is given) may be there."""
    inside = [mark > value for value, mark in zip(values, marks, strict=True)]
    for padding, wanted in ((-16, True), (3, False)):
        texts = [f"{value:.0f}" if where == wanted else "" for value, where in zip(values, inside, strict=True)]
        axes.bar_label(bars, texts, padding=padding, fontsize=8, color="#1A3A55")


def _legend_below(figure: Any, axes: Any, source: str) -> None:
    """Draw the legend of marks below the plot, under the line that names the source."""
    handles, names = axes.get_legend_handles_labels()
    legend = figure.legend(
        handles, names, loc="outside lower left", ncols=4, title=source, title_fontsize=8, alignment="left", **_LEGEND
    )
    legend.get_title().set_color(_GREY)


def _label_ends(axes: Any, x: float | str, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write names beside the right ends of curves, far enough from each other, with a thin line to each end."""
    low, high = axes.get_ylim()
    gap = (high - low) * 0.052
    places: list[float] = []
    ordered = sorted(ends, reverse=True)
    for value, _, _ in ordered:
        places.append(min(value, places[-1] - gap) if places else min(value, high))
    # Labels that were pushed below the axis move up together.
    if places and places[-1] < low:
        places = [max(place, low + gap * (len(places) - 1 - number)) for number, place in enumerate(places)]
    for (value, name, colour), place in zip(ordered, places, strict=True):
        axes.annotate(
            name, (x, value), xytext=(1.035, (place - low) / (high - low)), textcoords="axes fraction",
            fontsize=9, color=colour, va="center", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2},
        )  # fmt: skip


def _plain(axes: Any, *, grid: str) -> None:
    """Draw a light grid behind the data, and no frame."""
    axes.set_axisbelow(True)
    axes.grid(axis=grid, color="#E6E6E6", linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#999999")
    axes.tick_params(color="#999999", labelsize=9)


def _figure(width: float, height: float) -> Any:
    module = require("matplotlib.figure", extra="eval", feature="drawing pictures")
    return module.Figure(figsize=(width, height), layout="constrained")


def _finish(figure: Any, title: str, source: str, path: Path) -> None:
    """Write the title above the plot, the source below it, and the file."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    if source:
        figure.supxlabel(source, x=0.01, ha="left", fontsize=8, color=_GREY)
    figure.savefig(path, format="png", dpi=120)
