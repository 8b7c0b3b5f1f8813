"""Adapt the shared weights of the last layers to one language, with and without protecting the other languages.

    python scripts/ccp_weights.py --data DIR [--runs runs/ccp-weights] [--languages hmn,ton]
    python scripts/ccp_report.py [--weights ...]

`mlret train ccp-adapt` trains an adapter, which cannot change other languages. This script measures the alternative:
contrastive context prediction trains all weights of the last two layers of the bundled encoder, and text of other
languages keeps the vectors that it had, by distillation (1 - cosine with the old vector, weighted by `protect`).
Bitext accuracy with English is measured on the last fifth of NTREX-128 in the language, in the languages whose text
was distilled and in others. A run whose file exists is skipped.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from ccp_adaptation import BASE, Language, Study, accuracy, context_accuracy, names
from torch import Tensor, nn
from torch.nn import functional

from mlret.data.durable import write_text_atomically
from mlret.training.adaptation.adapter_training import AdapterTraining
from mlret.training.adaptation.context_loss import ContextLoss
from mlret.training.adaptation.ordered_text import ContextBatch, OrderedText, context_batches

ROWS: dict[str, dict[str, float]] = {
    "CCP": {"protect": 0.0},
    "CCP, others protected": {"protect": 10.0},
    "CCP, others protected, rate 1e-4": {"protect": 10.0, "learning_rate": 1e-4},
}
PROTECTED = ["eng", "fra", "swa", "hin"]
OTHERS = ["deu", "tur", "yor"]
_LAYERS = 2
_STEPS = 100
_LEARNING_RATE = 3e-5
_OLD_SENTENCES = 400
_OLD_IN_BATCH = 32


def adapt(study: Study, language: Language, code: str, row: str, seed: int) -> dict[str, Any]:
    """Train the shared weights of the last layers on one language, and return the accuracies of all languages."""
    settings = BASE | {"learning_rate": _LEARNING_RATE} | ROWS[row]
    upper = language.upper
    layers = upper.backbone.encoder.layer[-_LAYERS:]
    weights = [value.requires_grad_(True) for name, value in layers.named_parameters() if ".adapter" not in name]
    upper.adapters = nn.ParameterList(weights)
    start = [weight.detach().clone() for weight in weights]
    train_rows, held_out = study.split(seed)
    random = np.random.default_rng(seed)

    def states_of(other: str, rows: np.ndarray[Any, Any]) -> list[Tensor]:
        return upper.lower(upper.token_ids([study.texts[other][row] for row in rows.tolist()]))

    old = [
        state
        for other in PROTECTED
        for state in states_of(other, np.sort(random.permutation(train_rows)[: _OLD_SENTENCES // len(PROTECTED)]))
    ]
    test_states = {other: states_of(other, study.test) for other in (*PROTECTED, *OTHERS)}

    def accuracies() -> dict[str, float]:
        english = upper.encode(test_states["eng"]).numpy()
        found = {
            other: statistics.mean(accuracy(upper.encode(states).numpy(), english))
            for other, states in test_states.items()
            if other != "eng"
        }
        found[code] = statistics.mean(accuracy(language.vectors(study.test.tolist()).numpy(), english))
        return found

    def context() -> float:
        return context_accuracy(language.vectors(held_out.tolist()).numpy(), study.document[held_out])

    before, context_before = accuracies(), context()
    frozen, frozen_old = language.vectors(range(len(language.states))), upper.encode(old)
    torch.manual_seed(seed)
    objective = ContextLoss(
        frozen.shape[1],
        projection=settings["projection"],
        bank=settings["bank"],
        temperature=settings["temperature"],
        asymmetric_batch_norm=True,
    )

    def moved(states: list[Tensor], was: Tensor) -> tuple[Tensor, Tensor]:
        embeddings = upper(states)
        return embeddings, 1 - (functional.normalize(embeddings, dim=-1) * was).sum(1).mean()

    def loss(batch: ContextBatch) -> Tensor:
        upper.train()
        embeddings, own = moved([language.states[row] for row in batch.rows], frozen[torch.from_numpy(batch.rows)])
        value = objective.of_batch(embeddings, batch) + settings["keep"] * own
        if settings["protect"]:
            chosen = torch.randint(len(old), (_OLD_IN_BATCH,))
            value = value + settings["protect"] * moved([old[place] for place in chosen], frozen_old[chosen])[1]
        return value

    text = OrderedText(study.texts["eng"], study.document)
    AdapterTraining(
        upper, objective, loss, steps=_STEPS, learning_rate=float(settings["learning_rate"]), seed=seed
    ).run(context_batches(text, train_rows, size=settings["batch_size"], window=settings["window"], seed=seed))
    upper.eval()
    found = {"before": before, "after": accuracies(), "context_before": context_before, "context_after": context()}
    with torch.no_grad():
        for weight, was in zip(weights, start, strict=True):
            weight.copy_(was)
    return found


def main(
    data: Annotated[Path, typer.Option(help="The folder with ntrex128, tatoeba and mono.")],
    runs: Annotated[Path, typer.Option()] = Path("runs/ccp-weights"),
    cache: Annotated[Path | None, typer.Option()] = None,
    languages: Annotated[str, typer.Option()] = "hmn,ton",
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Train what has not been trained."""
    runs.mkdir(parents=True, exist_ok=True)
    study = Study(data, cache)
    for code in names(languages):
        language = Language(study, code, _LAYERS, seed)
        for number, row in enumerate(ROWS):
            path = runs / f"{number}.{code}.{seed}.json"
            if path.is_file():
                continue
            found = {"row": row, "language": code, "seed": seed} | adapt(study, language, code, row, seed)
            write_text_atomically(path, json.dumps(found, indent=1))
            changes = "  ".join(
                f"{other} {value:.1f} ({value - found['before'][other]:+.1f})"
                for other, value in found["after"].items()
            )
            print(f"{row:34s} {code}  {changes}", flush=True)


if __name__ == "__main__":
    typer.run(main)
