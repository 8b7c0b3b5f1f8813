"""Test the day a GPU is there by its rehearsal on the CPU: files, resumption, errors, the report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from scripts.gpu_day import PARTS, ROOT, in_markdown

pytest.importorskip("torch")


def run(output: Path, *options: str, before: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the script, with modules of ``before`` in place of those of the same name."""
    paths = [str(path) for path in (before, ROOT) if path is not None]
    command = [sys.executable, str(ROOT / "scripts" / "gpu_day.py"), "--output", str(output), *options]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def result(output: Path, part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / f"{part}.json").read_text(encoding="utf-8"))
    return found


def test_a_part_that_fails_is_recorded_and_the_others_run_and_none_runs_twice(tmp_path: Path) -> None:
    broken, output = tmp_path / "broken", tmp_path / "results"
    broken.mkdir()
    (broken / "transformers.py").write_text("raise RuntimeError('broken on purpose')\n", encoding="utf-8")
    rehearsal = ("--rehearse", "--scale", "0.0001", "--parts", "train,machine")
    first = run(output, *rehearsal, before=broken)
    assert first.returncode == 1
    failed, machine = result(output, "train"), result(output, "machine")
    assert "RuntimeError: broken on purpose" in failed["error"] and "targets" not in failed
    assert machine["figures"]["versions"]["torch"] and machine["targets"][0]["measured"] > 0
    report = (output / "report.md").read_text(encoding="utf-8")
    assert "broken on purpose" in report and "| maxsim-4 | | | not run | |" in report
    assert {path.suffix for path in output.iterdir()} == {".json", ".md", ".log"}

    before = {path: path.stat().st_mtime_ns for path in output.iterdir()}
    second = run(output, *rehearsal)
    assert "train: failed before" in second.stdout and "machine: done before" in second.stdout
    assert second.returncode == 1 and {path: path.stat().st_mtime_ns for path in output.iterdir()} == before

    (output / "machine.json").unlink()
    assert run(output, "--rehearse", "--scale", "0.001", "--parts", "machine").returncode == 2


def test_a_run_that_its_limit_ends_leaves_no_result_and_goes_on(tmp_path: Path) -> None:
    rehearsal = ("--rehearse", "--scale", "0.0001", "--parts", "machine")
    ended = run(tmp_path, *rehearsal, "--limit", "1")
    assert ended.returncode == 1 and "machine: left" in ended.stdout
    assert not list(tmp_path.glob("*.json"))
    assert run(tmp_path, *rehearsal).returncode == 0 and "error" not in result(tmp_path, "machine")


def test_what_cannot_be_done_is_said_before_anything_runs(tmp_path: Path) -> None:
    import torch

    for options, said in (
        (("--rehearse", "--parts", "machine,lunch"), "no part is named lunch"),
        (("--rehearse", "--scale", "2"), "--scale: 2.0 is not above 0 and at most 1"),
        (("--report",), "holds no results"),
    ):
        done = run(tmp_path, *options)
        assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1
    if not torch.cuda.is_available():
        done = run(tmp_path)
        assert done.returncode == 2 and "torch sees no GPU: --rehearse" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_report_says_what_reached_its_target() -> None:
    def target(measured: float | None, wanted: float | None, at_least: bool = False) -> dict[str, Any]:
        return {"what": "x", "measured": measured, "wanted": wanted, "at_least": at_least, "reason": "no | kernel"}

    targets = [target(1.4, 1.5), target(1.6, 1.5), target(2.1, 2, True), target(1.9, 2, True), target(None, 2)]
    measured = {
        "rehearsal": False,
        "scale": 1.0,
        "seconds": 3.0,
        "command": "c",
        "targets": [*targets, target(7, None)],
    }
    machine = {"device": "NVIDIA H200", "nvidia_smi": {"driver_version": "580"}, "versions": {"torch": "2.11"}}
    lines = in_markdown({"exact": measured, "machine": measured | {"targets": [], "figures": machine}}).splitlines()
    assert lines[2] == "device NVIDIA H200, driver 580, CUDA None, torch 2.11."
    assert [line for line in lines if line.startswith("| exact | x")] == [
        "| exact | x | at most 1.5 | 1.4 | reached |",
        "| exact | x | at most 1.5 | 1.6 | **missed** |",
        "| exact | x | at least 2 | 2.1 | reached |",
        "| exact | x | at least 2 | 1.9 | **missed** |",
        "| exact | x | at most 2 | not measured: no \\| kernel |  |",
        "| exact | x |  | 7 |  |",
    ]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_part_runs_on_the_cpu(tmp_path: Path) -> None:
    done = run(tmp_path, "--rehearse", "--scale", "0.0001")
    assert done.returncode == 0, done.stdout
    results = {part: result(tmp_path, part) for part in PARTS}
    for part, found in results.items():
        assert found["rehearsal"] and found["targets"], part
    tests = results["tests"]["figures"]
    assert tests["outcomes"]["passed"] and "tests/index/test_exact.py" in tests["files"]
    assert results["exact"]["figures"]["faiss"]["recall_at_10"] == 1
    for bits in (4, 8, 16):
        figures = results[f"maxsim-{bits}"]["figures"]
        assert figures["torch"]["padded"]["difference"] < 1e-3
        assert ("ms_1" in figures["kernel"]) == (find_spec("triton") is not None)
    stages = results["train"]["figures"]["stages"]
    assert stages["ccp"]["model_flop_per_second"] > 0 and 0 < stages["ccp"]["share_of_padding"] < 1
