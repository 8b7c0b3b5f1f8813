"""Learn to rank: scores of queries against their own documents and the other queries', for either kind of encoder.

sentence-transformers has a loss for most of these terms, and each encodes the batch by itself. Here one forward pass
serves any sum of them: ColBERT-XM adds a pairwise and an in-batch term, LLM-Embedder distillation and contrast.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.losses.merged_forward import embed_columns, embed_columns_padded
from sentence_transformers.base.model import BaseModel
from sentence_transformers.multi_vector_encoder.scoring import colbert_kd_scores, colbert_scores
from sentence_transformers.util import all_gather_padded, stack_padded_token_embeddings
from torch import Tensor, distributed, nn
from torch.nn import functional

from mlret.training.ranks import gather_rows, ranks
from mlret.training.stages import RankingTerm

# Keys that the collator adds to a column's features.
PASSAGE = "passage"
POSITIVES = "positives"

_ACROSS_QUERIES: frozenset[str] = frozenset({"in_batch", "rank_aware"})
_TINY = 1e-8


class RankingLoss(nn.Module):
    """A weighted sum of ranking terms over one batch.

    Parameters
    ----------
    model
        A ``SentenceTransformer`` (scores are cosines) or a ``MultiVectorEncoder`` (MaxSim).
    terms
        Term -> weight; see :func:`pairwise`, :func:`in_batch`, :func:`kl`, :func:`margin_mse`, :func:`rank_aware`.
    temperature
        Scores are divided by it in the first two and the last.
    normalise
        Whether :func:`kl` brings scores of both sides to 0 to 1 first.

    Raises
    ------
    ValueError
        If a term is unknown.
    """

    def __init__(
        self, model: BaseModel, terms: Mapping[RankingTerm, float], *, temperature: float = 0.05, normalise: bool = True
    ) -> None:
        super().__init__()
        if unknown := terms.keys() - set(get_args(RankingTerm)):
            raise ValueError(f"no ranking terms {sorted(unknown)}; there are {get_args(RankingTerm)}")
        self.model = model
        self.terms = dict(terms)
        self.temperature = temperature
        self.normalise = normalise

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Tensor | None = None) -> dict[str, Tensor]:
        """The terms of one batch, each by its weight.

        Parameters
        ----------
        sentence_features
            Of the queries, then of each column of documents, the positives first. ``passage`` ``(b,)`` int64 tells
            equal documents, ``positives`` ``(b, p)`` int64 of the queries all that are known to answer them; these
            are no negatives, neither another query's nor, in the first two terms, its own. Without these keys all
            documents count as different.
        labels
            ``(b, n)`` scores of a teacher, for the terms that distil.
        """
        query, *documents = (dict(features) for features in sentence_features)
        across = bool(_ACROSS_QUERIES & self.terms.keys())
        passages = _passages(documents)
        answers = query.pop(POSITIVES, passages[:, :1])
        if across:
            # Every process computes the loss of the whole batch.
            passages, answers = gather_rows(passages), gather_rows(answers)
            labels = None if labels is None else gather_rows(labels)
        tokens = isinstance(getattr(self.model, "module", self.model), MultiVectorEncoder)
        every = (self._token_scores if tokens else self._vector_scores)(query, documents, across)
        if across:
            rows = torch.arange(len(every), device=every.device)
            own = every[rows, rows]
            others = _others(every, passages, answers)
        else:
            own = others = every
        temperature = self.temperature
        contrasted = _without_other_answers(own, passages, answers) / temperature
        losses: dict[str, Tensor] = {}
        for term, weight in self.terms.items():
            match term:
                case "pairwise":
                    loss = pairwise(contrasted)
                case "in_batch":
                    loss = in_batch(contrasted, others / temperature)
                case "kl":
                    loss = kl(own, _needed(labels, term), normalise=self.normalise)
                case "margin_mse":
                    loss = margin_mse(own, _needed(labels, term))
                case "rank_aware":
                    loss = rank_aware(own / temperature, _needed(labels, term), others / temperature)
            losses[term] = weight * loss
        return losses

    def _vector_scores(self, query: dict[str, Any], documents: list[dict[str, Any]], across: bool) -> Tensor:
        """Cosines: ``(b, b, n)`` of every query with every query's documents, or ``(b, n)`` with its own."""
        vectors, *columns = embed_columns(self.model, [query, *documents])
        with torch.autocast(vectors.device.type, enabled=False):
            queries = functional.normalize(vectors.float(), dim=-1)
            stacked = functional.normalize(torch.stack(columns, dim=1).float(), dim=-1)
            if not across:
                return torch.einsum("bd,bnd->bn", queries, stacked)
            return torch.einsum("qd,bnd->qbn", gather_rows(queries), gather_rows(stacked))

    def _token_scores(self, query: dict[str, Any], documents: list[dict[str, Any]], across: bool) -> Tensor:
        """MaxSim, otherwise as :meth:`_vector_scores`."""
        found = self.model(query, task="query")
        queries, mask = found["token_embeddings"], found["attention_mask"].bool()
        columns, masks = embed_columns_padded(self.model, documents, task_default="document")
        if across and ranks() > 1:
            queries, mask = all_gather_padded(queries, mask, with_grad=True)
            pairs = [all_gather_padded(*pair, with_grad=True) for pair in zip(columns, masks, strict=True)]
            columns, masks = map(list, zip(*pairs, strict=True))
        stacked, stacked_mask = stack_padded_token_embeddings(columns, masks)
        score = colbert_scores if across else colbert_kd_scores
        with torch.autocast(queries.device.type, enabled=False):
            scores: Tensor = score(queries.float(), stacked.float(), queries_mask=mask, documents_mask=stacked_mask)
        return scores.reshape(len(queries), len(stacked), -1) if across else scores


def _others(every: Tensor, passages: Tensor, answers: Tensor) -> Tensor:
    """Scores of each query with the other queries' documents, ``(b, b * n)``; its own and its answers at -inf."""
    own = torch.eye(len(every), dtype=torch.bool, device=every.device)[:, :, None]
    known = torch.zeros_like(every, dtype=torch.bool)
    for column in answers.T:  # one after another: all at once they would be the largest tensor of the step
        known |= passages[None] == column[:, None, None]
    return every.masked_fill(known | own, float("-inf")).flatten(1)


def _without_other_answers(own: Tensor, passages: Tensor, answers: Tensor) -> Tensor:
    """Scores ``(b, n)`` of each query with its own documents; those behind the first that answer it at -inf.

    Such come along where a teacher has scored several answers.
    """
    known = (passages[:, :, None] == answers[:, None, :]).any(dim=-1)
    known[:, 0] = False
    return own.masked_fill(known, float("-inf"))


def pairwise(own: Tensor) -> Tensor:
    """Cross-entropy of picking the first of a query's own documents: ``(b, n)`` logits to a scalar.

    ``L_pair`` of ColBERT-XM (arXiv 2402.15059).
    """
    return functional.cross_entropy(own, torch.zeros(len(own), dtype=torch.int64, device=own.device))


def in_batch(own: Tensor, others: Tensor) -> Tensor:
    """Cross-entropy of picking a query's first document among its own ``(b, n)`` and the others' ``(b, m)``.

    ``L_ib`` of ColBERT-XM; with one document a query, InfoNCE.
    """
    return pairwise(torch.cat([own, others], dim=1))


def kl(own: Tensor, teacher: Tensor, *, normalise: bool) -> Tensor:
    """KL divergence of the softmax over ``(b, n)`` scores from that over the teacher's.

    With ``normalise`` both are brought to 0 to 1 by query first (JaColBERTv2.5, arXiv 2407.20750): the scale of the
    teacher then does not matter, and both distributions are nearly even, so that the loss is small from the start.
    """
    teacher = teacher.to(own.dtype)
    if normalise:
        own, teacher = min_max(own), min_max(teacher)
    return functional.kl_div(own.log_softmax(dim=1), teacher.log_softmax(dim=1), log_target=True, reduction="batchmean")


def min_max(scores: Tensor) -> Tensor:
    """``(b, n)`` scores with the lowest of a row at 0 and the highest at 1."""
    low, high = scores.amin(dim=1, keepdim=True), scores.amax(dim=1, keepdim=True)
    return (scores - low) / (high - low + _TINY)


def margin_mse(own: Tensor, teacher: Tensor) -> Tensor:
    """Squared error of the margins between a query's first document and its others, ``(b, n)`` both.

    Hofstätter and others, "Improving Efficient Neural Ranking Models" (arXiv 2010.02666).
    """
    margins, wanted = own[:, :1] - own[:, 1:], teacher[:, :1] - teacher[:, 1:]
    return functional.mse_loss(margins, wanted.to(margins.dtype))


def rank_aware(own: Tensor, rewards: Tensor, others: Tensor) -> Tensor:
    """Contrast each of a query's documents with those of lower reward and the other queries', by its reward.

    The stable distillation of LLM-Embedder (arXiv 2310.07554): with weights ``softmax(rewards)``, the cross-entropy of
    each document among itself, the query's documents ranked below it and the others'. ``own`` and ``rewards`` are
    ``(b, n)``, ``others`` ``(b, m)``.
    """
    order = rewards.argsort(dim=1, descending=True)
    ranked = own.gather(1, order)
    # From the last to the first: the sum over a document and those below it.
    tails = ranked.flip(1).logcumsumexp(dim=1).flip(1)
    # No others: a column that adds nothing.
    beside = torch.cat([others, torch.full_like(own[:, :1], float("-inf"))], dim=1).logsumexp(dim=1, keepdim=True)
    weights = rewards.to(own.dtype).gather(1, order).softmax(dim=1)
    return (weights * (torch.logaddexp(tails, beside) - ranked)).sum(dim=1).mean()


def _passages(documents: list[dict[str, Any]]) -> Tensor:
    """``(b, n)`` numbers of the documents, equal for equal ones; taken out of the features, which a model gets."""
    if PASSAGE in documents[0]:
        return torch.stack([features.pop(PASSAGE) for features in documents], dim=1)
    rows, columns = len(documents[0]["input_ids"]), len(documents)
    # Different on every process, too.
    first = distributed.get_rank() * rows * columns if ranks() > 1 else 0
    numbers = torch.arange(rows * columns, device=documents[0]["input_ids"].device)
    return first + numbers.reshape(rows, columns)


def _needed(labels: Tensor | None, term: str) -> Tensor:
    if labels is None:
        raise ValueError(f"the term {term!r} needs a teacher's scores")
    return labels
