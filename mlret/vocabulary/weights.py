"""Cut a model's weights to the rows of the kept tokens and renumber the token ids in its configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from mlret.errors import InputError
from mlret.vocabulary.paging import rows_of

_ID_KEY = re.compile(r"(^|_)token_(id|ids|index)$|^(begin_)?suppress_tokens$|^(bad|force)_words_ids$")
_QUANTISED = (
    "the model's weights are quantised (8 bits or fewer): load it in float32, float16 or bfloat16, trim it, and "
    "quantise what comes of it"
)
_SIZE_KEYS = ("vocab_size", "decoder_vocab_size", "encoder_vocab_size")


def refuse_quantised(config: PreTrainedConfig) -> None:
    """Raise :class:`InputError` if a configuration says that the weights are quantised, before they are loaded."""
    if getattr(config, "quantization_config", None) is not None:
        raise InputError(_QUANTISED)


def vocabulary_rows(model: PreTrainedModel) -> int:
    """Return the number of rows of the input embeddings, which may exceed the number of tokens of the tokenizer.

    Raises
    ------
    InputError
        If the model has no plain table of input embeddings, or its weights are quantised.
    """
    if getattr(model, "is_quantized", False) or getattr(model, "quantization_method", None) is not None:
        raise InputError(_QUANTISED)
    refuse_quantised(model.config)
    try:
        embeddings = model.get_input_embeddings()
    except NotImplementedError:
        embeddings = None
    if not isinstance(embeddings, nn.Embedding):
        raise InputError(
            f"{type(model).__name__} looks tokens up in {type(embeddings).__name__}, not in a table of embeddings: "
            "its vocabulary cannot be trimmed"
        )
    if not embeddings.weight.is_floating_point():
        raise InputError(f"the model's embeddings are {embeddings.weight.dtype}: load it in float32 and trim that")
    return embeddings.num_embeddings


def special_ids(model: PreTrainedModel) -> set[int]:
    """Return all token ids in the configuration and the generation configuration."""
    found: set[int] = set()

    def note(token: int) -> int:
        found.add(token)
        return token

    for config in _configs(model):
        for key, value in _own(config).items():
            _moved(key, value, note)
    return {token for token in found if token >= 0}


def positions_start_at_padding(model: PreTrainedModel) -> bool:
    """Return whether positions start at the padding token's id, as in RoBERTa, M2M-100 and related models."""
    return any(
        "position" in name.rpartition(".")[-1] and getattr(module, "padding_idx", None) is not None
        for name, module in model.named_modules()
    )


def shared_tables(model: PreTrainedModel) -> list[Tensor]:
    """Return the tensors that :func:`cut_weights` replaces, which a copy of the model can therefore share."""
    return [parameter for module in _tables(model) for parameter in module.parameters(recurse=False)]


def cut_weights(model: PreTrainedModel, kept: Tensor, *, sole: bool = False) -> None:
    """Cut a model to the rows of the kept tokens, in place.

    This changes input embeddings, tied and untied output heads, the heads' biases, ``final_logits_bias``, and every id
    in the configuration and generation configuration.

    Parameters
    ----------
    model
        Any model of transformers with a table of input embeddings.
    kept
        ``(n,)`` int64 in ascending order: the old id of each new id.
    sole
        Whether nothing else uses the model's tables, so that the parts already read can be paged out.

    Raises
    ------
    InputError
        If there remains a weight, unknown to mlret, that has the old vocabulary or another vocabulary as a dimension.
    """
    rows = vocabulary_rows(model)
    tables = _tables(model)
    _refuse_unknown(model, tables, rows)
    new_id = {int(old): new for new, old in enumerate(kept)}
    _cut_tables(tables, kept, rows, new_id, sole=sole)
    _cut_buffers(model, kept, rows, new_id)
    for config in _configs(model):
        for key, value in _own(config).items():
            if key in _SIZE_KEYS and value == rows:
                setattr(config, key, len(kept))
            elif (moved := _moved(key, value, lambda token: new_id.get(token, token))) != value:
                setattr(config, key, moved)


def _cut_tables(tables: list[nn.Module], kept: Tensor, rows: int, new_id: dict[int, int], *, sole: bool) -> None:
    """Cut the parameters of embeddings and heads, so that tied weights remain one tensor."""
    done: dict[int, nn.Parameter] = {}
    for module in tables:
        for name, parameter in list(module.named_parameters(recurse=False)):
            if len(parameter) == rows:
                if id(parameter) not in done:
                    done[id(parameter)] = nn.Parameter(
                        rows_of(parameter.data, kept, sole=sole), requires_grad=parameter.requires_grad
                    )
                setattr(module, name, done[id(parameter)])
        if isinstance(module, nn.Embedding):
            module.num_embeddings = len(kept)
            if module.padding_idx is not None:
                module.padding_idx = new_id.get(module.padding_idx)
        if isinstance(module, nn.Linear):
            module.out_features = len(kept)


def _cut_buffers(model: PreTrainedModel, kept: Tensor, rows: int, new_id: dict[int, int]) -> None:
    """Cut the buffers over the vocabulary, and the sizes and padding ids that modules keep for themselves."""
    for module in model.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            if _is_logit_buffer(name, buffer, rows):
                setattr(module, name, buffer[..., kept.to(buffer.device)])
        own = vars(module)
        if isinstance(padding := own.get("padding_idx"), int) and not isinstance(module, nn.Embedding):
            own["padding_idx"] = new_id.get(padding, padding)
        if own.get("vocab_size") == rows:
            own["vocab_size"] = len(kept)


def _tables(model: PreTrainedModel) -> list[nn.Module]:
    """Return modules whose first dimension is the vocabulary: embeddings, heads, modules tied to them, head biases."""
    rows = vocabulary_rows(model)
    found: list[nn.Module] = [module for module in _vocabulary_modules(model) if len(module.weight) == rows]
    weights = {id(module.weight) for module in found}
    for module in model.modules():
        tied = id(getattr(module, "weight", None)) in weights
        # BERT and XLM-R keep the bias of the head one level above it, DeBERTa beside no weight at all.
        bias = None if "weight" in module._parameters else module._parameters.get("bias")
        if tied or (bias is not None and bias.shape == (rows,)):
            found.append(module)
    return list({id(module): module for module in found}.values())


def _vocabulary_modules(model: PreTrainedModel) -> Iterator[nn.Embedding | nn.Linear]:
    """Yield the input embeddings and output heads that the model and its submodels declare."""
    for part in model.modules():
        if isinstance(part, PreTrainedModel):
            for name in ("get_input_embeddings", "get_output_embeddings"):
                try:
                    module = getattr(part, name)()
                except (NotImplementedError, AttributeError):
                    continue
                if isinstance(module, nn.Embedding | nn.Linear):
                    yield module


def _refuse_unknown(model: PreTrainedModel, tables: list[nn.Module], rows: int) -> None:
    for module in _vocabulary_modules(model):
        # DeBERTa declares the square layer below its head as the head.
        if len(module.weight) not in (rows, module.weight.shape[1]):
            raise InputError(
                f"{type(model).__name__} has two vocabularies, of {rows:,} and {len(module.weight):,} rows: mlret "
                "trims models whose input and output share one"
            )
    for config in _configs(model):
        if getattr(config, "vocab_size_per_layer_input", None):
            raise InputError(f"{type(model).__name__} has a table of tokens in every layer: mlret does not trim these")
    known = {id(parameter) for module in tables for parameter in module.parameters(recurse=False)}
    # A small vocabulary may be as large as a layer by chance.
    others = {
        value
        for config in _configs(model)
        for key, value in _own(config).items()
        if isinstance(value, int) and key not in _SIZE_KEYS
    }
    if rows in others:
        return
    for name, parameter in model.named_parameters():
        if rows in parameter.shape and id(parameter) not in known:
            raise InputError(
                f"{name} of {type(model).__name__} has the vocabulary as a dimension {tuple(parameter.shape)}, and "
                "mlret does not know what for: this model cannot be trimmed safely"
            )


def _is_logit_buffer(name: str, buffer: Tensor, rows: int) -> bool:
    return name == "final_logits_bias" and buffer.shape[-1:] == torch.Size([rows])


def _configs(model: PreTrainedModel) -> Iterator[Any]:
    """Yield the model's configuration, nested configurations and the generation configuration, each once."""
    waiting: list[Any] = [model.config, getattr(model, "generation_config", None)]
    waiting += [part.config for part in model.modules() if isinstance(part, PreTrainedModel)]
    seen: set[int] = set()
    while waiting:
        config = waiting.pop(0)
        if config is None or id(config) in seen:
            continue
        seen.add(id(config))
        yield config
        waiting += [value for value in _own(config).values() if isinstance(value, PreTrainedConfig)]


def _own(config: Any) -> dict[str, Any]:
    return dict(vars(config))


def _moved(key: str, value: Any, move: Callable[[int], int]) -> Any:
    """Return a configuration value with its token ids renumbered; other values are returned unchanged."""
    if key == "forced_decoder_ids" and value:
        return [[place, move(token)] for place, token in value]
    if key == "sequence_bias" and value:
        if isinstance(value, dict):
            return {tuple(map(move, ids)): bias for ids, bias in value.items()}
        return [[list(map(move, ids)), bias] for ids, bias in value]
    return _each_moved(value, move) if _ID_KEY.search(key) else value


def _each_moved(value: Any, move: Callable[[int], int]) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return move(value)
    if isinstance(value, list | tuple):
        return type(value)(_each_moved(inner, move) for inner in value)
    return value
