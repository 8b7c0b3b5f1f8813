"""Measure the server against the library in one process: throughput, latency and processor time by number of clients.

    python scripts/bench/serve.py [--documents 5000] [--seconds 5] [--rounds 3] [--minutes 0] [--quick] [--json FILE]

The same queries (those of the bundled sample, in twelve languages) go to one index in two ways, turn by turn, so that
whatever else the machine does hits both alike: to `mlret serve` over HTTP, each client on a connection of its own that
is kept open, sending the next query when it has the answer to the last; and to `Index.search` in threads of this
process. In the rows "mixed" every tenth call of a client adds a document. Each round yields a ratio; the table shows
the medians.

The clients run in one process, which reads sockets with as little work as possible, on the same processors as the
server. Wall time is what clients notice; processor time, of the server and of the clients, is affected less by other
load on the machine. --minutes sends queries and adds for so long and prints the memory of the server as it goes.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count, cycle
from pathlib import Path
from typing import Annotated
from urllib.request import urlopen

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import mlret
from mlret.data.sample import load_parallel_sentences, load_sample
from mlret.doctor import examine
from mlret.encoders.encoder import Encoder
from mlret.index.index import Index
from mlret.index.settings import IndexSettings

CLIENTS = (1, 8, 32, 128)
K = 10
# In mixed work, every this many calls of a client one adds a document.
_ADDS = 10
_WARMING = 0.5


@dataclass(frozen=True)
class Load:
    """What some clients did.

    Attributes
    ----------
    calls
        Number of calls that were answered.
    seconds
        How long it took.
    processor
        Seconds of processor time of what answers, and of the clients.
    latencies
        Milliseconds of each call.
    """

    calls: int
    seconds: float
    processor: tuple[float, float]
    latencies: list[float]

    def __post_init__(self) -> None:
        if not self.calls:
            raise SystemExit("no call was answered in time; raise --seconds")

    @property
    def rate(self) -> float:
        """Calls per second."""
        return self.calls / self.seconds

    def percentile(self, percent: float) -> float:
        """Return a percentile of the latencies, in milliseconds."""
        return float(np.percentile(self.latencies, percent))


@dataclass(frozen=True)
class Row:
    """A line of the report: medians over the rounds."""

    work: str
    clients: int
    library: float
    server: float
    ratio: float
    p50: float
    p99: float
    server_ms: float
    clients_ms: float
    library_ms: float


class Calls:
    """The calls of a client: queries, and in mixed work documents to add."""

    _ids = count()

    def __init__(self, mixed: bool, seed: int) -> None:
        chance = random.Random(seed)
        questions = [question.text for question in load_sample().questions.values()]
        chance.shuffle(questions)
        self._questions = cycle(questions)
        self._mixed = mixed
        self._number = chance.randrange(_ADDS)

    def next(self) -> tuple[str, str]:
        """Return the next call: ``"search"`` or ``"add"``, and its text."""
        self._number += 1
        if self._mixed and self._number % _ADDS == 0:
            return "add", f"{next(self._questions)} {next(self._ids)}"
        return "search", next(self._questions)


class Connection(asyncio.Protocol):
    """A client that sends its next request when it has the answer to the last."""

    def __init__(self, head: Callable[[str, int], bytes], calls: Calls) -> None:
        self._head, self._calls, self._until = head, calls, 0.0
        self._buffer = b""
        self._wanted = -1
        self.latencies: list[tuple[float, float]] = []
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def begin(self, until: float) -> None:
        """Send requests until this time of `time.perf_counter`."""
        self._until = until
        self._send()

    def data_received(self, data: bytes) -> None:
        """Read a part of an answer."""
        self._buffer += data
        if self._wanted < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end]
            if not head.startswith(b"HTTP/1.1 200"):
                self.done.set_exception(RuntimeError(self._buffer.decode(errors="replace")))
                self._transport.close()
                return
            self._wanted = end + 4 + int(re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)[1])
        if len(self._buffer) >= self._wanted:
            now = time.perf_counter()
            self.latencies.append((now, now - self._started))
            self._buffer, self._wanted = b"", -1
            if now < self._until:
                self._send()
            else:
                self.done.set_result(None)
                self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Fail if the server closed the connection."""
        if not self.done.done():
            self.done.set_exception(error or RuntimeError("the server closed the connection"))

    def _send(self) -> None:
        verb, text = self._calls.next()
        body = json.dumps([{"text": text}] if verb == "add" else {"query": text, "k": K}).encode()
        self._started = time.perf_counter()
        self._transport.write(self._head(verb, len(body)) + body)


class Served:
    """A server in a process of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        tokens = folder / "tokens.json"
        command = [sys.executable, "-m", "mlret", "serve", f"{name}={folder / 'served.index'}", "--port", "0"]
        command += ["--tokens", str(tokens), "--most-requests", "512"]
        self._log = (folder / "log").open("w")
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, text=True)
        assert self._process.stdout is not None
        said = ""
        while "token (" not in said:
            line = self._process.stdout.readline()
            if not line:
                raise RuntimeError(f"the server did not start: {said} {(folder / 'log').read_text()}")
            said += line
        self.port = int(re.search(r"http://[^:]+:(\d+)", said)[1])
        self._token = said.rpartition(": ")[2].strip()
        self._name = name
        while not self._ready():
            time.sleep(0.05)
        self._proc = Path(f"/proc/{self._process.pid}")

    def head(self, verb: str, length: int) -> bytes:
        """Return the head of a request."""
        path = f"/v1/indexes/{self._name}" + ("/documents" if verb == "add" else ":search")
        return (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAuthorization: Bearer {self._token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        ).encode()

    def _ready(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/readyz") as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def load(self, clients: int, seconds: float, mixed: bool) -> Load:
        """Let clients send requests."""
        return asyncio.run(self._load(clients, seconds, mixed))

    async def _load(self, clients: int, seconds: float, mixed: bool) -> Load:
        loop = asyncio.get_running_loop()
        connections = [Connection(self.head, Calls(mixed, number)) for number in range(clients)]
        for one in connections:
            await loop.create_connection(lambda one=one: one, "127.0.0.1", self.port)  # type: ignore[misc]
        start = time.perf_counter() + _WARMING
        for one in connections:
            one.begin(start + seconds)
        await asyncio.sleep(max(0.0, start - time.perf_counter()))
        before = self.processor(), time.process_time()
        await asyncio.gather(*(one.done for one in connections))
        after = self.processor(), time.process_time()
        latencies = [took * 1e3 for one in connections for at, took in one.latencies if at >= start]
        used = after[0] - before[0], after[1] - before[1]
        return Load(len(latencies), time.perf_counter() - start, used, latencies)

    def processor(self) -> float:
        """Return the processor time of the server, in seconds."""
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Return the resident memory of the server, in MiB."""
        return int((self._proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def stop(self) -> None:
        """End the server."""
        self._process.terminate()
        self._process.wait(60)
        self._log.close()


def library(index: Index, clients: int, seconds: float, mixed: bool) -> Load:
    """Call an index in threads of this process."""
    start = time.perf_counter() + _WARMING
    latencies: list[list[tuple[float, float]]] = [[] for _ in range(clients)]

    def work(number: int) -> None:
        calls, mine = Calls(mixed, number), latencies[number]
        while (began := time.perf_counter()) < start + seconds:
            verb, text = calls.next()
            if verb == "add":
                index.add([{"text": text}])
            else:
                index.search(text, K)
            now = time.perf_counter()
            mine.append((now, now - began))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(max(0.0, start - time.perf_counter()))
    before = time.process_time()
    for thread in threads:
        thread.join()
    used = time.process_time() - before
    found = [took * 1e3 for mine in latencies for at, took in mine if at >= start]
    return Load(len(found), time.perf_counter() - start, (used, 0.0), found)


def build(folder: Path, encoder: Encoder, documents: int, lexical: bool) -> None:
    """Make two equal indexes: sentences of the sample with their vectors, and as many other vectors as are wanted."""
    sentences = [text for texts in load_parallel_sentences().texts.values() for text in texts][:documents]
    made = np.random.default_rng(7).normal(size=(documents - len(sentences), encoder.dims)).astype(np.float32)
    records = [{"id": str(place), "text": text} for place, text in enumerate(sentences)]
    rest = [
        {"id": f"made-{place}", "text": f"{sentences[place % len(sentences)]} {place}"} for place in range(len(made))
    ]
    for name in ("served.index", "library.index"):
        with Index.create(folder / name, encoder, settings=IndexSettings(lexical=lexical)) as index:
            index.add(records)
            if rest:
                index.add(rest, vectors=made)


def measure(served: Served, index: Index, clients: int, seconds: float, rounds: int, mixed: bool) -> Row:
    """Return the medians of some rounds, in which server and library take turns."""
    pairs: list[tuple[Load, Load]] = []
    for number in range(rounds):
        first = served.load(clients, seconds, mixed) if number % 2 else None
        called = library(index, clients, seconds, mixed)
        pairs.append((called, first or served.load(clients, seconds, mixed)))

    def median(value: Callable[[Load, Load], float]) -> float:
        return statistics.median(value(*pair) for pair in pairs)

    return Row(
        "mixed" if mixed else "search",
        clients,
        library=median(lambda a, _: a.rate),
        server=median(lambda _, b: b.rate),
        ratio=median(lambda a, b: b.rate / a.rate),
        p50=median(lambda _, b: b.percentile(50)),
        p99=median(lambda _, b: b.percentile(99)),
        server_ms=median(lambda _, b: 1e3 * b.processor[0] / b.calls),
        clients_ms=median(lambda _, b: 1e3 * b.processor[1] / b.calls),
        library_ms=median(lambda a, _: 1e3 * a.processor[0] / a.calls),
    )


def endure(served: Served, minutes: float, console: Console) -> list[tuple[float, float]]:
    """Send mixed work of eight clients, and return the memory of the server in MiB over time in seconds."""
    begun = time.perf_counter()
    found = []
    while (at := time.perf_counter() - begun) < minutes * 60:
        served.load(8, 10, mixed=True)
        found.append((at, served.memory()))
        console.print(f"{at:6.0f} s {found[-1][1]:8.1f} MiB")
    return found


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """Run a server until the end of the block."""
    served = Served(folder, "bench")
    try:
        yield served
    finally:
        served.stop()


def main(
    documents: Annotated[int, typer.Option(help="Number of documents.", min=1)] = 5000,
    seconds: Annotated[float, typer.Option(help="Length of one measurement.")] = 5.0,
    rounds: Annotated[int, typer.Option(help="Number of rounds.", min=1)] = 3,
    minutes: Annotated[float, typer.Option(help="Minutes of mixed work, to watch the memory.")] = 0.0,
    clients: Annotated[list[int] | None, typer.Option(help="Numbers of clients; repeatable.")] = None,
    work: Annotated[list[str] | None, typer.Option(help="search, mixed; both by default.")] = None,
    lexical: Annotated[bool, typer.Option(help="Give the index a lexical channel and search both.")] = False,
    quick: Annotated[bool, typer.Option(help="Try the script out.")] = False,
    output: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Measure the server against the library."""
    console = Console(width=140)
    if quick:
        documents, seconds, rounds, clients = min(documents, 300), 0.5, 1, clients or [1, 8]
    table = Table(
        "work", "clients", "library/s", "server/s", "ratio", "p50 ms", "p99 ms", "p99/p50", title="Throughput"
    )
    for name in ("server cpu ms", "clients cpu ms", "library cpu ms"):
        table.add_column(name)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        encoder = mlret.load_encoder()
        build(folder, encoder, documents, lexical)
        with serving(folder) as served, Index.open(folder / "library.index", encoder) as index:
            for kind in work or ("search", "mixed"):
                for number in clients or CLIENTS:
                    row = measure(served, index, number, seconds, rounds, kind == "mixed")
                    rows.append(row)
                    console.print(row)
            memory = endure(served, minutes, console) if minutes else []
    for row in rows:
        table.add_row(
            row.work,
            str(row.clients),
            *(f"{value:.0f}" for value in (row.library, row.server)),
            *(f"{value:.2f}" for value in (row.ratio, row.p50, row.p99, row.p99 / row.p50)),
            *(f"{value:.2f}" for value in (row.server_ms, row.clients_ms, row.library_ms)),
        )
    console.print(table)
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    console.print(f"processors: {len(os.sched_getaffinity(0))}, OMP_NUM_THREADS: {threads}")
    if output is not None:
        figures = {"machine": examine(), "rows": [asdict(row) for row in rows], "memory": memory}
        output.write_text(json.dumps(figures, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
