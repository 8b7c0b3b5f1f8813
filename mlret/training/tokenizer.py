"""Train the tokenizer of an encoder: SentencePiece Unigram over text balanced by language.

Text is folded to lower case and NFKC first: a small vocabulary then spends no pieces on capitals and on
compatibility forms, and a query finds its passage however either was typed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
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
    of_language: dict[str, list[str]] = defaultdict(list)
    for document in text.documents:
        of_language[document.language] += document.sentences
    pivots: dict[str, set[str]] = defaultdict(set)
    for pair in text.pairs:
        of_language[pair.language].append(pair.target)
        pivots[pair.source_language].add(pair.source)
    for language, sources in pivots.items():
        of_language[language] += sorted(sources)
    random = np.random.default_rng(seed)
    shares = {language: len(lines) ** alpha for language, lines in of_language.items()}
    total = sum(shares.values())
    for language in sorted(of_language):
        lines = of_language[language]
        wanted = min(len(lines), int(sentences * shares[language] / total) + 1)
        for row in random.choice(len(lines), wanted, replace=False):
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
