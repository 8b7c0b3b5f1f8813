"""InfoNCE between the two sides of a batch, with the negatives and masks that mlret's objectives share."""

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
    """Compute the cross-entropy of picking ``key[i]`` for ``query[i]`` among the candidates.

    The candidates for ``query[i]`` are its own key and, depending on the switches, the other keys, the other queries
    and the bank. Candidates from the same document as pair ``i`` are not negatives and are masked, except for its own
    key. The computation is in float32, even under autocast.

    Parameters
    ----------
    query, key
        ``(n, d)`` unit vectors.
    document
        ``(n,)`` int64 document number of each pair.
    temperature
        The cosines are divided by this value.
    own_side
        Whether the other queries are negatives.
    other_side
        Whether the other keys are negatives.
    bank
        ``(m, d)`` unit vectors without gradient.
    bank_document
        ``(m,)`` int64 document numbers of the bank's vectors.

    Returns
    -------
    loss
        A scalar, the mean over the batch.
    accuracy
        A scalar, the share of queries whose key scores strictly higher than every candidate that is not masked.
    """
    with torch.autocast(query.device.type, enabled=False):
        # Scaling one side is cheaper than scaling every score.
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
    """Return the share of rows whose first column is strictly the highest.

    Ties count as wrong, so a collapsed encoder, whose scores all tie, has accuracy 0.
    """
    if logits.shape[1] == 1:
        return torch.ones((), device=logits.device)
    return (logits[:, 0] > logits[:, 1:].amax(dim=1)).float().mean()
