"""Look for collapse and leakage when a real encoder is adapted by context prediction, at three batch sizes.

    python scripts/ccp_curves.py --data DIR [--runs runs/ccp-curves] [--cache FOLDER] [--languages wol]
    python scripts/ccp_report.py [--curves ...]

The paper (arXiv 2206.03281) gives a memory bank for each language as the remedy against collapse, and asymmetric batch
norm as the remedy against leakage through the statistics of a batch. Each run adapts the last layers of the bundled
encoder to one language with one combination of bank and normalisation, without the term that keeps vectors where they
were, which would hide a collapse. Ten times during training, held-out documents are measured: the mean cosine, the
effective rank and the uniformity of their vectors, and the accuracy of context prediction, once with the statistics
that training uses and once with running statistics. The difference is what leaks through the statistics of a batch:
the same sentences, the same candidates. A run whose file exists is skipped.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from ccp_adaptation import BASE, Language, Study, context_accuracy, names, spread
from torch import Tensor
from torch.nn import functional

from mlret.data.durable import write_text_atomically
from mlret.training.adaptation.adapter_training import AdapterTraining
from mlret.training.adaptation.context_loss import ContextLoss
from mlret.training.adaptation.ordered_text import ContextBatch, OrderedText, context_batches
from mlret.training.objectives.contrast import info_nce

VARIANTS: dict[str, dict[str, Any]] = {
    "bank, asymmetric batch norm": {},
    "no bank, asymmetric batch norm": {"bank": 0},
    "bank, batch norm": {"asymmetric_batch_norm": False},
    "no bank, batch norm": {"bank": 0, "asymmetric_batch_norm": False},
    "bank, no head": {"projection": 0},
    "no bank, no head": {"bank": 0, "projection": 0},
}
BATCH_SIZES = (16, 32, 64)
STEPS = 100
LAYERS = 2
LEARNING_RATE = 1e-3
MEASURED = {
    "mean_cosine": "mean cosine of held-out sentences",
    "effective_rank": "effective rank of held-out vectors",
    "uniformity": "uniformity (lower is more uniform)",
    "leak": "leakage in points of accuracy",
    "context": "next sentence nearest, held out, in per cent",
    "bitext": "held-out sentences whose English is nearest, in per cent",
}
_POINTS = 10


@torch.no_grad()
def prediction(objective: ContextLoss, vectors: Tensor, batch: ContextBatch, *, as_trained: bool) -> float:
    """Return the accuracy of context prediction in a batch, in per cent, without a bank.

    Parameters
    ----------
    objective
        The loss with its head.
    vectors
        ``(n, dims)`` embeddings of the sentences of the batch.
    batch
        The batch.
    as_trained
        Whether the head uses statistics as in training; otherwise running statistics on both sides.
    """
    document = torch.from_numpy(batch.document)
    context = vectors[torch.from_numpy(batch.context)]
    if objective.head is None:
        query, key = functional.normalize(vectors, dim=-1), functional.normalize(context, dim=-1)
    else:
        sides = (True, not objective.asymmetric) if as_trained else (False, False)
        before = {name: value.clone() for name, value in objective.head.state_dict().items()}
        query = objective.head(vectors, batch_statistics=sides[0])
        key = objective.head(context, batch_statistics=sides[1])
        objective.head.load_state_dict(before)  # batch statistics move the running ones
    return float(info_nce(query, key, document, temperature=0.05, own_side=True)[1]) * 100


def curve_of(study: Study, language: Language, variant: str, batch_size: int, seed: int) -> list[dict[str, float]]:
    """Train one variant and return what was measured at each point."""
    settings = BASE | VARIANTS[variant]
    language.reset()
    train_rows, held_out = study.split(seed)
    torch.manual_seed(seed)
    objective = ContextLoss(
        language.vectors([0]).shape[1],
        projection=settings["projection"],
        bank=settings["bank"],
        temperature=settings["temperature"],
        asymmetric_batch_norm=settings["asymmetric_batch_norm"],
    )
    text = OrderedText(study.texts["eng"], study.document)
    english = np.concatenate([study.english[held_out], study.english[train_rows]])
    curve: list[dict[str, float]] = []

    def note(step: int) -> None:
        held = language.vectors(held_out.tolist())
        of_row = dict(zip(held_out.tolist(), held, strict=True))
        now: dict[str, float] = {"step": step, "context": context_accuracy(held.numpy(), study.document[held_out])}
        some = context_batches(text, held_out, size=batch_size, window=settings["window"], seed=1)
        found: list[tuple[float, float]] = []
        for _ in range(max(1, 256 // batch_size)):
            batch = next(some)
            vectors = torch.stack([of_row[row] for row in batch.rows.tolist()])
            found.append(
                (
                    prediction(objective, vectors, batch, as_trained=True),
                    prediction(objective, vectors, batch, as_trained=False),
                )
            )
        trained, running = np.mean(found, axis=0).tolist()
        now |= {"as_trained": trained, "running": running, "leak": trained - running}
        nearest = (held.numpy() @ english.T).argmax(1)
        now["bitext"] = float((nearest == np.arange(len(held))).mean()) * 100
        curve.append(now | spread(held.numpy()))

    def loss(batch: ContextBatch) -> Tensor:
        language.upper.train(settings["dropout"])
        return objective.of_batch(language.upper([language.states[row] for row in batch.rows]), batch)

    note(0)
    AdapterTraining(language.upper, objective, loss, steps=STEPS, learning_rate=LEARNING_RATE, seed=seed).run(
        context_batches(text, train_rows, size=batch_size, window=settings["window"], seed=seed),
        on_step=lambda step, value: note(step) if step % (STEPS // _POINTS) == 0 else None,
    )
    return curve


def main(
    data: Annotated[Path, typer.Option(help="The folder with ntrex128 and mono.")],
    runs: Annotated[Path, typer.Option()] = Path("runs/ccp-curves"),
    cache: Annotated[Path | None, typer.Option()] = None,
    languages: Annotated[str, typer.Option()] = "wol",
    batch_sizes: Annotated[str, typer.Option()] = ",".join(map(str, BATCH_SIZES)),
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Train what has not been trained."""
    runs.mkdir(parents=True, exist_ok=True)
    study = Study(data, cache)
    for code in names(languages):
        language = Language(study, code, LAYERS, seed)
        for batch_size in map(int, names(batch_sizes)):
            for number, variant in enumerate(VARIANTS):
                path = runs / f"{number}.{code}.{batch_size}.{seed}.json"
                if path.is_file():
                    continue
                curve = curve_of(study, language, variant, batch_size, seed)
                found = {"variant": variant, "language": code, "batch_size": batch_size, "seed": seed, "curve": curve}
                write_text_atomically(path, json.dumps(found, indent=1))
                print(f"{variant:31s} {code} {batch_size:3d}  " + _in_short(curve[-1]), flush=True)


def _in_short(point: dict[str, float]) -> str:
    return "  ".join(f"{name} {point[name]:.2f}" for name in (*MEASURED, "as_trained"))


if __name__ == "__main__":
    typer.run(main)
