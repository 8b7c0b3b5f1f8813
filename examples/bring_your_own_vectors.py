"""Index vectors that were computed elsewhere, and exchange runs with other tools.

An external encoder stands for a model that mlret does not run: documents and queries come with their vectors. The
vectors here are hashed character trigrams, so that the script needs no model at all. The rankings leave as a TREC run,
and a run of any other system can be scored in the same way.

Run it with ``python examples/bring_your_own_vectors.py``.
"""

from __future__ import annotations

import tempfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import mlret
from mlret.data.retrieval import read_run, write_run
from mlret.data.sample import load_sample
from mlret.eval import evaluate_run

DIMS = 256


def embed(texts: list[str]) -> NDArray[np.float32]:
    """Stand in for your own model: ``(n, DIMS)`` float32 unit vectors of hashed character trigrams."""
    vectors = np.zeros((len(texts), DIMS), dtype=np.float32)
    for row, text in enumerate(texts):
        for start in range(len(text) - 2):
            vectors[row, zlib.crc32(text[start : start + 3].lower().encode()) % DIMS] += 1
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main() -> None:
    sample = load_sample()
    passages = [passage for passage in sample.passages if passage.language == "en"]
    questions = [topic for topic in sample.questions.values() if topic.language == "en"]
    stored = {passage.id for passage in passages}
    qrels = {topic.id: {id: 1 for id in sample.qrels[topic.id] if id in stored} for topic in questions}

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # The name identifies the model that made the vectors; an index never mixes the vectors of two names.
        encoder = mlret.ExternalEncoder("character-trigrams", DIMS)
        with mlret.Index.create(folder / "own.index", encoder) as index:
            index.add(passages, vectors=embed([passage.text for passage in passages]))
            found = index.search_vectors(embed([topic.text for topic in questions]), k=10)

        # A run goes out in TREC's format, and comes back in: from this index or from any other system.
        run = {topic.id: {hit.id: hit.score for hit in hits} for topic, hits in zip(questions, found, strict=True)}
        write_run(folder / "trigrams.trec", run, tag="trigrams")
        lines = (folder / "trigrams.trec").read_text(encoding="utf-8").splitlines()
        print(f"{len(lines)} lines in the run, the first: {lines[0]}")

        scores = evaluate_run(qrels, read_run(folder / "trigrams.trec"), ["recall@5", "mrr@10", "ndcg@10"])
        for metric, value in scores.mean.items():
            print(f"{metric}: {value:.3f}")


if __name__ == "__main__":
    main()
