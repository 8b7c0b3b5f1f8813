"""Ranking losses over the scores of queries against their own documents and those of other queries.

They serve encoders with one vector per text and multi-vector encoders. sentence-transformers has a loss for most of
these terms, but each of its losses encodes the batch by itself. Here one forward pass serves any sum of terms:
ColBERT-XM adds a pairwise and an in-batch term, and LLM-Embedder adds distillation and contrast.
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

from mlret.training.batches.examples import PASSAGE, POSITIVES
from mlret.training.ranks import gather_rows, ranks
from mlret.training.stages import RankingTerm

_ACROSS_QUERIES: frozenset[str] = frozenset({"in_batch", "rank_aware"})
_TINY = 1e-8


class RankingLoss(nn.Module):
    """A weighted sum of ranking terms over one batch.

    Parameters
    ----------
    model
        A ``SentenceTransformer`` (scored by cosine) or a ``MultiVectorEncoder`` (scored by MaxSim).
    terms
        Map each term to its weight. The terms are :func:`pairwise`, :func:`in_batch`, :func:`kl`, :func:`margin_mse`
        and :func:`rank_aware`.
    temperature
        The scores are divided by this value in ``pairwise``, ``in_batch`` and ``rank_aware``.
    normalise
        Whether :func:`kl` first scales the scores of both sides to the range 0 to 1.

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
        """Return the weighted terms of one batch.

        Parameters
        ----------
        sentence_features
            The features of the queries, then of each column of documents, with the positives first. Documents with the
            same ``passage`` ``(b,)`` int64 are equal. In the features of the queries, ``positives`` ``(b, p)`` int64
            holds the documents known to answer each query. They are not used as negatives: neither those of another
            query nor, in ``pairwise`` and ``in_batch``, the query's own. Without these keys, all documents count as
            different.
        labels
            ``(b, n)`` scores of a teacher, for the terms that distil.

        Returns
        -------
        dict of str to torch.Tensor
            Each term's scalar loss, multiplied by its weight.

        Raises
        ------
        ValueError
            If a term needs a teacher's scores and ``labels`` is ``None``.
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
        """Return cosines of each query with every query's documents, ``(b, b, n)``, or with its own, ``(b, n)``."""
        vectors, *columns = embed_columns(self.model, [query, *documents])
        with torch.autocast(vectors.device.type, enabled=False):
            queries = functional.normalize(vectors.float(), dim=-1)
            stacked = functional.normalize(torch.stack(columns, dim=1).float(), dim=-1)
            if not across:
                return torch.einsum("bd,bnd->bn", queries, stacked)
            return torch.einsum("qd,bnd->qbn", gather_rows(queries), gather_rows(stacked))

    def _token_scores(self, query: dict[str, Any], documents: list[dict[str, Any]], across: bool) -> Tensor:
        """Return MaxSim scores, in the shapes of :meth:`_vector_scores`."""
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
    """Return the scores of each query with the documents of the other queries, ``(b, b * n)``.

    The query's own documents and all documents that answer it are at -inf.
    """
    own = torch.eye(len(every), dtype=torch.bool, device=every.device)[:, :, None]
    known = torch.zeros_like(every, dtype=torch.bool)
    for column in answers.T:  # in a loop, because all at once would be the largest tensor of the step
        known |= passages[None] == column[:, None, None]
    return every.masked_fill(known | own, float("-inf")).flatten(1)


def _without_other_answers(own: Tensor, passages: Tensor, answers: Tensor) -> Tensor:
    """Return the scores of each query with its own documents, ``(b, n)``, with other answers than the first at -inf.

    A query has several answers among its documents if a teacher has scored them.
    """
    known = (passages[:, :, None] == answers[:, None, :]).any(dim=-1)
    known[:, 0] = False
    return own.masked_fill(known, float("-inf"))


def pairwise(own: Tensor) -> Tensor:
    """Return the cross-entropy of picking the first of each query's own documents, from ``(b, n)`` logits.

    This is ``L_pair`` of ColBERT-XM (arXiv 2402.15059).
    """
    return functional.cross_entropy(own, torch.zeros(len(own), dtype=torch.int64, device=own.device))


def in_batch(own: Tensor, others: Tensor) -> Tensor:
    """Return the cross-entropy of picking a query's first document among its own and those of other queries.

    This is ``L_ib`` of ColBERT-XM (arXiv 2402.15059); with one document per query, it is InfoNCE.

    Parameters
    ----------
    own
        ``(b, n)`` logits of each query's own documents.
    others
        ``(b, m)`` logits of the documents of the other queries.
    """
    return pairwise(torch.cat([own, others], dim=1))


def kl(own: Tensor, teacher: Tensor, *, normalise: bool) -> Tensor:
    """Return the KL divergence of the softmax over the student's scores from that over the teacher's.

    Parameters
    ----------
    own, teacher
        ``(b, n)`` scores of the student and of the teacher.
    normalise
        Whether to scale both to the range 0 to 1 in each row first (JaColBERTv2.5, arXiv 2407.20750). The scale of the
        teacher then does not matter. Both distributions become nearly uniform, so the loss is small from the start.
    """
    teacher = teacher.to(own.dtype)
    if normalise:
        own, teacher = min_max(own), min_max(teacher)
    return functional.kl_div(own.log_softmax(dim=1), teacher.log_softmax(dim=1), log_target=True, reduction="batchmean")


def min_max(scores: Tensor) -> Tensor:
    """Scale each row of ``(b, n)`` scores so that its lowest value is 0 and its highest is 1."""
    low, high = scores.amin(dim=1, keepdim=True), scores.amax(dim=1, keepdim=True)
    return (scores - low) / (high - low + _TINY)


def margin_mse(own: Tensor, teacher: Tensor) -> Tensor:
    """Return the squared error of the margins between a query's first document and its other documents.

    See Hofstätter and others, "Improving Efficient Neural Ranking Models" (arXiv 2010.02666).

    Parameters
    ----------
    own, teacher
        ``(b, n)`` scores of the student and of the teacher.
    """
    margins, wanted = own[:, :1] - own[:, 1:], teacher[:, :1] - teacher[:, 1:]
    return functional.mse_loss(margins, wanted.to(margins.dtype))


def rank_aware(own: Tensor, rewards: Tensor, others: Tensor) -> Tensor:
    """Contrast each document of a query with those of lower reward and with the other queries', weighted by its reward.

    This is the stable distillation of LLM-Embedder (arXiv 2310.07554): the sum, with weights ``softmax(rewards)``, of
    the cross-entropy of each document among itself, the query's documents that rank below it, and those of other
    queries.

    Parameters
    ----------
    own, rewards
        ``(b, n)`` logits and rewards of each query's own documents.
    others
        ``(b, m)`` logits of the documents of the other queries.
    """
    order = rewards.argsort(dim=1, descending=True)
    ranked = own.gather(1, order)
    # Accumulated from the last to the first: the log-sum-exp over a document and those ranked below it.
    tails = ranked.flip(1).logcumsumexp(dim=1).flip(1)
    # The added column of -inf keeps the reduction valid if there are no others.
    beside = torch.cat([others, torch.full_like(own[:, :1], float("-inf"))], dim=1).logsumexp(dim=1, keepdim=True)
    weights = rewards.to(own.dtype).gather(1, order).softmax(dim=1)
    return (weights * (torch.logaddexp(tails, beside) - ranked)).sum(dim=1).mean()


def _passages(documents: list[dict[str, Any]]) -> Tensor:
    """Return the numbers of the documents, ``(b, n)``, and remove them from the features that the model receives.

    Equal documents have equal numbers.
    """
    if PASSAGE in documents[0]:
        return torch.stack([features.pop(PASSAGE) for features in documents], dim=1)
    rows, columns = len(documents[0]["input_ids"]), len(documents)
    # The numbers also differ between processes.
    first = distributed.get_rank() * rows * columns if ranks() > 1 else 0
    numbers = torch.arange(rows * columns, device=documents[0]["input_ids"].device)
    return first + numbers.reshape(rows, columns)


def _needed(labels: Tensor | None, term: str) -> Tensor:
    if labels is None:
        raise ValueError(f"the term {term!r} needs a teacher's scores")
    return labels
