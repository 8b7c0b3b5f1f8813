"""The encoder that a recipe trains: built anew in XLM-R's shape, or taken from a folder or the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

from mlret.encoders.calibration import Calibration
from mlret.encoders.encoder import load_encoder
from mlret.encoders.token_weights import TokenWeights
from mlret.errors import InputError
from mlret.training.recipe import NewBackbone, PretrainedBackbone


def build_backbone(
    settings: NewBackbone, tokenizer: PreTrainedTokenizerFast, *, folder: Path, seed: int
) -> SentenceTransformer:
    """An untrained encoder: XLM-R layers, a learned weight for each token, their weighted mean.

    Every layer starts as the identity: the last linear map of each of its two residual branches is zero, and so
    are the position embeddings. The encoder is then a bag of words that training deepens, which is what lets a
    small model learn from little text, and what makes leaving the layers out exact at first.

    Parameters
    ----------
    settings
        Shape of the model.
    tokenizer
        Its tokenizer.
    folder
        Where the untrained backbone is written on the way.
    seed
        Of the weights.
    """
    torch.manual_seed(seed)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        intermediate_size=settings.feed_forward,
        hidden_dropout_prob=settings.dropout,
        attention_probs_dropout_prob=settings.dropout,
        max_position_embeddings=settings.max_length + 2,  # fairseq's positions start behind the padding id
        type_vocab_size=1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    model = XLMRobertaModel(config)
    with torch.no_grad():
        layers: Any = model.encoder.layer
        for layer in layers:
            for branch in (layer.attention.output.dense, layer.output.dense):
                branch.weight.zero_()
                branch.bias.zero_()
        model.embeddings.position_embeddings.weight.zero_()
        model.embeddings.token_type_embeddings.weight.zero_()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformer = Transformer(str(folder), max_seq_length=settings.max_length)
    # The norm that a layer takes from its tokens' vectors, which told how much each token matters, comes back here.
    weights = TokenWeights(len(tokenizer))
    return fix_embedding_norm(SentenceTransformer(modules=[transformer, weights, Pooling(settings.hidden, "mean")]))


def load_backbone(settings: PretrainedBackbone) -> SentenceTransformer:
    """A model that exists: a transformers model with pooling, or an encoder without its last steps.

    Raises
    ------
    InputError
        If there is no such model, or it is an encoder and the settings name a pooling.
    """
    if (Path(settings.model) / "modules.json").is_file():
        if settings.pooling is not None:
            raise InputError(f"{settings.model} is an encoder with a pooling of its own: remove backbone.pooling")
        model = trainable(load_encoder(settings.model).model)
        model.max_seq_length = settings.max_length
        return model
    try:
        transformer = Transformer(settings.model, max_seq_length=settings.max_length)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"backbone.model: {settings.model!r} cannot be loaded ({reason}); give a folder with its weights, "
            "for example --set backbone.model=FOLDER"
        ) from error
    dims = transformer.get_embedding_dimension()
    return SentenceTransformer(modules=[transformer, Pooling(dims, settings.pooling or "cls")])


def trainable(model: SentenceTransformer) -> SentenceTransformer:
    """An encoder without normalisation and calibration, which follow from training, ready to go on.

    Its modules are taken over, not copied.
    """
    kept = [module for module in model.children() if not isinstance(module, Normalize | Calibration)]
    model = SentenceTransformer(modules=kept)
    return fix_embedding_norm(model) if token_weights(model) is not None else model


def token_weights(model: SentenceTransformer) -> TokenWeights | None:
    """The learned weights of tokens, which encoders of mlret's own kind have."""
    return next((module for module in model.children() if isinstance(module, TokenWeights)), None)


def fix_embedding_norm(model: SentenceTransformer) -> SentenceTransformer:
    """Keep the scale of the embeddings' layer norm at one, in place.

    Normalising once more in each layer then changes nothing, and the layers start as the identity.
    """
    _embeddings(model).LayerNorm.requires_grad_(False)
    return model


def restore_embedding_length(model: SentenceTransformer) -> None:
    """Scale every token's embedding back to the length that it started with, in place.

    A layer norm follows, so the encoder stays what it is while its layers are the identity. But the embeddings grow as
    they are trained, and the longer they are the less an optimizer step turns them: without this, a second stage
    would hardly move what the first one left.
    """
    table = _embeddings(model).word_embeddings.weight.data
    table -= table.mean(dim=1, keepdim=True)
    table *= _transformer(model).config.initializer_range / table.std(dim=1, keepdim=True).clamp_min(1e-6)


def _transformer(model: SentenceTransformer) -> Any:
    transformer: Any = model[0]
    return transformer.model


def _embeddings(model: SentenceTransformer) -> Any:
    return _transformer(model).embeddings


@contextmanager
def as_bag_of_words(model: SentenceTransformer) -> Iterator[None]:
    """Leave the Transformer layers out of every forward pass, and normalise each token of a batch only once.

    Exact, dropout apart, while the layers are the identity (see :func:`build_backbone`), and some thirty times
    faster: a text is then the weighted mean of its tokens' normalised embeddings.
    """
    embeddings = _embeddings(model)
    weights: Any = model[1]
    padding = embeddings.word_embeddings.padding_idx

    def forward(features: dict[str, Tensor], **_: object) -> dict[str, Tensor]:
        # Normalising the batch's own rows alone spares the rest of the table, which is most of it.
        used, ids = features["input_ids"].unique(return_inverse=True)  # type: ignore[no-untyped-call]
        rows = embeddings.LayerNorm(functional.embedding(used, embeddings.word_embeddings.weight))
        weight = functional.embedding(used, weights.token_weights) * (used != padding)[:, None]

        def total(table: Tensor) -> Tensor:
            return functional.embedding_bag(ids, table, mode="sum")

        mean = total(weight * rows) / total(weight).clamp_min(1e-9)
        return features | {"sentence_embedding": mean}

    with _forward_replaced(model, forward):
        yield


@contextmanager
def in_mini_batches(model: SentenceTransformer, size: int) -> Iterator[None]:
    """Encode at most ``size`` texts at once in every forward pass, and keep no activations between.

    The backward pass encodes each part once more. Memory is that of one part, whatever the batch; the gradients are
    those of the whole batch (GradCache, arXiv 2101.06983), dropout included.
    """
    whole = model.forward

    def encode(features: dict[str, Tensor]) -> Tensor:
        embedding: Tensor = whole(dict(features))["sentence_embedding"]
        return embedding

    def forward(features: dict[str, Tensor], **_: object) -> dict[str, Tensor]:
        parts = []
        for start in range(0, len(features["input_ids"]), size):
            mask = features["attention_mask"][start : start + size]
            # A part need not be as wide as the longest text of the whole.
            width = int(mask.sum(dim=1).max())
            some = {name: features[name][start : start + size, :width] for name in ("input_ids", "attention_mask")}
            parts.append(checkpoint(encode, some, use_reentrant=False) if torch.is_grad_enabled() else encode(some))
        return features | {"sentence_embedding": torch.cat(parts)}

    with _forward_replaced(model, forward):
        yield


@contextmanager
def _forward_replaced(model: SentenceTransformer, forward: Callable[..., dict[str, Tensor]]) -> Iterator[None]:
    before = vars(model).get("forward")
    model.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        del model.forward
        if before is not None:
            model.forward = before  # type: ignore[method-assign]
