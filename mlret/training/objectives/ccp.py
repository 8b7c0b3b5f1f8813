"""Contrastive context prediction (CCP), arXiv 2206.03281.

The loss pulls together sentences that are near each other in a monolingual document. It pushes away sentences of other
documents in the same language, from the batch and from the language's memory bank. Where the paper leaves a detail
open, the docstrings here state the choice.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from mlret.errors import InputError
from mlret.training.objectives.bank import MemoryBank
from mlret.training.objectives.batch_norm import ProjectionHead
from mlret.training.objectives.contrast import info_nce
from mlret.training.objectives.masking import MaskedLanguageModel
from mlret.training.ranks import gather_rows

_SHORTEST_TEMPERATURE = 0.01


@dataclass(frozen=True)
class LastBatch:
    """The first rows of the last training batch, for the monitors. All tensors are detached.

    Attributes
    ----------
    language
        The number of the batch's language.
    centre, context
        ``(m, dims)`` embeddings.
    query, key
        ``(m, projection)`` projected unit vectors, computed with the batch norm statistics that the step used.
    document
        ``(m,)`` int64 document number of each pair.
    bank, bank_document
        The vectors and document numbers of the memory bank that the step used.
    """

    language: int
    centre: Tensor
    context: Tensor
    query: Tensor
    key: Tensor
    document: Tensor
    bank: Tensor
    bank_document: Tensor


class ContextPredictionLoss(nn.Module):
    """Symmetric InfoNCE between centre sentences and their contexts.

    All sentences of a batch are in one language. Depending on the switches, the negatives are the other rows of both
    sides and the language's memory bank; rows of the same document are masked. After the loss is computed, the vectors
    of both sides are detached and pushed to the bank.

    With several processes, the embeddings are gathered first. The head, the statistics, the loss and the bank are then
    the same on all processes, and two processes compute what one process would with the whole batch.

    Parameters
    ----------
    model
        The encoder to train.
    languages
        The number of languages.
    bank
        The number of vectors in each bank; 0 for no bank.
    bank_per_language
        Whether each language has its own bank; otherwise all languages share one.
    bank_dtype
        The dtype of the stored vectors.
    own_side_negatives, other_side_negatives
        Whether the other rows of the same side, and the other rows of the opposite side, are negatives. For a centre
        these are the other centres and the contexts of the other centres; for a context, the reverse.
    projection
        The number of dimensions of a projected vector.
    final_batch_norm
        Whether the head ends in a batch norm.
    temperature
        The temperature of the softmax.
    learn_temperature
        Whether the temperature is learned, starting from ``temperature`` (as its logarithm, and never below 0.01).
    asymmetric_batch_norm
        Whether one side uses batch statistics and the other running statistics, swapped at every optimizer step.
        Otherwise both sides use batch statistics.
    statistics_per_language
        Whether each language has its own running statistics; otherwise all languages share them.
    batch_norm_warmup
        The number of initial batches that use batch statistics on both sides, until the running statistics are
        meaningful. They are counted per language if the statistics are kept per language.
    momentum
        If given, the targets and the bank's vectors come from a second encoder: the moving average of the first, with
        this weight on the old value (MoCo, arXiv 1911.05722, section 3.2).
    masked_language_model
        A second task, computed on the centre sentences.
    masked_language_model_weight
        The weight of the second task in the loss.

    Raises
    ------
    InputError
        If no kind of negative is switched on, or the encoder does not state the number of dimensions of its vectors.
    """

    optimizer_steps: Tensor
    batches_seen: Tensor

    def __init__(
        self,
        model: SentenceTransformer,
        *,
        languages: int,
        bank: int = 1024,
        bank_per_language: bool = True,
        bank_dtype: torch.dtype = torch.float32,
        own_side_negatives: bool = True,
        other_side_negatives: bool = True,
        projection: int = 256,
        final_batch_norm: bool = False,
        temperature: float = 0.1,
        learn_temperature: bool = False,
        asymmetric_batch_norm: bool = True,
        statistics_per_language: bool = False,
        batch_norm_warmup: int = 100,
        momentum: float | None = None,
        masked_language_model: MaskedLanguageModel | None = None,
        masked_language_model_weight: float = 0.0,
    ) -> None:
        super().__init__()
        if not (bank or own_side_negatives or other_side_negatives):
            raise InputError("no negatives: give a bank, own_side_negatives or other_side_negatives")
        dims = model.get_embedding_dimension()
        if dims is None:
            raise InputError("the encoder does not state its number of dimensions: give it a pooling module")
        self.model = model
        self.head = ProjectionHead(
            dims,
            projection,
            groups=languages if statistics_per_language else 1,
            final_batch_norm=final_batch_norm,
        )
        self.momentum = momentum
        self.momentum_model = copy.deepcopy(model).requires_grad_(False) if momentum is not None else None
        self.momentum_head = copy.deepcopy(self.head).requires_grad_(False) if momentum is not None else None
        self.bank = MemoryBank(languages if bank_per_language else 1, bank, projection, dtype=bank_dtype)
        self.bank_per_language = bank_per_language
        self.own_side_negatives = own_side_negatives
        self.other_side_negatives = other_side_negatives
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)), requires_grad=learn_temperature)
        self.asymmetric_batch_norm = asymmetric_batch_norm
        self.statistics_per_language = statistics_per_language
        self.batch_norm_warmup = batch_norm_warmup
        self.masked_language_model = masked_language_model
        self.masked_language_model_weight = masked_language_model_weight
        self.register_buffer("optimizer_steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("batches_seen", torch.zeros(languages, dtype=torch.int64))
        self.watched_rows = 0
        self.last_batch: LastBatch | None = None
        self._right, self._batches = torch.zeros(()), 0

    @property
    def temperature(self) -> Tensor:
        """The current temperature, a scalar."""
        return self.log_temperature.exp().clamp_min(_SHORTEST_TEMPERATURE)

    def statistics_group(self, language: int) -> int:
        """Return the number of the set of running statistics that a language uses."""
        return language if self.statistics_per_language else 0

    def bank_of(self, language: int) -> int:
        """Return the number of the bank that a language uses."""
        return language if self.bank_per_language else 0

    def sides_with_batch_statistics(self, language: int = 0) -> tuple[bool, bool]:
        """Return whether the centre and the context use batch statistics at the current optimizer step."""
        # Each warm-up batch is counted twice, once for each side.
        warm = self.head.batches(self.statistics_group(language)) >= 2 * self.batch_norm_warmup
        if not self.asymmetric_batch_norm or not warm:
            return True, True
        even = int(self.optimizer_steps) % 2 == 0
        return even, not even

    @torch.no_grad()
    def on_optimizer_step(self) -> None:
        """Swap the roles of the two sides, and update the momentum encoder if there is one.

        Call this once per optimizer step, however many batches the step had.
        """
        self.optimizer_steps += 1
        if self.momentum is None or self.momentum_model is None or self.momentum_head is None:
            return
        live_model = getattr(self.model, "module", self.model)
        for average, live in ((self.momentum_model, live_model), (self.momentum_head, self.head)):
            for old, new in zip(average.parameters(), live.parameters(), strict=True):
                old.lerp_(new, 1 - self.momentum)
            for stale, fresh in zip(average.buffers(), live.buffers(), strict=True):
                stale.copy_(fresh)

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> dict[str, Tensor]:
        """Return the loss of one batch.

        Parameters
        ----------
        sentence_features
            The token ids and masks of the centre sentences, then those of their contexts.
        labels
            ``(n, 2)`` int64: the language (the same for all pairs) and the document of each pair.

        Returns
        -------
        dict of str to torch.Tensor
            The scalar ``"ccp"`` and, if there is a second task, its weighted loss ``"mlm"``.
        """
        features = list(sentence_features)
        language, document = int(labels[0, 0]), gather_rows(labels[:, 1])
        roles = self.sides_with_batch_statistics(language)
        bank, bank_document = self.bank.rows(self.bank_of(language))
        self.batches_seen[language] += 1

        # Copied, because the model's modules write into the dict that they receive.
        embeddings = [gather_rows(self.model(dict(side))["sentence_embedding"]) for side in features]
        group = self.statistics_group(language)
        query, key = (
            self.head(rows, batch_statistics=role, group=group) for rows, role in zip(embeddings, roles, strict=True)
        )
        query_target, key_target = self._targets(features, roles, group) or (query, key)

        def predict(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
            return info_nce(
                a,
                b,
                document,
                temperature=self.temperature,
                own_side=self.own_side_negatives,
                other_side=self.other_side_negatives,
                bank=bank,
                bank_document=bank_document,
            )

        (forward, accuracy), (backward, reverse_accuracy) = predict(query, key_target), predict(key, query_target)
        self._right = self._right + (accuracy + reverse_accuracy) / 2
        self._batches += 1
        # Interleaved, so that a bank that is smaller than a push keeps rows of both sides.
        self.bank.push(
            self.bank_of(language),
            torch.stack([query_target, key_target], dim=1).flatten(0, 1),
            document.repeat_interleave(2),
            step=int(self.optimizer_steps),
        )
        if self.watched_rows:
            m = self.watched_rows
            centre, context, query, key = (rows.detach()[:m].float() for rows in (*embeddings, query, key_target))
            self.last_batch = LastBatch(language, centre, context, query, key, document[:m], bank, bank_document)
        parts = {"ccp": (forward + backward) / 2}
        if self.masked_language_model is not None:
            parts["mlm"] = self.masked_language_model_weight * self.masked_language_model(features[0])
        return parts

    def take_pretext_accuracy(self) -> float:
        """Return the mean accuracy of both directions over the batches since the last call; NaN without any."""
        mean = float(self._right) / self._batches if self._batches else math.nan
        self._right, self._batches = torch.zeros(()), 0
        return mean

    @torch.no_grad()
    def _targets(
        self, features: list[dict[str, Tensor]], roles: tuple[bool, bool], group: int
    ) -> tuple[Tensor, Tensor] | None:
        """Return the projected vectors of both sides by the momentum encoder; ``None`` if there is none."""
        if self.momentum_model is None or self.momentum_head is None:
            return None
        centre, context = (
            self.momentum_head(
                gather_rows(self.momentum_model(dict(side))["sentence_embedding"]),
                batch_statistics=role,
                group=group,
            )
            for side, role in zip(features, roles, strict=True)
        )
        return centre, context
