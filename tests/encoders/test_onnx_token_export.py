"""Encoders with a vector for each token, exported as ONNX, against the same encoders in torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from sentence_transformers import MultiVectorEncoder, SentenceTransformer

import mlret
from mlret.data.documents import Document
from mlret.encoders.adapters import with_adapters
from mlret.encoders.colbert_export import export_encoder
from mlret.encoders.late_interaction import multi_vector_encoder
from mlret.encoders.light.light_encoder import LightTokenEncoder
from mlret.encoders.multi_vector import load_any_encoder, load_token_encoder
from mlret.encoders.onnx_export import WeightBits, export_onnx
from mlret.encoders.token_encoder import TokenEncoder
from mlret.errors import InputError
from tests.encoders.test_late_interaction import plain

TEXTS = [
    "The cat (black) sat: «on» the mat.",
    "",
    "  ",
    "a",
    " the [Q] cat [D] ",
    "Поезд — к морю?",
    "你好。世界!",
    "the <mask> cat",
    "samaki wawili na ndizi " * 40,
]
LEAST: dict[WeightBits, float] = {32: 0.9999, 8: 0.999, 4: 0.9}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    return plain(tmp_path_factory.mktemp("plain"))


def exported(model: MultiVectorEncoder, folder: Path, bits: WeightBits = 32) -> LightTokenEncoder:
    """Save and export a model, and load the export."""
    model.save(str(folder / "saved"), create_model_card=False)
    original = export_onnx(folder / "saved", folder / "exported", bits=bits)
    found = load_token_encoder(folder / "exported")
    assert isinstance(found, LightTokenEncoder) and found.runtime == "light"
    assert found.fingerprint == original.fingerprint + ("" if bits == 32 else f"-{bits}bit")
    assert found.dims == original.dims
    return found


def assert_same(light: TokenEncoder, model: MultiVectorEncoder, least: float = LEAST[32]) -> None:
    torch = TokenEncoder(model)
    for encode in ("encode_query", "encode_document"):
        found, wanted = (getattr(encoder, encode)(TEXTS) for encoder in (light, torch))
        assert [tokens.shape for tokens in found] == [tokens.shape for tokens in wanted]
        assert (np.concatenate(found) * np.concatenate(wanted)).sum(axis=1).min() > least


@pytest.mark.parametrize("attend", [False, True])
@pytest.mark.parametrize("query_length", [None, 12, "dynamic 8"])
def test_queries_are_filled_as_in_torch(
    source: SentenceTransformer, tmp_path: Path, query_length: int | str | None, attend: bool
) -> None:
    model = multi_vector_encoder(source, dims=16, query_length=query_length, attend=attend, document_length=30)
    assert_same(exported(model, tmp_path), model)


def test_queries_are_filled_to_a_least_length_as_in_torch(source: SentenceTransformer, tmp_path: Path) -> None:
    model = multi_vector_encoder(source, dims=16, query_length=None)
    model[0].query_expansion = {"strategy": "min", "attend": False, "length": 9}
    model[0].query_length = 20
    assert_same(exported(model, tmp_path), model)


@pytest.mark.parametrize("bits", LEAST)
def test_weights_may_have_fewer_bits(tiny_encoder: mlret.Encoder, tmp_path: Path, bits: WeightBits) -> None:
    model = multi_vector_encoder(tiny_encoder, dims=16)
    assert_same(exported(model, tmp_path, bits), model, LEAST[bits])


@pytest.mark.parametrize("kind", ["bpe", "byte-bpe", "wordpiece"])
def test_tokenizers_of_every_kind_are_exported(tmp_path: Path, kind: str) -> None:
    model = multi_vector_encoder(plain(tmp_path / "plain", kind), dims=16, query_length=12, punctuation="ascii")
    assert_same(exported(model, tmp_path), model)


def test_a_network_of_bert_is_exported_with_its_types(tmp_path: Path) -> None:
    model = multi_vector_encoder(plain(tmp_path / "plain", "wordpiece", "bert masked"), dims=16)
    assert_same(exported(model, tmp_path), model)


@pytest.mark.parametrize("format", ["colbert", "pylate"])
def test_checkpoints_of_other_projects_are_exported(source: SentenceTransformer, tmp_path: Path, format: Any) -> None:
    model = multi_vector_encoder(source, dims=16, query_length=12, punctuation="ascii")
    export_encoder(model, tmp_path / format, format=format)
    original = export_onnx(tmp_path / format, tmp_path / "exported")
    assert_same(load_any_encoder(tmp_path / "exported"), original.model)  # type: ignore[arg-type]


def test_prompts_of_words_come_before_texts(tiny_token_encoder: TokenEncoder, tmp_path: Path) -> None:
    assert_same(exported(tiny_token_encoder.model, tmp_path), tiny_token_encoder.model)


def test_its_index_is_that_of_torch(source: SentenceTransformer, tmp_path: Path) -> None:
    """One fingerprint: an index that torch built is searched without torch."""
    model = multi_vector_encoder(source, dims=16)
    light = exported(model, tmp_path)
    with mlret.Index.create(tmp_path / "index", encoder=str(tmp_path / "saved")) as index:
        index.add(Document(str(number), text) for number, text in enumerate(TEXTS[3:7]))
        expected = [hit.id for hit in index.search("the cat", k=4)]
    with mlret.Index.open(tmp_path / "index", encoder=light) as index:
        assert [hit.id for hit in index.search("the cat", k=4)] == expected


def test_other_programs_read_the_projected_vectors_first(source: SentenceTransformer, tmp_path: Path) -> None:
    model = multi_vector_encoder(source, dims=16)
    exported(model, tmp_path)
    session = onnxruntime.InferenceSession(str(tmp_path / "exported" / "onnx" / "model.onnx"))
    assert [output.name for output in session.get_outputs()] == ["token_embeddings", "last_hidden_state"]
    encoded = model.tokenizer([f"{model.prompts['document']}{text}" for text in TEXTS[:6]], padding=True)
    feeds = {name: np.array(encoded[name]) for name in ("input_ids", "attention_mask")}
    vectors, hidden = session.run(None, feeds)
    assert vectors.shape[2] == 16 and hidden.shape[2] == 32
    found = model.encode_document(TEXTS[:6], convert_to_numpy=True)
    skipped = set(model.tokenizer.convert_tokens_to_ids(model[2].skiplist_words))
    for text, tokens in enumerate(found):
        kept = [row for row, id in enumerate(feeds["input_ids"][text]) if id not in skipped]
        kept = [row for row in kept if feeds["attention_mask"][text, row]]
        assert np.allclose(vectors[text][kept], tokens, atol=1e-4)


def test_what_cannot_be_exported_is_named(source: SentenceTransformer, tmp_path: Path) -> None:
    multi_vector_encoder(source, dims=16, pool_factor=2).save(str(tmp_path / "pooled"), create_model_card=False)
    with pytest.raises(InputError, match=r"ONNX files hold .* it has .*HierarchicalTokenPooling"):
        export_onnx(tmp_path / "pooled", tmp_path / "exported")
    routed = multi_vector_encoder(source, dims=16)
    with_adapters(routed, ["en", "sw"])
    routed.save(str(tmp_path / "routed"), create_model_card=False)
    with pytest.raises(InputError, match=r"LanguageTransformer"):
        export_onnx(tmp_path / "routed", tmp_path / "exported")
    assert not (tmp_path / "exported").exists()
    assert not list(tmp_path.glob(".*.partial"))
