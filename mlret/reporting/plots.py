"""Plots of results. Each function draws one PNG file; matplotlib comes with the extra `eval`.

Colours are from Okabe and Ito's palette, which colour-blind readers can distinguish; essential information is also
given as text.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlret.errors import require

_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
_GREY = "#999999"
_MAX_BARS = 60


def heat_map(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    path: Path,
    *,
    row_label: str = "",
    column_label: str = "",
) -> None:
    """Draw a matrix of scores, in per cent.

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
    """
    figure_module = _figure_module()
    matrix = np.array([[np.nan if value is None else 100 * value for value in row] for row in values], dtype=float)
    cell = 0.42 if len(columns) <= 40 else 0.22
    figure = figure_module.Figure(figsize=(2 + cell * len(columns), 1.6 + cell * len(rows)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(matrix, cmap="viridis", vmin=0, vmax=100, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=90 if len(columns) > 12 else 0)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel(column_label)
    axes.set_ylabel(row_label)
    axes.set_title(title, loc="left", fontsize=11)
    if cell > 0.3:
        for (row, column), value in np.ndenumerate(matrix):
            if not np.isnan(value):
                colour = "white" if value < 60 else "black"
                axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8, color=colour)
    figure.colorbar(image, ax=axes, label="per cent", fraction=0.03, pad=0.02)
    _save(figure, path)


def ranked_bars(title: str, scores: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw scores by language, best first: bars for the first system, marks for the others.

    Language names are omitted if there are more than sixty.

    Parameters
    ----------
    title
        Title of the plot.
    scores
        System -> language -> score from 0 to 1.
    path
        The PNG file to write.
    """
    figure_module = _figure_module()
    first = next(iter(scores))
    order = sorted(scores[first], key=lambda language: -scores[first][language])
    figure = figure_module.Figure(figsize=(max(6.0, min(16.0, 0.22 * len(order) + 2)), 4.2), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(order))
    axes.bar(places, [100 * scores[first][language] for language in order], color=_COLOURS[0], label=first)
    for colour, mark, name in zip(_COLOURS[1:], "ovsD^P*", list(scores)[1:], strict=False):
        heights = [100 * scores[name].get(language, np.nan) for language in order]
        axes.plot(places, heights, mark, color=colour, markersize=3.5, label=name)
    few = len(order) <= _MAX_BARS
    axes.set_xticks(places if few else [], order if few else [], rotation=90)
    axes.set_xlabel(f"{len(order)} languages, best first")
    axes.set_ylabel("per cent")
    axes.set_ylim(0, 100)
    axes.margins(x=0.01)
    axes.set_title(title, loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def baselines(title: str, ours: Mapping[str, float], published: Mapping[str, float], path: Path) -> None:
    """Draw average scores as horizontal bars: our measurements in colour, published scores in grey.

    Parameters
    ----------
    title
        Title of the plot.
    ours, published
        System -> score from 0 to 1.
    path
        The PNG file to write.
    """
    figure_module = _figure_module()
    bars = [(name, value, _COLOURS[0]) for name, value in ours.items()]
    bars += [(f"{name} (published)", value, _GREY) for name, value in published.items()]
    bars.sort(key=lambda bar: bar[1])
    figure = figure_module.Figure(figsize=(7, 1 + 0.32 * len(bars)), layout="constrained")
    axes = figure.subplots()
    drawn = axes.barh([name for name, _, _ in bars], [100 * v for _, v, _ in bars], color=[c for _, _, c in bars])
    axes.bar_label(drawn, fmt="%.1f", padding=3, fontsize=8)
    axes.set_xlabel("per cent")
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


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

    figure_module = _figure_module()
    figure = figure_module.Figure(figsize=(6 * len(panels), 5.4), layout="constrained")
    codes = list(dict.fromkeys(languages))
    matplotlib = require("matplotlib", extra="eval", feature="drawing pictures")
    colours = matplotlib.colormaps["tab20"](np.arange(len(codes)) % 20)
    marks = np.array(["o"] * 20 + ["^"] * 20 + ["s"] * 20)
    language_of = np.array(languages)
    for axes, (name, vectors) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels.items(), strict=True):
        reduced = PCA(min(50, *vectors.shape), random_state=0).fit_transform(vectors)
        perplexity = min(30.0, (len(vectors) - 1) / 3)
        plane = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(reduced)
        for number, code in enumerate(codes):
            points = plane[language_of == code]
            mark = marks[number % len(marks)]
            axes.scatter(*points.T, s=9, color=colours[number], marker=mark, label=code, linewidths=0)
        axes.set_title(name, fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right", frameon=False, markerscale=2, fontsize=8)
    _save(figure, path)


def lines(
    title: str,
    x: Sequence[float | str],
    curves: Mapping[str, Sequence[float]],
    path: Path,
    *,
    x_label: str,
    y_label: str = "per cent",
    log_x: bool = False,
) -> None:
    """Draw curves over a common axis; the first curve is emphasised.

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
    """
    figure = _figure_module().Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, (name, values) in enumerate(curves.items()):
        style = "-" if number < len(_COLOURS) else "--"
        width = 1.0 if number else 2.5
        shares = [100 * value for value in values]
        axes.plot(x, shares, style, color=_COLOURS[number % len(_COLOURS)], label=name, linewidth=width)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    if log_x:
        axes.set_xscale("log")
    else:
        axes.set_xticks(x)
    axes.set_title(title, loc="left", fontsize=11)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right", frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def paired_bars(title: str, before: Mapping[str, float], after: Mapping[str, float], path: Path) -> None:
    """Draw two bars for each name, before and after; names are omitted if there are more than sixty.

    Parameters
    ----------
    title
        Title of the plot.
    before, after
        Name -> value, drawn in its own unit.
    path
        The PNG file to write.
    """
    names = list(before)
    figure = _figure_module().Figure(figsize=(max(6.0, min(16.0, 0.3 * len(names) + 2)), 4.2), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(names))
    axes.bar(places - 0.2, [before[name] for name in names], 0.4, color=_GREY, label="before")
    axes.bar(places + 0.2, [after[name] for name in names], 0.4, color=_COLOURS[0], label="after")
    few = len(names) <= _MAX_BARS
    axes.set_xticks(places if few else [], names if few else [], rotation=90 if len(names) > 12 else 0)
    axes.set_title(title, loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def available() -> bool:
    """Return whether plots can be drawn, that is, whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def trade_offs(title: str, points: Sequence[Mapping[str, Any]], score: str, path: Path) -> None:
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
    """
    figure = _figure_module().Figure(figsize=(11, 4.2), layout="constrained")
    for axes, key, label in zip(
        figure.subplots(1, 2, sharey=True),
        ("milliseconds", "bytes"),
        ("milliseconds per query", "bytes per document"),
        strict=True,
    ):
        for number, point in enumerate(points):
            colour = _COLOURS[number % len(_COLOURS)]
            axes.scatter(point[key], 100 * point["score"], color=colour)
            axes.annotate(
                point["name"], (point[key], 100 * point["score"]), fontsize=7, xytext=(4, 4), textcoords="offset points"
            )
        axes.set_xscale("log")
        axes.set_xlabel(label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(0.15)
    figure.axes[0].set_ylabel(f"{score}, per cent")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    _save(figure, path)


def _figure_module() -> Any:
    return require("matplotlib.figure", extra="eval", feature="drawing pictures")


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, format="png", dpi=130)
