"""Measure an encoder across languages and test whether a difference is more than chance.

The script asks whether the first 64 dimensions of the bundled encoder's vectors do as well as all 384 of them. It
writes both results as TREC runs, scores them with trec_eval's metrics, and compares them query by query.

Run it with ``python examples/evaluate_encoder.py``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import mlret
from mlret.data.retrieval import write_run
from mlret.data.sample import load_sample
from mlret.eval import evaluate_run
from mlret.eval.significance import compare_groups

METRIC = "mrr@10"


def main() -> None:
    encoder, sample = mlret.load_encoder(), load_sample()
    passages = [passage for passage in sample.passages if passage.language == "de"]
    stored = {passage.id for passage in passages}
    # The questions are in two other languages. Relevant are those judged passages that the index holds.
    questions = [topic for topic in sample.questions.values() if topic.language in ("en", "hi")]
    qrels = {topic.id: {id: 1 for id in sample.qrels[topic.id] if id in stored} for topic in questions}

    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        for dims in (64, 384):
            settings = mlret.IndexSettings(dims=dims)  # keeps the first dimensions of each vector
            with mlret.Index.create(Path(folder) / str(dims), encoder, settings=settings) as index:
                index.add(passages)
                found = index.search_batch(
                    [topic.text for topic in questions], k=10, language=[topic.language for topic in questions]
                )
            runs[dims] = {topic.id: {h.id: h.score for h in hits} for topic, hits in zip(questions, found, strict=True)}
            write_run(Path(folder) / f"{dims}.trec", runs[dims], tag=f"dims-{dims}")  # for trec_eval and other tools

    scores = {dims: evaluate_run(qrels, run, [METRIC, "recall@5"]) for dims, run in runs.items()}
    for dims, result in scores.items():
        print(f"{dims} dimensions: " + ", ".join(f"{name} {value:.3f}" for name, value in result.mean.items()))

    # The paired randomisation test works on the scores of single queries, here grouped by the language of the question.
    grouped: dict[int, dict[str, dict[str, float]]] = {64: {"en": {}, "hi": {}}, 384: {"en": {}, "hi": {}}}
    for dims, result in scores.items():
        for topic in questions:
            grouped[dims][str(topic.language)][topic.id] = result.per_query[topic.id][METRIC]
    for one in compare_groups(grouped[64], grouped[384], resamples=999):
        print(
            f"{one.group}: difference {one.difference:+.3f}, 95 % interval {one.low:+.3f} to {one.high:+.3f}, "
            f"p {one.adjusted:.3f} after Holm's correction, {one.queries} queries"
        )


if __name__ == "__main__":
    main()
