"""Monitor an encoder while it is trained by context prediction: collapse, leakage and staleness."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn import functional

from mlret.training.batches.pairs import HeldOutPairs, Padding
from mlret.training.objectives.ccp import ContextPredictionLoss, LastBatch
from mlret.training.objectives.contrast import info_nce

_NEARLY_ONE_POINT = 0.95
_FEWEST_DIRECTIONS = 3.0
_LEAK = 0.3
_LOGS_IN_A_ROW = 2


def mean_cosine(vectors: Tensor) -> float:
    """Return the mean cosine between different rows of ``(n, d)`` vectors. Near 1, all vectors are almost one point."""
    unit = functional.normalize(vectors.float(), dim=1)
    n = len(unit)
    return float((unit.sum(dim=0).square().sum() - n) / (n * (n - 1)))


def effective_rank(vectors: Tensor) -> float:
    """Return the effective rank of ``(n, d)`` vectors after centring: exp of the entropy of their singular values.

    It measures over how many directions the vectors spread, from 1 to ``min(n - 1, d)``; 0 if all rows are equal. See
    Roy and Vetterli, "The effective rank", EUSIPCO 2007.
    """
    values = torch.linalg.svdvals(vectors.float() - vectors.float().mean(dim=0))
    if float(values.sum()) <= 1e-6 * math.sqrt(len(vectors)):
        return 0.0
    share = values / values.sum()
    return float(torch.exp(torch.special.entr(share).sum()))


def uniformity(vectors: Tensor) -> float:
    """Return the log of the mean of ``exp(-2 |x - y|^2)`` over pairs of different, normalised rows of ``(n, d)``.

    It is 0 if all rows are one point, and about -4 for an even spread over many dimensions. See Wang and Isola, arXiv
    2005.10242, section 4.1.
    """
    unit = functional.normalize(vectors.float(), dim=1)
    return float(torch.pdist(unit).square().mul(-2).exp().mean().log())


@dataclass(frozen=True)
class TrainingWarning:
    """A warning about a training run: its kind, and a message with the problem, its likely cause and how to fix it."""

    kind: str
    message: str


class ContextMonitor:
    """Measure an encoder during training, between its steps.

    Parameters
    ----------
    loss
        The objective, whose last batch is measured.
    model
        The encoder, not wrapped for several processes.
    held_out
        Pairs that are excluded from training.
    padding
        Pads rows of token ids to model input.
    warmup
        Number of optimizer steps before warnings are returned, because an encoder may be collapsed at the start.
    """

    def __init__(
        self,
        loss: ContextPredictionLoss,
        model: SentenceTransformer,
        held_out: HeldOutPairs,
        padding: Padding,
        *,
        warmup: int,
    ) -> None:
        self._loss = loss
        self._model = model
        self._held_out = held_out
        self._padding = padding
        self._warmup = warmup
        self._in_a_row = {"collapse": 0, "leakage": 0}
        loss.watched_rows = max((len(pairs) for pairs in held_out.pairs.values()), default=0) or 128

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return the current metrics by their names in the log.

        - ``pretext_accuracy``: how often the right context was chosen, over the batches since the last measurement.
        - ``trained_accuracy``: the same for the first rows of the last batch, as computed in the training step.
          ``clean_accuracy``: the same with running statistics on both sides, so without what the statistics of the
          batch reveal.
        - ``held_out_accuracy``: the same for equally many pairs of held-out documents of that language, encoded in
          evaluation mode. ``leakage`` is ``trained_accuracy`` minus ``held_out_accuracy``. Both have the same number of
          candidates.
        - ``mean_cosine``, ``effective_rank``, ``uniformity``: computed on the embeddings of these held-out sentences.
        - ``bank_age``: mean age, in steps, of the bank's vectors of that language. ``languages_seen``: number of
        languages.
        - ``temperature``: the current temperature of the loss.
        """
        loss = self._loss
        step = int(loss.optimizer_steps)
        metrics = {
            "pretext_accuracy": loss.take_pretext_accuracy(),
            "languages_seen": float((loss.batches_seen > 0).sum()),
            "temperature": float(loss.temperature),
        }
        last = loss.last_batch
        if last is None:
            return metrics
        if loss.bank.size:
            metrics["bank_age"] = loss.bank.age(loss.bank_of(last.language), step)
        held_out = self._held_out.pairs.get(last.language)
        if held_out is None:
            return metrics | _spread(last.centre)
        training = self._model.training
        self._model.eval()
        try:
            centre, context = (self._encode(held_out[:, side]) for side in (0, 1))
        finally:
            self._model.train(training)
        n = min(len(centre), len(last.centre))
        trained = self._accuracy(last.query[:n], last.key[:n], last.document[:n], last)
        clean = self._accuracy(*self._project(last.centre[:n], last.context[:n], last), last.document[:n], last)
        # Held-out documents are not in the bank, so they get numbers that no document has.
        apart = -2 - torch.arange(n, device=centre.device)
        seen = self._accuracy(*self._project(centre[:n], context[:n], last), apart, last)
        metrics |= {
            "trained_accuracy": trained,
            "clean_accuracy": clean,
            "held_out_accuracy": seen,
            "leakage": trained - seen,
        }
        return metrics | _spread(centre)

    def judge(self, metrics: dict[str, float]) -> list[TrainingWarning]:
        """Return the warnings that the metrics call for, each with its cause and how to fix it.

        A warning is returned once it has held twice in a row.
        """
        if int(self._loss.optimizer_steps) < self._warmup:
            return []
        warnings = []
        if self._persists("collapse", _is_collapsed(metrics)):
            warnings.append(TrainingWarning("collapse", self._why_collapsed(metrics)))
        if self._persists("leakage", metrics.get("leakage", 0.0) > _LEAK):
            warnings.append(TrainingWarning("leakage", self._why_leaking(metrics)))
        return warnings

    def _persists(self, kind: str, now: bool) -> bool:
        self._in_a_row[kind] = self._in_a_row[kind] + 1 if now else 0
        return self._in_a_row[kind] == _LOGS_IN_A_ROW

    def _why_collapsed(self, metrics: dict[str, float]) -> str:
        what = (
            f"the embeddings collapse: mean cosine {metrics['mean_cosine']:.2f}, "
            f"effective rank {metrics['effective_rank']:.1f}"
        )
        loss = self._loss
        if not loss.bank.size:
            return f"{what}. There is no memory bank: set bank (1024 or more), or a larger batch_size"
        if not loss.bank_per_language:
            return f"{what}. One bank serves all languages: set bank_per_language to true"
        return f"{what}. Lower learning_rate, lengthen warmup, or enlarge bank and batch_size"

    def _why_leaking(self, metrics: dict[str, float]) -> str:
        trained, clean, seen = (metrics[f"{name}_accuracy"] for name in ("trained", "clean", "held_out"))
        what = f"training leaks: accuracy {trained:.2f} on its own batches, {seen:.2f} on held-out documents"
        if trained - clean > (trained - seen) / 2:
            cause = f"; with running statistics the same batch has {clean:.2f}, so the batch's statistics give it away"
            if not self._loss.asymmetric_batch_norm:
                return f"{what}{cause}. Set asymmetric_batch_norm to true"
            return f"{what}{cause}. Enlarge batch_size, or set statistics_per_language to true"
        return (
            f"{what}. The text gives it away: the two sides share what other documents lack (headers, templates, ids), "
            "or the encoder memorises the documents. Drop repeated sentences, give more text, or train less"
        )

    def _encode(self, rows: NDArray[np.int64]) -> Tensor:
        features = self._padding.features(self._held_out.texts, rows)
        device = next(self._model.parameters()).device
        embedding: Tensor = self._model({name: tensor.to(device) for name, tensor in features.items()})[
            "sentence_embedding"
        ]
        return embedding

    def _project(self, centre: Tensor, context: Tensor, last: LastBatch) -> tuple[Tensor, Tensor]:
        group = self._loss.statistics_group(last.language)
        query, key = (self._loss.head(rows, batch_statistics=False, group=group) for rows in (centre, context))
        return query, key

    def _accuracy(self, query: Tensor, key: Tensor, document: Tensor, last: LastBatch) -> float:
        both = (
            info_nce(
                a,
                b,
                document,
                temperature=1.0,
                own_side=self._loss.own_side_negatives,
                other_side=self._loss.other_side_negatives,
                bank=last.bank,
                bank_document=last.bank_document,
            )[1]
            for a, b in ((query, key), (key, query))
        )
        return float(sum(both)) / 2


def _spread(vectors: Tensor) -> dict[str, float]:
    return {
        "mean_cosine": mean_cosine(vectors),
        "effective_rank": effective_rank(vectors),
        "uniformity": uniformity(vectors),
    }


def _is_collapsed(metrics: dict[str, float]) -> bool:
    return (
        metrics.get("mean_cosine", 0.0) > _NEARLY_ONE_POINT
        or metrics.get("effective_rank", math.inf) < _FEWEST_DIRECTIONS
    )
