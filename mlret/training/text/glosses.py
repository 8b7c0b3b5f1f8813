"""Make parallel text by translating sentences word by word with a lexicon.

The parallel text of small languages is of few kinds, and lexicons have everyday words but no sentences. A sentence that
is translated word by word shows each word beside others, from which its weight in a text is learned. (Word-by-word
translation as training data for languages that have only a lexicon: Wang, Ruder and Neubig 2022, arXiv 2203.09435.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
import regex

from mlret.training.text.parallel import TextPair

_WORD = regex.compile(r"\p{L}[\p{L}\p{M}'’]*")
# Languages that are written without spaces between words.
_JOINED = frozenset({"ja", "km", "lo", "my", "th", "zh", "zh-Hant"})
_SHORTEST, _LONGEST = 3, 24
# English endings of inflected forms that lexicons lack, and the ending of the base form.
_ENDINGS = (("ies", "y"), ("es", ""), ("s", ""), ("ied", "y"), ("ed", ""), ("ed", "e"), ("ing", ""), ("ing", "e"))


class Lexicon:
    """Translations of words of one language (usually English) into other languages.

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
        """The languages that the lexicon has words in, sorted."""
        return sorted(self._found)

    def gloss(self, sentence: str, language: str, random: np.random.Generator) -> tuple[str, float]:
        """Translate a sentence word by word.

        If a word has several translations, one is drawn. A word that is not found, even without its ending, is kept.

        Parameters
        ----------
        sentence
            A sentence in the lexicon's source language.
        language
            The language to translate into.
        random
            Generator for the draws.

        Returns
        -------
        tuple
            The translated sentence, and the share of its words that were found, from 0 to 1.
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
    """Yield pairs of a sentence and its word-by-word translation, for every language.

    Parameters
    ----------
    sentences
        Sentences in the lexicon's source language. Those of 3 to 24 words are used.
    lexicon
        Translations of words.
    group
        Group name of the pairs.
    language
        Language of the sentences.
    languages
        Languages to translate into.
    per_language
        Maximum number of pairs for each language.
    least
        Minimum share of a sentence's words that must be found.
    seed
        Seed of the draws.

    Yields
    ------
    TextPair
        Pairs of one language after another.
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
