"""Run the tests that are marked `gpu`, and count them.

    python scripts/bench/gpu_tests.py [--device cuda] [--json FILE]

On a CPU they are collected, and the quick tests of the same kernels run: the formulations in torch, and triton's
interpreter if triton is installed.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import typer
from gpu import DeviceName, JsonFile, Scale, Target, save

ROOT = Path(__file__).resolve().parents[2]
_ON_CPU = "tests/index/tokens/test_device.py"


def marked() -> list[str]:
    """Return the files with tests marked `gpu`; others may need packages that the machine lacks."""
    mark = re.compile(r"^\s*@?pytest\.mark\.gpu\b|^pytestmark\b.*\.gpu\b", re.MULTILINE)
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(path.relative_to(ROOT)) for path in files if mark.search(path.read_text(encoding="utf-8"))]


def run_tests(arguments: list[str]) -> tuple[dict[str, int], list[str], str]:
    """Run pytest; return the number of tests of each outcome, the names of those that failed, and its last lines."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        if not report.is_file():
            raise SystemExit(f"pytest wrote no report (exit code {done.returncode}):\n{tail}")
        cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    outcomes = {"passed": 0, "failed": 0, "skipped": 0}
    failed = []
    for case in cases:
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        outcomes[outcome] += 1
        if outcome == "failed":
            failed.append(f"{case.get('classname')}::{case.get('name')}")
    return outcomes, failed, tail


def main(device_name: DeviceName = "cuda", scale: Scale = 1.0, json_file: JsonFile = None) -> None:
    """Run the tests that need a GPU."""
    files = marked()
    on_cpu = device_name == "cpu"
    arguments = ["-m", "not gpu and not thorough", _ON_CPU] if on_cpu else ["-m", "gpu", *files]
    outcomes, failed, tail = run_tests(arguments)
    figures = {"files": files, "outcomes": outcomes, "failed": failed, "scale": scale, "tail": tail if failed else ""}
    told = "tests of the kernels on a CPU" if on_cpu else "tests marked gpu"
    targets = [
        Target(f"{told}: passed", outcomes["passed"], 1, at_least=True),
        Target(f"{told}: failed", outcomes["failed"], 0),
        Target(f"{told}: skipped", outcomes["skipped"], None if on_cpu else 0),
    ]
    save(json_file, figures, targets)


if __name__ == "__main__":
    typer.run(main)
