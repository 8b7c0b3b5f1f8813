"""Test `mlret trim` as a user runs it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mlret
from tests.vocabulary import made

pytestmark = pytest.mark.timeout(120)
Trim = Callable[..., tuple[str, str]]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.jsonl"
    lines = [
        json.dumps({"lang": code, "sents": made.corpus()[code]}, ensure_ascii=False) for code in ("sw", "en", "de")
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def trim(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Trim:
    """Run `mlret trim` in this process, in which torch is already imported; return its output."""
    from mlret.cli.main import main

    def run(*arguments: object, code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["mlret", "trim", *map(str, arguments)])
        capsys.readouterr()
        found = 0
        try:
            main()
        except SystemExit as end:
            found = int(end.code or 0)
        out, err = capsys.readouterr()
        assert found == code, err
        return out, err

    return run


@pytest.mark.thorough
@pytest.mark.timeout(400)  # two more processes load torch, to be weighed
def test_a_command_line_from_one_folder_to_another(
    trim: Trim, tiny_encoder_folder: Path, text: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    out, _ = trim(tiny_encoder_folder, "-l", "sw,en", "-c", text, "--size", "40", "-o", small)
    assert "memory of a process" in out
    assert "Swahili (sw)" in out
    found = json.loads((small / "trim" / "trim.json").read_text())
    assert found["after"]["tokens"] == 40
    assert 0 < found["after"]["resident_bytes"] < found["before"]["resident_bytes"] * 1.5
    assert found["left_out"] == {"de": len(made.corpus()["de"])}
    assert "## Vocabulary trimming" in (small / "README.md").read_text()
    encoder = mlret.load_encoder(small)
    assert encoder.fingerprint == found["after"]["fingerprint"]
    assert len(encoder.model.tokenizer) == 40


def test_json_words_to_keep_and_the_text_s_language(trim: Trim, tiny_encoder_folder: Path, tmp_path: Path) -> None:
    plain, words = tmp_path / "plain.txt", tmp_path / "words.txt"
    plain.write_text("\n".join(made.corpus()["en"]), encoding="utf-8")
    words.write_text("fish\nrice\n", encoding="utf-8")
    options = ["-l", "en", "-c", plain, "--keep", f"@{words}", "--keep", "dogs", "--no-memory", "--json"]
    out, _ = trim(tiny_encoder_folder, *options, "--coverage", ".5", "-o", tmp_path / "small")
    found = json.loads(out)
    assert found["selection"] == {"coverage": 0.5}
    assert found["before"]["resident_bytes"] is None
    assert found["largest_difference"] == 0
    whole, small = mlret.load_encoder(tiny_encoder_folder), mlret.load_encoder(tmp_path / "small")
    some = ["fish rice dogs"]
    assert np.array_equal(whole.encode(some), small.encode(some))


def test_a_dry_run_shows_the_curve_and_writes_no_model(
    trim: Trim, tiny_encoder_folder: Path, text: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "curve.png"
    out, _ = trim(tiny_encoder_folder, "-l", "sw,en", "-c", text, "--dry-run", "-o", picture)
    assert "Share of tokens kept" in out
    assert "your choice comes to" in out
    assert picture.stat().st_size > 1000
    out, _ = trim(tiny_encoder_folder, "-l", "sw,en", "-c", text, "--dry-run", "--json")
    found = json.loads(out)
    assert found["languages"] == ["sw", "en"]
    assert len(found["coverage"][0]) == len(found["sizes"])


def test_a_benchmark_before_and_after(trim: Trim, tiny_encoder_folder: Path, text: Path, tmp_path: Path) -> None:
    bitext = tmp_path / "bitext"
    bitext.mkdir()
    for code in ("sw", "en", "de"):
        (bitext / f"{code}.txt").write_text("\n".join(made.corpus()[code]) + "\n", encoding="utf-8")
    options = ["-l", "sw,en", "-c", text, "--no-memory", "--json", "--eval", f"bitext={bitext}"]
    out, _ = trim(tiny_encoder_folder, *options, "-o", tmp_path / "small")
    rows = {row["metric"]: row for row in json.loads(out)["retrieval"]}
    assert 0 <= rows["accuracy"]["before"] <= 1
    assert "bitext, accuracy" in (tmp_path / "small" / "README.md").read_text()


def test_a_drafter(trim: Trim, tmp_path: Path) -> None:
    tokenizer = made.fast("byte-bpe")
    made.model("llama untied", len(tokenizer)).save_pretrained(tmp_path / "drafter")
    tokenizer.save_pretrained(tmp_path / "drafter")
    plain = tmp_path / "generated.txt"
    plain.write_text("\n".join(made.texts()), encoding="utf-8")
    out, _ = trim(tmp_path / "drafter", "--head", "--size", "500", "-c", plain, "-o", tmp_path / "fast")
    assert "assistant_model" in out
    from mlret.vocabulary import load_drafter

    assert len(load_drafter(tmp_path / "fast").lm_head.weight) == 500


def test_a_drafter_counts_the_sentences_of_json_and_the_ends_of_lines(trim: Trim, text: Path, tmp_path: Path) -> None:
    tokenizer = made.fast("byte-bpe")
    made.model("llama untied", len(tokenizer)).save_pretrained(tmp_path / "drafter")
    tokenizer.save_pretrained(tmp_path / "drafter")
    trim(tmp_path / "drafter", "--head", "--size", "300", "-c", text, "-o", tmp_path / "fast")
    from mlret.vocabulary import load_drafter

    kept = tokenizer.convert_ids_to_tokens(load_drafter(tmp_path / "fast").lm_head.target_ids.tolist())
    assert "Ċ" in kept
    assert "{" not in kept


def test_a_quantised_model_is_refused_before_it_is_loaded(trim: Trim, text: Path, tmp_path: Path) -> None:
    tokenizer = made.fast("byte-bpe")
    folder = tmp_path / "eight"
    made.model("llama untied", len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    (folder / "config.json").write_text(json.dumps(config))
    for options in (["-l", "en"], ["--head"]):
        _, err = trim(folder, *options, "--size", "300", "-c", text, "-o", tmp_path / "new", code=2)
        assert "quantised (8 bits or fewer): load it in float32" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-l", "sw", "-c", "{text}"], "no --output"),
        (["-l", "sw", "-c", "no*.txt", "-o", "{new}"], "no*.txt: no such file; check --corpus"),
        (["-l", "sw", "-c", "{text}", "-o", "{model}"], "is the model to be trimmed"),
        (["-l", "sw", "-c", "{text}", "-o", "{text}"], "is a file: name another --output"),
        (["-l", "sw", "-c", "{text}", "--size", "2", "-o", "{new}"], "a size of 2 is less than"),
        (["-l", "fi", "-c", "{text}", "-o", "{new}"], "the corpus has no text in fi"),
        (["-l", "sw", "--size", "9", "--coverage", ".5", "-c", "{text}", "-o", "{new}"], "choose one"),
        (["-l", "sw", "-c", "{text}", "-o", "{new}", "--eval", "tatoeba"], "give BENCHMARK=DATA"),
        (["-l", "sw", "-c", "{text}", "-o", "{new}", "--eval", "odd=x"], "no benchmark 'odd'"),
        (["-l", "sw", "-c", "{text}", "-o", "{new}", "--eval", "tatoeba=nowhere"], "nowhere"),
        (["-l", "sw", "--dry-run"], "give --corpus"),
        (["-l", "sw", "-c", "{text}", "--dry-run", "-o", "x.jpg"], "names a picture"),
        (["--head", "-o", "{new}"], "--head needs --size, --corpus"),
        (
            ["--head", "--keep", "a", "--dry-run", "-o", "{new}"],
            "--head takes --size, --corpus and --output, and has no",
        ),
        (["--head", "--size", "9", "-c", "{text}", "-o", "{new}"], "not a causal language model"),
    ],
)
def test_bad_input_leaves_nothing(
    trim: Trim, tiny_encoder_folder: Path, text: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    names = {"text": text, "new": tmp_path / "new", "model": tiny_encoder_folder}
    _, err = trim(tiny_encoder_folder, *(option.format(**names) for option in options), code=2)
    assert message in err
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".*partial"))
