"""Apply what a question asks for to the candidates of a search: read their texts, and return terms and orders."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlret.memory.search.candidates import Candidates
from mlret.memory.search.questions import COMPARED, Question, before, cue_bonus, occasions, person_bonus
from mlret.memory.search.ranking import Ranked, Ranking
from mlret.memory.storage.columns import UNTIMED
from mlret.memory.storage.positions import Positions
from mlret.memory.storage.store import MemoryStore
from mlret.memory.text.sentence_kinds import QUESTIONS, SentenceKinds, bundled_kinds


def asked_terms(
    store: MemoryStore, ranking: Ranking, question: Question, positions: Positions, scores: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Return the terms of what the question asks for, over the candidates that are best so far; none if all are zero.

    Parameters
    ----------
    store, ranking, question
        The memory, the weights and the question.
    positions, scores
        ``(n,)`` positions of the candidates, and the sums of their other terms.
    """
    if not (ranking.persons or ranking.cues) or (question.language is None and not question.kinds):
        return {}
    heads = np.argsort(-scores, kind="stable")[:COMPARED]
    texts = texts_of(store, positions[heads])
    asks = ranking.cues and (question.negated or any(question.asks(kind) for kind in QUESTIONS))
    kinds = _kinds_of(store, positions[heads]) if asks else {}
    values = {
        "persons": person_bonus(question, texts, ranking.persons) if ranking.persons else np.zeros(len(heads)),
        "cues": cue_bonus(question, texts, ranking.cues, kinds) if ranking.cues else np.zeros(len(heads)),
    }
    terms = {name: np.zeros(len(positions)) for name, some in values.items() if some.any()}
    for name, term in terms.items():
        term[heads] = values[name]
    return terms


def kinds_asked(store: MemoryStore, vector: NDArray[np.float32] | None) -> dict[str, float]:
    """Return the kinds of questions that the vector of a query shows; none with an encoder that none are known for."""
    known = _known(store)
    return {} if known is None or vector is None else known.questions(vector)


def _known(store: MemoryStore) -> SentenceKinds | None:
    manifest = store.store.manifest
    return bundled_kinds(manifest.fingerprint, manifest.dims) if manifest.similarity == "cosine" else None


def _kinds_of(store: MemoryStore, positions: Positions) -> dict[str, NDArray[np.float64]]:
    """Return how probable each kind of statement is for some versions, ``(n,)`` each; 0 where a vector is missing."""
    known = _known(store)
    rows = store.columns.row[positions].tolist()
    vectors = {} if known is None else store.store.vectors_of(rows)
    if known is None or not vectors:
        return {}
    nothing = np.zeros_like(next(iter(vectors.values())))
    there = np.array([row in vectors for row in rows], dtype=np.float64)
    found = known.statements(np.stack([vectors.get(row, nothing) for row in rows]))
    return {kind: values * there for kind, values in found.items()}


def texts_of(store: MemoryStore, positions: Positions) -> list[tuple[str, str | None]]:
    """Return the texts of versions with their languages; :meth:`MemoryStore.fetch` checks those that become hits."""
    rows = store.columns.row[positions].tolist()
    found = store.records.described(rows)
    return [found.get(row, ("", "", None))[1:] for row in rows]


def pairs_in_question(
    store: MemoryStore, question: Question, found: Candidates, pairs: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Return the pairs of records that replace each other, in the order that the question asks for."""
    columns = store.columns
    places = sorted({place for pair in pairs for place in pair})
    starts = columns.valid_from[found.positions[places]]
    ages = dict(zip(places, starts.tolist(), strict=True))
    if "q_before" in question.cues:
        texts = dict(zip(places, texts_of(store, found.positions[places]), strict=True))
        return before(question, pairs, texts, ages)
    if question.windows:
        latest = max(window.end for window in question.windows).timestamp() * 1e6
        return [pair for pair in pairs if ages[pair[0]] < latest]
    return pairs


def occasion_pairs(store: MemoryStore, question: Question, found: Candidates, ranked: Ranked) -> list[tuple[int, int]]:
    """Return pairs of candidates, as indices before ranking, of which the first is the occasion that is asked for."""
    columns = store.columns
    heads = ranked.order[:COMPARED]
    positions = found.positions[heads]
    starts = np.where(columns.event_from[positions] == UNTIMED, np.nan, columns.event_from[positions] / 1e6)
    pairs = occasions(question, ranked.scores[:COMPARED].tolist(), texts_of(store, positions), starts.tolist())
    return [(int(heads[one]), int(heads[other])) for one, other in pairs]
