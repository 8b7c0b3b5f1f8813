"""Metrics of rankings of a history's documents, each as the benchmark that it is from computes it.

A ranking is a list of positions of documents, best first. A document that a system does not return is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from mlret.eval.readers.history import History, Question

LONGMEMEVAL_CUTOFFS = (1, 3, 5, 10, 30, 50)
EVIDENCE_CUTOFFS = (1, 5, 10, 25, 50)


def evidence_scores(
    evidence: Sequence[int | None], ranking: Sequence[int], cutoffs: Iterable[int] = EVIDENCE_CUTOFFS
) -> dict[str, float]:
    """Score a ranking by the evidence that it contains.

    Parameters
    ----------
    evidence
        Position of the document that contains each piece of evidence; ``None`` if no document does, which counts as not
        found. There must be at least one piece.
    ranking
        Positions of documents, best first, each at most once.
    cutoffs
        The ranks ``k`` at which to measure.

    Returns
    -------
    dict
        ``recall@k``: share of the pieces of evidence among the first ``k``, as LoCoMo defines it; ``any@k`` and
        ``all@k``: whether one piece is, and whether all are; ``ndcg@k``: gain 1 for each document that contains
        evidence, discount ``log2(rank + 1)``, divided by that of the best ranking of ``k``.

    Examples
    --------
    >>> from mlret.eval.histories.history_metrics import evidence_scores
    >>> evidence_scores([4, 7], [9, 7, 2], cutoffs=[2])
    {'recall@2': 0.5, 'any@2': 1.0, 'all@2': 0.0, 'ndcg@2': 0.38685280723454163}
    """
    relevant = {one for one in evidence if one is not None}
    # Evidence that is in no document can be found by no ranking, but the best ranking is the best that is possible.
    scores: dict[str, float] = {}
    for k in cutoffs:
        found = set(ranking[:k])
        pieces = sum(one in found for one in evidence)
        scores[f"recall@{k}"] = pieces / len(evidence)
        scores[f"any@{k}"] = float(pieces > 0)
        scores[f"all@{k}"] = float(pieces == len(evidence))
        gained = math.fsum(1 / math.log2(rank + 2) for rank, one in enumerate(ranking[:k]) if one in relevant)
        best = math.fsum(1 / math.log2(rank + 2) for rank in range(min(k, len(relevant))))
        scores[f"ndcg@{k}"] = gained / best if best else 0.0
    return scores


def longmemeval_scores(history: History, question: Question, ranking: Sequence[int]) -> dict[str, float]:
    """Score a ranking as the repository of LongMemEval does, with its peculiarities.

    The documents whose id contains ``answer`` are relevant. ``recall_any@k`` is 1 if one of them is among the first
    ``k``, ``recall_all@k`` if all are, which holds for a question without any. ``ndcg_any@k`` does not discount rank 2:
    the gain at rank ``r`` is divided by ``log2(r)``, from rank 2 on. It is 0 if no document is relevant. A ranking of
    turns is also scored by sessions; those metrics begin with ``session_``.

    Parameters
    ----------
    history
        The history; its documents have the ids that the repository gives them.
    question
        A question about it. All questions about a history have the same relevant documents.
    ranking
        Positions of documents, best first.
    """
    ids = [document.id for document in history.documents]
    relevant = {id for id in ids if "answer" in id}
    scores: dict[str, float] = {}
    for k in LONGMEMEVAL_CUTOFFS:
        scores |= _named("", k, _longmemeval_at(ids, relevant, ranking, k))
    if history.unit == "turn":
        # The repository removes the number of the turn from an id. As turns without evidence have another id than the
        # others of their session, such a session counts as two.
        sessions = [id.rpartition("_")[0] for id in ids]
        relevant = {id.rpartition("_")[0] for id in relevant}
        for k in LONGMEMEVAL_CUTOFFS:
            deeper = _rank_of_distinct(sessions, ranking, k)
            scores |= _named("session_", k, _longmemeval_at(sessions, relevant, ranking, deeper))
    return scores


def longmemeval_metrics(unit: str) -> list[str]:
    """Return the names of the metrics of :func:`longmemeval_scores`."""
    levels = ("", "session_") if unit == "turn" else ("",)
    return [name for level in levels for k in LONGMEMEVAL_CUTOFFS for name in _named(level, k, (0.0, 0.0, 0.0))]


def evidence_metrics(cutoffs: Iterable[int] = EVIDENCE_CUTOFFS) -> list[str]:
    """Return the names of the metrics of :func:`evidence_scores`."""
    return list(evidence_scores([0], [0], cutoffs))


def _named(level: str, k: int, values: tuple[float, float, float]) -> dict[str, float]:
    names = (f"{level}recall_any@{k}", f"{level}recall_all@{k}", f"{level}ndcg_any@{k}")
    return dict(zip(names, values, strict=True))


def _longmemeval_at(
    ids: Sequence[str], relevant: set[str], ranking: Sequence[int], k: int
) -> tuple[float, float, float]:
    found = {ids[place] for place in ranking[:k]}
    gained = _longmemeval_gain([ids[place] in relevant for place in ranking[:k]])
    # A document that occurs twice counts twice in the best ranking, as in the repository.
    best = _longmemeval_gain([True] * min(k, sum(id in relevant for id in ids)))
    return float(bool(relevant & found)), float(relevant <= found), gained / best if best else 0.0


def _longmemeval_gain(relevance: Sequence[bool]) -> float:
    """Return the discounted gain: ranks 1 and 2 are not discounted, rank ``r`` is divided by ``log2(r)``."""
    return math.fsum(1 / max(1.0, math.log2(rank)) for rank, one in enumerate(relevance, start=1) if one)


def _rank_of_distinct(ids: Sequence[str], ranking: Sequence[int], k: int) -> int:
    """Return the rank, at least ``k``, up to which ``k`` different ids occur; that of the last if fewer do."""
    seen = {ids[place] for place in ranking[:k]}
    rank = k
    while len(seen) < k and rank < len(ranking):
        seen.add(ids[ranking[rank]])
        rank += 1
    return rank
