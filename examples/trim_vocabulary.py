"""Cut the vocabulary of a multilingual encoder down to the languages that you serve.

Most parameters of a small multilingual encoder are its token embeddings, and most of those belong to languages that
one application does not need. Trimming removes them; texts whose tokens were all kept keep their vectors bit for bit.

Run it with ``python examples/trim_vocabulary.py``.
"""

from __future__ import annotations

import numpy as np

import mlret
from mlret.data.sample import load_parallel_sentences


def main() -> None:
    encoder = mlret.load_encoder(precision="float32")

    # Token frequencies are counted on text of the languages to keep: your own documents, or a corpus like them.
    sentences = load_parallel_sentences().texts
    corpus = {language: list(sentences[language]) for language in ("en", "sw")}
    small, report = mlret.trim_vocabulary(encoder, corpus=corpus)

    print(f"tokens:     {report.before.tokens:,} -> {report.after.tokens:,}")
    print(f"parameters: {report.before.parameters:,} -> {report.after.parameters:,}")
    print(f"largest difference over {report.compared} covered texts: {report.largest_difference}")

    # What trimming changes: a text of another language is now cut into more and shorter tokens, or unknown ones.
    for language in ("en", "sw", "ja"):
        text = [sentences[language][0]]
        cosine = float(np.sum(encoder.encode(text, language=language) * small.encode(text, language=language)))
        print(f"cosine of the old and the new vector, {language}: {cosine:.3f}")

    # Vectors of the two encoders must not be mixed, so the trimmed encoder has a fingerprint of its own.
    print(f"fingerprint changed: {encoder.fingerprint != small.fingerprint}")


if __name__ == "__main__":
    main()
