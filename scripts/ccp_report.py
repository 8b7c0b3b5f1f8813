"""Write the tables and pictures of the study of adaptation by monolingual text.

    python scripts/ccp_report.py [--runs runs/ccp-adaptation] [--curves runs/ccp-curves]
        [--weights runs/ccp-weights] [--output eval/results/ccp-adaptation]

Reads what `ccp_adaptation.py`, `ccp_curves.py` and `ccp_weights.py` have measured, and writes `tables.md`, `runs.json`,
`curves.json`, `weights.json`, `rows.png`, `languages.png` and `curves.png`.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from ccp_adaptation import INSIDE, LEVELS, OUTSIDE, ROWS, STRONG, WEAK
from ccp_curves import MEASURED, VARIANTS

from mlret.data.durable import write_atomically, write_text_atomically
from mlret.data.languages import language_name, normalise_language

STEPS = {
    "none": "none",
    "own shift": "shift to English",
    "own map": "whitening towards English",
    "shift": "shift, both sides",
    "shift, scale": "shift and scale, both sides",
    "shift, scale, rotate": "shift, scale, rotate",
    "whiten": "whitening, both sides",
    "whiten by pivot": "whitening by English, both sides",
    "linear map on pairs": "best linear map by pairs",
}
# What each row is called in tables and pictures.
ROW_NAMES = {
    "mlm": "masked words",
    "simcse": "SimCSE",
    "inverse-cloze": "inverse cloze",
    "ccp": "CCP",
    "ccp-rate-3e-4": "CCP, rate 3e-4",
    "ccp-rate-1e-3": "CCP, rate 1e-3",
    "ccp-rate-1e-3-no-keep": "CCP, rate 1e-3, old vectors not kept",
    "ccp-no-bank": "CCP, no bank",
    "ccp-one-bank": "CCP, one bank for all languages",
    "ccp-no-abn": "CCP, batch norm",
    "ccp-no-head": "CCP, no head",
    "ccp-window-1": "CCP, window 1",
    "ccp-window-5": "CCP, window 5",
    "ccp-no-dropout": "CCP, no dropout",
    "ccp-no-keep": "CCP, old vectors not kept",
    "ranking": "translation ranking on pairs",
    "ranking-ccp": "translation ranking on pairs, and CCP",
    "ranking-144": "translation ranking on 144 pairs",
    "ranking-144-ccp": "translation ranking on 144 pairs, and CCP",
}
LEVEL_NAMES = {"vectors": "A linear map of the vectors", "layers": "Adapters of the last two layers"}
# The labels of the axes of the curves.
AXES = {
    "mean_cosine": "mean cosine",
    "effective_rank": "effective rank",
    "leak": "leakage (points)",
    "context": "context accuracy (%)",
    "bitext": "bitext accuracy (%)",
}
_COLOURS = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#009E73", "#000000")

Run = dict[str, Any]


def accuracy_of(run: Run, step: str = "none") -> float:
    """Return the bitext accuracy of a run with a calibration, the mean of both directions, in per cent."""
    return statistics.mean(run["calibrations"][step]["test"])


class Runs:
    """All runs of one level."""

    def __init__(self, found: Iterable[Run], level: str) -> None:
        self._runs = {(run["row"], run["language"], run["seed"]): run for run in found if run["level"] == level}

    def __bool__(self) -> bool:
        return bool(self._runs)

    def seeds(self, row: str, language: str) -> list[int]:
        """Return the seeds of a row in a language."""
        return sorted(seed for name, code, seed in self._runs if (name, code) == (row, language))

    def languages(self, row: str) -> list[str]:
        """Return the languages of a row, in the order of the study."""
        done = {code for name, code, _ in self._runs if name == row}
        return [code for code in (*OUTSIDE, *INSIDE) if code in done]

    def run(self, row: str, language: str, seed: int = 0) -> Run:
        """Return one run."""
        return self._runs[row, language, seed]

    def gain(self, row: str, language: str, seed: int, step: str = "none") -> float:
        """Return the points of accuracy that a row gains on the encoder as it is."""
        before = self._runs.get(("before", language, seed)) or self._runs["before", language, 0]
        return accuracy_of(self.run(row, language, seed), step) - accuracy_of(before)

    def gains(self, row: str, languages: Sequence[str]) -> list[float]:
        """Return the mean gain over languages, one for each seed that all of them have."""
        seeds = set.intersection(*(set(self.seeds(row, code)) for code in languages))
        return [statistics.mean(self.gain(row, code, seed) for code in languages) for seed in sorted(seeds)]

    def mean_of(self, row: str, languages: Sequence[str], key: str) -> float:
        """Return the mean of a measurement over languages, with the first seed."""
        return statistics.mean(self.run(row, code)[key] for code in languages)

    def compared(self, *, seeds: int = 1) -> tuple[list[str], list[str]]:
        """Return rows beside "before", and the languages that all of them have, SimCSE with this many seeds."""
        languages = [code for code in self.languages("simcse") if len(self.seeds("simcse", code)) >= seeds]
        rows = [row for row in ROWS if row != "before" and set(languages) <= set(self.languages(row))]
        return rows if languages else [], languages


def _signed(values: Sequence[float]) -> str:
    mean = statistics.mean(values)
    return f"{mean:+.1f} ± {statistics.stdev(values):.1f}" if len(values) > 1 else f"{mean:+.1f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def rows_tables(runs: Runs) -> list[str]:
    """Return the tables of all rows: on all languages that they have, and on those with the most seeds."""
    most = max((len(runs.seeds("simcse", code)) for code in runs.languages("simcse")), default=1)
    tables = [_rows_table(runs, seeds) for seeds in sorted({1, most})]
    if len(tables) == 2 and runs.compared(seeds=1)[1] == runs.compared(seeds=most)[1]:
        tables = tables[1:]
    return [line for table in tables for line in (*table, "")][:-1]


def _rows_table(runs: Runs, seeds: int) -> list[str]:
    rows, languages = runs.compared(seeds=seeds)
    if not rows:
        return []
    before = statistics.mean(accuracy_of(runs.run("before", code)) for code in languages)
    lines = [
        f"Means over {', '.join(languages)} (before: {before:.1f}); ± is the standard deviation over the seeds.",
        "",
    ]
    header = ["row", "points gained", "seeds", "with French and Swahili", "held-out context", "mean cosine"]

    def across(row: str) -> float:
        return statistics.mean(runs.run(row, code)["calibrations"]["none"]["across"] for code in languages)

    body = [
        [
            ROW_NAMES[row],
            _signed(runs.gains(row, languages)),
            str(len(runs.gains(row, languages))),
            f"{across(row) - across('before'):+.1f}",
            f"{runs.mean_of(row, languages, 'context') - runs.mean_of('before', languages, 'context'):+.1f}",
            f"{runs.mean_of(row, languages, 'mean_cosine'):.2f}",
        ]
        for row in rows
    ]
    return lines + _table(header, body)


def calibration_table(runs: Runs) -> list[str]:
    """Return the table of what each calibration gains, without and with training."""
    _, languages = runs.compared()
    if not languages:
        return []
    shown = [row for row in ("before", "ccp", "simcse", "ranking") if set(languages) <= set(runs.languages(row))]
    body = []
    for step, name in STEPS.items():
        cells = []
        for row in shown:
            has = all(step in runs.run(row, code)["calibrations"] for code in languages)
            cells.append(_signed([statistics.mean(runs.gain(row, code, 0, step) for code in languages)]) if has else "")
        body.append([name, *cells])
    return _table(["calibration", *("untrained" if row == "before" else ROW_NAMES[row] for row in shown)], body)


def language_table(vectors: Runs, layers: Runs) -> list[str]:
    """Return the table of all languages: before, and what each of two rows gains at each level."""
    columns = [
        (runs, row, f"{ROW_NAMES[row]}, {level}")
        for level, runs in (("vectors", vectors), ("layers", layers))
        for row in ("ccp", "ranking")
    ]
    body = []
    for group, name in ((WEAK, "weak"), (STRONG, "others outside"), (INSIDE, "weak inside")):
        has = [code for code in group if code in vectors.languages("before")]
        rows = [
            [
                language_name(normalise_language(code.split("-")[0])),
                code,
                f"{accuracy_of(vectors.run('before', code)):.1f}",
                f"{vectors.gain('before', code, 0, 'own map'):+.1f}",
                f"{vectors.gain('before', code, 0, 'linear map on pairs'):+.1f}",
                *(f"{runs.gain(row, code, 0):+.1f}" if code in runs.languages(row) else "" for runs, row, _ in columns),
            ]
            for code in has
        ]
        body += rows
        body.append([f"**mean, {name} ({len(has)})**", "", *(_column_mean(rows, column) for column in range(2, 9))])
    everything = [row for row in body if row[1] in OUTSIDE]
    body.append(
        [
            f"**mean, all outside ({len(everything)})**",
            "",
            *(_column_mean(everything, column) for column in range(2, 9)),
        ]
    )
    return _table(
        [
            "language",
            "code",
            "before",
            "whitening towards English",
            STEPS["linear map on pairs"],
            *(name for *_, name in columns),
        ],
        body,
    )


def _column_mean(rows: Sequence[Sequence[str]], column: int) -> str:
    values = [row[column] for row in rows]
    if not rows or not all(values):
        return ""
    mean = statistics.mean(map(float, values))
    return f"{mean:.1f}" if column == 2 else f"{mean:+.1f}"


def tatoeba_table(levels: dict[str, Runs]) -> list[str]:
    """Return the table of Tatoeba, where it has the language and the runs have measured it."""
    body = []
    for level, runs in levels.items():
        for code in runs.languages("before"):
            cells = []
            for row in ("before", "ccp", "simcse", "ranking"):
                found = runs.run(row, code)["calibrations"]["none"] if code in runs.languages(row) else {}
                cells.append(f"{statistics.mean(found['tatoeba']):.1f}" if "tatoeba" in found else "")
            if cells[0]:
                body.append([code, LEVEL_NAMES[level].lower(), *cells])
    return _table(["language", "trained", "before", "CCP", "SimCSE", ROW_NAMES["ranking"]], body) if body else []


def weights_table(found: Sequence[Run]) -> list[str]:
    """Return the table of adaptations of shared weights: the gain of the language, and the change of the others."""
    body = []
    for run in found:
        changes = {code: value - run["before"][code] for code, value in run["after"].items()}
        others = [change for code, change in changes.items() if code != run["language"]]
        cells = [f"{changes[run['language']]:+.1f}", _signed([statistics.mean(others)]), f"{min(others):+.1f}"]
        cells.append(f"{run['context_after'] - run['context_before']:+.1f}")
        body.append([run["row"], run["language"], *cells])
    return _table(["row", "language", "gained", "others, mean", "others, worst", "held-out context"], body)


def curve_table(found: Sequence[Run]) -> list[str]:
    """Return the table of the last points of the curves, a row for each variant and batch size."""
    body = []
    for size in sorted({run["batch_size"] for run in found}):
        for variant in VARIANTS:
            last = [run["curve"][-1] for run in found if (run["variant"], run["batch_size"]) == (variant, size)]
            if last:
                means = [statistics.mean(point[name] for point in last) for name in MEASURED]
                body.append([variant, str(size), *(f"{mean:.2f}" for mean in means)])
    return _table(["variant", "batch", *MEASURED.values()], body)


# ------------------------------------------------------------------------------------------------------- the pictures


def draw_rows(levels: dict[str, Runs], path: Path) -> None:
    """Draw what each row gains: a panel for each level, a dot for the mean, a mark for each seed."""
    pyplot = _pyplot()
    shown = {
        level: (runs, *runs.compared(seeds=max(len(runs.seeds("simcse", code)) for code in runs.languages("simcse"))))
        for level, runs in levels.items()
        if runs.languages("simcse")
    }
    figure, panels = pyplot.subplots(1, len(shown), figsize=(5.4 * len(shown), 4.6), squeeze=False)
    for axes, (level, (runs, rows, languages)) in zip(panels[0], shown.items(), strict=True):
        rows.sort(key=lambda row, runs=runs, languages=languages: statistics.mean(runs.gains(row, languages)))
        for place, row in enumerate(rows):
            gains = runs.gains(row, languages)
            colour = _COLOURS[2] if row.startswith("ranking") else _COLOURS[0] if row.startswith("ccp") else "#777777"
            axes.plot([min(gains), max(gains)], [place, place], color=colour, linewidth=2, alpha=0.5)
            axes.plot(gains, [place] * len(gains), "|", color=colour, markersize=9)
            axes.plot(statistics.mean(gains), place, "o", color=colour)
        axes.axvline(0, color="#999999", linewidth=0.8)
        axes.set_xscale("symlog", linthresh=2, linscale=1)
        axes.set_xticks([-30, -10, -4, -2, -1, 0, 1, 2, 4, 10, 30])
        axes.xaxis.set_major_formatter(pyplot.matplotlib.ticker.FormatStrFormatter("%+d"))
        axes.set_xlim(-45, 30)
        axes.set_yticks(range(len(rows)), [ROW_NAMES[row] for row in rows], fontsize=8)
        axes.set_title(f"{LEVEL_NAMES[level]}\n{', '.join(languages)}", fontsize=9)
        axes.set_xlabel("points of bitext accuracy gained (NTREX, with English)", fontsize=8)
        _plain(axes)
    _save(figure, path)


def draw_languages(runs: Runs, path: Path) -> None:
    """Draw every language: before, after context prediction, and after translation ranking on as many pairs."""
    pyplot = _pyplot()
    languages = [code for code in runs.languages("before") if code in OUTSIDE and code in runs.languages("ranking")]
    languages.sort(key=lambda code: accuracy_of(runs.run("before", code)))
    figure, axes = pyplot.subplots(figsize=(7.2, 0.24 * len(languages) + 1.2))
    shown = {
        "before": ("before", "#777777"),
        "ccp": ("after CCP", _COLOURS[0]),
        "ranking": ("after translation ranking on as many pairs", _COLOURS[2]),
    }
    for place, code in enumerate(languages):
        ends = [accuracy_of(runs.run(row, code)) for row in ("before", "ranking")]
        axes.plot(ends, [place, place], color="#CCCCCC", linewidth=1.5, zorder=1)
    for row, (label, colour) in shown.items():
        points = [(accuracy_of(runs.run(row, code)), place) for place, code in enumerate(languages)]
        axes.scatter(*zip(*points, strict=True), color=colour, s=26, label=label, zorder=2)
    axes.set_yticks(
        range(len(languages)), [language_name(normalise_language(code.split("-")[0])) for code in languages], fontsize=8
    )
    axes.set_xlabel("bitext accuracy with English on the last fifth of NTREX-128, in per cent")
    axes.legend(frameon=False, loc="lower right", fontsize=8)
    axes.set_xlim(0, 100)
    _plain(axes)
    _save(figure, path)


def draw_curves(found: Sequence[Run], path: Path) -> None:
    """Draw the curves of all runs: a row for each measure, a column for each language and batch size."""
    pyplot = _pyplot()
    columns = sorted({(run["language"], run["batch_size"]) for run in found})
    figure, grid = pyplot.subplots(
        len(AXES), len(columns), figsize=(2.9 * len(columns), 2 * len(AXES)), sharex=True, sharey="row", squeeze=False
    )
    for row, (measure, label) in enumerate(AXES.items()):
        for column, (language, size) in enumerate(columns):
            axes = grid[row][column]
            for colour, variant in zip(_COLOURS, VARIANTS, strict=True):
                for one in found:
                    if (one["variant"], one["language"], one["batch_size"]) == (variant, language, size):
                        axes.plot(
                            [point["step"] for point in one["curve"]],
                            [point[measure] for point in one["curve"]],
                            color=colour,
                            linestyle="--" if VARIANTS[variant].get("bank") == 0 else "-",
                            label=variant if row == column == 0 else None,
                        )
            _plain(axes)
            if row == 0:
                axes.set_title(f"{language}, batches of {size}", fontsize=9)
            if row == len(AXES) - 1:
                axes.set_xlabel("step")
            if column == 0:
                axes.set_ylabel(label)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    _save(figure, path)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    return pyplot


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#DDDDDD", linewidth=0.6)


def _save(figure: Any, path: Path) -> None:
    figure.set_layout_engine("constrained")
    write_atomically(path, lambda target: figure.savefig(target, dpi=110, format="png"))
    _pyplot().close(figure)


def main(
    runs: Annotated[Path, typer.Option(help="What ccp_adaptation.py has written.")] = Path("runs/ccp-adaptation"),
    curves: Annotated[Path, typer.Option(help="What ccp_curves.py has written.")] = Path("runs/ccp-curves"),
    weights: Annotated[Path, typer.Option(help="What ccp_weights.py has written.")] = Path("runs/ccp-weights"),
    output: Annotated[Path, typer.Option()] = Path("eval/results/ccp-adaptation"),
) -> None:
    """Write the tables and pictures of all finished runs."""
    found, of_curves, of_weights = (
        [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
        for folder in (runs, curves, weights)
    )
    output.mkdir(parents=True, exist_ok=True)
    levels = {level: Runs(found, level) for level in LEVELS}
    lines = [
        "# Adaptation by monolingual text: tables",
        "",
        "Bitext accuracy in per cent is with English on the last fifth of NTREX-128, the mean of both directions. What "
        "is gained or lost is in points of it, against the encoder as it is.",
    ]
    sections = {
        **{LEVEL_NAMES[level]: rows_tables(own) for level, own in levels.items() if own},
        "Calibrations, vectors": calibration_table(levels["vectors"]),
        "By language": language_table(levels["vectors"], levels["layers"]),
        "Tatoeba": tatoeba_table(levels),
        "Shared weights of the last two layers": weights_table(of_weights) if of_weights else [],
        "Collapse and leakage": curve_table(of_curves) if of_curves else [],
    }
    for title, table in sections.items():
        if table:
            lines += ["", f"## {title}", "", *table]
    write_text_atomically(output / "tables.md", "\n".join(lines) + "\n")
    write_text_atomically(output / "runs.json", json.dumps([_short(run) for run in found]))
    draw_rows(levels, output / "rows.png")
    if levels["vectors"].languages("ranking"):
        draw_languages(levels["vectors"], output / "languages.png")
    if of_weights:
        write_text_atomically(output / "weights.json", json.dumps(of_weights))
    if of_curves:
        write_text_atomically(output / "curves.json", json.dumps(of_curves))
        draw_curves(of_curves, output / "curves.png")
    print(f"{len(found)} runs and {len(of_curves)} curves")


def _short(run: Run) -> Run:
    """Return a run without its curve, its numbers at four digits."""
    return json.loads(json.dumps({key: value for key, value in run.items() if key != "curve"}), parse_float=_rounded)


def _rounded(digits: str) -> float:
    return float(f"{float(digits):.4g}")


if __name__ == "__main__":
    typer.run(main)
