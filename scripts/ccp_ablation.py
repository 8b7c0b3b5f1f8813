"""What each part of contrastive context prediction is worth: train every variant with three seeds, measure, report.

    python scripts/ccp_ablation.py --data ../shared/data [--runs runs/ccp-ablation] [--seeds 3]
        [--output eval/results/ccp-ablation] [--report-only]

The base is the recipe `ccp-ablation`; each variant changes one key of it. What is trained is kept in --runs and never
trained twice; neither is it measured twice. The calibrations are fitted anew on the base's own encoders. `findings.md`
in --output is written by hand and goes into the README as it is.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from torch.nn import functional

from mlret.data.sample import load_sample
from mlret.doctor import examine
from mlret.encoders.calibration import Calibration
from mlret.encoders.encoder import Encoder, load_encoder
from mlret.eval.sample import evaluate_sample
from mlret.eval.tatoeba import evaluate_tatoeba
from mlret.eval.tatoeba_data import XTREME_36, TatoebaPairs, read_tatoeba
from mlret.eval.tatoeba_joined import evaluate_joined
from mlret.eval.vectors import EncodedTexts
from mlret.index.index import Index
from mlret.recipes import find_recipe
from mlret.training.backbone import trainable
from mlret.training.calibrate import fit_calibration
from mlret.training.pack import PackedDocuments
from mlret.training.pairs import ContextPairs, Padding
from mlret.training.recipe import CalibrationSettings, ContextStage, Recipe, read_recipe
from mlret.training.run import train
from mlret.training.text import prepare_text

BASE = "full"
VARIANTS: dict[str, dict[str, Any]] = {
    BASE: {},
    "no bank": {"bank": 0},
    "one bank for all": {"bank_per_language": False},
    "no ABN": {"asymmetric_batch_norm": False},
    "w = 1": {"window": 1},
    "w = 5": {"window": 5},
    "statistics by language": {"statistics_per_language": True, "batch_norm_warmup": 5},
    "no final batch norm": {"final_batch_norm": False},
}
CALIBRATIONS: dict[str, tuple[str, ...]] = {
    "no calibration": (),
    "shift": ("shift",),
    "shift, scale": ("shift", "scale"),
    "shift, scale, rotate": ("shift", "scale", "rotate"),
}
# How each variant is calibrated where the table compares variants: as the paper's first two steps.
DEFAULT_CALIBRATION = "shift, scale"
RETRIEVAL = {
    "tatoeba": "Tatoeba-36",
    "joined": "non-English pairs",
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
_LAST_LOGS = 5
Scores = dict[str, dict[str, float]]


def recipe_of(base: Recipe, variant: str, seed: int) -> Recipe:
    """The base with one key of its stage changed, and a seed."""
    settings = base.model_dump()
    settings["seed"] = seed
    settings["stages"][0] |= VARIANTS[variant]
    return Recipe.model_validate(settings)


def folder_of(runs: Path, variant: str, seed: int) -> Path:
    """Where a variant's run is."""
    return runs / f"{variant.replace(' = ', '').replace(' ', '-')}-{seed}"


def share_preparation(first: Path, other: Path, recipe: Recipe) -> None:
    """Give a run the text, tokenizer and token ids of another, which has the same of them, by hard links."""
    if other.exists():
        return
    other.mkdir(parents=True)
    for part in ("text", "tokenizer", "tokens"):
        shutil.copytree(first / part, other / part, copy_function=os.link)
    (other / "recipe.json").write_text(recipe.model_dump_json(indent=1), encoding="utf-8")


def train_all(base: Recipe, data: Path, runs: Path, seeds: int, console: Console) -> None:
    """Train what is not trained yet."""
    first = folder_of(runs, BASE, 0)
    for seed in range(seeds):
        for variant in VARIANTS:
            folder, recipe = folder_of(runs, variant, seed), recipe_of(base, variant, seed)
            if (folder / "model").is_dir():
                continue
            console.rule(f"{variant}, seed {seed}")
            if folder != first:
                share_preparation(first, folder, recipe)
            train(recipe, data, folder, say=lambda line: console.print(line, markup=False, highlight=False))


def monitors_of(folder: Path) -> dict[str, float]:
    """The mean of each monitor over the last logs that have it."""
    stage = next((folder / "stages").iterdir())
    history = json.loads((stage / "done.json").read_text(encoding="utf-8"))["history"]
    found = {}
    for key in MONITORS:
        values = [entry[key] for entry in history if key in entry][-_LAST_LOGS:]
        if values:
            found[key] = statistics.mean(values)
    return found


@torch.inference_mode()
def context_accuracy(folder: Path, base: Recipe) -> float:
    """How often a held-out sentence's neighbour is its nearest among the neighbours of all: mean over languages.

    By cosine of the embeddings as they are kept, each language and side centred; the documents that this run did not
    train on, and the base's window, whatever the run's own.
    """
    model = trainable(load_encoder(folder / "model").model).eval()
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
    """The encoder of a run, under one calibration after another."""
    if variant != BASE:
        encoder = load_encoder(folder / "model")
        ways = ["no calibration", DEFAULT_CALIBRATION]
    else:
        model = load_encoder(folder / "model").model
        text = prepare_text(base, data, folder / "text")
        settings = CalibrationSettings(sentences=2000, shift=True, scale=True, rotate=True)
        calibration = fit_calibration(trainable(load_encoder(folder / "model").model), text, settings, seed=0)
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
    """Scores by calibration, and the monitors."""
    scores: Scores = {"monitors": monitors_of(folder) | {"context": context_accuracy(folder, base)}}
    texts: EncodedTexts | None = None
    sample = load_sample()
    for way, encoder in calibrated_ways(folder, base, data, variant):
        if texts is None:
            texts = EncodedTexts(encoder, [s for p in tatoeba for s in (*p.sentences, *p.english)])
        average = evaluate_tatoeba(encoder, tatoeba, texts=texts).averages["xtreme_36"]
        joined = evaluate_joined(texts, tatoeba)
        raw = way == "no calibration"
        with Index.create(folder / "demo.index", Encoder(encoder.model, name=way)) as index:
            index.add(sample.passages)
            demo = evaluate_sample(index, sample).mean()
        shutil.rmtree(folder / "demo.index")
        accuracy = average.raw if raw else average.calibrated
        scores[way] = {
            "tatoeba": accuracy.mean if accuracy else 0.0,
            "joined": (joined.raw if raw else joined.calibrated) or 0.0,
            "recall@5": demo["recall@5"],
            "mrr@10": demo["mrr@10"],
        }
    return scores


def measure_all(base: Recipe, data: Path, runs: Path, seeds: int, console: Console) -> dict[str, list[Scores]]:
    """Variant -> scores of each seed."""
    tatoeba = [pair for pair in read_tatoeba(data / "tatoeba") if pair.label in XTREME_36]
    scores: dict[str, list[Scores]] = {variant: [] for variant in VARIANTS}
    for variant in VARIANTS:
        for seed in range(seeds):
            folder = folder_of(runs, variant, seed)
            kept = folder / "scores.json"
            if not kept.is_file():
                console.print(f"measuring {variant}, seed {seed}", highlight=False)
                found = measure(folder, recipe_of(base, BASE, seed), data, variant, tatoeba)
                kept.write_text(json.dumps(found, indent=1), encoding="utf-8")
            scores[variant].append(json.loads(kept.read_text(encoding="utf-8")))
    return scores


def summary(values: list[float]) -> tuple[float, float]:
    """Mean and standard deviation over seeds."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def cell(values: list[float], base: list[float] | None, scale: float) -> str:
    """``mean ± deviation``; bold where it lies further from the base than twice the pooled deviation."""
    mean, deviation = summary(values)
    text = f"{scale * mean:.1f} ± {scale * deviation:.1f}" if scale > 1 else f"{mean:.2f} ± {deviation:.2f}"
    if base is None:
        return text
    other, spread = summary(base)
    pooled = ((deviation**2 + spread**2) / 2) ** 0.5
    return f"**{text}**" if abs(mean - other) > 2 * pooled else text


def tables(scores: dict[str, list[Scores]]) -> str:
    """The Markdown tables: variants, calibrations, monitors."""

    def rows(
        entries: dict[str, tuple[list[Scores], str]], names: dict[str, str], scale: float, base: str | None
    ) -> list[str]:
        lines = ["| | " + " | ".join(names.values()) + " |", "|---" * (len(names) + 1) + "|"]
        for label, (runs, part) in entries.items():
            cells = []
            for key in names:
                values = [run[part][key] for run in runs if key in run[part]]
                reference = None if base in (None, label) else [r[entries[base][1]][key] for r in entries[base][0]]
                cells.append(cell(values, reference, scale) if values else "-")
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
        return lines

    ways = {f"{v}": (runs, DEFAULT_CALIBRATION) for v, runs in scores.items()}
    raw = {f"{v}": (runs, "no calibration") for v, runs in scores.items()}
    calibrations = {way: (scores[BASE], way) for way in CALIBRATIONS}
    monitors = {v: (runs, "monitors") for v, runs in scores.items()}
    return "\n".join(
        [
            f"## Variants, calibrated ({DEFAULT_CALIBRATION})\n", *rows(ways, RETRIEVAL, 100, BASE), "",
            "## Variants, not calibrated\n", *rows(raw, RETRIEVAL, 100, BASE), "",
            f"## Calibrations of `{BASE}`\n", *rows(calibrations, RETRIEVAL, 100, "no calibration"), "",
            "## Monitors at the end of training\n", *rows(monitors, MONITORS, 1, BASE), "",
        ]
    )  # fmt: skip


def plot(scores: dict[str, list[Scores]], path: Path) -> None:
    """Dots of the seeds and a bar at their mean, variants and calibrations below each other, a panel a measure."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

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
    figure, axes = pyplot.subplots(1, len(panels), figsize=(14, 3.6), sharey=True)
    for axis, (key, title, scale) in zip(axes, panels, strict=True):
        for row, (_, runs, way, colour) in enumerate(lines):
            part = "monitors" if key in MONITORS else way
            if key in MONITORS and row >= len(scores):
                continue  # a calibration does not change training
            values = [scale * run[part][key] for run in runs if key in run[part]]
            if values:
                axis.plot(values, [row] * len(values), "o", color=colour, alpha=0.55, markersize=6, markeredgewidth=0)
                axis.plot([statistics.mean(values)] * 2, [row - 0.3, row + 0.3], color=colour, linewidth=2)
        axis.set_title(title, fontsize=10)
        axis.grid(axis="x", color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.tick_params(length=0, labelsize=9)
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
    labels = [label if row < len(scores) else f"full: {label}" for row, (label, *_) in enumerate(lines)]
    axes[0].set_yticks(range(len(lines)), labels)
    axes[0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def report(scores: dict[str, list[Scores]], output: Path, command: str) -> None:
    """Write the README, the figures and the picture."""
    output.mkdir(parents=True, exist_ok=True)
    found = examine()
    content = {"scores": scores, "machine": found.machine, "versions": found.versions}
    (output / "ablation.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    plot(scores, output / "ablation.png")
    findings = output / "findings.md"
    seeds = len(scores[BASE])
    (output / "README.md").write_text(
        "\n".join(
            [
                "# CCP, part by part\n",
                findings.read_text(encoding="utf-8") if findings.is_file() else "",
                "![dots are seeds, bars their means](ablation.png)\n",
                f"Mean ± standard deviation over {seeds} seeds; accuracies in percent, retrieval of the demo over its "
                "132 pairs of different languages; bold where the difference to the first row of the table is more "
                "than twice the pooled deviation. Tatoeba-36 is the mean of both directions over XTREME's 36 "
                "languages; non-English pairs are joined on the English side (149 pairs of languages, all sentences "
                f"of the other language as candidates). The monitors are means of the last {_LAST_LOGS} logs.\n",
                tables(scores),
                f"Made by `{command}` from the recipe [`ccp-ablation`](../../../training/ccp-ablation.yaml); every "
                "score by seed is in [`ablation.json`](ablation.json).\n",
            ]
        ),
        encoding="utf-8",
    )


def main(
    data: Annotated[Path, typer.Option("--data", help="The folder that the recipe's file patterns start from.")],
    runs: Annotated[Path, typer.Option(help="Where the runs are kept.")] = Path("runs/ccp-ablation"),
    output: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("eval/results/ccp-ablation"),
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each variant.")] = 3,
    report_only: Annotated[bool, typer.Option("--report-only", help="Only write the report anew.")] = False,
) -> None:
    """Train every variant of CCP, measure, and write the report."""
    console = Console(stderr=True)
    base = read_recipe(find_recipe("ccp-ablation", "training"))
    if not report_only:
        train_all(base, data, runs, seeds, console)
    scores = measure_all(base, data, runs, seeds, console)
    report(scores, output, "python scripts/ccp_ablation.py --data DIR")
    console.print(f"wrote {output / 'README.md'}")


if __name__ == "__main__":
    typer.run(main)
