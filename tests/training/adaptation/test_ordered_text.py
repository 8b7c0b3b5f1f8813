"""Test how ordered text is divided, checked and batched."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.errors import InputError
from mlret.training.adaptation.ordered_text import OrderedText, check_text, context_batches


def text_of(lengths: list[int]) -> OrderedText:
    return OrderedText.of([[f"{number} {place}" for place in range(n)] for number, n in enumerate(lengths)])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(2, 30), min_size=3, max_size=12), st.integers(1, 5), st.integers(8, 40))
def test_each_context_is_another_sentence_of_the_same_document_within_the_window(
    lengths: list[int], window: int, size: int
) -> None:
    text = text_of(lengths)
    rows = np.arange(len(text))
    for batch in islice(context_batches(text, rows, size=size, window=window, seed=1), 5):
        assert len(batch.rows) >= size
        distance = np.abs(batch.rows[batch.context] - batch.rows)
        assert distance.min() >= 1
        assert distance.max() <= window
        assert (text.document[batch.rows[batch.context]] == batch.document).all()


def test_every_sentence_is_visited_once_before_one_is_visited_again() -> None:
    text = text_of([5, 17, 8, 9])
    batches = context_batches(text, np.arange(len(text)), size=8, window=2, seed=0)
    visited: list[int] = []
    while len(visited) < len(text):
        visited.extend(next(batches).rows.tolist())
    assert set(visited[: len(text)]) == set(range(len(text)))


def test_documents_are_held_out_as_a_whole_and_single_sentences_are_skipped() -> None:
    text = text_of([1, *[6] * 30])
    assert len(text) == 180
    train, held_out = text.split(3, most=100)
    assert sorted([*train, *held_out]) == list(range(180))
    assert not set(text.document[train]) & set(text.document[held_out])
    assert len(np.unique(text.document[held_out])) == 3


@pytest.mark.parametrize(
    ("lengths", "message"),
    [([5] * 10, "50 sentences of to .* at least 200"), ([150, 150], "is 2 documents, and at least 10")],
)
def test_too_little_text_is_refused_with_what_is_missing(lengths: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_text(text_of(lengths), "to")
