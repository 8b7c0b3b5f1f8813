"""Join bags of words that share a vocabulary: what one learned from translations, and another from a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from mlret.encoders.bag_of_words import bags, token_embeddings, token_vectors, token_weights
from mlret.encoders.encoder import Encoder
from mlret.errors import InputError
from mlret.training.backbones.backbone import (
    assembled,
    build_backbone,
    restore_embedding_length,
)
from mlret.training.recipe import NewBackbone


def join_words(
    encoders: Sequence[Encoder],
    shares: Sequence[float],
    texts: Sequence[str],
    *,
    backbone: NewBackbone,
    folder: Path,
    seed: int,
) -> SentenceTransformer:
    """One bag of words whose cosines are next to the mean of several's, in fewer dimensions than they have together.

    The vectors of each token stand side by side, in the lengths in which their sums make texts, and are turned to the
    principal axes of the texts' vectors; the last axes are cut off. So the first dims of a vector carry the most, and
    shorter vectors are its beginnings.

    Parameters
    ----------
    encoders
        Bags of words over the same tokenizer, whose layers are still the identity.
    shares
        How much each counts in a cosine.
    texts
        Of all languages, to find the axes; more than the encoders' dimensions together.
    backbone
        The shape of the result; ``hidden`` is its dims.
    folder
        Gets the untrained backbone on the way.
    seed
        Of its layers' weights.

    Raises
    ------
    InputError
        If an encoder is of another kind or vocabulary, or there are too few texts.
    """
    if len(encoders) < 2 or len(encoders) != len(shares) or min(shares) <= 0:
        raise InputError("give two bags of words or more, and a share above 0 for each")
    tokenizer = encoders[0].model.tokenizer
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise InputError(f"{encoders[0].name} has no fast tokenizer (tokenizer.json)")
    parts = []
    for encoder, share in zip(encoders, shares, strict=True):
        if encoder.model.tokenizer.get_vocab() != tokenizer.get_vocab():
            raise InputError(f"{encoder.name} has another vocabulary than {encoders[0].name}")
        if token_weights(encoder.model) is None:
            raise InputError(f"{encoder.name} is no bag of words: it has no weights of tokens")
        own = token_vectors(encoder.model)
        lengths = bags(texts, tokenizer, own, mode="sum", special=True).norm(dim=1)
        parts.append(own * (share**0.5 / lengths.mean()))
    vectors = torch.cat(parts, dim=1)
    if len(texts) <= vectors.shape[1]:
        raise InputError(f"{len(texts)} texts are too few to find the axes of {vectors.shape[1]} dimensions")
    sums = functional.normalize(bags(texts, tokenizer, vectors, mode="sum", special=True), dim=1).double()
    _, axes = torch.linalg.eigh(sums.T @ sums)
    kept = axes.flip(1)[:, : backbone.hidden - 1].float()
    # A layer norm leaves vectors whose components add up to zero: one dimension less than there are.
    made = vectors @ kept @ _zero_sum_basis(backbone.hidden)[: kept.shape[1]]
    model = build_backbone(backbone, tokenizer, folder=folder, seed=seed)
    weights = token_weights(model)
    assert weights is not None
    with torch.no_grad():
        length = made.norm(dim=1, keepdim=True)
        weights.token_weights.copy_(length / backbone.hidden**0.5)
        table = token_embeddings(model).word_embeddings.weight
        table.copy_(functional.normalize(made, dim=1))
        restore_embedding_length(model)
        table[tokenizer.pad_token_id] = 0
    return assembled([*model.children(), Normalize()], model)


def _zero_sum_basis(dims: int) -> Tensor:
    """``(dims - 1, dims)`` orthonormal rows, each of sum zero (Helmert's): all but one dimension, nearly in order."""
    rows = torch.zeros(dims - 1, dims)
    for row in range(dims - 1):
        rows[row, : row + 1] = 1
        rows[row, row + 1] = -(row + 1)
    return functional.normalize(rows, dim=1)
