"""Chooses the search effort that reaches a recall by a trial run, by default over an index's own tokens."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mlret.index.settings import IndexSettings
from mlret.index.storage.manifest import Probing
from mlret.index.tokens.codec import TokenCodec
from mlret.index.tokens.maxsim import Effort, search_tokens
from mlret.index.tokens.stored_tokens import TokenQuery
from mlret.index.tokens.token_segments import TokenSegment
from mlret.index.vectors.space import View

PROBES = (1, 4, 16, 32, 64)
COMPARED = (256, 1024, 4096, None)
_K = 10
_QUERIES = 48
_TOKENS = 32  # Tokens of a query, as in ColBERT.
_MARGIN = 1.1  # Comparing all documents is chosen unless probing is faster by this factor.


@dataclass(frozen=True)
class Trial:
    """The result of one trial.

    Attributes
    ----------
    effort
        The search effort; ``None`` if all documents are compared.
    recall
        The share of the ten best documents that it found.
    seconds
        The seconds for each query.
    """

    effort: Effort | None
    recall: float
    seconds: float


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
    found = [Trial(None, 1.0, seconds)]
    for effort in efforts:
        rows, seconds = _run(views, ready, effort)
        hits = sum(len(np.intersect1d(some, best)) for some, best in zip(rows, exact, strict=True))
        found.append(Trial(effort, hits / sum(map(len, exact)), seconds))
    return found


def _run(
    views: list[View[TokenSegment]], queries: Sequence[TokenQuery], effort: Effort | None
) -> tuple[list[NDArray[np.int64]], float]:
    start = time.perf_counter()
    rows = [search_tokens(views, query, _K, effort=effort)[1][:_K] for query in queries]
    return rows, (time.perf_counter() - start) / len(queries)


def calibrate(
    segments: Sequence[TokenSegment],
    codec: TokenCodec,
    settings: IndexSettings,
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
    compared = COMPARED if settings.compared is None else (settings.compared,)
    everything, *tried = trials(segments, queries, codec, [Effort(*one) for one in product(probes, compared)])
    target = settings.recall if recall is None else recall
    enough = [one for one in tried if one.recall >= target]
    fixed = settings.probes is not None and settings.compared is not None
    fastest = min(enough or (tried if fixed else []), key=lambda one: one.seconds, default=everything)
    all_in = f"all documents in {1e3 * everything.seconds:.1f} ms"
    if not fixed and fastest.seconds * _MARGIN > everything.seconds:
        fastest = everything
    if fastest.effort is None:
        closest = max(tried, key=lambda one: (one.recall, -one.seconds))
        why = f"{all_in}; probing finds {closest.recall:.3f} of that in {1e3 * closest.seconds:.1f} ms at best"
        return Probing(probes=None, recall=1.0, queries=len(queries), asked=asked, why=why)
    effort = fastest.effort
    most = "all" if effort.compared is None else f"the best {effort.compared:,}"
    why = (
        f"{effort.probes} probes a token, {most} of what they find compared: recall@10 {fastest.recall:.3f} of what "
        f"comparing all finds, in {1e3 * fastest.seconds:.1f} ms ({all_in})"
    )
    return Probing(**effort._asdict(), recall=fastest.recall, queries=len(queries), asked=asked, why=why)


def _query(segment: TokenSegment, codec: TokenCodec, rng: np.random.Generator) -> NDArray[np.float32]:
    filled = np.flatnonzero(np.diff(segment.tokens.offsets))
    tokens = segment.tokens.matrices(rng.choice(filled, min(2, len(filled)), replace=False)).values
    tokens = tokens[rng.choice(len(tokens), min(_TOKENS, len(tokens)), replace=False)]
    others = segment.tokens.matrices(np.sort(rng.choice(filled, min(8, len(filled)), replace=False))).values
    moved = tokens + codec.residuals(others)[rng.integers(0, len(others), len(tokens))]
    lengths = np.linalg.norm(tokens, axis=1, keepdims=True)
    return np.ascontiguousarray(moved * (lengths / np.linalg.norm(moved, axis=1, keepdims=True)), dtype=np.float32)
