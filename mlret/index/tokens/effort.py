"""Chooses the search effort that reaches a recall by trial runs, by default over an index's own tokens.

Recall is the same on every machine, because all kernels give the same integers; time is not. The trial runs are
therefore kept in the manifest, and a machine with other instructions chooses from them by what a token costs there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mlret.index.settings import IndexSettings
from mlret.index.storage.manifest import Measured, Probing, Trial
from mlret.index.tokens.bits import LANES
from mlret.index.tokens.codec import TokenCodec
from mlret.index.tokens.cost import Cost
from mlret.index.tokens.maxsim import Effort, candidates, search_tokens
from mlret.index.tokens.stored_tokens import TokenQuery
from mlret.index.tokens.token_segments import TokenSegment
from mlret.index.vectors.space import View

PROBES = (1, 4, 16, 32, 64)
COMPARED = (256, 1024, 4096, None)
_K = 10
_COUNTED = 8  # Queries of which it is counted how many tokens they are compared with.
_QUERIES = 48
_TOKENS = 32  # Tokens of a query, as in ColBERT.
_MARGIN = 1.1  # Comparing all documents is chosen unless probing is faster by this factor.


def trials(
    segments: Sequence[TokenSegment],
    queries: Sequence[NDArray[np.float32]],
    codec: TokenCodec,
    efforts: Sequence[Effort],
) -> list[Trial]:
    """Search with each effort, and measure recall and time.

    Parameters
    ----------
    segments
        The segments to search.
    queries
        ``(t, dims)`` float32 each.
    codec
        The codec of the segments.
    efforts
        The efforts to try.

    Returns
    -------
    list of Trial
        The first compares all documents, and recall is measured against what it finds; one for each effort follows.
    """
    views = [View(segment) for segment in segments]
    ready = [TokenQuery.of(query, codec) for query in queries]
    search_tokens(views, ready[0], _K, effort=Effort(1))  # Compile the kernels before measuring.
    exact, seconds = _run(views, ready, None)
    found = [Trial(probes=None, recall=1.0, seconds=seconds, tokens=_compared(views, ready, None))]
    for effort in efforts:
        rows, seconds = _run(views, ready, effort)
        hits = sum(len(np.intersect1d(some, best)) for some, best in zip(rows, exact, strict=True))
        recall, tokens = hits / sum(map(len, exact)), _compared(views, ready, effort)
        found.append(Trial(**effort._asdict(), recall=recall, seconds=seconds, tokens=tokens))
    return found


def _compared(views: list[View[TokenSegment]], queries: Sequence[TokenQuery], effort: Effort | None) -> float:
    """Return the mean number of tokens that some of the queries are compared with, times their blocks of lanes."""
    some = queries[:_COUNTED]
    tokens = 0
    for query in some:
        blocks = -(-len(query.tokens) // LANES)
        for view in views:
            lengths = np.diff(view.segment.tokens.offsets)
            tokens += blocks * int(lengths[candidates(view, query, _K, effort)].sum())
    return tokens / len(some)


def _run(
    views: list[View[TokenSegment]], queries: Sequence[TokenQuery], effort: Effort | None
) -> tuple[list[NDArray[np.int64]], float]:
    """Return what is found for each query, and the seconds of the median query, which other programs change least."""
    rows, seconds = [], []
    for query in queries:
        start = time.perf_counter()
        rows.append(search_tokens(views, query, _K, effort=effort)[1][:_K])
        seconds.append(time.perf_counter() - start)
    return rows, float(np.median(seconds))


def calibrate(
    segments: Sequence[TokenSegment],
    codec: TokenCodec,
    settings: IndexSettings,
    cost: Cost,
    *,
    queries: Sequence[NDArray[np.float32]] = (),
    recall: float | None = None,
) -> Probing:
    """Return the fastest search effort that reaches a recall, if it is faster than comparing all documents.

    Parameters
    ----------
    segments
        The segments that have lists.
    codec
        The codec of the segments.
    settings
        The default recall, and the numbers of probes and compared documents if they are fixed.
    cost
        What comparing a token of the segments costs on this machine.
    queries
        ``(t, dims)`` float32 each; made from the segments' tokens by default.
    recall
        The recall to reach, instead of that of the settings.

    Returns
    -------
    Probing
        The effort, its recall, and why it was chosen.

    Notes
    -----
    A trial query is made of tokens of two documents, each moved by the residual of another token from its centroid, so
    that it is as far from what is stored as tokens of one centroid are from one another. Tokens of one document, or
    unmoved tokens, would overestimate the recall of probing: on real text and questions it found 0.88 of what comparing
    all documents did, where these queries predicted 0.98 and those of two documents 0.95.
    """
    asked = bool(len(queries))
    if not asked:
        rng = np.random.default_rng(settings.seed)
        queries = [_query(segments[place % len(segments)], codec, rng) for place in range(_QUERIES)]
    probes = PROBES if settings.probes is None else (settings.probes,)
    documents = max(map(len, segments))
    compared: tuple[int | None, ...] = (settings.compared,)
    if settings.compared is None:  # Comparing at most as many candidates as there are documents is comparing all.
        compared = tuple(most for most in COMPARED if most is None or most < documents)
    found = trials(segments, queries, codec, [Effort(*one) for one in product(probes, compared)])
    target = settings.recall if recall is None else recall
    measured = Measured(instructions=cost.instructions, token_seconds=cost.token, target=target, trials=tuple(found))
    return _chosen(measured, settings, queries=len(queries), asked=asked)


def adapted(probing: Probing, settings: IndexSettings, cost: Cost) -> Probing:
    """Return the search effort that is the fastest on this machine, chosen from trial runs on another one.

    Parameters
    ----------
    probing
        What was chosen on the other machine; it is returned unchanged if the instructions are the same, or if it was
        written by a version of mlret that did not keep the trial runs.
    settings
        The settings of the index.
    cost
        What comparing a token costs on this machine.
    """
    before = probing.measured
    if before is None or before.instructions == cost.instructions:
        return probing
    more = cost.token - before.token_seconds
    here = [
        one.model_copy(update={"seconds": max(one.seconds + more * one.tokens, cost.token * one.tokens)})
        for one in before.trials
    ]
    measured = Measured(
        instructions=cost.instructions, token_seconds=cost.token, target=before.target, trials=tuple(here)
    )
    found = _chosen(measured, settings, queries=probing.queries, asked=probing.asked)
    why = f"{found.why}; estimated for {cost.instructions} from trial runs with {before.instructions}"
    return found.model_copy(update={"why": why})


def _chosen(measured: Measured, settings: IndexSettings, *, queries: int, asked: bool) -> Probing:
    """Return the fastest effort of trial runs that reaches the recall, if it is faster than comparing all documents."""
    everything, *tried = measured.trials
    enough = [one for one in tried if one.recall >= measured.target]
    fixed = settings.probes is not None and settings.compared is not None
    fastest = min(enough or (tried if fixed else []), key=lambda one: one.seconds, default=everything)
    all_in = f"all documents in {1e3 * everything.seconds:.1f} ms"
    if not fixed and fastest.seconds * _MARGIN > everything.seconds:
        fastest = everything
    if fastest.probes is None:
        closest = max(tried, key=lambda one: (one.recall, -one.seconds))
        why = f"{all_in}; probing finds {closest.recall:.3f} of that in {1e3 * closest.seconds:.1f} ms at best"
    else:
        most = "all" if fastest.compared is None else f"the best {fastest.compared:,}"
        why = (
            f"{fastest.probes} probes a token, {most} of what they find compared: recall@10 {fastest.recall:.3f} of "
            f"what comparing all finds, in {1e3 * fastest.seconds:.1f} ms ({all_in})"
        )
    return Probing(
        probes=fastest.probes,
        compared=fastest.compared,
        recall=fastest.recall,
        queries=queries,
        asked=asked,
        why=why,
        measured=measured,
    )


def _query(segment: TokenSegment, codec: TokenCodec, rng: np.random.Generator) -> NDArray[np.float32]:
    filled = np.flatnonzero(np.diff(segment.tokens.offsets))
    tokens = segment.tokens.matrices(rng.choice(filled, min(2, len(filled)), replace=False)).values
    tokens = tokens[rng.choice(len(tokens), min(_TOKENS, len(tokens)), replace=False)]
    others = segment.tokens.matrices(np.sort(rng.choice(filled, min(8, len(filled)), replace=False))).values
    moved = tokens + codec.residuals(others)[rng.integers(0, len(others), len(tokens))]
    lengths = np.linalg.norm(tokens, axis=1, keepdims=True)
    return np.ascontiguousarray(moved * (lengths / np.linalg.norm(moved, axis=1, keepdims=True)), dtype=np.float32)
