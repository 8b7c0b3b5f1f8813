"""Progress where standard error is no terminal, the version, completion, and messages worded for the command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret import __version__
from mlret.cli.progress import documents_progress, texts_progress
from mlret.cli.progress_lines import ProgressLines
from mlret.cli.wording import for_command_line
from mlret.index.hits import Updated
from mlret.wording import counted


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lines_of(steps: list[tuple[float, int, float | None]], unit: str = "documents") -> list[str]:
    """Return the lines that are printed for (seconds since the beginning, number done, share done)."""
    clock, written = Clock(), list[str]()
    lines = ProgressLines("indexing", unit, write=written.append, clock=clock)
    for seconds, done, share in steps:
        clock.now = 100 + seconds
        lines.update(done, share)
    return written


def test_a_line_every_ten_seconds_with_rate_and_time_left() -> None:
    assert lines_of([(1, 100, 0.01), (9, 900, 0.09), (10, 1000, 0.09), (12, 1100, 0.1), (20, 2000, 0.125)]) == [
        "indexing: 1,000 documents, 9 %, 100/s, 1:41 left",
        "indexing: 2,000 documents, 12 %, 100/s, 2:20 left",
    ]


def test_a_line_every_ten_per_cent_if_that_takes_seconds() -> None:
    assert lines_of([(1, 50, 0.5), (2, 60, 0.6), (3, 70, 0.7), (4, 80, 0.8)]) == [
        "indexing: 60 documents, 60 %, 30/s, 0:01 left",
        "indexing: 80 documents, 80 %, 20/s, 0:01 left",
    ]
    assert lines_of([(0.1, 50, 0.5), (0.2, 100, 1.0)]) == []


def test_an_unknown_length_and_a_slow_rate() -> None:
    assert lines_of([(40, 10, None)]) == ["indexing: 10 documents, 0.25/s"]
    assert lines_of([(5000, 10, 0.25)], unit="") == ["indexing: 25 %, 4:10:00 left"]


@given(st.lists(st.floats(0.01, 30), min_size=1, max_size=50))
def test_lines_are_never_less_than_two_seconds_apart_nor_more_than_the_steps_need(gaps: list[float]) -> None:
    clock, times = Clock(), list[float]()
    lines = ProgressLines("x", "y", write=lambda _: times.append(clock.now), clock=clock)
    last, done = 100.0, 0
    for number, gap in enumerate(gaps, 1):
        clock.now += gap
        lines.update(number, number / len(gaps))
        if times[done:]:
            assert clock.now - last >= 2
            last, done = clock.now, len(times)
        assert clock.now - last < 10


def test_progress_is_printed_as_lines_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(ProgressLines.__init__, "__kwdefaults__", {"write": None, "clock": clock})
    with documents_progress("indexing", resume="") as update, texts_progress("encoding") as update_texts:
        clock.now += 11
        update(Updated(added=300, skipped=30), 0.5)
        update_texts(22, 44)
    assert capsys.readouterr().err == (
        "indexing: 330 documents, 50 %, 30/s, 0:11 left\nencoding: 22 texts, 50 %, 2/s, 0:11 left\n"
    )


def command(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("mlret")), *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_version_is_printed() -> None:
    assert command("--version") == f"mlret {__version__}\n"


def completed(words: str) -> list[str]:
    """Return what bash is offered for the last of some words."""
    place = str(len(words.split(" ")) - 1)
    answer = command(_MLRET_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=place, _TYPER_COMPLETE_TEST="1")
    return answer.split()


@pytest.mark.skipif(sys.platform == "win32", reason="bash")
def test_commands_and_options_are_completed_as_a_shell_asks_for_them() -> None:
    assert completed("mlret in") == ["index"]
    assert {"build", "check", "info"} <= set(completed("mlret index "))
    assert completed("mlret index build --ki") == ["--kind"]
    assert "complete -o default -F" in command(
        "--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"
    )


MESSAGES = {
    "skip it (`skip_existing=True`), or replace it (`Index.update`)": (
        "skip it (--skip-existing), or replace it (`mlret index update`)"
    ),
    'repeat with `existing="skip"`': "repeat with --skip-existing",
    "raise the limit (`max_line=…`)": "raise the limit (--max-line)",
    'search it with `mode="dense"`': "search it with --mode dense",
    "name an encoder (`encoder=…`)": "name an encoder (--model)",
    "choose `pictures=False`": "choose --no-plots",
    "`mlret index verify --repair x` repairs it": "`mlret index verify --repair x` repairs it",
    "no column `text`": "no column `text`",
}


@pytest.mark.parametrize("message", MESSAGES)
def test_arguments_and_functions_are_options_and_commands_on_the_command_line(message: str) -> None:
    assert for_command_line(message) == MESSAGES[message]


def test_every_argument_that_an_error_names_is_an_option() -> None:
    """Read the source for arguments in messages; each must be an option of some command."""
    root = Path(__file__).resolve().parents[2] / "mlret"
    settings = [*(root / "cli").glob("*.py"), *(root / "eval" / "benchmarks").glob("*.py"), root / "eval/registry.py"]
    options = "\n".join(path.read_text(encoding="utf-8") for path in settings).replace("_", "-")
    named = set()
    for path in root.rglob("*.py"):
        if path.parent.name in ("cli", "serve", "routes"):
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            if "``" not in line and not line.lstrip().startswith("#"):
                named |= {
                    for_command_line(f"`{found}`").split()[0] for found in re.findall("`([a-z][a-z_]*=[^`]*)`", line)
                }
    assert {"--skip-existing", "--max-line", "--model", "--mode", "--no-plots"} <= named
    names = {option.removeprefix("--no-").removeprefix("--") for option in named}
    assert {name for name in names if name not in options} == set()


def test_errors_below_the_command_line_name_no_bare_options() -> None:
    """A message may name a whole command, but not an option of a command that the caller has not run."""
    root = Path(__file__).resolve().parents[2] / "mlret"
    for package in ("data", "encoders", "index", "memory", "training", "vocabulary"):
        for path in (root / package).rglob("*.py"):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                text = line.split("#")[0]
                if '"' in text and " --" in text.replace("(--", " --") and "``" not in text:
                    allowed = ("mlret ", "pip ", "again", "--model {", "between ---")
                    assert any(one in text for one in allowed), f"{path}:{number}: {line.strip()}"


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 queries"), (1, "1 query"), (2, "2 queries"), (1000, "1,000 queries")]
)
def test_a_number_agrees_with_its_noun(count: int, words: str) -> None:
    assert counted(count, "query", "queries") == words


def test_an_index_is_checked_and_warned_about_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlret.cli.main import main

    def run(*arguments: object, code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["mlret", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code in (code, None if code == 0 else code)
        captured = capsys.readouterr()
        return captured.out, captured.err

    documents = [
        {"id": "train", "text": "Der Zug nach Berlin hat eine Stunde Verspätung.", "lang": "de", "year": 2024},
        {"id": "quechua", "text": "Allin p'unchaw", "lang": "qu"},
    ]
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in documents), encoding="utf-8")
    out, err = run("index", "build", tmp_path / "i", file, "--json")
    sentence = "1 of 2 documents is in a language that the encoder was not trained in, and may not be found: Quechua 1"
    # A slow machine also shows progress.
    assert json.loads(out)["warnings"] == [sentence] and err.splitlines()[-1] == f"warning: {sentence}"
    info = json.loads(run("index", "info", tmp_path / "i", "--json")[0])
    assert info["warnings"] == [sentence] and info["fields"] == ["year"]
    assert info["unread"] == {"cut": 0, "tokens": 0, "languages": {"qu": 1}, "scripts": {}}
    report = json.loads(run("index", "check", tmp_path / "i", "--json")[0])
    assert report["good"] and report["recall_at_1"] == 1.0 and set(report["languages"]) == {"de", "qu"}
    assert "nothing is weak" in run("index", "check", tmp_path / "i", "--size", "1")[0]
    again = run("index", "add", tmp_path / "i", file, code=2)[1]
    assert "skip what is stored (--skip-existing), or replace it (`mlret index update`)" in again
