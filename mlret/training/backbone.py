"""Build the XLM-R-shaped encoder that a recipe trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

from mlret.encoders.token_weights import TokenWeights
from mlret.training.recipe import BackboneSettings


def build_backbone(
    settings: BackboneSettings, tokenizer: PreTrainedTokenizerFast, *, folder: Path, seed: int
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

    model.forward = forward  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        del model.forward
