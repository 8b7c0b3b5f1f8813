"""Search in a memory: select the visible versions, score them by each channel, rank them and explain every hit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError
from mlret.index.fusion import in_unit
from mlret.index.hits import ScoreKind
from mlret.index.queries import check_k
from mlret.index.search import Mode, check_mode
from mlret.memory import times
from mlret.memory.records import MemoryRecord
from mlret.memory.results import Found, MemoryHit
from mlret.memory.scope import check_scope
from mlret.memory.search.asked import asked_terms, kinds_asked, occasion_pairs, pairs_in_question
from mlret.memory.search.candidates import Candidates, Query, candidates, weigh
from mlret.memory.search.fitted_weights import LoggedSearch, weighted
from mlret.memory.search.nearest import similarities
from mlret.memory.search.questions import Question
from mlret.memory.search.ranking import (
    Ranked,
    collapse,
    confidence,
    contiguity,
    decay,
    granularities,
    link_hop,
    retention,
    window,
)
from mlret.memory.search.ranking import Ranking as Ranking  # Its documented place before version 0.2.
from mlret.memory.search.selection import Selection
from mlret.memory.search.speakers import speaker_bonus
from mlret.memory.search.succession import CONTRADICTS, SUPERSEDES, TERM, excluded_by, exclusions, settle
from mlret.memory.storage.columns import UNTIMED
from mlret.memory.storage.positions import Positions
from mlret.memory.storage.record_state import ACTIVE
from mlret.memory.storage.store import MemoryStore
from mlret.memory.text.dates import time_bonus
from mlret.memory.text.duplicates import DuplicateThresholds
from mlret.memory.text.features import facts_of

# Called with a query and texts; returns a score for each text, higher is better.
Rerank = Callable[[str, Sequence[str]], Sequence[float]]
_DAY = 86_400 * 10**6
_HEADS = 20  # Number of best candidates whose neighbours and links are added.
_SPARE = 4  # Hits that are checked for near-duplicates, per requested hit.
_LOGGED = 20  # Best candidates that feedback logs, besides those that were useful.
_NEAREST = 5  # Number of nearest records that the confidence is computed from.


@dataclass(frozen=True)
class Request:
    """A search request.

    Attributes
    ----------
    queries
        The query and its translations; the best of them counts.
    selection
        The versions that may be returned.
    k
        Number of hits.
    mode
        ``hybrid``, ``dense`` or ``lexical``; ``None`` means ``hybrid``.
    ranking
        Terms that are added to the score.
    thresholds
        Thresholds of the encoder, if calibrated.
    abstain
        Whether to return nothing if the best record does not stand out.
    conflicts
        Whether hits include their other versions and what contradicts them.
    now
        Reference time for relative dates and for the age of records; ``None`` means the present.
    rerank
        Callable that rescores the texts of the best candidates.
    weights
        Term name -> weight that was fitted to feedback.
    """

    queries: Sequence[Query]
    selection: Selection
    k: int = 5
    mode: Mode | None = None
    ranking: Ranking = field(default_factory=Ranking)
    thresholds: DuplicateThresholds | None = None
    abstain: bool = False
    conflicts: bool = False
    now: datetime | None = None
    rerank: Rerank | None = None
    weights: Mapping[str, float] = field(default_factory=dict)


def search(store: MemoryStore, request: Request) -> Found:
    """Return the best records for a request.

    Raises
    ------
    InputError
        If ``k`` or ``mode`` is not valid, ``abstain`` is set without thresholds, or ``rerank`` returns anything but a
        finite number for each text.
    """
    mode, k = check_mode(request.mode) or "hybrid", request.k
    check_k(k)
    if request.abstain and request.thresholds is None:
        raise InputError("to abstain, the memory must know its encoder: run `mlret memory calibrate` first")
    with store.lock:
        now = times.now()
        visible = request.selection.positions(store, now)
        scope = check_scope(request.selection.scope)
        if not len(visible):
            return Found((), scope, 0, "the scope holds nothing that may be seen")
        found = candidates(store, request.queries, visible, k, mode)
        if not len(found.positions):
            return Found((), scope, len(visible), "nothing shares a word with the query")
        if (reason := _unsure(request, found)) is not None:
            return Found((), scope, len(visible), reason)
        found = _widened(store, request, found, visible, mode)
        found = _sorted_by_id(store, found)
        question = _question(store, request, found, mode)
        ranked = weighted(_terms(store, request, question, found, now), request.weights)
        if request.rerank is not None:
            ranked = _reranked(store, request, found, ranked)
        if request.ranking.sessions:
            ranked = _by_session(store, found, ranked)
        pairs = exclusions(store.columns, found.positions) if request.ranking.succession else []
        ranked = settle(ranked, pairs_in_question(store, question, found, pairs)) if pairs else ranked
        if request.ranking.occasions and question.cues & {"q_last", "q_first"}:
            ranked = settle(ranked, occasion_pairs(store, question, found, ranked), "occasion")
        groups = _groups(store, request, found, ranked)[:k]
        hits = _hits(store, request, found, ranked, groups, mode, excluded_by(store.columns, found.positions, pairs))
        return Found(tuple(hits), scope, len(visible))


def logged(store: MemoryStore, request: Request, used: Sequence[str]) -> LoggedSearch | None:
    """Return the score terms of the best candidates and which of them were useful, to be stored as feedback.

    Parameters
    ----------
    store
        The memory.
    request
        The search that the feedback is about.
    used
        Ids of the useful records.

    Returns
    -------
    LoggedSearch or None
        ``None`` if no record is visible.
    """
    columns = store.columns
    now = times.now()
    visible = request.selection.positions(store, now)
    if not len(visible):
        return None
    mode: Mode = request.mode or "hybrid"
    found = candidates(store, request.queries, visible, request.k, mode)
    found = _widened(store, request, found, visible, mode)
    terms = _terms(store, request, _question(store, request, found, mode), found, now)
    order = weighted(terms, request.weights).order.tolist()
    ids = [columns.ids.by_number[one] for one in columns.record[found.positions].tolist()]
    best = [place for rank, place in enumerate(order) if rank < _LOGGED or ids[place] in used]
    return LoggedSearch(
        {name: values[best].tolist() for name, values in terms.items()}, [ids[place] in used for place in best]
    )


def _unsure(request: Request, found: Candidates) -> str | None:
    """Return why the search abstains, or ``None`` if the best record stands out or abstaining was not requested."""
    if not request.abstain:
        return None
    assert request.thresholds is not None
    nearest = np.sort(found.dense[~np.isnan(found.dense)])[::-1][:_NEAREST]
    sure = confidence(nearest, request.thresholds.density(request.queries[0].language))
    least = request.thresholds.answer
    return None if sure >= least else f"the best record stands out by {sure:.3f}, less than the {least:.3f} of answers"


def _widened(store: MemoryStore, request: Request, found: Candidates, visible: Positions, mode: Mode) -> Candidates:
    """Return the candidates together with the visible neighbours and linked records of the best ones."""
    ranking, columns = request.ranking, store.columns
    more: set[int] = set()
    heads = found.positions[np.argsort(-found.scores, kind="stable")[:_HEADS]].tolist()
    for position in heads:
        if reach := 2 if ranking.window else 1 if ranking.contiguity else 0:
            more.update(columns.beside(position, reach))
        id = columns.ids.by_number[columns.record[position]]
        if links := columns.links.get(id):
            counted = [link for link in links if ranking.links or link[1] in (SUPERSEDES, CONTRADICTS)]
            ends = {end for link in counted for end in (link[0], link[2])}
            more.update(columns.statuses[end].position for end in ends if end in columns.statuses)
    added = np.array(sorted(more.difference(found.positions.tolist())), dtype=np.int64)
    places = np.minimum(np.searchsorted(visible, added), len(visible) - 1)
    added = added[visible[places] == added]
    return weigh(store, request.queries, found, added, mode) if len(added) else found


def _sorted_by_id(store: MemoryStore, found: Candidates) -> Candidates:
    """Return the candidates sorted by record id, so that a stable sort orders equal scores by id."""
    columns = store.columns
    ids = [columns.ids.by_number[one] for one in columns.record[found.positions]]
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
    return found[order]


def _question(store: MemoryStore, request: Request, found: Candidates, mode: Mode) -> Question:
    """Return the question; its language is detected where words or dates are compared, which need it anyway."""
    query = request.queries[0]
    now = datetime.now(UTC).astimezone() if request.now is None else times.read_instant(request.now, "now")
    timed = request.ranking.dates and (store.columns.event_from[found.positions] != UNTIMED).any()
    worded = mode == "hybrid" and not np.isnan(found.lexical).all()
    language = query.language if worded or timed else query.given
    return Question(query.text, language, now, kinds_asked(store, query.vector))


def _terms(
    store: MemoryStore, request: Request, question: Question, found: Candidates, now: int
) -> dict[str, NDArray[np.float64]]:
    ranking, columns, positions = request.ranking, store.columns, found.positions
    terms = {"meaning": found.meaning, "words": found.words}
    if ranking.contiguity or ranking.window:
        sessions = columns.session[positions].astype(np.int64)
        named = np.array([columns.sessions.by_number[one][1] is not None for one in sessions.tolist()])
        if named.any():
            turns = np.where(named, sessions, -1), columns.seq[positions]
            if ranking.contiguity:
                terms["contiguity"] = contiguity(found.scores, *turns, ranking.contiguity)
            if ranking.window:
                terms["window"] = window(found.scores, *turns, ranking.window)
    if ranking.links and (pairs := _pairs(store, positions)):
        terms["links"] = link_hop(found.scores, pairs, ranking.links)
    if ranking.dates and (bonus := _dated(store, request, question, positions)) is not None:
        terms["date"] = bonus
    if ranking.speaker and question.names_speakers:
        bonus = speaker_bonus(store, question, positions, ranking.speaker)
        terms |= {"speaker": bonus} if bonus.any() else {}
    terms |= asked_terms(store, ranking, question, positions, sum(terms.values(), np.zeros(len(positions))))
    if ranking.decay:
        there = [columns.statuses[columns.ids.by_number[one]] for one in columns.record[positions]]
        ends = columns.event_to[positions]
        start = np.where(ends == UNTIMED, columns.valid_from[positions], ends)
        used = np.array([one.accessed_at or 0 for one in there], dtype=np.int64)
        asked = now if request.now is None else times.micros(request.now)
        age = (asked - np.maximum(start, used)) / _DAY
        terms["decay"] = decay(retention(age, [one.accesses for one in there], ranking.tau_days), ranking.decay)
    return terms


def _dated(
    store: MemoryStore, request: Request, question: Question, positions: Positions
) -> NDArray[np.float64] | None:
    """Return the bonus of each record for the dates in the query; ``None`` if the query or the records have none."""
    columns = store.columns
    starts = np.where(columns.event_from[positions] == UNTIMED, np.nan, columns.event_from[positions] / 1e6)
    if np.isnan(starts).all() or not question.windows:
        return None
    return time_bonus(starts, columns.event_to[positions] / 1e6, question.windows, request.ranking.dates)


def _pairs(store: MemoryStore, positions: Positions) -> list[tuple[int, int]]:
    columns = store.columns
    ids = columns.ids.by_number
    linked = [
        (place, id) for place, one in enumerate(columns.record[positions].tolist()) if (id := ids[one]) in columns.links
    ]
    places: dict[str, list[int]] = {}
    for place, id in linked:
        places.setdefault(id, []).append(place)
    return [
        (place, to)
        for place, id in linked
        for one, _, other in columns.links[id]
        if one == id
        for to in places.get(other, ())
    ]


def _reranked(store: MemoryStore, request: Request, found: Candidates, ranked: Ranked) -> Ranked:
    """Return the best candidates ranked by the callable's scores; the other candidates are dropped."""
    assert request.rerank is not None
    count = min(len(ranked.order), max(_HEADS, _SPARE * request.k))
    texts = [record.text for record in store.fetch(found.positions[ranked.order[:count]])]
    scores = np.asarray(request.rerank(request.queries[0].text, texts), dtype=np.float64)
    if scores.shape != (count,) or not np.isfinite(scores).all():
        raise InputError(f"rerank gave {scores.shape} scores for {count} texts; it must give a finite number for each")
    order = np.argsort(-scores, kind="stable")
    terms = {name: values[order] for name, values in ranked.terms.items()} | {"rerank": scores[order]}
    return Ranked(ranked.order[order], scores[order], terms)


def _by_session(store: MemoryStore, found: Candidates, ranked: Ranked) -> Ranked:
    """Return the best record of each session, ranked by the session's score.

    Records without a session keep their own scores and are ranked among them.
    """
    columns = store.columns
    positions = found.positions[ranked.order]
    sessions = columns.session[positions].astype(np.int64)
    named = np.array([columns.sessions.by_number[one][1] is not None for one in sessions.tolist()])
    units, scores = granularities(ranked.scores, columns.level[positions], np.where(named, sessions, -1))
    value = dict(zip(units.tolist(), scores.tolist(), strict=True))
    first: dict[int, int] = {}
    for place, (session, is_named) in enumerate(zip(sessions.tolist(), named.tolist(), strict=True)):
        if is_named:
            first.setdefault(session, place)
    heads = [first[session] for session in units.tolist()]
    rest = np.flatnonzero(~named).tolist()
    chosen = np.array([*heads, *rest], dtype=np.int64)
    session_scores = np.array([value.get(one, 0.0) for one in sessions[chosen].tolist()])
    terms = {name: values[chosen] for name, values in ranked.terms.items()} | {"session": session_scores}
    total = np.where(named[chosen], np.round(session_scores, 6), ranked.scores[chosen])
    order = np.argsort(-total, kind="stable")
    return Ranked(ranked.order[chosen][order], total[order], {name: values[order] for name, values in terms.items()})


def _groups(store: MemoryStore, request: Request, found: Candidates, ranked: Ranked) -> list[list[int]]:
    """Return the ranks of each hit and of the near-duplicates that are collapsed into it."""
    count = len(ranked.order)
    alone = [[place] for place in range(count)]
    thresholds = request.thresholds
    if not request.ranking.collapse or thresholds is None or store.store.manifest.similarity != "cosine":
        return alone
    columns = store.columns
    top = found.positions[ranked.order[: _SPARE * request.k]]
    rows = columns.row[top].tolist()
    known = store.store.vectors_of(rows)
    if any(row not in known for row in rows):
        return alone
    vectors = np.stack([known[row] for row in rows])
    usual = np.array([thresholds.density(columns.languages.by_number[one]) for one in columns.language[top]])
    margins = vectors @ vectors.T - (usual[:, None] + usual[None, :]) / 2
    np.fill_diagonal(margins, -np.inf)
    close = np.flatnonzero((margins >= thresholds.duplicate).any(axis=1)).tolist()
    if not close:
        return alone
    records = store.fetch(top[close])
    facts = [facts_of(record.text, record.language) for record in records]
    joined = collapse(vectors[close], facts, thresholds, [record.event_time for record in records])
    gathered = {close[group[0]]: [close[one] for one in group] for group in joined}
    behind = {one for group in gathered.values() for one in group[1:]}
    return [gathered.get(place, [place]) for place in range(count) if place not in behind]


def _hits(
    store: MemoryStore,
    request: Request,
    found: Candidates,
    ranked: Ranked,
    groups: Sequence[Sequence[int]],
    mode: Mode,
    excluded: Mapping[int, tuple[str, ...]],
) -> list[MemoryHit]:
    columns = store.columns
    kind = _kind(store, request, ranked, mode)
    values = np.round(in_unit(ranked.scores), 6) if kind == "fused" else ranked.scores
    heads = [int(ranked.order[group[0]]) for group in groups]
    records = store.fetch(found.positions[heads])
    cosines = _cosines(store, request, found, heads)
    hits = []
    for rank, (group, place, record) in enumerate(zip(groups, heads, records, strict=True), start=1):
        scores = {"dense": float(found.dense[place]), "lexical": float(found.lexical[place])}
        scores = {name: value for name, value in scores.items() if not np.isnan(value)}
        scores |= {name: round(float(values[group[0]]), 6) for name, values in ranked.terms.items()}
        also = [columns.ids.by_number[columns.record[found.positions[ranked.order[one]]]] for one in group[1:]]
        hit = MemoryHit(
            rank,
            float(values[group[0]]),
            record,
            scores,
            also=tuple(also),
            kind=kind,
            cosine=cosines[rank - 1],
            yields_to=excluded.get(place, ()),
        )
        conflicts = _conflicts(store, request, record) if request.conflicts else ()
        hits.append(replace(hit, why=_why(store, request, hit), conflicts=conflicts))
    return hits


def _kind(store: MemoryStore, request: Request, ranked: Ranked, mode: Mode) -> ScoreKind | Literal["rerank"]:
    """Return the kind of the scores: that of a single channel if nothing was added to it."""
    if request.rerank is not None and not request.ranking.sessions:
        return "rerank"
    added = any(values.any() for name, values in ranked.terms.items() if name not in ("meaning", "words", TERM))
    if mode == "hybrid" or added or request.weights:
        return "fused"
    if mode == "lexical":
        return "bm25"
    return "cosine" if store.store.manifest.similarity == "cosine" else "maxsim"


def _cosines(store: MemoryStore, request: Request, found: Candidates, places: Sequence[int]) -> list[float | None]:
    """Return the cosine of each of some candidates with the query; ``None`` in a store with a vector for each token."""
    if store.store.manifest.similarity != "cosine":
        return [None] * len(places)
    cosines = found.dense[places]
    unknown = np.isnan(cosines)
    if unknown.any():  # Candidates that were found by their words alone.
        positions = found.positions[places]
        order = np.argsort(positions)
        for query in request.queries:
            if query.vector is not None:
                scored = np.empty(len(places))
                scored[order] = similarities(store.store, store.columns, query.vector, positions[order])
                cosines = np.fmax(cosines, scored)
    return [None if np.isnan(one) else float(one) for one in cosines]


def _why(store: MemoryStore, request: Request, hit: MemoryHit) -> tuple[str, ...]:
    """Return an explanation of each term of a hit's score."""
    found = []
    if "dense" in hit.scores:
        found.append(f"nearness in meaning {hit.scores['dense']:.3f}")
    if "lexical" in hit.scores:
        found.append(f"shared words {hit.scores['lexical']:.2f}")
    elif request.mode in (None, "hybrid"):
        found.append("no shared words")
    words = {
        "contiguity": "a neighbour in the session",
        "links": "a linked record",
        "decay": "its age",
        "date": "the date that is asked for",
        "window": "a passage of its session",
        "speaker": "who said it",
        "persons": "whom it is about",
        "cues": "what is asked for",
        "occasion": "the last or first time that is asked for",
        "session": "the score of its session",
        TERM: "what it takes the place of, or what takes its place",
        "rerank": "the reranker",
    }
    for name, cause in words.items():
        if hit.scores.get(name):
            found.append(f"{cause} {hit.scores[name]:+.3f}")
    if hit.yields_to:
        starts = [store.columns.valid_from[store.columns.statuses[id].position] for id in hit.yields_to]
        since = times.from_micros(int(min(starts))).date().isoformat()
        found.append(f"it is superseded or contradicted by {', '.join(hit.yields_to)} since {since}")
    if hit.also:
        found.append(f"{len(hit.also)} more with the same content")
    if hit.record.state != "active":
        found.append(f"it is {hit.record.state}")
    return tuple(found)


def _conflicts(store: MemoryStore, request: Request, record: MemoryRecord) -> tuple[MemoryRecord, ...]:
    """Return the other versions of a record, and the active records that it replaces or contradicts or the reverse.

    Only those within the scope are returned.
    """
    columns = store.columns
    scope = request.selection.scope
    versions = columns.versions[record.id]
    links = [link for link in columns.links.get(record.id, ()) if link[1] in (SUPERSEDES, CONTRADICTS)]
    others = {end for link in links for end in (link[0], link[2])}
    positions = [
        columns.statuses[id].position
        for id in sorted(others - {record.id})
        if store.in_scope(id, scope) and columns.statuses[id].state == ACTIVE
    ]
    found = store.fetch([*versions, *positions])
    return tuple(one for one in found if (one.id, one.version) != (record.id, record.version))
