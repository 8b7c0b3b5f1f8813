"""Encoders of mlret's own kind whose layers are still the identity: a text is the weighted mean of its tokens.

:func:`mlret.training.backbone.build_backbone` makes them; training may stop before the layers join.
"""

from __future__ import annotations

from typing import Any

from sentence_transformers.base.model import BaseModel
from torch import Tensor
from transformers import XLMRobertaModel

from mlret.encoders.token_weights import TokenWeights


def is_bag_of_words(model: BaseModel) -> bool:
    """Whether leaving the layers of an encoder out changes nothing: both branches of each end in zeros."""
    first: Any = next(iter(model.children()), None)
    transformer = getattr(first, "model", None)
    if token_weights(model) is None or not isinstance(transformer, XLMRobertaModel):
        return False
    return not any(bool(tensor.any()) for tensor in _last_of_branches(transformer))


def branch_versions(model: BaseModel) -> tuple[int, ...]:
    """Numbers that change when training changes what :func:`is_bag_of_words` looks at."""
    first: Any = model[0]
    return tuple(tensor._version for tensor in _last_of_branches(first.model))


def _last_of_branches(transformer: Any) -> list[Tensor]:
    last = [
        dense for layer in transformer.encoder.layer for dense in (layer.attention.output.dense, layer.output.dense)
    ]
    return [tensor for dense in last for tensor in (dense.weight, dense.bias)]


def token_weights(model: BaseModel) -> TokenWeights | None:
    """The learned weights of tokens, which encoders of mlret's own kind have."""
    return next((module for module in model.children() if isinstance(module, TokenWeights)), None)


def token_embeddings(model: BaseModel) -> Any:
    """The embeddings of an encoder's transformer: words, positions, types, and their layer norm."""
    transformer: Any = model[0]
    return transformer.model.embeddings
