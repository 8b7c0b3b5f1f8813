"""Test calibration: each step against its formula, switches, storage, encoders saved before rotation existed."""

from __future__ import annotations

import itertools
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize
from torch import nn

from mlret.encoders.calibration import Calibration, calibrate_model
from mlret.encoders.encoder import Encoder
from mlret.encoders.loading import load_encoder
from mlret.encoders.rotation import FittedRotation
from mlret.errors import InputError
from tests.conftest import WORDS

Rows = NDArray[np.float32]
STEPS = list(itertools.product([True, False], repeat=3))
RESULTS = Path(__file__).parents[2] / "eval" / "results" / "memory" / "report.json"


def unit(rows: Rows) -> Rows:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def apply(module: Calibration, rows: Rows, language: str | None) -> Rows:
    found: Rows = module({"sentence_embedding": torch.from_numpy(rows)}, language=language)[
        "sentence_embedding"
    ].numpy()
    return found


def corner(random: np.random.Generator, n: int = 300, dims: int = 6, clusters: int = 20, seed: int = 1) -> Rows:
    """Return a cloud around a point away from the origin; clouds with the same ``seed`` have the same centres."""
    centres = np.random.default_rng(seed).normal(size=(clusters, dims))
    return (centres[random.integers(clusters, size=n)] + 0.2 * random.normal(size=(n, dims)) + 3).astype(np.float32)


def quarter_turn(dims: int) -> Rows:
    """Return an orthogonal matrix for which a wrong transposition changes the result."""
    matrix = np.roll(np.eye(dims), 1, axis=0)
    matrix[0] *= -1
    return matrix.astype(np.float32)


@pytest.fixture
def fitted() -> Calibration:
    """Return a calibration of "en", "fr" and "sw" with all three steps and a known rotation."""
    random = np.random.default_rng(0)
    rotation = torch.from_numpy(np.stack([np.eye(6), quarter_turn(6), quarter_turn(6).T]).astype(np.float32))
    mean, std = (torch.from_numpy(random.normal(size=(3, 6)).astype(np.float32)) for _ in range(2))
    return Calibration(["en", "fr", "sw"], mean, std.abs() + 0.5, rotation, pivot="en")


@pytest.mark.parametrize(("shift", "scale", "rotate"), STEPS)
@pytest.mark.parametrize("language", ["sw", "fr", "en", None, "ja"])
def test_steps_apply_in_order_and_each_has_its_switch(
    fitted: Calibration, shift: bool, scale: bool, rotate: bool, language: str | None
) -> None:
    assert (fitted.shift, fitted.scale, fitted.rotate) == (True, True, True)
    fitted.shift, fitted.scale, fitted.rotate = shift, scale, rotate
    rows = np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32)
    known = language in fitted.languages
    row = fitted.languages.index(language) if known else 3
    mean, std = fitted.mean.numpy(), fitted.std.numpy()
    np.testing.assert_allclose(mean[3], mean[:3].mean(0), atol=1e-6)
    expected = []
    for x in rows.astype(np.float64):
        if shift:
            x = x - mean[row]
        if scale:
            x = x / std[row]
        if rotate and known:
            x = fitted.rotation.numpy()[row] @ x
        expected.append(x / np.linalg.norm(x))
    np.testing.assert_allclose(apply(fitted, rows, language), expected, atol=1e-5)


def test_calibration_can_be_omitted(fitted: Calibration) -> None:
    rows = torch.randn(4, 6)
    assert fitted({"sentence_embedding": rows}, language="sw", calibrate=False)["sentence_embedding"] is rows


@pytest.mark.parametrize(("shift", "scale", "rotate"), STEPS)
def test_only_what_was_fitted_is_stored_and_read_back(shift: bool, scale: bool, rotate: bool, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    module = Calibration.fit(
        {code: corner(random) for code in ("sw", "en")}, shift=shift, scale=scale, rotate=rotate, pivot="eng"
    )
    module.save(str(tmp_path))
    stored = load_file(tmp_path / "calibration.safetensors")
    wanted = {"mean": (shift, (2, 6)), "std": (scale, (2, 6)), "rotation": (rotate, (2, 6, 6))}
    assert {name: tuple(tensor.shape) for name, tensor in stored.items()} == {
        name: shape for name, (on, shape) in wanted.items() if on
    }
    assert all(tensor.dtype == torch.float32 for tensor in stored.values())
    loaded = Calibration.load(str(tmp_path))
    assert (loaded.shift, loaded.scale, loaded.rotate) == (shift, scale, rotate)
    assert loaded.pivot == ("en" if rotate else None)
    assert loaded.get_config_dict() == module.get_config_dict()
    rows = corner(random, n=7)
    for language in ("en", "sw", None):
        np.testing.assert_array_equal(apply(loaded, rows, language), apply(module, rows, language))


@pytest.mark.parametrize(("step", "statistic"), [("shift", "mean"), ("scale", "std"), ("rotate", "rotation")])
def test_a_step_that_was_not_fitted_cannot_be_switched_on(
    step: str, statistic: str, fitted: Calibration, tmp_path: Path
) -> None:
    others = {name: name != step for name in ("shift", "scale", "rotate")}
    random = np.random.default_rng(0)
    Calibration.fit({code: corner(random) for code in ("sw", "en")}, **others).save(str(tmp_path))
    loaded = Calibration.load(str(tmp_path))
    with pytest.raises(InputError, match=f"'{step}' cannot be switched on: .* --{step}"):
        setattr(loaded, step, True)
    assert getattr(loaded, step) is False and apply(loaded, corner(random), "sw").shape == (300, 6)
    setattr(loaded, step, False)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {step: True}))
    with pytest.raises(InputError, match=f"'{step}' cannot be switched on"):
        Calibration.load(str(tmp_path))


def test_switches_of_a_loaded_calibration_are_saved(fitted: Calibration, tmp_path: Path) -> None:
    fitted.rotate = False
    fitted.save(str(tmp_path))
    loaded = Calibration.load(str(tmp_path))
    assert (loaded.shift, loaded.scale, loaded.rotate, loaded.pivot) == (True, True, False, "en")
    loaded.rotate = True
    assert torch.equal(loaded.rotation, fitted.rotation)


@given(st.integers(2, 40), st.integers(1, 8), st.booleans(), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_fitted_text_has_zero_mean_and_unit_deviation(n: int, dims: int, scale: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = (5 + random.normal(size=(n, dims)) * random.uniform(0.5, 9, size=dims)).astype(np.float32)
    module = Calibration.fit({"sw": rows}, scale=scale)
    np.testing.assert_allclose(module.mean[0], rows.mean(0), atol=1e-4)
    moved = rows - module.mean[0].numpy()
    if scale:
        moved = moved / module.std[0].numpy()
        np.testing.assert_allclose(moved.std(0), 1, atol=1e-3)
    np.testing.assert_allclose(apply(module, rows, "sw"), unit(moved), atol=1e-3)


def test_a_dimension_that_never_varies_does_not_drown_the_others() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(50, 4)).astype(np.float32)
    rows[:, 0] = 0.1
    module = Calibration.fit({"sw": rows})
    other = np.array([[0.11, 1, -1, 1]], dtype=np.float32)
    assert abs(apply(module, other, "sw")[0, 0]) < 0.1


def test_fitting_a_rotation_brings_languages_together_and_reports_each() -> None:
    random = np.random.default_rng(0)
    angle = 0.5
    planted = np.eye(6, dtype=np.float32)
    planted[:2, :2] = planted[2:4, 2:4] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    clouds = {"swh": corner(random, 900) @ planted.T, "en": corner(random, 900), "fr": corner(random, 900, seed=1)}
    reports: dict[str, FittedRotation] = {}
    module = Calibration.fit(clouds, rotate=True, scale=False, on_rotation=reports.__setitem__)
    assert list(reports) == ["fr", "sw"] and reports["sw"].kept == "self-learning"
    np.testing.assert_array_equal(module.rotation[0], np.eye(6))
    for row, language in enumerate(module.languages):
        matrix = module.rotation[row].numpy()
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(6), atol=1e-5)
        if language != "en":
            np.testing.assert_array_equal(matrix, reports[language].matrix)
    english = corner(random, 50)
    rotated = english @ planted.T
    before = (apply(Calibration.fit(clouds, scale=False), rotated, "sw") * apply(module, english, "en")).sum(1).mean()
    after = (apply(module, rotated, "sw") * apply(module, english, "en")).sum(1).mean()
    assert after > before + 0.05 and after > 0.98


def test_rotations_are_repeated_by_their_seed() -> None:
    random = np.random.default_rng(0)
    clouds = {"sw": corner(random) * [1, 2, 1, 1, 2, 1], "en": corner(random)}
    once, again = (Calibration.fit(clouds, rotate=True, seed=3) for _ in range(2))
    assert torch.equal(once.rotation, again.rotation)


def test_languages_are_known_by_any_spelling() -> None:
    random = np.random.default_rng(0)
    module = Calibration.fit({"swh": corner(random), "eng": corner(random) + 2})
    assert module.languages == ["en", "sw"]
    rows = corner(random)
    np.testing.assert_array_equal(apply(module, rows, "sw"), apply(module, rows, "swa"))
    assert np.abs(apply(module, rows, "sw") - apply(module, rows, None)).max() > 0.01


def test_bad_input_is_named() -> None:
    rows = np.ones((3, 4), np.float32)
    with pytest.raises(InputError, match="no text in the pivot language 'sw'"):
        Calibration.fit({"en": rows}, rotate=True, pivot="sw")
    with pytest.raises(InputError, match="'sw' under two codes, one of them 'swh'"):
        Calibration.fit({"sw": rows, "swh": rows})
    with pytest.raises(InputError, match="the embeddings of 'sw' hold NaN"):
        Calibration.fit({"sw": rows * np.float32("nan")})
    with pytest.raises(InputError, match="2 languages, but 'mean' 3 rows"):
        Calibration(["en", "sw"], torch.ones(3, 4))


# Encoders that were saved before rotation existed.


def test_a_calibration_in_the_old_form_is_read_as_it_was(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    mean, std = (torch.from_numpy(random.uniform(0.5, 1, size=(2, 6)).astype(np.float32)) for _ in range(2))
    save_file({"mean": mean, "std": std}, tmp_path / "calibration.safetensors")
    config = {"languages": ["en", "sw"], "shift": True, "scale": False}
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = Calibration.load(str(tmp_path))
    # The fingerprint of an encoder is computed from these.
    assert loaded.get_config_dict() == config and list(loaded.state_dict()) == ["mean", "std"]
    rows = corner(random)
    np.testing.assert_allclose(apply(loaded, rows, "sw"), unit(rows - mean[1].numpy()), atol=1e-6)
    loaded.scale = True
    np.testing.assert_allclose(apply(loaded, rows, "sw"), unit((rows - mean[1].numpy()) / std[1].numpy()), atol=1e-5)


def test_the_bundled_encoder_has_the_fingerprint_that_its_results_were_measured_with() -> None:
    encoder = load_encoder(device="cpu")
    measured = json.loads(RESULTS.read_text())["systems"]
    assert encoder.fingerprint in {system["fingerprint"] for system in measured.values()}


def test_the_bundled_encoder_takes_languages_and_gives_one_vector_for_all() -> None:
    encoder = load_encoder(device="cpu")
    texts = ["Habari ya asubuhi", "Samaki wawili na ndizi"]
    assert encoder.calibration_languages == []
    np.testing.assert_array_equal(encoder.encode(texts, language=["sw", None]), encoder.encode(texts))


# Calibrating a model.


def sentences(*languages: str, n: int = 60) -> dict[str, list[str]]:
    """Return words from a different third of the list for each language."""
    random = np.random.default_rng(0)
    words = {code: WORDS[7 * i : 7 * i + 7] for i, code in enumerate(languages)}
    return {code: [" ".join(random.choice(words[code], 5)) for _ in range(n)] for code in languages}


def copy_of(encoder: Encoder, *extra: nn.Module, drop: int = 0, **options: Any) -> SentenceTransformer:
    modules = list(encoder.model.children())
    return SentenceTransformer(modules=[*modules[: len(modules) - drop], *extra], device="cpu", **options)


def test_a_model_is_calibrated_on_what_its_calibration_sees(tiny_encoder: Encoder) -> None:
    # Without Normalize, embeddings have any length; the prompt is part of the text.
    model = copy_of(tiny_encoder, drop=1, prompts={"passage": "fish rain "}, default_prompt_name="passage")
    text = sentences("sw", "en")
    raw = {code: model.encode(lines) for code, lines in text.items()}
    assert np.abs(np.linalg.norm(raw["sw"], axis=1) - 1).max() > 0.1
    report = calibrate_model(model, text, scale=True)
    module = model[-1]
    assert isinstance(module, Calibration) and len(model) == 3
    for row, code in enumerate(("en", "sw")):
        np.testing.assert_allclose(module.mean[row], raw[code].mean(0), atol=1e-5)
        np.testing.assert_allclose(module.std[row], raw[code].std(0), atol=1e-5)
        expected = unit((raw[code] - raw[code].mean(0)) / raw[code].std(0))
        np.testing.assert_allclose(model.encode(text[code], language=code), expected, atol=1e-3)
    assert [(row.language, row.sentences, row.rotation) for row in report] == [("en", 60, None), ("sw", 60, None)]
    centre = (unit(raw["en"]).mean(0) + unit(raw["sw"]).mean(0)) / 2
    assert report[1].distance_before == pytest.approx(np.linalg.norm(unit(raw["sw"]).mean(0) - centre), abs=1e-5)
    after = [model.encode(text[code], language=code).mean(0) for code in ("en", "sw")]
    assert report[0].distance_after == pytest.approx(np.linalg.norm(after[0] - after[1]) / 2, abs=1e-5)
    assert report[0].distance_after < report[0].distance_before


def test_an_earlier_calibration_is_replaced(tiny_encoder: Encoder) -> None:
    text = sentences("en", "fr", "sw")
    once = copy_of(tiny_encoder)
    calibrate_model(once, text)
    earlier = Calibration.fit({"de": np.random.default_rng(0).normal(size=(9, 32)).astype(np.float32)})
    for extra in ([earlier], [earlier, deepcopy(earlier)], [earlier, Normalize()]):
        model = copy_of(tiny_encoder, *extra)
        calibrate_model(model, text)
        kinds = [type(module).__name__ for module in model.children()]
        assert kinds[:4] == ["Transformer", "Pooling", "Normalize", "Calibration"]
        assert kinds.count("Calibration") == 1
        assert Encoder(model).calibration_languages == ["en", "fr", "sw"]
        np.testing.assert_allclose(
            Encoder(model).encode(text["sw"], language="sw"), Encoder(once).encode(text["sw"], language="sw"), atol=1e-6
        )


def test_rotations_of_a_model_are_reported_and_survive_saving(tiny_encoder: Encoder, tmp_path: Path) -> None:
    model = copy_of(tiny_encoder)
    reported: list[str] = []
    report = calibrate_model(model, sentences("en", "sw", n=300), rotate=True, pivot="sw", say=reported.append)
    rotation = {row.language: row.rotation for row in report}
    assert rotation["sw"] is None and rotation["en"] is not None
    assert reported[0] == "encoding English (1 of 2)" and reported[-1] == "rotating: 1 of 1 languages done"
    model.save(str(tmp_path / "m"), create_model_card=False)
    loaded = load_encoder(tmp_path / "m", device="cpu")
    assert loaded.fingerprint == Encoder(model).fingerprint
    plain = SentenceTransformer(str(tmp_path / "m"), device="cpu", trust_remote_code=True)
    text = ["rice and fish", "seven dogs"]
    np.testing.assert_allclose(plain.encode(text, language="en"), loaded.encode(text, language="en"), atol=1e-6)


def test_the_fingerprint_depends_on_the_rotation_and_its_switch(tiny_encoder: Encoder) -> None:
    random = np.random.default_rng(0)
    mean = torch.from_numpy(random.normal(size=(1, 32)).astype(np.float32))
    rotated = torch.from_numpy(quarter_turn(32))[None]
    fingerprints = {
        Encoder(copy_of(tiny_encoder, Calibration(["sw"], mean, None, *rotation, **switch))).fingerprint
        for rotation, switch in (([], {}), ([rotated], {}), ([rotated], {"rotate": False}))
    }
    assert len(fingerprints) == 3


def test_statistics_that_were_fitted_under_another_code_of_a_language_serve_it() -> None:
    """Earlier versions used the code ``nb`` for Norwegian, and so do calibrations that were fitted by them."""
    mean = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    calibration = Calibration(["de", "nb"], mean)
    for code in ("no", "nb", "nob_Latn"):
        moved = calibration({"sentence_embedding": torch.tensor([[0.6, 0.8]])}, language=code)["sentence_embedding"]
        expected = torch.nn.functional.normalize(torch.tensor([[0.6, -0.2]]), dim=-1)
        assert torch.allclose(moved, expected)
