"""Masked language modelling, alone or beside a contrastive objective."""

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
from mlret.errors import InputError
from mlret.training.ranks import average_gradients

_POSITIONS_AT_ONCE = 2048


class MaskedLanguageModel(nn.Module):
    """Predict masked tokens with an encoder's backbone (BERT, arXiv 1810.04805, section 3.1).

    The head is transformers' own for the backbone's architecture; its output weights are the input embeddings.

    Parameters
    ----------
    model
        The encoder whose first module is a transformers backbone.
    pretrained
        Folder or hub id to take the head's weights from; by default they start at random.
    frozen
        Leave the head as it is; then ``pretrained`` must hold one.
    probability
        Share of the tokens to predict: of these 80 % are masked, 10 % replaced at random, 10 % left.

    Raises
    ------
    InputError
        If the tokenizer has no mask token, transformers has no such head for the architecture, or that of
        ``pretrained`` is missing though it is to stay, or is of another size.
    """

    def __init__(
        self, model: BaseModel, *, pretrained: str | None = None, frozen: bool = False, probability: float = 0.15
    ) -> None:
        super().__init__()
        tokenizer: Any = model.tokenizer
        if tokenizer.mask_token_id is None:
            raise InputError("masked language modelling needs a tokenizer with a mask token: leave it out")
        transformer: Any = model[0]
        self._backbone = [transformer.model]  # in a list: it is the encoder's, not this module's
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
        """The mean cross-entropy over the masked positions of ``input_ids`` ``(n, t)``; 0 where there are none.

        ``encoder`` gives the backbone's ``token_embeddings`` in its place, where the forward pass is more than the
        backbone's own.
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
        # The logits of all positions at once would take more memory than everything else together.
        parts = [
            checkpoint(self._cross_entropy, rows, ids, use_reentrant=False)
            for rows, ids in zip(*(torch.split(t, _POSITIONS_AT_ONCE) for t in (hidden, wanted)), strict=True)
        ]
        return torch.stack(parts).sum() / len(wanted)

    def _cross_entropy(self, hidden: Tensor, wanted: Tensor) -> Tensor:
        return functional.cross_entropy(self.head(hidden).float(), wanted, reduction="sum")

    def save(self, folder: Path) -> None:
        """Write backbone, head and tokenizer as a masked language model of transformers.

        Of a modular encoder this is what a language that comes later learns with: the adapters there are and the new
        one then speak to the same head.
        """
        backbone = self._backbone[0]
        whole: Any = AutoModelForMaskedLM.from_config(backbone.config)  # type: ignore[no-untyped-call]
        setattr(whole, whole.base_model_prefix, backbone)
        setattr(whole, "lm_head" if hasattr(whole, "lm_head") else "cls", self.head)
        whole.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)

    def corrupt(self, ids: Tensor, vocabulary: int) -> tuple[Tensor, Tensor]:
        """Corrupted ids, and the boolean mask of the positions to predict; special tokens are left alone."""
        ordinary = ~torch.isin(ids, torch.tensor(self.specials, device=ids.device))
        draw = torch.rand(ids.shape, device=ids.device)
        chosen = ordinary & (draw < self.probability)
        # One draw serves both choices: below the probability it is uniform again.
        corrupted = ids.masked_fill(chosen & (draw < 0.8 * self.probability), self.mask)
        swapped = chosen & (draw >= 0.8 * self.probability) & (draw < 0.9 * self.probability)
        return torch.where(swapped, torch.randint_like(ids, vocabulary), corrupted), chosen


class MaskedObjective(nn.Module):
    """Masked language modelling as a stage of its own.

    Parameters
    ----------
    model
        The encoder, whose forward pass is its transformer's alone
        (:func:`mlret.training.backbones.backbone.as_transformer_alone`); this learns, or what of it is not frozen.
    language_model
        The task on that backbone.
    """

    def __init__(self, model: BaseModel, language_model: MaskedLanguageModel) -> None:
        super().__init__()
        self.model = model
        self.language_model = language_model

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> dict[str, Tensor]:
        """The loss of a batch of one column."""
        (features,) = sentence_features
        # Through the encoder: several processes average the gradients of what goes through it.
        return {"mlm": self.language_model(features, self.model)}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's report of missing weights: an encoder has no head, and one at random is what is wanted."""
    before = logging.get_verbosity()
    logging.set_verbosity(40)  # errors alone
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _prediction_head(backbone: Any, pretrained: str | None, *, needed: bool) -> nn.Module:
    """The architecture's own head, tied to the backbone's embeddings."""
    missing: set[str] = set()
    if pretrained is not None and (Path(pretrained) / WEIGHTS).is_file():  # an encoder stored small has none
        if needed:
            raise InputError(f"{pretrained} holds no head that predicts tokens: name a masked language model")
        pretrained = None
    try:
        if pretrained is not None:
            with _quiet():
                whole, info = AutoModelForMaskedLM.from_pretrained(
                    pretrained, dtype=backbone.dtype, output_loading_info=True
                )
            missing = set(info["missing_keys"])
            _check_size(whole, backbone, pretrained)
            # The encoder may have got tokens of its own, such as markers.
            whole.resize_token_embeddings(backbone.get_input_embeddings().num_embeddings, mean_resizing=False)
        else:
            config = type(backbone.config).from_dict({**backbone.config.to_dict(), "num_hidden_layers": 0})
            whole = AutoModelForMaskedLM.from_config(config)  # type: ignore[no-untyped-call]
    except (ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"no masked-language head for this backbone ({reason}): leave masked language modelling out"
        ) from error
    head = getattr(whole, "lm_head", None) or getattr(whole, "cls", None)
    if not isinstance(head, nn.Module):
        raise InputError(
            f"{type(whole).__name__} has no head that can stand alone: leave masked language modelling out"
        )
    if needed and any(name.startswith(("lm_head.", "cls.")) for name in missing):
        raise InputError(f"{pretrained} holds no head that predicts tokens: name a masked language model")
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
