"""Merges of byte-pair encoding (BPE), and the intermediate tokens through which a token is built."""

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
        """Return the token that results from merging two adjacent tokens."""
        return left + right.removeprefix(self._prefix) if self._prefix else left + right

    def _parts(self, token: str) -> frozenset[str]:
        """Return all tokens from which a token is built, from its characters up, without the token itself.

        Wherever BPE produces this token in a text, it takes this path, because merges are applied by rank and none
        crossed the token's boundaries. The set is empty for a token that no merges produce: an added token, a single
        character, or a token found only through ``ignore_merges``.
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
        """Return the merges, in their original order, whose two parts and product are all kept."""
        return [
            (left, right)
            for left, right in self.pairs
            if left in kept and right in kept and self.product(left, right) in kept
        ]


def pairs(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the merges of a BPE model in order; both serialised forms (strings and pairs) are supported."""
    merges: Sequence[str | Sequence[str]] = model["merges"]
    return [tuple(merge.split(" ", 1)) if isinstance(merge, str) else tuple(merge) for merge in merges]  # type: ignore[misc]
