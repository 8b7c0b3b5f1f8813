"""Train the tokenizer of an encoder: SentencePiece Unigram over text balanced by language.

Text is folded to lower case and NFKC first: a small vocabulary then spends no pieces on capitals and on
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

# XLM-R's order of special tokens (fairseq's).
_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]
_MASK = "<mask>"
# What SentencePiece puts where a word starts.
_START = "▁"
_LINES_AT_ONCE = 10_000
# The log probability of a piece that is not to be used.
_NEVER = -1e4


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
            f"the text is too small for {settings.vocab_size} pieces ({error}); lower tokenizer.vocab_size"
        ) from error
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "unigram.model"))
    vocabulary = [(pieces.id_to_piece(i), pieces.get_score(i)) for i in range(pieces.get_piece_size())]
    return fast_tokenizer([*vocabulary, (_MASK, 0.0)], max_length=max_length)


def with_pieces_missing(tokenizer: PreTrainedTokenizerFast, share: float, *, seed: int) -> PreTrainedTokenizerFast:
    """A tokenizer that cuts some words finer: a share of the pieces, single characters excepted, is not used.

    Subword regularisation (Kudo 2018, arXiv 1804.10959) that can be repeated: a seed drops whole pieces, where sampling
    draws each text anew. A piece that stands for a word in the text at hand then also learns from the words that
    contain it.

    Parameters
    ----------
    tokenizer
        Of Unigram kind; it is left as it is.
    share
        How many pieces are not used, from 0 to 1.
    seed
        Which.

    Raises
    ------
    InputError
        If the tokenizer is of another kind.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    if state["model"]["type"] != "Unigram":
        raise InputError(f"texts are cut in several ways by Unigram tokenizers alone, not by {state['model']['type']}")
    entries = state["model"]["vocab"]
    dropped = np.random.default_rng(seed).random(len(entries)) < share
    state["model"]["vocab"] = [
        [piece, _NEVER if drop and len(piece.removeprefix(_START)) > 1 and piece not in _SPECIALS else score]
        for (piece, score), drop in zip(entries, dropped, strict=True)
    ]
    copy = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)))  # type: ignore[no-untyped-call]
    copy.model_max_length = tokenizer.model_max_length
    return copy


def _sample(text: TrainingText, settings: TokenizerSettings, seed: int) -> Iterator[str]:
    return (line[:2000] for line in balanced_sentences(text, settings.sentences, settings.alpha, seed))


def choose_pieces(
    text: TrainingText, settings: TokenizerSettings, source: Path, *, max_length: int, seed: int
) -> PreTrainedTokenizerFast:
    """A tokenizer of those pieces of another that a text needs.

    Pieces of a tokenizer that saw far more text than there is to train an encoder on cut words better than pieces
    learned from that text. They are folded as the text is (the probabilities of those that fall together add up),
    counted, and the most frequent are kept, with all their single characters.

    Parameters
    ----------
    text
        The training text of a recipe.
    settings
        Vocabulary size, sampling, and the least count of a piece.
    source
        The other tokenizer: ``tokenizer.json`` of Unigram kind, may be compressed.
    max_length
        The longest input, in tokens, that the encoder takes.
    seed
        Of the draw of sentences.

    Raises
    ------
    InputError
        If the file is no such tokenizer.
    """
    folded = _folded_pieces(source)
    whole = fast_tokenizer([*((special, 0.0) for special in _SPECIALS), *folded.items()], max_length=max_length)
    counts = np.zeros(len(whole), dtype=np.int64)
    backend = whole.backend_tokenizer
    lines = _sample(text, settings, seed)
    while some := list(islice(lines, _LINES_AT_ONCE)):
        for encoding in backend.encode_batch(some, add_special_tokens=False):
            counts += np.bincount(encoding.ids, minlength=len(counts))
    pieces = list(folded)
    frequent = counts[len(_SPECIALS) :]
    order = np.argsort(-frequent, kind="stable")
    wanted = settings.vocab_size - len(_SPECIALS) - 1  # the mask is added below
    letters = {character for row in np.flatnonzero(frequent) for character in pieces[row]} & folded.keys()
    for row in order:
        if len(letters) >= wanted or frequent[row] < settings.min_count:
            break
        letters.add(pieces[row])
    kept = [(piece, score) for piece, score in folded.items() if piece in letters]
    return fast_tokenizer(
        [*((special, 0.0) for special in _SPECIALS), *kept, (_MASK, 0.0)],
        max_length=max_length,
    )


def _folded_pieces(source: Path) -> dict[str, float]:
    """Piece -> log probability, best first; special tokens and what folds to nothing left out."""
    fold = normaliser()
    try:
        state = json.loads("".join(line for _, line in read_lines(source)))
        entries = [(str(piece), float(score)) for piece, score in state["model"]["vocab"]]
        special = {str(added["content"]) for added in state["added_tokens"]} | set(_SPECIALS)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{source} is no tokenizer.json of Unigram kind: {error}") from error
    found: dict[str, float] = {}
    for piece, score in entries:
        # A word's start is a mark here, not the space that folding would strip.
        start = piece.startswith(_START)
        name = _START * start + fold.normalize_str(piece.removeprefix(_START)).replace(" ", "")
        if piece not in special and name:
            found[name] = float(np.logaddexp(found[name], score)) if name in found else score
    return dict(sorted(found.items(), key=lambda item: -item[1]))


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
