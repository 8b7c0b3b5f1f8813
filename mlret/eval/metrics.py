"""Metrics of retrieval. Those of a run are trec_eval's, computed by pytrec_eval; ties are broken by id.

trec_eval orders documents of equal score by *descending* id, and compares scores in single precision, so that
0.10000000001 and 0.1 are a tie to it. Here, as everywhere in mlret, a run is ordered by descending score in
double precision, then by *ascending* id; pytrec_eval is handed the ranks, so that it cannot reorder.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlret.errors import InputError

_METRIC = re.compile(r"(recall|mrr|ndcg|map)@([1-9]\d*)|map")
_TREC_NAMES = {"recall": "recall", "ndcg": "ndcg_cut", "map": "map_cut"}
_WHOLE = 10**9  # a cut that no ranking reaches

DEFAULT_METRICS = ("recall@1", "recall@5", "recall@100", "mrr@10", "ndcg@10")


@dataclass(frozen=True)
class RunScores:
    """What a run scores.

    Attributes
    ----------
    mean
        Metric -> mean over all queries of the qrels.
    per_query
        Query id -> metric -> score.
    """

    mean: dict[str, float]
    per_query: dict[str, dict[str, float]]


def rank_documents(scores: Mapping[str, float]) -> list[str]:
    """The ids of a query's documents, best first: by descending score, then by ascending id."""
    return sorted(scores, key=lambda document: (-scores[document], document))


def evaluate_run(
    qrels: Mapping[str, Mapping[str, int]],
    run: Mapping[str, Mapping[str, float]],
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> RunScores:
    """Score a run against relevance judgements.

    A query of the qrels that the run lacks counts 0 (``trec_eval -c``), and so does one without any relevant
    document. Queries of the run that the qrels lack are left out.

    Parameters
    ----------
    qrels
        Query id -> document id -> relevance; relevant is what is above 0.
    run
        Query id -> document id -> score, higher is better.
    metrics
        ``"recall@k"``, ``"mrr@k"`` (reciprocal rank of the first relevant document, 0 beyond rank k),
        ``"ndcg@k"`` (gain: the relevance; discount: log2(rank + 1)), ``"map"`` and ``"map@k"`` (average precision;
        its divisor is the number of relevant documents, also where it is above k).

    Returns
    -------
    RunScores
        Scores from 0 to 1.

    Raises
    ------
    InputError
        If a metric is unknown, there are no qrels, a score is NaN, or run and qrels share no query.
    """
    cuts = {name: _parse(name) for name in metrics}
    if not qrels:
        raise InputError("the qrels have no query; give relevance judgements to score against")
    shared = [query for query in run if query in qrels]
    if run and not shared:
        raise InputError(
            f"the run and the qrels share no query (run: {next(iter(run))!r}, qrels: {next(iter(qrels))!r}); "
            "give the qrels of the run's topics"
        )
    depth = max((k for _, k in cuts.values()), default=0)
    ranked = {query: _as_ranks(query, run[query], depth) for query in shared if run[query]}
    results = _trec_eval(qrels, ranked, cuts)
    per_query: dict[str, dict[str, float]] = {}
    for query in qrels:
        found = results.get(query, {})
        per_query[query] = {name: _read_out(found, *cut) for name, cut in cuts.items()}
    mean = {name: math.fsum(scores[name] for scores in per_query.values()) / len(qrels) for name in cuts}
    return RunScores(mean, per_query)


def _parse(name: str) -> tuple[str, int]:
    match = _METRIC.fullmatch(name.lower())
    if match is None:
        raise InputError(f"unknown metric {name!r}: use recall@k, mrr@k, ndcg@k, map@k or map, e.g. 'mrr@10'")
    return (match[1], int(match[2])) if match[1] else ("map", _WHOLE)


def _as_ranks(query: str, scores: Mapping[str, float], depth: int) -> dict[str, float]:
    """Scores replaced by ranks, best highest: whole numbers, which single precision keeps apart."""
    for document, score in scores.items():
        if math.isnan(score):
            raise InputError(f"the run's score of document {document!r} for query {query!r} is not a number; mend it")
    best = rank_documents(scores)[:depth]
    return {document: float(len(best) - rank) for rank, document in enumerate(best)}


def _trec_eval(
    qrels: Mapping[str, Mapping[str, int]],
    ranked: Mapping[str, Mapping[str, float]],
    cuts: Mapping[str, tuple[str, int]],
) -> dict[str, dict[str, float]]:
    import pytrec_eval

    measures = {f"{_TREC_NAMES[kind]}.{k}" for kind, k in cuts.values() if kind in _TREC_NAMES and k < _WHOLE}
    if ("map", _WHOLE) in cuts.values():
        measures.add("map")
    if any(kind == "mrr" for kind, _ in cuts.values()):
        measures.add("recip_rank")
    if not measures or not ranked:
        return {}
    judged = {query: dict(qrels[query]) for query in ranked}
    results: dict[str, dict[str, float]] = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(ranked)
    return results


def _read_out(found: Mapping[str, float], kind: str, k: int) -> float:
    if kind == "mrr":
        reciprocal = found.get("recip_rank", 0.0)
        return reciprocal if reciprocal >= 1 / k else 0.0
    return found.get("map" if k == _WHOLE else f"{_TREC_NAMES[kind]}_{k}", 0.0)
