from __future__ import annotations

import math

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.errors import InputError
from mlret.eval.benchmarks.xquad_r import average_precision, ranks_in
from mlret.eval.metrics import evaluate_run, rank_documents

METRICS = [
    "map",
    "map@3",
    "recall@1",
    "recall@3",
    "recall@10",
    "mrr@1",
    "mrr@3",
    "mrr@10",
    "ndcg@1",
    "ndcg@3",
    "ndcg@10",
]


def reference(judged: dict[str, int], scores: dict[str, float], metric: str) -> float:
    """Compute the metrics by the formulas of the textbook, with ties broken by ascending id."""
    kind, k = metric.split("@") if "@" in metric else (metric, "1000")
    ranked = [doc for _, doc in sorted((-score, doc) for doc, score in scores.items())][: int(k)]
    gains = np.maximum([judged.get(doc, 0) for doc in ranked], 0)
    ideal = np.sort(np.maximum(list(judged.values()), 0))[::-1][: int(k)]
    if not len(gains) or not ideal.any():
        return 0.0
    if kind == "recall":
        return float((gains > 0).sum() / sum(value > 0 for value in judged.values()))
    if kind == "map":
        precisions = np.cumsum(gains > 0) / np.arange(1, len(gains) + 1)
        return float(precisions[gains > 0].sum() / sum(value > 0 for value in judged.values()))
    if kind == "mrr":
        return float(max((gains > 0) / np.arange(1, len(gains) + 1)))
    return float(
        (gains / np.log2(np.arange(len(gains)) + 2)).sum() / (ideal / np.log2(np.arange(len(ideal)) + 2)).sum()
    )


documents = st.sampled_from([f"d{i}" for i in range(12)])
judgements = st.dictionaries(documents, st.integers(0, 3), min_size=1)
# Few different scores, so most documents are tied with others.
scored = st.dictionaries(documents, st.sampled_from([0.1, 0.10000000001, 0.5, 1.0, -2.0]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(judgements, st.none() | scored), min_size=1, max_size=4))
def test_scores_equal_the_textbook_with_ties_and_missing_queries(queries: list) -> None:
    qrels = {f"q{i}": judged for i, (judged, _) in enumerate(queries)}
    run = {f"q{i}": scores for i, (_, scores) in enumerate(queries) if scores is not None}
    found = evaluate_run(qrels, run, METRICS)
    for metric in METRICS:
        expected = {query: reference(judged, run.get(query, {}), metric) for query, judged in qrels.items()}
        assert {query: scores[metric] for query, scores in found.per_query.items()} == pytest.approx(expected)
        assert found.mean[metric] == pytest.approx(np.mean(list(expected.values())))


def test_scores_equal_pytrec_eval_where_no_scores_are_tied() -> None:
    random = np.random.default_rng(5)
    qrels = {f"q{i}": {f"d{j}": int(random.integers(0, 3)) for j in range(30)} for i in range(20)}
    run = {q: {f"d{j}": float(s) for j, s in enumerate(random.permutation(60))} for q in qrels}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, {"recall.10", "ndcg_cut.10", "recip_rank"}).evaluate(run)
    ours = evaluate_run(qrels, run, ["recall@10", "ndcg@10", "mrr@60"]).per_query
    for query in qrels:
        assert ours[query]["recall@10"] == theirs[query]["recall_10"]
        assert ours[query]["ndcg@10"] == theirs[query]["ndcg_cut_10"]
        assert ours[query]["mrr@60"] == theirs[query]["recip_rank"]


def test_ties_go_to_the_smaller_id_where_pytrec_eval_prefers_the_larger() -> None:
    qrels, run = {"q": {"a": 1}}, {"q": {"a": 0.5, "b": 0.5}}
    assert pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(run)["q"]["recip_rank"] == 0.5
    assert evaluate_run(qrels, run, ["mrr@10"]).mean["mrr@10"] == 1.0


def test_scores_that_differ_below_single_precision_are_not_tied() -> None:
    run = {"q": {"b": 1.00000000001, "a": 1.0}}
    assert rank_documents(run["q"]) == ["b", "a"]
    assert evaluate_run({"q": {"b": 1}}, run, ["mrr@10"]).mean["mrr@10"] == 1.0


def test_a_query_missing_from_the_run_counts_zero() -> None:
    found = evaluate_run({"q1": {"a": 1}, "q2": {"b": 1}}, {"q1": {"a": 1.0}}, ["recall@5"])
    assert found.mean == {"recall@5": 0.5}
    assert found.per_query["q2"] == {"recall@5": 0.0}


def test_reciprocal_rank_is_zero_beyond_the_cut() -> None:
    run = {"q": {f"d{i:02}": -float(i) for i in range(20)}}
    assert evaluate_run({"q": {"d09": 1}}, run, ["mrr@10"]).mean["mrr@10"] == 0.1
    assert evaluate_run({"q": {"d10": 1}}, run, ["mrr@10"]).mean["mrr@10"] == 0.0


@pytest.mark.parametrize(
    ("qrels", "run", "metrics", "message"),
    [
        ({"q": {"a": 1}}, {"q": {"a": 1.0}}, ["mrr"], "unknown metric 'mrr'"),
        ({"q": {"a": 1}}, {"q": {"a": 1.0}}, ["recall@0"], "unknown metric"),
        ({}, {"q": {"a": 1.0}}, ["mrr@10"], "qrels have no query"),
        ({"q": {"a": 1}}, {"x": {"a": 1.0}}, ["mrr@10"], "share no query"),
        ({"q": {"a": 1}}, {"q": {"a": math.nan}}, ["mrr@10"], "document 'a'.*not a number"),
        ({"q": {"a": 1}}, {"q": {"a": None}}, ["mrr@10"], "document 'a'.*not a number"),
        ({"q": {"a": 1.5}}, {"q": {"a": 1.0}}, ["mrr@10"], "document 'a' of query 'q': relevance 1.5 is not an int"),
        ({"q": {"a": math.nan}}, {"q": {"a": 1.0}}, ["mrr@10"], "relevance nan is not an integer"),
        ({"q": {"a": None}}, {"q": {"a": 1.0}}, ["mrr@10"], "relevance None is not an integer"),
        ({"q": {"a": 10**6 + 1}}, {"q": {"a": 1.0}}, ["mrr@10"], "document 'a' of query 'q': relevance 1000001 is"),
        ({"q": {"a": 1}, "p": {"b": -(10**30)}}, {"q": {"a": 1.0}}, ["mrr@10"], "document 'b' of query 'p'.* beyond"),
    ],
)
def test_bad_input_is_named(qrels: dict, run: dict, metrics: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_run(qrels, run, metrics)


def test_an_empty_run_scores_zero() -> None:
    assert evaluate_run({"q": {"a": 1}}, {}, ["mrr@10", "ndcg@10"]).mean == {"mrr@10": 0.0, "ndcg@10": 0.0}


def test_a_thousand_random_runs_with_ties_score_as_pytrec_eval_does() -> None:
    """Ids are integers in descending order of preference, so that trec_eval breaks ties in the same way as mlret."""
    random = np.random.default_rng(11)
    names = [f"{9999 - number:04}" for number in range(25)]
    theirs_of = {name: f"{number:04}" for number, name in zip(range(25), sorted(names, reverse=True), strict=True)}
    measures = {"map", "map_cut.5", "recall.5", "recall.10", "ndcg_cut.5", "ndcg_cut.10", "recip_rank"}
    ours_of = {"map": "map", "map@5": "map_cut_5", "recall@5": "recall_5", "recall@10": "recall_10"}
    ours_of |= {"ndcg@5": "ndcg_cut_5", "ndcg@10": "ndcg_cut_10", "mrr@25": "recip_rank"}
    ties = 0
    for _ in range(1000):
        judged = {name: int(random.integers(0, 3)) for name in random.choice(names, 8, replace=False)}
        scores = {str(name): float(random.integers(0, 6)) for name in random.choice(names, 15, replace=False)}
        ties += len(set(scores.values())) < len(scores)
        mirrored = {theirs_of[name]: score for name, score in scores.items()}
        truth = {theirs_of[name]: grade for name, grade in judged.items()}
        theirs = pytrec_eval.RelevanceEvaluator({"q": truth}, measures).evaluate({"q": mirrored})["q"]
        ours = evaluate_run({"q": judged}, {"q": scores}, list(ours_of)).per_query["q"]
        assert ours == pytest.approx({name: theirs[their] for name, their in ours_of.items()}), (judged, scores)
    assert ties > 900


def test_average_precision_of_ranks_equals_pytrec_eval_with_ties() -> None:
    random = np.random.default_rng(3)
    scores = random.integers(0, 8, (50, 40)).astype(np.float32)
    relevant = np.stack([random.choice(40, 6, replace=False) for _ in range(50)])
    order = random.permutation(40)
    ranks = np.stack([ranks_in(scores, relevant[:, place], order) for place in range(6)], axis=1)
    names = [f"{number:03}" for number in order]  # of equal scores, the smaller id ranks first
    qrels = {str(row): {names[column]: 1 for column in relevant[row]} for row in range(50)}
    run = {str(row): {names[column]: float(scores[row, column]) for column in range(40)} for row in range(50)}
    found = evaluate_run(qrels, run, ["map", "map@20"])
    per_query = list(found.per_query.values())
    assert average_precision(ranks).tolist() == pytest.approx([one["map"] for one in per_query])
    assert average_precision(ranks, 20).tolist() == pytest.approx([one["map@20"] for one in per_query])


# Ids that a C string cannot represent or that its tools would split, cut-offs and grades of any size. Some of them
# would crash the process if they were passed on. What is passed on is checked while the real library computes.
any_id = st.text(st.characters(), max_size=6)
any_grade = st.integers(-5, 4) | st.integers(-(10**6), 50)
any_cut = st.integers(1, 12) | st.sampled_from([10**6, 2**31, 2**63, 10**30])


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        any_id, st.tuples(st.dictionaries(any_id, any_grade, max_size=8), st.none() | st.data()), min_size=1
    ),
    st.data(),
    st.lists(any_cut, min_size=1, max_size=4),
)
def test_pytrec_eval_is_handed_dense_ascii_ids_and_grades_from_0_up(
    given_: dict, data: st.DataObject, cuts: list
) -> None:
    qrels = {query: judged for query, (judged, _) in given_.items()}
    score = st.floats(allow_nan=False)
    run = {
        query: data.draw(st.dictionaries(st.sampled_from([*judged, "x"]) | any_id, score, max_size=8))
        for query, judged in qrels.items()
        if data.draw(st.booleans())
    }
    metrics = [f"{kind}@{k}" for kind in ("recall", "ndcg", "mrr", "map") for k in cuts] + ["map"]
    handed: list[tuple] = []
    real = pytrec_eval.RelevanceEvaluator

    class Watched(real):  # type: ignore[misc, valid-type]
        def __init__(self, judged: dict, measures: set) -> None:
            handed.append((judged, measures))
            super().__init__(judged, measures)

        def evaluate(self, scores: dict) -> dict:
            handed.append((scores,))
            return super().evaluate(scores)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytrec_eval, "RelevanceEvaluator", Watched)
        found = evaluate_run(qrels, run, metrics)

    if any(run.values()):
        (judged, measures), (scores,) = handed
        assert list(scores) == [f"q{number}" for number in range(len(scores))]
        assert judged.keys() <= scores.keys()
        longest = 1
        for query, ranks in scores.items():
            names = list(dict.fromkeys([*ranks, *judged[query]]))
            assert names == [f"d{number}" for number in range(len(names))]
            assert list(ranks.values()) == [float(len(ranks) - place) for place in range(len(ranks))]
            assert all(type(grade) is int and 0 <= grade <= 10**6 for grade in judged[query].values())
            longest = max(longest, len(names))
        assert all(int(measure.rpartition(".")[2]) <= longest for measure in measures if "." in measure)
    assert found.per_query.keys() == qrels.keys()
    for metric in metrics:
        expected = {query: reference(judged, run.get(query, {}), metric) for query, judged in qrels.items()}
        assert {query: scores[metric] for query, scores in found.per_query.items()} == pytest.approx(expected)


def test_grades_below_0_score_as_0_does_in_trec_eval_itself() -> None:
    """trec_eval itself treats -1 and -2 as "not judged"; for these metrics that means "not relevant"."""
    run = {"q": {"a": 3.0, "b": 2.0, "c": 1.0}}
    theirs_of = {"ndcg@3": "ndcg_cut_3", "map": "map", "recall@2": "recall_2", "mrr@3": "recip_rank"}
    for grade in (0, -1, -2):
        qrels = {"q": {"a": grade, "b": 2, "c": 1, "d": 1}}
        theirs = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.3", "map", "recall.2", "recip_rank"}).evaluate(run)
        ours = evaluate_run(qrels, run, list(theirs_of)).mean
        assert ours == pytest.approx({name: theirs["q"][their] for name, their in theirs_of.items()})


def test_true_and_false_are_grades() -> None:
    found = evaluate_run({"q": {"a": False, "b": True, "c": np.int64(1)}}, {"q": {"a": 2.0, "b": 1.0}}, ["recall@5"])
    assert found.mean == {"recall@5": 0.5}
