"""Time a step of CCP against the ranking loss of sentence-transformers, with the same backbone and batches.

    python scripts/bench/train.py [--quick] [--shape mini|small|xlmr-base] [--batch-size N] [--json FILE]

Four objectives train copies of one untrained encoder on the sentences of the bundled sample. They take one step each in
turn, so that other load on the machine affects them alike:

- MultipleNegativesRankingLoss of sentence-transformers;
- CCP without bank and with batch statistics on both sides;
- CCP with a bank of 4,096 and asymmetric batch normalisation;
- the same in mini-batches of a quarter (GradCache).

A step is forward, backward and AdamW; bfloat16 on a GPU, float32 on a CPU. Memory is the peak of a process of its own
for each objective: on a GPU as allocated by torch, on a CPU as counted by the system. The bank's processes have banks
for 40 languages, all full.
"""

from __future__ import annotations

import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import nn

from mlret.data.sample import load_sample
from mlret.data.sentences import split_sentences
from mlret.doctor import examine
from mlret.encoders.loading import load_encoder
from mlret.training.backbones.backbone import build_backbone, in_mini_batches
from mlret.training.batches.packed import PackedTexts
from mlret.training.batches.pairs import Padding
from mlret.training.objectives.ccp import ContextPredictionLoss
from mlret.training.recipe import NewBackbone

BANK, LANGUAGES = 4096, 40
# Peak throughput in FLOP/s.
PEAKS = {"H200": 989e12, "H100 80GB HBM3": 989e12, "A100": 312e12}
PEAK_SOURCE = (
    "NVIDIA's data sheets of H200, H100 SXM and A100: bfloat16 on tensor cores, half of the rate with sparsity"
)


class Shape(StrEnum):
    """Shape of the backbone; the vocabulary is that of the bundled encoder."""

    mini = "mini"
    small = "small"
    xlmr_base = "xlmr-base"


SHAPES = {
    Shape.mini: NewBackbone(layers=6, hidden=256, heads=4, feed_forward=512, dropout=0.0),
    Shape.small: NewBackbone(layers=12, hidden=384, heads=6, feed_forward=1536, dropout=0.0),
    Shape.xlmr_base: NewBackbone(layers=12, hidden=768, heads=12, feed_forward=3072, dropout=0.0),
}
Features = dict[str, torch.Tensor]
Batch = tuple[list[Features], torch.Tensor]


class Contestant:
    """One objective with its own model and optimizer."""

    def __init__(self, name: str, model: SentenceTransformer, device: torch.device) -> None:
        self.name = name
        self.model = copy.deepcopy(model).to(device).train()
        self.device = device
        self.loss = self._objective().to(device)
        fused = torch.optim.AdamW([p for p in self.loss.parameters() if p.requires_grad], lr=1e-4, fused=True)
        self.optimizer = fused
        self.quarter = name.endswith("mini-batches")

    def _objective(self) -> nn.Module:
        if self.name == "ranking loss":
            return MultipleNegativesRankingLoss(self.model)
        plain = self.name == "ccp, no bank, no ABN"
        return ContextPredictionLoss(
            self.model,
            languages=LANGUAGES,
            bank=0 if plain else BANK,
            asymmetric_batch_norm=not plain,
            batch_norm_warmup=0,
        )

    def step(self, batch: Batch) -> float:
        """Train on a batch; return the seconds."""
        features, labels = batch
        size = len(labels) // 4
        self._wait()
        start = time.perf_counter()
        with (
            in_mini_batches(self.model, size) if self.quarter else nullcontext(),
            torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda"),
        ):
            value = self.loss([dict(side) for side in features], labels)
            value = value["ccp"] if isinstance(value, dict) else value
        # The backward pass of mini-batches encodes again, so it needs the model in the state of the forward pass.
        with in_mini_batches(self.model, size) if self.quarter else nullcontext():
            value.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        if isinstance(self.loss, ContextPredictionLoss):
            self.loss.on_optimizer_step()
            self.loss.take_pretext_accuracy()
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def fill_banks(self) -> int:
        """Fill the bank of every language; return its bytes."""
        if not isinstance(self.loss, ContextPredictionLoss) or not self.loss.bank.size:
            return 0
        bank = self.loss.bank
        rows = nn.functional.normalize(torch.randn(BANK, bank.vectors.shape[2], device=self.device), dim=1)
        for language in range(LANGUAGES):
            bank.push(language, rows, torch.full((BANK,), -2, device=self.device))
        return bank.nbytes


CONTESTANTS = ["ranking loss", "ccp, no bank, no ABN", "ccp, bank and ABN", "ccp, bank and ABN, mini-batches"]


def build(shape: Shape, batch_size: int) -> tuple[SentenceTransformer, Callable[[int], Batch]]:
    """Return an untrained encoder, and a function that returns its batches."""
    tokenizer = load_encoder(device="cpu").model.tokenizer
    with tempfile.TemporaryDirectory() as folder:
        model = build_backbone(SHAPES[shape], tokenizer, folder=Path(folder), seed=0)
    texts = [s for passage in load_sample().passages for s in split_sentences(passage.text, passage.language or "en")]
    packed = PackedTexts.of(texts, tokenizer, max_length=64)
    padding = Padding(tokenizer, max_length=64)
    by_length = np.argsort(packed.lengths, kind="stable")

    def batch(number: int) -> Batch:
        random = np.random.default_rng(number)
        start = random.integers(0, max(1, len(by_length) - 2 * batch_size))
        near = by_length[start : start + 2 * batch_size]
        sides = [random.choice(near, batch_size) for _ in range(2)]
        labels = np.stack([np.full(batch_size, number % LANGUAGES), np.arange(batch_size)], axis=1)
        return [padding.features(packed, rows) for rows in sides], torch.from_numpy(labels)

    return model, batch


def on(device: torch.device, batch: Batch) -> Batch:
    """Return the batch on a device."""
    features, labels = batch
    return [{k: v.to(device) for k, v in side.items()} for side in features], labels.to(device)


def peak_bytes(device: torch.device) -> int:
    """Return the peak memory use of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    # getrusage is not used, because its peak starts at that of the parent process.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def flops(backbone: nn.Module, lengths: NDArray[np.floating]) -> float:
    """Return the FLOPs of texts, forward and backward: 6 for each weight and token, and attention's products.

    ``backbone`` is that of transformers; ``lengths`` are the tokens of each text.
    """
    config = backbone.config
    weights = sum(p.numel() for n, p in backbone.named_parameters() if ".layer." in f".{n}" and p.ndim == 2)
    attention = 12 * config.num_hidden_layers * config.hidden_size
    return float(6 * weights * lengths.sum() + attention * (lengths.astype(np.float64) ** 2).sum())


def peak_of(device: str) -> float | None:
    """Return the peak of a device in FLOP/s, or ``None`` if it is not known."""
    return next((peak for name, peak in PEAKS.items() if name in device), None)


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Few rounds of small batches; under a minute.")] = False,
    shape: Annotated[Shape, typer.Option(help="Shape of the backbone.")] = Shape.mini,
    batch_size: Annotated[int, typer.Option(min=8, help="Pairs in a batch.")] = 256,
    rounds: Annotated[int, typer.Option(min=3, help="Steps of each objective.")] = 20,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    memory_of: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Time a step of CCP against sentence-transformers' ranking loss, and measure the memory of the bank."""
    if quick:
        batch_size, rounds = min(batch_size, 64), min(rounds, 8)
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, batches = build(shape, batch_size)
    if memory_of is not None:
        contestant = Contestant(CONTESTANTS[memory_of], model, device)
        held = contestant.fill_banks()
        for number in range(3):
            contestant.step(on(device, batches(number)))
        print(json.dumps({"peak": peak_bytes(device), "bank": held}))
        return

    contestants = [Contestant(name, model, device) for name in CONTESTANTS]
    for contestant in contestants:
        contestant.fill_banks()
    seconds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    collating, work = [], []
    for number in range(rounds + 2):
        start = time.perf_counter()
        batch = batches(number)
        collated = time.perf_counter() - start
        batch = on(device, batch)
        order = contestants[number % 4 :] + contestants[: number % 4]
        for contestant in order:
            taken = contestant.step(batch)
            if number >= 2:  # the first steps warm the caches
                seconds[contestant.name].append(taken)
        if number >= 2:
            collating.append(collated)
            sides = [side["attention_mask"].sum(1).cpu().numpy() for side in batch[0]]
            work.append(sum(flops(model[0].model, lengths) for lengths in sides))

    arguments = ["--shape", shape.value, "--batch-size", str(batch_size)]
    memory = [
        json.loads(
            subprocess.run(
                [sys.executable, __file__, *arguments, "--memory-of", str(number)],
                check=True, capture_output=True, text=True,
            ).stdout.splitlines()[-1]
        )
        for number in range(4)
    ]  # fmt: skip
    report(seconds, collating, work, memory, batch_size, shape, json_)


def report(
    seconds: dict[str, list[float]],
    collating: list[float],
    work: list[float],
    memory: list[dict[str, int]],
    batch_size: int,
    shape: Shape,
    json_: Path | None,
) -> None:
    """Print the table and write the JSON."""
    ranking, plain, full, parts = CONTESTANTS

    def ratio(us: str, them: str) -> float:
        # Compared step by step, because the steps of a round had the same batch and the same load on the machine.
        return statistics.median(a / b for a, b in zip(seconds[us], seconds[them], strict=True))

    ratios = {
        "overhead_step_bank_and_abn": ratio(full, plain),
        "overhead_step_ccp_to_ranking_loss": ratio(full, ranking),
        "overhead_step_mini_batches": ratio(parts, full),
        "overhead_memory_bank_to_its_bytes": (memory[2]["peak"] - memory[1]["peak"]) / memory[2]["bank"],
        "overhead_memory_mini_batches": memory[3]["peak"] / memory[2]["peak"],
    }
    found = examine()
    peak = peak_of(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
    figures = {
        "shape": shape.value,
        "batch_size": batch_size,
        "share_of_step_collating": statistics.median(collating) / statistics.median(seconds[full]),
        "objectives": {
            name: {
                "median_step_seconds": statistics.median(times),
                "sentences_per_second": 2 * batch_size / statistics.median(times),
                "peak_bytes": memory[row]["peak"],
                "bank_bytes": memory[row]["bank"],
                "flop_per_second": statistics.median(w / t for w, t in zip(work, times, strict=True)),
            }
            for row, (name, times) in enumerate(seconds.items())
        },
    }
    console = Console()
    table = Table(title=f"one step, {shape.value}, {batch_size} pairs; ratio to ccp without bank and ABN")
    for column in ("objective", "ratio", "ms", "sentences/s", "TFLOP/s", "of peak", "peak MB", "bank MB"):
        table.add_column(column, justify="left" if column == "objective" else "right")
    for name, row in figures["objectives"].items():  # type: ignore[attr-defined]
        of_peak = f"{row['flop_per_second'] / peak:.0%}" if peak else "-"
        table.add_row(
            name,
            f"{ratio(name, plain):.3f}",
            f"{1000 * row['median_step_seconds']:.0f}",
            f"{row['sentences_per_second']:,.0f}",
            f"{row['flop_per_second'] / 1e12:.2f}",
            of_peak,
            f"{row['peak_bytes'] / 1e6:,.0f}",
            f"{row['bank_bytes'] / 1e6:,.0f}",
        )
    console.print(table)
    for name, value in ratios.items():
        console.print(f"{name}: {value:.3f}")
    console.print(f"collating a batch takes {figures['share_of_step_collating']:.2%} of a step")
    if json_ is not None:
        content = {"ratios": ratios, "figures": figures, "machine": found.machine, "versions": found.versions}
        json_.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
