"""How many centroids to probe for a recall, by a trial run over an index's own tokens."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlret.index.kinds import IndexSettings
from mlret.index.manifest import Probing
from mlret.index.space import View
from mlret.index.tokens.codec import TokenCodec
from mlret.index.tokens.search import search_tokens
from mlret.index.tokens.segments import TokenSegment
from mlret.index.tokens.stored import TokenQuery

PROBES = (1, 2, 4, 8, 16, 32, 64, 128)
_K = 10
_QUERIES = 48
_TOKENS = 32  # of a query, as in ColBERT
_MARGIN = 1.1  # comparing all is chosen unless probing is so much faster


@dataclass(frozen=True)
class Trial:
    """A number of probes (``None``: all documents are compared), the share of the ten best documents that it found, and
    seconds a query."""

    probes: int | None
    recall: float
    seconds: float


def trials(
    segments: Sequence[TokenSegment],
    queries: Sequence[NDArray[np.float32]],
    codec: TokenCodec,
    recall: float,
    every: Sequence[int] = PROBES,
) -> list[Trial]:
    """Search with ever more probes, until the recall is reached.

    Parameters
    ----------
    segments
        Where to search.
    queries
        ``(t, dims)`` float32 each.
    codec
        Of the segments.
    recall
        What is enough, of the ten documents that comparing all gives.
    every
        The numbers of probes, rising.

    Returns
    -------
    list of Trial
        The first compares all.
    """
    views = [View(segment) for segment in segments]
    ready = [TokenQuery.of(query, codec) for query in queries]
    search_tokens(views, ready[0], _K, probes=1)  # compiles what is not
    exact, seconds = _run(views, ready, None)
    found = [Trial(None, 1.0, seconds)]
    for probes in every:
        rows, seconds = _run(views, ready, probes)
        hits = sum(len(np.intersect1d(some, best)) for some, best in zip(rows, exact, strict=True))
        found.append(Trial(probes, hits / sum(map(len, exact)), seconds))
        if found[-1].recall >= recall:
            break
    return found


def _run(views: list[View], queries: Sequence[TokenQuery], probes: int | None) -> tuple[list[NDArray[np.int64]], float]:
    start = time.perf_counter()
    rows = [search_tokens(views, query, _K, probes=probes)[1][:_K] for query in queries]
    return rows, (time.perf_counter() - start) / len(queries)


def calibrate(
    segments: Sequence[TokenSegment],
    codec: TokenCodec,
    settings: IndexSettings,
    *,
    queries: Sequence[NDArray[np.float32]] = (),
    recall: float | None = None,
) -> Probing:
    """The fewest probes that reach a recall, if they are faster than comparing all.

    Parameters
    ----------
    segments
        Those that have lists.
    codec
        Of the segments.
    settings
        The recall by default, or the probes, which are then measured alone.
    queries
        ``(t, dims)`` float32 each; made by default.
    recall
        Instead of what the settings say.

    Notes
    -----
    A trial query is made of tokens of a document, each moved by as much as another token is off its centroid: as far
    from what is stored as tokens of one centroid are from one another. Tokens that are stored themselves would flatter
    probing, for they are in the lists of the centroids that are probed first.
    """
    asked = bool(len(queries))
    if not asked:
        rng = np.random.default_rng(settings.seed)
        queries = [_query(segments[place % len(segments)], codec, rng) for place in range(_QUERIES)]
    fixed = settings.probes if recall is None else None
    target = settings.recall if recall is None else recall
    found = trials(segments, queries, codec, target, PROBES if fixed is None else (fixed,))
    everything, chosen = found[0], found[-1]
    enough = fixed is not None or (chosen.recall >= target and chosen.seconds * _MARGIN < everything.seconds)
    beside = f"recall@10 {chosen.recall:.3f} of all codes in {1e3 * chosen.seconds:.1f} ms, all in"
    why = f"{chosen.probes} probes a token: {beside} {1e3 * everything.seconds:.1f} ms"
    if not enough:
        why = (
            f"all documents are compared in {1e3 * everything.seconds:.1f} ms: {chosen.probes} probes had {beside} that"
        )
        chosen = everything
    return Probing(probes=chosen.probes, recall=chosen.recall, queries=len(queries), asked=asked, why=why)


def _query(segment: TokenSegment, codec: TokenCodec, rng: np.random.Generator) -> NDArray[np.float32]:
    filled = np.flatnonzero(np.diff(segment.tokens.offsets))
    tokens = segment.tokens.matrices(rng.choice(filled, 1)).values
    tokens = tokens[rng.choice(len(tokens), min(_TOKENS, len(tokens)), replace=False)]
    others = segment.tokens.matrices(np.sort(rng.choice(filled, min(8, len(filled)), replace=False))).values
    moved = tokens + codec.residuals(others)[rng.integers(0, len(others), len(tokens))]
    lengths = np.linalg.norm(tokens, axis=1, keepdims=True)
    return np.ascontiguousarray(moved * (lengths / np.linalg.norm(moved, axis=1, keepdims=True)), dtype=np.float32)
