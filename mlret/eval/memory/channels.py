"""Records and their scores by each of the memory's search channels, computed with the memory's own functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlret.data.scripts import scripts_of, share_script
from mlret.index.fusion import z_mean
from mlret.memory.storage.lexical_scores import Postings, grams_of

SYSTEMS = ("dense", "lexical", "fused")
DEPTH = 100
"""Records that each channel gives to fusion, as in the memory."""

Matrix = NDArray[np.float64]


class Records:
    """Texts that are searched.

    Parameters
    ----------
    texts, languages
        ``n`` texts and their language codes.
    vectors
        ``(n, dims)`` float32 of unit length.
    """

    def __init__(self, texts: Sequence[str], languages: Sequence[str], vectors: NDArray[np.float32]) -> None:
        self.texts, self.languages, self.vectors = list(texts), list(languages), vectors
        self._scripts = [scripts_of(text) for text in self.texts]
        grams = [grams_of(text) for text in self.texts]
        self._postings = Postings([gram for gram, _ in grams])
        self._lengths = np.array([length for _, length in grams], dtype=np.int32)

    def __len__(self) -> int:
        return len(self.texts)

    def dense(self, queries: NDArray[np.float32]) -> Matrix:
        """Return the cosines: ``(q, n)``."""
        return np.asarray(np.round(queries.astype(np.float64) @ self.vectors.T.astype(np.float64), 6))

    def lexical(self, queries: Sequence[str]) -> Matrix:
        """Return BM25 scores over character n-grams: ``(q, n)``, NaN if no n-gram is shared."""
        found = np.full((len(queries), len(self)), np.nan)
        every = np.arange(len(self))
        for row, query in enumerate(queries):
            scores, positions = self._postings.search(query, len(self), every, self._lengths)
            found[row, positions] = scores
        return found

    def fused(self, queries: Sequence[str], language: str, dense: Matrix, lexical: Matrix) -> Matrix:
        """Fuse dense and lexical scores as the memory does.

        The fused score is the mean of standard scores over the channels that apply to a record.

        Parameters
        ----------
        queries
            ``q`` queries.
        language
            Language code of the queries.
        dense, lexical
            The results of :meth:`dense` and :meth:`lexical`: ``(q, n)``.

        Returns
        -------
        numpy.ndarray
            ``(q, n)`` float64, -inf for records that are not candidates of either channel.
        """
        found = np.full(dense.shape, -np.inf)
        for row, query in enumerate(queries):
            rows = np.union1d(_best(dense[row]), _best(lexical[row]))
            applies = np.ones((len(rows), 2), dtype=np.bool_)
            applies[:, 1] = self._lexical_applies(query, language)[rows]
            fused = z_mean(rows, np.column_stack([dense[row, rows], lexical[row, rows]]), applies)
            found[row, fused.rows] = np.round(fused.scores, 6)
        return found

    def _lexical_applies(self, query: str, language: str) -> NDArray[np.bool_]:
        """Like :func:`mlret.index.fusion.lexical_applies`, but with the scripts of the records computed only once."""
        scripts = scripts_of(query)
        shared = {one: share_script(scripts, one) for one in set(self._scripts)}
        return np.array(
            [of == language and shared[one] for one, of in zip(self._scripts, self.languages, strict=True)],
            dtype=np.bool_,
        )

    def search(self, queries: Sequence[str], language: str, vectors: NDArray[np.float32]) -> dict[str, Matrix]:
        """Search with every system.

        Parameters
        ----------
        queries
            ``q`` queries.
        language
            Language code of the queries.
        vectors
            ``(q, dims)`` float32 vectors of the queries, of unit length.

        Returns
        -------
        dict
            System -> ``(q, n)`` scores; higher is better, -inf for a record that the system does not find.
        """
        dense, lexical = self.dense(vectors), self.lexical(queries)
        fused = self.fused(queries, language, dense, lexical)
        return {"dense": dense, "lexical": np.where(np.isnan(lexical), -np.inf, lexical), "fused": fused}


def _best(scores: Matrix) -> NDArray[np.int64]:
    order = np.argsort(-np.where(np.isnan(scores), -np.inf, scores), kind="stable")[:DEPTH]
    return order[~np.isnan(scores[order])]


def ranks(scores: Matrix, gold: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rank, counted from 1, of each query's gold record.

    Parameters
    ----------
    scores
        ``(q, n)``; -inf for records that are not found. Ties are broken by ascending row.
    gold
        ``(q,)``: the row of the record that answers each query.

    Returns
    -------
    numpy.ndarray
        ``(q,)`` int64; 0 if the record is not found.
    """
    wanted = scores[np.arange(len(gold)), gold][:, None]
    ahead = (scores > wanted).sum(axis=1) + ((scores == wanted) & (np.arange(scores.shape[1]) < gold[:, None])).sum(
        axis=1
    )
    return np.where(np.isfinite(wanted[:, 0]), ahead + 1, 0).astype(np.int64)


def top(scores: Matrix, k: int) -> list[set[int]]:
    """Return the rows of the best records that each query finds.

    Parameters
    ----------
    scores
        ``(q, n)``; -inf for records that are not found.
    k
        Maximum number of records for each query.
    """
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return [{int(one) for one in row if np.isfinite(scores[query, one])} for query, row in enumerate(order)]


def within(found: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """Return the recall at ``k`` of queries with one answer each.

    Parameters
    ----------
    found
        ``(q,)``: the rank of each answer, counted from 1; 0 if it was not found.
    k
        The cutoff.

    Returns
    -------
    numpy.ndarray
        ``(q,)`` float64, 0 or 1.
    """
    return ((found >= 1) & (found <= k)).astype(np.float64)
