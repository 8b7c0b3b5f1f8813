"""Memory banks: the most recent vectors of each language, used as negatives in addition to those of the batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MemoryBank(nn.Module):
    """One first-in first-out queue of vectors for each language (CCP, arXiv 2206.03281).

    Parameters
    ----------
    languages
        The number of queues, ``L``.
    size
        The number of vectors in a queue, ``Q``; 0 for no bank.
    dims
        The number of dimensions of a vector, ``d``.
    dtype
        The dtype of the stored vectors. With ``b`` bytes per number, a bank takes ``L Q (b d + 16)`` bytes: the
        document and the step stored with each vector take 16 bytes. A bank of 108 languages x 4,096 x 768 takes 1.37 GB
        in float32 and 0.69 GB in float16.
    """

    vectors: Tensor
    documents: Tensor
    stored_at: Tensor
    pushed: Tensor

    def __init__(self, languages: int, size: int, dims: int, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("vectors", torch.zeros(languages, size, dims, dtype=dtype))
        self.register_buffer("documents", torch.full((languages, size), -1, dtype=torch.int64))
        self.register_buffer("stored_at", torch.zeros(languages, size, dtype=torch.int64))
        self.register_buffer("pushed", torch.zeros(languages, dtype=torch.int64))

    @property
    def nbytes(self) -> int:
        """The size of the queues in bytes."""
        return sum(buffer.nbytes for buffer in self.buffers())

    def filled(self, language: int) -> int:
        """Return the number of vectors in a language's queue."""
        return min(int(self.pushed[language]), self.size)

    def rows(self, language: int) -> tuple[Tensor, Tensor]:
        """Return copies of a language's vectors, ``(m, d)``, and their document numbers, ``(m,)``; only filled rows."""
        filled = self.filled(language)
        # Copied, because the backward pass reads these rows after the next push has overwritten them.
        return self.vectors[language, :filled].clone(), self.documents[language, :filled].clone()

    def age(self, language: int, step: int) -> float:
        """Return the mean age of a language's vectors at a step, in steps; 0 for an empty queue."""
        stored = self.stored_at[language, : self.filled(language)]
        return float((step - stored).float().mean()) if len(stored) else 0.0

    @torch.no_grad()
    def push(self, language: int, vectors: Tensor, documents: Tensor, *, step: int = 0) -> None:
        """Append vectors to a language's queue; the oldest vectors are dropped.

        Parameters
        ----------
        language
            The number of the language's queue.
        vectors
            ``(n, d)``. If ``n`` is more than ``size``, only the last ``size`` vectors are kept.
        documents
            ``(n,)`` int64 document number of each vector.
        step
            The current optimizer step, from which the age of the vectors is computed.
        """
        if not self.size:
            return
        n = len(vectors)
        vectors, documents = vectors[-self.size :], documents[-self.size :]
        last = int(self.pushed[language]) + n
        at = torch.arange(last - len(vectors), last, device=vectors.device) % self.size
        self.vectors[language, at] = vectors.detach().to(self.vectors.dtype)
        self.documents[language, at] = documents
        self.stored_at[language, at] = step
        self.pushed[language] = last
