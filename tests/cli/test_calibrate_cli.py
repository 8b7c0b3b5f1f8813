"""Test `mlret calibrate` as a user runs it."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from mlret.encoders.calibration import Calibration
from mlret.encoders.loading import load_encoder
from tests.conftest import WORDS

pytestmark = pytest.mark.timeout(120)


@dataclass
class Done:
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Done]


@pytest.fixture
def calibrate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `mlret calibrate` in this process, in which torch is already imported."""
    from transformers.utils import logging

    from mlret.cli.main import main

    # main() sets an environment variable for this, which is read when transformers is imported.
    logging.disable_progress_bar()

    def run(*arguments: object, code: int = 0) -> Done:
        monkeypatch.setattr(sys, "argv", ["mlret", "calibrate", *map(str, arguments)])
        capsys.readouterr()
        done = 0
        try:
            main()
        except SystemExit as exit:
            done = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        captured = capsys.readouterr()
        assert done == code, captured.err
        return Done(captured.out, captured.err)

    return run


def lines_of(position: int, n: int) -> list[str]:
    random = np.random.default_rng(position)
    words = WORDS[7 * position : 7 * position + 7]
    return list(dict.fromkeys(" ".join(random.choice(words, 6)) for _ in range(3 * n)))[:n]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make text: 80 sentences of "en" (each twice) and "sw", 10 of "ja" in JSONL, 70 of "fr" in a text file."""
    folder = tmp_path_factory.mktemp("text")
    for language, spelling, n in (("en", "eng", 80), ("sw", "swh", 80), ("ja", "ja", 10)):
        lines = lines_of(["en", "sw", "ja"].index(language), n)
        documents = [{"lang": spelling, "sents": lines[i : i + 10]} for i in range(0, n, 10)]
        rows = "".join(json.dumps(document) + "\n" for document in documents)
        with gzip.open(folder / f"{language}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.write(rows * (2 if language == "en" else 1))
    (folder / "fr.txt").write_text("\n".join(lines_of(2, 70)), encoding="utf-8")
    return folder


def test_a_calibrated_folder_is_written_and_described(
    calibrate: Run, text: Path, tmp_path: Path, tiny_encoder_folder: Path
) -> None:
    output = tmp_path / "new" / "calibrated"
    arguments = (
        tiny_encoder_folder,
        "--text",
        f"{text}/*.jsonl.gz",
        "-o",
        output,
        "--scale",
        "--rotate",
        "--pivot",
        "swa",
    )
    found = calibrate(*arguments, "--json").json
    assert found["model"] == str(tiny_encoder_folder) and found["output"] == str(output)
    assert found["steps"] == ["shift", "scale", "rotate"] and found["pivot"] == "sw"
    assert found["left_out"] == {"ja": 10}
    english, swahili = found["languages"]
    assert (english["language"], english["sentences"]) == ("en", 80)
    assert (swahili["language"], swahili["rotation"]) == ("sw", None)
    assert english["rotation"]["kept"] == "identity" and english["rotation"]["pairs"] > 0
    assert english["distance_after"] < english["distance_before"]
    assert [path.name for path in output.parent.iterdir()] == ["calibrated"]

    encoder = load_encoder(output, device="cpu")
    assert encoder.fingerprint == found["fingerprint"]
    assert encoder.calibration_languages == ["en", "sw"]
    raw = load_encoder(tiny_encoder_folder, device="cpu").encode(lines_of(1, 80))
    module = encoder.model[-1]
    np.testing.assert_allclose(module.mean[1], raw.mean(0), atol=1e-5)
    np.testing.assert_allclose(module.std[1], raw.std(0), atol=1e-5)
    assert (module.shift, module.scale, module.rotate, module.pivot) == (True, True, True, "sw")


def test_the_table_shows_the_effect_of_each_step(
    calibrate: Run, text: Path, tmp_path: Path, tiny_encoder_folder: Path
) -> None:
    done = calibrate(tiny_encoder_folder, "-t", f"{text}/*.jsonl.gz", "-o", tmp_path / "a", "--rotate")
    rows = {line.split()[0]: line.split() for line in done.out.splitlines() if line.strip()}
    assert rows["English"][-1] == "pivot" and len(rows["English"]) == 5
    language, sentences, *numbers = rows["Swahili"][:7]
    assert (language, sentences) == ("Swahili", "80") and rows["Swahili"][7:] == ["none", "is", "better"]
    before, after, pairs, criterion_before, criterion_after = map(float, numbers)
    assert after < before and pairs > 0 and criterion_before == criterion_after
    assert "excluded, with fewer than 50 sentences: ja" in done.out
    assert f"encoder: {tmp_path / 'a'} (fingerprint {load_encoder(tmp_path / 'a').fingerprint})" in done.out
    assert not done.err
    shifted = calibrate(tiny_encoder_folder, "-t", text / "en.jsonl.gz", "-o", tmp_path / "b").out
    assert "pairs" in done.out and "pairs" not in shifted and "pivot" not in shifted


def test_a_calibration_is_replaced_and_its_card_kept(
    calibrate: Run, text: Path, tmp_path: Path, tiny_encoder_folder: Path
) -> None:
    model = SentenceTransformer(str(tiny_encoder_folder), device="cpu")
    model.append(Calibration.fit({"de": np.random.default_rng(0).normal(size=(9, 32)).astype(np.float32)}))
    model.save(str(tmp_path / "old"), create_model_card=False)
    (tmp_path / "old" / "README.md").write_text("# Licence: CC0\n", encoding="utf-8")
    before = {path: path.read_bytes() for path in (tmp_path / "old").rglob("*") if path.is_file()}
    (tmp_path / "new").mkdir()  # an empty folder may exist
    calibrate(
        tmp_path / "old", "-t", text / "fr.txt", "--language", "fra", "-o", tmp_path / "new", "--no-shift", "--scale"
    )
    encoder = load_encoder(tmp_path / "new", device="cpu")
    kinds = [type(module).__name__ for module in encoder.model.children()]
    assert kinds == ["Transformer", "Pooling", "Normalize", "Calibration"]
    assert encoder.calibration_languages == ["fr"]
    assert encoder.model[-1].mean is None and encoder.model[-1].std.shape == (2, 32)
    card = (tmp_path / "new" / "README.md").read_text(encoding="utf-8")
    assert card.startswith("# Licence: CC0\n") and "Calibrated with `mlret calibrate` (scale)" in card
    assert before == {path: path.read_bytes() for path in (tmp_path / "old").rglob("*") if path.is_file()}


def test_sentences_are_drawn_by_the_seed(calibrate: Run, text: Path, tmp_path: Path, tiny_encoder_folder: Path) -> None:
    fingerprints = [
        calibrate(
            tiny_encoder_folder, "-t", text / "sw.jsonl.gz", "-o", tmp_path / f"{i}", "--seed", seed, "--json",
            "--sentences", 60,
        ).json["fingerprint"]
        for i, seed in enumerate((1, 1, 2))
    ]  # fmt: skip
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


@pytest.mark.thorough
def test_the_bundled_encoder_is_the_default(calibrate: Run, text: Path, tmp_path: Path) -> None:
    named = calibrate("bundled", "-t", text / "sw.jsonl.gz", "-o", tmp_path / "a", "--json").json
    default = calibrate("-t", text / "sw.jsonl.gz", "-o", tmp_path / "b", "--json").json
    assert named["model"] == default["model"] == "bundled:mlret-mini"
    assert named["fingerprint"] == default["fingerprint"]
    assert load_encoder(tmp_path / "a").calibration_languages == ["sw"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--no-shift"], "no step is on"),
        (["--adversarial"], "--adversarial is a start for rotations: add --rotate"),
        (["--sentences", "20"], "--sentences 20 is less than --min-sentences 50"),
        (["--rotate", "--pivot", "ja"], "the pivot 'ja' has 10 sentences, fewer than --min-sentences 50"),
        (["--rotate", "--pivot", "xx"], "unknown language code 'xx'"),
        (["--min-sentences", "81"], "no language has 81 distinct sentences (the most: 80)"),
        (["-t", "{text}/fr.txt"], "fr.txt: a text file does not state its language"),
        (["-t", "{text}/no*.jsonl"], "no*.jsonl: no such file; check --text"),
        (["-t", "{text}"], "is a folder; name its files, e.g. --text '{text}/*.jsonl.gz'"),
        (["-o", "{model}"], "is the encoder to be calibrated"),
        (["-o", "{text}"], "is not empty: name another --output, or remove it"),
        (["-o", "{text}/fr.txt"], "is a file: name another --output"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    calibrate: Run, text: Path, tmp_path: Path, tiny_encoder_folder: Path, arguments: list[str], message: str
) -> None:
    names = {"text": str(text), "model": str(tiny_encoder_folder)}
    extra = [argument.format(**names) for argument in arguments]
    before = sorted(text.iterdir())
    done = calibrate(tiny_encoder_folder, "-t", f"{text}/*.jsonl.gz", "-o", tmp_path / "new" / "model", *extra, code=2)
    assert done.err.startswith("error: ") and done.err.count("\n") == 1 and message.format(**names) in done.err
    assert not done.out and not list(tmp_path.iterdir()) and sorted(text.iterdir()) == before


def test_a_save_that_fails_leaves_nothing(
    calibrate: Run, text: Path, tmp_path: Path, tiny_encoder_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = SentenceTransformer.save

    def break_off(self: SentenceTransformer, path: str, **options: Any) -> None:
        save(self, path, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(SentenceTransformer, "save", break_off)
    calibrate(tiny_encoder_folder, "-t", text / "sw.jsonl.gz", "-o", tmp_path / "model", code=130)
    assert not list(tmp_path.iterdir())


def test_help_describes_the_command_without_loading_torch() -> None:
    script = "import sys\nfrom mlret.cli.main import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script, "calibrate", "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("False\n")
    assert "mlret calibrate my-encoder --text 'text/*.jsonl.gz'" in done.stdout
    assert "need not be" in done.stdout and "translations" in done.stdout
