"""Measure what late interaction and language adapters are worth for a small encoder: train, measure, report.

    python scripts/zero_shot_transfer.py --data DIR --base runs/mini-layers/model [--runs runs/zero-shot-transfer]
        [--seeds 3] [--output eval/results/zero-shot-transfer] [--left-out fi --left-out id …] [--quick]

All systems start from one small encoder (--base; the study uses that of `mlret train mini-layers`) and are fine-tuned
only on English questions and passages (the training split of TyDi GoldP), by the recipes `retrieval-mini`,
`colbert-mini` and `colbert-mini-modular`:

- *single vector*, *multi-vector*: all weights are trained;
- *frozen embeddings*: multi-vector; the embeddings are frozen, as adapters require;
- *one adapter for all*: the same after masked language modelling on running text in all languages but the excluded
  ones, with one adapter for all languages;
- *adapters*: the same with an adapter for each language during masked language modelling of the whole backbone; texts
  in the excluded languages go through the English adapter;
- *adapters, others added*: the same model after an adapter was added for each excluded language, trained on its running
  text alone with all other weights frozen (`mlret train adapter --base`).

They are measured in all languages on TyDi GoldP's development split (each question against all passages of its
language) and on XQuAD-R (all sentences of eleven languages in one pool). Trained models and measurements are kept in
--runs and made only once; an interrupted run is resumed. `findings.md` in --output is written by hand and included in
the README unchanged. --quick takes few steps and questions, as a trial; give it other folders for --runs and --output.
"""

from __future__ import annotations

import json
import shutil
import statistics
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from mlret.data.corpus import read_documents
from mlret.data.durable import write_text_atomically
from mlret.data.retrieval import read_qrels, read_topics
from mlret.doctor import examine
from mlret.encoders.multi_vector import AnyEncoder, load_any_encoder
from mlret.eval.benchmarks.xquad_r import evaluate_xquad_r, texts_of
from mlret.eval.metrics import evaluate_run
from mlret.eval.readers.xquad_r_data import read_xquad_r
from mlret.eval.scorers import BitextScorer, Side, bitext_scorers
from mlret.recipes import find_recipe
from mlret.reporting.plots import ranked_bars
from mlret.training.adapter import train_adapter
from mlret.training.adapter_settings import AdapterSettings
from mlret.training.recipe import Recipe, read_recipe
from mlret.training.run import train

UNTRAINED = "not fine-tuned"
# Replaces the learning rate of the recipes, which is for the bundled encoder: its twelve layers need smaller steps
# than the two of the base.
_LEARNING_RATE = 5e-4
SINGLE, MULTI, FROZEN = "single vector", "multi-vector", "frozen embeddings"
ONE_ADAPTER, ADAPTERS, ADDED = "one adapter for all", "adapters", "adapters, others added"
MEASURES = {"tydi": "TyDi GoldP, MRR@10", "xquad": "XQuAD-R, mAP", "xquad-other": "XQuAD-R, mAP other languages"}
# Measure -> language -> score.
Scores = dict[str, dict[str, float]]

console = Console(stderr=True)
say = partial(console.print, markup=False, highlight=False, soft_wrap=True)


def main(
    data: Annotated[Path, typer.Option(help="The folder with tydiqa_goldp, xquad_r, mono and tatoeba.")],
    base: Annotated[Path, typer.Option(help="The encoder that all systems start from: a folder.")],
    runs: Annotated[Path, typer.Option(help="Folder of the trained models and measurements.")] = Path(
        "runs/zero-shot-transfer"
    ),
    output: Annotated[Path, typer.Option(help="Folder for README.md, scores.json and plots.")] = Path(
        "eval/results/zero-shot-transfer"
    ),
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 3,
    left_out: Annotated[
        list[str] | None,
        typer.Option(help="A language that gets its adapter last; may be repeated. By default fi, id, ru and te."),
    ] = None,
    questions: Annotated[int, typer.Option(min=1, help="Maximum per language, taken evenly.")] = 100,
    passages: Annotated[
        int | None, typer.Option(min=1, help="Others per language, taken evenly; by default all.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="Few steps, few questions.")] = False,
) -> None:
    """Train, measure and report."""
    warnings.filterwarnings("ignore", message="no adapter for")
    left_out = left_out or ["fi", "id", "ru", "te"]
    study = Study(data, base, runs, left_out, 10 if quick else questions, 20 if quick else passages, quick)
    scores: dict[str, list[Scores]] = defaultdict(list)
    scores[UNTRAINED].append(study.measured(base, runs / "base"))
    for seed in range(seeds):
        for system, folder in study.trained(seed):
            scores[system].append(study.measured(folder / "model", folder))
    output.mkdir(parents=True, exist_ok=True)
    report(dict(scores), output, left_out, questions, passages)
    say(f"wrote {output / 'README.md'}")


class Study:
    """Train and measure the systems, each only once."""

    def __init__(
        self,
        data: Path,
        base: Path,
        runs: Path,
        left_out: Sequence[str],
        questions: int,
        passages: int | None,
        quick: bool,
    ) -> None:
        self.data, self.runs, self.left_out, self.quick = data, runs, left_out, quick
        self.base = str(base.absolute())
        self.questions, self.passages = questions, passages
        self.modular = read_recipe(find_recipe("colbert-mini-modular", "training"))
        runs.mkdir(parents=True, exist_ok=True)

    def trained(self, seed: int) -> list[tuple[str, Path]]:
        """Return the name and the run of every system for a seed."""
        at = self.runs / f"seed-{seed}"
        found = [
            (SINGLE, self._run("retrieval-mini", at / "single", seed)),
            (MULTI, self._run("colbert-mini", at / "multi", seed)),
        ]
        ranking = [self.modular.stages[-1].model_dump()]
        english = {"languages": ["en"], "default_language": "en"}
        for system, name, backbone in (
            (FROZEN, "frozen", {"model": self.base, "adapters": english}),
            (ONE_ADAPTER, "one-adapter", {"model": str(self._masked("one-adapter", english) / "model")}),
            (ADAPTERS, "adapters", {"model": str(self._masked("adapters") / "model")}),
        ):
            backbone = {"kind": "pretrained"} | backbone
            found.append((system, self._run("colbert-mini", at / name, seed, backbone=backbone, stages=ranking)))
        model = at / "adapters"
        for language in self.left_out:
            model = self._with_adapter(language, model, at / "added" / language)
        return [*found, (ADDED, model)]

    def _masked(self, name: str, adapters: Mapping[str, Any] | None = None) -> Path:
        """Return a run of the modular recipe's first stage, in all languages but the excluded ones."""
        settings = self.modular.model_dump()
        languages = [code for code in settings["languages"] if code not in self.left_out]
        settings["languages"] = languages
        settings["backbone"]["model"] = self.base
        settings["backbone"]["adapters"] = adapters or settings["backbone"]["adapters"] | {"languages": languages}
        settings["stages"] = settings["stages"][:1]
        settings["sources"] = [source for source in settings["sources"] if source["kind"] == "documents"]
        settings["multi_vector"] = None
        return self._train(settings, (self.runs / f"masked-{name}").absolute())

    def _with_adapter(self, language: str, model: Path, folder: Path) -> Path:
        """Return a run that adds a language to the model of another run."""
        say(f"an adapter for {language}, in {folder}")
        masked = self._masked("adapters")
        # The adapter is trained on the model that all seeds start from, so it is trained once and copied.
        first = self.runs / "seed-0" / "added" / language / "base"
        if first.is_dir() and not folder.exists():
            shutil.copytree(first, folder / "base")
        train_adapter(
            str((model / "model").absolute()),
            language,
            sorted((self.data / "mono").glob("*/*.jsonl.gz")),
            folder,
            AdapterSettings(
                base=str(masked / "model"),
                start="en",
                head=str(masked / "stages" / self.modular.stages[0].name / "language-model"),
                steps=5 if self.quick else 400,
                batch_size=32,
                max_length=64,
                learning_rate=1e-3,
                seed=0,
            ),
            held_out=[self.data / name for name in self.modular.held_out],
            say=say,
        )
        return folder

    def _run(self, name: str, folder: Path, seed: int, **changes: Any) -> Path:
        settings = read_recipe(find_recipe(name, "training")).model_dump()
        settings["backbone"]["model"] = self.base
        for stage in settings["stages"]:
            stage["learning_rate"] = _LEARNING_RATE
        settings |= changes | {"seed": seed}
        return self._train(settings, folder)

    def _train(self, settings: dict[str, Any], folder: Path) -> Path:
        if self.quick:
            for stage in settings["stages"]:
                stage["steps"] = 5
        if not (folder / "model" / "modules.json").is_file():
            say(f"training {folder}")
            train(Recipe.model_validate(settings), self.data, folder, say=say)
        return folder

    def measured(self, model: Path, folder: Path) -> Scores:
        """Return the scores of a model, read from the folder of its run if they are stored there."""
        path = folder / f"scores-{self.questions}-{self.passages or 'all'}.json"
        if not path.is_file():
            say(f"measuring {folder}")
            encoder = load_any_encoder(model)
            scores = {"tydi": self._tydi(encoder), **self._xquad(encoder)}
            folder.mkdir(parents=True, exist_ok=True)
            write_text_atomically(path, json.dumps(scores, indent=1))
        found: Scores = json.loads(path.read_text(encoding="utf-8"))
        return found

    def _tydi(self, encoder: AnyEncoder) -> dict[str, float]:
        at = self.data / "tydiqa_goldp"
        topics, qrels = read_topics(at / "dev.topics.tsv.gz"), read_qrels(at / "dev.qrels.trec.gz")
        passages: dict[str, dict[str, str]] = defaultdict(dict)
        for document in read_documents(at / "dev.corpus.jsonl.gz"):
            passages[str(document.language)][document.id] = document.text
        asked: dict[str, dict[str, str]] = defaultdict(dict)
        for topic in topics.values():
            asked[str(topic.language)][topic.id] = topic.text
        figures = {}
        for language, every in sorted(asked.items()):
            some = {id: every[id] for id in list(every)[:: -(-len(every) // self.questions)]}
            answers = {passage for id in some for passage in qrels[id]}
            others = self._evenly([id for id in passages[language] if id not in answers])
            pool = {id: passages[language][id] for id in sorted(answers) + others}
            scorer = _scorer(encoder, [*some.values(), *pool.values()])
            queries, candidates = Side([*some.values()], language), Side([*pool.values()], language)
            matrix = scorer.similarities(scorer.modes[-1], queries, candidates)
            run = {id: dict(zip(pool, map(float, row), strict=True)) for id, row in zip(some, matrix, strict=True)}
            wanted = {id: qrels[id] for id in some}
            figures[language] = evaluate_run(wanted, run, ["mrr@10"]).mean["mrr@10"]
        return figures

    def _evenly(self, some: list[Any]) -> list[Any]:
        return some if self.passages is None else some[:: max(1, len(some) // self.passages)][: self.passages]

    def _xquad(self, encoder: AnyEncoder) -> Scores:
        data = read_xquad_r(self.data / "xquad_r")
        step = -(-max(map(len, data.questions.values())) // self.questions)
        data = replace(
            data,
            questions={code: dict(list(asked.items())[::step]) for code, asked in data.questions.items()},
            answers={code: dict(list(answers.items())[::step]) for code, answers in data.answers.items()},
        )
        answers = {id for given in data.answers.values() for id in given.values()}
        pools = {}
        for code, candidates in data.candidates.items():
            others = {one.id for one in self._evenly([one for one in candidates if one.id not in answers])}
            pools[code] = [one for one in candidates if one.id in answers or one.id in others]
        data = replace(data, candidates=pools)
        asked = [text for questions in data.questions.values() for text in questions.values()]
        scorer = _scorer(encoder, asked + texts_of(data, "sentence")[0])
        figures = evaluate_xquad_r([scorer], data, name="xquad_r", unit="sentence").figures
        groups: Mapping[str, Mapping[str, float]] = list(figures.values())[-1]  # calibrated if possible
        names = {"xquad": "map", "xquad-other": "map other languages"}
        return {
            key: {language: groups[language][metric] for language in data.languages} for key, metric in names.items()
        }


def _scorer(encoder: AnyEncoder, texts: Sequence[str]) -> BitextScorer:
    return bitext_scorers([encoder], texts, floors=False)[0]


def report(
    scores: dict[str, list[Scores]], output: Path, left_out: Sequence[str], questions: int, passages: int | None
) -> None:
    """Write the README, the figures and the plots."""
    lines = ["# Late interaction and language adapters at the size of a small encoder", ""]
    findings = output / "findings.md"
    if findings.is_file():
        lines += [findings.read_text(encoding="utf-8").strip(), ""]
    beside = "" if passages is None else f", and beside the passages that answer {passages} others a language"
    lines += [
        "All systems start from the encoder of the recipe `mini-layers` (two layers, 256 dimensions) and learn from "
        "TyDi GoldP's 3,694 English training questions alone. Mean ± standard deviation over seeds, in per cent; "
        f"{questions} questions a language at most{beside}. {', '.join(left_out)} have no adapter of their own "
        "but in the last row. TyDi GoldP: a question against all passages of its language. XQuAD-R: the sentences of "
        "all eleven languages in one pool; *other languages* leaves out those in the question's own.",
        "",
    ]
    for measure, title in MEASURES.items():
        languages = list(next(iter(scores.values()))[0][measure])
        lines += [
            f"## {title}",
            "",
            f"| | all | without en | {' | '.join(languages)} |",
            "|---" * (len(languages) + 3) + "|",
        ]
        for system, seeds in scores.items():
            cells = [
                _cell([statistics.fmean(seed[measure].values()) for seed in seeds]),
                _cell([statistics.fmean(v for code, v in seed[measure].items() if code != "en") for seed in seeds]),
                *(_cell([seed[measure][language] for seed in seeds]) for language in languages),
            ]
            lines.append(f"| {system} | {' | '.join(cells)} |")
        lines.append("")
        pictured = {
            system: {language: float(np.mean([seed[measure][language] for seed in seeds])) for language in languages}
            for system, seeds in scores.items()
        }
        source = "Values: means over the seeds in scores.json"
        ranked_bars(f"{title}, by language", pictured, output / f"{measure}.png", source=source)
        lines += [f"![{title}. Bars: {next(iter(scores))}; marks: the others.]({measure}.png)", ""]
    lines += [
        "## Remake it",
        "",
        "```bash",
        "mlret train mini-layers --data DIR",
        f"python scripts/zero_shot_transfer.py --data DIR --base runs/mini-layers/model --seeds {len(scores[SINGLE])} "
        f"{' '.join(f'--left-out {code}' for code in left_out)} --questions {questions}"
        + ("" if passages is None else f" --passages {passages}"),
        "```",
        "",
        "`DIR` holds `tydiqa_goldp`, `xquad_r`, `mono` and `tatoeba` (held out). The scores of every seed and language "
        "are in `scores.json`.",
    ]
    write_text_atomically(output / "README.md", "\n".join(lines) + "\n")
    found = examine()
    content = {"scores": scores, "machine": found.machine, "versions": found.versions}
    write_text_atomically(output / "scores.json", json.dumps(content, indent=1) + "\n")


def _cell(values: list[float]) -> str:
    mean = f"{100 * statistics.fmean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * statistics.stdev(values):.1f}"


if __name__ == "__main__":
    typer.run(main)
