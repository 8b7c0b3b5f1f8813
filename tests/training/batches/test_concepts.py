"""Test words of the same meaning as pairs, and a teacher's vectors for aligned texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.encoders.encoder import Encoder
from mlret.encoders.loading import load_encoder
from mlret.training.batches.concepts import ConceptPairs
from mlret.training.batches.pairs import TranslationPairs
from mlret.training.objectives.teacher_vectors import TeacherVectors
from mlret.training.stages import LexicalStage, TranslationDistillationStage
from mlret.training.text.parallel import TextPair
from mlret.training.text.store import PairStore
from mlret.training.text.training_text import TextStatistics, TrainingText
from tests.vocabulary import made

WORDS = ["bank", "benki", "shore", "ukingo", "rive", "banque", "банк"]
STAGE = LexicalStage(name="s", objective="lexical", steps=1, max_length=16)


def text_of(folder: Path, pairs: list[TextPair]) -> TrainingText:
    PairStore.write(folder / "pairs.arrow", pairs)
    return TrainingText(folder, TextStatistics())


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(*(st.sampled_from(some) for some in (WORDS, ["sw", "fr", "ru"], WORDS, ["c1", "c2", "c3"]))),
        max_size=12,
    ),
    st.integers(0, 99),
)
def test_a_pair_shares_its_concept_and_is_of_two_words(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str, str]], seed: int
) -> None:
    # At least two different English words are needed to draw from.
    rows = [*rows, ("bank", "sw", "benki", "c1"), ("shore", "sw", "ukingo", "c2")]
    pairs = [TextPair("words", "en", source, code, target, concept) for source, code, target, concept in rows]
    pairs.append(TextPair("sentences", "en", "not a word", "sw", "si neno", "not a word"))
    tokenizer = made.fast("unigram")
    made_pairs = ConceptPairs(text_of(tmp_path_factory.mktemp("words"), pairs), tokenizer, STAGE)
    entries = {(concept, code, word) for s, c, t, concept in rows for code, word in (("en", s), (c, t))}
    assert len(made_pairs.texts) == len(entries)

    def word_of(row: int) -> tuple[str, str]:
        start, end = made_pairs.texts.offsets[row : row + 2]
        return made_pairs.languages_of(0, np.asarray([row]))[0], str(tokenizer.decode(made_pairs.texts.ids[start:end]))

    known = {(concept, code, str(tokenizer.decode(tokenizer(w).input_ids[1:-1]))) for concept, code, w in entries}
    random = np.random.default_rng(seed)
    for group, rows_of in enumerate(made_pairs.rows):
        keys = made_pairs.draw(rows_of, random)
        assert (keys[:, 0] == rows_of).all() and (keys[:, 0] != keys[:, 1]).all()
        assert (made_pairs.document(keys[:, 0]) == made_pairs.document(keys[:, 1])).all()
        for anchor, other in keys:
            one, two = word_of(anchor), word_of(other)
            assert one[0] == made_pairs.languages[group]
            assert any({(c, *one), (c, *two)} <= known for c in ("c1", "c2", "c3"))


def test_a_teachers_vectors_are_those_of_the_source_texts_and_of_no_other_stage(
    tmp_path: Path, tiny_encoder: Encoder, tiny_encoder_folder: Path
) -> None:
    pairs = [
        TextPair(group, "en", source, "sw", target, source)
        for group, source, target in [
            ("a", "the sun", "jua"), ("a", "rain", "mvua"), ("a", "the sun", "jua kali"),
            ("b", "milk", "maziwa"), ("b", "a tree", "mti"),
        ]
    ]  # fmt: skip
    text = text_of(tmp_path, pairs)
    for group in ("a", "b", "a"):
        stage = TranslationDistillationStage(
            name="s", objective="translation-distillation", steps=1, teacher="t", groups={group: 1.0}
        )
        student = TranslationPairs(text, tiny_encoder.model.tokenizer, stage)
        vectors = TeacherVectors(student, str(tiny_encoder_folder), tmp_path)
        keys = student.draw(np.concatenate(student.rows), np.random.default_rng(0))[::-1]
        expected = load_encoder(tiny_encoder_folder).encode([student.strings[row] for row in keys[:, 0]], language="en")
        assert vectors.dims == 32 and np.allclose(vectors(keys[:, 0]), expected, atol=1e-6)
    assert len(list(tmp_path.glob("*.npy"))) == 2  # the third reused that of the first
