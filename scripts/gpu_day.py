"""Measure all that needs a GPU, part by part, into a folder; or rehearse it on the CPU.

    python scripts/gpu_day.py --output DIR [--parts machine,tests,…] [--limit 540] [--scale 1]
    python scripts/gpu_day.py --output DIR --rehearse
    python scripts/gpu_day.py --output DIR --report

A run on one H200 is meant to take at most twenty minutes. Each part is a program of its own in `scripts/bench/`, so
that none stops the others. As soon as a part is done its results lie in `DIR/PART.json`, complete or absent. A part
whose file exists is skipped, so that a run that was stopped, or that --limit ended, goes on where it was when the
command is given again. A part that failed keeps its error there; --again runs those parts once more. `DIR/report.md`
has all targets beside what was measured, and is written again after each part.

--rehearse runs every part on the CPU, at a hundredth of the size unless --scale says otherwise: FAISS's flat index in
place of that on a GPU, and triton's interpreter. Its figures mean nothing; that every part runs does.

The exit status is 1 if a part failed or is left.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / "scripts" / "bench"
_REHEARSED = 0.01
_TAIL = 4_000  # characters of the output of a part that failed


@dataclass(frozen=True)
class Part:
    """A program to run.

    Attributes
    ----------
    script
        Its name in `scripts/bench/`.
    seconds
        The most that it may take.
    arguments
        What it is given besides the device, the scale and the file to write.
    """

    script: str
    seconds: int
    arguments: tuple[str, ...] = ()


PARTS = {
    "machine": Part("gpu_machine.py", 120),
    "tests": Part("gpu_tests.py", 240),
    "maxsim-4": Part("multivector_gpu.py", 240, ("--bits", "4")),
    "exact": Part("exact_gpu.py", 240),
    "encode": Part("encode_gpu.py", 240),
    "train": Part("train_gpu.py", 300),
    "maxsim-16": Part("multivector_gpu.py", 240, ("--bits", "16")),
    "maxsim-8": Part("multivector_gpu.py", 240, ("--bits", "8")),
}


def fail(line: str) -> typer.Exit:
    """Print what is wrong with the arguments; return the exception to raise."""
    print(f"error: {line}", file=sys.stderr)
    return typer.Exit(2)


def write(path: Path, text: str) -> None:
    """Write a file so that it is either complete or absent, without mlret, which may not import on the day."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def results_of(output: Path) -> dict[str, dict[str, Any]]:
    """Return the results of all parts that have run, in their order."""
    files = {name: output / f"{name}.json" for name in PARTS}
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.is_file()}


def run_part(name: str, output: Path, setting: dict[str, Any], most: float) -> dict[str, Any] | None:
    """Run a part; return its results or its error, or ``None`` if the limit of this run ended it.

    Its output is kept in ``NAME.log``.
    """
    part = PARTS[name]
    file, log = output / f".{name}.part.json", output / f"{name}.log"
    file.unlink(missing_ok=True)
    device = "cpu" if setting["rehearsal"] else "cuda"
    options = ["--device", device, "--scale", str(setting["scale"]), "--json", str(file.resolve())]
    command = [sys.executable, str(BENCH / part.script), *part.arguments, *options]
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    # Nothing can be fetched on the day, so no part may try.
    environment |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    start = time.monotonic()
    # A rehearsal on busy cores has no limit of a part.
    allowed = most if setting["rehearsal"] else min(most, part.seconds)
    with log.open("w", encoding="utf-8") as sink:
        running = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status: int | None = running.wait(timeout=allowed)
        except BaseException as error:
            # With all its processes, those of pytest and of the data loader included.
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            if allowed < part.seconds:
                return None
            status = None
    result: dict[str, Any] = {"part": name, **setting, "seconds": round(time.monotonic() - start, 1)}
    # The name of the interpreter and of the file of results differ from machine to machine.
    shown = ["python", f"scripts/bench/{part.script}", *part.arguments, *options[:4]]
    result["command"] = " ".join(shown)
    if status == 0 and file.is_file():
        result |= json.loads(file.read_text(encoding="utf-8"))
    else:
        ended = f"took more than {allowed:.0f} seconds" if status is None else f"ended with status {status}"
        tail = log.read_text(encoding="utf-8", errors="replace")[-_TAIL:]
        lines = [line for line in tail.splitlines() if line.strip(" │╰╯─")]
        result["error"] = f"{ended}: {lines[-1].strip() if lines else 'no output'}"
        result["tail"] = tail
    file.unlink(missing_ok=True)
    return result


def verdict(target: dict[str, Any], *, rehearsal: bool) -> str:
    """Return whether a target was reached, in a word."""
    if target["wanted"] is None or target["measured"] is None or rehearsal:
        return "rehearsed" if rehearsal and target["measured"] is not None else ""
    reached = target["measured"] >= target["wanted"] if target["at_least"] else target["measured"] <= target["wanted"]
    return "reached" if reached else "**missed**"


def in_markdown(results: dict[str, dict[str, Any]]) -> str:
    """Return the report."""
    rehearsal = any(result["rehearsal"] for result in results.values())
    machine = results.get("machine", {}).get("figures", {})
    smi, versions = machine.get("nvidia_smi", {}), machine.get("versions", {})
    named = [
        f"device {machine.get('device', 'unknown')}",
        f"driver {smi.get('driver_version', 'unknown')}",
        f"CUDA {machine.get('cuda')}",
        *(
            f"{package} {versions[package]}"
            for package in ("torch", "triton", "faiss-gpu", "faiss-cpu", "mlret")
            if versions.get(package)
        ),
    ]
    lines = ["# What needs a GPU", "", f"{', '.join(named)}.", ""]
    if rehearsal:
        lines += ["A rehearsal on the CPU: that every part runs is all that it shows.", ""]
    lines += ["| part | figure | target | measured | |", "|---|---|---:|---:|---|"]
    for name in PARTS:
        result = results.get(name)
        if result is None:
            lines.append(f"| {name} | | | not run | |")
            continue
        if "error" in result:
            lines.append(f"| {name} | | | {_cell('failed: ' + result['error'])} | **failed** |")
        for target in result.get("targets", ()):
            wanted = target["wanted"]
            told = "" if wanted is None else f"at {'least' if target['at_least'] else 'most'} {wanted:g}"
            measured = target["measured"]
            value = _cell(f"not measured: {target['reason']}") if measured is None else f"{measured:,.4g}"
            lines.append(
                f"| {name} | {_cell(target['what'])} | {told} | {value} | {verdict(target, rehearsal=rehearsal)} |"
            )
    if missing := machine.get("missing"):
        lines += ["", "Not installed there:", "", *(f"- {line}" for line in missing)]
    lines += ["", "| part | seconds | scale | command |", "|---|---:|---:|---|"]
    for name, result in results.items():
        lines.append(f"| {name} | {result['seconds']:.0f} | {result['scale']:g} | `{result['command']}` |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def chosen(parts: str) -> list[str]:
    """Return the names of parts in a list with commas, or of all."""
    names = [name.strip() for name in parts.split(",") if name.strip()] or list(PARTS)
    if unknown := sorted(set(names) - set(PARTS)):
        raise fail(f"--parts: no part is named {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return names


def main(
    output: Annotated[Path, typer.Option(help="The folder of results.")],
    parts: Annotated[str, typer.Option(help="Parts to run, with commas between; all by default.")] = "",
    scale: Annotated[float | None, typer.Option(help="The share of the full size, above 0 and at most 1.")] = None,
    limit: Annotated[
        float, typer.Option(min=1, help="Seconds after which this run ends; give it again to go on.")
    ] = 1200,
    rehearse: Annotated[bool, typer.Option("--rehearse", help="On the CPU, at a hundredth of the size.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Run the parts that failed once more.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Run nothing; write and print the report.")] = False,
) -> None:
    """Measure all that needs a GPU."""
    deadline = time.monotonic() + limit
    names = chosen(parts)
    if report:
        if not (results := results_of(output)):
            raise fail(f"--output: {output} holds no results")
        write(output / "report.md", in_markdown(results))
        print(in_markdown(results))
        return
    setting = {"rehearsal": rehearse, "scale": (_REHEARSED if rehearse else 1.0) if scale is None else scale}
    if not 0 < setting["scale"] <= 1:
        raise fail(f"--scale: {scale} is not above 0 and at most 1")
    output.mkdir(parents=True, exist_ok=True)
    results = results_of(output)
    for name, result in results.items():
        if {key: result[key] for key in setting} != setting:
            raise fail(f"--output: {output / name}.json has other settings: name another folder")
    if not rehearse and not _sees_a_gpu():
        raise fail("torch sees no GPU: --rehearse runs every part on the CPU")
    left = []
    for name in names:
        earlier = results.get(name)
        if earlier is not None and not (again and "error" in earlier):
            print(f"{name}: {'failed' if 'error' in earlier else 'done'} before")
            continue
        most = deadline - time.monotonic()
        print(f"{name}: running", flush=True)
        result = run_part(name, output, setting, most) if most > 0 else None
        if result is None:
            left.append(name)
            print(f"{name}: left, since the limit of {limit:.0f} seconds is reached")
            continue
        write(output / f"{name}.json", json.dumps(result, indent=1) + "\n")
        results = results_of(output)
        write(output / "report.md", in_markdown(results))
        print(f"{name}: {result.get('error') or 'done'} ({result['seconds']:.0f} s)", flush=True)
    if left or any("error" in results.get(name, {}) for name in names):
        raise typer.Exit(1)


def _sees_a_gpu() -> bool:
    asked = [sys.executable, "-c", "import sys, torch; sys.exit(not torch.cuda.is_available())"]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    typer.run(main)
