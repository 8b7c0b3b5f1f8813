"""Build a backbone from the layers of one encoder and the vocabulary of a multilingual one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Transformer
from transformers import PreTrainedTokenizerFast

from mlret.encoders.bag_of_words import bags, token_vectors
from mlret.encoders.loading import load_encoder
from mlret.errors import InputError
from mlret.training.recipe import TransplantedBackbone
from mlret.training.text.training_text import TrainingText
from mlret.vocabulary.transplant import transplant_vocabulary

# A word that occurs only once may well be a typing error.
_LEAST = 2


def build_transplanted(settings: TransplantedBackbone, text: TrainingText, folder: Path) -> SentenceTransformer:
    """Build an encoder from a donor's layers and embeddings for a new vocabulary, computed from the donor's words.

    Parameters
    ----------
    settings
        The donor of the layers and the encoder whose vocabulary is used.
    text
        Training text, in which the words of the donor's language are counted.
    folder
        Folder that the transformer is written to and loaded from again.

    Returns
    -------
    SentenceTransformer
        The encoder, without normalisation.

    Raises
    ------
    InputError
        If one of the two models cannot be loaded or does not fit, or if the text has too few words of the donor's
        language.
    """
    donor = load_encoder(settings.model, device="cpu").model
    vocabulary = load_encoder(settings.vocabulary, device="cpu").model
    tokenizer = vocabulary.tokenizer
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise InputError(f"backbone.vocabulary: {settings.vocabulary} has no fast tokenizer (tokenizer.json)")
    counts = Counter(_words(text, settings.language, donor.tokenizer))
    words = [word for word, count in counts.most_common(settings.words) if count >= _LEAST]
    vectors = token_vectors(vocabulary)
    model = transplant_vocabulary(
        donor,
        tokenizer,
        vectors,
        words,
        bags(words, tokenizer, vectors, mode="sum", special=False),
        neighbours=settings.neighbours,
        temperature=settings.temperature,
        max_length=settings.max_length,
    )
    model.save_pretrained(folder)
    tokenizer.model_max_length = settings.max_length
    tokenizer.save_pretrained(folder)
    rest = [module for module in list(donor.children())[1:] if not isinstance(module, Normalize)]
    return SentenceTransformer(modules=[Transformer(str(folder), max_seq_length=settings.max_length), *rest])


def _words(text: TrainingText, language: str, tokenizer: Any) -> Iterator[str]:
    """Yield every word of a language as the donor's tokenizer splits it; repeated texts are read once."""
    backend = tokenizer.backend_tokenizer
    texts = {pair.source for pair in text.pairs if pair.source_language == language}
    texts |= {pair.target for pair in text.pairs if pair.language == language}
    for document in text.documents:
        if document.language == language:
            texts.update(document.sentences)
    for one in sorted(texts):
        folded = backend.normalizer.normalize_str(one)
        for word, _ in backend.pre_tokenizer.pre_tokenize_str(folded):
            if word.isalpha():
                yield word
