"""How many tokens a network takes, and encoders that never give it more.

A network with a table of positions fails on a text that is longer than the table. What a folder states cannot be
trusted to say so: its tokenizer may state nothing, and sentence-transformers then takes all rows of the table for
usable, though the networks of RoBERTa's kind (XLM-R, CamemBERT, MPNet, X-MOD) count positions from behind the padding
token's id. So the table itself is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

# transformers writes a number like this where a tokenizer states no longest input.
_UNSTATED = 10**20
# Set on a tokenizer whose longest input was lowered: what it stated before, and to what it was lowered.
_LOWERED = "mlret_lowered_longest_input"
# Parts of a network that do not read text.
_NOT_TEXT = ("vision", "visual", "image", "audio")


def positions_of(network: nn.Module) -> int | None:
    """The longest input that a network's tables of positions allow.

    Parameters
    ----------
    network
        A model of transformers.

    Returns
    -------
    int or None
        In tokens, special ones included. ``None`` where positions are relative, rotary or computed: then the network
        itself sets no limit.
    """
    tables = [rows for name, module in network.named_modules() if (rows := _usable_rows(name, module)) is not None]
    if not tables:
        return None
    # Some tables have spare rows that only the configuration knows of.
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
    # BART and its kin leave the first rows empty.
    return module.num_embeddings - int(getattr(module, "offset", 0))


def keep_within_positions(model: nn.Module) -> None:
    """Lower the longest input of an encoder's tokenizer to what its network takes, in place.

    Text beyond it is cut, where the network would fail. Lengths of queries and documents that are set apart are
    lowered, too. An encoder that states a length that its network takes stays as it is.

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
    """The tokens of a text that a network of transformers and its tokenizer take, and no more than ``most``."""
    positions = positions_of(network)
    if positions is None:
        # XLNet says -1 for no limit.
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
    """What a tokenizer states; a configuration may hold 512.0, or -1 for no limit."""
    return int(stated) if stated and stated > 0 else _UNSTATED


def stated_longest_input(model: Any) -> int | None:
    """What an encoder's folder states as its longest input, whether or not its network takes that much.

    The fingerprint is made of this: lowering a limit that could not be used changes no vector, and indexes that were
    built before it was lowered stay valid.
    """
    now: int | None = model.max_seq_length
    stated, lowered = getattr(model.tokenizer, _LOWERED, (now, now))
    # Set anew since, it is what the caller wants.
    return stated if now == lowered else now


def truncation(longest: int | None) -> dict[str, Any]:
    """The options that make a tokenizer of transformers cut texts at so many tokens, or leave them whole.

    ``None`` and numbers that stand for "no limit" leave them whole: the tokenizers library cannot hold these numbers.
    """
    if longest is None or longest >= _UNSTATED:
        return {"truncation": False}
    return {"truncation": "longest_first", "max_length": longest}
