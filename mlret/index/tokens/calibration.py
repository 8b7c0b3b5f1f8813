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
    segments: Sequence[TokenSegment], queries: Sequence[NDArray[np.float32]], codec: TokenCodec | None, recall: float
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
    for probes in PROBES:
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


def calibrate(segments: Sequence[TokenSegment], codec: TokenCodec | None, settings: IndexSettings) -> Probing:
    """The fewest probes that reach the recall of the settings, if they are faster than comparing all.

    A trial query is made of tokens of a document, each moved by as much as another token is off its centroid: as far
    from what is stored as tokens of one centroid are from one another. Tokens that are stored themselves would flatter
    probing, for they are in the lists of the centroids that are probed first.
    """
    assert codec is not None
    rng = np.random.default_rng(settings.seed)
    queries = [_query(segments[place % len(segments)], codec, rng) for place in range(_QUERIES)]
    target = settings.recall if settings.probes is None else 2.0
    found = trials(segments, queries, codec, target)
    everything, probed = found[0], found[1:]
    chosen = next((one for one in probed if one.recall >= target), None)
    if settings.probes is not None:
        chosen = min(probed, key=lambda one: abs((one.probes or 0) - settings.probes))  # type: ignore[operator]
        why = f"the settings say {settings.probes} probes"
        return Probing(probes=settings.probes, recall=chosen.recall, queries=len(queries), why=_why(why, chosen))
    if chosen is None or chosen.seconds * _MARGIN > everything.seconds:
        why = f"comparing all documents takes {1e3 * everything.seconds:.1f} ms and no probing is faster at this recall"
        return Probing(probes=None, recall=1.0, queries=len(queries), why=why)
    why = f"{chosen.probes} probes a token"
    return Probing(probes=chosen.probes, recall=chosen.recall, queries=len(queries), why=_why(why, chosen, everything))


def _why(what: str, chosen: Trial, everything: Trial | None = None) -> str:
    beside = f" (all documents: {1e3 * everything.seconds:.1f} ms)" if everything else ""
    return f"{what}: recall@10 {chosen.recall:.3f} of all codes in {1e3 * chosen.seconds:.1f} ms{beside}"


def _query(segment: TokenSegment, codec: TokenCodec, rng: np.random.Generator) -> NDArray[np.float32]:
    filled = np.flatnonzero(np.diff(segment.tokens.offsets))
    tokens = segment.tokens.matrices(rng.choice(filled, 1)).values
    tokens = tokens[rng.choice(len(tokens), min(_TOKENS, len(tokens)), replace=False)]
    others = segment.tokens.matrices(np.sort(rng.choice(filled, min(8, len(filled)), replace=False))).values
    moved = tokens + codec.residuals(others)[rng.integers(0, len(others), len(tokens))]
    lengths = np.linalg.norm(tokens, axis=1, keepdims=True)
    return np.ascontiguousarray(moved * (lengths / np.linalg.norm(moved, axis=1, keepdims=True)), dtype=np.float32)
