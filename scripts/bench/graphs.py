"""Compare the graph (HNSW) of FAISS as mlret uses it with that of USearch: building, bytes, and search at equal recall.

    python scripts/bench/peers/make.py peers/ usearch
    OMP_NUM_THREADS=1 python scripts/bench/graphs.py --peers peers/ --sizes 20000,100000 --json graphs.json

The vectors are those of stores.py. Each graph is built in one thread in a process of its own, written, mapped, and
searched with more and more candidates; the table has the first number of them that finds .99 of the ten best. Times
are processor times. FAISS' graph is mlret's: links that are built over int8 codes and compare the vectors of the
segment, which are there in any case; only for int8 it has the codes. USearch's file has a copy of the vectors in every
type. Of both graphs over int8 the best 40 are scored again with float32.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from stores import PEERS, make

from mlret.doctor import examine

DTYPES = ("float32", "float16", "int8")


def main(
    peers: Annotated[Path, typer.Option(help="The folder with the environments of peers/make.py.")],
    sizes: Annotated[str, typer.Option(help="Numbers of vectors, separated by commas.")] = "20000,100000",
    dtypes: Annotated[str, typer.Option(help="Types of vectors, separated by commas.")] = ",".join(DTYPES),
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Measure graphs."""
    pythons = {"faiss": Path(sys.executable), "usearch": peers.resolve() / "usearch" / "bin" / "python"}
    found: dict[str, dict[str, Any]] = {}
    ratios = {}
    with tempfile.TemporaryDirectory() as temporary:
        for size in map(int, sizes.split(",")):
            data, folder = Path(temporary) / str(size), Path(temporary) / "graph"
            make(data, size)
            heads = ("", "build CPU s", "bytes", "recall@10", "candidates", "ms", "ms in a batch", "open ms")
            print(f"\n{size:,} vectors:\n\n| {' | '.join(heads)} |\n|---{7 * '|---:'}|")
            for dtype in dtypes.split(","):
                for name, python in pythons.items():
                    command = [str(python), str(PEERS / f"graph_{name}.py"), str(data), str(folder), dtype]
                    output = subprocess.check_output(command, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
                    shutil.rmtree(folder)
                    one = found.setdefault(str(size), {})[f"{name} {dtype}"] = json.loads(output.splitlines()[-1])
                    print(row(f"{name} {dtype}", one), flush=True)
                ours, theirs = (found[str(size)][f"{name} {dtype}"] for name in pythons)
                ratios[f"usearch_over_faiss_build_{dtype}_{size}"] = theirs["build_cpu_s"] / ours["build_cpu_s"]
                if ours["reached"] and theirs["reached"]:
                    times = [one["reached"]["batch_ms"] for one in (theirs, ours)]
                    ratios[f"usearch_over_faiss_search_{dtype}_{size}"] = times[0] / times[1]
            shutil.rmtree(data)
    machine = examine()
    if json_file is not None:
        content = {"ratios": ratios, "figures": found, "machine": machine.machine, "versions": machine.versions}
        json_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def row(name: str, one: dict[str, Any]) -> str:
    """Return a row of the table; without a search if the recall was not reached."""
    best = one["reached"] or max(one["efforts"], key=lambda some: some["recall"])
    cells = [f"{one['build_cpu_s']:.1f}", f"{one['bytes']:,.0f}", f"{best['recall']:.3f}", str(best["effort"])]
    cells += [f"{best[key]:.3f}" for key in ("single_ms", "batch_ms")] if one["reached"] else ["not reached", ""]
    return f"| {name} | " + " | ".join([*cells, f"{one['open_ms']:.1f}"]) + " |"


if __name__ == "__main__":
    typer.run(main)
