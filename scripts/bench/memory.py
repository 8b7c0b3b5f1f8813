"""Measure what a memory costs: search within a scope, durable adds, and opening; compared with open-source mem0.

    python scripts/bench/memory.py [--records 100000] [--dims 256] [--mem0-python PATH] [--quick] [--json FILE]

Texts consist of made-up words with Zipf-distributed frequencies and have seeded unit vectors, so that no figure
contains the time of an encoder. A hundred users share the records in one tenant; the scope of a search is a user, a
tenth of the users (those of an agent), or the whole tenant. Figures are of single calls, with percentiles over all of
them, in wall time and in processor time, which other load on the machine affects less. Adds are timed including the
comparison that finds duplicates; when a call returns, its data survive a power failure.

mem0 (raw add, ``infer=False``, no language model, its local Qdrant store) runs in an environment of its own
(scripts/bench/peers/make.py FOLDER mem0) over the first --peer-records of the same texts and vectors, back to back with
a memory of the same size, and is given the same queries with the same scope.
"""

from __future__ import annotations

import json
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

USERS = 100
K = 5
PEER = Path(__file__).parent / "peers" / "with_mem0.py"
# Imported first, so that only opening is measured. The first search also loads what later ones need.
_OPEN = """
import sys, time
import numpy as np
from mlret.encoders.external import ExternalEncoder
from mlret.memory.memory import Memory
import faiss
start = time.perf_counter()
memory = Memory.open(sys.argv[1], ExternalEncoder("bench", int(sys.argv[2])))
opened = time.perf_counter()
vector = np.zeros(int(sys.argv[2]), dtype=np.float32)
vector[0] = 1
memory.search("the first question", {"tenant": "t", "user": "u1"}, vector=vector, language="en")
print(opened - start, time.perf_counter() - opened)
"""


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


def scope_of(number: int, records: int) -> dict[str, str]:
    """Return the scope of a record: the records of a user are consecutive, and ten users share an agent."""
    user = number * USERS // records
    return {"tenant": "t", "user": f"u{user}", "agent": f"a{user // 10}"}


def build(folder: Path, records: int, dims: int, made: Made, console: Console) -> None:
    """Fill a memory."""
    encoder = ExternalEncoder("bench", dims)
    Index.create(folder, encoder, kind="memory", schema=tables.SCHEMA).close()
    step = records // USERS
    with Memory.open(folder, encoder) as memory:
        # With thresholds, adding compares with stored texts, as it does with an encoder that is calibrated.
        thresholds = DuplicateThresholds(encoder.fingerprint, 0.6, 0.5, 0.5, {"": 0.0}, 0.95, 0.5, 100)
        with memory.folder.writing():
            memory.folder.store.commit(lambda c: tables.write_setting(c, THRESHOLDS, thresholds.to_dict()))
        for first in track(range(0, records, step), "building", console=console):
            vectors = made.vectors(first, step)
            items: list[Any] = [
                {"text": made.text(first + place), "language": "en", "vector": vector}
                for place, vector in enumerate(vectors)
            ]
            memory.add_batch(items, scope_of(first, records), dedupe=False)


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


def costs(folder: Path, records: int, dims: int, made: Made, rounds: int) -> dict[str, float]:
    """Return all figures of a memory."""
    figures: dict[str, float] = {}
    scopes = {
        "user": lambda turn: {"tenant": "t", "user": f"u{turn % USERS}"},
        "agent": lambda turn: {"tenant": "t", "agent": f"a{turn % (USERS // 10)}"},
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
                    made.text(2 * 10**7 + turn), scope_of(turn % records, records), vector=vectors[turn], language="en"
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
    """Return the seconds of opening and of the first search, in fresh processes."""
    found = []
    for _ in range(3):
        output = subprocess.check_output([sys.executable, "-c", _OPEN, str(folder), str(dims)], text=True)
        found.append([float(value) for value in output.split()])
    opened, first = np.median(found, axis=0)
    return {"open_s": float(opened), "first_search_s": float(first)}


def peer_costs(python: Path, home: Path, records: int, dims: int, made: Made, console: Console) -> dict[str, Any]:
    """Return the figures of the same calls to mem0 and to a memory of the same size."""
    data = home / "peer"
    data.mkdir()
    np.save(data / "vectors.npy", made.vectors(0, records))
    np.save(data / "queries.npy", made.vectors(10**7, 60))
    texts = [made.text(number) for number in range(records)]
    (data / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    queries = [made.text(10**7 + turn) for turn in range(60)]
    (data / "queries.json").write_text(json.dumps(queries), encoding="utf-8")
    console.print("mem0 …")
    output = subprocess.check_output([str(python), str(PEER), str(data), str(home / "mem0")], text=True)
    theirs = json.loads(output.splitlines()[-1])
    vectors, asked = np.load(data / "vectors.npy"), np.load(data / "queries.npy")
    encoder = ExternalEncoder("bench", dims)
    Index.create(home / "ours", encoder, kind="memory", schema=tables.SCHEMA).close()
    with Memory.open(home / "ours", encoder) as memory:
        scopes = [{"user": f"u{number % 10}"} for number in range(records)]
        added = []

        def add(number: int) -> None:
            added.append(memory.add(texts[number], scopes[number], vector=vectors[number], language="en").id)

        adding = timed(add, records, warm=0)
        searching = timed(
            lambda turn: memory.search(queries[turn], scopes[turn], K, vector=asked[turn], language="en"), 50
        )
        deleting = timed(lambda turn: memory.delete(added[turn], scopes[turn]), 50)
        erasing = timed(lambda turn: memory.erase(added[100 + turn], scopes[100 + turn]), 10)
    adding = adding[0][-100:], adding[1][-100:]
    ours: dict[str, float] = {}
    for name, times in (("add", adding), ("search", searching), ("delete", deleting), ("erase", erasing)):
        ours |= {name: statistics.median(times[0]), f"{name}_cpu": statistics.median(times[1])}
    return {"ours": ours, "theirs": theirs}


def main(
    records: Annotated[int, typer.Option(min=1000)] = 100_000,
    dims: Annotated[int, typer.Option(min=8)] = 256,
    rounds: Annotated[int, typer.Option(min=50)] = 300,
    mem0_python: Annotated[Path | None, typer.Option(help="The Python of an environment with mem0ai.")] = None,
    peer_records: Annotated[int, typer.Option(min=300)] = 2000,
    quick: Annotated[bool, typer.Option("--quick", help="5,000 records.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Time a memory."""
    console = Console(stderr=True)
    records, rounds = (min(records, 5000), 60) if quick else (records, rounds)
    made = Made(dims)
    home = Path(tempfile.mkdtemp(prefix="mlret-bench-"))
    try:
        start = time.perf_counter()
        build(home / "m", records, dims, made, console)
        figures: dict[str, Any] = {"build_s": time.perf_counter() - start, "records": records, "dims": dims}
        figures |= opening(home / "m", dims)
        figures |= costs(home / "m", records, dims, made, rounds)
        peer = {} if mem0_python is None else peer_costs(mem0_python, home, peer_records, dims, made, console)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    report(figures, peer, peer_records, json_file)


def report(figures: dict[str, Any], peer: dict[str, Any], peer_records: int, json_file: Path | None) -> None:
    """Print the ratios first, and write the figures."""
    found = examine()
    # Without a peer, the ratio is the time that the goals allow, divided by the time measured.
    goals = {"search_user_p50_ms": 5, "search_user_p99_ms": 20, "add_p50_ms": 2, "open_s": 0.3}
    ratios = {f"headroom_{name}": goal / figures[name] for name, goal in goals.items()}
    if peer:
        ours, theirs = peer["ours"], peer["theirs"]
        for verb in ("add", "search", "delete"):
            ratios[f"speedup_{verb}_over_mem0"] = theirs[verb] / ours[verb]
            ratios[f"speedup_{verb}_cpu_over_mem0"] = theirs[f"{verb}_cpu"] / ours[f"{verb}_cpu"]
        table = Table(title=f"beside mem0 {theirs['version']} ({theirs['store']}), {peer_records:,} records, ms a call")
        for column in ("verb", "ratio", "mlret", "mem0", "ratio, cpu", "mlret, cpu", "mem0, cpu"):
            table.add_column(column, justify="left" if column == "verb" else "right")
        for verb in ("add", "search", "delete"):
            cells = []
            for name in (verb, f"{verb}_cpu"):
                cells += [f"{theirs[name] / ours[name]:.1f}", f"{ours[name]:.2f}", f"{theirs[name]:.2f}"]
            table.add_row(verb, *cells)
        table.add_row("erase, with proof", "", f"{ours['erase']:.2f}", "", "", f"{ours['erase_cpu']:.2f}", "")
        Console().print(table)
    table = Table(title=f"mlret.Memory, {figures['records']:,} records x {figures['dims']}, k = {K}")
    for column in ("what", "p50 ms", "p99 ms", "p50 cpu", "p99 cpu"):
        table.add_column(column, justify="left" if column == "what" else "right")
    names = ("search_user", "search_agent", "search_tenant", "add", "update", "delete", "erase")
    for name in names:
        kinds = ("p50", "p99", "cpu_p50", "cpu_p99")
        table.add_row(name.replace("_", ", "), *(f"{figures[f'{name}_{kind}_ms']:.2f}" for kind in kinds))
    Console().print(table)
    print(f"open {figures['open_s']:.3f} s, the first search {figures['first_search_s']:.3f} s more")
    if json_file is not None:
        content = {"ratios": ratios, "figures": figures | ({"peer": peer | {"records": peer_records}} if peer else {})}
        content |= {"machine": found.machine, "versions": found.versions}
        json_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
