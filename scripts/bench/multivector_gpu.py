"""Measure exact MaxSim on a GPU: the fused kernel, torch, and the time that reading the codes once takes.

    python scripts/bench/multivector_gpu.py [--documents 100000] [--data DIR] [--device cuda] [--json FILE]

Tokens are those of `multivector.py`. For 4, 8 and 16 bits it prints the milliseconds for one query and for 32 in one
pass, by the kernel and by torch (tokens are decoded block by block, products are written to memory and reduced);
"reading" is the size of the codes divided by half the bandwidth of a copy on the device, since a copy reads and writes.
On a CPU only torch is measured, as a trial.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from multivector import Corpus, make, read
from rich.console import Console
from rich.table import Table

from mlret.doctor import examine
from mlret.index.tokens.bits import WHOLE
from mlret.index.tokens.codec import TokenCodec, centroids_for
from mlret.index.tokens.device import DeviceTokens
from mlret.index.tokens.stored_tokens import CodedTokens, StoredTokens, WholeTokens
from mlret.index.tokens.token_segments import packed
from mlret.index.vectors.ragged import Ragged

BITS = (4, 8, WHOLE)
ROUNDS = 10


def stored(corpus: Corpus, bits: int) -> StoredTokens:
    """Store the tokens with this number of bits."""
    whole = Ragged(np.asarray(corpus.tokens, dtype=np.float16), corpus.offsets)
    if bits == WHOLE:
        return WholeTokens(whole)
    count = centroids_for(len(whole.values))
    chosen = np.random.default_rng(0).choice(len(whole.values), min(len(whole.values), 32 * count), replace=False)
    codec = TokenCodec.train(whole.values[chosen].astype(np.float32), bits, centroids=count)  # type: ignore[arg-type]
    return CodedTokens(codec, packed(codec, whole))


def milliseconds(run: Any, device: torch.device) -> float:
    """Return the median of some rounds, after a first one that compiles."""
    seconds = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return 1000 * float(np.median(seconds[1:]))


def bandwidth(device: torch.device) -> float:
    """Return the bytes per second that a copy on the device moves, counting reading and writing."""
    source = torch.zeros(2**28 if device.type == "cuda" else 2**24, dtype=torch.int32, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / (milliseconds(lambda: target.copy_(source), device) / 1000)


def main(
    documents: Annotated[int, typer.Option(min=100)] = 100_000,
    data: Annotated[Path | None, typer.Option(help="A folder of tokens instead.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="2,000 documents.")] = False,
    device_name: Annotated[str, typer.Option("--device")] = "cuda",
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Measure exact MaxSim on a GPU."""
    device = torch.device(device_name)
    corpus = read(data) if data else make(2_000 if quick else documents)
    queries = list(corpus.queries[:32])
    moved = bandwidth(device)
    rows, ratios = [], {}
    for bits in BITS:
        tokens = stored(corpus, bits)
        ways = {"kernel": True, "torch": False} if device.type == "cuda" else {"torch": False}
        row: dict[str, Any] = {"bits": bits}
        for name, fused in ways.items():
            on_device = DeviceTokens(tokens, device_name, fused=fused)
            for count in (1, 32):
                some = queries[:count]
                row[f"{name}_{count}_ms"] = milliseconds(lambda some=some, held=on_device: held.scores(some), device)
            row["reading_ms"] = 1000 * on_device.nbytes / moved
        if "kernel" in ways:
            ratios[f"overhead_over_reading_{bits}_bits"] = row["kernel_1_ms"] / row["reading_ms"]
            ratios[f"speedup_over_torch_{bits}_bits"] = row["torch_1_ms"] / row["kernel_1_ms"]
        rows.append(row)
    for name, ratio in ratios.items():
        print(f"{name} {ratio:.2f}")
    table = Table(*rows[0], title=f"{len(corpus.offsets) - 1:,} documents, {len(corpus.tokens):,} tokens, {device}")
    for row in rows:
        table.add_row(*(f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console().print(table)
    print(f"a copy on the device moves {moved / 1e9:,.0f} GB/s")
    if json_file is not None:
        found = examine()
        content = {"ratios": ratios, "figures": {"rows": rows, "copy_gb_s": moved / 1e9}}
        content |= {"machine": found.machine, "versions": found.versions}
        json_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
