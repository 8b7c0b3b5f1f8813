"""Memory banks: the latest vectors of each language, as negatives beyond the batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MemoryBank(nn.Module):
    """One first-in first-out queue of vectors for each language (CCP, arXiv 2206.03281).

    Parameters
    ----------
    languages
        How many queues ``L``.
    size
        Vectors in a queue, ``Q``; 0 for no bank.
    dims
        Length of a vector, ``d``. The banks take ``4 L Q d`` bytes.
    """

    vectors: Tensor
    documents: Tensor
    pushed: Tensor

    def __init__(self, languages: int, size: int, dims: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("vectors", torch.zeros(languages, size, dims))
        self.register_buffer("documents", torch.full((languages, size), -1, dtype=torch.int64))
        self.register_buffer("pushed", torch.zeros(languages, dtype=torch.int64))

    def rows(self, language: int) -> tuple[Tensor, Tensor]:
        """The vectors ``(m, d)`` and documents ``(m,)`` of a language; ``m`` counts filled rows alone."""
        filled = min(int(self.pushed[language]), self.size)
        # Copies: backward still reads these rows when the next push has overwritten them.
        return self.vectors[language, :filled].clone(), self.documents[language, :filled].clone()

    @torch.no_grad()
    def push(self, language: int, vectors: Tensor, documents: Tensor) -> None:
        """Append vectors ``(n, d)``, the oldest going out. Of more than ``size`` the last ``size`` stay."""
        if not self.size:
            return
        vectors, documents = vectors[-self.size :], documents[-self.size :]
        first = int(self.pushed[language]) % self.size
        at = (first + torch.arange(len(vectors), device=vectors.device)) % self.size
        self.vectors[language, at] = vectors.detach().to(self.vectors.dtype)
        self.documents[language, at] = documents
        self.pushed[language] += len(vectors)
