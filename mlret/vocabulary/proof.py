"""Prove a trimming: what texts are cut into, and what the model computes, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
from tokenizers import Tokenizer

from mlret.encoders.tokenizing import unbounded
from mlret.vocabulary.counting import TokenCounts
from mlret.vocabulary.subject import Rows, Subject
from mlret.vocabulary.surgery import Ids, TokenizerState

# Texts that go through the model twice.
_COMPARED = 32


@dataclass(frozen=True)
class LanguageFigures:
    """What trimming does to texts of one language.

    Attributes
    ----------
    language
        In mlret's form.
    counted
        Texts that the choice of tokens rests on.
    texts
        Texts measured.
    held_out
        Whether these were not counted.
    coverage
        The share of their tokens that are kept, from 0 to 1.
    unknown_before, unknown_after
        Unknown tokens among all tokens, from 0 to 1.
    fertility_before, fertility_after
        Tokens a word, words being what white space parts: of Chinese, Japanese or Thai a whole clause.
    changed
        The share of texts that are cut otherwise than before, from 0 to 1.
    """

    language: str
    counted: int
    texts: int
    held_out: bool
    coverage: float
    unknown_before: float
    unknown_after: float
    fertility_before: float
    fertility_after: float
    changed: float


class Examples:
    """Texts to measure on, as the untrimmed model sees them.

    Parameters
    ----------
    subject
        The model before the cut.
    state
        Its tokenizer.
    texts
        Language -> texts.
    kept
        ``(n,)`` ids that will be kept, ascending.
    """

    def __init__(self, subject: Subject, state: TokenizerState, texts: Mapping[str, Sequence[str]], kept: Ids) -> None:
        self.texts = texts
        self._unknown = _unknown_id(state)
        self._new_id = np.full(len(state.tokens), -1)
        self._new_id[kept] = np.arange(len(kept))
        self._before = {language: encoded(subject.backend, some) for language, some in texts.items()}
        self.covered = self._covered(subject.backend)
        self._vectors = self._computed(subject)

    def _computed(self, subject: Subject) -> list[Rows]:
        # Models cut what is too long for them: their tokenizer must not be written with that switched on.
        with unbounded(subject.backend):
            return subject.vectors(self.covered)

    def _covered(self, tokenizer: Tokenizer) -> list[str]:
        """Texts all of whose tokens are kept, languages in turn: of a longer text the words for which that is so."""
        by_language = (
            (text for text in some if self._is_covered(tokenizer, text))
            for some in ([self._covered_words(tokenizer, text) for text in texts] for texts in self.texts.values())
        )
        return [text for text in chain.from_iterable(zip_longest(*by_language)) if text is not None][:_COMPARED]

    def _covered_words(self, tokenizer: Tokenizer, text: str) -> str:
        # Byte-level tokenizers have other tokens after a blank, so the first word has one, too.
        words = [f" {word}" for word in text.split()]
        return "".join(word for word, ids in zip(words, encoded(tokenizer, words), strict=True) if self._keeps(ids))

    def _is_covered(self, tokenizer: Tokenizer, text: str) -> bool:
        return bool(text) and self._keeps(encoded(tokenizer, [text])[0])

    def _keeps(self, ids: Ids) -> bool:
        return bool((self._new_id[ids] >= 0).all()) and self._unknown not in ids

    def figures(self, subject: Subject, counts: TokenCounts | None) -> list[LanguageFigures]:
        """Measure the trimmed model's tokenizer on the same texts."""
        found = []
        for language, texts in self.texts.items():
            before, after = self._before[language], encoded(subject.backend, texts)
            words = max(sum(len(text.split()) for text in texts), 1)
            tokens, tokens_after = np.concatenate(before), np.concatenate(after)
            unknown_after = -1 if self._unknown is None else self._new_id[self._unknown]
            found.append(
                LanguageFigures(
                    language=language,
                    counted=counts.texts[language] if counts else 0,
                    texts=len(texts),
                    held_out=counts.examples(language)[1] if counts else True,
                    coverage=_share(self._new_id[tokens] >= 0),
                    unknown_before=0.0 if self._unknown is None else _share(tokens == self._unknown),
                    unknown_after=_share(tokens_after == unknown_after),
                    fertility_before=len(tokens) / words,
                    fertility_after=len(tokens_after) / words,
                    changed=_share(
                        np.array(
                            [not np.array_equal(self._new_id[old], new) for old, new in zip(before, after, strict=True)]
                        )
                    ),
                )
            )
        return found

    def largest_difference(self, subject: Subject) -> float | None:
        """The largest difference of a number in the vectors of covered texts; ``None`` where no text is covered."""
        if not self.covered:
            return None
        after = self._computed(subject)
        if any(one.shape != other.shape for one, other in zip(self._vectors, after, strict=True)):
            return float("inf")
        return max(float(np.abs(one - other).max(initial=0.0)) for one, other in zip(self._vectors, after, strict=True))


def encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Ids]:
    """The ids of each text, whole and without the tokens that every text gets."""
    with unbounded(tokenizer):
        return [
            np.array(encoding.ids, np.int64)
            for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ]


def _unknown_id(state: TokenizerState) -> int | None:
    if state.kind == "Unigram":
        return state.model.get("unk_id")
    return state.ids.get(state.model.get("unk_token") or "")


def _share(flags: np.ndarray) -> float:
    return float(flags.mean()) if len(flags) else 0.0
