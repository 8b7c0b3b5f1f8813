"""The upper layers of an encoder with language adapters, over lower layers whose output is computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize
from torch import Tensor, nn
from torch.nn import functional

from mlret.encoders.adapters import (
    SHARED,
    adapter_parameters,
    add_language,
    routed_transformer,
    routes_texts,
    with_adapters,
)
from mlret.encoders.calibration import Calibration
from mlret.errors import InputError

_TEXTS_AT_ONCE = 32
# Additive mask of positions that are padding; finite, because a softmax over infinities alone is not a number.
_PADDING = -1e4


def add_unchanging_adapter(model: SentenceTransformer, language: str, *, reduction: int, seed: int) -> None:
    """Give an encoder an adapter for a language that changes nothing until it is trained; changed in place.

    Parameters
    ----------
    model
        An encoder, with or without language adapters. Languages without an adapter keep their vectors bit for bit.
    language
        The language.
    reduction
        The inner width of the adapters of an encoder that has none yet is the hidden size divided by this number.
    seed
        Seed of the adapter's first matrices.

    Raises
    ------
    InputError
        If the backbone is of a kind that cannot have adapters.
    AlreadyExists
        If the language has an adapter.
    """
    if not routes_texts(model):
        with_adapters(model, [SHARED], reduction=reduction)
    add_language(model, language, seed=seed)
    for name, parameter in adapter_parameters(model, language).items():
        if ".dense2." in name:
            nn.init.zeros_(parameter)


class UpperLayers(nn.Module):
    """The upper layers and the pooling of an encoder, with the adapters of one language, which alone are trained.

    Parameters
    ----------
    model
        An encoder with an adapter for the language.
    language
        The language.
    layers
        The number of upper layers. The lower layers are frozen, and their output for a text is computed once.
    max_length
        The maximum number of tokens of a text.

    Raises
    ------
    InputError
        If the encoder has fewer layers.
    """

    def __init__(self, model: SentenceTransformer, language: str, *, layers: int, max_length: int) -> None:
        super().__init__()
        routed = routed_transformer(model)
        backbone: Any = routed.model
        depth = len(backbone.encoder.layer)
        if layers > depth:
            raise InputError(f"the encoder has {depth} layers, not {layers}: give fewer layers")
        self._model = [model]  # in a list, so that the encoder's parameters are not registered here
        self._first = depth - layers
        self._number = routed.adapter_of(language)
        self._max_length = max_length
        model.requires_grad_(False)
        self._names = [
            name
            for name in adapter_parameters(model, language)
            if int(name.split(".layer.")[1].split(".")[0]) >= self._first
        ]
        parameters = dict(model.named_parameters())
        self.adapters = nn.ParameterList([parameters[name].requires_grad_(True) for name in self._names])
        self._after = [
            module for module in list(model.children())[1:] if not isinstance(module, Normalize | Calibration)
        ]
        self._on_amx = torch.cpu._is_amx_tile_supported()

    @property
    def backbone(self) -> Any:
        """The transformer of the encoder."""
        return routed_transformer(self._model[0]).model

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, with the special tokens."""
        tokenizer: Any = self._model[0].tokenizer
        ids: list[list[int]] = tokenizer([str(text) for text in texts], truncation=True, max_length=self._max_length)[
            "input_ids"
        ]
        return ids

    @torch.no_grad()
    def lower(self, ids: Sequence[Sequence[int]]) -> list[Tensor]:
        """Return the states of the lower layers for each text, ``(tokens, dims)`` in the dtype of the computation."""
        states: list[Tensor] = [torch.empty(0)] * len(ids)
        with self._computing():
            for chosen in _by_length([len(row) for row in ids], _TEXTS_AT_ONCE):
                rows = [torch.tensor(ids[position]) for position in chosen]
                padded = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self._padding_id)
                inside = _inside(rows)
                hidden = self._through(self.backbone.embeddings(input_ids=padded), inside, range(self._first))
                for place, position in enumerate(chosen):
                    states[position] = hidden[place, : len(rows[place])].to(self._dtype).clone()
        return states

    def token_states(self, states: Sequence[Tensor]) -> list[Tensor]:
        """Return the states of the last layer for each text, ``(tokens, dims)`` float32.

        Parameters
        ----------
        states
            What :meth:`lower` returned for each text.
        """
        found: list[Tensor] = [torch.empty(0)] * len(states)
        for chosen in _by_length([len(state) for state in states], _TEXTS_AT_ONCE):
            hidden, _ = self._upper([states[position] for position in chosen])
            for place, position in enumerate(chosen):
                found[position] = hidden[place, : len(states[position])]
        return found

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Return the embeddings ``(n, dims)`` of texts from the states of the lower layers, not normalised, in float32.

        Parameters
        ----------
        states
            What :meth:`lower` returned for each text.
        """
        parts: list[Tensor] = []
        order: list[int] = []
        for chosen in _by_length([len(state) for state in states], _TEXTS_AT_ONCE):
            hidden, inside = self._upper([states[position] for position in chosen])
            features: dict[str, Any] = {"token_embeddings": hidden, "attention_mask": inside.long()}
            for module in self._after:
                features = module(features)
            parts.append(features["sentence_embedding"])
            order.extend(chosen)
        back = torch.empty(len(order), dtype=torch.int64)
        back[torch.tensor(order)] = torch.arange(len(order))
        return torch.cat(parts)[back]

    @torch.no_grad()
    def encode(self, states: Sequence[Tensor]) -> Tensor:
        """Return unit vectors ``(n, dims)`` without dropout."""
        was = self.training
        self.eval()
        found = functional.normalize(self(states), dim=-1)
        self.train(was)
        return found

    def train(self, mode: bool = True) -> UpperLayers:
        """Switch the dropout of the upper layers on or off; the lower layers never have any."""
        super().train(mode)
        self.backbone.eval()
        for layer in self.backbone.encoder.layer[self._first :]:
            layer.train(mode)
        return self

    @contextmanager
    def _computing(self) -> Iterator[None]:
        # The backward pass of PyTorch's fused attention on a CPU takes several times as long as that of the plain one.
        config = self.backbone.config
        was = config._attn_implementation
        config._attn_implementation = "eager"
        try:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._dtype == torch.bfloat16):
                yield
        finally:
            config._attn_implementation = was

    @property
    def _dtype(self) -> torch.dtype:
        return torch.bfloat16 if self._on_amx else torch.float32

    @property
    def _padding_id(self) -> int:
        return int(self.backbone.config.pad_token_id)

    def _upper(self, states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        inside = _inside(states)
        hidden = nn.utils.rnn.pad_sequence([*states], batch_first=True).float()
        with self._computing():
            hidden = self._through(hidden, inside, range(self._first, len(self.backbone.encoder.layer)))
        return hidden.float(), inside

    def _through(self, hidden: Tensor, inside: Tensor, layers: range) -> Tensor:
        mask = ((~inside)[:, None, None, :] * _PADDING).to(hidden.dtype)
        mask = mask.expand(-1, 1, inside.shape[1], -1)
        numbers = torch.full((len(hidden),), self._number)
        for position in layers:
            hidden = self.backbone.encoder.layer[position](hidden, numbers, mask)
        return hidden


def _inside(rows: Sequence[Tensor]) -> Tensor:
    lengths = torch.tensor([len(row) for row in rows])
    return torch.arange(int(lengths.max()))[None, :] < lengths[:, None]


def _by_length(lengths: Sequence[int], at_once: int) -> list[list[int]]:
    order = np.argsort(lengths, kind="stable")
    return [part.tolist() for part in np.array_split(order, -(-len(order) // at_once))]
