"""Count the tokens of a streamed corpus by language."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tqdm import tqdm

from mlret.data.languages import normalise_language
from mlret.data.unicode_text import check_unicode
from mlret.encoders.tokenizing import unbounded
from mlret.errors import InputError
from mlret.vocabulary.attribution import UNDETERMINED, Attribution
from mlret.vocabulary.surgery import components

Corpus = Mapping[str, Iterable[str]] | Iterable[tuple[str, str]] | Iterable[str]
# One in this many distinct texts is held out for measuring instead of counted, up to a maximum per language.
_HELD_OUT_SHARE = 20
_MOST_HELD_OUT = 500
# A language without held-out texts is measured on its first texts, although they were counted.
_EXAMPLES = 50
_BATCH_TEXTS = 2_000
_BATCH_CHARACTERS = 1_000_000
# Distinct words buffered per language before they are tokenised, and words tokenised per batch.
_MOST_WORDS = 200_000
_BATCH_WORDS = 20_000
# Normalisers that treat each word independently of its neighbours.
_WORD_NORMALIZERS = (
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Lowercase",
    "StripAccents",
    "BertNormalizer",
    "Precompiled",
    "Strip",
)


@dataclass
class TokenCounts:
    """Frequencies of each token in the text of each language.

    Attributes
    ----------
    languages
        Language codes in mlret's form, in the order requested, or else in order of first occurrence.
    counts
        ``(languages, tokens)`` int64 counts, without the special tokens that are added to every text.
    texts
        Number of texts counted, by language.
    held_out
        Texts reserved for measuring and therefore not counted, by language.
    first
        The first texts counted, by language.
    left_out
        Number of texts excluded because they are in a language that was not requested, by their language.
    detected_otherwise
        The part of ``left_out`` whose language was detected rather than given.
    """

    languages: list[str]
    counts: NDArray[np.int64]
    texts: dict[str, int] = field(default_factory=dict)
    held_out: dict[str, list[str]] = field(default_factory=dict)
    first: dict[str, list[str]] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    detected_otherwise: dict[str, int] = field(default_factory=dict)

    @property
    def shares(self) -> NDArray[np.float64]:
        """Share of each token in each language, ``(languages, tokens)`` float64; each row with counts sums to 1."""
        shares: NDArray[np.float64] = self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)
        return shares

    def coverage(self, kept: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the share of each language's tokens that are kept, ``(languages,)`` float64."""
        return np.asarray(self.shares[:, kept].sum(axis=1))

    def examples(self, language: str) -> tuple[list[str], bool]:
        """Return the texts of a language to measure on, and whether they were held out from counting."""
        held_out = self.held_out.get(language, [])
        return (held_out, True) if held_out else (self.first[language], False)


def count_tokens(
    tokenizer: Tokenizer,
    corpus: Corpus,
    languages: Sequence[str] | None = None,
    *,
    size: int | None = None,
    show_progress: bool = False,
) -> TokenCounts:
    """Count the tokens of a corpus, by language.

    One text in twenty, chosen by a hash of the text, is held out and not counted, up to 500 per language.

    Parameters
    ----------
    tokenizer
        A tokenizer of the ``tokenizers`` library. Truncation and padding are disabled while counting.
    corpus
        A mapping from language to texts, pairs of language and text, or texts alone. Texts alone are counted under
        the requested language if there is one; under the likeliest of them if there are several, and a text that is
        clearly in none of them is excluded with a warning; and together under ``"und"`` if no language is requested.
        The corpus is read once, in bounded memory.
    languages
        Languages to count; by default all languages of the corpus.
    size
        Number of token ids; by default the highest id of the tokenizer plus one.
    show_progress
        Show a progress bar.

    Raises
    ------
    InputError
        If a text is not a string, its language is unknown, the corpus is empty, or it has no text in a requested
        language.
    """
    wanted = None if languages is None else [normalise_language(code) for code in languages]
    size = size or _ids_of(tokenizer)
    histogram = partial(Histogram, tokenizer, size, by_words=splits_at_white_space(tokenizer))
    rows = {code: histogram() for code in wanted or []}
    found = TokenCounts([], np.empty((0, size), np.int64))

    def leave_out(entry: Entry) -> None:
        found.left_out[entry.detected] = found.left_out.get(entry.detected, 0) + 1
        if not entry.given:
            found.detected_otherwise[entry.detected] = found.detected_otherwise.get(entry.detected, 0) + 1

    def count(language: str, texts: list[str]) -> None:
        if language not in rows:
            rows[language] = histogram()
        rows[language].add(texts)
        found.texts[language] = found.texts.get(language, 0) + len(texts)
        first = found.first.setdefault(language, [])
        first += texts[: _EXAMPLES - len(first)]

    with unbounded(tokenizer), tqdm(desc="counting", unit=" texts", disable=not show_progress) as bar:
        for batch in _batches(_entries(corpus, wanted)):
            bar.update(len(batch))
            by_language: dict[str, list[str]] = {}
            for entry in batch:
                if entry.language is None or (wanted is not None and entry.language not in rows):
                    leave_out(entry)
                elif entry.text.strip() and not _hold_out(found, entry.language, entry.text):
                    by_language.setdefault(entry.language, []).append(entry.text)
            for language, texts in by_language.items():
                count(language, texts)
        # All texts of a very small corpus may have been held out; count them after all.
        for language in [code for code in found.held_out if code not in rows or not rows[code].counts().any()]:
            count(language, found.held_out.pop(language))
        counts = {code: row.counts() for code, row in rows.items()}
    _check_counted(counts, found.left_out)
    if found.detected_otherwise:
        _warn_of_excluded(found, list(counts))
    found.languages = list(counts)
    found.counts = np.stack(list(counts.values()))
    return found


def _check_counted(counts: Mapping[str, NDArray[np.int64]], left_out: Mapping[str, int]) -> None:
    """Raise an `InputError` if a language has no tokens, or there is no language."""
    if missing := [code for code, row in counts.items() if not row.any()]:
        raise InputError(
            f"the corpus has no text in {', '.join(missing)}: add some, or leave the language out"
            + (f" ({_numbers(left_out)} are in no language asked for)" if left_out else "")
        )
    if not counts:
        raise InputError("the corpus is empty: give texts to count tokens on")


class Histogram:
    """Token frequencies of texts, without the special tokens that are added to every text.

    If the tokenizer first splits at white space, as those of XLM-R and BERT do, each distinct word is tokenised only
    once, because words repeat and tokenisation dominates the cost of counting.

    Parameters
    ----------
    tokenizer
        The tokenizer, used as it is: the caller must disable truncation and padding.
    size
        Number of token ids.
    by_words
        Whether words can be tokenised separately; see :func:`splits_at_white_space`.
    """

    def __init__(self, tokenizer: Tokenizer, size: int, *, by_words: bool) -> None:
        self._tokenizer = tokenizer
        self._counts = np.zeros(size, np.int64)
        self._words: Counter[str] | None = Counter() if by_words else None

    def add(self, texts: Sequence[str]) -> None:
        """Add the tokens of the texts to the counts."""
        if self._words is None:
            self._cut(texts, None)
            return
        self._words.update(chain.from_iterable(map(str.split, texts)))
        if len(self._words) > _MOST_WORDS:
            self._cut_words()

    def counts(self) -> NDArray[np.int64]:
        """Return the counts so far, ``(size,)`` int64."""
        self._cut_words()
        return self._counts

    def _cut_words(self) -> None:
        if self._words:
            words, times = list(self._words), np.fromiter(self._words.values(), np.int64)
            for start in range(0, len(words), _BATCH_WORDS):
                self._cut(words[start : start + _BATCH_WORDS], times[start : start + _BATCH_WORDS])
            self._words.clear()

    def _cut(self, texts: Sequence[str], times: NDArray[np.int64] | None) -> None:
        found = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        ids = np.fromiter(chain.from_iterable(found), np.int64)
        if times is None:
            self._counts += np.bincount(ids, minlength=len(self._counts))
        else:
            np.add.at(self._counts, ids, np.repeat(times, [len(some) for some in found]))


def splits_at_white_space(tokenizer: Tokenizer) -> bool:
    """Return whether a text's tokens are exactly those of its words, as split by ``str.split``."""
    state = json.loads(tokenizer.to_str())
    first = next(iter(components(state.get("pre_tokenizer"))), {"type": None})
    normalizers = components(state.get("normalizer"))
    return (
        first["type"] in ("WhitespaceSplit", "Whitespace", "BertPreTokenizer")
        and all(_within_words(normalizer) for normalizer in normalizers)
        # An added token that contains white space could match across words.
        and not any(added["content"].split() != [added["content"]] for added in state["added_tokens"])
    )


def _within_words(normalizer: dict[str, Any]) -> bool:
    if normalizer["type"] == "Replace":
        pattern = normalizer["pattern"].get("Regex") or normalizer["pattern"].get("String") or ""
        return pattern.startswith((" ", "\\s")) and normalizer["content"] == " "
    return normalizer["type"] in _WORD_NORMALIZERS


class Entry(NamedTuple):
    """A text of a corpus with its language.

    Attributes
    ----------
    language
        Language to count the text under, in mlret's form; ``None`` if it is clearly in none of those requested.
    text
        The text.
    detected
        The language of the text, given or detected.
    given
        Whether the corpus states the language.
    """

    language: str | None
    text: str
    detected: str
    given: bool


def _entries(corpus: Corpus, wanted: list[str] | None) -> Iterator[Entry]:
    entries: Iterable[object]
    if isinstance(corpus, Mapping):
        entries = (
            (language, text)
            for language, texts in corpus.items()
            for text in _listed(texts, f"the corpus of {language!r}")
        )
    else:
        entries = _listed(corpus, "the corpus")
    attribution = Attribution(wanted) if wanted else None
    for position, entry in enumerate(entries):
        match entry:
            case str():
                check_unicode(entry, f"text {position} of the corpus")
                language, detected = attribution.language(entry) if attribution else (UNDETERMINED, UNDETERMINED)
                yield Entry(language, entry, detected, given=False)
            case (str() as language, str() as text):
                check_unicode(text, f"text {position} of the corpus")
                code = normalise_language(language)
                yield Entry(code, text, code, given=True)
            case _:
                raise InputError(f"text {position} of the corpus is neither a string nor (language, string): {entry!r}")


def _listed(texts: Iterable[Any], name: str) -> Iterable[Any]:
    if isinstance(texts, str | bytes) or not hasattr(texts, "__iter__"):
        kind = "one string" if isinstance(texts, str) else f"of type {type(texts).__name__}"
        raise InputError(f"{name} is {kind}: give a list of texts, or {{language: texts}}")
    return texts


def _warn_of_excluded(found: TokenCounts, languages: Sequence[str]) -> None:
    total = sum(found.texts.values()) + sum(map(len, found.held_out.values())) + sum(found.left_out.values())
    warnings.warn(
        f"{sum(found.detected_otherwise.values()):,} of {total:,} texts of the corpus are excluded, because they are "
        f"clearly not in {', '.join(languages)} ({_numbers(found.detected_otherwise)}): if they are, state it with "
        "{language: texts}",
        stacklevel=2,
    )


def _numbers(counts: Mapping[str, int]) -> str:
    """Format the number of texts per language, most frequent first: ``"12 ru, 3 fr"``."""
    most_first = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{number:,} {language}" for language, number in most_first)


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    characters = 0
    for entry in entries:
        batch.append(entry)
        characters += len(entry.text)
        if len(batch) == _BATCH_TEXTS or characters > _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _hold_out(found: TokenCounts, language: str, text: str) -> bool:
    """Return whether a text is held out, decided by its content so that duplicates are treated alike."""
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
    if int.from_bytes(digest) % _HELD_OUT_SHARE:
        return False
    held_out = found.held_out.setdefault(language, [])
    if text in held_out:
        return True
    if len(held_out) < _MOST_HELD_OUT:
        held_out.append(text)
        return True
    return False


def _ids_of(tokenizer: Tokenizer) -> int:
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
