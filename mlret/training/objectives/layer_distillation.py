"""Distillation of layers: each layer of a shallow student is trained towards the output of a layer of its teacher."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn import functional

from mlret.encoders.bag_of_words import token_embeddings
from mlret.training.backbones.layers import transformer_layers

_TINY = 1e-6


class LayerDistillationLoss(nn.Module):
    """The share of the variance of the teacher's hidden states that the student does not explain, and of its vectors.

    TinyBERT (Jiao et al. 2020, arXiv 1909.10351, section 3) takes the squared distance of the hidden states of a few
    layers, which lets the few dimensions of large values decide alone. Here each dimension is divided by its variance
    over the tokens of the batch. The vector of the whole text is compared by its cosine distance. Layers learn from
    evenly spaced layers of the teacher, the last from the last.

    Parameters
    ----------
    model
        The student.
    teacher
        An encoder of the same tokenizer and width. Its weights do not change.
    bfloat16
        Whether the teacher computes in bfloat16, as a student under autocast does.

    Raises
    ------
    ValueError
        If the teacher has fewer layers than the student, other tokens, or another width.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        teacher: SentenceTransformer,
        *,
        bfloat16: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self._bfloat16 = bfloat16
        # In a list, so that it is neither trained nor written to checkpoints.
        self._teacher = [teacher.eval().requires_grad_(False)]
        layers, of_teacher = len(transformer_layers(model)), len(transformer_layers(teacher))
        if layers > of_teacher:
            raise ValueError(f"the encoder has {layers} layers, its teacher only {of_teacher}: keep fewer of them")
        self.targets = [of_teacher * (number + 1) // layers - 1 for number in range(layers)]
        own, others = (token_embeddings(one).word_embeddings.weight.shape for one in (model, teacher))
        if own != others:
            raise ValueError(
                f"the encoder has {own[0]:,} tokens of width {own[1]}, its teacher {others[0]:,} of width {others[1]}: "
                "name a teacher with the same tokenizer and width"
            )

    def forward(
        self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the loss of the layers and that of the vectors of a batch of one column; ``labels`` is ignored."""
        (features,) = sentence_features
        device = features["input_ids"].device
        # The trainer sets autocast for the forward pass of its own model alone.
        lower = torch.autocast(device.type, dtype=torch.bfloat16, enabled=self._bfloat16)
        with torch.no_grad(), lower, _states_kept(self._teacher[0]) as wanted:
            goal = self._teacher[0](dict(features))["sentence_embedding"]
        with _states_kept(self.model) as found:
            vector = self.model(dict(features))["sentence_embedding"]
        inside = features["attention_mask"].bool()
        unexplained = []
        for state, target in zip(found, self.targets, strict=True):
            teacher = wanted[target][inside].float()
            distance = (state[inside].float() - teacher).square().mean(dim=0)
            unexplained.append((distance / teacher.var(dim=0, unbiased=False).clamp_min(_TINY)).mean())
        cosine = functional.cosine_similarity(vector.float(), goal.float(), dim=-1)
        return {"layers": torch.stack(unexplained).mean(), "vectors": (1 - cosine).mean()}


@contextmanager
def _states_kept(model: SentenceTransformer) -> Iterator[list[Tensor]]:
    """Collect the outputs ``(n, t, width)`` of all layers in the forward passes within this context, in their order."""
    states: list[Tensor] = []

    def keep(layer: nn.Module, inputs: Any, output: Any) -> None:
        states.append(output[0] if isinstance(output, tuple) else output)

    handles = [layer.register_forward_hook(keep) for layer in transformer_layers(model)]
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()
