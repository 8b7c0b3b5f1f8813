"""Measure what each part of contrastive context prediction contributes: train every variant with three seeds.

    python scripts/ccp_ablation.py --data DIR [--runs runs/ccp-ablation] [--seeds 3]
        [--output eval/results/ccp-ablation] [--quick]
    python scripts/ccp_ablation.py --report-only [--runs ...] [--seeds 3] [--output ...]

The base is the recipe `ccp-ablation`; each variant changes one of its settings. Trained runs and their measurements are
kept in --runs and never repeated. A run that was made with another recipe than the present one is an error. The
calibrations are fitted again on the base's own encoders. `findings.md` in --output is written by hand and included in
the README unchanged. --quick trains 20 steps, as a trial; give it other folders for --runs and --output.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from torch.nn import functional

from mlret.data.durable import write_atomically, write_text_atomically
from mlret.data.sample import load_sample
from mlret.doctor import examine
from mlret.encoders.calibration import Calibration
from mlret.encoders.encoder import Encoder
from mlret.encoders.loading import load_encoder
from mlret.errors import InputError, MlretError
from mlret.eval.benchmarks.tatoeba_joined import evaluate_joined
from mlret.eval.benchmarks.tatoeba_scores import all_texts, evaluate_tatoeba
from mlret.eval.readers.tatoeba_data import XTREME_36, TatoebaPairs, read_tatoeba
from mlret.eval.sample import evaluate_sample
from mlret.eval.scorers import EncodedTexts
from mlret.index.index import Index
from mlret.recipes import find_recipe
from mlret.training.backbones.backbone import trainable
from mlret.training.batches.packed import PackedDocuments
from mlret.training.batches.pairs import ContextPairs, Padding
from mlret.training.calibrate import fit_calibration
from mlret.training.recipe import CalibrationSettings, Recipe, read_recipe
from mlret.training.run import train
from mlret.training.stages import ContextStage
from mlret.training.text.training_text import prepare_text

BASE = "full"
VARIANTS: dict[str, dict[str, Any]] = {
    BASE: {},
    "no bank": {"bank": 0},
    "one bank for all": {"bank_per_language": False},
    "no ABN": {"asymmetric_batch_norm": False},
    "w = 1": {"window": 1},
    "w = 5": {"window": 5},
    # One step that changes nothing measures what the tokenizer and random vectors achieve without training.
    "untrained": {"steps": 1, "learning_rate": 1e-12, "embedding_learning_rate": 1e-12},
}
# Further variants that are not in the paper, trained with the first seed only.
PROBES: dict[str, dict[str, Any]] = {
    "statistics by language": {"statistics_per_language": True, "batch_norm_warmup": 5},
    "no final batch norm": {"final_batch_norm": False},
}
CALIBRATIONS: dict[str, tuple[str, ...]] = {
    "no calibration": (),
    "shift": ("shift",),
    "shift, scale": ("shift", "scale"),
    "shift, scale, rotate": ("shift", "scale", "rotate"),
}
# The calibration used where the table compares variants: the first two steps of the paper.
DEFAULT_CALIBRATION = "shift, scale"
RETRIEVAL = {
    "tatoeba": "Tatoeba-36",
    "joined": "non-English pairs",
    "recall@1": "demo recall@1",
    "recall@5": "demo recall@5",
    "mrr@10": "demo MRR@10",
}
MONITORS = {
    "context": "held-out context",
    "pretext_accuracy": "pretext accuracy",
    "trained_accuracy": "trained",
    "held_out_accuracy": "held-out",
    "leakage": "leakage",
    "mean_cosine": "mean cosine",
    "effective_rank": "effective rank",
}
# The number of candidates of the other accuracies depends on the bank and the window, so they cannot be compared
# between variants.
COMPARABLE_MONITORS = {"context", "mean_cosine", "effective_rank"}
_LAST_LOGS = 5
_QUICK_STEPS = 20
Scores = dict[str, dict[str, float]]
# Label of a row -> (scores of each seed, the part of these scores that the row shows).
Entries = dict[str, tuple[list[Scores], str]]


def recipe_of(base: Recipe, variant: str, seed: int) -> Recipe:
    """Return the base recipe with the settings of a variant and a seed."""
    settings = base.model_dump()
    settings["seed"] = seed
    settings["stages"][0] |= (VARIANTS | PROBES)[variant]
    return Recipe.model_validate(settings)


def jobs(seeds: int) -> list[tuple[str, int]]:
    """Return all pairs of a variant and a seed; probes have the first seed only."""
    return [(variant, seed) for seed in range(seeds) for variant in (VARIANTS | PROBES if seed == 0 else VARIANTS)]


def folder_of(runs: Path, variant: str, seed: int) -> Path:
    """Return the folder of a variant's run."""
    return runs / f"{variant.replace(' = ', '').replace(' ', '-')}-{seed}"


def share_preparation(first: Path, other: Path, recipe: Recipe) -> None:
    """Hard-link the text, tokenizer and token ids of one run into another that needs the same."""
    if other.exists():
        return
    # Renamed when complete, because train() refuses a folder without recipe.json as not its own.
    beside = other.with_name(other.name + ".partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    for part in ("text", "tokenizer", "tokens"):
        shutil.copytree(first / part, beside / part, copy_function=os.link)
    (beside / "recipe.json").write_text(recipe.model_dump_json(indent=1), encoding="utf-8")
    beside.replace(other)


def stored_scores(folder: Path, recipe: Recipe) -> Scores | None:
    """Return the stored scores of a run; ``None`` if it has not been measured.

    Raises
    ------
    InputError
        If the run was made with another recipe.
    """
    if not (folder / "scores.json").is_file():
        return None
    if (folder / "recipe.json").read_text(encoding="utf-8") != recipe.model_dump_json(indent=1):
        raise InputError(f"{folder} was measured with another recipe: name another --runs, or remove it")
    scores: Scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    return scores


def train_all(base: Recipe, data: Path, runs: Path, seeds: int, console: Console) -> None:
    """Train the runs that are not trained yet."""
    first = folder_of(runs, BASE, 0)
    for variant, seed in jobs(seeds):
        folder, recipe = folder_of(runs, variant, seed), recipe_of(base, variant, seed)
        if stored_scores(folder, recipe) is not None:
            continue
        # Only train() knows whether a run is complete; the folder of a model may exist before.
        console.rule(f"{variant}, seed {seed}")
        if folder != first:
            share_preparation(first, folder, recipe)
        train(recipe, data, folder, say=lambda line: console.print(line, markup=False, highlight=False))


def monitors_of(folder: Path) -> dict[str, float]:
    """Return the mean of each monitor over the last logs that contain it."""
    stage = next((folder / "stages").iterdir())
    history = json.loads((stage / "done.json").read_text(encoding="utf-8"))["history"]
    found = {}
    for key in MONITORS:
        if values := [entry[key] for entry in history if key in entry][-_LAST_LOGS:]:
            found[key] = statistics.mean(values)
    return found


@torch.inference_mode()
def context_accuracy(folder: Path, base: Recipe) -> float:
    """Return how often the nearest neighbour of a held-out sentence is its own context, as the mean over languages.

    Sentences are compared by cosine of the stored embeddings, after centring each language and side. The documents are
    those that this run was not trained on; the window is always that of the base.
    """
    model = trainable(load_encoder(folder / "model").model)[0].eval()
    tokenizer = model.tokenizer
    languages = json.loads((folder / "text" / "statistics.json").read_text(encoding="utf-8"))["statistics"]["documents"]
    documents = PackedDocuments.prepare((), languages, tokenizer, folder / "tokens", max_length=128)
    stage = base.stages[0]
    assert isinstance(stage, ContextStage)
    pairs, padding = ContextPairs(documents, stage, seed=base.seed), Padding(tokenizer, max_length=stage.max_length)
    accuracies = []
    for rows in pairs.held_out.pairs.values():
        vectors = [model(padding.features(pairs.texts, rows[:, side]))["sentence_embedding"].float() for side in (0, 1)]
        a, b = (functional.normalize(v - v.mean(dim=0), dim=1) for v in vectors)
        scores = a @ b.T
        right = torch.arange(len(scores))
        accuracies += [float((scores.argmax(dim=way) == right).float().mean()) for way in (0, 1)]
    return statistics.mean(accuracies)


def calibrated_ways(folder: Path, base: Recipe, data: Path, variant: str) -> Iterator[tuple[str, Encoder]]:
    """Yield the encoder of a run with each of the calibrations in turn."""
    if variant != BASE:
        encoder = load_encoder(folder / "model")
        ways = ["no calibration", DEFAULT_CALIBRATION]
    else:
        model = load_encoder(folder / "model").model
        text = prepare_text(base, data, folder / "text")
        settings = CalibrationSettings(sentences=2000, shift=True, scale=True, rotate=True)
        calibration = fit_calibration(trainable(load_encoder(folder / "model").model)[0], text, settings, seed=0)
        assert calibration is not None
        model[-1] = calibration
        encoder, ways = Encoder(model, name=str(folder)), list(CALIBRATIONS)
    calibration = encoder.model[-1]
    assert isinstance(calibration, Calibration)
    fitted = {"shift", "scale"} | ({"rotate"} if variant == BASE else set())
    for way in ways:
        for step in fitted:
            setattr(calibration, step, step in CALIBRATIONS[way])
        yield way, encoder


def measure(folder: Path, base: Recipe, data: Path, variant: str, tatoeba: list[TatoebaPairs]) -> Scores:
    """Return the scores for each calibration, and the monitors."""
    scores: Scores = {"monitors": monitors_of(folder) | {"context": context_accuracy(folder, base)}}
    texts: EncodedTexts | None = None
    sample = load_sample()
    for way, encoder in calibrated_ways(folder, base, data, variant):
        if texts is None:
            texts = EncodedTexts(encoder, all_texts(tatoeba))
        average = evaluate_tatoeba(texts, tatoeba).averages["xtreme_36"]
        joined = evaluate_joined(texts, tatoeba)
        raw = way == "no calibration"
        with (
            tempfile.TemporaryDirectory() as temporary,
            Index.create(Path(temporary) / "demo", Encoder(encoder.model, name=way)) as index,
        ):
            index.add(sample.passages)
            demo = evaluate_sample(index, sample).mean()
        accuracy = average.raw if raw else average.calibrated
        scores[way] = {
            "tatoeba": accuracy.mean if accuracy else 0.0,
            "joined": (joined.raw if raw else joined.calibrated) or 0.0,
        } | demo
    return scores


def measure_all(base: Recipe, data: Path, runs: Path, seeds: int, console: Console) -> None:
    """Measure the runs that have not been measured."""
    tatoeba = read_tatoeba(data / "tatoeba", languages=list(XTREME_36))
    for variant, seed in jobs(seeds):
        folder = folder_of(runs, variant, seed)
        if stored_scores(folder, recipe_of(base, variant, seed)) is None:
            console.print(f"measuring {variant}, seed {seed}", highlight=False)
            found = measure(folder, recipe_of(base, BASE, seed), data, variant, tatoeba)
            write_text_atomically(folder / "scores.json", json.dumps(found, indent=1))


def read_scores(base: Recipe, runs: Path, seeds: int) -> dict[str, list[Scores]]:
    """Return variant -> scores of each seed.

    Raises
    ------
    InputError
        If a run has not been measured, or was made with another recipe.
    """
    scores: dict[str, list[Scores]] = {variant: [] for variant in VARIANTS | PROBES}
    for variant, seed in jobs(seeds):
        folder = folder_of(runs, variant, seed)
        found = stored_scores(folder, recipe_of(base, variant, seed))
        if found is None:
            raise InputError(f"{folder} has no scores.json: run without --report-only to train and measure it")
        scores[variant].append(found)
    return scores


def summary(values: list[float]) -> tuple[float, float]:
    """Return the mean and the standard deviation over seeds."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def stands_out(values: list[float], base: list[float]) -> bool:
    """Return whether two means differ by more than twice the pooled deviation; ``False`` for a single seed."""
    if min(len(values), len(base)) < 2:
        return False
    (mean, deviation), (other, spread) = summary(values), summary(base)
    return abs(mean - other) > 2 * math.sqrt((deviation**2 + spread**2) / 2)


def cell(values: list[float], base: list[float] | None, scale: float) -> str:
    """Format ``mean ± deviation``, in bold if it :func:`stands_out` from the base.

    A single seed has no deviation and is never bold.
    """
    mean, deviation = summary(values)
    digits = 1 if scale > 1 else 2
    if len(values) == 1:
        return f"{scale * mean:.{digits}f}"
    text = f"{scale * mean:.{digits}f} ± {scale * deviation:.{digits}f}"
    return f"**{text}**" if base and stands_out(values, base) else text


def difference(values: list[float | None], base: list[float | None], scale: float) -> str:
    """Format the mean and range of the differences to the base, seed by seed, so that the seed's own effect cancels."""
    found = [scale * (a - b) for a, b in zip(values, base, strict=False) if a is not None and b is not None]
    if not found:
        return "-"
    digits = 1 if scale > 1 else 2
    return f"{statistics.mean(found):+.{digits}f} [{min(found):+.{digits}f}, {max(found):+.{digits}f}]"


def by_seed(runs: list[Scores], part: str, key: str) -> list[float | None]:
    """Return one score of each seed; ``None`` where it was not measured."""
    return [run.get(part, {}).get(key) for run in runs]


def measured(values: list[float | None]) -> list[float]:
    """Return the values that are not ``None``."""
    return [value for value in values if value is not None]


def tables(scores: dict[str, list[Scores]]) -> str:
    """Return the Markdown tables of variants, calibrations and monitors, each with the differences to its base."""

    def rows(entries: Entries, names: dict[str, str], show: Callable[[str, list[float | None]], str]) -> list[str]:
        lines = ["| | " + " | ".join(names.values()) + " |", "|---" * (len(names) + 1) + "|"]
        for label, entry in entries.items():
            lines.append(f"| {label} | " + " | ".join(show(key, by_seed(*entry, key)) for key in names) + " |")
        return lines

    def block(title: str, entries: Entries, names: dict[str, str], scale: float, base: str) -> list[str]:
        reference = {key: by_seed(*entries[base], key) for key in names}
        compared = {key: name for key, name in names.items() if key not in MONITORS or key in COMPARABLE_MONITORS}
        others = {label: entry for label, entry in entries.items() if label != base}

        def absolute(key: str, values: list[float | None]) -> str:
            own, other = measured(values), measured(reference[key]) if key in compared else []
            return cell(own, other, scale) if own else "-"

        return [
            f"## {title}\n",
            *rows(entries, names, absolute),
            f"\nDifference to `{base}`, seed by seed: mean [least, greatest].\n",
            *rows(others, compared, lambda key, values: difference(values, reference[key], scale)),
            "",
        ]

    ways = {f"{v}": (runs, DEFAULT_CALIBRATION) for v, runs in scores.items()}
    raw = {f"{v}": (runs, "no calibration") for v, runs in scores.items()}
    calibrations = {way: (scores[BASE], way) for way in CALIBRATIONS}
    monitors = {v: (runs, "monitors") for v, runs in scores.items()}
    return "\n".join(
        [
            *block(f"Variants, calibrated ({DEFAULT_CALIBRATION})", ways, RETRIEVAL, 100, BASE),
            *block("Variants, not calibrated", raw, RETRIEVAL, 100, BASE),
            *block(f"Calibrations of `{BASE}`", calibrations, RETRIEVAL, 100, "no calibration"),
            *block("Monitors at the end of training", monitors, MONITORS, 1, BASE),
        ]
    )


def in_words(scores: dict[str, list[Scores]]) -> str:
    """Describe which variants and calibrations stand out on Tatoeba-36, and in which direction."""
    if len(scores[BASE]) < 2:
        return "One seed: how far runs of one variant lie apart is not known, so no difference is judged.\n"

    def sentence(entries: Entries, base: str) -> str:
        reference = measured(by_seed(*entries[base], "tatoeba"))
        apart: list[str] = []
        alike: list[str] = []
        for label, entry in entries.items():
            values = measured(by_seed(*entry, "tatoeba"))
            if label == base or len(values) < 2:
                continue
            points = 100 * (statistics.mean(values) - statistics.mean(reference))
            named = f"{label} ({points:+.1f})"
            (apart if stands_out(values, reference) else alike).append(named)
        return (
            f"Against `{base}` ({100 * statistics.mean(reference):.1f} %): beyond twice the pooled deviation "
            f"{', '.join(apart) or 'none'}; within it {', '.join(alike) or 'none'}."
        )

    variants = {variant: (runs, DEFAULT_CALIBRATION) for variant, runs in scores.items()}
    ways = {way: (scores[BASE], way) for way in CALIBRATIONS}
    return f"On Tatoeba-36, in points. {sentence(variants, BASE)} {sentence(ways, 'no calibration')}\n"


def plot(scores: dict[str, list[Scores]], path: Path) -> None:
    """Plot a mark for each seed and a bar at their mean, by variant and calibration, in one panel for each measure.

    A seed has the same mark in every row, because its runs are compared with each other. Written as PNG and SVG.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    panels = [
        ("tatoeba", RETRIEVAL["tatoeba"] + " (%)", 100),
        ("joined", RETRIEVAL["joined"] + " (%)", 100),
        ("mrr@10", RETRIEVAL["mrr@10"] + " (%)", 100),
        ("context", "held-out context (%)", 100),
        ("leakage", "leakage", 1),
        ("effective_rank", "effective rank", 1),
    ]
    lines: list[tuple[str, list[Scores], str, str]] = [
        (v, runs, DEFAULT_CALIBRATION, "#0072b2") for v, runs in scores.items()
    ]
    lines += [(way, scores[BASE], way, "#d55e00") for way in CALIBRATIONS if way != DEFAULT_CALIBRATION]
    marks = "osD^vP"
    figure, axes = pyplot.subplots(1, len(panels), figsize=(14, 4.2), sharey=True)
    for axis, (key, title, scale) in zip(axes, panels, strict=True):
        for row, (_, runs, way, colour) in enumerate(lines):
            part = "monitors" if key in MONITORS else way
            if key in MONITORS and row >= len(scores):
                continue  # training does not depend on the calibration
            values = [(seed, scale * value) for seed, value in enumerate(by_seed(runs, part, key)) if value is not None]
            for seed, value in values:
                mark = marks[seed % len(marks)]
                axis.plot(value, row, mark, color=colour, alpha=0.55, markersize=6, markeredgewidth=0)
            if values:
                mean = statistics.mean(value for _, value in values)
                axis.plot([mean] * 2, [row - 0.3, row + 0.3], color=colour, linewidth=2)
                if row == 0:
                    axis.axvline(mean, color="#888888", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0.5)
        axis.axhline(len(scores) - 0.5, color="#dddddd", linewidth=0.6)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.set_title(title, fontsize=10)
        axis.grid(axis="x", color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.tick_params(length=0, labelsize=9)
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
    labels = [label if row < len(scores) else f"full: {label}" for row, (label, *_) in enumerate(lines)]
    axes[0].set_yticks(range(len(lines)), labels)
    axes[0].set_ylim(len(lines) - 0.5, -0.5)
    seeds = [
        Line2D([], [], marker=marks[seed % len(marks)], color="#666666", linestyle="", label=f"seed {seed}")
        for seed in range(len(scores[BASE]))
    ]
    figure.legend(handles=seeds, loc="lower left", ncols=len(seeds), frameon=False, fontsize=8, handletextpad=0.1)
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    with mpl.rc_context({"svg.hashsalt": "mlret"}):
        for form, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            target = path.with_suffix(f".{form}")
            write_atomically(target, lambda to: figure.savefig(to, dpi=130, format=form, metadata=metadata))  # noqa: B023
    pyplot.close(figure)


def report(scores: dict[str, list[Scores]], output: Path, command: str) -> None:
    """Write the README, the figures and the plots."""
    output.mkdir(parents=True, exist_ok=True)
    found = examine()
    content = {"scores": scores, "machine": found.machine, "versions": found.versions}
    write_text_atomically(output / "ablation.json", json.dumps(content, indent=1) + "\n")
    plot(scores, output / "ablation.png")
    findings = output / "findings.md"
    seeds = len(scores[BASE])
    write_text_atomically(
        output / "README.md",
        "\n".join(
            [
                "# CCP, part by part\n",
                findings.read_text(encoding="utf-8") if findings.is_file() else "",
                in_words(scores),
                "![Marks are seeds, bars their means, the dashed line is full's.](ablation.png)\n",
                f"Mean ± standard deviation over {seeds} seeds; accuracies in percent, retrieval of the demo over its "
                "132 pairs of different languages; bold where the difference to the first row of the table is more "
                "than twice the pooled deviation; without a deviation, one seed. Tatoeba-36 is the mean of both "
                "directions over XTREME's 36 languages; non-English pairs are joined on the English side (149 pairs "
                "of languages, all sentences of the other language as candidates). The monitors are means of the last "
                f"{_LAST_LOGS} logs, each of one language, which the seed decides. Accuracy of training, and with it "
                "leakage, depends on how many candidates the bank gives and how far the window reaches: compare it "
                "within a row, not between rows.\n",
                tables(scores),
                f"Made by `{command}` from the recipe [`ccp-ablation`](../../../training/ccp-ablation.yaml); every "
                "score by seed is in [`ablation.json`](ablation.json). Report written on: "
                f"{', '.join(f'{key} {value}' for key, value in found.machine.items())}.\n",
            ]
        ),
    )


def main(
    data: Annotated[
        Path | None, typer.Option("--data", help="The folder that the recipe's file patterns are relative to.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/ccp-ablation"),
    output: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("eval/results/ccp-ablation"),
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each variant.")] = 3,
    report_only: Annotated[bool, typer.Option("--report-only", help="Only write the report.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help=f"{_QUICK_STEPS} steps, to see that it works.")] = False,
) -> None:
    """Train every variant of CCP, measure them, and write the report."""
    console = Console(stderr=True)
    changes = [f"stages.0.steps={_QUICK_STEPS}"] if quick else []
    base = read_recipe(find_recipe("ccp-ablation", "training"), changes)
    if not report_only:
        if data is None:
            raise typer.BadParameter("training and measuring need the folder of the data", param_hint="--data")
        train_all(base, data, runs, seeds, console)
        measure_all(base, data, runs, seeds, console)
    report(read_scores(base, runs, seeds), output, f"python scripts/ccp_ablation.py --data DIR{' --quick' * quick}")
    console.print(f"wrote {output / 'README.md'}")


if __name__ == "__main__":
    try:
        typer.run(main)
    except MlretError as error:
        sys.exit(f"error: {error}")
