"""Test the metrics of histories against examples worked out by hand and independent implementations of the rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.eval.histories.history_metrics import (
    EVIDENCE_CUTOFFS,
    LONGMEMEVAL_CUTOFFS,
    evidence_metrics,
    evidence_scores,
    longmemeval_metrics,
    longmemeval_scores,
)
from mlret.eval.metrics import evaluate_run
from mlret.eval.readers.history import History, HistoryDocument, Question
from tests.conftest import examples


def history(ids: list[str], unit: str = "session") -> tuple[History, Question]:
    question = Question("q", "?", "kind", ())
    return History("h", tuple(HistoryDocument(id, "text") for id in ids), (question,), unit), question


def scores(ids: list[str], ranking: list[int], unit: str = "session") -> dict[str, float]:
    return longmemeval_scores(*history(ids, unit), ranking)


def test_the_second_rank_of_longmemeval_is_not_discounted() -> None:
    """Its gain is rel_1 + rel_2 / log2(2) + rel_3 / log2(3) + …; the usual one is rel_1 + rel_2 / log2(3) + …"""
    ids = ["answer_1", "a", "b", "c"]
    assert scores(ids, [0, 1, 2, 3])["ndcg_any@3"] == 1
    assert scores(ids, [1, 0, 2, 3])["ndcg_any@3"] == 1
    assert scores(ids, [1, 2, 0, 3])["ndcg_any@3"] == pytest.approx(1 / np.log2(3))
    assert scores(ids, [1, 2, 3, 0])["ndcg_any@3"] == 0
    assert scores(ids, [1, 2, 3, 0])["ndcg_any@5"] == pytest.approx(1 / np.log2(4))


def test_longmemeval_distinguishes_some_evidence_from_all() -> None:
    ids = ["answer_1", "a", "answer_2", "b"]
    found = scores(ids, [0, 1, 3, 2])
    assert (found["recall_any@3"], found["recall_all@3"]) == (1, 0)
    # The ideal is cut at k: one relevant document first is perfect at 1, although there are two.
    assert found["ndcg_any@1"] == 1
    assert found["ndcg_any@3"] == pytest.approx(1 / 2)
    assert found["recall_all@5"] == 1
    assert found["ndcg_any@5"] == pytest.approx((1 + 1 / np.log2(4)) / 2)


def test_a_question_of_longmemeval_without_targets_counts_one_in_recall_all_alone() -> None:
    found = scores(["noans_1", "a"], [0, 1])
    assert (found["recall_any@1"], found["recall_all@1"], found["ndcg_any@1"]) == (0, 1, 0)


def test_turns_of_longmemeval_are_widened_to_k_sessions() -> None:
    """The first session fills the first three ranks, so three different sessions are only reached at rank five."""
    ids = ["a_1", "a_3", "a_5", "b_1", "answer_c_1", "noans_c_3"]
    found = scores(ids, [0, 1, 2, 3, 4, 5], "turn")
    assert (found["recall_any@3"], found["session_recall_any@3"]) == (0, 1)
    # At rank 5 the discount is log2(5), and the ideal is one relevant turn at rank 1.
    assert found["session_ndcg_any@3"] == pytest.approx(1 / np.log2(5))
    # Turns without evidence are in a session of another name, noans_c, which counts as a session of its own.
    assert scores(ids, [5, 3, 4], "turn")["session_recall_any@1"] == 0


def brute_force(ids: list[str], relevant: set[str], ranking: list[int], k: int) -> tuple[float, float, float]:
    """Return recall_any, recall_all and ndcg_any at k, computed with arrays as the published script describes it."""
    shown = [ids[place] for place in ranking][:k]
    gains = np.array([id in relevant for id in shown], dtype=float)
    ideal = np.sort(np.array([id in relevant for id in ids], dtype=float))[::-1][:k]
    weights = np.concatenate([[1.0], 1 / np.log2(np.arange(2, len(ids) + 2))])
    dcg, best = gains @ weights[: len(gains)], ideal @ weights[: len(ideal)]
    hit = [id in shown for id in sorted(relevant)]
    return float(any(hit)), float(all(hit)), float(dcg / best) if best > 0 else 0.0


@st.composite
def ranked(draw: st.DrawFn) -> tuple[list[str], list[int]]:
    """Draw turns of sessions, some with evidence, and an order of all of them."""
    turns = draw(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=70))
    ids = [
        f"{'s' if session < 3 else 'answer_s' if evidence else 'noans_s'}{session}_{number}"
        for number, (session, evidence) in enumerate(turns)
    ]
    return ids, draw(st.permutations(range(len(ids))))


@settings(max_examples=examples(200), deadline=None)
@given(ranked())
def test_metrics_of_longmemeval_agree_with_arrays(drawn: tuple[list[str], list[int]]) -> None:
    ids, ranking = drawn
    found = scores(ids, ranking, "turn")
    assert list(found) == longmemeval_metrics("turn")
    sessions = ["_".join(id.split("_")[:-1]) for id in ids]
    for k in LONGMEMEVAL_CUTOFFS:
        relevant = {id for id in ids if "answer" in id}
        expected = brute_force(ids, relevant, ranking, k)
        assert [found[f"{name}@{k}"] for name in ("recall_any", "recall_all", "ndcg_any")] == pytest.approx(expected)
        depth = next((d for d in range(k, len(ids)) if len({sessions[p] for p in ranking[:d]}) >= k), len(ids))
        relevant = {one for one in sessions if "answer" in one}
        expected = brute_force(sessions, relevant, ranking, max(depth, k))
        names = ("session_recall_any", "session_recall_all", "session_ndcg_any")
        assert [found[f"{name}@{k}"] for name in names] == pytest.approx(expected)


def test_recall_of_evidence_counts_each_piece() -> None:
    # Two of the three pieces are in document 4, one is in no document.
    found = evidence_scores([4, 4, None], [1, 4, 2], [1, 2])
    assert found == {
        "recall@1": 0,
        "any@1": 0,
        "all@1": 0,
        "ndcg@1": 0,
        "recall@2": pytest.approx(2 / 3),
        "any@2": 1,
        "all@2": 0,
        "ndcg@2": pytest.approx(1 / np.log2(3)),
    }
    assert set(evidence_scores([None], [0], [1]).values()) == {0}


@settings(max_examples=examples(200), deadline=None)
@given(st.sets(st.integers(0, 60), min_size=1, max_size=12), st.permutations(range(61)), st.integers(0, 61))
def test_metrics_of_evidence_agree_with_trec_eval(evidence: set[int], order: list[int], returned: int) -> None:
    ranking = order[:returned]
    found = evidence_scores(sorted(evidence), ranking)
    assert list(found) == evidence_metrics()
    qrels = {"q": {f"{one:03}": 1 for one in evidence}, "other": {"x": 1}}
    run = {"q": {f"{one:03}": float(-rank) for rank, one in enumerate(ranking)}, "other": {"x": 1.0}}
    names = [f"{name}@{k}" for k in EVIDENCE_CUTOFFS for name in ("recall", "ndcg")]
    expected = evaluate_run(qrels, run, names).per_query["q"]
    assert {name: found[name] for name in names} == pytest.approx(expected)
    for k in EVIDENCE_CUTOFFS:
        assert found[f"any@{k}"] == (found[f"recall@{k}"] > 0)
        assert found[f"all@{k}"] == (found[f"recall@{k}"] == 1)
