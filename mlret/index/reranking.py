"""Reranking: the best documents of a search, ranked anew by a slower model that compares each with the query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mlret.encoders.cross_encoder import checked_cross_encoder, is_cross_encoder, load_cross_encoder, logits
from mlret.encoders.encoder import Encoder
from mlret.encoders.multi_vector import load_any_encoder, load_token_encoder
from mlret.encoders.passage_cache import PassageCache, encoded
from mlret.encoders.similarity import similarities
from mlret.encoders.token_encoder import TokenEncoder
from mlret.errors import InputError
from mlret.index.hits import Hit, Hits

# Called with a query and n texts; returns n scores, higher is better.
Rerank = Callable[[str, Sequence[str]], Sequence[float]]

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

    Reranking = Encoder | TokenEncoder | CrossEncoder | Rerank

# The number of documents that are ranked anew, as measured by scripts/bench/reranking.py.
CANDIDATES = 20
TOKENS = "tokens"


class Reranker(Protocol):
    """Scores the hits of one query."""

    def __call__(self, query: str, language: str | None, hits: Sequence[Hit]) -> NDArray[np.float64]:
        """Return ``(n,)`` finite scores for ``n`` hits; higher is better.

        Parameters
        ----------
        query
            The text of the query.
        language
            Its language; ``None`` if it was not given.
        hits
            The hits of the search, best first.
        """


class EncoderReranker:
    """Compares query and documents by another encoder, such as the head of the bundled one with a vector a token.

    An encoder is not better than the search in all that it ranks, so its similarities are not used alone: the score of
    a document is the mean of the standard scores of both among the candidates. See ``scripts/bench/reranking.py``.

    Parameters
    ----------
    encoder
        The encoder, of either kind. Vectors of documents are cached, because queries share candidates.
    """

    def __init__(self, encoder: Encoder | TokenEncoder) -> None:
        self._passages = PassageCache(encoder)

    def __call__(self, query: str, language: str | None, hits: Sequence[Hit]) -> NDArray[np.float64]:
        """Return the mean standard score of each hit; see :class:`Reranker`."""
        [asked] = encoded(self._passages.encoder.encode_query, [(query, language)])
        texts = [(_text_of(hit), hit.language) for hit in hits]
        vectors = self._passages(texts)
        compared = similarities(asked, [vectors[text] for text in texts])
        return (_standard(np.array([hit.score for hit in hits])) + _standard(compared)) / 2


class _CallableReranker:
    def __init__(self, rerank: Rerank) -> None:
        self._rerank = rerank

    def __call__(self, query: str, language: str | None, hits: Sequence[Hit]) -> NDArray[np.float64]:
        scores = self._rerank(query, [_text_of(hit) for hit in hits])
        try:
            return np.asarray(scores, dtype=np.float64)
        except (TypeError, ValueError):
            raise InputError(
                f"rerank gave {scores!r:.80}, which are no scores; it must give a finite number for each text"
            ) from None


class _CrossEncoderReranker:
    def __init__(self, model: CrossEncoder) -> None:
        self._model = checked_cross_encoder(model, type(model).__name__)

    def __call__(self, query: str, language: str | None, hits: Sequence[Hit]) -> NDArray[np.float64]:
        return logits(self._model, [(query, _text_of(hit)) for hit in hits])


def load_reranker(name: str) -> Encoder | TokenEncoder | CrossEncoder:
    """Load a model to rerank with, for :meth:`mlret.index.index.Index.search`.

    Parameters
    ----------
    name
        ``tokens`` for the head of the bundled encoder with a vector for each token; or a folder with a cross-encoder or
        an encoder of either kind; or the id of a cross-encoder on the hub.

    Raises
    ------
    InputError
        If it cannot be loaded.
    MissingExtraError
        If it needs torch, which is not installed.
    """
    if name == TOKENS:
        return load_token_encoder()
    if is_cross_encoder(Path(name)) or not Path(name).is_dir():
        return load_cross_encoder(name)
    return load_any_encoder(name)


def as_reranker(rerank: Any) -> Reranker:
    """Return what a search was given to rerank with as a :class:`Reranker`.

    Parameters
    ----------
    rerank
        An encoder of mlret, of either kind; a ``CrossEncoder`` of sentence-transformers; or a callable
        :data:`Rerank`.

    Raises
    ------
    InputError
        If it is none of these, or a cross-encoder with several labels.
    """
    if isinstance(rerank, Encoder | TokenEncoder):
        return EncoderReranker(rerank)
    if hasattr(rerank, "predict") and hasattr(rerank, "num_labels"):
        return _CrossEncoderReranker(rerank)
    if callable(rerank) and not isinstance(rerank, type):
        return _CallableReranker(rerank)
    raise InputError(
        f"rerank is {rerank!r}; give an encoder (for instance mlret.load_token_encoder()), a CrossEncoder of "
        "sentence-transformers, or a callable that takes a query and a list of texts and returns their scores"
    )


def reranked(rerank: Reranker, query: str, language: str | None, hits: Hits, k: int) -> Hits:
    """Return the best ``k`` hits of a query in the order of a reranker's scores.

    Parameters
    ----------
    rerank
        The reranker.
    query, language
        The query.
    hits
        All candidates, best first. The order of equal scores is kept.
    k
        The number of hits to return.

    Raises
    ------
    InputError
        If the reranker returns anything but a finite number for each hit.
    """
    found = Hits()
    found.missing = hits.missing
    if not hits:
        return found
    scores = rerank(query, language, hits)
    if scores.shape != (len(hits),) or not np.isfinite(scores).all():
        raise InputError(
            f"rerank gave scores of shape {scores.shape} for {len(hits)} texts; it must give a finite "
            "number for each text"
        )
    order = np.argsort(-scores, kind="stable")[:k]
    for rank, place in enumerate(order.tolist(), start=1):
        hit, score = hits[place], float(scores[place])
        parts = hit.scores | {"rerank": score}
        found.append(replace(hit, rank=rank, score=score, scores=parts, kind="rerank", terms={"rerank": score}))
    return found


def _text_of(hit: Hit) -> str:
    """Return what is compared with the query: of a long document the passage that was found."""
    return hit.text if hit.passage is None else hit.passage.text


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values minus their mean, divided by their standard deviation; zeros if they are all alike."""
    spread = values.std()
    return (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)
