"""Write what the light runtime maps from disk beside an encoder's own files: made once, when an encoder is packed."""

from __future__ import annotations

import json
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from mlret.encoders.light.unigram import DECIMALS, in_trie_order
from mlret.errors import InputError

_NORMALISER = {
    "type": "Sequence",
    "normalizers": [{"type": "NFKC"}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}],
}
_PRE_TOKENIZER = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
# Texts in which a character is normalised in the company of others: behind and before marks that would move or combine.
_COMPANIES = ("{}", "a\u0301{}\u0334", "a{}\u0301", "q{}\u0334\u0323\u0301", "{}\u0301", "\u1100{}", "{}\u1161")
_LONGEST_LABEL = 2**16


def packable(tokenizer: dict[str, Any]) -> bool:
    """Whether the light runtime's own tokenizer gives the same ids as a tokenizer of the tokenizers library.

    Parameters
    ----------
    tokenizer
        The content of its ``tokenizer.json``.
    """
    model = tokenizer["model"]
    return (
        model.get("type") == "Unigram"
        and not model.get("byte_fallback")
        and model.get("unk_id") is not None
        and tokenizer["normalizer"] == _NORMALISER
        and tokenizer["pre_tokenizer"] == _PRE_TOKENIZER
        and not any(
            token["single_word"] or token["lstrip"] or token["rstrip"] or token["normalized"]
            for token in tokenizer["added_tokens"]
        )
        and _around(tokenizer["post_processor"]) is not None
    )


def _around(processor: dict[str, Any] | None) -> tuple[list[int], list[int]] | None:
    """Return the ids that a tokenizer puts before and after a text; ``None`` if it does anything else."""
    if processor is None:
        return [], []
    if processor["type"] != "TemplateProcessing":
        return None
    sides: tuple[list[int], list[int]] = [], []
    after = False
    for entry in processor["single"]:
        if "Sequence" in entry:
            after = True
        else:
            sides[after].extend(processor["special_tokens"][entry["SpecialToken"]["id"]]["ids"])
    return sides if after else None


def pack_tokenizer(tokenizer: dict[str, Any], path: Path) -> None:
    """Write a Unigram tokenizer as arrays that :class:`mlret.encoders.light.unigram.UnigramTokenizer` maps.

    Parameters
    ----------
    tokenizer
        The content of its ``tokenizer.json``.
    path
        The file to write.

    Raises
    ------
    InputError
        If the tokenizer is not :func:`packable`.
    """
    if not packable(tokenizer):
        raise InputError("this tokenizer is none that can be packed: Unigram, with NFKC and words that start with '▁'")
    vocabulary = tokenizer["model"]["vocab"]
    trie = in_trie_order([piece for piece, _ in vocabulary])
    if len(trie["alphabet"]) >= _LONGEST_LABEL:
        raise InputError(f"the tokenizer has {len(trie['alphabet'])} characters, and labels have 16 bits")
    scores = np.array([score for _, score in vocabulary], dtype=np.float64)
    decimal = np.rint(scores * DECIMALS).astype(np.int32)
    before, after = _around(tokenizer["post_processor"]) or ([], [])
    settings = {
        "added": {token["content"]: token["id"] for token in tokenizer["added_tokens"]},
        "before": before,
        "after": after,
        "unknown": tokenizer["model"]["unk_id"],
    }
    tensors = {
        "trie.first": np.array(trie["first"], dtype=np.int32),
        "trie.labels": np.array(trie["labels"], dtype=np.uint16),
        "trie.ids": np.array(trie["ids"], dtype=np.int32),
        "trie.alphabet": np.frombuffer(str(trie["alphabet"]).encode(), dtype=np.uint8),
        "scores": decimal if bool((decimal / DECIMALS == scores).all()) else scores,
        "normaliser.unknown": _unknown_to_library(),
    }
    save_file(tensors, path, metadata={"tokenizer": json.dumps(settings, ensure_ascii=False)})


def _unknown_to_library() -> NDArray[np.int32]:
    """Return the ranges of code points that only later versions of Unicode than the tokenizers library's normalise.

    These are the characters on which the library and Python differ, and those that Python's version does not know.
    """
    from tokenizers.normalizers import NFKC

    library = NFKC().normalize_str
    ranges: list[list[int]] = []
    for point in range(sys.maxunicode + 1):
        character = chr(point)
        kind = unicodedata.category(character)
        if kind == "Cs":
            continue
        if kind == "Cn" or any(
            library(text) != unicodedata.normalize("NFKC", text)
            for text in (company.format(character) for company in _COMPANIES)
        ):
            if ranges and ranges[-1][1] == point - 1:
                ranges[-1][1] = point
            else:
                ranges.append([point, point])
    return np.array(ranges, dtype=np.int32)
