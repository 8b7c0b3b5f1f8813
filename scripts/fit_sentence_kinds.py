"""Fit the kinds of sentences to the bundled encoder, and write ``mlret/memory/text/sentence_kinds.npz``.

    python scripts/fit_sentence_kinds.py

``sentence_kinds.tsv`` has the sentences, written for mlret (CC0): whether each is a statement or a question, its
language, its kinds (``-`` for none), and its text. None of them is from the situations of
``mlret eval run memory-situations``.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from mlret.encoders.encoder import Encoder
from mlret.encoders.loading import load_encoder
from mlret.memory.text.sentence_kinds import BUNDLED, QUESTIONS, STATEMENTS, SentenceKinds, Vectors

# Of the squared weights; found by fitting to half of the sentences and judging the other half.
PENALTY = 0.08
SENTENCES = Path(__file__).with_name("sentence_kinds.tsv")


def read(path: Path = SENTENCES) -> dict[str, list[tuple[str, str, frozenset[str]]]]:
    """Return the texts, languages and kinds of the statements and of the questions."""
    found: dict[str, list[tuple[str, str, frozenset[str]]]] = {"statement": [], "question": []}
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            found[row["sentence"]].append((row["text"], row["language"], frozenset(row["kinds"].split()) - {"-"}))
    return found


def fit(encoder: Encoder) -> SentenceKinds:
    """Return the kinds that are fitted to the sentences: for each a regression whose classes count the same."""
    sentences = read()
    columns = []
    for encode, some, kinds in (
        (encoder.encode_document, sentences["statement"], STATEMENTS),
        (encoder.encode_query, sentences["question"], QUESTIONS),
    ):
        vectors = encode([text for text, *_ in some], language=[code for _, code, _ in some])
        columns += [_regression(vectors, [kind in own for *_, own in some]) for kind in kinds]
    return SentenceKinds(encoder.fingerprint, np.stack(columns, axis=1).astype(np.float32))


def _regression(vectors: Vectors, positive: Sequence[bool]) -> Vectors:
    model = LogisticRegression(C=1 / PENALTY, class_weight="balanced", tol=1e-8, max_iter=1000)
    model.fit(np.asarray(vectors, dtype=np.float64), positive)
    return np.append(model.coef_[0], model.intercept_)


def write(kinds: SentenceKinds, path: Path = BUNDLED) -> None:
    """Write the regressions to a file, in half precision."""
    np.savez_compressed(path, fingerprint=kinds.fingerprint, weights=kinds.weights.astype(np.float16))


if __name__ == "__main__":
    encoder = load_encoder(None)
    assert isinstance(encoder, Encoder)
    write(fit(encoder))
