"""Trim the vocabulary of a multilingual model to selected languages.

The method is that of Ushio, Zhou and Camacho-Collados, "An Efficient Multilingual Language Model
Compression through Vocabulary Trimming" (2023, arXiv:2305.15020). Trimming before fine-tuning makes
fine-tuning cheaper; trimming after it needs no further training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import MultiVectorEncoder, SentenceTransformer

from mlret.data.languages import normalise_language
from mlret.encoders.fingerprint import fingerprint_of
from mlret.errors import InputError, MlretError
from mlret.vocabulary.choice import Choice, Chooser
from mlret.vocabulary.counting import Corpus, TokenCounts, count_tokens
from mlret.vocabulary.proof import Examples
from mlret.vocabulary.report import Size, TrimReport
from mlret.vocabulary.surgery import TokenizerState
from mlret.vocabulary.target_model import Subject, open_subject

# Default coverage: the share of every language's tokens that are kept.
DEFAULT_COVERAGE = 0.999


@dataclass(frozen=True)
class Curve:
    """What each size of the vocabulary would cover.

    Attributes
    ----------
    sizes
        Numbers of tokens in ascending order, from the tokens that are always kept to all tokens that occur in the
        text or can be written in its scripts.
    coverage
        ``(languages, sizes)`` float64: the share of each language's counted tokens that are kept, in [0, 1].
    languages
        Language codes in mlret's form.
    always_kept
        Number of tokens kept regardless of the counts.
    tokens
        Number of tokens in the untrimmed tokenizer.
    selected
        Number of tokens that the requested selection keeps.
    """

    sizes: list[int]
    coverage: NDArray[np.float64]
    languages: list[str]
    always_kept: int
    tokens: int
    selected: int


def trim_vocabulary(
    model: Any,
    *,
    languages: Sequence[str] | None = None,
    corpus: Corpus | None = None,
    size: int | None = None,
    min_count: int | None = None,
    coverage: float | None = None,
    keep: Sequence[str] = (),
    tokenizer: Any = None,
    show_progress: bool = False,
) -> tuple[Any, TrimReport]:
    """Trim the vocabulary of a model to the tokens of selected languages.

    Parameters
    ----------
    model
        A folder, a Hub id, an encoder of mlret, a ``SentenceTransformer``, a ``MultiVectorEncoder``, or a model of
        transformers: encoder, masked, sequence-to-sequence or causal. A model passed as an object is not changed.
    languages
        Languages to keep; by default all languages of the corpus. The single characters of their scripts are always
        kept.
    corpus
        Text to count tokens on: a mapping from language to texts, pairs of language and text, or texts alone. If
        several languages are requested, each text without a language is counted for the likeliest of them, and a text
        that is clearly in none (in another script, or long enough to be sure) is excluded with a warning. If no
        language is requested, all such texts are counted together. The corpus is read once, and one text in twenty is
        held out for the report. Without a corpus, all tokens that can be written in the languages' scripts are kept,
        or the first ``size`` of them.
    size
        Total number of tokens to keep, including the tokens that another token needs (those of its merges, its single
        characters).
    min_count
        Alternative to ``size``: keep the tokens that occur at least this many times.
    coverage
        Alternative to ``size``: keep a small set of tokens that covers this share (above 0, up to 1) of every
        language's tokens. With a corpus, the default is 0.999.
    keep
        Words whose tokens are kept regardless of the counts.
    tokenizer
        The tokenizer of a model of transformers, if it cannot be loaded from where the model came from.
    show_progress
        Show a progress bar.

    Returns
    -------
    model, TrimReport
        The trimmed model, of the same type as the given one, or of the type that a given path holds, and its report.
        The tokenizer of a model of transformers is ``report.tokenizer``.

    Raises
    ------
    InputError
        If the model cannot be trimmed, a language is unknown or has no text, or the selection cannot be met.
    MlretError
        If a float32 model computes different vectors for covered texts than before. This is a bug in mlret.

    Examples
    --------
    >>> import mlret
    >>> encoder = mlret.load_encoder()
    >>> corpus = {"en": ["The train to the coast is late."] * 40, "sw": ["Treni ya kwenda pwani imechelewa."] * 40}
    >>> small, report = mlret.trim_vocabulary(encoder, corpus=corpus, size=8_000)
    >>> report.after.tokens, report.before.tokens
    (8000, 200000)
    >>> report.largest_difference  # covered texts get the same vectors as before
    0.0
    """
    selection = check_selection(corpus, size, min_count, coverage)
    subject, ours = open_subject(model, tokenizer)
    state, counts, chooser = _counted(subject, languages, corpus, keep, show_progress)
    choice = _choose(chooser, selection)
    if not ours:
        subject = subject.copied()
    examples = Examples(subject, state, _texts(counts), choice.kept)
    before, sentencepiece = _size(subject), subject.sentencepiece()
    subject.cut(torch.from_numpy(choice.kept), state.cut(choice.kept), sole=ours)
    dtypes = {str(tensor.dtype).removeprefix("torch.") for tensor in subject.network.parameters()}
    report = TrimReport(
        model=Path(subject.name).name if Path(subject.name).is_dir() else subject.name,
        languages=counts.languages if counts else [normalise_language(code) for code in languages or []],
        selection=selection,
        before=before,
        after=_size(subject),
        always_kept=choice.always,
        figures=examples.figures(subject, counts),
        compared=len(examples.covered),
        largest_difference=examples.largest_difference(subject),
        dtype=" and ".join(sorted(dtypes)),
        left_out=counts.left_out if counts else {},
        old_ids=choice.kept,
        tokenizer=subject.tokenizer,
        sentencepiece=sentencepiece,
    )
    if report.largest_difference and dtypes == {"float32"}:
        raise MlretError(
            f"{subject.name} computes other vectors for covered texts than before (by {report.largest_difference:.1e}):"
            " something in it depends on the vocabulary in a way that mlret does not know; nothing was written"
        )
    return subject.result, report


def preview(
    model: Any,
    *,
    languages: Sequence[str] | None = None,
    corpus: Corpus | None,
    size: int | None = None,
    min_count: int | None = None,
    coverage: float | None = None,
    keep: Sequence[str] = (),
    tokenizer: Any = None,
    points: int = 12,
    show_progress: bool = False,
) -> Curve:
    """Compute the coverage of several vocabulary sizes without trimming the model.

    The parameters are those of :func:`trim_vocabulary`; up to ``points`` sizes are tried.

    Parameters
    ----------
    model
        A folder, a hub id, or a model as :func:`trim_vocabulary` takes it. It is not changed.
    languages
        Languages to keep; by default all languages of the corpus.
    corpus
        Text to count tokens on: a mapping from language to texts, pairs of language and text, or texts alone.
    size
        Total number of tokens that :attr:`Curve.selected` is to count.
    min_count
        Alternative to ``size``: tokens that occur at least this many times.
    coverage
        Alternative to ``size``: a small set of tokens that covers this share (above 0, up to 1) of every language's
        tokens; the default is 0.999.
    keep
        Words whose tokens are kept regardless of the counts.
    tokenizer
        The tokenizer of a model of transformers, if it cannot be loaded from where the model came from.
    points
        Maximum number of sizes to try.
    show_progress
        Show a progress bar.

    Returns
    -------
    Curve
        The sizes, and the coverage of each language at each size.

    Raises
    ------
    InputError
        If the model cannot be trimmed, a language is unknown or has no text, or the selection cannot be met.

    Examples
    --------
    >>> import mlret
    >>> from mlret.vocabulary import preview
    >>> corpus = {"en": ["The train to the coast is late."] * 40, "sw": ["Treni ya kwenda pwani imechelewa."] * 40}
    >>> curve = preview(mlret.load_encoder(), corpus=corpus, points=3)
    >>> curve.languages, curve.coverage.shape
    (['en', 'sw'], (2, 3))
    >>> curve.coverage[:, -1].round(3).tolist()
    [1.0, 1.0]
    """
    if corpus is None:
        raise InputError("a preview shows the coverage of text: give a corpus to count tokens on")
    selection = check_selection(corpus, size, min_count, coverage)
    subject, _ = open_subject(model, tokenizer)
    state, counts, chooser = _counted(subject, languages, corpus, keep, show_progress)
    assert counts is not None
    sizes = np.unique(np.geomspace(len(chooser.always), chooser.candidates, points).astype(int))
    kept = [chooser.by_size(int(some)).kept for some in sizes]
    return Curve(
        sizes=[len(ids) for ids in kept],
        coverage=np.stack([counts.coverage(ids) for ids in kept], axis=1),
        languages=counts.languages,
        always_kept=len(chooser.always),
        tokens=len(state.ids),
        selected=len(_choose(chooser, selection).kept),
    )


def check_selection(
    corpus: Corpus | Sequence[str] | None, size: int | None, min_count: int | None, coverage: float | None
) -> dict[str, float | bool]:
    """Return the one requested selection method with its value, or the default.

    Parameters
    ----------
    corpus
        The text to count tokens on, if there is any.
    size
        Number of tokens to keep.
    min_count
        Least number of occurrences of a token that is kept.
    coverage
        Share of every language's tokens to cover.

    Returns
    -------
    dict
        The name of the method and its value.

    Raises
    ------
    InputError
        If several methods are requested, a value is invalid, or the method needs text and there is none.
    """
    given = {"size": size, "min_count": min_count, "coverage": coverage}
    asked = {name: value for name, value in given.items() if value is not None}
    if len(asked) > 1:
        raise InputError(f"{' and '.join(asked)} are given: choose one")
    if coverage is not None and not 0 < coverage <= 1:
        raise InputError(f"coverage {coverage} is out of range: give a number above 0, up to 1, such as 0.999")
    for name in ("size", "min_count"):
        if name in asked and asked[name] < 1:
            raise InputError(f"{name} {asked[name]} is not positive")
    if corpus is None and (min_count is not None or coverage is not None):
        raise InputError(f"{next(iter(asked))} needs text to count on: give a corpus")
    if asked:
        return dict(asked)
    return {"scripts": True} if corpus is None else {"coverage": DEFAULT_COVERAGE}


def _counted(
    subject: Subject, languages: Sequence[str] | None, corpus: Corpus | None, keep: Sequence[str], show_progress: bool
) -> tuple[TokenizerState, TokenCounts | None, Chooser]:
    if corpus is None and not languages:
        raise InputError("neither languages nor a corpus are given: there is nothing to trim to")
    state = TokenizerState(subject.backend)
    always = subject.needed() | _tokens_of(subject, state, keep)
    counts = None
    if corpus is not None:
        counts = count_tokens(subject.backend, corpus, languages, size=len(state.tokens), show_progress=show_progress)
    codes = counts.languages if counts else [normalise_language(code) for code in languages or []]
    return state, counts, Chooser(state, codes, counts, always)


def _tokens_of(subject: Subject, state: TokenizerState, words: Sequence[str]) -> set[int]:
    """Return the ids of the tokens of words, both at the start of a text and within it."""
    if isinstance(words, str):
        raise InputError(f"keep is one string: give a list of words, such as [{words!r}]")
    found: set[int] = set()
    for word in words:
        if not word.strip():
            raise InputError(f"the word to keep {word!r} is empty")
        ids = {state.ids[word]} if word in state.ids else set()
        for text in (word, f" {word}"):
            ids |= set(subject.backend.encode(text, add_special_tokens=False).ids)
        found |= ids
    return found


def _choose(chooser: Chooser, selection: dict[str, float | bool]) -> Choice:
    ((kind, value),) = selection.items()
    match kind:
        case "size":
            return chooser.by_size(int(value))
        case "min_count":
            return chooser.by_count(int(value))
        case "coverage":
            return chooser.by_coverage(float(value))
        case _:
            return chooser.by_scripts()


def _texts(counts: TokenCounts | None) -> dict[str, list[str]]:
    return {} if counts is None else {language: counts.examples(language)[0] for language in counts.languages}


def _size(subject: Subject) -> Size:
    parameters = list(subject.network.parameters())
    encoder = subject.network
    fingerprint = None
    if isinstance(encoder, SentenceTransformer | MultiVectorEncoder) and hasattr(
        encoder.tokenizer, "backend_tokenizer"
    ):
        fingerprint = fingerprint_of(encoder, encoder.get_embedding_dimension() or 0)
    return Size(
        tokens=subject.backend.get_vocab_size(with_added_tokens=True),
        parameters=sum(tensor.numel() for tensor in parameters),
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in parameters),
        fingerprint=fingerprint,
    )
