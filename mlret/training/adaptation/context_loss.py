"""Contrastive context prediction where each sentence of a batch is encoded once, as a centre and as a context."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlret.training.adaptation.ordered_text import ContextBatch
from mlret.training.objectives.bank import MemoryBank
from mlret.training.objectives.batch_norm import ProjectionHead
from mlret.training.objectives.contrast import info_nce

# Batches with batch statistics on both sides, until the running statistics are meaningful.
_WARMUP = 10


class ContextLoss(nn.Module):
    """Symmetric InfoNCE between sentences and their contexts (CCP, arXiv 2206.03281), in one language.

    Parameters
    ----------
    dims
        The number of dimensions of an embedding.
    projection
        The width of the projection head; 0 compares the embeddings themselves.
    bank
        The number of vectors in the memory bank; 0 for none.
    banks
        The number of banks: one, or one for each language that is trained.
    temperature
        The temperature of the softmax.
    asymmetric_batch_norm
        Whether one side uses running statistics, swapped at each step.
    """

    steps: Tensor

    def __init__(
        self,
        dims: int,
        *,
        projection: int = 256,
        bank: int = 1024,
        banks: int = 1,
        temperature: float = 0.05,
        asymmetric_batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.head = ProjectionHead(dims, projection) if projection else None
        self.bank = MemoryBank(banks, bank, projection or dims)
        self._temperature = temperature
        self.asymmetric = asymmetric_batch_norm
        self.accuracy = 0.0
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, centre: Tensor, context: Tensor, document: Tensor, *, bank: int = 0) -> Tensor:
        """Return the loss of a batch, a scalar, and push its vectors to a bank.

        Parameters
        ----------
        centre, context
            ``(n, dims)`` embeddings of each centre and of its context.
        document
            ``(n,)`` int64 document of each centre. Sentences of one document are not negatives of each other.
        bank
            The number of the bank.
        """
        query, key = self._project(centre, context)
        vectors, documents = self.bank.rows(bank)
        (forward, accuracy), (backward, reverse) = (
            info_nce(
                one,
                other,
                document,
                temperature=self._temperature,
                own_side=True,
                bank=vectors,
                bank_document=documents,
            )
            for one, other in ((query, key), (key, query))
        )
        self.accuracy = float(accuracy + reverse) / 2
        self.bank.push(bank, query, document, step=int(self.steps))
        if self.training:
            self.steps += 1
        return (forward + backward) / 2

    def of_batch(self, embeddings: Tensor, batch: ContextBatch) -> Tensor:
        """Return the loss of a batch whose contexts are sentences of the same batch."""
        context = embeddings[torch.from_numpy(batch.context)]
        loss: Tensor = self(embeddings, context, torch.from_numpy(batch.document))
        return loss

    def _project(self, centre: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        if self.head is None:
            return functional.normalize(centre, dim=-1), functional.normalize(context, dim=-1)
        warm = int(self.steps) >= _WARMUP and self.asymmetric
        even = int(self.steps) % 2 == 0
        return (
            self.head(centre, batch_statistics=even or not warm),
            self.head(context, batch_statistics=not even or not warm),
        )
