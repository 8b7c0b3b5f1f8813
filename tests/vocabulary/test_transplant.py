"""Test the vocabulary of many languages with the layers of a monolingual encoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from mlret.encoders.encoder import Encoder
from mlret.errors import InputError
from mlret.training.text.tokenizer import fast_tokenizer
from mlret.vocabulary.transplant import nearest_mean, transplant_vocabulary

from .made import english_encoder

WORDS = ["sun", "moon", "rain", "wind", "tree", "leaf", "root", "seed", "bird", "fish", "milk", "bread"]


@pytest.fixture(scope="module")
def donor(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    return english_encoder(tmp_path_factory.mktemp("donor"), WORDS)


def moved(donor: SentenceTransformer, words: Sequence[str], **options: float) -> SentenceTransformer:
    """Return the donor with a vocabulary of its words in another order, and one word of another language for each."""
    own = [f"▁{word}" for word in reversed(WORDS)]
    others = [f"▁{word}o" for word in WORDS]
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = fast_tokenizer([(token, -1.0) for token in [*specials, *own, *others, "<mask>"]], max_length=20)
    space = torch.from_numpy(np.random.default_rng(0).normal(size=(len(WORDS), 64))).float()
    vectors = torch.zeros(len(tokenizer), 64)
    for row, word in enumerate(WORDS):
        for token in (f"▁{word}", f"▁{word}o"):
            vectors[tokenizer.convert_tokens_to_ids(token)] = space[row]
    known = space[[WORDS.index(word) for word in words]]
    model = transplant_vocabulary(
        donor, tokenizer, vectors, words, known, neighbours=3, temperature=0.01, max_length=20, **options
    )
    folder = donor[0].model.name_or_path + "-moved"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return SentenceTransformer(modules=[Transformer(folder), Pooling(32, "mean")], device="cpu")


def test_a_text_of_known_words_keeps_its_vector_and_so_does_its_translation(donor: SentenceTransformer) -> None:
    encoder = moved(donor, WORDS)
    texts = [" ".join(WORDS[i : i + 4]) for i in range(8)]
    translated = [" ".join(word + "o" for word in text.split()) for text in texts]
    expected = Encoder(donor).encode(texts)
    assert np.allclose(Encoder(encoder).encode(texts), expected, atol=1e-5)
    assert np.allclose(Encoder(encoder).encode(translated), expected, atol=1e-5)
    # Positions matter: another order gives another vector.
    assert not np.allclose(Encoder(encoder).encode([" ".join(reversed(texts[0].split()))]), expected[:1], atol=1e-3)


def test_what_has_no_word_of_its_own_is_the_mean_of_its_neighbours() -> None:
    keys = torch.eye(4)
    values = torch.arange(8.0).reshape(4, 2)
    found = nearest_mean(torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 3.0, 4.0]]), keys, values, neighbours=2)
    assert torch.allclose(found[0], (values[0] + values[1]) / 2)
    weights = torch.tensor([6.0, 8.0]).softmax(0)  # cosines 0.6 and 0.8 at a temperature of 0.1
    assert torch.allclose(found[1], weights[0] * values[2] + weights[1] * values[3], atol=1e-4)


def test_models_that_do_not_fit_are_refused(donor: SentenceTransformer, tiny_encoder: Encoder) -> None:
    with pytest.raises(InputError, match="2 words of the donor's language are too few"):
        moved(donor, WORDS[:2])
    tokenizer = donor.tokenizer
    vectors = torch.zeros(len(tokenizer), 8)
    with pytest.raises(InputError, match="under BERT's layers, not XLMRobertaModel's"):
        transplant_vocabulary(tiny_encoder.model, tokenizer, vectors, WORDS, vectors[: len(WORDS)])
    with pytest.raises(InputError, match="max_length 512: the donor takes from 8 to 24 tokens"):
        transplant_vocabulary(donor, tokenizer, vectors, WORDS, vectors[: len(WORDS)], max_length=512)
