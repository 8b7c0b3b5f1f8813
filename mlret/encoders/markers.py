"""Marker tokens that tell queries and documents apart, placed after the first token of each."""

from __future__ import annotations

import re
from typing import Any

import torch
from transformers import AddedToken

from mlret.errors import InputError

NEW_MARKERS = ("[Q]", "[D]")
_UNUSED = re.compile(r"\[unused(\d+)\]")
# Texts that must be tokenised the same with a marker; the spaced probes only if the tokenizer can satisfy them.
_PROBES = ("the cat", "Ünïcödé Straße", "你好世界", "12 (x)", "שלום עולם")
_SPACED_PROBES = (" the cat", "  12")


def choose_markers(tokenizer: Any) -> tuple[str, str]:
    """Return the markers of queries and documents: two unused tokens of the vocabulary, as BERT has, or new tokens."""
    unused = sorted((int(found[1]), piece) for piece in tokenizer.get_vocab() if (found := _UNUSED.fullmatch(piece)))
    return (unused[0][1], unused[1][1]) if len(unused) > 1 else NEW_MARKERS


def add_markers(backbone: Any, tokenizer: Any, markers: tuple[str, str], *, seed: int) -> None:
    """Make the markers special tokens that are never split; markers that the vocabulary lacks get new embeddings.

    New embeddings are drawn from the normal distribution of all others, dimension by dimension.

    Parameters
    ----------
    backbone
        A model of transformers; changed in place.
    tokenizer
        Its tokenizer; changed in place.
    markers
        The markers of queries and of documents.
    seed
        Random seed of the new embeddings.
    """
    vocabulary = tokenizer.get_vocab()
    new = [marker for marker in dict.fromkeys(markers) if marker not in vocabulary]
    keep_whole(tokenizer, markers)
    if not new:
        return
    old = backbone.get_input_embeddings().weight.detach()
    mean, deviation = old.float().mean(dim=0), old.float().std(dim=0)
    ids = tokenizer.convert_tokens_to_ids(new)
    if max(ids) >= len(old):
        backbone.resize_token_embeddings(max(ids) + 1, mean_resizing=False)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(ids), old.shape[1], generator=generator).to(old.device)
    rows = backbone.get_input_embeddings().weight
    rows.data[ids] = (mean + deviation * noise).to(rows.dtype)


def keep_whole(tokenizer: Any, tokens: tuple[str, ...]) -> None:
    """Make a tokenizer emit each of some tokens as a single token wherever a text contains it; changed in place.

    Parameters
    ----------
    tokenizer
        A tokenizer of transformers.
    tokens
        The tokens, which are added to the vocabulary if necessary.
    """
    split = [token for token in dict.fromkeys(tokens) if tokenizer.tokenize(token) != [token]]
    added = [AddedToken(token, normalized=False, special=True) for token in split]
    if added:
        tokenizer.add_tokens(added, special_tokens=True)


def prompt_of(tokenizer: Any, marker: str) -> str:
    """Return the prompt that puts a marker after a text's first token and leaves all other tokens unchanged.

    ColBERT inserts the marker's id among the token ids; sentence-transformers writes a prompt before the text, and
    whether a space belongs between them depends on the tokenizer.

    Parameters
    ----------
    tokenizer
        A tokenizer of transformers.
    marker
        The marker token, which is in the vocabulary.

    Raises
    ------
    InputError
        If no prompt does that.
    """
    for probes in (_PROBES + _SPACED_PROBES, _PROBES):
        for prompt in (marker, marker + " "):
            if all(tokenizer(prompt + text).input_ids == _inserted(tokenizer, marker, text) for text in probes):
                return prompt
    raise InputError(f"the tokenizer cannot write the marker {marker!r} before a text without changing its tokens")


def _inserted(tokenizer: Any, marker: str, text: str) -> list[int]:
    ids: list[int] = tokenizer(text).input_ids
    place = 1 if ids and ids[0] in tokenizer.all_special_ids else 0
    return [*ids[:place], tokenizer.convert_tokens_to_ids(marker), *ids[place:]]
