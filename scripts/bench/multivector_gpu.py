"""Measure exact MaxSim on a GPU: the fused kernel, torch, and the time that reading the codes once takes.

    python scripts/bench/multivector_gpu.py --bits 4 [--scale 1] [--device cuda] [--json FILE]

Tokens are those of `multivector.py`, 10,000 documents stored fifty times over, since only their number matters for the
time. Milliseconds are those of one query and of 32 in one pass. The kernel is compared with several formulations in
torch, which get the same codes and share everything around them:

- blocks: what mlret does without triton. Tokens are decoded block by block, products are written to memory and reduced
  document by document; with small blocks and large ones;
- padded: documents are padded to one length beforehand, so that the maximum is one over a dense axis;
- compiled: the same by torch.compile, which fuses what it can.

"reading" is the size of the codes divided by the speed of a copy or a sum on the device, whichever moves more. On a CPU
the kernel runs in triton's interpreter, on few documents.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import torch
import typer
from gpu import ROUNDS, DeviceName, JsonFile, Scale, Target, memory_speed, milliseconds, reading_ms, save
from multivector import Corpus, make
from numpy.typing import NDArray

from mlret.index.tokens import device as on_devices
from mlret.index.tokens.bits import LANES, WHOLE, centre
from mlret.index.tokens.codec import TokenCodec, centroids_for
from mlret.index.tokens.device import Chunk, DeviceTokens
from mlret.index.tokens.stored_tokens import CodedTokens, StoredTokens, WholeTokens
from mlret.index.tokens.token_segments import packed
from mlret.index.vectors.ragged import Ragged, offsets_of

DOCUMENTS, COPIES = 10_000, 50
QUERIES = (1, 32)
# More would take minutes of k-means on a CPU; the time of a query hardly depends on them, since they stay in the cache.
_MOST_CENTROIDS = 2**13
_SAMPLE = 32  # tokens for each centroid
_TOKENS_AT_ONCE = 2**20
_INTERPRETED = 20  # documents that the interpreter compares
_TOLERANCE = 0.05  # of a sum of 32 cosines in half precision

Formulation = Callable[[Chunk, torch.Tensor, torch.Tensor, torch.Tensor], None]


def stored(corpus: Corpus, bits: int, copies: int) -> StoredTokens:
    """Store the tokens with this number of bits, all of them several times over."""
    whole = Ragged(np.asarray(corpus.tokens, dtype=np.float16), corpus.offsets)
    offsets = offsets_of(np.tile(np.diff(corpus.offsets), copies))
    if bits == WHOLE:
        return WholeTokens(Ragged(np.tile(whole.values, (copies, 1)), offsets))
    count = min(centroids_for(len(whole.values) * copies), _MOST_CENTROIDS, len(whole.values) // 4)
    chosen = np.random.default_rng(0).choice(len(whole.values), min(len(whole.values), _SAMPLE * count), replace=False)
    codec = TokenCodec.train(whole.values[chosen].astype(np.float32), bits, centroids=count)  # type: ignore[arg-type]
    once = packed(codec, whole)
    tokens = len(whole.values)
    spare = once.codes[tokens:]
    return CodedTokens(
        codec,
        replace(
            once,
            codes=np.concatenate([np.tile(once.codes[:tokens], (copies, 1)), spare]),
            units=np.tile(once.units, copies),
            centroids=np.tile(once.centroids, copies),
            offsets=offsets,
        ),
    )


def decoded(codes: torch.Tensor, bits: int, dtype: torch.dtype) -> torch.Tensor:
    """Return the values of codes, without the unit of each token."""
    if bits == WHOLE:
        return codes.to(dtype)
    parts = [codes >> (place * bits) & (2**bits - 1) for place in range(8 // bits)]
    return torch.cat(parts, dim=-1).to(dtype) - centre(bits)  # type: ignore[arg-type]


def padded_block(
    codes: torch.Tensor,
    steps: torch.Tensor,
    centroids: torch.Tensor,
    there: torch.Tensor,
    queries: torch.Tensor,
    near: torch.Tensor,
    bits: int,
) -> torch.Tensor:
    """Return the scores of padded documents: ``(blocks, n)``.

    Codes are ``(n, longest, width)``; ``steps``, ``centroids`` and ``there`` are ``(n, longest)``.
    """
    values = decoded(codes, bits, queries.dtype)
    products = torch.einsum("nti,bil->bntl", values, queries).float()
    if bits < WHOLE:
        products = products * steps[None, :, :, None] + near[:, centroids]
    return products.masked_fill(~there[None, :, :, None], -torch.inf).amax(2).sum(2)


class Padded:
    """MaxSim over documents that are padded to the longest one before the first query."""

    def __init__(self, block: Callable[..., torch.Tensor] = padded_block) -> None:
        self._block = block
        self._layouts: dict[int, tuple[torch.Tensor, ...]] = {}

    def __call__(self, chunk: Chunk, queries: torch.Tensor, near: torch.Tensor, scores: torch.Tensor) -> None:
        layout = self._layouts.get(id(chunk))
        if layout is None:
            layout = self._layouts[id(chunk)] = self._padded(chunk)
        queries = queries if queries.is_cuda else queries.float()
        at_once = max(1, _TOKENS_AT_ONCE // layout[0].shape[1] // len(queries))
        for start in range(0, scores.shape[1], at_once):
            some = [one[start : start + at_once] for one in layout]
            scores[:, start : start + at_once] = self._block(*some, queries, near, chunk.bits)

    @staticmethod
    def _padded(chunk: Chunk) -> tuple[torch.Tensor, ...]:
        lengths = torch.diff(chunk.offsets)
        place = torch.arange(int(lengths.max()), device=chunk.codes.device)
        there = place[None, :] < lengths[:, None]
        rows = (chunk.offsets[:-1, None] + place[None, :]).clamp(max=int(chunk.offsets[-1]) - 1)
        if chunk.bits == WHOLE:
            return chunk.codes[rows], there, there, there
        return chunk.codes[rows], chunk.units[rows] * chunk.unit, chunk.centroids[rows].long(), there


def formulations() -> dict[str, tuple[int, Formulation]]:
    """Return for each formulation in torch the tokens of its blocks, and its function."""
    plain = on_devices._unfused
    found: dict[str, tuple[int, Formulation]] = {
        f"blocks of 2^{power} tokens": (2**power, plain) for power in (16, 18, 20)
    }
    found["padded"] = (_TOKENS_AT_ONCE, Padded())
    found["compiled"] = (_TOKENS_AT_ONCE, Padded(torch.compile(padded_block)))
    return found


def measure_torch(held: DeviceTokens, queries: list[NDArray[np.float32]], device: torch.device) -> dict[str, Any]:
    """Return the milliseconds of each formulation, and the largest difference of its scores from the first one's."""
    rows: dict[str, Any] = {}
    reference: torch.Tensor | None = None
    for name, (tokens, function) in formulations().items():
        with patch.object(on_devices, "_unfused", function), patch.object(on_devices, "_TOKENS", tokens):
            try:
                scores = held.scores(queries[:1])
                reference = scores if reference is None else reference
                row: dict[str, Any] = {"difference": float((scores - reference).abs().max())}
                for count in QUERIES:
                    row[f"ms_{count}"] = milliseconds(lambda count=count: held.scores(queries[:count]), device)
                rows[name] = row
            except Exception as error:  # a compiler may be missing, or memory run out: the others still count
                rows[name] = {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"}
    return rows


def measure_kernel(
    tokens: StoredTokens, queries: list[NDArray[np.float32]], device: torch.device, corpus: Corpus
) -> dict[str, Any]:
    """Return the milliseconds of the kernel, and the largest difference of its scores from torch's."""
    rounds = ROUNDS
    if device.type == "cpu":
        few = min(_INTERPRETED, len(corpus.offsets) - 1)
        offsets = corpus.offsets[: few + 1]
        tokens = stored(Corpus(corpus.tokens[: offsets[-1]], offsets, corpus.queries), _bits(tokens), 1)
        rounds, queries = 1, queries[:1]
    fused, plain = (DeviceTokens(tokens, device.type, fused=way) for way in (True, False))
    row: dict[str, Any] = {"documents": len(tokens)}
    with patch.object(on_devices, "_unfused", Padded()):
        row["difference"] = float((fused.scores(queries[:1]) - plain.scores(queries[:1])).abs().max())
    del plain
    for count in QUERIES:
        if count <= len(queries):
            row[f"ms_{count}"] = milliseconds(lambda count=count: fused.scores(queries[:count]), device, rounds)
    return row


def _bits(tokens: StoredTokens) -> int:
    return tokens.packed.bits if isinstance(tokens, CodedTokens) else WHOLE


def main(
    bits: Annotated[int, typer.Option(help="Bits for each dimension: 1, 2, 4, 8, or 16 for half precision.")] = 4,
    device_name: DeviceName = "cuda",
    scale: Scale = 1.0,
    json_file: JsonFile = None,
) -> None:
    """Measure exact MaxSim on a GPU."""
    device = torch.device(device_name)
    if device.type == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    corpus = make(max(20, int(DOCUMENTS * scale)))
    queries = list(corpus.queries[: QUERIES[-1]])
    tokens = stored(corpus, bits, COPIES)
    speed = memory_speed(device)
    held = DeviceTokens(tokens, device_name, fused=False)
    once = reading_ms(held.nbytes, speed)
    figures: dict[str, Any] = {
        "bits": bits, "documents": len(tokens), "tokens": int(tokens.offsets[-1]), "bytes": held.nbytes,
        "centroids": len(tokens.codec.centroids.vectors) if isinstance(tokens, CodedTokens) else 0,
        "lanes": LANES, "speed": speed, "reading_ms": once,
    }  # fmt: skip
    in_torch = figures["torch"] = measure_torch(held, queries, device)
    del held
    lacking = None
    if find_spec("triton") is None:
        lacking = "triton is not installed (it comes with torch for CUDA)"
        figures["kernel"] = {"error": lacking}
    else:
        figures["kernel"] = measure_kernel(tokens, queries, device, corpus)
    kernel = figures["kernel"]

    worked = {name: row for name, row in in_torch.items() if "ms_1" in row}
    if wrong := [name for name, row in {**worked, "kernel": kernel}.items() if row.get("difference", 0) > _TOLERANCE]:
        raise SystemExit(f"scores differ by more than {_TOLERANCE}: {', '.join(wrong)}; {figures}")
    interpreted = "triton's interpreter is not timed against anything" if device.type == "cpu" else None
    targets = []
    for count in QUERIES:
        best = min(worked, key=lambda name, count=count: worked[name][f"ms_{count}"], default="none")
        own, reason = kernel.get(f"ms_{count}"), lacking or interpreted
        told = (
            f"MaxSim of {len(tokens):,} documents in {bits} bits, {'one query' if count == 1 else f'{count} queries'}"
        )
        over = None if reason else own / once
        failed = None if worked else "no formulation in torch ran"
        times = None if reason or failed else worked[best][f"ms_{count}"] / own
        # The targets are those of one query; a pass of many is bound by multiplication.
        wanted = count == 1
        targets += [
            Target(f"{told}: the kernel over reading the codes once", over, 1.5 if wanted else None, reason=reason),
            Target(f"{told}: the best in torch ({best}) over the kernel", times, 2.0 if wanted else None, True, reason),
        ]
    save(json_file, figures, targets)


if __name__ == "__main__":
    typer.run(main)
