"""Time encoding texts with mlret and with sentence-transformers at its defaults, and check whether the vectors agree.

    python scripts/bench/encode.py [--model NAME] [--data DIR] [--texts 1000] [--rounds 3] [--quick] [--json FILE]

Both sides encode the same texts with one model in one process, in turn, so that other load on the machine affects both
alike. The texts are of mixed length: the passages and questions of the bundled sample, or with --data the files of a
folder that `mlret index build` reads.
"""

from __future__ import annotations

import copy
import json
import random
import statistics
import time
from pathlib import Path
from typing import Annotated

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
from mlret.encoders.loading import load_encoder
from mlret.encoders.precision_speed import speed_of


def mixed_texts(data: list[Path] | None, count: int) -> list[str]:
    """Return texts in random order: passages, and the first words of half of them, which resemble queries."""
    if data:
        texts = [document.text for document in Corpus(data)]
        random.Random(0).shuffle(texts)
        texts = [text if n % 2 else text[:60] for n, text in enumerate(texts[:count])]
    else:
        sample = load_sample()
        texts = [passage.text for passage in sample.passages] + [query.text for query in sample.queries]
    random.Random(1).shuffle(texts)
    return texts[:count]


def main(
    model: Annotated[str | None, typer.Option(help="A folder or a hub id; the bundled encoder by default.")] = None,
    data: Annotated[list[Path] | None, typer.Option(help="Files of documents; repeatable.")] = None,
    count: Annotated[int, typer.Option("--texts", min=10)] = 1000,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="200 texts, two rounds.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Time encoding."""
    count, rounds = (200, 2) if quick else (count, rounds)
    console = Console(stderr=True)
    texts = mixed_texts(data, count)
    plain = load_encoder(model, device="cpu")
    options = {"language": None} if plain.calibration_languages else {}
    runs = {
        "sentence-transformers": lambda: plain.model.encode(texts, show_progress_bar=False, **options),
        "float32": lambda: plain.encode(texts),
    }
    for precision in ("bfloat16", "int8"):
        other = Encoder(copy.deepcopy(plain.model), plain.name, precision=precision)  # type: ignore[arg-type]
        runs[precision] = lambda other=other: other.encode(texts)  # type: ignore[misc]
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    cosines: dict[str, float] = {}
    reference = np.empty(0, dtype=np.float32)
    for turn in track(range(rounds + 1), "encoding", console=console):
        for name, run in runs.items():
            start = time.perf_counter()
            vectors = run()
            if turn:
                seconds[name].append(time.perf_counter() - start)
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
            if name == "sentence-transformers":
                reference = vectors
            cosines[name] = float((vectors * reference).sum(axis=1).min())
    medians = {name: statistics.median(some) for name, some in seconds.items()}
    theirs = medians["sentence-transformers"]
    table = Table(
        title=f"{plain.name}: {len(texts)} texts, {torch.get_num_threads()} threads, "
        f"bfloat16 in hardware: {'yes' if speed_of('bfloat16').fast else 'no'}"
    )
    for column in ("", "ratio", "texts/s", "least cosine"):
        table.add_column(column, justify="right" if column else "left")
    for name, median in medians.items():
        table.add_row(name, f"{theirs / median:.2f}", f"{len(texts) / median:,.0f}", f"{cosines[name]:.5f}")
    Console().print(table)
    if json_file is not None:
        found = examine()
        ratios = {f"speedup_{name}": theirs / m for name, m in medians.items() if name != "sentence-transformers"}
        figures = {"texts": len(texts), "seconds": medians, "least_cosine": cosines, "model": plain.name}
        content = {"ratios": ratios, "figures": figures, "machine": found.machine, "versions": found.versions}
        json_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
