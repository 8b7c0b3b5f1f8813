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
    temperature: float,
    own_side: bool,
    bank: Tensor | None = None,
    bank_document: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The cross-entropy of picking ``key[i]`` for ``query[i]``.

    The candidates of ``query[i]`` are all keys, all other queries (``own_side``) and the bank. Candidates that
    come from the document of ``i`` are no negatives and are masked, its own key excepted. Computed in float32.

    Parameters
    ----------
    query, key
        ``(n, d)`` unit vectors.
    document
        ``(n,)`` int64 document of each pair.
    temperature
        Cosines are divided by it.
    own_side
        Whether the other queries are negatives too.
    bank
        ``(m, d)`` unit vectors without gradient.
    bank_document
        ``(m,)`` int64 documents of the bank's vectors.

    Returns
    -------
    loss
        Scalar, the mean over the batch.
    accuracy
        Scalar: how often the key scores highest among the candidates that are not masked.
    """
    n = len(query)
    query, key = query.float(), key.float()
    diagonal = torch.eye(n, dtype=torch.bool, device=query.device)
    same = document[:, None] == document[None, :]
    logits = [query @ key.T / temperature]
    masks = [same & ~diagonal]
    if own_side:
        logits.append(query @ query.T / temperature)
        masks.append(same)
    if bank is not None and bank_document is not None and len(bank):
        logits.append(query @ bank.float().T / temperature)
        masks.append(document[:, None] == bank_document[None, :])
    scores = torch.cat(logits, dim=1).masked_fill(torch.cat(masks, dim=1), float("-inf"))
    target = torch.arange(n, device=query.device)
    accuracy = (scores.detach().argmax(dim=1) == target).float().mean()
    return functional.cross_entropy(scores, target), accuracy
