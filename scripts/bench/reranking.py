"""Measure reranking: what the best documents of a search gain from being compared again, and what that costs.

    python scripts/bench/reranking.py --goldp DIR --xquad DIR [--questions 80] [--rerank MODEL] [--json FILE]

--goldp names the folder of TyDi GoldP (`dev.corpus.jsonl`, `dev.topics.tsv`, `dev.qrels.trec`; passages in the language
of the question), and --xquad that of XQuAD-R (`corpus.paragraphs.jsonl`, `topics.tsv`,
`qrels.paragraphs.any-language.trec`; paragraphs in twelve languages, all in one index). --rerank names the reranker as
`mlret search --rerank` does; by default it is the bundled encoder's head with a vector for each token.

The rows: the search of the bundled encoder alone; the reranker's similarities alone, as a callable would give them,
over the best 20; and `Index.search(rerank=…)`, which averages the standard scores of both, over the best 10 to 100.
Milliseconds are the median query's processor time, in which the vectors of most candidates are cached after a while.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

import mlret
from mlret.data.corpus import Corpus
from mlret.data.retrieval import Topic, read_qrels, read_topics
from mlret.doctor import examine
from mlret.encoders.similarity import similarities
from mlret.eval.metrics import evaluate_run
from mlret.index.reranking import CANDIDATES, TOKENS, Rerank, load_reranker

DEPTHS = (10, 20, 50, 100)
K = 10
METRICS = ("mrr@10", "recall@1", "recall@10")


def alone(encoder: Any) -> Rerank:
    """Return a callable that ranks by an encoder's similarities alone."""
    kept: dict[str, Any] = {}

    def rerank(query: str, texts: Sequence[str]) -> list[float]:
        for text in texts:
            if text not in kept:
                [kept[text]] = encoder.encode_document([text])
        [asked] = encoder.encode_query([query])
        return similarities(asked, [kept[text] for text in texts]).tolist()

    return rerank


def first(folder: Path, name: str) -> Path:
    """Return a file, compressed or not."""
    return next(path for path in (folder / name, folder / f"{name}.gz") if path.is_file())


def questions_of(file: Path, count: int) -> list[Topic]:
    """Return a sample of the questions of each language, the same in every run."""
    topics: dict[str | None, list[Topic]] = defaultdict(list)
    for topic in read_topics(file).values():
        topics[topic.language].append(topic)
    rng = np.random.default_rng(0)
    return [some[place] for some in topics.values() for place in sorted(rng.permutation(len(some))[:count])]


def measure(
    name: str, corpus: Path, questions: Sequence[Topic], qrels: Path, reranker: Any, *, same_language: bool
) -> Iterator[dict[str, Any]]:
    """Yield the figures of each row of a data set."""
    judged = read_qrels(qrels)
    with tempfile.TemporaryDirectory() as folder, mlret.Index.create(Path(folder) / "index") as index:
        index.add(Corpus([corpus]))
        settings: list[tuple[str, dict[str, Any]]] = [("search alone", {})]
        if not hasattr(reranker, "predict"):
            settings.append((f"reranker alone, best {CANDIDATES}", {"rerank": alone(reranker)}))
        settings += [(f"both, best {depth}", {"rerank": reranker, "candidates": depth}) for depth in DEPTHS]
        for setting, options in settings:
            run, cpu = {}, []
            for topic in track(questions, f"{name}, {setting}", console=Console(stderr=True)):
                where = {"lang": topic.language} if same_language else None
                start = time.process_time()
                hits = index.search(topic.text, K, language=topic.language, where=where, **options)
                cpu.append(time.process_time() - start)
                run[topic.id] = {hit.id: -float(hit.rank) for hit in hits}
            scores = evaluate_run({topic.id: judged[topic.id] for topic in questions}, run, METRICS)
            yield {
                "data": name,
                "setting": setting,
                **{metric: 100 * scores.mean[metric] for metric in METRICS},
                "cpu_ms": 1000 * float(np.median(cpu)),
            }


def main(
    goldp: Annotated[Path | None, typer.Option(help="Folder of TyDi GoldP.")] = None,
    xquad: Annotated[Path | None, typer.Option(help="Folder of XQuAD-R.")] = None,
    questions: Annotated[int, typer.Option(min=1, help="Questions of each language.")] = 80,
    rerank: Annotated[str, typer.Option(help="The reranker, as for `mlret search`.")] = TOKENS,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Measure reranking."""
    model = load_reranker(rerank)
    rows: list[dict[str, Any]] = []
    for name, folder, same_language in (("TyDi GoldP", goldp, True), ("XQuAD-R", xquad, False)):
        if folder is None:
            continue
        files = ("dev.corpus.jsonl", "dev.topics.tsv", "dev.qrels.trec")
        if not same_language:
            files = ("corpus.paragraphs.jsonl", "topics.tsv", "qrels.paragraphs.any-language.trec")
        corpus, topics, qrels = (first(folder, file) for file in files)
        asked = questions_of(topics, questions)
        rows += measure(name, corpus, asked, qrels, model, same_language=same_language)
    table = Table(title=f"reranked by {rerank}, {questions} questions of each language")
    for column in ("", "", *METRICS, "CPU ms a query"):
        table.add_column(column, justify="right" if column else "left")
    for row in rows:
        table.add_row(row["data"], row["setting"], *(f"{row[one]:.2f}" for one in METRICS), f"{row['cpu_ms']:.1f}")
    Console(width=118).print(table)
    if json_file is not None:
        ratios = {
            f"gain_{row['data']}_{row['setting']}_mrr".replace(" ", "_").replace(",", ""): row["mrr@10"]
            - plain["mrr@10"]
            for plain in rows
            if plain["setting"] == "search alone"
            for row in rows
            if row["data"] == plain["data"] and row is not plain
        }
        machine = examine()
        content = {"ratios": ratios, "figures": rows, "machine": machine.machine, "versions": machine.versions}
        json_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
