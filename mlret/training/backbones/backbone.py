"""Build the encoder that a recipe trains: a new one in XLM-R's shape, or one loaded from a folder or the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.base.model import BaseModel
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

from mlret.encoders.adapters import route_if_modular, with_adapters
from mlret.encoders.bag_of_words import token_embeddings, token_weights
from mlret.encoders.calibration import Calibration
from mlret.encoders.late_interaction import multi_vector_encoder
from mlret.encoders.loading import is_multi_vector, load_encoder
from mlret.encoders.longest_input import keep_within_positions, positions_of
from mlret.encoders.multi_vector import load_token_encoder
from mlret.encoders.token_weights import TokenWeights
from mlret.errors import InputError, first_line
from mlret.training.backbones.layers import keep_layers, set_dropout
from mlret.training.recipe import MultiVectorSettings, NewBackbone, PretrainedBackbone

AnyModel = SentenceTransformer | MultiVectorEncoder
_DESCRIPTION = ["config.json", "config_sentence_transformers.json", "modules.json"]
# The longest input, in tokens, of an encoder that is made from a plain transformers model.
_MAX_LENGTH = 128


def build_backbone(
    settings: NewBackbone, tokenizer: PreTrainedTokenizerFast, *, folder: Path, seed: int
) -> SentenceTransformer:
    """Build an untrained encoder of XLM-R layers, a learned weight for each token, and weighted mean pooling.

    Every layer starts as the identity: the last linear map of each of its two residual branches is zero, and so
    are the position embeddings. The encoder is then a bag of words that training deepens. This lets a small model
    learn from little text, and it makes skipping the layers exact at first.

    Parameters
    ----------
    settings
        Shape of the model.
    tokenizer
        Tokenizer of the model.
    folder
        Folder that the untrained backbone is written to and loaded from again.
    seed
        Seed of the initial weights.

    Returns
    -------
    SentenceTransformer
        The encoder. The scale of its embeddings' layer norm is frozen.
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
    # The layer norm removes the norm of each token's vector, which expresses how much the token matters. These weights
    # restore it.
    weights = TokenWeights(len(tokenizer))
    return fix_embedding_norm(SentenceTransformer(modules=[transformer, weights, Pooling(settings.hidden, "mean")]))


def load_backbone(
    settings: PretrainedBackbone, multi_vector: MultiVectorSettings | None = None, *, seed: int = 0
) -> AnyModel:
    """Load an existing model: a transformers model, to which pooling is added, or an encoder of either kind.

    Parameters
    ----------
    settings
        Which model to load, and whether it gets language adapters.
    multi_vector
        If given, the encoder gets a projection that gives each token a vector.
    seed
        Seed of the weights of that projection.

    Returns
    -------
    SentenceTransformer or MultiVectorEncoder
        The loaded encoder; a ``MultiVectorEncoder`` if it gives each token a vector.

    Raises
    ------
    InputError
        If there is no such model, if it is an encoder and the settings name a pooling, if it lacks a layer to keep, or
        if it already has the adapters or token vectors that the settings ask for.
    """
    model = _loaded(settings)
    if settings.prompts == "drop":
        model.prompts = {}
    if settings.layers is not None:
        keep_layers(model, settings.layers)
    if settings.dropout is not None:
        set_dropout(model, settings.dropout)
    if settings.adapters is not None:
        with_adapters(model, **settings.adapters.model_dump())
    if multi_vector is None:
        return model
    if not isinstance(model, SentenceTransformer):
        raise InputError(f"{settings.model} has a vector for each token already: remove the key 'multi_vector'")
    return multi_vector_encoder(model, **multi_vector.model_dump(), seed=seed)


def _loaded(settings: PretrainedBackbone) -> AnyModel:
    source = settings.source
    described = _description(source)
    if is_multi_vector(described):
        return load_token_encoder(source).model
    if (described / "modules.json").is_file():
        if settings.pooling is not None:
            raise InputError(f"{settings.model} is an encoder with a pooling of its own: remove backbone.pooling")
        model = load_encoder(source).model
        if settings.max_length is not None:
            _set_longest_input(model, settings.max_length)
        return model
    try:
        transformer = Transformer(source, max_seq_length=settings.max_length or _MAX_LENGTH)
    except (OSError, ValueError) as error:
        reason = first_line(error)
        raise InputError(
            f"backbone.model: {settings.model!r} cannot be loaded ({reason}); give a folder with its weights"
        ) from error
    if settings.max_length is not None:
        _set_longest_input(transformer, settings.max_length)
    keep_within_positions(transformer)
    dims = transformer.get_embedding_dimension()
    model = SentenceTransformer(modules=[transformer, Pooling(dims, settings.pooling or "cls")])
    route_if_modular(model)
    return model


def _set_longest_input(model: Any, tokens: int) -> None:
    first = model if isinstance(model, Transformer) else model[0]
    positions = positions_of(first.model) if isinstance(first, Transformer) else None
    if positions is not None and tokens > positions:
        raise InputError(f"backbone.max_length {tokens}: the model takes {positions} tokens at most; lower it")
    model.max_seq_length = tokens


def _description(source: str) -> Path:
    """Return a folder with the files that describe the model: its own folder, or the hub's copy of these files."""
    folder = Path(source)
    if folder.exists() or folder.is_absolute() or len(folder.parts) > 2:
        return folder
    try:
        return Path(snapshot_download(source, allow_patterns=_DESCRIPTION))
    except (OSError, ValueError):  # loading the model reports the reason
        return folder


def trainable(model: AnyModel) -> tuple[AnyModel, list[nn.Module]]:
    """Return an encoder without the modules that follow from training, and the modules that were removed.

    Normalisation and calibration are removed. An encoder that gives each token a vector is returned unchanged. Modules
    are shared with ``model``, not copied.

    Returns
    -------
    tuple
        The encoder to train, and the list of removed modules, in their order.
    """
    if isinstance(model, MultiVectorEncoder):
        return model, []
    kept = [module for module in model.children() if not isinstance(module, Normalize | Calibration)]
    body = assembled(kept, model)
    if token_weights(body) is not None:
        fix_embedding_norm(body)
    return body, [module for module in model.children() if module not in kept]


def assembled(modules: Iterable[nn.Module], model: SentenceTransformer) -> SentenceTransformer:
    """Return an encoder that consists of ``modules`` and has the prompts of ``model``."""
    prompts: Any = model.prompts
    return SentenceTransformer(modules=[*modules], prompts=prompts, default_prompt_name=model.default_prompt_name)


def fix_embedding_norm(model: SentenceTransformer) -> SentenceTransformer:
    """Freeze the scale of the embeddings' layer norm, which is one, and return the model. The change is in place.

    Normalising once more in each layer then changes nothing, so the layers start as the identity.
    """
    token_embeddings(model).LayerNorm.requires_grad_(False)
    return model


def restore_embedding_length(model: BaseModel) -> None:
    """Scale the embedding of every token back to the length that it started with, in place.

    A layer norm follows the embeddings, so the encoder's output does not change while its layers are the identity. The
    embeddings grow as they are trained, and an optimizer step changes the direction of a longer vector less. Without
    this, a second stage would hardly change what the first one learned.
    """
    table = token_embeddings(model).word_embeddings.weight.data
    table -= table.mean(dim=1, keepdim=True)
    table *= _transformer(model).config.initializer_range / table.std(dim=1, keepdim=True).clamp_min(1e-6)


def _transformer(model: BaseModel) -> Any:
    transformer: Any = model[0]
    return transformer.model


@contextmanager
def as_bag_of_words(model: BaseModel) -> Iterator[None]:
    """Skip the Transformer layers within this context, and normalise each different token of a batch only once.

    While the layers are the identity (see :func:`build_backbone`) the result is exact, apart from dropout, and about
    thirty times faster: a text is then the weighted mean of the normalised embeddings of its tokens.
    """
    embeddings = token_embeddings(model)
    weights: Any = model[1]
    padding = embeddings.word_embeddings.padding_idx

    def forward(features: dict[str, Tensor], **_: object) -> dict[str, Tensor]:
        # Only the rows that occur in the batch are normalised: they are a small part of the table.
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
def as_transformer_alone(model: BaseModel) -> Iterator[None]:
    """Skip all modules after the transformer while the model is in training mode, within this context.

    A forward pass then returns the transformer's ``token_embeddings``. In evaluation mode the encoder is complete.
    """
    transformer: Any = model[0]
    whole = model.forward

    def forward(features: dict[str, Any], **options: Any) -> dict[str, Any]:
        found: dict[str, Any] = transformer(features) if model.training else whole(features, **options)
        return found

    with _forward_replaced(model, forward):
        yield


@contextmanager
def in_mini_batches(model: BaseModel, size: int) -> Iterator[None]:
    """Encode at most ``size`` texts at once in every forward pass, and keep no activations between the parts.

    The backward pass encodes each part once more. Memory use is that of one part, whatever the batch size; the
    gradients are those of the whole batch (GradCache, arXiv 2101.06983), dropout included.
    """
    whole = model.forward

    def forward(features: dict[str, Any], **options: Any) -> dict[str, Any]:
        rows, width = features["input_ids"].shape

        def encode(some: dict[str, Any]) -> tuple[Tensor, ...]:
            found = whole(dict(some), **options)
            if "sentence_embedding" in found:
                return (found["sentence_embedding"],)
            missing = (0, width - found["token_embeddings"].shape[1])
            tokens = functional.pad(found["token_embeddings"], (0, 0, *missing))
            return tokens, functional.pad(found["attention_mask"], missing)

        parts = []
        for start in range(0, rows, size):
            some = {
                key: value[start : start + size] if _has_rows(value, rows) else value for key, value in features.items()
            }
            # A part is cut to its own longest text, which may be shorter than that of the whole batch.
            used = some["attention_mask"].bool() | some.get("query_expansion_positions", some["attention_mask"]).bool()
            longest = int(used.any(dim=0).nonzero().max()) + 1
            for key, value in some.items():
                if _has_rows(value, len(used)) and value.shape[1:] == (width,):
                    some[key] = value[:, :longest]
            parts.append(checkpoint(encode, some, use_reentrant=False) if torch.is_grad_enabled() else encode(some))
        columns = [torch.cat(column) for column in zip(*parts, strict=True)]
        names = ("sentence_embedding",) if len(columns) == 1 else ("token_embeddings", "attention_mask")
        return features | dict(zip(names, columns, strict=True))

    with _forward_replaced(model, forward):
        yield


def _has_rows(value: object, rows: int) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0 and len(value) == rows


@contextmanager
def _forward_replaced(model: BaseModel, forward: Callable[..., dict[str, Any]]) -> Iterator[None]:
    before = vars(model).get("forward")
    model.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        del model.forward
        if before is not None:
            model.forward = before  # type: ignore[method-assign]
