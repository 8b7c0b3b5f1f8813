"""Write what the light runtime maps from disk beside an encoder's own files: made once, when an encoder is packed."""

from __future__ import annotations

import json
import sys
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from mlret.encoders.light.folder import HEAD, PACKED, QUANTISED, digest_of, layout_of
from mlret.encoders.light.integer_graph import Steps
from mlret.encoders.light.token_folder import EMBEDDINGS, SETTINGS, SKIPPED
from mlret.encoders.light.unigram import DECIMALS, trie_of
from mlret.errors import InputError

if TYPE_CHECKING:
    from mlret.encoders.encoder import Encoder
    from mlret.encoders.token_encoder import TokenEncoder

_NORMALISER = [{"type": "NFKC"}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]
_PRE_TOKENIZER = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
# Texts in which a character is normalised in the company of others: behind and before marks that would move or combine.
_COMPANIES = ("{}", "a\u0301{}\u0334", "a{}\u0301", "q{}\u0334\u0323\u0301", "{}\u0301", "\u1100{}", "{}\u1161")
_LONGEST_LABEL = 2**16
# How much of a channel's range its step takes: on the bundled encoder the least cosine is highest from .6 to .8.
_SHARE = 0.7
# The texts that show the ranges: one in this many passages and questions of the sample, and random tokens, this many
# times each length.
_EVERY = 6
_RANDOM = 6
_LENGTHS = (1, 2, 3, 5, 8, 10, 16, 20, 32, 64)
# The linear layers whose inputs have steps, in the order of Steps.
_MULTIPLIED = (
    ("attention.self.query", "attention.self.key", "attention.self.value"),
    ("intermediate.dense",),
)


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
        and _spelling_in(tokenizer["normalizer"]) is not None
        and tokenizer["pre_tokenizer"] == _PRE_TOKENIZER
        and not any(
            token["single_word"] or token["lstrip"] or token["rstrip"] or token["normalized"]
            for token in tokenizer["added_tokens"]
        )
        and _around(tokenizer["post_processor"]) is not None
    )


def _spelling_in(normaliser: dict[str, Any] | None) -> dict[str, str] | None:
    """Return the characters that a normaliser replaces after NFKC; ``None`` if it does anything else."""
    steps = (normaliser or {}).get("normalizers", [])
    replacements = steps[1:-1]
    if [*steps[:1], *steps[-1:]] != _NORMALISER or any(step["type"] != "Replace" for step in replacements):
        return None
    found = {step["pattern"].get("String", ""): step["content"] for step in replacements}
    # One after the other they do the same as all at once if none replaces what another has written.
    written = set().union(*found.values())
    if len(found) < len(replacements) or any(len(one) != 1 or one in written for one in found):
        return None
    return found


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


def packed_tokenizer(tokenizer: dict[str, Any]) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return a Unigram tokenizer as the arrays that :class:`mlret.encoders.light.unigram.UnigramTokenizer` maps.

    Parameters
    ----------
    tokenizer
        The content of its ``tokenizer.json``.

    Returns
    -------
    tensors : dict
        Name -> array.
    settings : dict
        The parameters of ``UnigramTokenizer`` beside the arrays.

    Raises
    ------
    InputError
        If the tokenizer is not :func:`packable`.
    """
    if not packable(tokenizer):
        raise InputError("this tokenizer is none that can be packed: Unigram, with NFKC and words that start with '▁'")
    vocabulary = tokenizer["model"]["vocab"]
    trie = trie_of([piece for piece, _ in vocabulary])
    if len(trie.alphabet) >= _LONGEST_LABEL:
        raise InputError(f"the tokenizer has {len(trie.alphabet)} characters, and labels have 16 bits")
    scores = np.array([score for _, score in vocabulary], dtype=np.float64)
    decimal = np.rint(scores * DECIMALS).astype(np.int32)
    before, after = _around(tokenizer["post_processor"]) or ([], [])
    settings = {
        "added": {token["content"]: token["id"] for token in tokenizer["added_tokens"]},
        "before": before,
        "after": after,
        "unknown": tokenizer["model"]["unk_id"],
    }
    if spelling := _spelling_in(tokenizer["normalizer"]):
        settings["spelling"] = spelling
    tensors: dict[str, NDArray[Any]] = {
        "trie.first": np.array(trie.first, dtype=np.int32),
        "trie.labels": np.array(trie.labels, dtype=np.uint16),
        "trie.ids": np.array(trie.ids, dtype=np.int32),
        "trie.alphabet": np.frombuffer(trie.alphabet.encode(), dtype=np.uint8),
        "scores": decimal if bool((decimal / DECIMALS == scores).all()) else scores,
        "normaliser.unknown": _unknown_to_library(),
    }
    return tensors, settings


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


def pack_folder(path: Path, encoder: Encoder | None = None, *, mark: str = "") -> None:
    """Write ``light.safetensors`` into an encoder's folder, so that it runs without torch.

    It holds the tokenizer, what the multi-vector head adds to the vocabulary, and the fingerprints, which are computed
    with torch once and for all.

    Parameters
    ----------
    path
        A folder of which sentence-transformers loads an encoder; with ``quantised.safetensors`` or ``onnx/model.onnx``.
    encoder
        The encoder in torch; by default it is loaded from the folder.
    mark
        What is added to the fingerprint where the light runtime's vectors are not those of the folder's own weights.

    Raises
    ------
    InputError
        If the light runtime has no counterpart of one of its modules.
    """
    from mlret.encoders.loading import load_in_torch

    if layout_of(path) is None:
        raise InputError(f"{path} has a module that runs in torch alone: only pooling and calibration may follow")
    encoder = encoder or load_in_torch(path, device="cpu")
    tensors, metadata = _tokenizer_in(path)
    stated = {"digest": digest_of(path), "fingerprint": encoder.fingerprint + mark}
    if (path / QUANTISED).is_file():
        tensors |= _steps(encoder).tensors()
    if (path / HEAD).is_dir():
        from mlret.encoders.head import load_head
        from mlret.encoders.token_encoder import TokenEncoder

        head = TokenEncoder(load_head(path / HEAD, encoder.model))
        stated["token_fingerprint"] = head.fingerprint
        found, described = _packed_head(head.model, len(encoder.model.tokenizer))
        tensors |= found
        metadata[SETTINGS] = json.dumps(described, ensure_ascii=False)
    _write(path, tensors, metadata | {"encoder": json.dumps(stated)})


def pack_token_folder(path: Path, encoder: TokenEncoder, *, mark: str = "") -> None:
    """Write ``light.safetensors`` into the folder of an exported encoder with one vector for each token.

    Parameters
    ----------
    path
        The folder, with ``onnx/model.onnx``.
    encoder
        The encoder in torch: a transformer, a projection, a mask and a normalisation.
    mark
        As for :func:`pack_folder`.
    """
    tensors, metadata = _tokenizer_in(path)
    model: Any = encoder.model
    tokenizer, transformer, mask = model.tokenizer, model[0], model[2]
    lengths = {"query": transformer.query_length, "document": transformer.document_length}
    settings: dict[str, Any] = {"added": {}}
    for task, length in lengths.items():
        settings[task] = {
            "prompt": model.prompts.get(task) or "",
            "longest": length or tokenizer.model_max_length,
            "skips": task in mask.skiplist_tasks,
            "expansion": None,
        }
    if transformer.query_expansion is not None:
        settings["query"] |= _expansion(transformer)
    metadata[SETTINGS] = json.dumps(settings, ensure_ascii=False)
    tensors[SKIPPED] = _skipped(mask, tokenizer)
    tensors[EMBEDDINGS] = np.empty((0, transformer.get_embedding_dimension()), dtype=np.float32)
    stated = {"digest": digest_of(path), "token_fingerprint": encoder.fingerprint + mark}
    _write(path, tensors, metadata | {"encoder": json.dumps(stated)})


def _expansion(transformer: Any) -> dict[str, Any]:
    """Return how long queries are, and how they are filled with mask tokens, in the terms of ``Expansion``."""
    stated, tokenizer = transformer.query_expansion, transformer.tokenizer
    width: int = stated["length"]
    multiple = getattr(transformer, "query_multiple", None)
    longest = width
    if stated["strategy"] == "min":
        limit = transformer.query_length
        longest = max(limit, width) if limit else tokenizer.model_max_length
    filled = {
        "token": tokenizer.convert_tokens_to_ids(stated["token"] or tokenizer.mask_token or tokenizer.eos_token),
        "width": multiple or width,
        "longest": (transformer.query_length or tokenizer.model_max_length) if multiple else None,
        "attended": stated["attend"],
    }
    return {"longest": longest, "expansion": filled}


def _skipped(mask: Any, tokenizer: Any) -> NDArray[np.int64]:
    """Return the sorted ids of the tokens that a mask skips; words that the vocabulary lacks are none."""
    vocabulary = tokenizer.get_vocab()  # which makes a dictionary of all tokens at each call
    known = [word for word in mask.skiplist_words if word in vocabulary]
    return np.array(sorted(set(tokenizer.convert_tokens_to_ids(known))), dtype=np.int64)


def _tokenizer_in(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Return the tensors and the metadata of a folder's tokenizer; nothing if only its own library can run it."""
    tokenizer = json.loads((path / "tokenizer.json").read_text(encoding="utf-8"))
    if not packable(tokenizer):
        return {}, {}
    tensors, settings = packed_tokenizer(tokenizer)
    return tensors, {"tokenizer": json.dumps(settings, ensure_ascii=False)}


def _write(path: Path, tensors: dict[str, NDArray[Any]], metadata: dict[str, str]) -> None:
    save_file(tensors, path / PACKED, metadata=metadata)
    (path / PACKED).chmod(0o644)  # safetensors writes for the owner alone


def _steps(encoder: Encoder) -> Steps:
    """Return the steps of a transformer's activations, by the ranges of their channels.

    Texts of the bundled sample show them; tokens in random order, which no text has, show what is rare.
    """
    import torch

    from mlret.data.sample import load_sample

    network: Any = encoder.model[0].model
    layers = network.encoder.layer
    linear = [[[layer.get_submodule(name) for name in names] for names in _MULTIPLIED] for layer in layers]
    low = np.full((len(layers), len(_MULTIPLIED), linear[0][0][0].in_features), np.inf, dtype=np.float32)
    high = -low

    def record(layer: int, place: int, inputs: Any) -> None:
        found = inputs[0].detach().flatten(0, -2).float().numpy()
        np.minimum(low[layer, place], found.min(axis=0), out=low[layer, place])
        np.maximum(high[layer, place], found.max(axis=0), out=high[layer, place])

    handles = [
        modules[0].register_forward_pre_hook(lambda _, inputs, layer=layer, place=place: record(layer, place, inputs))
        for layer, places in enumerate(linear)
        for place, modules in enumerate(places)
    ]
    sample = load_sample()
    texts = [passage.text for passage in sample.passages[::_EVERY]]
    texts += [question.text for question in list(sample.questions.values())[::_EVERY]]
    generator = torch.Generator().manual_seed(0)
    words = network.get_input_embeddings().weight
    try:
        with torch.inference_mode():
            for text in texts:  # one at a time: padding would count
                encoder.embed([text])
            for length in _LENGTHS * _RANDOM:
                network(torch.randint(len(words), (1, length), generator=generator))
    finally:
        for handle in handles:
            handle.remove()
    columns = [
        [np.max([_largest_in_columns(module) for module in modules], axis=0) for modules in places] for places in linear
    ]
    return Steps.measured(low, high, np.array(columns, dtype=np.float32), share=_SHARE)


def _largest_in_columns(linear: Any) -> NDArray[np.float32]:
    found: NDArray[np.float32] = linear.weight.detach().abs().amax(dim=0).numpy()
    return found


def _packed_head(model: Any, vocabulary: int) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return what a multi-vector head adds to its backbone: markers, their embeddings, tokens without vectors."""
    tokenizer, mask = model.tokenizer, model[2]
    added = {token: number for token, number in tokenizer.get_vocab().items() if number >= vocabulary}
    markers = {}
    for task in ("query", "document"):
        (marker,) = tokenizer(model.prompts[task], add_special_tokens=False).input_ids
        markers[task] = marker
    rows = model[0].model.get_input_embeddings().weight.detach()[vocabulary:].float().numpy()
    tensors = {SKIPPED: _skipped(mask, tokenizer), EMBEDDINGS: rows}
    return tensors, {"added": added, "markers": markers}
