"""Test encoders: vectors equal those of sentence-transformers, errors name bad folders, fingerprints differ."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from mlret.encoders.calibration import Calibration
from mlret.encoders.encoder import Encoder
from mlret.encoders.loading import load_encoder
from mlret.encoders.token_weights import TokenWeights
from mlret.errors import InputError

TEXTS = ["the cat sat on a mat", "seven dogs", "rice and fish in warm rain by night while dogs ran home"]


@pytest.fixture
def calibrated(tiny_encoder: Encoder, tmp_path: Path) -> Path:
    """Return the tiny encoder with a calibration for "en" and "sw"."""
    random = np.random.default_rng(0)
    statistics = {code: random.normal(size=(9, 32)).astype(np.float32) for code in ("en", "sw")}
    model = SentenceTransformer(modules=[*tiny_encoder.model.children(), Calibration.fit(statistics)], device="cpu")
    model.save(str(tmp_path / "calibrated"), create_model_card=False)
    return tmp_path / "calibrated"


def test_vectors_equal_those_of_sentence_transformers(tiny_encoder: Encoder, tiny_encoder_folder: Path) -> None:
    expected = SentenceTransformer(str(tiny_encoder_folder), device="cpu").encode(TEXTS)
    vectors = tiny_encoder.encode(TEXTS, batch_size=2)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_no_texts_give_no_vectors(tiny_encoder: Encoder) -> None:
    assert tiny_encoder.encode([]).shape == (0, 32)


def test_calibration_shifts_scales_and_normalises(calibrated: Path, tiny_encoder: Encoder) -> None:
    encoder = load_encoder(calibrated, device="cpu")
    (module,) = (m for m in encoder.model.children() if isinstance(m, Calibration))
    raw = tiny_encoder.encode(TEXTS)
    np.testing.assert_allclose(encoder.encode(TEXTS, language="sw", calibrate=False), raw, atol=1e-6)
    row = module.languages.index("sw")
    expected = (raw - module.mean[row].numpy()) / module.std[row].numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.encode(TEXTS, language="swh"), expected, atol=1e-5)


def test_mixed_languages_are_each_calibrated_by_their_own(calibrated: Path) -> None:
    encoder = load_encoder(calibrated, device="cpu")
    mixed = encoder.encode(TEXTS, language=["sw", None, "en"])
    for row, language in enumerate(["sw", None, "en"]):
        np.testing.assert_allclose(mixed[row], encoder.encode([TEXTS[row]], language=language)[0], atol=1e-5)


def test_a_language_without_statistics_is_calibrated_as_unknown(calibrated: Path) -> None:
    encoder = load_encoder(calibrated, device="cpu")
    np.testing.assert_array_equal(encoder.encode(TEXTS, language="ja"), encoder.encode(TEXTS))


def test_the_fingerprint_is_the_same_before_and_after_encoding_and_loading(tiny_encoder_folder: Path) -> None:
    encoder = load_encoder(tiny_encoder_folder, device="cpu")
    before = Encoder(encoder.model).fingerprint
    encoder.encode(TEXTS)
    assert Encoder(encoder.model).fingerprint == before == load_encoder(tiny_encoder_folder).fingerprint


def test_the_fingerprint_depends_on_what_affects_vectors(calibrated: Path, tiny_encoder: Encoder) -> None:
    fingerprints = {tiny_encoder.fingerprint, load_encoder(calibrated).fingerprint}
    config = calibrated / "3_Calibration" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"scale": False}))
    fingerprints.add(load_encoder(calibrated).fingerprint)
    assert len(fingerprints) == 3


def test_a_plain_sentence_transformers_loads_a_calibrated_folder(calibrated: Path) -> None:
    plain = SentenceTransformer(str(calibrated), device="cpu", trust_remote_code=True)
    np.testing.assert_allclose(
        plain.encode(TEXTS, language="sw"), load_encoder(calibrated).encode(TEXTS, language="sw"), atol=1e-6
    )


def test_foreign_code_in_a_folder_is_not_run(tiny_encoder_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "evil"
    shutil.copytree(tiny_encoder_folder, folder)
    (folder / "evil.py").write_text("raise SystemExit('code of the folder was run')")
    modules = json.loads((folder / "modules.json").read_text())
    modules[-1]["type"] = "evil.Evil"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InputError, match="cannot be loaded as an encoder"):
        load_encoder(folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "modules.json").unlink(), "modules.json is missing"),
        (lambda folder: [p.unlink() for p in folder.rglob("*.safetensors")], "has no weights"),
        (lambda folder: (folder / "modules.json").write_text("[{}]"), "cannot be loaded"),
    ],
)
def test_a_broken_folder_is_named_with_how_to_fix_it(
    tiny_encoder_folder: Path, tmp_path: Path, spoil: object, message: str
) -> None:
    folder = tmp_path / "spoilt"
    shutil.copytree(tiny_encoder_folder, folder)
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(InputError, match=message) as error:
        load_encoder(folder)
    assert str(folder) in str(error.value)


def test_a_missing_folder_and_an_unreachable_name_have_different_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no encoder folder at"):
        load_encoder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="neither a folder nor a model on the hub"):
        load_encoder("nobody/no-such-model")


def test_values_that_are_not_texts_are_refused(tiny_encoder: Encoder) -> None:
    with pytest.raises(InputError, match="text 1 is int"):
        tiny_encoder.encode(["a", 1])  # type: ignore[list-item]
    with pytest.raises(InputError, match="2 texts but 1 language:"):
        tiny_encoder.encode(["a", "b"], language=["en"])


def test_calibration_needs_text_to_measure() -> None:
    with pytest.raises(InputError, match="at least one language"):
        Calibration.fit({})
    with pytest.raises(InputError, match="'sw' needs at least 2 sentences, got 1"):
        Calibration.fit({"sw": np.ones((1, 4), np.float32)})


def test_trained_token_weights_survive_saving(tiny_encoder: Encoder, tmp_path: Path) -> None:
    transformer, pooling, *rest = tiny_encoder.model.children()
    weights = TokenWeights(len(tiny_encoder.model.tokenizer))
    equal = SentenceTransformer(modules=[transformer, weights, pooling, *rest], device="cpu")
    np.testing.assert_allclose(equal.encode(TEXTS), tiny_encoder.encode(TEXTS), atol=1e-6)
    with torch.no_grad():
        weights.token_weights.uniform_(0.5, 3)
    weighted = equal.encode(TEXTS)
    assert np.abs(weighted - tiny_encoder.encode(TEXTS)).max() > 1e-3
    equal.save(str(tmp_path / "weighted"), create_model_card=False)
    np.testing.assert_allclose(load_encoder(tmp_path / "weighted", device="cpu").encode(TEXTS), weighted, atol=1e-6)


def test_queries_and_documents_follow_the_prompts_of_the_model(tiny_encoder_folder: Path) -> None:
    encoder = load_encoder(tiny_encoder_folder, device="cpu")
    plain = encoder.encode_query(["the cat"])
    encoder.model.prompts = {"query": "seven ", "passage": "rice "}
    for encode, theirs in (
        (encoder.encode_query, encoder.model.encode_query),
        (encoder.encode_document, encoder.model.encode_document),
    ):
        np.testing.assert_allclose(encode(["the cat", "a mat"]), theirs(["the cat", "a mat"]), atol=1e-5)
        assert not np.allclose(encode(["the cat"]), plain, atol=1e-3)
    encoder.model[1].include_prompt = False
    np.testing.assert_allclose(encoder.encode_query(["the cat"]), encoder.model.encode_query(["the cat"]), atol=1e-5)
