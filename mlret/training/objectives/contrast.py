"""InfoNCE between two sides of a batch, with the negatives and masks that mlret's objectives share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def info_nce(
    query: Tensor,
    key: Tensor,
    document: Tensor,
    *,
    temperature: float | Tensor,
    own_side: bool,
    other_side: bool = True,
    bank: Tensor | None = None,
    bank_document: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The cross-entropy of picking ``key[i]`` for ``query[i]``.

    The candidates of ``query[i]`` are its own key and, by the switches, the other keys, the other queries and the
    bank. Candidates that come from the document of ``i`` are no negatives and are masked, its own key excepted.
    Computed in float32, under autocast too.

    Parameters
    ----------
    query, key
        ``(n, d)`` unit vectors.
    document
        ``(n,)`` int64 document of each pair.
    temperature
        Cosines are divided by it.
    own_side
        Whether the other queries are negatives.
    other_side
        Whether the other keys are negatives.
    bank
        ``(m, d)`` unit vectors without gradient.
    bank_document
        ``(m,)`` int64 documents of the bank's vectors.

    Returns
    -------
    loss
        Scalar, the mean over the batch.
    accuracy
        Scalar: how often the key scores higher than every candidate that is not masked.
    """
    with torch.autocast(query.device.type, enabled=False):
        # Scaling one side costs less than scaling every score.
        query, scaled, key = query.float(), query.float() / temperature, key.float()
        same = document[:, None] == document[None, :]
        scores = [(scaled * key).sum(dim=1, keepdim=True)]
        masks = [torch.zeros_like(same[:, :1])]
        if other_side:
            scores.append(scaled @ key.T)
            masks.append(same)
        if own_side:
            scores.append(scaled @ query.T)
            masks.append(same)
        if bank is not None and bank_document is not None and len(bank):
            scores.append(scaled @ bank.float().T)
            masks.append(document[:, None] == bank_document[None, :])
        logits = torch.cat(scores, dim=1).masked_fill_(torch.cat(masks, dim=1), float("-inf"))
        target = torch.zeros(len(query), dtype=torch.int64, device=query.device)
        return functional.cross_entropy(logits, target), _accuracy(logits.detach())


def _accuracy(logits: Tensor) -> Tensor:
    """How often the first column is strictly the highest: a collapsed encoder, whose scores tie, is never right."""
    if logits.shape[1] == 1:
        return torch.ones((), device=logits.device)
    return (logits[:, 0] > logits[:, 1:].amax(dim=1)).float().mean()
