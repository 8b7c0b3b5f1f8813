"""Determine how many tokens a network accepts, and keep the inputs of encoders within that limit.

A network with a table of positions fails on a text that is longer than the table. The limit that a model folder states
is not reliable: its tokenizer may state none, and sentence-transformers then assumes that all rows of the table are
usable, although networks like RoBERTa (XLM-R, CamemBERT, MPNet, X-MOD) number positions from after the padding token's
id. The limit is therefore derived from the table itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

# transformers uses a number at least this large if a tokenizer states no maximum length.
_UNSTATED = 10**20
# Attribute of a tokenizer whose maximum length was lowered: the stated length and the one that replaced it.
_LOWERED = "mlret_lowered_longest_input"
# Parts of a network that do not read text.
_NOT_TEXT = ("vision", "visual", "image", "audio")


def positions_of(network: nn.Module) -> int | None:
    """Return the longest input that a network's tables of positions allow.

    Parameters
    ----------
    network
        A model of transformers.

    Returns
    -------
    int or None
        Number of tokens, special tokens included. ``None`` if positions are relative, rotary or computed, so that the
        network itself sets no limit.
    """
    tables = [rows for name, module in network.named_modules() if (rows := _usable_rows(name, module)) is not None]
    if not tables:
        return None
    # Some tables have spare rows; only the configuration states how many rows are used.
    configured = getattr(getattr(network, "config", None), "max_position_embeddings", None)
    if isinstance(configured, int) and configured > 0:
        tables.append(configured)
    return max(min(tables), 0)


def _usable_rows(name: str, module: nn.Module) -> int | None:
    last = name.rpartition(".")[-1]
    absolute = ("position" in last and "relative" not in last) or last == "wpe"
    if not absolute or not isinstance(module, nn.Embedding) or any(part in name for part in _NOT_TEXT):
        return None
    if module.padding_idx is not None:
        return module.num_embeddings - module.padding_idx - 1
    # BART and related models leave the first rows unused.
    return module.num_embeddings - int(getattr(module, "offset", 0))


def keep_within_positions(model: nn.Module) -> None:
    """Lower the maximum length of an encoder's tokenizer to what its network accepts, in place.

    Longer texts are then truncated instead of making the network fail. Separate limits for queries and documents are
    lowered as well. An encoder that states a length which its network accepts is not changed.

    Parameters
    ----------
    model
        An encoder of sentence-transformers, or its first module.
    """
    for transformer in _transformers(model):
        tokenizer: Any = transformer.tokenizer
        positions = positions_of(transformer.model)
        stated = tokenizer.model_max_length
        longest = _number(stated) if positions is None else min(_number(stated), positions)
        if stated != longest or type(stated) is not type(longest):
            setattr(tokenizer, _LOWERED, (stated_longest_input(transformer), longest))
            tokenizer.model_max_length = longest
        if positions is not None:
            _lower_lengths_by_task(transformer, positions)


def longest_input(network: nn.Module, tokenizer: Any, *, most: int) -> int:
    """Return the number of tokens that a network and its tokenizer accept, at most ``most``.

    Parameters
    ----------
    network
        A model of transformers.
    tokenizer
        Its tokenizer.
    most
        Upper bound of the result, in tokens.
    """
    positions = positions_of(network)
    if positions is None:
        # XLNet uses -1 for no limit.
        configured = getattr(network.config, "max_position_embeddings", None)
        positions = configured if isinstance(configured, int) and configured > 0 else most
    return min(_number(tokenizer.model_max_length), positions, most)


def _transformers(model: nn.Module) -> Iterator[Any]:
    from sentence_transformers.base.modules import Transformer

    for module in model.modules():
        if isinstance(module, Transformer) and module.tokenizer is not None:
            yield module


def _lower_lengths_by_task(transformer: Any, positions: int) -> None:
    expansion = getattr(transformer, "query_expansion", None)
    if expansion is not None and expansion["length"] > positions:
        transformer.query_expansion = {**expansion, "length": positions}
    for name in ("query_length", "document_length"):
        tokens = getattr(transformer, name, None)
        if tokens is not None and tokens > positions:
            setattr(transformer, name, positions)


def _number(stated: Any) -> int:
    """Return a tokenizer's stated length as an integer; a configuration may hold 512.0, or -1 for no limit."""
    return int(stated) if stated and stated > 0 else _UNSTATED


def stated_longest_input(model: Any) -> int | None:
    """Return the maximum length that an encoder's folder states, whether or not its network accepts that many tokens.

    The fingerprint is computed from this value: lowering a limit that could not be used changes no vector, so indexes
    that were built before it was lowered stay valid.
    """
    now: int | None = model.max_seq_length
    stated, lowered = getattr(model.tokenizer, _LOWERED, (now, now))
    # If the limit was set again after it was lowered, that value is what the caller wants.
    return stated if now == lowered else now


def truncation(longest: int | None) -> dict[str, Any]:
    """Return the options that make a tokenizer of transformers truncate texts to a number of tokens.

    ``None`` and the numbers that mean "no limit" switch truncation off: the tokenizers library cannot represent them.
    """
    if longest is None or longest >= _UNSTATED:
        return {"truncation": False}
    return {"truncation": "longest_first", "max_length": longest}
