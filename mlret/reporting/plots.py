"""Pictures of results. Each function draws one PNG file; matplotlib comes with the extra `eval`.

Colours are of Okabe and Ito's palette, which the colour-blind can tell apart; what matters is written, too.
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
    """A matrix of scores from 0 to 1, in per cent, every cell with its figure; ``None`` stays blank."""
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
    """System -> language -> score from 0 to 1: bars of the first system, best first, the others as marks upon them.

    Of more than sixty languages the bars carry no names.
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
    """Averages from 0 to 1 as bars across: what was measured in colour, what others printed in grey."""
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
    """Parallel sentences in the plane, coloured by language, one panel beside another (before and after calibration).

    Parameters
    ----------
    title
        Of the picture.
    panels
        Name -> ``(n, d)`` vectors. Each is brought to the plane by t-SNE over its fifty leading principal components.
    languages
        Of each of the ``n``.
    path
        The file.
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
    """Curves of scores from 0 to 1 over a common axis, perhaps a logarithmic one; the first is the one that matters."""
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
    """Two bars a name, before and after, in the unit of the values; of more than sixty the bars carry no names."""
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
    """Whether pictures can be drawn here."""
    return importlib.util.find_spec("matplotlib") is not None


def trade_offs(title: str, points: Sequence[Mapping[str, Any]], score: str, path: Path) -> None:
    """Quality against cost: two panels, ``score`` over milliseconds a query and over bytes a document.

    Parameters
    ----------
    title
        Of the picture.
    points
        Each with ``name``, ``milliseconds``, ``bytes`` and ``score`` (from 0 to 1).
    score
        What the score is.
    path
        The file.
    """
    figure = _figure_module().Figure(figsize=(11, 4.2), layout="constrained")
    for axes, key, label in zip(
        figure.subplots(1, 2, sharey=True),
        ("milliseconds", "bytes"),
        ("milliseconds a query", "bytes a document"),
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
