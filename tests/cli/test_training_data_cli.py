"""`mlret mine`, `mlret score` and `mlret average` as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mlret
from mlret.data.ranking import read_ranking
from mlret.data.sample import FOLDER, load_sample

pytestmark = pytest.mark.timeout(180)
Run = Callable[..., tuple[str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `mlret` in this process, in which torch is already imported; return its output."""
    from mlret.cli.main import main

    def run(*arguments: object, code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["mlret", *map(str, arguments)])
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


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write English and Swahili questions of the sample, each with its passage."""
    sample = load_sample()
    passages = {(one.metadata["topic"], one.language): one for one in sample.passages}
    by_id = {one.id: one for one in sample.passages}
    path = tmp_path_factory.mktemp("pairs") / "train.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for topic in sample.questions.values():
            if topic.language in ("en", "sw"):
                about = by_id[next(iter(sample.qrels[topic.id]))].metadata["topic"]
                record = {"query": topic.text, "positive": passages[about, topic.language].text, "lang": topic.language}
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return path


@pytest.mark.thorough
def test_from_pairs_to_scored_hard_negatives(run: Run, pairs: Path, tmp_path: Path) -> None:
    mined, scored = tmp_path / "mined.jsonl.gz", tmp_path / "scored.jsonl"
    command = [sys.executable, "-m", "mlret", "mine", str(pairs), "-n", "3", "-o", str(mined)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "train.jsonl: queries with positive and negative passages" in done.stderr
    assert "likely false negatives" in done.stdout
    out, _ = run("score", mined, "--teacher", "bundled", "-o", scored)
    assert "queries whose positives score above all negatives 100.0 %" in " ".join(out.split())
    examples = list(read_ranking(scored))
    assert len(examples) == len(list(read_ranking(pairs)))
    assert any(len(one.negatives) == 3 for one in examples)
    for one in examples:
        assert one.scores is not None
        assert all(score <= 0.95 * one.scores[0] + 1e-4 for score in one.scores[1:])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mined.jsonl.gz", "scored.jsonl"]


def test_negatives_in_other_languages_from_a_ready_index(
    run: Run, pairs: Path, tmp_path: Path, tiny_encoder_folder: Path
) -> None:
    run("index", "build", tmp_path / "index", FOLDER / "corpus.jsonl", "--model", tiny_encoder_folder, "--lexical")
    options = ["--index", tmp_path / "index", "--passages", "other", "-w", "lang!=de", "--no-margin", "-n", "5"]
    more = ["--mode", "hybrid", "--sampling", "random", "--skip", "2", "--depth", "40", "--only", "sw", "--json"]
    out, _ = run("mine", pairs, "-o", tmp_path / "a.jsonl", *options, *more)
    found = json.loads(out)
    assert found["queries_with_all"] == found["queries"]
    assert found["skipped"] == found["passed_over"] == {"query in another language": found["queries"]}
    for one in read_ranking(tmp_path / "a.jsonl"):
        assert one.language == "sw"
        assert one.passage_languages is not None
        assert not {"sw", "de", None} & set(one.passage_languages[1:])
        assert one.passage_ids is not None and all(one.passage_ids[1:])


def test_an_interrupted_command_resumes(
    run: Run, pairs: Path, tmp_path: Path, tiny_encoder_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlret.training.labels import mining

    whole, path = tmp_path / "whole.jsonl", tmp_path / "mined.jsonl"
    options = ("--model", tiny_encoder_folder, "--batch-size", "4")
    run("mine", pairs, "-o", whole, *options)
    work, batches = mining._mine, []

    def interrupted(batch: object, *rest: object) -> object:
        batches.append(batch)
        if len(batches) == 3:
            raise KeyboardInterrupt
        return work(batch, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(mining, "_mine", interrupted)
    _, err = run("mine", pairs, "-o", path, *options, code=130)
    assert "stopped; to resume, give the same command again" in err
    assert not path.exists()
    monkeypatch.setattr(mining, "_mine", work)
    run("mine", pairs, "-o", path, *options, "-n", "2", code=2)
    run("mine", pairs, "-o", path, *options)
    assert path.read_bytes() == whole.read_bytes()


def test_averaging_writes_an_encoder(run: Run, tiny_encoder_folder: Path, tmp_path: Path) -> None:
    out, _ = run("average", tiny_encoder_folder, tiny_encoder_folder, "--weights", "2,1", "-o", tmp_path / "mean")
    assert "0.667" in out
    assert "rebuild indexes" in out
    assert mlret.load_encoder(tmp_path / "mean").fingerprint == mlret.load_encoder(tiny_encoder_folder).fingerprint
    out, _ = run("average", tiny_encoder_folder, tiny_encoder_folder, "-o", tmp_path / "json", "--json")
    found = json.loads(out)
    assert found["weights"] == [0.5, 0.5]
    assert found["distance"] == [0, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mine", "{pairs}", "-o", "{pairs}"], "already exists; name another --output"),
        (["mine", "{pairs}", "-o", "/nowhere/x.jsonl"], "does not exist; make it first"),
        (["mine", "{pairs}", "-o", "{new}", "--no-margin", "--absolute-margin", "1"], "exclude each other"),
        (["mine", "{pairs}", "-o", "{new}", "--passages", "foreign"], "no language 'foreign'"),
        (["mine", "{pairs}", "-o", "{new}", "--format", "csv"], "no format 'csv'"),
        (["mine", "none-*.jsonl", "-o", "{new}"], "no such file; check the pattern"),
        (["mine", "{pairs}", "-o", "{new}", "--index", "none"], "none"),
        (["score", "{pairs}", "-o", "{new}", "--teacher", "bundled", "--kind", "judge"], "no kind of teacher"),
        (["score", "{pairs}", "-o", "{new}", "--teacher", "./none"], "no encoder folder at ./none"),
        (["score", "none.jsonl", "-o", "{new}", "--teacher", "bundled"], "none.jsonl: no such file"),
        (["average", "a", "-o", "{new}"], "at least two"),
        (["average", "a", "b", "-o", "{new}", "--weights", "1;2"], "give numbers with commas"),
    ],
)
def test_what_is_refused(run: Run, pairs: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    filled = [part.format(pairs=pairs, new=tmp_path / "new.jsonl") for part in arguments]
    _, err = run(*filled, code=2)
    assert message in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", ["mine", "score", "average"])
def test_help_describes_the_command(run: Run, verb: str) -> None:
    out, _ = run(verb, "--help")
    assert "Examples:" in out
    assert f"mlret {verb} " in out
