"""Masked language modelling, on its own or as a second task beside a contrastive objective."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from sentence_transformers.base.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForMaskedLM
from transformers.utils import logging

from mlret.encoders.quantised import WEIGHTS
from mlret.errors import InputError, first_line
from mlret.training.ranks import average_gradients

_POSITIONS_AT_ONCE = 2048


class MaskedLanguageModel(nn.Module):
    """Prediction of masked tokens with an encoder's backbone (BERT, arXiv 1810.04805, section 3.1).

    The head is the one that transformers defines for the backbone's architecture. Its output weights are tied to the
    input embeddings.

    Parameters
    ----------
    model
        An encoder whose first module is a transformers backbone.
    pretrained
        The folder or hub id to load the head's weights from. By default they are initialised at random.
    frozen
        Keep the head's weights fixed; ``pretrained`` must then contain a head.
    probability
        The share of the tokens to predict. Of these, 80 % are masked, 10 % replaced at random and 10 % left unchanged.

    Raises
    ------
    InputError
        If the tokenizer has no mask token, if transformers has no such head for the architecture, if ``pretrained``
        lacks a head although ``frozen`` is set, or if its head has another size.
    """

    def __init__(
        self, model: BaseModel, *, pretrained: str | None = None, frozen: bool = False, probability: float = 0.15
    ) -> None:
        super().__init__()
        tokenizer: Any = model.tokenizer
        if tokenizer.mask_token_id is None:
            raise InputError("masked language modelling needs a tokenizer with a mask token: leave it out")
        transformer: Any = model[0]
        self._backbone = [transformer.model]  # in a list, so that it is not registered as a submodule
        self._tokenizer = tokenizer
        self.head = _prediction_head(transformer.model, pretrained, needed=frozen)
        if frozen:
            tied = transformer.model.get_input_embeddings().weight
            for parameter in self.head.parameters():
                parameter.requires_grad_(parameter is tied and tied.requires_grad)
        average_gradients(self.head)
        self.probability = probability
        self.mask = int(tokenizer.mask_token_id)
        self.specials = sorted(set(tokenizer.all_special_ids))

    def forward(
        self, features: dict[str, Tensor], encoder: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None
    ) -> Tensor:
        """Return the mean cross-entropy over the masked positions.

        Parameters
        ----------
        features
            ``input_ids`` ``(n, t)`` and optionally ``attention_mask`` and ``lang_ids``.
        encoder
            A callable that computes ``token_embeddings`` in place of the backbone, for when the forward pass must do
            more than the backbone's own.

        Returns
        -------
        torch.Tensor
            A scalar; 0 if no position was masked.
        """
        backbone = self._backbone[0]
        corrupted, chosen = self.corrupt(features["input_ids"], backbone.config.vocab_size)
        others: dict[str, Tensor] = {n: features[n] for n in ("attention_mask", "lang_ids") if n in features}
        given: dict[str, Tensor] = {"input_ids": corrupted, **others}
        states: Tensor = backbone(**given).last_hidden_state if encoder is None else encoder(given)["token_embeddings"]
        hidden = states[chosen]
        wanted = features["input_ids"][chosen]
        if not len(wanted):
            return torch.zeros((), device=hidden.device)
        # Computed in parts: the logits of all positions would take more memory than everything else together.
        parts = [
            checkpoint(self._cross_entropy, rows, ids, use_reentrant=False)
            for rows, ids in zip(*(torch.split(t, _POSITIONS_AT_ONCE) for t in (hidden, wanted)), strict=True)
        ]
        return torch.stack(parts).sum() / len(wanted)

    def _cross_entropy(self, hidden: Tensor, wanted: Tensor) -> Tensor:
        return functional.cross_entropy(self.head(hidden).float(), wanted, reduction="sum")

    def save(self, folder: Path) -> None:
        """Save the backbone, the head and the tokenizer in ``folder`` as a transformers masked language model.

        A language that is added to a modular encoder later is trained with this head, so that the existing adapters and
        the new one work with the same head.
        """
        backbone = self._backbone[0]
        whole: Any = AutoModelForMaskedLM.from_config(backbone.config)  # type: ignore[no-untyped-call]
        setattr(whole, whole.base_model_prefix, backbone)
        setattr(whole, "lm_head" if hasattr(whole, "lm_head") else "cls", self.head)
        whole.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)

    def corrupt(self, ids: Tensor, vocabulary: int) -> tuple[Tensor, Tensor]:
        """Replace some of the tokens for the model to predict.

        Parameters
        ----------
        ids
            ``(n, t)`` int64 token ids. Special tokens are never chosen.
        vocabulary
            The number of tokens from which replacements are drawn.

        Returns
        -------
        tuple of torch.Tensor
            The corrupted ids, and the boolean mask of the positions to predict, both ``(n, t)``.
        """
        ordinary = ~torch.isin(ids, torch.tensor(self.specials, device=ids.device))
        draw = torch.rand(ids.shape, device=ids.device)
        chosen = ordinary & (draw < self.probability)
        # One draw serves both choices: conditional on being below the probability, it is uniform again.
        corrupted = ids.masked_fill(chosen & (draw < 0.8 * self.probability), self.mask)
        swapped = chosen & (draw >= 0.8 * self.probability) & (draw < 0.9 * self.probability)
        return torch.where(swapped, torch.randint_like(ids, vocabulary), corrupted), chosen


class MaskedObjective(nn.Module):
    """Masked language modelling as the objective of a stage.

    Parameters
    ----------
    model
        The encoder to train, except for its frozen parameters. Its forward pass must be that of its transformer alone
        (:func:`mlret.training.backbones.backbone.as_transformer_alone`).
    language_model
        The masked language model over the encoder's backbone.
    """

    def __init__(self, model: BaseModel, language_model: MaskedLanguageModel) -> None:
        super().__init__()
        self.model = model
        self.language_model = language_model

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> dict[str, Tensor]:
        """Return the loss of a batch that has one column of texts; ``labels`` is ignored."""
        (features,) = sentence_features
        # Through the encoder: several processes average only the gradients of its own forward pass.
        return {"mlm": self.language_model(features, self.model)}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the report of missing weights by transformers, because an encoder without a head is expected here."""
    before = logging.get_verbosity()
    logging.set_verbosity(40)  # errors only
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _prediction_head(backbone: Any, pretrained: str | None, *, needed: bool) -> nn.Module:
    """Return the head that the architecture defines, tied to the backbone's embeddings."""
    missing: set[str] = set()
    if pretrained is not None and (Path(pretrained) / WEIGHTS).is_file():  # quantised encoders have no head
        if needed:
            raise InputError(f"{pretrained} has no head that predicts tokens: name a masked language model")
        pretrained = None
    try:
        if pretrained is not None:
            with _quiet():
                whole, info = AutoModelForMaskedLM.from_pretrained(
                    pretrained, dtype=backbone.dtype, output_loading_info=True
                )
            missing = set(info["missing_keys"])
            _check_size(whole, backbone, pretrained)
            # Tokens may have been added to the encoder, such as markers.
            whole.resize_token_embeddings(backbone.get_input_embeddings().num_embeddings, mean_resizing=False)
        else:
            config = type(backbone.config).from_dict({**backbone.config.to_dict(), "num_hidden_layers": 0})
            whole = AutoModelForMaskedLM.from_config(config)  # type: ignore[no-untyped-call]
    except (ValueError, OSError) as error:
        reason = first_line(error)
        raise InputError(
            f"no masked-language head for this backbone ({reason}): remove masked language modelling"
        ) from error
    head = getattr(whole, "lm_head", None) or getattr(whole, "cls", None)
    if not isinstance(head, nn.Module):
        raise InputError(f"{type(whole).__name__} has no head that can be used alone: remove masked language modelling")
    if needed and any(name.startswith(("lm_head.", "cls.")) for name in missing):
        raise InputError(f"{pretrained} has no head that predicts tokens: name a masked language model")
    output = whole.get_output_embeddings()
    output.weight = backbone.get_input_embeddings().weight
    return head


def _check_size(whole: Any, backbone: Any, name: str) -> None:
    width, tokens = whole.config.hidden_size, whole.get_input_embeddings().num_embeddings
    if width != backbone.config.hidden_size or tokens > backbone.get_input_embeddings().num_embeddings:
        raise InputError(
            f"{name} has a head for another encoder ({tokens:,} tokens, width {width}): name a masked language model "
            "with the encoder's vocabulary and width"
        )
