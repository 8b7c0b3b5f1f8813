"""Give a monolingual encoder a multilingual vocabulary, with embeddings initialised from the nearest words.

The method is WECHSEL (Minixhofer, Paischer and Rekabsaz 2022, arXiv 2112.06598, section 3). Static vectors in a space
shared by the languages determine the words of the old language that are nearest to a new token, and the token's
embedding is the softmax-weighted mean of theirs. The layers are kept, so that little training remains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from torch import Tensor
from torch.nn import functional
from transformers import BertModel, PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

from mlret.encoders.bag_of_words import bags
from mlret.errors import InputError

# RoBERTa numbers positions from the padding id plus one.
_FIRST_POSITION = 2
_BLOCK = 4096


def transplant_vocabulary(
    donor: SentenceTransformer,
    tokenizer: PreTrainedTokenizerFast,
    token_vectors: Tensor,
    words: Sequence[str],
    word_vectors: Tensor,
    *,
    neighbours: int = 10,
    temperature: float = 0.1,
    max_length: int = 128,
) -> XLMRobertaModel:
    """Return a model with the layers of a monolingual encoder and a multilingual vocabulary.

    Parameters
    ----------
    donor
        An encoder whose transformer is BERT; it is not changed.
    tokenizer
        The tokenizer of the new vocabulary, with special tokens in XLM-R's order.
    token_vectors
        ``(len(tokenizer), s)`` static vectors of its tokens.
    words
        ``n`` words of the donor's language.
    word_vectors
        ``(n, s)`` static vectors of the words, in the space of ``token_vectors``.
    neighbours
        Number of words from which a token's embedding is computed.
    temperature
        Temperature of the softmax over their cosines.
    max_length
        Maximum input length in tokens, including special tokens.

    Returns
    -------
    transformers.XLMRobertaModel
        The donor's layers in XLM-R's form, which differs from BERT's in where positions start.

    Raises
    ------
    InputError
        If the donor is of another kind, accepts only shorter inputs, or there are too few words.
    """
    bert = _bert_of(donor)
    longest = bert.config.max_position_embeddings
    if not 8 <= max_length <= longest:
        raise InputError(f"max_length {max_length}: the donor takes from 8 to {longest} tokens")
    if len(words) < neighbours:
        raise InputError(f"{len(words)} words of the donor's language are too few: {neighbours} make an embedding")
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=max_length + _FIRST_POSITION,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        type_vocab_size=1,
        **{name: getattr(bert.config, name) for name in _SHAPE},
    )
    model = XLMRobertaModel(config, add_pooling_layer=False)
    with torch.no_grad():
        model.encoder.load_state_dict(bert.encoder.state_dict())
        mine: Any = model.embeddings
        theirs = bert.embeddings
        mine.LayerNorm.load_state_dict(theirs.LayerNorm.state_dict())
        mine.token_type_embeddings.weight.copy_(theirs.token_type_embeddings.weight[:1])
        mine.position_embeddings.weight.zero_()
        mine.position_embeddings.weight[_FIRST_POSITION:] = theirs.position_embeddings.weight[:max_length]
        old = theirs.word_embeddings.weight
        table = mine.word_embeddings.weight
        known = bags(words, donor.tokenizer, old, mode="mean", special=False)
        table.copy_(nearest_mean(token_vectors, word_vectors, known, neighbours=neighbours, temperature=temperature))
        for name in ("cls_token_id", "sep_token_id", "pad_token_id", "mask_token_id"):
            table[getattr(tokenizer, name)] = old[getattr(donor.tokenizer, name)]
    return model


_SHAPE = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "layer_norm_eps",
    "initializer_range",
)


def _bert_of(donor: SentenceTransformer) -> Any:
    first = donor[0]
    if not isinstance(first, Transformer) or not isinstance(first.model, BertModel):
        kind = type(first.model if isinstance(first, Transformer) else first).__name__
        raise InputError(f"a vocabulary is transplanted under BERT's layers, not {kind}'s")
    return first.model


def nearest_mean(
    queries: Tensor, keys: Tensor, values: Tensor, *, neighbours: int = 10, temperature: float = 0.1
) -> Tensor:
    """Return for each query the mean of its nearest keys' values, weighted by a softmax over the cosines.

    Parameters
    ----------
    queries, keys
        Vectors of shapes ``(m, s)`` and ``(n, s)``.
    values
        Values of the keys, ``(n, h)``.
    neighbours
        Number of nearest keys to average, at most ``n``.
    temperature
        Divisor of the cosines in the softmax.

    Returns
    -------
    torch.Tensor
        The weighted means, ``(m, h)``.
    """
    keys = functional.normalize(keys, dim=1)
    rows = []
    for block in torch.split(queries, _BLOCK):
        cosines, nearest = (functional.normalize(block, dim=1) @ keys.T).topk(neighbours, dim=1)
        weights = (cosines / temperature).softmax(dim=1)
        rows.append(torch.einsum("mk,mkh->mh", weights, values[nearest]))
    return torch.cat(rows)
