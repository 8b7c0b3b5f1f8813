"""Test that the scores of teachers are those of the models themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import CrossEncoder

from mlret import Encoder
from mlret.data.ranking import RankingExample, read_ranking
from mlret.errors import InputError
from mlret.training.labels.teachers import (
    CrossEncoderTeacher,
    EncoderTeacher,
    add_scores,
    load_teacher,
    score_to_file,
    without_near_positives,
)
from tests.training.labels.test_mining import made

EXAMPLES = made(9)


@pytest.fixture(scope="session")
def tiny_cross_encoder_folder(tiny_encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a real but tiny, untrained cross-encoder on the layers of the tiny encoder."""
    import torch

    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("tiny-cross-encoder") / "model"
    CrossEncoder(str(tiny_encoder_folder.parent / "backbone"), num_labels=1, device="cpu").save_pretrained(str(folder))
    return folder


def test_a_cross_encoder_gives_logits(tiny_cross_encoder_folder: Path) -> None:
    teacher = load_teacher(tiny_cross_encoder_folder, device="cpu")
    assert isinstance(teacher, CrossEncoderTeacher)
    model = CrossEncoder(str(tiny_cross_encoder_folder), device="cpu")
    for example, scored in zip(EXAMPLES, add_scores(EXAMPLES, teacher, batch_size=4), strict=True):
        assert replace(scored, scores=None) == example
        through_sigmoid = model.predict([(example.query, passage) for passage in example.passages])
        assert 1 / (1 + np.exp(-np.array(scored.scores))) == pytest.approx(through_sigmoid, abs=1e-5)
    assert len(teacher.fingerprint) == 16


@pytest.mark.parametrize("kept", [1 << 26, 100, 0])
def test_an_encoder_gives_cosines(tiny_encoder: Encoder, kept: int) -> None:
    teacher = EncoderTeacher(tiny_encoder, kept=kept)
    for _ in range(2):
        for example, scored in zip(EXAMPLES, add_scores(EXAMPLES, teacher, batch_size=2), strict=True):
            query, *passages = tiny_encoder.model.encode([example.query, *example.passages])
            cosines = [float(query @ one / np.linalg.norm(query) / np.linalg.norm(one)) for one in passages]
            assert scored.scores == pytest.approx(cosines, abs=1e-5)


def test_a_multi_vector_encoder_gives_maxsim(tiny_token_encoder_folder: Path) -> None:
    teacher = load_teacher(tiny_token_encoder_folder, device="cpu")
    assert teacher.kind == "MaxSim"
    model = teacher.encoder.model  # type: ignore[attr-defined]
    for example, scored in zip(EXAMPLES, add_scores(EXAMPLES, teacher), strict=True):
        query, passages = model.encode_query([example.query]), model.encode_document(list(example.passages))
        assert scored.scores == pytest.approx(model.similarity(query, passages)[0].tolist(), rel=1e-4)


def test_an_encoder_with_a_calibration_is_given_the_languages(calibrated_encoder: Encoder) -> None:
    example = RankingExample("the cat", ("a mat", "a mat"), passage_languages=("sw", "de"), language="en")
    ((swahili, german),) = EncoderTeacher(calibrated_encoder).scores([example])
    query, sw, de = calibrated_encoder.encode(["the cat", "a mat", "a mat"], language=["en", "sw", "de"])
    assert (swahili, german) == pytest.approx((float(query @ sw), float(query @ de)), abs=1e-5)
    assert swahili != german


def test_every_passage_is_encoded_once_while_it_is_kept(tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    encode = Encoder.encode_document

    def counting(self: Encoder, texts: list[str], **options: object) -> object:
        seen.extend(texts)
        return encode(self, texts, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Encoder, "encode_document", counting)
    list(add_scores([*EXAMPLES, *EXAMPLES], EncoderTeacher(tiny_encoder), batch_size=4))
    assert len(seen) == len(set(seen)) == 18


def test_a_file_with_scores_and_without_likely_answers(tiny_encoder: Encoder, tmp_path: Path) -> None:
    teacher = EncoderTeacher(tiny_encoder)
    scored = list(add_scores(EXAMPLES, teacher))
    path = tmp_path / "scored.jsonl"
    report = score_to_file(EXAMPLES, teacher, path, batch_size=4)
    for one, other in zip(read_ranking(path), scored, strict=True):
        assert one.passages == other.passages
        assert one.scores == pytest.approx(other.scores, abs=1e-6)
    agreed = sum(one.scores[0] > one.scores[1] for one in scored if one.scores)
    assert (report.queries, report.passages, report.dropped, report.compared, report.agreed) == (9, 18, 0, 9, agreed)
    less = score_to_file(EXAMPLES, teacher, tmp_path / "less.jsonl", margin=0.1)
    left = [without_near_positives(one, 0.1) for one in scored]
    assert [one.passages for one in read_ranking(tmp_path / "less.jsonl")] == [one.passages for one in left]
    assert less.dropped == 18 - less.passages == sum(not one.negatives for one in left)


def test_negatives_that_answer_the_query_in_another_row_are_not_scored(tiny_encoder: Encoder, tmp_path: Path) -> None:
    rows = [
        RankingExample("the cat sat", ("seven dogs",), ("Warm rain.", "green tea")),
        RankingExample("The cat sat.", ("warm rain",), ("green tea",)),
        RankingExample("other", ("green tea",), ("warm rain", "seven dogs")),
    ]
    report = score_to_file(iter(rows), EncoderTeacher(tiny_encoder), tmp_path / "scored.jsonl", batch_size=1)
    assert [one.negatives for one in read_ranking(tmp_path / "scored.jsonl")] == [
        ("green tea",),
        ("green tea",),
        ("warm rain", "seven dogs"),
    ]
    assert (report.answers, report.dropped, report.passages) == (1, 0, 7)


def test_the_margin_counts_from_the_lowest_positive() -> None:
    example = RankingExample("q", ("a", "b"), ("c", "d", "e"), scores=(9.0, 5.0, 2.0, 2.5, 8.0))
    assert without_near_positives(example, 3.0) == RankingExample("q", ("a", "b"), ("c",), scores=(9.0, 5.0, 2.0))
    with pytest.raises(InputError, match="has no scores"):
        without_near_positives(replace(example, scores=None), 3)


def test_models_that_are_not_teachers_are_refused(tiny_encoder_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no kind of teacher 'judge'"):
        load_teacher(None, "judge")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no encoder folder at"):
        load_teacher(tmp_path / "none", "cross-encoder")
    several = CrossEncoder(str(tiny_encoder_folder.parent / "backbone"), num_labels=3, device="cpu")
    with pytest.raises(InputError, match="has 3 labels"):
        CrossEncoderTeacher(several, "several")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text('{"architectures": ["XForSequenceClassification"]}')
    with pytest.raises(InputError, match="cannot be loaded as a cross-encoder"):
        load_teacher(tmp_path / "broken")
