"""Test `mlret train` and `mlret recipes` as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

MLRET = [sys.executable, "-m", "mlret.cli.main"]
SENTENCES = [
    "the sun and the moon",
    "rain falls on the tree",
    "a bird eats a seed",
    "milk and bread",
    "fire on the road",
]


@dataclass
class Done:
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process, which has paid for importing torch."""
    from mlret.cli.main import main

    monkeypatch.setenv("COLUMNS", "300")

    def run(*arguments: str, cwd: Path) -> Done:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["mlret", *arguments])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    documents = [
        {"id": f"{language}{i}", "lang": language, "sents": [f"{s} {i} {language}" for s in SENTENCES]}
        for language in ("en", "sw")
        for i in range(40)
    ]
    (tmp_path / "mono.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents), encoding="utf-8")
    recipe = {
        "name": "tiny", "description": "d", "sources": [{"kind": "documents", "files": ["mono.jsonl"]}],
        "tokenizer": {"vocab_size": 40, "sentences": 500, "character_coverage": 1.0},
        "backbone": {"layers": 1, "hidden": 16, "heads": 1, "feed_forward": 16, "max_length": 16},
        "stages": [{"name": "ccp", "objective": "ccp", "steps": 5, "batch_size": 8, "bank": 8, "projection": 8,
                    "max_length": 16, "bfloat16": False}],
        "calibration": {"sentences": 20, "min_sentences": 10},
    }  # fmt: skip
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return tmp_path


def test_train_writes_an_encoder_that_an_index_can_use(run: Run, folder: Path) -> None:
    done = run("train", "tiny.yaml", "--data", ".", "-o", "run", cwd=folder)
    assert done.code == 0, done.err
    assert "encoder: run/model" in done.out
    (folder / "docs.tsv").write_text("id\ttext\tlang\n1\tthe moon\ten\n", encoding="utf-8")
    built = run("index", "build", "i", "docs.tsv", "--model", "run/model", "--json", cwd=folder)
    assert built.code == 0, built.err


SMALL = [
    "backbone.layers=1", "backbone.hidden=16", "backbone.heads=1", "backbone.feed_forward=16",
    "stages.ccp-words.steps=2",
    "stages.ccp-words.batch_size=8", "stages.ccp-words.bank=8", "stages.ccp.steps=2", "stages.ccp.batch_size=8",
    "stages.ccp.bank=8",
]  # fmt: skip


def test_the_recipe_of_the_readme_trains_on_a_folder_of_ones_own_text(run: Run, tmp_path: Path) -> None:
    (tmp_path / "my-text").mkdir()
    for language, words in (
        ("en", "The {} was standing near the old house"),
        ("de", "Der {} stand neben dem alten Haus"),
    ):
        documents = [
            ". ".join(words.format(f"{a}{b}") for a in "kmrst") for b in [f"{x}{y}" for x in "aeiou" for y in "lmnr"]
        ]
        (tmp_path / "my-text" / f"{language}.txt").write_text(".\n\n".join(documents) + ".\n", encoding="utf-8")
    options = [part for value in SMALL for part in ("--set", value)]
    done = run("train", "ccp-mini", "--data", "my-text", *options, cwd=tmp_path)
    assert done.code == 0, done.err
    assert "encoder: runs/ccp-mini/model" in done.out
    assert "warning: my-text does not have the held-out tatoeba/tatoeba.v1.tsv.gz and 5 more: skipped" in done.err
    assert "text: my-text has no mono/*/*.jsonl.gz: taking every text file in it" in done.err


def test_the_recipe_of_the_readme_is_fine_tuned_on_examples_of_ones_own(
    run: Run, tmp_path: Path, tiny_encoder_folder: Path
) -> None:
    (tmp_path / "my-data").mkdir()
    rows = [
        {"query": f"where is {word}", "positive": f"{word} is here"} for word in ("milk", "rice", "tea", "fish") * 4
    ]
    (tmp_path / "my-data" / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    small = [f"stages.ranking.{change}" for change in ("steps=2", "batch_size=4", "max_length=32")]
    small.append(f"backbone.model={tiny_encoder_folder}")
    options = [part for value in small for part in ("--set", value)]
    done = run("train", "colbert-mini", "--data", "my-data", *options, cwd=tmp_path)
    assert done.code == 0, done.err
    assert "encoder: runs/colbert-mini/model" in done.out
    assert "my-data has no tydiqa_goldp: taking every file of examples in it" in done.err


@pytest.mark.thorough
def test_an_interrupt_reports_how_to_resume(folder: Path) -> None:
    recipe = yaml.safe_load((folder / "tiny.yaml").read_text())
    recipe["stages"][0]["steps"] = 100_000
    (folder / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    command = [*MLRET, "train", "tiny.yaml", "--data", ".", "-o", "run"]
    process = subprocess.Popen(
        command, cwd=folder, stderr=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "300"}
    )
    deadline = time.monotonic() + 100
    while not (folder / "run" / "stages").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Resume with: mlret train tiny.yaml --data . --output run" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "no-such", "--data", "."], "no recipe 'no-such'"),
        (["train", "no-such.yaml", "--data", "."], "no-such.yaml: no such file"),
        (["train", "--data", ".", "no-such"], "no recipe 'no-such'"),
        (["train", "mini-layers", "--data", "."], "no such file; the recipe's figures are published"),
        (["recipes", "copy", "ccp-mini", "tiny.yaml"], "tiny.yaml exists"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run: Run, folder: Path, arguments: list[str], message: str) -> None:
    failed = run(*arguments, cwd=folder)
    assert failed.code == 2
    assert message in failed.err
    assert failed.err.startswith("error: ")
    assert failed.err.count("\n") == 1


def test_recipes_are_listed_and_copied(run: Run, folder: Path) -> None:
    listed = run("recipes", "list", "--json", cwd=folder)
    assert {"ccp-mini", "mlret-mini/taught", "tatoeba"} <= {recipe["name"] for recipe in json.loads(listed.out)}
    assert run("recipes", "copy", "ccp-mini", cwd=folder).code == 0
    assert yaml.safe_load((folder / "ccp-mini.yaml").read_text())["name"] == "ccp-mini"


@pytest.mark.thorough
def test_a_language_is_added_after_an_interrupt(
    folder: Path, tiny_encoder_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlret.cli.main import main
    from mlret.encoders.adapters import with_adapters
    from mlret.encoders.loading import load_encoder
    from mlret.training import trainer

    encoder = load_encoder(tiny_encoder_folder)
    with_adapters(encoder.model, ["en"], default_language="en")
    encoder.model.save(str(folder / "modular"), create_model_card=False)

    def adapter(output: str, *arguments: str) -> tuple[int, str]:
        common = ["--text", "*.jsonl", "-o", output, "--steps", "4", "--batch-size", "4", "--max-length", "16"]
        monkeypatch.setattr("sys.argv", ["mlret", "train", "adapter", *common, *arguments])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().err

    own = trainer.TrainingProgress

    class Stopping(own):  # type: ignore[misc,valid-type]
        def on_step_begin(self, args: object, state: object, control: object, **kwargs: object) -> None:
            if state.global_step == 2:  # type: ignore[attr-defined]
                raise KeyboardInterrupt

    monkeypatch.chdir(folder)
    for arguments, message in (
        (("-l", "sw", "-m", "modular", "--learning-rate", "0"), "learning_rate: Input should be greater than 0"),
        (("-l", "sw", "-m", "modular", "--max-length", "400"), "passages of 400 tokens are longer than the encoder's"),
        (("-l", "sw", "-m", str(tiny_encoder_folder)), "has no language adapters"),
        (("-l", "sw", "-m", "modular", "--start", "fr"), "no adapter for 'fr' to start from"),
        (("-l", "fr", "-m", "modular"), "the sources hold no documents in fr"),
        (("-l", "??", "-m", "modular"), "'??'"),
    ):
        code, errors = adapter(f"bad-{abs(hash(arguments))}", *arguments)
        assert code == 2 and message in errors and "Traceback" not in errors
    right = ("-l", "sw", "-m", "modular", "--start", "en")
    assert adapter("whole", *right)[0] == 0
    with monkeypatch.context() as patched:
        patched.setattr(trainer, "TrainingProgress", Stopping)
        code, errors = adapter("cut", *right)
    assert code == 130 and "Resume with the same command" in errors
    code, errors = adapter("cut", *right)
    assert code == 0 and "resuming from checkpoint 2" in errors
    one, other = (load_encoder(folder / name / "model").model.state_dict() for name in ("whole", "cut"))
    assert all(bool((other[name] == value).all()) for name, value in one.items())
    assert any(".adapter_modules.sw." in name for name in one)
