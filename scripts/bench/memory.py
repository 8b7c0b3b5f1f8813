"""Measure what a memory costs: search within a scope, durable adds, erasing and opening; compared with others.

    python scripts/bench/memory.py [--records 100000] [--dims 256] [--mem0-python PATH] [--langgraph-python PATH]
    python scripts/bench/memory.py --records 1000000 --users 2500 --own   # what one user's calls cost in a large store

Texts consist of made-up words with Zipf-distributed frequencies and have seeded unit vectors, so that no figure
contains the time of an encoder. The users share the records in one tenant; the scope of a search is a user, a tenth of
the users (those of an agent), or the whole tenant. Figures are of single calls, with percentiles over all of them, in
wall time and in processor time, which other load on the machine affects less. Adds are timed including the comparison
that finds duplicates; when a call returns, its data survive a power failure. The first search, and with ``--own`` the
searches and adds of users in their own scope and the largest memory that these took, are measured in fresh processes.

mem0 (raw add, ``infer=False``, no language model, its local Qdrant store) and LangGraph's SQLite store run in
environments of their own (scripts/bench/peers/make.py FOLDER mem0 langgraph) over the first --peer-records of the same
texts and vectors, after a memory of the same size: one call for each text of ten users in turn, then the same 60
searches in a user's scope, deletions, and, in a fresh process, the first search.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mlret.doctor import examine
from mlret.encoders.external import ExternalEncoder
from mlret.index.index import Index
from mlret.memory.memory import THRESHOLDS, Memory
from mlret.memory.storage import tables
from mlret.memory.text.duplicates import DuplicateThresholds

K = 5
PEERS = Path(__file__).parent / "peers"
# Imported first, so that only opening is measured. The first search also loads what later ones need.
_OPEN = """
import sys, time
import numpy as np
from mlret.encoders.external import ExternalEncoder
from mlret.memory.memory import THRESHOLDS, Memory
import faiss
start, used = time.perf_counter(), time.process_time()
memory = Memory.open(sys.argv[1], ExternalEncoder("bench", int(sys.argv[2])))
opened, opened_cpu = time.perf_counter(), time.process_time()
vector = np.zeros(int(sys.argv[2]), dtype=np.float32)
vector[0] = 1
scope = {"tenant": "t", "user": "u1"} if sys.argv[3] == "user" else {"tenant": "t"}
memory.search("the first question", scope, vector=vector, language="en")
print(opened - start, opened_cpu - used, time.perf_counter() - opened, time.process_time() - opened_cpu)
"""
# Searches and adds in the scopes of many users, each scope for the first time and then again.
_OWN = """
import json, resource, sys, time
import numpy as np
from mlret.encoders.external import ExternalEncoder
from mlret.memory.memory import THRESHOLDS, Memory
folder, dims, users, rounds = sys.argv[1], *map(int, sys.argv[2:])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
memory = Memory.open(folder, ExternalEncoder("bench", dims))
vectors = np.random.default_rng(9).standard_normal((2, rounds, dims), dtype=np.float32)
chosen = np.random.default_rng(7).permutation(users)[:rounds].tolist()
times = {"own_first": [], "own_search": [], "own_add": []}
def run(name, call):
    start = time.process_time()
    call()
    times[name].append(1000 * (time.process_time() - start))
for name in ("own_first", "own_search"):
    for turn, user in enumerate(chosen):
        words = f"some words {turn} that nobody said"
        scope = {"tenant": "t", "user": f"u{user}"}
        run(name, lambda: memory.search(words, scope, vector=vectors[0, turn], language="en"))
    memory_used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sizes = [len(memory.ids({"tenant": "t", "user": f"u{user}"})) for user in chosen]
for turn in range(rounds):
    scope = {"tenant": "t", "user": f"u{chosen[turn % 10]}", "agent": f"a{chosen[turn % 10] // 10}"}
    text = f"a new text {turn} of {time.time()}"
    run("own_add", lambda: memory.add(text, scope, vector=vectors[1, turn], language="en"))
found = {f"{name}_cpu_p50_ms": float(np.median(some[10:])) for name, some in times.items()}
found |= {f"{name}_cpu_p99_ms": float(np.percentile(some[10:], 99)) for name, some in times.items()}
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found |= {"own_records": float(np.median(sizes)), "imports_mb": before / 1024, "searched_mb": memory_used / 1024}
print(json.dumps(found | {"peak_mb": peak / 1024}))
"""
# What is wanted: name, figure, goal, in milliseconds of processor time or in megabytes.
_GOALS = (
    ("first search of a user, fresh process", "first_search_cpu_ms", 100),
    ("add, in a user's scope", "add_cpu_p50_ms", 1),
    ("erase, with its proof", "erase_cpu_p50_ms", 100),
    ("search of a user, many users in turn", "own_search_cpu_p50_ms", 5),
    ("first search of each of many users", "own_first_cpu_p50_ms", 5),
    ("add, many users in turn", "own_add_cpu_p50_ms", 1),
    ("memory of searches and adds, MB", "peak_mb", 2048),
)
# What is compared with peers; a ratio is theirs over ours.
_BESIDE = {
    "add, ms of processor": "add_cpu",
    "add, ms": "add",
    "search of a user, ms of processor": "search_cpu",
    "search of a user, ms": "search",
    "first search, fresh process, ms of processor": "first_search_cpu",
    "delete, ms of processor": "delete_cpu",
    "MB on disk": "disk_mb",
    "MB of memory, open and searched": "searches_mb",
    "MB of memory, while it is filled": "fill_mb",
}


class Made:
    """Seeded texts and vectors by number."""

    def __init__(self, dims: int) -> None:
        chance = np.random.default_rng(5)
        syllables = [
            a + b for a, b in zip(*(chance.choice(list(s), 400) for s in ("bdfghklmnprstvz", "aeiou")), strict=True)
        ]
        self._words = ["".join(chance.choice(syllables, chance.integers(1, 5))) for _ in range(20_000)]
        self._dims = dims

    def text(self, number: int) -> str:
        """Return a sentence of twelve words and its number."""
        words = np.random.default_rng(number).zipf(1.3, 12) % len(self._words)
        return " ".join([*(self._words[word] for word in words), str(number)])

    def vectors(self, first: int, count: int) -> NDArray[np.float32]:
        """Return unit vectors, ``(count, dims)``."""
        found = np.random.default_rng(first).standard_normal((count, self._dims), dtype=np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def scope_of(number: int, records: int, users: int) -> dict[str, str]:
    """Return the scope of a record: the records of a user are consecutive, and ten users share an agent."""
    user = number * users // records
    return {"tenant": "t", "user": f"u{user}", "agent": f"a{user // 10}"}


def create(folder: Path, dims: int) -> ExternalEncoder:
    """Make a store whose adding compares with stored texts, as it does with an encoder that is calibrated."""
    encoder = ExternalEncoder("bench", dims)
    Index.create(folder, encoder, kind="memory", schema=tables.SCHEMA).close()
    thresholds = DuplicateThresholds(encoder.fingerprint, 0.6, 0.5, 0.5, {"": 0.0}, 0.95, 0.5, 100)
    with Memory.open(folder, encoder) as memory, memory.folder.writing():
        memory.folder.store.commit(lambda c: tables.write_setting(c, THRESHOLDS, thresholds.to_dict()))
    return encoder


def build(folder: Path, records: int, users: int, dims: int, made: Made, console: Console) -> None:
    """Fill a memory."""
    step = records // users
    with Memory.open(folder, create(folder, dims)) as memory:
        for first in track(range(0, records, step), "building", console=console):
            vectors = made.vectors(first, step)
            items: list[Any] = [
                {"text": made.text(first + place), "language": "en", "vector": vector}
                for place, vector in enumerate(vectors)
            ]
            memory.add_batch(items, scope_of(first, records, users), dedupe=False)


Times = tuple[list[float], list[float]]


def timed(run: Callable[[int], object], count: int, warm: int = 5) -> Times:
    """Return the milliseconds of each call, in wall time and processor time, after some calls that are not counted."""
    for turn in range(warm):
        run(turn)
    clock, processor = [], []
    for turn in range(warm, warm + count):
        start, used = time.perf_counter(), time.process_time()
        run(turn)
        clock.append(1000 * (time.perf_counter() - start))
        processor.append(1000 * (time.process_time() - used))
    return clock, processor


def percentiles(name: str, times: Times) -> dict[str, float]:
    """Return the 50th and 99th percentiles of milliseconds."""
    found = {}
    for kind, values in zip(("", "cpu_"), times, strict=True):
        found[f"{name}_{kind}p50_ms"] = statistics.median(values)
        found[f"{name}_{kind}p99_ms"] = float(np.percentile(values, 99))
    return found


def costs(folder: Path, records: int, users: int, dims: int, made: Made, rounds: int) -> dict[str, float]:
    """Return all figures of a memory."""
    figures: dict[str, float] = {}
    scopes = {
        "user": lambda turn: {"tenant": "t", "user": f"u{turn % users}"},
        "agent": lambda turn: {"tenant": "t", "agent": f"a{turn % (users // 10)}"},
        "tenant": lambda _: {"tenant": "t"},
    }
    asked = [made.text(10**7 + turn) for turn in range(rounds + 10)]
    vectors = made.vectors(10**7, rounds + 10)
    with Memory.open(folder, ExternalEncoder("bench", dims)) as memory:
        for name, scope in scopes.items():
            count = rounds if name == "user" else max(20, rounds // 10)

            def search(turn: int, scope: Any = scope) -> object:
                return memory.search(asked[turn], scope(turn), K, vector=vectors[turn], language="en")

            figures |= percentiles(f"search_{name}", timed(search, count))
        figures |= percentiles(
            "add",
            timed(
                lambda turn: memory.add(
                    made.text(2 * 10**7 + turn),
                    scope_of(turn % records, records, users),
                    vector=vectors[turn],
                    language="en",
                ),
                rounds,
            ),
        )
        mine = {"tenant": "t", "user": "u7"}
        ids = memory.ids(mine)
        each = min(rounds, len(ids) // 3)
        figures |= percentiles("delete", timed(lambda turn: memory.delete(ids[turn], mine), each - 10))
        figures |= percentiles(
            "update",
            timed(
                lambda turn: memory.update(
                    ids[each + turn], mine, f"anew {asked[turn]}", vector=vectors[turn], language="en"
                ),
                each - 10,
            ),
        )
        figures |= percentiles("erase", timed(lambda turn: memory.erase(ids[2 * each + turn], mine), 3, warm=1))
    return figures


def opening(folder: Path, dims: int) -> dict[str, float]:
    """Return the costs of opening and of the first search, in fresh processes."""
    figures = {}
    for name, prefix in (("user", "first_search"), ("tenant", "first_search_tenant")):
        found = []
        for _ in range(3):
            output = subprocess.check_output([sys.executable, "-c", _OPEN, str(folder), str(dims), name], text=True)
            found.append([float(value) for value in output.split()])
        opened, opened_cpu, first, first_cpu = np.median(found, axis=0).tolist()
        figures |= {"open_s": opened, "open_cpu_ms": 1000 * opened_cpu}
        figures |= {f"{prefix}_s": first, f"{prefix}_cpu_ms": 1000 * first_cpu}
    return figures


def own(folder: Path, users: int, dims: int, rounds: int) -> dict[str, float]:
    """Return the costs of users' calls in their own scopes, and the memory that these need, in a fresh process."""
    arguments = [str(folder), str(dims), str(users), str(min(rounds, users))]
    output = subprocess.check_output([sys.executable, "-c", _OWN, *arguments], text=True)
    found: dict[str, float] = json.loads(output)
    return found


def peer_costs(
    pythons: dict[str, Path], home: Path, records: int, dims: int, made: Made, console: Console
) -> dict[str, Any]:
    """Return the figures of the same calls to a memory and to each peer, each in processes of one thread."""
    data = home / "peer"
    data.mkdir()
    np.save(data / "vectors.npy", made.vectors(0, records))
    np.save(data / "queries.npy", made.vectors(10**7, 60))
    texts = [made.text(number) for number in range(records)]
    (data / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    queries = [made.text(10**7 + turn) for turn in range(60)]
    (data / "queries.json").write_text(json.dumps(queries), encoding="utf-8")
    create(home / "mlret_memory", dims)
    figures: dict[str, Any] = {}
    for name, python in {"mlret_memory": Path(sys.executable), **pythons}.items():
        figures[name] = {}
        for phase in ("fill", "first"):
            console.print(f"{name}: {phase} …")
            command = [str(python), str(PEERS / f"with_{name}.py"), str(data), str(home / name), phase]
            output = subprocess.check_output(command, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
            figures[name] |= json.loads(output.splitlines()[-1])
    return {"ours": figures.pop("mlret_memory"), "theirs": figures}


def main(
    records: Annotated[int, typer.Option(min=1000)] = 100_000,
    users: Annotated[int, typer.Option(min=20)] = 100,
    dims: Annotated[int, typer.Option(min=8)] = 256,
    rounds: Annotated[int, typer.Option(min=50)] = 300,
    mem0_python: Annotated[Path | None, typer.Option(help="The Python of an environment with mem0ai.")] = None,
    langgraph_python: Annotated[Path | None, typer.Option(help="That of one with LangGraph's SQLite store.")] = None,
    peer_records: Annotated[int, typer.Option(min=300)] = 10_000,
    folder: Annotated[Path | None, typer.Option(help="Keep the store here, and use it if it is there.")] = None,
    own_only: Annotated[bool, typer.Option("--own", help="Only what users' calls cost in their own scopes.")] = False,
    peers_only: Annotated[bool, typer.Option("--peers-only", help="Only the comparison with peers.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="5,000 records.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Time a memory."""
    console = Console(stderr=True)
    records, rounds, peer_records = (min(records, 5000), 60, 1000) if quick else (records, rounds, peer_records)
    made = Made(dims)
    home = Path(tempfile.mkdtemp(prefix="mlret-bench-"))
    store = home / "m" if folder is None else folder
    figures: dict[str, Any] = {"dims": dims} if peers_only else {"records": records, "users": users, "dims": dims}
    try:
        if not peers_only:
            if not store.exists():
                start = time.perf_counter()
                build(store, records, users, dims, made, console)
                figures["build_s"] = time.perf_counter() - start
            if not own_only:
                figures |= opening(store, dims)
            figures |= own(store, users, dims, rounds)
            if not own_only:
                figures |= costs(store, records, users, dims, made, rounds)
        pythons = {"mem0": mem0_python, "langgraph": langgraph_python}
        given = {name: python for name, python in pythons.items() if python is not None}
        peers = peer_costs(given, home, peer_records, dims, made, console) if given else {}
    finally:
        shutil.rmtree(home, ignore_errors=True)
    report(figures, peers, peer_records, json_file)


def report(figures: dict[str, Any], peers: dict[str, Any], peer_records: int, json_file: Path | None) -> None:
    """Print the ratios first, and write the figures."""
    found = examine()
    # Above 1, the goal is reached.
    ratios = {f"headroom_{name}": goal / figures[name] for _, name, goal in _GOALS if name in figures}
    for name, theirs in peers.get("theirs", {}).items():
        ratios |= beside(name, peers["ours"], theirs, peer_records)
    table = Table(title=f"mlret.Memory, {figures.get('records', 0):,} records x {figures['dims']}: processor time")
    for column in ("what", "goal", "measured"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for what, name, goal in _GOALS:
        if name in figures:
            table.add_row(what, f"{goal:,}", f"{figures[name]:,.2f}")
    if table.row_count:
        Console().print(table)
    table = Table(title=f"each call, k = {K}")
    for column in ("what", "p50 ms", "p99 ms", "p50 cpu", "p99 cpu"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for name in ("search_user", "search_agent", "search_tenant", "add", "update", "delete", "erase"):
        if f"{name}_p50_ms" in figures:
            kinds = ("p50", "p99", "cpu_p50", "cpu_p99")
            table.add_row(name.replace("_", ", "), *(f"{figures[f'{name}_{kind}_ms']:.2f}" for kind in kinds))
    if table.row_count:
        Console().print(table)
    if json_file is not None:
        content = {
            "ratios": ratios,
            "figures": figures | ({"peers": peers | {"records": peer_records}} if peers else {}),
        }
        content |= {"machine": found.machine, "versions": found.versions}
        json_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def beside(name: str, ours: dict[str, float], theirs: dict[str, Any], records: int) -> dict[str, float]:
    """Print the figures of a peer and a memory, and return the ratios."""
    ratios = {}
    table = Table(title=f"beside {name} {theirs['version']} ({theirs['store']}), {records:,} records")
    for column in ("what", "ratio", "mlret", name):
        table.add_column(column, justify="left" if column == "what" else "right")
    for what, figure in _BESIDE.items():
        mine, other = ours[figure], theirs[figure]
        ratios[f"{figure}_over_{name}"] = other / mine
        table.add_row(what, f"{other / mine:.2f}", f"{mine:,.2f}", f"{other:,.2f}")
    erased = ours["erase_cpu"], theirs["delete_cpu"]
    ratios[f"erase_cpu_over_delete_of_{name}"] = erased[1] / erased[0]
    left = [f"{side['deleted_left']} of {side['deleted']}" for side in (ours, theirs)]
    table.add_row(
        "erase with proof; its delete, ms of processor", f"{erased[1] / erased[0]:.2f}", *map("{:,.2f}".format, erased)
    )
    table.add_row("texts left in the files after it", "", *left)
    Console().print(table)
    return ratios


if __name__ == "__main__":
    typer.run(main)
