"""Non-English pairs of Tatoeba, joined on the English side, against a loop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.errors import InputError
from mlret.eval.tatoeba_data import TatoebaPairs
from mlret.eval.tatoeba_joined import evaluate_joined
from mlret.eval.vectors import EncodedTexts


class _Hashed:
    """An encoder whose vectors are random but fixed by the text."""

    name, dims = "hashed", 6

    def encode(self, texts: Sequence[str], **_: object) -> np.ndarray:
        rows = [np.random.default_rng([ord(c) for c in text]).normal(size=self.dims) for text in texts]
        vectors = np.array(rows, dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _pairs(label: str, english: Sequence[str]) -> TatoebaPairs:
    return TatoebaPairs(label, label[:2], tuple(f"{label} {i} {e}" for i, e in enumerate(english)), tuple(english))


def _encoded(pairs: Sequence[TatoebaPairs]) -> EncodedTexts:
    return EncodedTexts(_Hashed(), [text for pair in pairs for text in pair.sentences])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=9), min_size=2, max_size=4))
def test_it_equals_the_loop(sides: list[list[str]]) -> None:
    pairs = [_pairs(label, english) for label, english in zip(("fra", "deu", "swh", "jpn"), sides, strict=False)]
    texts = _encoded(pairs)
    expected = {}
    for i, first in enumerate(pairs):
        for second in pairs[i + 1 :]:
            shared = set(first.english) & set(second.english)
            if not shared:
                continue
            right = []
            for asked, found in ((first, second), (second, first)):
                for english in shared:
                    query = texts.raw([asked.sentences[asked.english.index(english)]])[0]
                    scores = [float(query @ row) for row in texts.raw(found.sentences)]
                    right.append(found.english[int(np.argmax(scores))] == english)
            expected[first.label, second.label] = (len(shared), np.mean(right))
    if not expected:
        with pytest.raises(InputError, match="lower min_queries"):
            evaluate_joined(texts, pairs, min_queries=1)
        return
    result = evaluate_joined(texts, pairs, min_queries=1)
    assert {(row.first, row.second): (row.queries, pytest.approx(row.raw)) for row in result.rows} == expected
    assert result.raw == pytest.approx(np.mean([accuracy for _, accuracy in expected.values()]))
    assert result.calibrated is None


def test_pairs_of_languages_with_few_queries_are_left_out() -> None:
    pairs = [_pairs("fra", "abcd"), _pairs("deu", "abcx"), _pairs("swh", "az")]
    result = evaluate_joined(_encoded(pairs), pairs, min_queries=2)
    assert [(row.first, row.second, row.queries) for row in result.rows] == [("fra", "deu", 3)]
    assert result.queries == 3


def test_any_translation_of_the_same_english_is_right() -> None:
    first, second = _pairs("fra", "a"), _pairs("deu", "aa")
    assert evaluate_joined(_encoded([first, second]), [first, second], min_queries=1).raw == 1.0
