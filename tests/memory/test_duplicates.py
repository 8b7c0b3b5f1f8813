"""Test duplicates across languages: found by margin, threshold and guards, with precision before recall."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.data.sample import load_parallel_sentences
from mlret.encoders.encoder import Encoder
from mlret.encoders.loading import load_encoder
from mlret.errors import InputError
from mlret.memory.maintenance.thresholds import bundled_thresholds, calibrate
from mlret.memory.text.duplicates import (
    CANDIDATES,
    NEIGHBOURS,
    Candidate,
    DuplicateThresholds,
    density,
    judge,
    promising,
    text_key,
)

THRESHOLDS = DuplicateThresholds("f", 0.2, 0.1, 0.05, {"": 0.3, "en": 0.35}, 0.95, 0.5, 100)
FAR = [0.2] * NEIGHBOURS


def verdict(
    text: str, of: str, cosine: float, *, language: str = "en", other: str = "de", others=FAR, thresholds=THRESHOLDS
):  # type: ignore[no-untyped-def]
    return judge(text, language, [Candidate("a", of, other, cosine, others)], [cosine, *FAR], thresholds)


def test_a_translation_that_stands_out_is_a_duplicate_with_a_reason() -> None:
    found = verdict("I eat no nuts.", "Ich esse keine Nüsse.", 0.8)
    assert (found.kind, found.id) == ("duplicate", "a")
    # Both densities are the usual ones, because no neighbour is near: 0.35 in English, 0.3 otherwise.
    assert found.evidence[0].margin == pytest.approx(0.8 - 0.325)
    assert found.evidence[0].mutual and not found.evidence[0].conflicts
    assert "0.475" in found.reason


@pytest.mark.parametrize(
    ("text", "of", "cosine", "others", "kind", "reason"),
    [
        ("I eat nuts.", "Ich esse keine Nüsse.", 0.8, FAR, "related", "negation"),
        ("I owe 30.", "Ich schulde 40.", 0.9, FAR, "related", "numbers: 30 / 40"),
        ("I eat no nuts.", "Ich esse keine Nüsse.", 0.8, [0.85, 0.1, 0.1, 0.1], "related", "another record is nearer"),
        ("I eat no nuts.", "Ich esse keine Nüsse.", 0.45, FAR, "related", "a duplicate needs 0.200"),
        ("I eat no nuts.", "Ich esse keine Nüsse.", 0.6, [0.6, 0.6, 0.6, 0.6], "related", "margin 0.125"),
        ("I eat no nuts.", "Ich esse keine Nüsse.", 0.4, FAR, "new", "near enough"),
    ],
)
def test_what_fails_one_condition_is_linked_at_most(
    text: str, of: str, cosine: float, others: list[float], kind: str, reason: str
) -> None:
    found = verdict(text, of, cosine, others=others)
    assert found.kind == kind
    assert reason in found.reason


def test_within_a_language_another_wording_is_never_a_duplicate() -> None:
    assert verdict("My door is red.", "My door is blue.", 0.97, other="en").kind == "related"
    assert verdict("My door is red.", "my door is red", 0.97, other="en").kind == "duplicate"


def test_the_same_text_is_a_duplicate_whatever_the_encoder() -> None:
    nothing = DuplicateThresholds("f", math.inf, math.inf, 0.0, {"": 0.3}, 0.95, 0.0, 100)
    assert (
        verdict(
            "Ｈａｂａｒｉ  ya\nasubuhi", "Habari ya asubuhi", 1.0, language="sw", other="sw", thresholds=nothing
        ).kind
        == "duplicate"
    )
    assert verdict("No", "No", 1.0, language="en", other="es", thresholds=nothing).kind == "new"


def test_of_several_candidates_the_best_mergeable_one_is_chosen() -> None:
    found = judge(
        "I have 3 cats.",
        "en",
        [
            Candidate("near-miss", "Ich habe 4 Katzen.", "de", 0.9, FAR),
            Candidate("same", "J'ai 3 chats.", "fr", 0.9, FAR),
        ],
        [0.9, 0.9, *FAR],
        THRESHOLDS,
    )
    assert (found.kind, found.id) == ("duplicate", "same")
    assert {one.id for one in found.evidence} == {"near-miss", "same"}


COSINES = st.floats(-1, 1, width=16)


@settings(deadline=None)  # the first text of a language compiles its patterns
@given(
    st.lists(st.tuples(COSINES, st.lists(COSINES, max_size=NEIGHBOURS)), min_size=1, max_size=CANDIDATES),
    st.lists(COSINES, max_size=8),
    st.sampled_from(["I have 3 cats.", "Ich habe keine Katze.", "J'ai 3 chats."]),
)
def test_every_verdict_keeps_its_promises(
    candidates: list[tuple[float, list[float]]], more: list[float], text: str
) -> None:
    given_ = [Candidate(str(n), "Nina paka 3.", "sw", cosine, others) for n, (cosine, others) in enumerate(candidates)]
    cosines = sorted([*(cosine for cosine, _ in candidates), *more], reverse=True)
    found = judge(text, "en", given_, cosines, THRESHOLDS)
    margins = [one.margin for one in found.evidence]
    assert margins == sorted(margins, reverse=True)
    if found.kind == "duplicate":
        chosen = next(one for one in found.evidence if one.id == found.id)
        others = next(one.others for one in given_ if one.id == found.id)
        assert chosen.margin >= THRESHOLDS.duplicate and not chosen.conflicts
        assert chosen.cosine >= max([*cosines, *others])
    if found.kind == "new":
        assert found.id is None and max(margins) < THRESHOLDS.related
    for one in given_:
        if not promising(one.cosine, "en", "sw", THRESHOLDS):
            assert next(e for e in found.evidence if e.id == one.id).margin < THRESHOLDS.related + 1e-6


@given(st.lists(COSINES, max_size=10), COSINES)
def test_a_density_is_never_below_the_usual(cosines: list[float], usual: float) -> None:
    cosines = sorted(cosines, reverse=True)
    found = density(cosines, usual)
    assert found >= usual
    if len(cosines) >= NEIGHBOURS:
        assert found == pytest.approx(max(usual, sum(cosines[:NEIGHBOURS]) / NEIGHBOURS))


@given(st.text())
def test_a_text_key_is_its_own_key(text: str) -> None:
    assert text_key(text_key(text)) == text_key(text)


def test_thresholds_survive_json_and_damage_is_reported() -> None:
    for thresholds in (THRESHOLDS, DuplicateThresholds("f", math.inf, 0.1, -1.0, {"": 0.3}, 0.99, 0.0, 9)):
        assert DuplicateThresholds.from_dict(json.loads(json.dumps(thresholds.to_dict()))) == thresholds
    for damage in ({}, {**THRESHOLDS.to_dict(), "more": 1}, {**THRESHOLDS.to_dict(), "densities": {"en": 0.3}}):
        with pytest.raises(InputError, match="mlret memory calibrate"):
            DuplicateThresholds.from_dict(damage)


@pytest.fixture(scope="module")
def bundled() -> Encoder:
    return load_encoder(device="cpu")


@pytest.fixture(scope="module")
def calibrated(bundled: Encoder) -> DuplicateThresholds:
    return calibrate(bundled)


@pytest.mark.thorough
def test_the_thresholds_in_the_wheel_are_those_of_the_bundled_encoder(
    bundled: Encoder, calibrated: DuplicateThresholds
) -> None:
    shipped = bundled_thresholds(bundled.fingerprint)
    assert shipped is not None, "run scripts/bundled_thresholds.py"
    assert shipped.duplicate == pytest.approx(calibrated.duplicate, abs=0.003), "run scripts/bundled_thresholds.py"
    assert shipped.related == pytest.approx(calibrated.related, abs=0.003)
    assert shipped.answer == pytest.approx(calibrated.answer, abs=0.003)
    assert shipped.densities == pytest.approx(calibrated.densities, abs=0.003)


@pytest.mark.thorough
def test_calibrated_verdicts_are_as_precise_as_asked_for(bundled: Encoder, calibrated: DuplicateThresholds) -> None:
    """Verdicts are checked one by one over memories of another seed, against the known translations."""
    sample = load_parallel_sentences()
    codes = list(sample.texts)
    vectors = {code: bundled.encode(texts, language=code) for code, texts in sample.texts.items()}
    random = np.random.default_rng(7)
    right = wrong = 0
    for _ in range(3):
        rows = random.permutation(len(sample.topics))[:60]
        languages = random.choice(codes, size=len(rows))
        stored = np.stack([vectors[code][row] for code, row in zip(languages, rows, strict=True)])
        among = stored @ stored.T
        np.fill_diagonal(among, -1)
        for code in codes:
            for row, vector in enumerate(vectors[code]):
                cosines = stored @ vector
                cosines[(rows == row) & (languages == code)] = -1
                order = np.argsort(-cosines)
                candidates = [
                    Candidate(
                        str(place),
                        sample.texts[languages[place]][rows[place]],
                        languages[place],
                        float(cosines[place]),
                        np.sort(among[place])[::-1][:NEIGHBOURS],
                    )
                    for place in order[:CANDIDATES]
                    if promising(float(cosines[place]), code, languages[place], calibrated)
                ]
                if not candidates:
                    continue
                found = judge(sample.texts[code][row], code, candidates, cosines[order], calibrated)
                if found.kind == "duplicate":
                    assert found.id is not None
                    right += rows[int(found.id)] == row
                    wrong += rows[int(found.id)] != row
    assert right > 50
    assert right / (right + wrong) > 0.9


def test_an_encoder_that_aligns_nothing_has_no_duplicates_between_languages(tiny_encoder: Encoder) -> None:
    found = calibrate(tiny_encoder)
    assert math.isinf(found.duplicate)
    assert found.recall == 0


def test_calibration_needs_translations(tiny_encoder: Encoder) -> None:
    texts = {"en": ["a"] * 9, "de": ["b"] * 9}
    for bad in ({"en": texts["en"]}, {}, {**texts, "fr": ["c"]}, {"en": ["a"] * 3, "de": ["b"] * 3}):
        with pytest.raises(InputError, match="two languages"):
            calibrate(tiny_encoder, bad)
    with pytest.raises(InputError, match="2 groups for 9 texts"):
        calibrate(tiny_encoder, texts, ["x", "y"])
    with pytest.raises(InputError, match="part of one"):
        calibrate(tiny_encoder, texts, precision=95)
