"""Contrastive context prediction (CCP), arXiv 2206.03281.

Sentences near each other in a monolingual document are pulled together; sentences of other documents in the
same language, from the batch and from the language's memory bank, are pushed away. Where the paper leaves a
detail open, the choice is said here.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn import functional

from mlret.encoders.encoder import Encoder
from mlret.training.bank import MemoryBank
from mlret.training.contrast import info_nce


class AsymmetricBatchNorm(nn.BatchNorm1d):
    """Batch normalisation whose caller says which statistics a forward pass uses.

    Batch statistics on both sides would let the model recognise the positive as "normalised like me": all rows
    of a batch share their mean and variance. One side therefore uses running statistics.
    """

    def normalise(self, rows: Tensor, *, batch_statistics: bool) -> Tensor:
        """Normalise ``(n, d)`` rows; running statistics are updated only from batch statistics."""
        return functional.batch_norm(
            rows,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=batch_statistics,
            momentum=0.1 if self.momentum is None else self.momentum,
            eps=self.eps,
        )


class ProjectionHead(nn.Module):
    """Linear, batch norm, ReLU, linear: used in training and thrown away afterwards."""

    def __init__(self, dims: int, projection: int) -> None:
        super().__init__()
        self.first = nn.Linear(dims, projection, bias=False)
        self.norm = AsymmetricBatchNorm(projection)
        self.last = nn.Linear(projection, projection, bias=False)

    def forward(self, embedding: Tensor, *, batch_statistics: bool) -> Tensor:
        """Project ``(n, dims)`` embeddings to ``(n, projection)`` unit vectors, in float32."""
        hidden = self.norm.normalise(self.first(embedding).float(), batch_statistics=batch_statistics)
        return functional.normalize(self.last(functional.relu(hidden)).float(), dim=-1)


class ContextPredictionLoss(nn.Module):
    """Symmetric InfoNCE between centre sentences and their contexts.

    A batch is of one language. Negatives are the other rows of both sides and the language's memory bank;
    rows of the same document are masked. After the loss both sides are pushed to the bank, detached.

    Parameters
    ----------
    model
        The encoder that is trained.
    languages
        How many languages there are: one bank each.
    bank
        Vectors in each bank; 0 for none.
    projection
        Width of the projection head.
    temperature
        Of the softmax.
    asymmetric_batch_norm
        One side in batch statistics, the other in running statistics, swapped at every optimizer step. Off:
        batch statistics on both sides.
    batch_norm_warmup
        Optimizer steps with batch statistics on both sides, so that the running ones mean something.
    """

    optimizer_steps: Tensor

    def __init__(
        self,
        model: SentenceTransformer,
        *,
        languages: int,
        bank: int = 1024,
        projection: int = 256,
        temperature: float = 0.1,
        asymmetric_batch_norm: bool = True,
        batch_norm_warmup: int = 100,
    ) -> None:
        super().__init__()
        self.model = model
        self.head = ProjectionHead(Encoder(model).dims, projection)
        self.bank = MemoryBank(languages, bank, projection)
        self.temperature = temperature
        self.asymmetric_batch_norm = asymmetric_batch_norm
        self.batch_norm_warmup = batch_norm_warmup
        self.register_buffer("optimizer_steps", torch.zeros((), dtype=torch.int64))

    def sides_with_batch_statistics(self) -> tuple[bool, bool]:
        """Whether the centre and the context use batch statistics at the present optimizer step."""
        step = int(self.optimizer_steps)
        if not self.asymmetric_batch_norm or step < self.batch_norm_warmup:
            return True, True
        return step % 2 == 0, step % 2 == 1

    def on_optimizer_step(self) -> None:
        """Swap the roles of the two sides. Called once for each optimizer step, however many batches it had."""
        self.optimizer_steps += 1

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> dict[str, Tensor]:
        """The loss of one batch.

        Parameters
        ----------
        sentence_features
            Token ids and masks of the centre sentences, and of their contexts.
        labels
            ``(n, 2)`` int64: the language (one value) and the document of each pair.
        """
        centre_batch, context_batch = self.sides_with_batch_statistics()
        centre, context = (self.model(features)["sentence_embedding"] for features in sentence_features)
        query = self.head(centre, batch_statistics=centre_batch)
        key = self.head(context, batch_statistics=context_batch)
        language, document = int(labels[0, 0]), labels[:, 1]
        bank, bank_document = self.bank.rows(language)
        losses = [
            info_nce(
                a,
                b,
                document,
                temperature=self.temperature,
                own_side=True,
                bank=bank,
                bank_document=bank_document,
            )[0]
            for a, b in ((query, key), (key, query))
        ]
        self.bank.push(language, torch.cat([query, key]), torch.cat([document, document]))
        return {"ccp": (losses[0] + losses[1]) / 2}
