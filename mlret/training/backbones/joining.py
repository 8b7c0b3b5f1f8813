"""Join bags of words that share a vocabulary, such as one trained on translations and one distilled from a teacher."""

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
    """Join several bags of words into one whose cosines approximate the weighted mean of theirs, in fewer dimensions.

    The vectors of each token are scaled, so that the texts of all encoders have the same mean length, and concatenated.
    They are then rotated to the principal axes of the texts' vectors, and the last axes are cut off. The first
    dimensions of a vector therefore carry the most, and vectors can be shortened by truncation.

    Parameters
    ----------
    encoders
        Two or more bags of words over the same tokenizer, whose layers are still the identity.
    shares
        Weight of each encoder in a cosine, above 0.
    texts
        Texts in all languages, used to find the axes. There must be more of them than the encoders have dimensions in
        total.
    backbone
        Shape of the result; ``hidden`` is its number of dimensions.
    folder
        Folder that the untrained backbone is written to on the way.
    seed
        Seed of the layers' weights.

    Returns
    -------
    SentenceTransformer
        The joined encoder, with normalised output.

    Raises
    ------
    InputError
        If an encoder is no bag of words or has another vocabulary, or if there are too few texts.
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
            raise InputError(f"{encoder.name} is not a bag of words: it has no token weights")
        own = token_vectors(encoder.model)
        lengths = bags(texts, tokenizer, own, mode="sum", special=True).norm(dim=1)
        parts.append(own * (share**0.5 / lengths.mean()))
    vectors = torch.cat(parts, dim=1)
    if len(texts) <= vectors.shape[1]:
        raise InputError(f"{len(texts)} texts are too few to find the axes of {vectors.shape[1]} dimensions")
    sums = functional.normalize(bags(texts, tokenizer, vectors, mode="sum", special=True), dim=1).double()
    _, axes = torch.linalg.eigh(sums.T @ sums)
    kept = axes.flip(1)[:, : backbone.hidden - 1].float()
    # The output of a layer norm sums to zero, so only ``hidden - 1`` dimensions are free.
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
    """Return Helmert's ``(dims - 1, dims)`` orthonormal rows that each sum to zero, nearly in the order of the axes."""
    rows = torch.zeros(dims - 1, dims)
    for row in range(dims - 1):
        rows[row, : row + 1] = 1
        rows[row, row + 1] = -(row + 1)
    return functional.normalize(rows, dim=1)
