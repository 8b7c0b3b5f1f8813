"""Choose the tokens to keep by number, count or coverage, balanced over languages.

This is vocabulary trimming after Ushio, Zhou and Camacho-Collados (2023, arXiv:2305.15020), for any set of languages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlret.data.scripts import script_of, scripts_of, scripts_of_language
from mlret.errors import InputError
from mlret.vocabulary.attribution import UNDETERMINED
from mlret.vocabulary.counting import TokenCounts
from mlret.vocabulary.surgery import Ids, TokenizerState

Floats = NDArray[np.float64]
# Rounds in which the language weights are updated, with a decreasing step size.
_ROUNDS = 40


@dataclass(frozen=True)
class Choice:
    """A choice of tokens to keep.

    Attributes
    ----------
    kept
        ``(n,)`` int64 token ids in ascending order.
    always
        Number of tokens kept regardless of the counts: special tokens, single characters, byte tokens and the words
        that the user asked to keep.
    """

    kept: Ids
    always: int


class Chooser:
    """Choose which tokens of a tokenizer to keep.

    Parameters
    ----------
    state
        The tokenizer to choose tokens from.
    languages
        Languages to keep. The single characters of their scripts and of the scripts found in the text are always
        kept, as are digits, punctuation and symbols.
    counts
        The result of :func:`mlret.vocabulary.counting.count_tokens`; ``None`` if there is no text.
    always
        Ids of further tokens to keep, for example those of words given by the user.
    """

    def __init__(
        self,
        state: TokenizerState,
        languages: Sequence[str],
        counts: TokenCounts | None = None,
        always: Iterable[int] = (),
    ) -> None:
        self._state = state
        self._counts = counts
        self._scripts: frozenset[str] = frozenset().union(
            *(scripts_of_language(code) for code in languages if code != UNDETERMINED)
        )
        if counts is not None:
            # The text may use a script in which the language is not usually written.
            self._scripts |= frozenset().union(*(scripts_of(" ".join(some)) for some in counts.first.values()))
        surfaces = [state.surface(token) if token is not None else "" for token in state.tokens]
        self._in_script = np.array([self._writes(surface) for surface in surfaces])
        single = {position for position, surface in enumerate(surfaces) if len(surface) == 1}
        self.always = state.closed({position for position in single if self._in_script[position]} | set(always))

    def _writes(self, surface: str) -> bool:
        """Return whether a non-empty surface uses only the scripts of the languages and characters common to all."""
        return bool(surface) and all(
            (script := script_of(letter)) is None or script in self._scripts for letter in surface
        )

    @property
    def candidates(self) -> int:
        """Number of tokens eligible to be kept: counted, in the scripts, always kept, or needed by one of these."""
        return len(self._state.closed(self.always | set(map(int, self._order()))))

    def _order(self) -> Ids:
        """Return ids by descending mean share over languages, then the uncounted tokens of the scripts by id."""
        if self._counts is None:
            return np.flatnonzero(self._in_script)
        score = self._counts.shares.mean(axis=0)
        ranked = np.argsort(-score, kind="stable")
        counted = ranked[score[ranked] > 0]
        rest = np.flatnonzero(self._in_script & (score == 0))
        return np.concatenate([counted, rest])

    def by_scripts(self) -> Choice:
        """Choose every token that can be written in the languages' scripts."""
        return self._closed(np.flatnonzero(self._in_script))

    def by_size(self, size: int) -> Choice:
        """Choose the ``size`` most frequent tokens, with equal weight for every language.

        If the text has fewer tokens, further tokens of the scripts are added; if these do not suffice, fewer than
        ``size`` are kept. A token is skipped if the tokens that it needs do not fit.

        Raises
        ------
        InputError
            If more than ``size`` tokens are always kept.
        """
        if size < len(self.always):
            raise InputError(
                f"a size of {size:,} is less than the {len(self.always):,} tokens that are always kept (specials, "
                "bytes, single characters of the languages' scripts, your words): ask for more, or for fewer languages"
            )
        kept = set(self.always)
        for position in map(int, self._order()):
            if len(kept) == size:
                break
            if position not in kept:
                needed = {position, *self._state.needs(position)} - kept
                if len(kept) + len(needed) <= size:
                    kept |= needed
        return self._chosen(kept)

    def by_count(self, least: int) -> Choice:
        """Choose all tokens that occur at least ``least`` times in the whole text."""
        counts = self._needed_counts()
        return self._closed(np.flatnonzero(counts.counts.sum(axis=0) >= least))

    def by_coverage(self, coverage: float) -> Choice:
        """Choose a small set of tokens that covers the share ``coverage`` of every language's tokens.

        Tokens are ranked by their language-weighted share, and the shortest prefix that covers every language is
        taken. Languages with surplus coverage then lose weight, and the ranking is repeated. This is dual ascent on
        the covering problem, whose integer optimum is smaller by at most about one token per language.
        """
        counts = self._needed_counts()
        always = np.fromiter(self.always, np.int64)
        base = counts.coverage(always)
        # The tolerance absorbs rounding errors in sums of shares.
        enough = coverage - 1e-12
        if (base >= enough).all():
            return self._closed(always)
        seen = np.setdiff1d(np.flatnonzero(counts.counts.any(axis=0)), always)
        shares = counts.shares[:, seen]
        weights = np.full(len(shares), 1 / len(shares))
        best: Ids | None = None
        for step in range(_ROUNDS):
            order = np.argsort(-(weights @ shares), kind="stable")
            covered = base[:, None] + np.cumsum(shares[:, order], axis=1)
            length = int(np.where(base >= enough, 0, (covered >= enough).argmax(axis=1) + 1).max())
            if best is None or length < len(best):
                best = order[:length]
            surplus = (covered[:, length - 1] - coverage) / max(1 - coverage, 1e-9)
            weights = weights * np.exp(-surplus / (1 + step / 4))
            weights /= weights.sum()
        assert best is not None
        spare = base + shares[:, best].sum(axis=1) - enough
        return self._closed(seen[best[~_superfluous(shares[:, best], spare)]])

    def _needed_counts(self) -> TokenCounts:
        if self._counts is None:
            raise InputError("min_count and coverage need text to count on: give corpus=, or size= alone")
        return self._counts

    def _closed(self, chosen: Ids) -> Choice:
        return self._chosen(self._state.closed(self.always | set(map(int, chosen))))

    def _chosen(self, kept: set[int]) -> Choice:
        return Choice(np.sort(np.fromiter(kept, np.int64)), len(self.always))


def _superfluous(shares: Floats, spare: Floats) -> NDArray[np.bool_]:
    """Return a mask of the tokens that coverage does not need, testing the rarest tokens first.

    Parameters
    ----------
    shares
        ``(languages, tokens)`` shares of each language's tokens.
    spare
        ``(languages,)`` coverage of all the tokens together beyond the required coverage.
    """
    found = np.zeros(shares.shape[1], dtype=bool)
    for place in np.argsort(shares.max(axis=0), kind="stable"):
        if (shares[:, place] <= spare).all():
            spare = spare - shares[:, place]
            found[place] = True
        elif shares[:, place].max() > spare.max():
            break
    return found
