"""A Unigram tokenizer that is mapped from disk: it opens in milliseconds and gives the tokenizers library's own ids.

The vocabulary is a trie in arrays. Its nodes are numbered breadth first, so that the children of a node are
neighbours: those of node ``n`` are ``first[n]`` to ``first[n + 1] - 1``, in ascending order of their labels. A label
stands for a character.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from mlret.encoders.light.mapped import MappedTensors
from mlret.encoders.light.normalising import Normaliser

_WORD_START = "▁"
_WORDS = re.compile("▁[^▁]*")
# How much worse an unknown character is than the least likely piece: a constant of SentencePiece.
_UNKNOWN_PENALTY = 10.0
# Words whose pieces are kept in memory, and the longest word that is.
_WORDS_KEPT = 50_000
_LONGEST_KEPT = 64
_NOT_REACHED = float("-inf")
# Scores are stored as integers, in units of this part of one, where that is exact.
DECIMALS = 10**7


class UnigramTokenizer:
    """Turn texts into token ids.

    Parameters
    ----------
    tensors
        What :func:`mlret.encoders.packing.packed_tokenizer` returned, in a file.
    added
        Tokens that are not split wherever a text contains them, with their ids.
    before, after
        Ids that are put before and after each text.
    unknown
        The id of unknown characters.
    spelling
        Character -> what replaces it before a text is split.

    Attributes
    ----------
    unknown
        The id of unknown characters.
    """

    def __init__(
        self,
        tensors: MappedTensors,
        *,
        added: dict[str, int],
        before: Sequence[int],
        after: Sequence[int],
        unknown: int,
        spelling: Mapping[str, str] | None = None,
    ) -> None:
        self._first = tensors.view("trie.first")
        self._labels = tensors.view("trie.labels")
        self._ids = tensors.view("trie.ids")
        scores = tensors["scores"]
        if scores.dtype == np.int32:  # decimal numbers: dividing gives what reading their digits would
            scores = scores / DECIMALS
        self._scores = scores.data
        alphabet = bytes(tensors.view("trie.alphabet")).decode()
        self._label_of = dict(zip(alphabet, range(len(alphabet)), strict=True))
        # The root has almost as many children as there are characters, so they are looked up in a dictionary.
        roots = range(self._first[0], self._first[1])
        self._root = {alphabet[self._labels[node]]: node for node in roots}
        self._normalised = Normaliser(tensors["normaliser.unknown"], spelling)
        self._lowest = float(scores.min()) - _UNKNOWN_PENALTY
        self.unknown = unknown
        self._before, self._after = list(before), list(after)
        self._known: dict[str, list[int]] = {}
        self._set_added(added)

    def _set_added(self, added: dict[str, int]) -> None:
        self._added = added
        alternatives = "|".join(re.escape(token) for token in sorted(added, key=len, reverse=True))
        self._added_in = re.compile(f"({alternatives})") if added else None

    def encode(self, text: str, longest: int | None = None) -> list[int]:
        """Return the ids of a text, special tokens included.

        Parameters
        ----------
        text
            The text.
        longest
            The largest number of ids to return: what is beyond it is cut off, special tokens excepted.
        """
        room = None if longest is None else max(longest - len(self._before) - len(self._after), 0)
        ids: list[int] = []
        parts = [text] if self._added_in is None else self._added_in.split(text)
        for number, part in enumerate(parts):
            if number % 2:
                ids.append(self._added[part])
            elif part:
                self._append_words(part, ids, room)
            if room is not None and len(ids) >= room:
                del ids[room:]
                break
        return [*self._before, *ids, *self._after]

    def _append_words(self, text: str, ids: list[int], room: int | None) -> None:
        text = self._normalised(text).replace(" ", _WORD_START)
        if not text:  # all that it had is spelled with nothing
            return
        if not text.startswith(_WORD_START):
            text = _WORD_START + text
        known = self._known
        for word in _WORDS.findall(text):
            pieces = known.get(word)
            if pieces is None:
                pieces = self._pieces(word)
                if len(word) <= _LONGEST_KEPT:
                    if len(known) >= _WORDS_KEPT:
                        known.clear()
                    known[word] = pieces
            ids += pieces
            if room is not None and len(ids) >= room:
                return

    def _pieces(self, word: str) -> list[int]:
        """Return the ids of the most likely pieces of a word (Viterbi), as the tokenizers library finds them.

        The sums are computed in the same order and precision as there, so that equally likely splits are resolved
        alike: of two ways to one place, the earlier one stays unless the later one is better.
        """
        first, labels, ids, scores, label_of = self._first, self._labels, self._ids, self._scores, self._label_of
        length = len(word)
        codes = [label_of.get(character, -1) for character in word]
        best = [_NOT_REACHED] * (length + 1)
        best[0] = 0.0
        came_from = [-1] * (length + 1)
        piece_to = [-1] * (length + 1)
        for start in range(length):
            so_far = best[start]
            node = self._root.get(word[start], -1)
            end = start + 1
            if node < 0 or ids[node] < 0:
                found = so_far + self._lowest
                # Written before the longer pieces from here are; none of them ends at the same place.
                if came_from[end] < 0 or found > best[end]:
                    best[end], came_from[end], piece_to[end] = found, start, self.unknown
                if node < 0:
                    continue
            else:
                piece = ids[node]
                found = scores[piece] + so_far
                if came_from[end] < 0 or found > best[end]:
                    best[end], came_from[end], piece_to[end] = found, start, piece
            while end < length:
                code = codes[end]
                stop = first[node + 1]
                child = bisect_left(labels, code, first[node], stop)
                if child == stop or labels[child] != code:
                    break
                node = child
                end += 1
                piece = ids[node]
                if piece >= 0:
                    found = scores[piece] + so_far
                    if came_from[end] < 0 or found > best[end]:
                        best[end], came_from[end], piece_to[end] = found, start, piece
        pieces: list[int] = []
        end = length
        while end > 0:
            # Neighbouring unknown characters are one token.
            if piece_to[end] != self.unknown or not pieces or pieces[-1] != self.unknown:
                pieces.append(piece_to[end])
            end = came_from[end]
        pieces.reverse()
        return pieces


class Trie(NamedTuple):
    """A vocabulary as the arrays of a trie.

    Attributes
    ----------
    first
        The first child of each node, and the number of nodes.
    labels
        The label of each node; 0 for the root, which has none.
    ids
        The id of the piece that ends at each node; -1 if none does.
    alphabet
        The characters, in the order of their labels.
    """

    first: list[int]
    labels: list[int]
    ids: list[int]
    alphabet: str


def trie_of(pieces: Sequence[str]) -> Trie:
    """Arrange a vocabulary as the arrays of a trie.

    Parameters
    ----------
    pieces
        The pieces, by id; all different.
    """
    alphabet = "".join(sorted(set(chain.from_iterable(pieces))))
    label_of = {character: label for label, character in enumerate(alphabet)}
    id_of = {piece: number for number, piece in enumerate(pieces)}
    children: dict[str, set[str]] = {"": set()}
    for piece in pieces:
        for end in range(1, len(piece) + 1):
            children.setdefault(piece[:end], set())
            children[piece[: end - 1]].add(piece[end - 1])
    first, labels, ids = [], [0], [-1]
    level = [""]
    while level:
        following = []
        for prefix in level:
            first.append(len(labels))
            for character in sorted(children[prefix]):
                following.append(prefix + character)
                labels.append(label_of[character])
                ids.append(id_of.get(prefix + character, -1))
        level = following
    first.append(len(labels))
    return Trie(first, labels, ids, alphabet)
