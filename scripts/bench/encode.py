"""Encode texts in every way that mlret has: processor time of a query and of passages, the least cosine, the parts.

    python scripts/bench/encode.py [--model NAME] [--data DIR] [--passages 100] [--queries 40] [--rounds 3] [--quick]
        [--threads 1] [--threads 2] [--json FILE]

One process, the same texts, turn by turn, so that whatever else the machine does hits all alike. Of the turns the least
time counts, for each query and for all passages: other processes on a core add to the processor time of what it runs,
and never take from it. Cosines are those to
float32 in torch, before a calibration, which would enlarge what lacks to one. The texts are passages and questions of
the bundled sample, or with --data the files of a folder that `mlret index build` reads, whose first words are the
queries.

A second table says where the time of the light runtime goes: the least time that each operator took in several turns,
by the clock. Its last line is the floor of a query: reading all matrices once, at the speed at which this processor
reads memory.

A JSON file that exists keeps what it says about other processors.
"""

from __future__ import annotations

import copy
import json
import os
import random
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import numpy as np
import onnxruntime
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mlret.data.corpus import Corpus
from mlret.data.sample import load_sample
from mlret.doctor import examine
from mlret.encoders.encoder import Encoder
from mlret.encoders.light.light_encoder import LightEncoder, batches, load_light_encoder
from mlret.encoders.light.network import PackedNetwork, adds_products_in_32_bits
from mlret.encoders.loading import BUNDLED, load_in_torch
from mlret.encoders.precision_speed import bfloat16_speed

_BASE = "torch float32"
_FAST = "light fast"
_TURNS = 10
_READ, _CHUNK = 1 << 28, 1 << 21


class Texts(NamedTuple):
    """The texts that are encoded.

    Attributes
    ----------
    queries, passages
        The texts.
    tokens
        Number of tokens of all passages.
    """

    queries: list[str]
    passages: list[str]
    tokens: int


class Found(NamedTuple):
    """What was measured of one way to encode.

    Attributes
    ----------
    query_ms
        Milliseconds of processor time: the median over queries of the least time of each.
    tokens_per_second
        Tokens of passages in a second of processor time, in the fastest round.
    least_cosine_of_queries, least_cosine_of_passages
        Least cosine to float32 in torch.
    """

    query_ms: float
    tokens_per_second: float
    least_cosine_of_queries: float
    least_cosine_of_passages: float


def sampled_texts(data: list[Path] | None, passages: int, queries: int) -> tuple[list[str], list[str]]:
    """Return passages and queries in random order."""
    if data:
        texts = [document.text for document in Corpus(data)]
        asked = [text[:60] for text in texts]
    else:
        sample = load_sample()
        texts = [passage.text for passage in sample.passages]
        asked = [question.text for question in sample.questions.values()]
    random.Random(0).shuffle(texts)
    random.Random(1).shuffle(asked)
    return texts[:passages], asked[:queries]


def processor() -> str:
    """Return the processor's name and what torch and onnxruntime use of it."""
    asked = {"VNNI": "_is_vnni_supported", "AMX": "_is_amx_tile_supported"}
    extra = [name for name, question in asked.items() if getattr(torch.cpu, question)()]
    sums = f"8-bit products are added in {32 if adds_products_in_32_bits() else 16} bits"
    name = examine().machine["cpu"]
    return f"{name}: {', '.join([torch.backends.cpu.get_cpu_capability(), *extra])}; {sums}"


def ways(model: str | None, plain: Encoder) -> dict[str, Encoder]:
    """Return an encoder for each way to compute that works with the model."""
    found = {_BASE: plain}
    if bfloat16_speed().fast:
        found["torch bfloat16"] = Encoder(copy.deepcopy(plain.model), plain.name, precision="bfloat16")
    path = BUNDLED if model is None else Path(model)
    kinds: list[Any] = ["fast", "float32", "4-bit", "int8"]
    for arithmetic in kinds:
        light = load_light_encoder(path, arithmetic=arithmetic) if path.is_dir() else None
        if light is not None:
            found[f"light {arithmetic}"] = light
    return found


def measure(encoders: dict[str, Encoder], texts: Texts, rounds: int) -> dict[str, Found]:
    """Encode turn by turn; the first turn counts for the cosines alone."""
    queries: dict[str, list[list[float]]] = defaultdict(list)
    passages: dict[str, list[float]] = defaultdict(list)
    cosines: dict[str, list[float]] = {}
    reference: list[NDArray[np.float32]] = []
    for turn in track(range(rounds + 1), "encoding", console=Console(stderr=True)):
        for name, encoder in encoders.items():
            if not turn:
                vectors = [_unit(encoder.embed(some)) for some in (texts.queries, texts.passages)]
                reference = vectors if name == _BASE else reference
                both = zip(vectors, reference, strict=True)
                cosines[name] = [float((own * wanted).sum(axis=1).min()) for own, wanted in both]
                continue
            seconds = []
            for query in texts.queries:
                start = time.process_time()
                encoder.encode_query([query])
                seconds.append(time.process_time() - start)
            queries[name].append(seconds)
            start = time.process_time()
            encoder.encode_document(texts.passages)
            passages[name].append(time.process_time() - start)
    return {
        name: Found(
            statistics.median(map(min, zip(*queries[name], strict=True))) * 1000,
            texts.tokens / min(passages[name]),
            *cosines[name],
        )
        for name in encoders
    }


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def parts(encoder: LightEncoder, texts: Sequence[str]) -> dict[str, float]:
    """Return the milliseconds that each part of encoding texts takes, the least of several turns.

    Parts are the tokenizer, the table of embeddings, each operator of the network, and the mean over tokens. What
    onnxruntime does between operators is left out: profiling adds to it.
    """
    network = encoder.network
    assert isinstance(network, PackedNetwork)
    best: dict[str, float] = {}

    def keep(name: str, seconds: float) -> None:
        best[name] = min(best.get(name, seconds), seconds)

    operators: dict[tuple[int, str], list[float]] = defaultdict(list)
    kinds: dict[str, str] = {}
    with TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "profile")
        sessions: dict[str, Any] = {}
        runs: list[str] = []
        for _ in range(_TURNS):
            start = time.perf_counter()
            ids = [encoder._tokenizer.encode(text, encoder.folder.longest) for text in texts]
            keep("tokenizer", time.perf_counter() - start)
            looked_up = mean = 0.0
            count = 0
            for batch in batches(ids):
                count += 1
                start = time.perf_counter()
                embeddings = network._embeddings(batch.ids) + network._places[: batch.ids.shape[1]]
                looked_up += time.perf_counter() - start
                way = network.way(batch.ids.shape[1])
                if way not in sessions:
                    providers = ["CPUExecutionProvider"]
                    sessions[way] = onnxruntime.InferenceSession(network.model(way), options, providers=providers)
                hidden = sessions[way].run(None, {"embeddings": embeddings})[0]
                runs.append(way)
                start = time.perf_counter()
                hidden.mean(axis=1)
                mean += time.perf_counter() - start
            keep("embeddings: rows of few bits", looked_up)
            keep("mean over tokens", mean)
        for way, session in sessions.items():
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
            nodes = [event for event in events if event["name"].endswith("_kernel_time")]
            of_way = [number % count for number, used in enumerate(runs) if used == way]
            each = len(nodes) // len(of_way)
            for place, event in enumerate(nodes):
                name = f"{way} {place % each}"
                operators[of_way[place // each], name].append(event["dur"] / 1e6)
                kinds[name] = event["args"]["op_name"]
    sums: Counter[str] = Counter()
    for (_, name), seconds in operators.items():
        sums[kinds[name]] += min(seconds)  # type: ignore[assignment]
    found = {**best, **sums}
    return {name: seconds * 1000 for name, seconds in sorted(found.items(), key=lambda entry: -entry[1])}


def floor(encoder: LightEncoder) -> tuple[float, float]:
    """Return the megabytes of the layers' matrices in the file, and the milliseconds in which so much is read."""
    places = encoder.network._weights.tensors.places  # type: ignore[attr-defined]
    stored = sum(place.length for name, place in places.items() if name.startswith("encoder."))
    # In chunks, each of which is read before another process interrupts this one.
    chunks = np.ones((_READ // _CHUNK, _CHUNK // 8), dtype=np.float64)
    seconds = np.full(len(chunks), np.inf)
    for _ in range(_TURNS):
        for place, chunk in enumerate(chunks):
            start = time.perf_counter()
            chunk.sum()
            seconds[place] = min(seconds[place], time.perf_counter() - start)
    return stored / 1e6, stored / _READ * float(seconds.sum()) * 1000


def main(
    model: Annotated[str | None, typer.Option(help="A folder or a hub id; the bundled encoder by default.")] = None,
    data: Annotated[list[Path] | None, typer.Option(help="Files of documents; repeatable.")] = None,
    passages: Annotated[int, typer.Option(min=4)] = 100,
    queries: Annotated[int, typer.Option(min=4)] = 40,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    threads: Annotated[list[int] | None, typer.Option(min=1, help="Repeatable; 1 and 2 by default.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="20 passages, 10 queries, two rounds.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Time encoding."""
    passages, queries, rounds = (20, 10, 2) if quick else (passages, queries, rounds)
    some, asked = sampled_texts(data, passages, queries)
    plain = load_in_torch(model, device="cpu")
    tokens = sum(len(ids) for ids in plain.model.tokenizer(some, truncation=True).input_ids)
    texts = Texts(asked, some, tokens)
    console, name = Console(), processor()
    title = f"{plain.name}: {len(some)} passages of {tokens // len(some)} tokens, processor time\n{name}"
    table = Table(title=title)
    for column in ("", "query: ratio", "ms", "least cosine", "passages: ratio", "tokens/s", "least cosine"):
        table.add_column(column, justify="right" if column else "left")
    figures: dict[str, Any] = {}
    for count in threads or [1, 2]:
        # Read by the light runtime when it starts a session.
        os.environ["OMP_NUM_THREADS"] = str(count)
        torch.set_num_threads(count)
        encoders = ways(model, plain)
        measured = measure(encoders, texts, rounds)
        base = measured[_BASE]
        for way, found in measured.items():
            query, passage = base.query_ms / found.query_ms, found.tokens_per_second / base.tokens_per_second
            cells = [f"{query:.2f}", f"{found.query_ms:.1f}", f"{found.least_cosine_of_queries:.5f}", f"{passage:.2f}"]
            cells += [f"{found.tokens_per_second:,.0f}", f"{found.least_cosine_of_passages:.5f}"]
            table.add_row(f"{way}, {count} thread{'s' * (count > 1)}", *cells)
            figures[f"{way}, {count}"] = {**found._asdict(), "query_ratio": query, "passages_ratio": passage}
        table.add_section()
    console.print(table)
    spent: dict[str, Any] = {}
    light = encoders.get(_FAST)
    if isinstance(light, LightEncoder) and isinstance(light.network, PackedNetwork):
        middle = sorted(asked, key=len)[len(asked) // 2]
        spent = {"query": parts(light, [middle]), "passages": parts(light, some)}
        megabytes, least = floor(light)
        shares = Table("part", "a query, ms", "%", "passages, %", title="Where the time goes: one thread, by the clock")
        sums = {kind: sum(found.values()) for kind, found in spent.items()}
        for part in spent["passages"]:
            query = spent["query"].get(part, 0.0)
            of_passages = spent["passages"][part] / sums["passages"]
            shares.add_row(part, f"{query:.2f}", f"{query / sums['query']:.1%}", f"{of_passages:.1%}")
        shares.add_row("all", f"{sums['query']:.2f}", "", "")
        shares.add_row(f"floor: {megabytes:.1f} MB read once", f"{least:.2f}", "", "")
        console.print(shares)
        spent["floor_ms"], spent["megabytes"] = least, megabytes
    if json_file is not None:
        earlier = json.loads(json_file.read_text(encoding="utf-8")) if json_file.is_file() else {}
        found_here = examine()
        setting = {"passages": len(some), "tokens": tokens, "queries": len(asked), "rounds": rounds}
        entry = {"figures": figures, "parts": spent, "texts": setting, "machine": found_here.machine}
        content = {**earlier, name: {**entry, "versions": found_here.versions}}
        json_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
