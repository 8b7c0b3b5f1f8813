"""Verify a trimming by comparing the tokens and vectors of texts before and after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
from tokenizers import Tokenizer

from mlret.encoders.tokenizing import unbounded
from mlret.vocabulary.counting import TokenCounts
from mlret.vocabulary.surgery import Ids, TokenizerState
from mlret.vocabulary.target_model import Rows, Subject

# Maximum number of texts that are run through both models.
_COMPARED = 32


@dataclass(frozen=True)
class LanguageFigures:
    """Effects of trimming on texts of one language.

    Attributes
    ----------
    language
        Language code in mlret's form.
    counted
        Number of texts on which the choice of tokens is based.
    texts
        Number of texts measured.
    held_out
        Whether the measured texts were excluded from counting.
    coverage
        Share of the measured texts' tokens that are kept, in [0, 1].
    unknown_before, unknown_after
        Share of unknown tokens among all tokens, in [0, 1].
    fertility_before, fertility_after
        Tokens per word. Words are separated by white space, so a word of Chinese, Japanese or Thai is a whole clause.
    changed
        Share of texts whose tokens differ from before, in [0, 1].
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
    """Texts to measure on, with their tokens and vectors from the untrimmed model.

    Parameters
    ----------
    subject
        The model before trimming.
    state
        The state of its tokenizer.
    texts
        Texts by language.
    kept
        ``(n,)`` int64 ids to keep, in ascending order.
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
        # Running a model enables truncation, which must not be saved with its tokenizer.
        with unbounded(subject.backend):
            return subject.vectors(self.covered)

    def _covered(self, tokenizer: Tokenizer) -> list[str]:
        """Return texts whose tokens are all kept, alternating languages; other texts are reduced to such words."""
        by_language = (
            (text for text in some if self._is_covered(tokenizer, text))
            for some in ([self._covered_words(tokenizer, text) for text in texts] for texts in self.texts.values())
        )
        return [text for text in chain.from_iterable(zip_longest(*by_language)) if text is not None][:_COMPARED]

    def _covered_words(self, tokenizer: Tokenizer, text: str) -> str:
        # Byte-level tokenizers use different tokens after a space, so the first word gets one as well.
        words = [f" {word}" for word in text.split()]
        return "".join(word for word, ids in zip(words, encoded(tokenizer, words), strict=True) if self._keeps(ids))

    def _is_covered(self, tokenizer: Tokenizer, text: str) -> bool:
        return bool(text) and self._keeps(encoded(tokenizer, [text])[0])

    def _keeps(self, ids: Ids) -> bool:
        return bool((self._new_id[ids] >= 0).all()) and self._unknown not in ids

    def figures(self, subject: Subject, counts: TokenCounts | None) -> list[LanguageFigures]:
        """Return the figures of the trimmed model's tokenizer on the same texts, by language."""
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
        """Return the largest absolute difference between the vectors of covered texts before and after trimming.

        It is ``None`` if no text is covered, and infinite if the vectors differ in shape.
        """
        if not self.covered:
            return None
        after = self._computed(subject)
        if any(one.shape != other.shape for one, other in zip(self._vectors, after, strict=True)):
            return float("inf")
        return max(float(np.abs(one - other).max(initial=0.0)) for one, other in zip(self._vectors, after, strict=True))


def encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Ids]:
    """Return the ids of each text, untruncated and without special tokens."""
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
