"""Index with one vector for each token (ColBERT) instead of one for each text.

A query's score for a document is then MaxSim: every token of the query takes the document token nearest to it, and
these similarities are added. The index has the same methods as one with a single vector for each text.

Run it with ``python examples/multi_vector_index.py``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import mlret
from mlret.data.sample import load_sample


def main() -> None:
    encoder = mlret.load_token_encoder()  # the second head of the bundled encoder: 128 dimensions for each token
    print(f"{encoder.name}: {encoder.dims} dimensions for each token, compared by {encoder.similarity}")

    sample = load_sample()
    passages = [passage for passage in sample.passages if passage.language == "es"]
    questions = [topic for topic in sample.questions.values() if topic.language == "de"][:12]

    with tempfile.TemporaryDirectory() as folder:
        settings = mlret.IndexSettings(bits=4)  # a large index stores 4 bits for each dimension of a token
        with mlret.Index.create(Path(folder) / "sample.index", encoder, settings=settings) as index:
            index.add(passages)
            tokens = index.vectors([passages[0].id])[0]
            print(f"{len(index)} passages; the first one has {len(tokens)} tokens of {tokens.shape[1]} dimensions")

            # German questions over Spanish passages.
            found = index.search_batch([topic.text for topic in questions], k=3, language="de")
            right = sum(
                any(hit.id in sample.qrels[topic.id] for hit in hits)
                for topic, hits in zip(questions, found, strict=True)
            )
            print(f"an answer is among the first three hits for {right} of {len(questions)} questions")
            best = found[0][0]
            print(f"{questions[0].text}  ->  {best.score:.2f} [{best.language}] {best.text[:70]} …")


if __name__ == "__main__":
    main()
