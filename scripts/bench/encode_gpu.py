"""Measure encoding with the bundled encoder in torch on a GPU, against one core of the CPU.

    python scripts/bench/encode_gpu.py [--scale 1] [--device cuda] [--json FILE]

Passages of the bundled sample, repeated, are encoded in float32, in float32 whose products are rounded to TF32, and in
bfloat16, with several numbers of passages at once. Tokenizing is part of it. Then `encode.py` measures in what ways one
core encodes some of the same passages, in processor time; the fastest counts.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import encode
import numpy as np
import torch
import typer
from gpu import DeviceName, JsonFile, Scale, Target, milliseconds, save

from mlret.encoders.encoder import Encoder
from mlret.encoders.loading import load_in_torch

PASSAGES = 20_000
AT_ONCE = (32, 128, 512, 2048)
# What is compared on one core, and the passages whose vectors are compared with those of float32.
ON_ONE_CORE, COMPARED = 48, 64
_ROUNDS = 2


def ways(device: torch.device) -> dict[str, tuple[Encoder, bool]]:
    """Return an encoder for each way to compute, and whether products are rounded to TF32."""
    float32 = load_in_torch(None, device=str(device), precision="float32")
    bfloat16 = load_in_torch(None, device=str(device), precision="bfloat16")
    found = {"float32": (float32, False), "bfloat16": (bfloat16, False)}
    if device.type == "cuda":
        found["TF32"] = (float32, True)
    return found


def on_one_core(scale: float) -> dict[str, Any]:
    """Return the figures of `encode.py` on one core."""
    passages = max(4, int(ON_ONE_CORE * min(1.0, 10 * scale)))
    with TemporaryDirectory() as folder:
        file = Path(folder) / "encode.json"
        encode.main(None, None, passages, 4, 1, [1], quick=False, json_file=file)
        (entry,) = json.loads(file.read_text(encoding="utf-8")).values()
    return {way: figures["tokens_per_second"] for way, figures in entry["figures"].items()}


def main(device_name: DeviceName = "cuda", scale: Scale = 1.0, json_file: JsonFile = None) -> None:
    """Measure encoding on a GPU."""
    device = torch.device(device_name)
    some, _ = encode.sampled_texts(None, 10**6, 1)
    count = max(4, int(PASSAGES * scale))
    texts = (some * (1 + count // len(some)))[:count]
    figures: dict[str, Any] = {"passages": count}
    rows: list[dict[str, Any]] = []
    reference = None
    for name, (encoder, rounded) in ways(device).items():
        tokens = sum(map(len, encoder.model.tokenizer(texts, truncation=True).input_ids))
        torch.backends.cuda.matmul.allow_tf32 = rounded
        vectors = encoder.encode(texts[:COMPARED])
        reference = vectors if reference is None else reference
        least = float((vectors * reference).sum(axis=1).min())
        for at_once in AT_ONCE:
            if at_once == AT_ONCE[0] or at_once <= count:
                seconds = milliseconds(partial(encoder.encode, texts, batch_size=at_once), device, _ROUNDS) / 1000
                row = {"dtype": name, "at_once": at_once, "texts_per_second": count / seconds}
                rows.append(row | {"tokens_per_second": tokens / seconds, "least_cosine": least})
    torch.backends.cuda.matmul.allow_tf32 = False
    figures |= {"tokens": tokens, "rows": rows}
    best = max(rows, key=lambda row: row["tokens_per_second"])
    told = f"{best['dtype']}, {best['at_once']} at once"
    lacking = fastest = None
    try:
        core = figures["one_core_tokens_per_second"] = on_one_core(scale)
        fastest = max(core, key=lambda way: core[way])
    except Exception as error:  # the figures of the GPU are kept where the light runtime is missing
        lacking = f"{type(error).__name__}: {error}"
    over = None if lacking else best["tokens_per_second"] / core[fastest]
    targets = [
        Target(f"texts per second ({told})", best["texts_per_second"]),
        Target(f"tokens per second ({told})", best["tokens_per_second"]),
        Target(f"tokens per second over one core ({fastest or 'CPU'})", over, reason=lacking),
        Target("least cosine to float32", float(np.min([row["least_cosine"] for row in rows])), 0.99, at_least=True),
    ]
    save(json_file, figures, targets)


if __name__ == "__main__":
    typer.run(main)
