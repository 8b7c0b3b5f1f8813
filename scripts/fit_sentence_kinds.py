"""Fit the kinds of sentences to the bundled encoder, and write ``mlret/memory/text/sentence_kinds.npz``.

    python scripts/fit_sentence_kinds.py

``sentence_kinds.tsv`` has the sentences, written for mlret (CC0): whether each is a statement or a question, its
language, its kinds (``-`` for none), and its text. None of them is from the situations of
``mlret eval run memory-situations``.
"""

from __future__ import annotations

import csv
from pathlib import Path

from mlret.encoders.encoder import Encoder
from mlret.encoders.loading import load_encoder
from mlret.memory.text.sentence_kinds import BUNDLED, SentenceKinds, fitted

SENTENCES = Path(__file__).with_name("sentence_kinds.tsv")


def read(path: Path = SENTENCES) -> dict[str, list[tuple[str, str, frozenset[str]]]]:
    """Return the texts, languages and kinds of the statements and of the questions."""
    found: dict[str, list[tuple[str, str, frozenset[str]]]] = {"statement": [], "question": []}
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            found[row["sentence"]].append((row["text"], row["language"], frozenset(row["kinds"].split()) - {"-"}))
    return found


def fit(encoder: Encoder) -> SentenceKinds:
    """Return the kinds that are fitted to the sentences."""
    sentences = read()
    parts = [
        (encode([text for text, *_ in some], language=[code for _, code, _ in some]), [kinds for *_, kinds in some])
        for encode, some in (
            (encoder.encode_document, sentences["statement"]),
            (encoder.encode_query, sentences["question"]),
        )
    ]
    return fitted(encoder.fingerprint, *parts)


if __name__ == "__main__":
    encoder = load_encoder(None)
    assert isinstance(encoder, Encoder)
    fit(encoder).write(BUNDLED)
