"""Train the tokenizer of an encoder: SentencePiece Unigram over text that is balanced by language.

Text is first normalised to lower case and NFKC. A small vocabulary then spends no tokens on capitals and on
compatibility forms, and a query finds its passage however either was typed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from mlret.data.files import read_lines
from mlret.errors import InputError, require
from mlret.training.recipe import TokenizerSettings
from mlret.training.text.training_text import TrainingText

# The order of special tokens in XLM-R, which is that of fairseq.
_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]
_MASK = "<mask>"
# SentencePiece's mark of the start of a word.
_START = "▁"
_LINES_AT_ONCE = 10_000
# The log probability of a token that must not be used.
_NEVER = -1e4


def normaliser() -> normalizers.Normalizer:
    """Return the normalizer: NFKC, lower case, control characters and runs of white space replaced by single spaces."""
    return normalizers.Sequence(
        [
            normalizers.Replace(Regex(r"\p{C}+"), " "),
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )


def balanced_sentences(text: TrainingText, sentences: int, alpha: float, seed: int) -> Iterator[str]:
    """Draw about ``sentences`` sentences, from each language in proportion to its size to the power of ``alpha``.

    A language with fewer sentences than its share yields each of them once.

    Parameters
    ----------
    text
        The training text of a recipe.
    sentences
        Approximate number of sentences to draw.
    alpha
        Exponent of the sizes: 1 draws in proportion to the size, 0 equally from all languages.
    seed
        Seed of the draw.

    Yields
    ------
    str
        The sentences of the documents, in their order, then those of pairs, language by language.
    """
    others: dict[str, list[str]] = defaultdict(list)
    pivots: dict[str, set[str]] = defaultdict(set)
    for pair in text.pairs:
        others[pair.language].append(pair.target)
        pivots[pair.source_language].add(pair.source)
    for language, sources in pivots.items():
        others[language] += sorted(sources)
    in_documents = text.statistics.sentences
    sizes = {code: in_documents[code] + len(others[code]) for code in sorted(in_documents.keys() | others.keys())}
    random = np.random.default_rng(seed)
    shares = {language: size**alpha for language, size in sizes.items()}
    total = sum(shares.values())
    chosen: dict[str, NDArray[np.bool_]] = {}
    for language, size in sizes.items():
        wanted = min(size, int(sentences * shares[language] / total) + 1)
        chosen[language] = np.zeros(size, dtype=bool)
        chosen[language][random.choice(size, wanted, replace=False)] = True
    # The documents are on disk, so the drawn sentences are collected in a single pass over them.
    at: dict[str, int] = defaultdict(int)
    for document in text.documents:
        for sentence in document.sentences:
            if chosen[document.language][at[document.language]]:
                yield sentence
            at[document.language] += 1
    for language, lines in others.items():
        for row in np.flatnonzero(chosen[language][in_documents[language] :]):
            yield lines[row]


def train_tokenizer(
    text: TrainingText, settings: TokenizerSettings, *, folder: Path, max_length: int, seed: int
) -> PreTrainedTokenizerFast:
    """Train a Unigram tokenizer and return it as a fast tokenizer.

    Parameters
    ----------
    text
        The training text of a recipe.
    settings
        Vocabulary size and sampling.
    folder
        Folder that SentencePiece writes its model to.
    max_length
        The longest input of the encoder, in tokens.
    seed
        Seed of the draw of sentences.

    Returns
    -------
    PreTrainedTokenizerFast
        The tokenizer.

    Raises
    ------
    InputError
        If the text is too small for the vocabulary.
    """
    sentencepiece = require("sentencepiece", extra="train", feature="training a tokenizer")
    fold = normaliser()
    sample = (fold.normalize_str(line) for line in _sample(text, settings, seed))
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sample,
            model_prefix=str(folder / "unigram"),
            model_type="unigram",
            vocab_size=settings.vocab_size - 1,  # the mask is added below
            character_coverage=settings.character_coverage,
            split_digits=settings.split_digits,
            hard_vocab_limit=not settings.or_fewer,
            normalization_rule_name="identity",
            bos_id=0,
            pad_id=1,
            eos_id=2,
            unk_id=3,
            num_threads=2,
            minloglevel=1,
        )
    except RuntimeError as error:
        raise InputError(
            f"the text is too small for {settings.vocab_size} tokens ({error}); lower tokenizer.vocab_size"
        ) from error
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "unigram.model"))
    vocabulary = [(processor.id_to_piece(i), processor.get_score(i)) for i in range(processor.get_piece_size())]
    return fast_tokenizer([*vocabulary, (_MASK, 0.0)], max_length=max_length)


def with_tokens_missing(tokenizer: PreTrainedTokenizerFast, share: float, *, seed: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer that splits some words into smaller tokens, because a share of its tokens is disabled.

    This is a repeatable form of subword regularisation (Kudo 2018, arXiv 1804.10959): a seed disables tokens for all
    texts, where sampling splits each text in a new way. A token that is a word in the text at hand is then also trained
    by the words that contain it. Tokens of a single character are never disabled.

    Parameters
    ----------
    tokenizer
        A Unigram tokenizer; it is not changed.
    share
        Share of the tokens that are disabled, from 0 to 1.
    seed
        Seed of the choice of tokens.

    Returns
    -------
    PreTrainedTokenizerFast
        A copy with the same ids.

    Raises
    ------
    InputError
        If the tokenizer is not of the Unigram kind.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    if state["model"]["type"] != "Unigram":
        raise InputError(f"only Unigram tokenizers can split texts in several ways, not {state['model']['type']}")
    entries = state["model"]["vocab"]
    dropped = np.random.default_rng(seed).random(len(entries)) < share
    state["model"]["vocab"] = [
        [token, _NEVER if drop and len(token.removeprefix(_START)) > 1 and token not in _SPECIALS else score]
        for (token, score), drop in zip(entries, dropped, strict=True)
    ]
    copy = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)))  # type: ignore[no-untyped-call]
    copy.model_max_length = tokenizer.model_max_length
    return copy


def _sample(text: TrainingText, settings: TokenizerSettings, seed: int) -> Iterator[str]:
    return (line[:2000] for line in balanced_sentences(text, settings.sentences, settings.alpha, seed))


def choose_tokens(
    text: TrainingText, settings: TokenizerSettings, source: Path, *, max_length: int, seed: int
) -> PreTrainedTokenizerFast:
    """Return a tokenizer with the tokens of another one that a text needs.

    Tokens of a tokenizer that was trained on far more text than is available split words better than tokens learned
    from the text at hand. They are normalised as the text is (the probabilities of tokens that become equal are added)
    and counted. The most frequent ones are kept, with all their single characters.

    Parameters
    ----------
    text
        The training text of a recipe.
    settings
        Vocabulary size, sampling, and the minimum count of a token.
    source
        The other tokenizer: a ``tokenizer.json`` of the Unigram kind, which may be compressed.
    max_length
        The longest input of the encoder, in tokens.
    seed
        Seed of the draw of sentences.

    Returns
    -------
    PreTrainedTokenizerFast
        The tokenizer.

    Raises
    ------
    InputError
        If the file is no such tokenizer.
    """
    folded = _normalised_tokens(source)
    whole = fast_tokenizer([*((special, 0.0) for special in _SPECIALS), *folded.items()], max_length=max_length)
    counts = np.zeros(len(whole), dtype=np.int64)
    backend = whole.backend_tokenizer
    lines = _sample(text, settings, seed)
    while some := list(islice(lines, _LINES_AT_ONCE)):
        for encoding in backend.encode_batch(some, add_special_tokens=False):
            counts += np.bincount(encoding.ids, minlength=len(counts))
    tokens = list(folded)
    frequent = counts[len(_SPECIALS) :]
    order = np.argsort(-frequent, kind="stable")
    wanted = settings.vocab_size - len(_SPECIALS) - 1  # the mask is added below
    letters = {character for row in np.flatnonzero(frequent) for character in tokens[row]} & folded.keys()
    for row in order:
        if len(letters) >= wanted or frequent[row] < settings.min_count:
            break
        letters.add(tokens[row])
    kept = [(token, score) for token, score in folded.items() if token in letters]
    return fast_tokenizer(
        [*((special, 0.0) for special in _SPECIALS), *kept, (_MASK, 0.0)],
        max_length=max_length,
    )


def _normalised_tokens(source: Path) -> dict[str, float]:
    """Return normalised tokens with their log probabilities, best first, without special and empty tokens."""
    fold = normaliser()
    try:
        state = json.loads("".join(line for _, line in read_lines(source)))
        entries = [(str(token), float(score)) for token, score in state["model"]["vocab"]]
        special = {str(added["content"]) for added in state["added_tokens"]} | set(_SPECIALS)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{source} is not a tokenizer.json of Unigram kind: {error}") from error
    found: dict[str, float] = {}
    for token, score in entries:
        # The start of a word is a mark here, not a space that the normalizer would strip.
        start = token.startswith(_START)
        name = _START * start + fold.normalize_str(token.removeprefix(_START)).replace(" ", "")
        if token not in special and name:
            found[name] = float(np.logaddexp(found[name], score)) if name in found else score
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def fast_tokenizer(vocabulary: list[tuple[str, float]], *, max_length: int) -> PreTrainedTokenizerFast:
    """Return the fast tokenizer of a Unigram vocabulary whose first tokens are ``<s> <pad> </s> <unk>``.

    Parameters
    ----------
    vocabulary
        Tokens and their log probabilities, in the order of their ids.
    max_length
        The longest input of the encoder, in tokens.
    """
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=_SPECIALS.index("<unk>")))
    tokenizer.normalizer = normaliser()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token=_MASK,
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
    )
