"""Test `mlret train ccp-adapt` as a user runs it."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mlret.encoders.loading import load_encoder
from tests.training.conftest import OTHER

Run = Callable[..., tuple[int, str, str]]
# Letters of Thaana that are spelled with one Latin letter.
THAANA = str.maketrans("aiueobdfghjklmnrstvyz", "ަިުެޮބޑފގހޖކލމނރސޓވޔޒ")
QUICK = ["--steps", "24", "--layers", "1", "--learning-rate", "0.01", "--batch-size", "16"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    from mlret.cli.main import main

    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mlret", "train", "ccp-adapt", *arguments])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def documents(count: int, *, shuffled: bool = False) -> str:
    """Return text whose documents have three words of their own each."""
    source = random.Random(0)
    parts = []
    for _ in range(count):
        topic = source.sample(OTHER, 3)
        parts.append([" ".join(source.choices(topic, k=4)) for _ in range(8)])
    if shuffled:
        sentences = [sentence for part in parts for sentence in part]
        source.shuffle(sentences)
        parts = [sentences[start : start + 8] for start in range(0, len(sentences), 8)]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(documents(60), encoding="utf-8")
    return path


def test_a_run_reports_both_measurements_and_is_not_repeated(
    run: Run, text: Path, tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    arguments = ["-l", "sw", "--text", str(text), "-m", str(tiny_encoder_folder), "-o", "run", *QUICK]
    code, out, err = run(*arguments)
    assert code == 0, err
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert (tmp_path / "run" / "model").is_dir() == report["helped"]
    assert ("encoder: run/model" in out) == report["helped"]
    assert f"{report['before']['context']:.1%} before, {report['after']['context']:.1%} after" in out
    assert not (tmp_path / "run" / "checkpoint.pt").exists()
    again, second, _ = run(*arguments)
    assert (again, second) == (0, out)


def test_a_script_that_the_vocabulary_lacks_is_spelled_first(
    run: Run, tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "thaana.txt").write_text(documents(60).translate(THAANA), encoding="utf-8")
    arguments = ["-l", "dv", "--text", "thaana.txt", "-m", str(tiny_encoder_folder), *QUICK]
    code, out, err = run(*arguments, "-o", "run")
    assert code == 0, err
    assert "thaana is spelled in Latin letters" in out
    assert "context accuracy with the spelling alone" in out
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert report["spelling"]["unknown_before"] > 0.4
    assert report["spelling"]["unknown_after"] == 0
    assert report["spelled"]["context"] > report["before"]["context"]
    assert report["helped"]
    # The stored encoder spells it, too: it distinguishes words of which the encoder before knew no letter.
    words = [word.translate(THAANA) for word in ("mvua", "jani")]
    old, new = (load_encoder(folder, device="cpu") for folder in (tiny_encoder_folder, tmp_path / "run" / "model"))
    assert np.array_equal(*old.encode(words))
    assert not np.allclose(*new.encode(words, language="dv"))
    assert np.array_equal(old.encode(["the cat"], language="en"), new.encode(["the cat"], language="en"))
    assert run(*arguments, "-o", "run")[1] == out
    code, out, _ = run(*arguments, "-o", "without", "--no-spelling")
    assert code == 0
    assert "spelled" not in out
    without = json.loads((tmp_path / "without" / "report.json").read_text(encoding="utf-8"))
    assert without["spelling"] is None
    assert without["before"] == report["before"]


def test_with_pairs_that_it_does_not_improve_the_old_encoder_is_kept(
    run: Run, text: Path, tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    # A sentence is its own translation, so that nothing can be better than before.
    lines = dict.fromkeys(line for line in documents(8).splitlines() if line)
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{line}\t{line}\n" for line in lines), encoding="utf-8")
    code, out, err = run(
        "-l", "sw", "--text", str(text), "-m", str(tiny_encoder_folder), "-o", "run", "--pairs", str(pairs), *QUICK
    )
    assert code == 0, err
    assert "it did not help" in out
    assert "bitext accuracy on" in out
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", [], "expected at least one document"),
        ("one sentence\n" * 3, [], "3 sentences of sw"),
        ("\n".join(f"sentence {n}" for n in range(300)), [], "is 1 documents, and at least 10"),
        (documents(60, shuffled=True), [], "in the order in which they were written"),
        (documents(60), ["-l", "xx-not-a-language"], "xx-not-a-language"),
        (documents(60), ["--layers", "9"], "has 2 layers, not 9"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    run: Run, tiny_encoder_folder: Path, tmp_path: Path, content: str, options: list[str], message: str
) -> None:
    (tmp_path / "text.txt").write_text(content, encoding="utf-8")
    code, _, err = run("-l", "sw", "--text", "text.txt", "-m", str(tiny_encoder_folder), "-o", "run", *QUICK, *options)
    assert code == 2
    assert message in err
    assert not (tmp_path / "run" / "model").exists()


def test_malformed_pairs_and_a_folder_of_other_inputs_are_refused(
    run: Run, text: Path, tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("jua\tsun\nmvua\n", encoding="utf-8")
    common = ["-l", "sw", "--text", str(text), "-m", str(tiny_encoder_folder), "-o", "run", *QUICK]
    code, _, err = run(*common, "--pairs", str(pairs))
    assert code == 2
    assert "pairs.tsv:2" in err
    assert run(*common)[0] == 0
    code, _, err = run(*common, "--seed", "1")
    assert code == 2
    assert "holds an adaptation with other inputs" in err
