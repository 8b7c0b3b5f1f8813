"""Test passages for masked language modelling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.errors import InputError
from mlret.training.batches.packed import PackedDocuments, PackedTexts
from mlret.training.batches.passages import Passages
from mlret.training.stages import MaskedStage


def packed(documents: list[tuple[int, list[int]]]) -> PackedDocuments:
    """Return documents of a language with sentences of these lengths; the token ids count up."""
    lengths = [length for _, sentences in documents for length in sentences]
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
    first = np.concatenate([[0], np.cumsum([len(s) for _, s in documents], dtype=np.int64)]).astype(np.int64)
    texts = PackedTexts(np.arange(offsets[-1], dtype=np.int32), offsets)
    return PackedDocuments(texts, first, np.asarray([code for code, _ in documents], np.int64), ["en", "sw"])


@given(
    st.lists(st.tuples(st.integers(0, 1), st.lists(st.integers(1, 9), max_size=5)), max_size=8),
    st.integers(8, 14),
)
def test_passages_hold_every_token_once_and_never_those_of_two_documents(
    documents: list[tuple[int, list[int]]], longest: int
) -> None:
    # At least two passages of each language are needed to draw from.
    documents = [*documents, *((code, [3]) for code in (0, 1, 0, 1))]
    there = packed(documents)
    stage = MaskedStage(name="s", objective="mlm", steps=1, max_length=longest)
    passages = Passages(there, stage)
    texts = passages.texts
    assert sorted(row for rows in passages.rows for row in rows) == list(range(len(texts)))
    assert np.concatenate([texts.ids[texts.offsets[i] : texts.offsets[i + 1]] for i in range(len(texts))]).tolist() == (
        list(range(len(there.sentences.ids)))
    )
    assert texts.lengths.max() <= longest - 2 and texts.lengths.min() >= 1
    ends = np.cumsum([sum(sentences) for _, sentences in documents])
    for group, rows in enumerate(passages.rows):
        for row in rows:
            owner = int(np.searchsorted(ends, texts.offsets[row], side="right"))
            assert texts.offsets[row + 1] <= ends[owner] and documents[owner][0] == group
            assert passages.document(np.asarray([row])) == owner
    # The smallest possible number.
    assert len(texts) == sum(-(-sum(sentences) // (longest - 2)) for _, sentences in documents)


def test_some_languages_alone() -> None:
    there = packed([(0, [5, 5]), (1, [9]), (1, [9])])
    stage = MaskedStage(name="s", objective="mlm", steps=1, max_length=8)
    assert Passages(there, stage, languages=["sw"]).languages == ["sw"]
    assert list(Passages(there, stage, languages=["sw"]).rows[0]) == [2, 3, 4, 5]
    with pytest.raises(InputError, match=r"stage 's': the sources hold no documents in fi"):
        Passages(there, stage, languages=["fi"])
