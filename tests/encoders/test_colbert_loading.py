"""Test checkpoints of other projects in their layouts, against what these projects compute, written out by hand."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sentence_transformers import MultiVectorEncoder
from transformers import XmodConfig, XmodModel

import mlret
from mlret.encoders.adapters import LanguageTransformer
from mlret.encoders.late_interaction import multi_vector_encoder
from mlret.encoders.loading import is_multi_vector
from mlret.encoders.multi_vector import load_any_encoder
from mlret.errors import InputError
from tests.encoders.test_late_interaction import plain
from tests.vocabulary import made

TEXTS = ["The cat (black) sat: on the mat.", "Поезд — к морю?", "你好。世界!", "a", "samaki wawili na ndizi " * 9]
DIMS, QUERY, DOCUMENT = 16, 12, 40


def backbone(name: str) -> tuple[Any, Any]:
    """Make a transformers model and its tokenizer, also of X-MOD's kind with two languages whose adapters differ."""
    tokenizer = made.fast("wordpiece" if name.endswith("bert") else "byte-bpe" if name == "bytes" else "unigram")
    if name.endswith("bert"):
        tokenizer.add_tokens(["[unused0]", "[unused1]"])
    if name != "x-mod":
        return made.model(name if name.endswith("bert") else "xlm-r masked", len(tokenizer)), tokenizer
    torch.manual_seed(0)
    config = XmodConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=66, type_vocab_size=1, languages=["en_XX", "sw_KE"], default_language="en_XX",
        initializer_range=0.3,
    )  # fmt: skip
    return XmodModel(config).eval(), tokenizer


def stanford(folder: Path, name: str, *, binary: bool = False, **metadata: Any) -> tuple[Any, Any, torch.Tensor]:
    """Write a checkpoint as ``HF_ColBERT.save_pretrained`` and ``ColBERTConfig.save_for_checkpoint`` do."""
    model, tokenizer = backbone(name)
    model = getattr(model, "roberta", model) if not name.endswith("bert") else model
    torch.manual_seed(1)
    projection = torch.randn(DIMS, 32)
    weights = {f"{model.base_model_prefix}.{key}": value for key, value in model.state_dict().items()}
    weights |= {"linear.weight": projection}
    folder.mkdir()
    tokenizer.save_pretrained(folder)
    config = model.config.to_dict() | {"architectures": ["HF_ColBERT"]}
    (folder / "config.json").write_text(json.dumps(config, default=str))
    if binary:
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    written = {"dim": DIMS, "query_maxlen": QUERY, "doc_maxlen": DOCUMENT, "mask_punctuation": True, **metadata}
    written |= {"query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_token": "[Q]", "doc_token": "[D]"}
    (folder / "artifact.metadata").write_text(json.dumps(written))
    return model, tokenizer, projection


def pylate(folder: Path, **config: Any) -> tuple[Any, Any, torch.Tensor]:
    """Write a checkpoint as ``ColBERT.save`` of PyLate does."""
    model, tokenizer = backbone("bert")
    tokenizer.add_tokens(["[Q] ", "[D] "])
    model.resize_token_embeddings(len(tokenizer))
    torch.manual_seed(1)
    projection = torch.randn(DIMS, 32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 39, "do_lower_case": false}')
    (folder / "1_Dense").mkdir()
    save_file({"linear.weight": projection}, folder / "1_Dense" / "model.safetensors")
    activation = "torch.nn.modules.linear.Identity"
    dense = {"in_features": 32, "out_features": DIMS, "bias": False, "activation_function": activation}
    (folder / "1_Dense" / "config.json").write_text(json.dumps(dense))
    modules = [("0", "", "sentence_transformers.models.Transformer"), ("1", "1_Dense", "pylate.models.Dense.Dense")]
    listed = [{"idx": int(name), "name": name, "path": path, "type": kind} for name, path, kind in modules]
    (folder / "modules.json").write_text(json.dumps(listed))
    written = {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "MaxSim", "query_prefix": "[Q] "}
    written |= {"document_prefix": "[D] ", "query_length": QUERY, "document_length": DOCUMENT}
    written |= {"attend_to_expansion_tokens": False, "skiplist_words": list(string.punctuation), **config}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(written))
    return model, tokenizer, projection


def by_hand(
    parts: tuple[Any, Any, torch.Tensor], text: str, marker: int, *, length: int, fill: bool, attend: bool = False,
    skipped: set[int] = frozenset(), **options: Any,
) -> np.ndarray:  # fmt: skip
    """Truncate, insert the marker, pad, run, project, normalise and skip, for one text at a time."""
    model, tokenizer, projection = parts
    ids = tokenizer(text, truncation=True, max_length=length - 1).input_ids
    ids = [ids[0], marker, *ids[1:]]
    masks = length - len(ids) if fill else 0
    mask = torch.tensor([[1] * len(ids) + [int(attend)] * masks])
    ids += [tokenizer.mask_token_id] * masks
    with torch.inference_mode():
        hidden = model(torch.tensor([ids]), attention_mask=mask, **options).last_hidden_state[0]
    kept = [number not in skipped for number in ids]
    return torch.nn.functional.normalize(hidden @ projection.T, dim=-1).numpy()[kept]


def assert_same(encoder: Any, parts: Any, markers: tuple[int, int], skipped: set[int], attend: bool = False) -> None:
    queries, documents = encoder.encode_query(TEXTS), encoder.encode_document(TEXTS)
    for text, query, document in zip(TEXTS, queries, documents, strict=True):
        expected = by_hand(parts, text, markers[0], length=QUERY, fill=True, attend=attend)
        assert len(query) == QUERY and np.allclose(query, expected, atol=1e-5)
        expected = by_hand(parts, text, markers[1], length=DOCUMENT, fill=False, skipped=skipped)
        assert document.shape == expected.shape and np.allclose(document, expected, atol=1e-5)


@pytest.mark.parametrize("attend", [False, True])
@pytest.mark.parametrize(("name", "binary"), [("bert", False), ("bert", True), ("xlm-r", False), ("bytes", False)])
def test_a_checkpoint_of_stanford_is_read_as_it_is(tmp_path: Path, name: str, binary: bool, attend: bool) -> None:
    parts = stanford(tmp_path / "c", name, binary=binary, attend_to_mask_tokens=attend)
    tokenizer = parts[1]
    encoder = mlret.load_token_encoder(tmp_path / "c", device="cpu")
    assert encoder.dims == DIMS
    # ColBERT gets the markers' ids from the tokenizer, which returns the unknown token for unknown markers.
    markers = tuple(tokenizer.convert_tokens_to_ids(f"[unused{n}]") for n in (0, 1))
    assert (markers[0] == tokenizer.unk_token_id) == (name != "bert")
    skipped = {tokenizer.encode(symbol, add_special_tokens=False)[0] for symbol in string.punctuation}
    assert_same(encoder, parts, markers, skipped, attend)
    encoder.model.save(str(tmp_path / "saved"), create_model_card=False)
    for other in (mlret.load_token_encoder(tmp_path / "saved"), MultiVectorEncoder(str(tmp_path / "saved"))):
        for one, two in zip(other.encode_document(TEXTS), encoder.encode_document(TEXTS), strict=True):
            assert np.allclose(one, two, atol=1e-6)


def test_texts_of_xm_retrievers_go_through_the_adapter_of_their_language(tmp_path: Path) -> None:
    parts = stanford(tmp_path / "c", "x-mod", attend_to_mask_tokens=True)
    model, tokenizer, _ = parts
    encoder = mlret.load_token_encoder(tmp_path / "c", device="cpu")
    assert isinstance(encoder.model[0], LanguageTransformer) and encoder.model[0].default_language == "en"
    languages = ["en", "sw", "en", "sw", "sw"]
    queries = encoder.encode_query(TEXTS, language=languages)
    for text, language, query in zip(TEXTS, languages, queries, strict=True):
        model.set_default_language({"en": "en_XX", "sw": "sw_KE"}[language])
        options = {"length": QUERY, "fill": True, "attend": True}
        assert np.allclose(query, by_hand(parts, text, tokenizer.unk_token_id, **options), atol=1e-5)
    # Texts in other, detected languages use the default adapter; texts in these languages do not.
    model.set_default_language("en_XX")
    with pytest.warns(UserWarning, match=r"no adapter for Russian"):
        found = encoder.encode_query(["Поезд отправляется к морю в семь часов."])[0]
    text = "Поезд отправляется к морю в семь часов."
    assert np.allclose(found, by_hand(parts, text, tokenizer.unk_token_id, **options), atol=1e-5)


def test_metadata_that_is_missing_is_what_colbert_takes_by_default(tmp_path: Path) -> None:
    stanford(tmp_path / "c", "long bert", mask_punctuation=None, doc_maxlen=None, query_maxlen=None)
    model = mlret.load_token_encoder(tmp_path / "c").model
    assert model[0].document_length == 220 and model[0].query_expansion["length"] == 32 and model[2].skiplist_words
    (tmp_path / "c" / "artifact.metadata").unlink()
    assert mlret.load_token_encoder(tmp_path / "c").model[0].document_length == 220
    # A model with fewer positions gets no more tokens than it has positions.
    stanford(tmp_path / "short", "bert", doc_maxlen=None)
    assert mlret.load_token_encoder(tmp_path / "short").model[0].document_length == 64
    stanford(tmp_path / "all", "bert", mask_punctuation=False)
    assert mlret.load_token_encoder(tmp_path / "all").model[2].skiplist_words == []


@pytest.mark.parametrize("config", [{}, {"model_type": "ColBERT"}, {"attend_to_expansion_tokens": True}])
def test_a_checkpoint_of_pylate_is_read_as_it_is(tmp_path: Path, config: dict[str, Any]) -> None:
    parts = pylate(tmp_path / "c", **config)
    assert is_multi_vector(tmp_path / "c")
    encoder = load_any_encoder(tmp_path / "c")
    tokenizer = parts[1]
    markers = tuple(tokenizer.convert_tokens_to_ids(marker) for marker in ("[Q] ", "[D] "))
    skipped = {tokenizer.convert_tokens_to_ids(word) for word in string.punctuation}
    assert tokenizer.unk_token_id in skipped
    assert_same(encoder, parts, markers, skipped, config.get("attend_to_expansion_tokens", False))


def test_a_prompt_of_pylate_follows_the_marker(tmp_path: Path) -> None:
    parts = pylate(tmp_path / "c", prompts={"query": "find: ", "document": ""})
    found = mlret.load_token_encoder(tmp_path / "c").encode_query(["the cat"])[0]
    marker = parts[1].convert_tokens_to_ids("[Q] ")
    assert np.allclose(found, by_hand(parts, "find: the cat", marker, length=QUERY, fill=True), atol=1e-5)


def test_models_that_are_not_such_checkpoints_are_not_changed(tmp_path: Path) -> None:
    model = multi_vector_encoder(plain(tmp_path / "plain"), dims=8, document_length=20)
    model.save(str(tmp_path / "saved"), create_model_card=False)
    loaded = mlret.load_token_encoder(tmp_path / "saved").model
    assert loaded.prompts == model.prompts and loaded[2].skiplist_words == model[2].skiplist_words
    assert loaded[0].document_length == 20


def test_metadata_that_is_broken_is_named(tmp_path: Path) -> None:
    stanford(tmp_path / "c", "bert")
    (tmp_path / "c" / "artifact.metadata").write_text("{")
    with pytest.raises(InputError, match=r"artifact\.metadata|cannot be loaded"):
        mlret.load_token_encoder(tmp_path / "c")
