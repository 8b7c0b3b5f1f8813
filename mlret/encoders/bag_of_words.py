"""Encoders whose layers are still the identity, so that a text's vector is the weighted mean of its token vectors.

:func:`mlret.training.backbones.backbone.build_backbone` makes such encoders, and training may stop before it changes
the layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from sentence_transformers.base.model import BaseModel
from torch import Tensor
from torch.nn import functional
from transformers import XLMRobertaModel

from mlret.encoders.token_weights import TokenWeights


def is_bag_of_words(model: BaseModel) -> bool:
    """Whether skipping the layers changes nothing, because the last weights of both branches of each layer are zero."""
    first: Any = next(iter(model.children()), None)
    transformer = getattr(first, "model", None)
    if token_weights(model) is None or not isinstance(transformer, XLMRobertaModel):
        return False
    return not any(bool(tensor.any()) for tensor in _last_of_branches(transformer))


def branch_versions(model: BaseModel) -> tuple[int, ...]:
    """Return version numbers that change when training changes the weights that :func:`is_bag_of_words` checks."""
    first: Any = model[0]
    return tuple(tensor._version for tensor in _last_of_branches(first.model))


def _last_of_branches(transformer: Any) -> list[Tensor]:
    last = [
        dense for layer in transformer.encoder.layer for dense in (layer.attention.output.dense, layer.output.dense)
    ]
    return [tensor for dense in last for tensor in (dense.weight, dense.bias)]


def token_weights(model: BaseModel) -> TokenWeights | None:
    """Return the module with the learned token weights, or ``None`` if the encoder has none."""
    return next((module for module in model.children() if isinstance(module, TokenWeights)), None)


def token_embeddings(model: BaseModel) -> Any:
    """Return the embedding module of an encoder's transformer: words, positions, types and their layer norm."""
    transformer: Any = model[0]
    return transformer.model.embeddings


def token_vectors(model: BaseModel) -> Tensor:
    """Return ``(v, d)``: what each token of the vocabulary contributes to the sum that is a text's vector.

    Token weights are 1 if the encoder has none.
    """
    embeddings, weights = token_embeddings(model), token_weights(model)
    with torch.no_grad():
        vectors: Tensor = embeddings.LayerNorm(embeddings.word_embeddings.weight)
        return vectors if weights is None else weights.token_weights * vectors


def bags(texts: Sequence[str], tokenizer: Any, table: Tensor, *, mode: Literal["sum", "mean"], special: bool) -> Tensor:
    """Return ``(n, d)``: the sum or the mean of the table's rows over the tokens of each text.

    Parameters
    ----------
    texts
        ``n`` strings.
    tokenizer
        A tokenizer of transformers.
    table
        ``(v, d)``, one row for each token of the vocabulary.
    mode
        ``"sum"`` or ``"mean"``.
    special
        Whether to include the special tokens that the tokenizer adds around a text.
    """
    pieces = [torch.tensor(ids) for ids in tokenizer(list(texts), add_special_tokens=special)["input_ids"]]
    offsets = torch.tensor([0, *(len(ids) for ids in pieces[:-1])]).cumsum(0)
    return functional.embedding_bag(torch.cat(pieces).long(), table, offsets, mode=mode)
