"""Sentences put into other languages word by word, from a lexicon: parallel text for everyday words.

Parallel text of small languages is of few kinds, lexicons know everyday words but no sentence. A sentence whose words
are looked up one by one shows each word beside others, and how much it counts among them. (Word-by-word translation of
text as training data for languages with lexicons alone: Wang, Ruder and Neubig 2022, arXiv 2203.09435.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
import regex

from mlret.training.text.parallel import TextPair

_WORD = regex.compile(r"\p{L}[\p{L}\p{M}'’]*")
# Written without spaces between words.
_JOINED = frozenset({"ja", "km", "lo", "my", "th", "zh", "zh-Hant"})
_SHORTEST, _LONGEST = 3, 24
# English endings that lexicons leave out, and what stands in their place.
_ENDINGS = (("ies", "y"), ("es", ""), ("s", ""), ("ied", "y"), ("ed", ""), ("ed", "e"), ("ing", ""), ("ing", "e"))


class Lexicon:
    """What English words are in other languages.

    Parameters
    ----------
    pairs
        Words and their translations.
    """

    def __init__(self, pairs: Iterable[TextPair]) -> None:
        self._found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for pair in pairs:
            self._found[pair.language][pair.source.casefold()].append(pair.target)

    @cached_property
    def languages(self) -> list[str]:
        """The languages that it has words in, sorted."""
        return sorted(self._found)

    def gloss(self, sentence: str, language: str, random: np.random.Generator) -> tuple[str, float]:
        """A sentence with its words put into a language, and the share of its words that were found.

        Of several translations one is drawn; a word that is not found, nor without its ending, stays as it is.
        """
        known = self._found[language]
        words = found = 0

        def put(match: regex.Match[str]) -> str:
            nonlocal words, found
            words += 1
            word: str = match[0]
            choices = next((known[form] for form in _forms(word.casefold()) if form in known), None)
            if choices is None:
                return word
            found += 1
            drawn: str = choices[int(random.integers(len(choices)))]
            return drawn

        text = _WORD.sub(put, sentence)
        if language in _JOINED:
            text = regex.sub(r"(?<=[^\p{Latin}\s]) (?=[^\p{Latin}\s])", "", text)
        return text, found / max(1, words)


def _forms(word: str) -> Iterator[str]:
    yield word
    for ending, instead in _ENDINGS:
        if len(word) > len(ending) + 2 and word.endswith(ending):
            yield word.removesuffix(ending) + instead


def glossed(
    sentences: Sequence[str],
    lexicon: Lexicon,
    *,
    group: str,
    language: str,
    languages: Sequence[str],
    per_language: int,
    least: float,
    seed: int,
) -> Iterator[TextPair]:
    """Pairs of sentences and what they are word by word, for every language.

    Parameters
    ----------
    sentences
        Of the lexicon's source language; those of 3 to 24 words are taken.
    lexicon
        Its words.
    group
        Of the pairs.
    language
        Of the sentences.
    languages
        Into which.
    per_language
        Pairs of a language, at most.
    least
        The share of a sentence's words that must be found.
    seed
        Of the draws.
    """
    usable = sorted({one for one in sentences if _SHORTEST <= len(_WORD.findall(one)) <= _LONGEST})
    for number, other in enumerate(languages):
        random = np.random.default_rng([seed, number])
        count = 0
        for row in random.permutation(len(usable)):
            if count == per_language:
                break
            text, share = lexicon.gloss(usable[row], other, random)
            if share >= least:
                count += 1
                yield TextPair(group, language, usable[row], other, text, usable[row])
