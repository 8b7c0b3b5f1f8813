"""The layers of an encoder's transformer."""

from __future__ import annotations

from typing import Any

from sentence_transformers.base.model import BaseModel
from torch import nn

from mlret.errors import InputError


def transformer_layers(model: BaseModel) -> nn.ModuleList:
    """Return the layers of an encoder's transformer, the first layer first.

    Raises
    ------
    InputError
        If the transformer is not of BERT's kind (BERT, RoBERTa, XLM-RoBERTa and others with ``encoder.layer``).
    """
    first: Any = model[0]
    layers = getattr(getattr(getattr(first, "model", None), "encoder", None), "layer", None)
    if not isinstance(layers, nn.ModuleList):
        raise InputError(
            "the encoder's layers are not at encoder.layer: only transformers of BERT's kind are distilled"
        )
    return layers


def keep_layers(model: BaseModel, kept: list[int]) -> None:
    """Remove all layers of an encoder's transformer but some, in place.

    Parameters
    ----------
    model
        The encoder.
    kept
        The numbers of the layers to keep, from 0, in ascending order.

    Raises
    ------
    InputError
        If there are no such layers.
    """
    layers = transformer_layers(model)
    if kept[-1] >= len(layers):
        raise InputError(f"backbone.layers: the model has {len(layers)} layers, 0 to {len(layers) - 1}; got {kept[-1]}")
    first: Any = model[0]
    first.model.encoder.layer = nn.ModuleList([layers[number] for number in kept])
    first.model.config.num_hidden_layers = len(kept)


def set_dropout(model: BaseModel, share: float) -> None:
    """Set the dropout of an encoder's transformer, in place: of its hidden states and of its attention."""
    first: Any = model[0]
    config = first.model.config
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = share
    for module in first.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
