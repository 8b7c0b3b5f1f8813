"""The registry of benchmarks, with the benchmark that eval/README.md shows how to write."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mlret.errors import InputError, MlretWarning
from mlret.eval import evaluate, registry
from mlret.eval.recipe import make_recipe
from mlret.eval.registry import Benchmark, benchmarks, register

ROOT = Path(__file__).parents[2]
FAQ = "who sleeps?\tthe cat sleeps\nwhat is cooked?\trice and fish\nhow many dogs?\tseven dogs\n"


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmarks()
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))


def example() -> str:
    """Return the module that eval/README.md shows."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "eval" / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (found,) = [block for block in blocks if "trec_benchmark" in block]
    return str(found)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with an installed package whose module is the example, named as an entry point."""
    (tmp_path / "made_faq.py").write_text(example(), encoding="utf-8")
    info = tmp_path / "made_faq-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: made-faq\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(
        "[mlret.benchmarks]\nfaq = made_faq:FAQ\nlost = made_faq:NOTHING\n", encoding="utf-8"
    )
    (tmp_path / "faq.tsv").write_text(FAQ, encoding="utf-8")
    return tmp_path


def test_names_are_those_of_the_settings_and_unique(own_registry: None) -> None:
    found = benchmarks()
    assert list(found) == sorted(found)
    assert all(name == benchmark.name for name, benchmark in found.items())
    tatoeba = found["tatoeba"]
    assert register(tatoeba) is tatoeba
    with pytest.raises(InputError, match="there is already a benchmark 'tatoeba'"):
        register(replace(tatoeba, summary="Another."))


@pytest.mark.parametrize("benchmark", benchmarks().values(), ids=lambda benchmark: benchmark.name)
def test_options_are_settings_that_describe_themselves(benchmark: Benchmark) -> None:  # type: ignore[type-arg]
    assert benchmark.options[0] == "data"
    for name in benchmark.options:
        assert benchmark.settings.model_fields[name].description
    assert benchmark.summary.endswith(".")


def test_the_example_of_the_manual_is_evaluated(own_registry: None, tmp_path: Path, tiny_encoder) -> None:  # type: ignore[no-untyped-def]
    exec(compile(example(), "example", "exec", dont_inherit=True), {"__name__": "made_example"})
    (tmp_path / "faq.tsv").write_text(FAQ, encoding="utf-8")
    report = evaluate("faq", tmp_path / "faq.tsv", models=[tiny_encoder])
    assert report.figure("recall@1", system="BM25") >= 2 / 3  # two of three questions share a word with their answer
    assert list(report.figures) == [tiny_encoder.name, "BM25", "random"]
    with pytest.raises(InputError, match="lines: Extra inputs are not permitted; the keys are name"):
        make_recipe({"benchmark": "faq", "data": "x", "lines": [1, 2]})


def test_a_benchmark_of_another_package_is_a_command(package: Path, tiny_encoder_folder: Path) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        paths = os.pathsep.join([str(package), str(ROOT), os.environ.get("PYTHONPATH", "")])
        return subprocess.run(
            [sys.executable, "-m", "mlret.cli.main", "eval", *map(str, arguments)],
            capture_output=True,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "160", "OMP_NUM_THREADS": "1"},
        )

    shown = run("--help")
    assert "Find the answer of each question: MRR@10 and Recall@1." in shown.stdout
    # An entry point that cannot be loaded is left out, with a warning on one line.
    assert shown.stderr.startswith("warning: benchmark lost (made_faq:NOTHING) is left out: ")
    assert shown.stderr.count("\n") == 1
    done = run("faq", "--data", package / "faq.tsv", "-m", tiny_encoder_folder, "--no-floors", "--json")
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)["figures"]) == [str(tiny_encoder_folder)]


@pytest.fixture
def loaded_again() -> Iterator[None]:
    """Entry points are read again, in the test and after it."""
    registry._load.cache_clear()
    yield
    registry._load.cache_clear()


@pytest.mark.usefixtures("own_registry", "loaded_again")
def test_an_entry_point_with_a_name_that_is_taken_is_left_out(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = example().replace('Literal["faq"] = "faq"', 'Literal["beir"] = "beir"')
    (package / "made_faq.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(package))
    before = benchmarks_quietly()
    assert before["beir"].summary.startswith("Evaluate on data sets in BEIR")


def benchmarks_quietly() -> dict[str, Benchmark]:  # type: ignore[type-arg]
    with pytest.warns(MlretWarning, match="there is already a benchmark 'beir'"):
        return benchmarks()
