"""Contrastive context prediction (CCP), arXiv 2206.03281.

Sentences near each other in a monolingual document are pulled together; sentences of other documents in the
same language, from the batch and from the language's memory bank, are pushed away. Where the paper leaves a
detail open, the choice is said here.
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
    """What the monitors look at: the first rows of a batch as it was trained on, all detached.

    Attributes
    ----------
    language
        Number of its language.
    centre, context
        ``(m, dims)`` embeddings.
    query, key
        ``(m, projection)`` projected unit vectors, with the statistics that the step used.
    document
        ``(m,)`` int64.
    bank, bank_document
        The memory bank that the step saw.
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

    A batch is of one language. Negatives, by the switches, are the other rows of both sides and the language's
    memory bank; rows of the same document are masked. After the loss both sides are pushed to the bank, detached.

    Under several processes the embeddings are gathered first; head, statistics, loss and bank are then the same on
    all of them, so that two processes do what one would with the whole batch.

    Parameters
    ----------
    model
        The encoder that is trained.
    languages
        How many languages there are.
    bank
        Vectors in each bank; 0 for none.
    bank_per_language
        One bank a language; otherwise one for all.
    bank_dtype
        Of the stored vectors.
    own_side_negatives, other_side_negatives
        Whether a centre's negatives are the batch's other centres, and the contexts of the others; and the other way
        round.
    projection
        Width of the projection head.
    final_batch_norm
        Whether a batch norm ends the head.
    temperature
        Of the softmax.
    learn_temperature
        Learn it from there (as its logarithm, never below 0.01).
    asymmetric_batch_norm
        One side in batch statistics, the other in running statistics, swapped at every optimizer step. Off:
        batch statistics on both sides.
    statistics_per_language
        Running statistics of each language, rather than one for all.
    batch_norm_warmup
        Batches, of the language where statistics are kept by language, that use batch statistics on both sides, so
        that the running ones mean something.
    momentum
        Where given, the vectors to pick and the bank come from a second encoder, the moving average of the first
        with this weight on the old value (MoCo, arXiv 1911.05722, section 3.2).
    masked_language_model
        A second task on the centre sentences, with ``masked_language_model_weight``.

    Raises
    ------
    InputError
        If no kind of negative is left.
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
            raise InputError("the encoder does not say how long its vectors are: give it a pooling module")
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
        """The temperature as it is now."""
        return self.log_temperature.exp().clamp_min(_SHORTEST_TEMPERATURE)

    def statistics_group(self, language: int) -> int:
        """Which running statistics a language has."""
        return language if self.statistics_per_language else 0

    def bank_of(self, language: int) -> int:
        """Which bank a language has."""
        return language if self.bank_per_language else 0

    def sides_with_batch_statistics(self, language: int = 0) -> tuple[bool, bool]:
        """Whether the centre and the context use batch statistics at the present optimizer step."""
        # Both sides of a warm-up batch count.
        warm = self.head.batches(self.statistics_group(language)) >= 2 * self.batch_norm_warmup
        if not self.asymmetric_batch_norm or not warm:
            return True, True
        even = int(self.optimizer_steps) % 2 == 0
        return even, not even

    @torch.no_grad()
    def on_optimizer_step(self) -> None:
        """Swap the roles of the two sides. Called once for each optimizer step, however many batches it had."""
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
        """The loss of one batch.

        Parameters
        ----------
        sentence_features
            Token ids and masks of the centre sentences, and of their contexts.
        labels
            ``(n, 2)`` int64: the language (one value) and the document of each pair.
        """
        features = list(sentence_features)
        language, document = int(labels[0, 0]), gather_rows(labels[:, 1])
        roles = self.sides_with_batch_statistics(language)
        bank, bank_document = self.bank.rows(self.bank_of(language))
        self.batches_seen[language] += 1

        # The model's modules write into the dict that they are given.
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
        # Interleaved, so that a bank smaller than a push keeps rows of both sides.
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
        """The mean accuracy of both directions over the batches since the last call; NaN without any."""
        mean = float(self._right) / self._batches if self._batches else math.nan
        self._right, self._batches = torch.zeros(()), 0
        return mean

    @torch.no_grad()
    def _targets(
        self, features: list[dict[str, Tensor]], roles: tuple[bool, bool], group: int
    ) -> tuple[Tensor, Tensor] | None:
        """Both sides by the momentum encoder, where there is one."""
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
