"""How byte-pair encoding comes to a token: the tokens that must be there so that it is reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any


class Merges:
    """The merges of a BPE model.

    Parameters
    ----------
    model
        The ``model`` of a ``tokenizer.json`` whose type is BPE.
    """

    def __init__(self, model: Mapping[str, Any]) -> None:
        self.pairs = pairs(model)
        self.vocab: Mapping[str, int] = model["vocab"]
        self._prefix = model.get("continuing_subword_prefix") or ""
        self._suffix = model.get("end_of_word_suffix") or ""
        self._rank = {pair: rank for rank, pair in reversed(list(enumerate(self.pairs)))}
        self.parts = lru_cache(maxsize=None)(self._parts)

    def product(self, left: str, right: str) -> str:
        """The token that two neighbours become."""
        return left + right.removeprefix(self._prefix) if self._prefix else left + right

    def _parts(self, token: str) -> frozenset[str]:
        """All tokens on the way from the characters of a token to the token, without itself.

        Wherever in a text BPE arrives at this token, it went this way: merges are taken by rank, and none reached
        across the token's ends. Empty for a token that no merges lead to: an added one, a single character, or one
        that only ``ignore_merges`` finds.
        """
        symbols = self._characters(token)
        seen = set(symbols)
        while len(symbols) > 1:
            ranked = [(self._rank.get(pair), place) for place, pair in enumerate(pairwise(symbols))]
            known = [(rank, place) for rank, place in ranked if rank is not None]
            if not known:
                return frozenset()
            _, place = min(known)
            symbols[place : place + 2] = [self.product(symbols[place], symbols[place + 1])]
            seen.add(symbols[place])
        if symbols != [token] or not seen <= self.vocab.keys():
            return frozenset()
        return frozenset(seen - {token})

    def _characters(self, token: str) -> list[str]:
        body = token.removesuffix(self._suffix) if self._suffix else token
        continues = bool(self._prefix) and token.startswith(self._prefix)
        symbols = list(body.removeprefix(self._prefix)) if continues else list(body)
        if self._prefix:
            symbols = [self._prefix + symbol if continues or place else symbol for place, symbol in enumerate(symbols)]
        if symbols and body != token:
            symbols[-1] += self._suffix
        return symbols

    def among(self, kept: set[str]) -> list[tuple[str, str]]:
        """The merges, in their order, whose two parts and product are all kept."""
        return [
            (left, right)
            for left, right in self.pairs
            if left in kept and right in kept and self.product(left, right) in kept
        ]


def pairs(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The merges of a BPE model in their order, in whichever of the two ways they are written."""
    merges: Sequence[str | Sequence[str]] = model["merges"]
    return [tuple(merge.split(" ", 1)) if isinstance(merge, str) else tuple(merge) for merge in merges]  # type: ignore[misc]
