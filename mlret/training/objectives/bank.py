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
        Length of a vector, ``d``.
    dtype
        Of the stored vectors. With ``b`` bytes a number a bank takes ``L Q (b d + 16)`` bytes: each vector's
        document and age come to 16. 108 languages x 4,096 x 768 are 1.37 GB in float32 and 0.69 GB in float16.
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
        """Bytes that the queues take."""
        return sum(buffer.nbytes for buffer in self.buffers())

    def filled(self, language: int) -> int:
        """How many vectors a language's queue holds."""
        return min(int(self.pushed[language]), self.size)

    def rows(self, language: int) -> tuple[Tensor, Tensor]:
        """The vectors ``(m, d)`` and documents ``(m,)`` of a language; ``m`` counts filled rows alone."""
        filled = self.filled(language)
        # Copies: backward still reads these rows when the next push has overwritten them.
        return self.vectors[language, :filled].clone(), self.documents[language, :filled].clone()

    def age(self, language: int, step: int) -> float:
        """The mean age of a language's vectors at a step, in steps; 0 for an empty queue."""
        stored = self.stored_at[language, : self.filled(language)]
        return float((step - stored).float().mean()) if len(stored) else 0.0

    @torch.no_grad()
    def push(self, language: int, vectors: Tensor, documents: Tensor, *, step: int = 0) -> None:
        """Append vectors ``(n, d)``, the oldest going out. Of more than ``size`` the last ``size`` stay."""
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
