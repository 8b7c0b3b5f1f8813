"""Start verbs in processes of their own: processor time, peak memory, and what the time goes to.

    python scripts/bench/startup.py [--before PYTHON] [--rounds 5] [--quick] [--json FILE]

Each round starts every verb once, of this checkout and, with --before, of an earlier build (the Python of an
environment in which it is installed), turn by turn, so that whatever else the machine does hits all alike. The time is
that of the process and of what it starts, user and system together, with bytecode compiled before.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mlret.doctor import examine

_DOCUMENTS = [
    {"id": "train", "text": "The train is late.", "lang": "en"},
    {"id": "maize", "text": "Bei ya mahindi imepanda sokoni.", "lang": "sw"},
]
# Runs a verb as `mlret` does and writes its processor time and peak memory as the last line of standard error.
_RUN = """
import json, resource, sys
sys.argv = ["mlret", *json.loads(sys.argv[1])]
from mlret.cli.main import main
try:
    main()
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]), file=sys.stderr)
"""


class Cost(NamedTuple):
    """What one process cost.

    Attributes
    ----------
    seconds
        Processor time, user and system.
    memory
        Peak resident memory in MiB.
    """

    seconds: float
    memory: float


def cost_of(python: str, arguments: list[str], threads: int, folder: Path) -> Cost:
    """Run a verb in a process of its own, in a folder that has no other mlret to import."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if python != sys.executable:  # an earlier build must not import this one
        environment.pop("PYTHONPATH", None)
    command = [python, "-c", _RUN, json.dumps(arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return Cost(*json.loads(done.stderr.splitlines()[-1]))


def main(
    before: Annotated[Path | None, typer.Option(help="The Python of an environment with an earlier mlret.")] = None,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="One round.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Time the start of verbs."""
    rounds = 1 if quick else rounds
    builds = {"now": sys.executable} | ({"before": str(before)} if before else {})
    with tempfile.TemporaryDirectory(prefix="mlret-startup-") as temporary:
        folder = Path(temporary)
        documents = folder / "documents.jsonl"
        documents.write_text("\n".join(json.dumps(line) for line in _DOCUMENTS), encoding="utf-8")
        verbs = {}
        for build, python in builds.items():
            index = str(folder / build)
            memory = ["--store", str(folder / f"{build}-memory"), "--scope", "user=anna"]
            cost_of(python, ["index", "build", index, str(documents)], threads, folder)
            cost_of(python, ["memory", "add", *memory, "I like tea with ginger."], threads, folder)
            verbs[build] = {
                "mlret --help": ["--help"],
                "mlret search": ["search", index, "late train"],
                "mlret search -l en": ["search", index, "late train", "-l", "en"],
                "mlret index info": ["index", "info", index],
                "mlret memory search": ["memory", "search", *memory, "favourite drink"],
                "mlret doctor": ["doctor"],
            }
        costs: dict[tuple[str, str], list[Cost]] = {}
        for turn in track(range(rounds + 1), "starting", console=Console(stderr=True)):
            for verb in verbs["now"]:
                for build, python in builds.items():
                    cost = cost_of(python, verbs[build][verb], threads, folder)
                    if turn:  # the first compiles bytecode
                        costs.setdefault((verb, build), []).append(cost)
    figures = {
        verb: {
            build: {
                "seconds": statistics.median(cost.seconds for cost in costs[verb, build]),
                "peak_mib": statistics.median(cost.memory for cost in costs[verb, build]),
            }
            for build in builds
        }
        for verb in verbs["now"]
    }
    table = Table(title=f"processor time and peak memory, {threads} thread{'s' if threads > 1 else ''}, medians")
    for column in (
        "",
        *(["ratio"] if before else []),
        *(f"{build}: {what}" for build in builds for what in ("s", "MiB")),
    ):
        table.add_column(column, justify="right" if column else "left")
    ratios = {}
    for verb, by_build in figures.items():
        cells = [
            f"{by_build[build][key]:.{places}f}"
            for build in builds
            for key, places in (("seconds", 2), ("peak_mib", 0))
        ]
        if before:
            ratios[f"speedup_{verb}"] = by_build["before"]["seconds"] / by_build["now"]["seconds"]
            cells.insert(0, f"{ratios[f'speedup_{verb}']:.1f}")
        table.add_row(verb, *cells)
    Console().print(table)
    if json_file is not None:
        found = examine()
        content = {"ratios": ratios, "figures": figures, "machine": found.machine, "versions": found.versions}
        json_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
