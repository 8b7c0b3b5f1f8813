"""Features measured on parallel news: links, near-duplicates, age, abstention, events, and learning from use."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mlret.eval.memory.channels import Matrix, Records, ranks, within
from mlret.eval.memory.features import Feature, mean_of
from mlret.memory.search.fitted_weights import LoggedSearch, fit_weights, weighted
from mlret.memory.search.ranking import collapse, confidence, contiguity, decay, link_hop, retention, standard
from mlret.memory.text.duplicates import NEIGHBOURS, Candidate, DuplicateThresholds, judge, promising
from mlret.memory.text.event_segmentation import segment
from mlret.memory.text.features import Facts, facts_of

_SHOWN = 30  # number of candidates of a search that are collapsed, diversified or logged
_MMR = 0.75
_DAYS = 365
_TAU = 30.0

Texts = Mapping[str, Sequence[str]]
Vectors = Mapping[str, NDArray[np.float32]]


def stored_features(
    texts: Texts, vectors: Vectors, documents: NDArray[np.int64], thresholds: DuplicateThresholds
) -> list[Feature]:
    """Measure all features that need only stored texts.

    Parameters
    ----------
    texts, vectors
        Language -> ``n`` texts, translations of each other, and their ``(n, dims)`` vectors.
    documents
        ``(n,)``, ascending: the number of each text's document.
    thresholds
        Thresholds calibrated on other texts.
    """
    return [
        *_links_and_copies(texts, vectors, thresholds),
        *_age(texts, vectors),
        *_abstention(vectors, thresholds),
        *_events(vectors, documents),
        *_learning(texts, vectors, documents),
    ]


def _links_and_copies(texts: Texts, vectors: Vectors, thresholds: DuplicateThresholds) -> list[Feature]:
    """Use memories that store each text in two languages, and queries in a third language."""
    found: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    codes = list(texts)
    for number, asked in enumerate(codes):
        first, second = codes[(number + 1) % len(codes)], codes[(number + 2) % len(codes)]
        records = Records(
            [*texts[first], *texts[second]],
            [first] * len(texts[first]) + [second] * len(texts[second]),
            np.concatenate([vectors[first], vectors[second]]),
        )
        count = len(texts[asked])
        scores = records.search(texts[asked], asked, vectors[asked])["fused"]
        finite = np.where(
            np.isfinite(scores), scores, np.where(np.isfinite(scores), scores, np.inf).min(axis=1)[:, None]
        )
        links = _links(records, count, thresholds)
        linked = finite + np.stack([link_hop(row, links) for row in finite])
        for name, some in (("off", finite), ("links", np.round(linked, 6))):
            found[f"both {name}"].append(_both(some, count))
        found["right off"].append(within(np.minimum(*_both_ranks(finite, count)), 1))
        found["right links"].append(within(np.minimum(*_both_ranks(np.round(linked, 6), count)), 1))
        facts = [facts_of(text, language) for text, language in zip(records.texts, records.languages, strict=True)]
        for name in ("none", "collapse", "mmr"):
            lists = [_shortlist(name, row, records, facts, thresholds) for row in finite]
            found[f"distinct {name}"].append(np.array([len({one % count for one in some}) / 5 for some in lists]))
            gold = [any(one % count == query for one in some) for query, some in enumerate(lists)]
            found[f"recall {name}"].append(np.array(gold, dtype=np.float64))
    mean = mean_of(found)
    data = "NTREX, each text stored in two languages"
    return [
        Feature("one-hop links", data, "both versions in the first 5", mean["both off"], mean["both links"], True,
                "links are those that adding made (related or duplicate), not gold"),
        Feature("one-hop links", data, "recall@1 of either", mean["right off"], mean["right links"], True),
        Feature("collapse of near-duplicates", data, "different texts in the first 5", mean["distinct none"],
                mean["distinct collapse"], True, "5 of 5 would be 100"),
        Feature("collapse of near-duplicates", data, "recall@5 of either", mean["recall none"],
                mean["recall collapse"], True),
        Feature(f"MMR, λ {_MMR}", data, "different texts in the first 5", mean["distinct none"], mean["distinct mmr"],
                False),
        Feature(f"MMR, λ {_MMR}", data, "recall@5 of either", mean["recall none"], mean["recall mmr"], False),
    ]  # fmt: skip


def _links(records: Records, count: int, thresholds: DuplicateThresholds) -> list[tuple[int, int]]:
    """Return the links that adding the second half of the records would make to the first half."""
    first, second = records.vectors[:count], records.vectors[count:]
    among = first @ first.T
    np.fill_diagonal(among, -1)
    others = np.sort(among, axis=1)[:, ::-1][:, :NEIGHBOURS]
    found = []
    for row, vector in enumerate(second):
        cosines = first @ vector
        order = np.argsort(-cosines, kind="stable")[: 2 * NEIGHBOURS]
        language = records.languages[count + row]
        candidates = [
            Candidate(str(one), records.texts[one], records.languages[one], float(cosines[one]), others[one])
            for one in order[:NEIGHBOURS]
            if promising(float(cosines[one]), language, records.languages[one], thresholds)
        ]
        verdict = judge(records.texts[count + row], language, candidates, cosines[order], thresholds)
        if verdict.id is not None:
            found.append((int(verdict.id), count + row))
    return found


def _both_ranks(scores: Matrix, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    gold = np.arange(count)
    return ranks(scores, gold), ranks(scores, gold + count)


def _both(scores: Matrix, count: int) -> NDArray[np.float64]:
    one, other = _both_ranks(scores, count)
    return within(one, 5) * within(other, 5)


def _shortlist(
    how: str, scores: NDArray[np.float64], records: Records, facts: Sequence[Facts], thresholds: DuplicateThresholds
) -> list[int]:
    order = np.argsort(-scores, kind="stable")[:_SHOWN]
    vectors = records.vectors[order]
    if how == "collapse":
        groups = collapse(vectors, [facts[one] for one in order], thresholds)
        return [int(order[group[0]]) for group in groups[:5]]
    if how == "mmr":
        return [int(order[one]) for one in _mmr(scores[order], vectors)]
    return [int(one) for one in order[:5]]


def _mmr(scores: NDArray[np.float64], vectors: NDArray[np.float32]) -> list[int]:
    """Rank by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998), with relevance scaled to [0, 1]."""
    relevance = (scores - scores.min()) / max(float(np.ptp(scores)), 1e-9)
    cosines = vectors @ vectors.T
    chosen = [0]
    while len(chosen) < min(5, len(scores)):
        value = _MMR * relevance - (1 - _MMR) * cosines[:, chosen].max(axis=1)
        value[chosen] = -np.inf
        chosen.append(int(value.argmax()))
    return chosen


def _age(texts: Texts, vectors: Vectors) -> list[Feature]:
    """Measure the cost of decay on data where age carries no information."""
    found: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    random = np.random.default_rng(0)
    for asked, stored in _ring(list(texts)):
        records = Records(texts[stored], [stored] * len(texts[stored]), vectors[stored])
        scores = records.search(texts[asked], asked, vectors[asked])["fused"]
        gold = np.arange(len(records))
        lost = decay(retention(random.uniform(0, _DAYS, len(records)), np.zeros(len(records)), _TAU), 1.0)
        found["off"].append(within(ranks(scores, gold), 1))
        found["on"].append(within(ranks(np.round(scores + lost, 6), gold), 1))
    mean = mean_of(found)
    shows = (
        f"ages are random, up to {_DAYS} days, tau {_TAU:.0f} days, weight 1: what decay costs where age means nothing"
    )
    return [Feature("decay", "NTREX", "recall@1", mean["off"], mean["on"], False, shows)]


def _abstention(vectors: Vectors, thresholds: DuplicateThresholds) -> list[Feature]:
    """Store half of the texts; measure right first hits that are kept, and silence on queries without an answer."""
    kept: list[float] = []
    refused: list[float] = []
    for asked, stored in _ring(list(vectors)):
        count = len(vectors[stored])
        if count < 2:  # there is no half to store
            continue
        rows = np.sort(np.random.default_rng(0).permutation(count)[: count // 2])
        cosines = vectors[asked] @ vectors[stored][rows].T
        best = np.sort(cosines, axis=1)[:, ::-1][:, : NEIGHBOURS + 1]
        usual = thresholds.density(asked)
        silent = np.array([confidence(row, usual) < thresholds.answer for row in best])
        answerable = np.isin(np.arange(count), rows)
        right = answerable & (rows[cosines.argmax(axis=1)] == np.arange(count))
        if right.any():
            kept.append(float((~silent[right]).mean()))
        if not answerable.all():
            refused.append(float(silent[~answerable].mean()))
    shows = "a query is a whole sentence here; the threshold is from questions of the sample"
    measured = [("right first hits that are kept", kept, 1.0, shows)] if kept else []
    measured += [("silence where there is no answer", refused, 0.0, "")] if refused else []
    return [
        Feature("abstention", "NTREX, half stored", metric, np.full(len(on), off), np.array(on), False, shown)
        for metric, on, off, shown in measured
    ]


def _events(vectors: Vectors, documents: NDArray[np.int64]) -> list[Feature]:
    """Treat consecutive documents as one session, and measure whether their boundaries are found."""
    true = set((np.flatnonzero(np.diff(documents)) + 1).tolist())
    by_segments, by_surprise = [], []
    for some in vectors.values():
        by_segments.append(_f1({start for start, _ in segment(some)[1:]}, true))
        by_surprise.append(_f1(_surprising(some), true))
    shows = "off: a boundary where a turn's distance from the mean of the last 3 is over mean + deviation (EM-LLM)"
    return [
        Feature("events by optimal partitioning", "NTREX, documents in a row", "F1 of exact boundaries",
                np.array(by_surprise), np.array(by_segments), True, shows)
    ]  # fmt: skip


def _surprising(vectors: NDArray[np.float32]) -> set[int]:
    surprise = []
    for place in range(1, len(vectors)):
        mean = vectors[max(0, place - 3) : place].mean(axis=0)
        surprise.append(1 - float(vectors[place] @ mean) / max(float(np.linalg.norm(mean)), 1e-9))
    values = np.array(surprise)
    return set((np.flatnonzero(values > values.mean() + values.std()) + 1).tolist())


def _f1(found: set[int], true: set[int]) -> float:
    return 2 * len(found & true) / max(1, len(found) + len(true))


def _learning(texts: Texts, vectors: Vectors, documents: NDArray[np.int64]) -> list[Feature]:
    """Fit weights on documents with an even number and apply them to the others."""
    log: list[LoggedSearch] = []
    cases: list[tuple[dict[str, NDArray[np.float64]], int]] = []
    for asked, stored in _ring(list(texts)):
        records = Records(texts[stored], [stored] * len(texts[stored]), vectors[stored])
        dense, lexical = records.dense(vectors[asked]), records.lexical(texts[asked])
        places = np.arange(len(records))
        for query in range(len(records)):
            meaning = standard(dense[query])
            order = np.argsort(-meaning, kind="stable")[:_SHOWN]
            words = np.nan_to_num(standard(lexical[query]))
            terms = {
                "meaning": meaning[order],
                "words": words[order],
                "neighbours": contiguity(meaning, documents, places)[order],
            }
            used = order == query
            if documents[query] % 2:
                cases.append((terms, int(np.flatnonzero(used)[0]) if used.any() else -1))
            else:
                log.append(LoggedSearch({name: values.tolist() for name, values in terms.items()}, used.tolist()))
    weights = fit_weights(log, ("meaning", "words", "neighbours"))
    before = np.array([weighted(terms, {}).order[0] == gold for terms, gold in cases], dtype=np.float64)
    after = np.array([weighted(terms, weights).order[0] == gold for terms, gold in cases], dtype=np.float64)
    stated = ", ".join(f"{name} {weight:.2f}" for name, weight in weights.items())
    shows = f"{len(log)} searches with their use known give the weights {stated}"
    return [Feature("learning from use", "NTREX, other documents", "recall@1", before, after, False, shows)]


def _ring(codes: Sequence[str]) -> list[tuple[str, str]]:
    """Pair each language of queries with the next language for the records."""
    return [(code, codes[(number + 1) % len(codes)]) for number, code in enumerate(codes)]
