"""Train the tokenizer of an encoder: SentencePiece Unigram over text balanced by language.

Text is folded to lower case and NFKC first: a small vocabulary then spends no pieces on capitals and on
compatibility forms, and a query finds its passage however either was typed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from mlret.errors import InputError, require
from mlret.training.recipe import TokenizerSettings
from mlret.training.text import TrainingText

# XLM-R's order of special tokens (fairseq's).
_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]
_MASK = "<mask>"


def normaliser() -> normalizers.Normalizer:
    """NFKC, lower case, single spaces."""
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
    """Draw about ``sentences`` sentences, each language in proportion to its size ** ``alpha``.

    A language with fewer sentences than its share gives all it has, once.
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
    # The documents are on disk: the drawn sentences are met on one way through them.
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
    """Train a Unigram tokenizer and build its fast form.

    Parameters
    ----------
    text
        The training text of a recipe.
    settings
        Vocabulary size and sampling.
    folder
        Where SentencePiece writes its model.
    max_length
        The longest input, in tokens, that the encoder takes.
    seed
        Of the draw of sentences.

    Raises
    ------
    InputError
        If the text is too small for the vocabulary.
    """
    sentencepiece = require("sentencepiece", extra="train", feature="training a tokenizer")
    fold = normaliser()
    sample = (
        fold.normalize_str(line[:2000]) for line in balanced_sentences(text, settings.sentences, settings.alpha, seed)
    )
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sample,
            model_prefix=str(folder / "unigram"),
            model_type="unigram",
            vocab_size=settings.vocab_size - 1,  # the mask is added below
            character_coverage=settings.character_coverage,
            split_digits=settings.split_digits,
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
            f"the text is too small for {settings.vocab_size} pieces ({error}); lower tokenizer.vocab_size"
        ) from error
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "unigram.model"))
    vocabulary = [(pieces.id_to_piece(i), pieces.get_score(i)) for i in range(pieces.get_piece_size())]
    return fast_tokenizer([*vocabulary, (_MASK, 0.0)], max_length=max_length)


def fast_tokenizer(vocabulary: list[tuple[str, float]], *, max_length: int) -> PreTrainedTokenizerFast:
    """The fast tokenizer of a Unigram vocabulary whose first pieces are ``<s> <pad> </s> <unk>``."""
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
