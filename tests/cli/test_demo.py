"""Test that `mlret demo` works with the bundled encoder, the bundled sample and a real index."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlret.data.sample import load_sample
from mlret.encoders.loading import BUNDLED, load_encoder
from mlret.errors import MlretError
from mlret.eval.sample import evaluate_sample
from mlret.index.index import Index

MLRET = [sys.executable, "-m", "mlret.cli.main"]


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    from mlret.cli.main import app

    folder = tmp_path_factory.mktemp("demo") / "kept"
    done = CliRunner().invoke(app, ["demo", "--json", "--keep", str(folder)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout) | {"folder": folder}


@pytest.mark.thorough
def test_the_demo_beats_chance_in_every_language_and_by_far_on_average(figures: dict[str, object]) -> None:
    sample = load_sample()
    topics = len(sample.passages) // len(sample.languages)
    pairs = [pair for pair in figures["pairs"] if pair["questions"] != pair["passages"]]  # type: ignore[attr-defined]
    for language in sample.languages:
        scores = [pair["recall@1"] for pair in pairs if pair["questions"] == language]
        assert sum(scores) / len(scores) > 1 / topics
    assert figures["mean"]["recall@1"] > 2.5 / topics  # type: ignore[index]
    assert figures["mean"]["recall@5"] > 1.5 * 5 / topics  # type: ignore[index]


@pytest.mark.thorough
def test_the_index_that_the_demo_keeps_gives_the_same_figures(figures: dict[str, object]) -> None:
    with Index.open(Path(str(figures["folder"])) / "sample") as index:
        result = evaluate_sample(index, load_sample())
    assert result.mean() == pytest.approx(figures["mean"])


def test_the_demo_refuses_a_folder_that_exists(tmp_path: Path) -> None:
    failed = subprocess.run([*MLRET, "demo", "--keep", str(tmp_path)], capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert "exists: name a new folder" in failed.stderr


def test_without_the_bundled_encoder_there_is_no_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mlret.encoders.loading.BUNDLED", tmp_path / "gone")
    with pytest.raises(MlretError, match="the bundled encoder is missing"):
        load_encoder()


def test_the_bundled_encoder_is_small_and_has_its_card() -> None:
    assert sum(file.stat().st_size for file in BUNDLED.rglob("*") if file.is_file()) < 43_000_000
    card = (BUNDLED / "README.md").read_text(encoding="utf-8")
    assert all(heading in card for heading in ("## Training data", "## Licences", "## Scores", "## How it was made"))
