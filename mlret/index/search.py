"""Turn query vectors and texts into hits by dense, lexical or hybrid search.

The channels are searched by the shards of the index, of which an ordinary index has one; see
:mod:`mlret.index.sharding`. What they find is merged by score and id, and only then fused, so that the hits do not
depend on how the documents are divided. A document that is longer than the encoder reads has a vector for each of its
passages, and is found by the best of them; see :mod:`mlret.index.best_passages`. The lexical channel compares its whole
text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast, get_args

import numpy as np
from numpy.typing import NDArray

from mlret.data.detection import detect_language
from mlret.errors import Corrupt, InputError, MlretError
from mlret.index.fusion import align, alone, in_unit, z_mean
from mlret.index.hits import Hit, Hits, Passage, ScoreKind
from mlret.index.lexical.ngrams import ngrams
from mlret.index.lexical.plan import LexicalPlan, plan_search, together
from mlret.index.ordering import best_first
from mlret.index.sharding.gathering import Searched, Shards
from mlret.index.sharding.placement import shard_of
from mlret.index.sharding.shard import (
    EVERYTHING,
    Channel,
    Completed,
    Fetched,
    Found,
    Incomplete,
    Prepared,
    Restriction,
    Wanted,
)
from mlret.index.sharding.shard import Mode as Mode
from mlret.index.storage.manifest import Manifest

Rows = NDArray[np.int64]

# The number of documents that each channel contributes to the fused ranking.
_DEPTH = 100
_CHANNELS = ("dense", "lexical")


def check_mode(mode: str | None) -> Mode | None:
    """Return a mode unchanged if it is valid; ``None`` is allowed.

    Raises
    ------
    InputError
        If there is no mode of that name.
    """
    if mode is not None and mode not in get_args(Mode):
        raise InputError(f"no mode {mode!r}; there are {', '.join(get_args(Mode))}")
    return cast("Mode | None", mode)


class _Described(Protocol):
    """A folder with its manifest."""

    @property
    def folder(self) -> Path: ...

    @property
    def manifest(self) -> Manifest: ...


def check_lexical(index: _Described, mode: Mode) -> None:
    """Check that an index has the channels of a mode.

    Parameters
    ----------
    index
        The store of a folder, or its shards.
    mode
        The mode.

    Raises
    ------
    InputError
        If the mode needs a lexical channel and the index has none.
    """
    if mode != "dense" and not index.manifest.settings.lexical:
        raise InputError(
            f'{index.folder} has no lexical channel: build it with `lexical=True`, or search it with `mode="dense"`'
        )


@dataclass(frozen=True)
class Query:
    """A query: its vector or its token vectors, and for the lexical channel its text and the language that was given.

    ``vector`` is ``(dims,)`` float32, or ``(t, dims)`` in a multi-vector index; ``None`` if there is no encoder for it,
    which only a lexical search can do without.
    """

    vector: NDArray[np.float32] | None
    text: str = ""
    given: str | None = None

    @cached_property
    def language(self) -> str | None:
        """The language that was given, or the detected one; ``None`` if it is unknown.

        It is detected only when something asks for it: loading the detector takes most of a second.
        """
        return self.given or detect_language(self.text)


@dataclass(frozen=True, slots=True)
class Ranked:
    """The documents that one query found, best first.

    A document is named by the number of its row times the number of shards, plus the number of its shard. ``parts``
    holds for each document the score of each channel that found it, ``kind`` says what ``scores`` are, ``cosines``
    holds the cosine with the query or ``None``, and ``terms`` what each score is the sum of. ``nearest`` holds the row
    of the passage that is nearest to the query, and is empty if nothing is known of it.
    """

    scores: Sequence[float]
    numbers: Sequence[int]
    parts: Sequence[dict[str, float]]
    kind: ScoreKind
    cosines: Sequence[float | None]
    terms: Sequence[dict[str, float]]
    nearest: Sequence[int] = ()


def retrieve(
    shards: Shards,
    queries: Sequence[Query],
    k: int,
    *,
    restriction: Restriction = EVERYTHING,
    mode: Mode = "dense",
    exact: bool = False,
    partial: bool = False,
) -> list[Hits]:
    """Return the ``k`` best documents for each query.

    Parameters
    ----------
    shards
        The shards to search.
    queries
        The queries. The lexical channel needs their texts.
    k
        The number of hits, at least 1.
    restriction
        Which documents may be found.
    mode
        The channels to use, which the index must have. ``hybrid`` takes the best 100 documents, or ``k`` if that is
        more, of each channel, and ranks them by the mean of their standard scores over the channels that apply to a
        document (:func:`mlret.index.fusion.z_mean`).
    exact
        Compare with every row, without the accelerators.
    partial
        Search the other shards if one does not answer, and name it in the hits.

    Returns
    -------
    list of Hits
        For each query its hits, best first.

    Raises
    ------
    MlretError
        If a shard does not answer and ``partial`` is not set, or none does, or there are vectors without records.
    """
    missing: dict[int, Exception] = {}
    joined = shards.joined()
    while True:
        try:
            searched = shards if joined is None else joined
            hits = _Search(searched, queries, k, restriction, mode, exact, frozenset(missing)).hits()
        except (MlretError, OSError) as error:
            if joined is None or (isinstance(error, InputError) and not isinstance(error, Corrupt)):
                raise
            joined = None  # Each shard is asked by itself, which shows which of them does not answer.
            continue
        except _UnansweredError as error:
            missing |= error.failed
            if not partial or len(missing) == len(shards):
                raise shards.unanswered(missing) from error
            continue
        if hits is not None:  # Otherwise a document was deleted between search and fetch; the search is repeated.
            for one in hits:
                one.missing = tuple(shards.names[number] for number in sorted(missing))
            return hits


class _UnansweredError(Exception):
    """Shards did not answer."""

    def __init__(self, failed: Mapping[int, Exception]) -> None:
        super().__init__()
        self.failed = dict(failed)


class _Merged(NamedTuple):
    """The best documents of a channel over all shards, in the order of a :class:`Channel`."""

    scores: NDArray[np.float64]
    numbers: Rows
    passages: Rows
    similarities: NDArray[np.float64] | None
    texts: int


class _Search:
    """One attempt at a search, in the shards that are not missing; parameters as for :func:`retrieve`."""

    def __init__(
        self,
        shards: Searched,
        queries: Sequence[Query],
        k: int,
        restriction: Restriction,
        mode: Mode,
        exact: bool,
        missing: frozenset[int],
    ) -> None:
        self._shards, self._queries, self._k, self._mode, self._exact = shards, queries, k, mode, exact
        self._count = len(shards)
        self._alive = [number for number in range(self._count) if number not in missing]
        self._restrictions = _restrictions(restriction, self._count)
        self._condition = restriction.condition
        self._cosine = shards.manifest.similarity == "cosine"
        self._cut = False
        self._changes: dict[int, int] = {}

    def hits(self) -> list[Hits] | None:
        """Return the hits of each query; ``None`` if a document was deleted meanwhile."""
        if self._mode == "dense":
            found = self._dense()
        elif self._mode == "lexical":
            found = self._lexical()
        else:
            found = self._hybrid()
        rows: dict[int, set[int]] = {}
        for ranked in found:
            for number in ranked.numbers:
                rows.setdefault(number % self._count, set()).add(number // self._count)
        fetched: dict[int, Fetched] = self._ask("fetch", {shard: (sorted(some),) for shard, some in rows.items()})
        for shard, some in rows.items():
            if len(fetched[shard].documents) < len(some):
                if fetched[shard].changes == self._changes[shard]:
                    raise Corrupt(
                        f"{self._shards.folder} has vectors without records: `mlret index verify` reports details"
                    )
                return None
        return [self._shown(ranked, fetched) for ranked in found]

    def _ask(self, method: str, arguments: Mapping[int, Sequence[Any]]) -> dict[int, Any]:
        answers = self._shards.ask(method, arguments)
        if answers.failed:
            raise _UnansweredError(answers.failed)
        return answers.found

    def _candidates(self, k: int, plans: Sequence[LexicalPlan] = ()) -> dict[int, Found]:
        wanted = Wanted(
            self._mode,
            k,
            [query.vector for query in self._queries],
            plans,
            exact=self._exact,
        )
        found: dict[int, Found] = self._ask(
            "candidates",
            {shard: (replace(wanted, restriction=self._restrictions[shard]),) for shard in self._alive},
        )
        self._cut = any(one.cut for one in found.values())
        self._changes = {shard: one.changes for shard, one in found.items()}
        if self._condition is not None:
            self._shards.check_filter(self._condition, sum(one.allowed or 0 for one in found.values()), self._alive)
        return found

    def _width(self, k: int) -> int:
        """Return how many documents each shard is asked for at first.

        The best documents are divided among the shards at random, so that hardly ever more than this many are in one.
        """
        mean = k / len(self._alive)
        return k if self._count == 1 else min(k, math.ceil(mean + 4 * math.sqrt(mean) + 4))

    def _enough(
        self, channels: Sequence[tuple[Mapping[int, Channel | None], _Merged | None]], width: int, k: int
    ) -> bool:
        """Return whether no shard may have more of the ``k`` best documents than it was asked for."""
        for parts, merged in channels:
            for part in parts.values():
                if part is None or merged is None or len(part.scores) < width:
                    continue
                if len(merged.scores) < k or part.scores[-1] >= merged.scores[-1]:
                    return False
        return True

    def _dense(self) -> list[Ranked]:
        width = self._width(self._k)
        while True:
            found = self._candidates(width)
            every = [
                {shard: one.candidates[place].dense for shard, one in found.items()}
                for place in range(len(self._queries))
            ]
            channels = [self._merged(some, self._k) for some in every]
            if width == self._k or self._enough(list(zip(every, channels, strict=True)), width, self._k):
                break
            width = self._k
        ranked = []
        for best in channels:
            scores = best.scores.tolist()
            parts = [{"dense": one} for one in scores]
            kind: ScoreKind = "cosine" if self._cosine else "maxsim"
            nearest = best.passages.tolist() if self._cut else ()
            ranked.append(Ranked(scores, best.numbers.tolist(), parts, kind, self._cosines(scores), parts, nearest))
        return ranked

    def _lexical(self) -> list[Ranked]:
        ranked = []
        for query, (_, best) in zip(self._queries, self._channels(self._k), strict=True):
            assert best is not None and best.similarities is not None
            parts = [{"lexical": one} for one in best.scores.tolist()]
            cosines = self._cosines(best.similarities.tolist())
            nearest = best.passages.tolist() if query.vector is not None and self._cut else ()
            numbers = best.numbers.tolist()
            ranked.append(Ranked(best.scores.tolist(), numbers, parts, "bm25", cosines, parts, nearest))
        return ranked

    def _hybrid(self) -> list[Ranked]:
        channels = []
        incomplete: dict[int, list[Incomplete]] = {shard: [] for shard in self._alive}
        for query, (dense, lexical) in zip(self._queries, self._channels(max(_DEPTH, self._k)), strict=True):
            assert dense is not None and lexical is not None and query.vector is not None
            words = len(lexical.numbers) > 0  # A channel that found nothing is excluded anyway.
            numbers, scores = align([(dense.scores, dense.numbers), (lexical.scores, lexical.numbers)])
            channels.append((numbers, scores))
            language = query.language if words else None
            for shard in self._alive:
                rows = numbers[numbers % self._count == shard] // self._count
                incomplete[shard].append(Incomplete(query.vector, query.text, language, rows, words))
        # The dense channel can score any document, so those that only the lexical channel found get their dense score
        # here, and are not ranked lower for having been missed.
        completed: dict[int, list[Completed]] = self._ask(
            "complete", {shard: (some,) for shard, some in incomplete.items()}
        )
        return [
            self._fused(numbers, scores, {shard: some[place] for shard, some in completed.items()})
            for place, (numbers, scores) in enumerate(channels)
        ]

    def _channels(self, k: int) -> list[tuple[_Merged | None, _Merged | None]]:
        """Return the best documents of the dense and the lexical channel for each query."""
        texts = [query.text for query in self._queries]
        prepared: dict[int, Prepared] = self._ask(
            "prepare", {shard: (texts, self._restrictions[shard]) for shard in self._alive}
        )
        statistics = together(one.statistics for one in prepared.values())
        numbers = [one.allowed for one in prepared.values()]
        allowed = None if None in numbers else sum(number or 0 for number in numbers)
        # A single shard reads further n-grams by itself until it has found k texts; several are asked again.
        least = k if self._count == 1 else 0
        plans = [plan_search(sorted(set(ngrams(text))), statistics, allowed, least=least) for text in texts]
        width = self._width(k)
        while True:
            found = self._candidates(width, plans)
            merged, every = [], []
            for place in range(len(texts)):
                some = {shard: one.candidates[place] for shard, one in found.items()}
                by_meaning = {shard: one.dense for shard, one in some.items()}
                by_words = {shard: one.lexical for shard, one in some.items()}
                merged.append((self._merged_if_any(by_meaning, k), self._merged_if_any(by_words, k)))
                every += [(by_meaning, merged[-1][0]), (by_words, merged[-1][1])]
            if width < k and not self._enough(every, width, k):
                width = k
                continue
            lacking = False
            for place, (_, lexical) in enumerate(merged):
                if self._count > 1 and plans[place].reads_more and lexical is not None and lexical.texts < k:
                    lacking, plans[place] = True, replace(plans[place], reading=plans[place].reading + 1)
            if not lacking:
                return merged

    def _merged_if_any(self, parts: Mapping[int, Channel | None], k: int) -> _Merged | None:
        return None if any(part is None for part in parts.values()) else self._merged(parts, k)

    def _merged(self, parts: Mapping[int, Channel | None], k: int) -> _Merged:
        """Return the ``k`` best documents of what shards found, by score and then by id."""
        some = [(shard, part) for shard, part in parts.items() if part is not None]
        if self._count == 1:
            [(_, part)] = some
            return _Merged(part.scores, part.rows, part.passages, part.similarities, part.texts)
        scores = np.concatenate([part.scores for _, part in some])
        numbers = np.concatenate([part.rows * self._count + shard for shard, part in some])
        order = best_first(scores, k, lambda places: self._ids(numbers[places]))
        passages = np.concatenate([part.passages for _, part in some])
        known = [part.similarities for _, part in some if part.similarities is not None]
        similarities = np.concatenate(known)[order] if len(known) == len(some) else None
        texts = sum(part.texts for _, part in some)
        return _Merged(scores[order], numbers[order], passages[order], similarities, texts)

    def _ids(self, numbers: Rows) -> list[str]:
        """Return the ids of documents, for those that have one score."""
        places = {shard: np.flatnonzero(numbers % self._count == shard) for shard in self._alive}
        rows = {shard: (numbers[some] // self._count).tolist() for shard, some in places.items() if len(some)}
        found: dict[int, list[str]] = self._ask("ids", {shard: (some,) for shard, some in rows.items()})
        ids = np.empty(len(numbers), dtype=object)
        for shard, some in found.items():
            ids[places[shard]] = some
        return ids.tolist()

    def _cosines(self, similarities: Sequence[float]) -> list[float | None]:
        """Return similarities as cosines.

        The result is ``None`` for a document without a vector, and for every document of a multi-vector index.
        """
        return [one if self._cosine and one == one else None for one in similarities]

    def _fused(self, numbers: Rows, scores: NDArray[np.float64], completed: Mapping[int, Completed]) -> Ranked:
        passages = np.empty(len(numbers), dtype=np.int64)
        applies = np.ones(scores.shape, dtype=np.bool_)
        for shard, one in completed.items():
            places = slice(None) if self._count == 1 else np.flatnonzero(numbers % self._count == shard)
            scores[places, 0], passages[places], applies[places, 1] = one.similarities, one.passages, one.applies
        there = ~np.isnan(scores[:, 0])
        numbers, scores, applies, passages = numbers[there], scores[there], applies[there], passages[there]
        fused = z_mean(numbers, scores, applies)
        order = best_first(fused.scores, self._k, lambda places: self._ids(fused.rows[places]))
        chosen = fused.rows[order].tolist()
        at = np.searchsorted(numbers, fused.rows[order])
        given = scores[at]
        sums = fused.scores[order]
        terms = fused.parts[order] / np.maximum(1, np.count_nonzero(~np.isnan(fused.parts[order]), axis=1))[:, None]
        if np.isnan(fused.parts).all() and self._cosine:
            sums = alone(given[:, 0])
            terms[:, 0] = sums
        return Ranked(
            np.round(in_unit(sums), 6).tolist(),
            chosen,
            [_by_channel(one) for one in given],
            "fused",
            self._cosines(given[:, 0].tolist()),
            [_by_channel(one) for one in terms],
            passages[at].tolist() if self._cut else (),
        )

    def _shown(self, ranked: Ranked, fetched: Mapping[int, Fetched]) -> Hits:
        found = Hits()
        columns = zip(ranked.scores, ranked.numbers, ranked.parts, ranked.cosines, ranked.terms, strict=True)
        for rank, (value, number, parts, cosine, terms) in enumerate(columns, start=1):
            one, row = fetched[number % self._count], number // self._count
            document = one.documents[row]
            passage = None
            if ranked.nearest and row in one.spans:
                start, end = one.spans[row][ranked.nearest[rank - 1] - row]
                passage = Passage(start, end, document.text[start:end])
            found.append(
                Hit(
                    rank,
                    document.id,
                    value,
                    document.text,
                    document.language,
                    document.metadata,
                    parts,
                    ranked.kind,
                    cosine,
                    terms,
                    passage,
                )
            )
        return found


def _restrictions(restriction: Restriction, shards: int) -> list[Restriction]:
    """Return what restricts the search of each shard, which gets the ids that belong to it."""
    if restriction.ids is None or shards == 1:
        return [restriction] * shards
    ids: list[list[str]] = [[] for _ in range(shards)]
    for id in restriction.ids:
        ids[shard_of(id, shards)].append(id)
    return [replace(restriction, ids=tuple(some)) for some in ids]


def _by_channel(values: NDArray[np.float64]) -> dict[str, float]:
    """Return the values of the channels by name, without those that are NaN."""
    return {name: value for name, value in zip(_CHANNELS, values.tolist(), strict=True) if value == value}
