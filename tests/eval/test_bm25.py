from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.eval.bm25 import K1, Analyzer, B, Bm25

texts = st.lists(
    st.lists(st.sampled_from(["kai", "lo", "mu", "nu", "xe"]), max_size=8).map(" ".join), min_size=1, max_size=7
)


@pytest.mark.parametrize(
    ("text", "language", "words"),
    [
        ("The Dogs, running!", "en", ["the", "dog", "run"]),
        ("The Dogs, running!", None, ["the", "dogs", "running"]),
        ("Die Häuser", "de", ["die", "haus"]),
        ("यह एक परीक्षण है।", "hi", ["यह", "एक", "परीक्षण", "है"]),
        ("मी शाळेत", "mr", ["मी", "शाळेत"]),
        ("これはABCです", "ja", ["これ", "れは", "です", "abc"]),
        ("한국어 책", "ko", ["한국", "국어", "책"]),
        ("ﬁsh Ⅳ", None, ["fish", "iv"]),
        ("… — !", "en", []),
        ("", "en", []),
    ],
)
def test_words(text: str, language: str | None, words: list[str]) -> None:
    assert Analyzer()(text, language) == words


@settings(max_examples=60, deadline=None)
@given(texts, texts)
def test_scores_are_lucenes_formula(documents: list[str], queries: list[str]) -> None:
    found = Bm25(documents, [None] * len(documents)).scores(queries, [None] * len(queries)).toarray()
    tokens = [document.split() for document in documents]
    mean = sum(map(len, tokens)) / len(tokens)
    for row, query in enumerate(queries):
        for column, words in enumerate(tokens):
            counts, expected = Counter(words), 0.0
            for word in query.split():
                holding = sum(word in other for other in tokens)
                if not counts[word]:
                    continue
                idf = math.log(1 + (len(tokens) - holding + 0.5) / (holding + 0.5))
                expected += idf * counts[word] / (counts[word] + K1 * (1 - B + B * len(words) / mean))
            assert found[row, column] == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("documents", [["", "…"], ["a b", ""], [""]])
def test_documents_and_queries_without_words_score_nothing(documents: list[str]) -> None:
    found = Bm25(documents, ["en"] * len(documents)).scores(["", "zebra", "…"], [None, "en", None]).toarray()
    assert found.shape == (3, len(documents))
    assert not found.any()


def test_a_word_of_which_a_stemmer_leaves_nothing_is_none() -> None:
    words = [chr(code) for code in range(0x0600, 0x0700)] + ["s", "'s", "ال", "ها", "ات"]
    analyzed = [Analyzer()(word, language) for word in words for language in ("ar", "en", "fr", "tr")]
    assert all(all(found) for found in analyzed)
    scores = Bm25(["ال كتاب", "x"], ["ar", "en"]).scores([" ".join(words)], ["ar"])
    assert np.isfinite(scores.toarray()).all()
