"""Encode texts in every way that mlret has: processor time of a query and of passages, and the least cosine.

    python scripts/bench/encode.py [--model NAME] [--data DIR] [--passages 100] [--queries 40] [--rounds 3] [--quick]
        [--threads 1] [--json FILE]

One process, the same texts, turn by turn, so that whatever else the machine does hits all alike. Cosines are those to
float32 in torch, before a calibration, which would enlarge what lacks to one. The texts are passages and questions of
the bundled sample, or with --data the files of a folder that `mlret index build` reads, whose first words are the
queries.
"""

from __future__ import annotations

import copy
import json
import random
import statistics
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mlret.data.corpus import Corpus
from mlret.data.sample import load_sample
from mlret.doctor import examine
from mlret.encoders.encoder import Encoder
from mlret.encoders.light.instructions import multiplies_int8
from mlret.encoders.light.light_encoder import load_light_encoder
from mlret.encoders.loading import BUNDLED, load_in_torch
from mlret.encoders.precision_speed import speed_of

_BASE = "torch float32"


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


def ways(model: str | None) -> dict[str, Encoder]:
    """Return an encoder for each way to compute that works with the model."""
    plain = load_in_torch(model, device="cpu")
    found = {_BASE: plain}
    precisions: list[Any] = ["bfloat16", "int8"]
    for precision in precisions:
        if speed_of(precision).fast:
            found[f"torch {precision}"] = Encoder(copy.deepcopy(plain.model), plain.name, precision=precision)
    path = BUNDLED if model is None else Path(model)
    kinds: list[Any] = ["fast", "float32", "4-bit", "int8"]
    for arithmetic in kinds:
        light = load_light_encoder(path, arithmetic=arithmetic) if path.is_dir() else None
        if light is not None:
            found[f"light {arithmetic}"] = light
    return found


def main(
    model: Annotated[str | None, typer.Option(help="A folder or a hub id; the bundled encoder by default.")] = None,
    data: Annotated[list[Path] | None, typer.Option(help="Files of documents; repeatable.")] = None,
    passages: Annotated[int, typer.Option(min=4)] = 100,
    queries: Annotated[int, typer.Option(min=4)] = 40,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    threads: Annotated[int, typer.Option(min=1, help="Set OMP_NUM_THREADS to the same number.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="20 passages, 10 queries, two rounds.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Time encoding."""
    passages, queries, rounds = (20, 10, 2) if quick else (passages, queries, rounds)
    torch.set_num_threads(threads)
    texts, asked = sampled_texts(data, passages, queries)
    encoders = ways(model)
    tokenizer = encoders[_BASE].model.tokenizer
    tokens = sum(len(ids) for ids in tokenizer(texts, truncation=True).input_ids)
    query_times: dict[str, list[float]] = {name: [] for name in encoders}
    passage_times: dict[str, list[float]] = {name: [] for name in encoders}
    cosines: dict[str, float] = {}
    reference = np.empty(0, dtype=np.float32)
    for turn in track(range(rounds + 1), "encoding", console=Console(stderr=True)):
        for name, encoder in encoders.items():
            seconds = []
            for query in asked:
                start = time.process_time()
                encoder.encode_query([query])
                seconds.append(time.process_time() - start)
            start = time.process_time()
            encoder.encode_document(texts)
            took = time.process_time() - start
            if turn:
                query_times[name].extend(seconds)
                passage_times[name].append(took)
                continue
            vectors = encoder.embed(asked + texts)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            reference = vectors if name == _BASE else reference
            cosines[name] = float((vectors * reference).sum(axis=1).min())
    milliseconds = {name: statistics.median(some) * 1000 for name, some in query_times.items()}
    speeds = {name: tokens / statistics.median(some) for name, some in passage_times.items()}
    table = Table(
        title=f"{encoders[_BASE].name}: {len(texts)} passages of {tokens // len(texts)} tokens, processor time, "
        f"{threads} threads, 8-bit products: {multiplies_int8() or 'none'}"
    )
    for column in ("", "query: ratio", "ms", "passages: ratio", "tokens/s", "least cosine"):
        table.add_column(column, justify="right" if column else "left")
    ratios: dict[str, float] = {}
    for name in encoders:
        ratios[f"speedup_query_{name}"] = milliseconds[_BASE] / milliseconds[name]
        ratios[f"speedup_passages_{name}"] = speeds[name] / speeds[_BASE]
        cells = [f"{ratios[f'speedup_query_{name}']:.2f}", f"{milliseconds[name]:.1f}"]
        cells += [f"{ratios[f'speedup_passages_{name}']:.2f}", f"{speeds[name]:,.0f}", f"{cosines[name]:.5f}"]
        table.add_row(name, *cells)
    Console().print(table)
    if json_file is not None:
        found = examine()
        figures = {"query_ms": milliseconds, "tokens_per_second": speeds, "least_cosine": cosines, "tokens": tokens}
        content = {"ratios": ratios, "figures": figures, "machine": found.machine, "versions": found.versions}
        json_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
