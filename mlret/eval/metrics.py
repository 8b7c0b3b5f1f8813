"""Retrieval metrics. Runs are scored with trec_eval's metrics, computed by pytrec_eval, with ties broken by id.

trec_eval orders documents of equal score by *descending* id and compares scores in single precision, so it treats
0.10000000001 and 0.1 as a tie. Here, as everywhere in mlret, a run is ordered by descending score in double precision,
then by *ascending* id. pytrec_eval receives ranks instead of scores, so it cannot change that order.

pytrec_eval's C code does not validate its input: a grade below -2, a very high grade, or an id that C cannot represent
can crash the process. It is therefore given generated ids and sanitised grades: queries ``q0``, ``q1``, …, documents
``d0``, ``d1``, … of each query, grades of at least 0, and cutoffs no longer than the longest list. Grades below 0
become 0, which changes none of these metrics: a document counts as relevant only if its grade is above 0, and any other
document has no gain. (In trec_eval, -1 and -2 mean "not judged"; only measures that depend on which documents were
judged, such as bpref, would be affected.)
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlret.data.retrieval import grade_of
from mlret.errors import InputError, require

_METRIC = re.compile(r"(recall|mrr|ndcg|map)@([1-9]\d*)|map")
_TREC_NAMES = {"recall": "recall", "ndcg": "ndcg_cut", "map": "map_cut"}
_WHOLE = 10**9  # a cutoff longer than any ranking

DEFAULT_METRICS = ("recall@1", "recall@5", "recall@100", "mrr@10", "ndcg@10")


@dataclass(frozen=True)
class RunScores:
    """Scores of a run.

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
    """Return the ids of a query's documents, best first: by descending score, then by ascending id."""
    return sorted(scores, key=lambda document: (-scores[document], document))


def evaluate_run(
    qrels: Mapping[str, Mapping[str, int]],
    run: Mapping[str, Mapping[str, float]],
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> RunScores:
    """Score a run against relevance judgements.

    A query of the qrels that is missing from the run scores 0 (``trec_eval -c``), and so does a query without any
    relevant document. Queries of the run that are missing from the qrels are ignored.

    Parameters
    ----------
    qrels
        Query id -> document id -> relevance, an integer up to 1,000,000. A document is relevant if its value is above
        0.
    run
        Query id -> document id -> score; higher is better.
    metrics
        ``"recall@k"``, ``"mrr@k"`` (reciprocal rank of the first relevant document, 0 beyond rank k),
        ``"ndcg@k"`` (gain: the relevance; discount: log2(rank + 1)), ``"map"`` and ``"map@k"`` (average precision;
        its divisor is the number of relevant documents, even if that exceeds k).

    Returns
    -------
    RunScores
        Scores from 0 to 1.

    Raises
    ------
    InputError
        If a metric is unknown, there are no qrels, a relevance is not an integer or is out of range, a score is not a
        number, or run and qrels share no query.

    Examples
    --------
    >>> from mlret.eval import evaluate_run
    >>> qrels = {"q1": {"d1": 1, "d7": 2}, "q2": {"d4": 1}}
    >>> run = {"q1": {"d7": 0.9, "d2": 0.8, "d1": 0.3}, "q2": {"d2": 0.7, "d4": 0.6}}
    >>> scores = evaluate_run(qrels, run, ["mrr@10", "recall@1"])
    >>> scores.mean
    {'mrr@10': 0.75, 'recall@1': 0.25}
    >>> scores.per_query["q2"]
    {'mrr@10': 0.5, 'recall@1': 0.0}
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
    grades = {query: _grades(query, judged) for query, judged in qrels.items()}
    depth = max((k for _, k in cuts.values()), default=0)
    ranked = {query: _ranking(query, run[query])[:depth] for query in shared if run[query]}
    results, longest = _trec_eval(grades, ranked, cuts)
    per_query: dict[str, dict[str, float]] = {}
    for query in qrels:
        found = results.get(query, {})
        per_query[query] = {name: _read_out(found, kind, k, longest) for name, (kind, k) in cuts.items()}
    mean = {name: math.fsum(scores[name] for scores in per_query.values()) / len(qrels) for name in cuts}
    return RunScores(mean, per_query)


def _parse(name: str) -> tuple[str, int]:
    match = _METRIC.fullmatch(name.lower())
    if match is None:
        raise InputError(f"unknown metric {name!r}: use recall@k, mrr@k, ndcg@k, map@k or map, e.g. 'mrr@10'")
    return (match[1], int(match[2])) if match[1] else ("map", _WHOLE)


def _grades(query: str, judged: Mapping[str, int]) -> dict[str, int]:
    """Return the grades of a query's documents, with negative grades replaced by 0."""
    return {
        document: max(grade_of(grade, f"the qrels' document {document!r} of query {query!r}"), 0)
        for document, grade in judged.items()
    }


def _ranking(query: str, scores: Mapping[str, float]) -> list[str]:
    for document, score in scores.items():
        try:
            wrong = math.isnan(score)
        except (TypeError, OverflowError):
            wrong = True
        if wrong:
            raise InputError(
                f"the run's score of document {document!r} for query {query!r} is not a number; correct it"
            )
    return rank_documents(scores)


def _trec_eval(
    grades: Mapping[str, Mapping[str, int]],
    ranked: Mapping[str, Sequence[str]],
    cuts: Mapping[str, tuple[str, int]],
) -> tuple[dict[str, dict[str, float]], int]:
    """Return pytrec_eval's results by query, and the longest cutoff that was requested."""
    pytrec_eval = require("pytrec_eval", extra="eval", feature="computing metrics")
    judged: dict[str, dict[str, int]] = {}
    run: dict[str, dict[str, float]] = {}
    longest = 1
    for number, (query, best) in enumerate(ranked.items()):
        names = {document: f"d{rank}" for rank, document in enumerate(best)}
        # Pass ranks instead of scores, the best document highest: they are integers, which single precision keeps
        # distinct.
        run[f"q{number}"] = {name: float(len(best) - rank) for rank, name in enumerate(names.values())}
        judged[f"q{number}"] = {
            names.setdefault(document, f"d{len(names)}"): grade for document, grade in grades[query].items()
        }
        longest = max(longest, len(names))
    measures = {_trec_name(kind, k, longest, ".") for kind, k in cuts.values()}
    if not measures or not ranked:
        return {}, longest
    found: dict[str, dict[str, float]] = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(run)
    return {query: found.get(f"q{number}", {}) for number, query in enumerate(ranked)}, longest


def _trec_name(kind: str, k: int, longest: int, mark: str) -> str:
    """Return pytrec_eval's name of a metric; ``mark`` precedes the cutoff and differs between requests and results."""
    if kind == "mrr":
        return "recip_rank"
    # A cutoff longer than every list gives the same value as one at the end of the longest list.
    return "map" if k == _WHOLE else f"{_TREC_NAMES[kind]}{mark}{min(k, longest)}"


def _read_out(found: Mapping[str, float], kind: str, k: int, longest: int) -> float:
    value = found.get(_trec_name(kind, k, longest, "_"), 0.0)
    return value if kind != "mrr" or value >= 1 / k else 0.0
