"""Test encoders in the formats of colbert-ai and PyLate: they are the same when loaded again, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense
from typer.testing import CliRunner

import mlret
from mlret.cli.main import app
from mlret.encoders.adapters import with_adapters
from mlret.encoders.colbert_export import export_encoder
from mlret.encoders.late_interaction import multi_vector_encoder
from mlret.errors import InputError
from tests.encoders.test_late_interaction import plain

TEXTS = ["The cat (black) sat: «on» the mat.", "Поезд — к морю?", "你好。世界!", "samaki wawili na ndizi " * 9]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    return plain(tmp_path_factory.mktemp("plain"))


def whole(source: SentenceTransformer, **options: Any) -> MultiVectorEncoder:
    """Return an encoder that both formats can represent."""
    return multi_vector_encoder(source, **{"dims": 16, "query_length": 12, "punctuation": "ascii"} | options)


def assert_same(one: mlret.TokenEncoder, other: MultiVectorEncoder) -> None:
    theirs = mlret.TokenEncoder(other)
    for encode in ("encode_query", "encode_document"):
        for ours, tokens in zip(getattr(one, encode)(TEXTS), getattr(theirs, encode)(TEXTS), strict=True):
            assert ours.shape == tokens.shape and np.allclose(ours, tokens, atol=1e-6)


@pytest.mark.parametrize("format", ["colbert", "pylate"])
@pytest.mark.parametrize("kind", ["unigram", "bpe", "byte-bpe", "wordpiece"])
def test_what_is_exported_gives_the_same_when_it_is_loaded(tmp_path: Path, kind: str, format: Any) -> None:
    model = whole(plain(tmp_path / "plain", kind), attend=kind == "bpe", document_length=30)
    assert export_encoder(model, tmp_path / "out", format=format) == []
    assert_same(mlret.load_token_encoder(tmp_path / "out", device="cpu"), model)


def test_pylate_holds_any_list_of_punctuation(source: SentenceTransformer, tmp_path: Path) -> None:
    model = whole(source, punctuation="all", query_length=None)
    assert export_encoder(mlret.TokenEncoder(model), tmp_path / "out", format="pylate") == []
    assert_same(mlret.load_token_encoder(tmp_path / "out", device="cpu"), model)


def test_the_files_are_those_of_colbert(source: SentenceTransformer, tmp_path: Path) -> None:
    whole(source, document_length=30).save(str(tmp_path / "saved"), create_model_card=False)
    export_encoder(tmp_path / "saved", tmp_path / "out", format="colbert")
    metadata = json.loads((tmp_path / "out" / "artifact.metadata").read_text())
    assert metadata["query_maxlen"] == 12 and metadata["doc_maxlen"] == 30 and metadata["dim"] == 16
    assert (metadata["query_token_id"], metadata["doc_token_id"]) == ("[Q]", "[D]")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == ["HF_ColBERT"]
    with safe_open(tmp_path / "out" / "model.safetensors", framework="pt") as weights:
        assert weights.get_tensor("linear.weight").shape == (16, 32)
        assert all(key.startswith("roberta.") for key in weights.keys() if key != "linear.weight")  # noqa: SIM118
    # transformers 4 has neither the tokenizer classes nor the lists of transformers 5.
    tokenizer = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast" and "extra_special_tokens" not in tokenizer


@pytest.mark.parametrize(
    ("options", "format", "loss"),
    [
        ({"query_length": "dynamic 8"}, "colbert", r"filled up to the next multiple of 8"),
        ({"query_length": "dynamic 8"}, "pylate", r"queries are cut at 8 tokens"),
        ({"query_length": None}, "colbert", r"queries are filled with masks to 32 tokens, here they are not"),
        ({"punctuation": "all"}, "colbert", r"is excluded: [1-9]\d* more tokens"),
        ({"punctuation": "none"}, "colbert", r"0 more tokens get a vector, [1-9]\d* fewer"),
        ({"pool_factor": 2}, "pylate", r"tokens are not merged"),
    ],
)
def test_what_a_format_cannot_represent_is_refused_or_reported(
    source: SentenceTransformer, tmp_path: Path, options: dict[str, Any], format: Any, loss: str
) -> None:
    model = whole(source, **options)
    with pytest.raises(InputError, match=loss + r".*lossy"):
        export_encoder(model, tmp_path / "out", format=format)
    assert not (tmp_path / "out").exists()
    assert len(export_encoder(model, tmp_path / "out", format=format, lossy=True)) == 1
    assert mlret.load_token_encoder(tmp_path / "out").encode_query(TEXTS)


@pytest.mark.parametrize("format", ["colbert", "pylate"])
def test_adapters_are_written_but_not_the_routing(tmp_path: Path, format: Any) -> None:
    model = plain(tmp_path / "plain")
    with_adapters(model, ["sw", "ru"], default_language="ru")
    for layer in model[0].model.encoder.layer:
        for number, adapter in enumerate(layer.output.adapter_modules.values()):
            torch.nn.init.constant_(adapter.dense2.bias, float(number))
    encoder = mlret.TokenEncoder(whole(model))
    with pytest.raises(InputError, match=r"not routed by language: all go through the adapter of ru"):
        export_encoder(encoder, tmp_path / "out", format=format)
    export_encoder(encoder, tmp_path / "out", format=format, lossy=True)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["default_language"] == "ru"
    loaded = mlret.load_token_encoder(tmp_path / "out", device="cpu")
    for language in ("sw", "ru"):
        ours, theirs = (one.encode_document(TEXTS, language=language) for one in (encoder, loaded))
        assert all(np.allclose(one, other, atol=1e-6) for one, other in zip(ours, theirs, strict=True))


def biased(model: MultiVectorEncoder) -> None:
    model[1] = Dense(32, 16, bias=True, module_input_name="token_embeddings")


def without_projection(model: MultiVectorEncoder) -> None:
    del model[1]


def skips_in_queries(model: MultiVectorEncoder) -> None:
    model[2].skiplist_tasks = ["query", "document"]


def prompted(model: MultiVectorEncoder) -> None:
    model.prompts["query"] = "the cat sat on the mat "


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (biased, r"has no bias, no activation"),
        (without_projection, r"the encoder has Transformer, MultiVectorMask, Normalize"),
        (skips_in_queries, r"skips tokens in documents alone"),
        (prompted, r"one marker token before each query; .* which is \d+ tokens"),
    ],
)
def test_what_has_no_place_at_all_is_refused(
    source: SentenceTransformer, tmp_path: Path, change: Callable[[MultiVectorEncoder], None], message: str
) -> None:
    model = whole(source)
    change(model)
    with pytest.raises(InputError, match=message):
        export_encoder(model, tmp_path / "out", format="colbert", lossy=True)


def test_nothing_is_overwritten(source: SentenceTransformer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for taken in (tmp_path, tmp_path / "file"):
        with pytest.raises(InputError, match=r"already exists"):
            export_encoder(whole(source), taken, format="colbert")
    with pytest.raises(InputError, match=r"no format 'onnx'; there are colbert, pylate"):
        export_encoder(whole(source), tmp_path / "out", format="onnx")  # type: ignore[arg-type]


def test_the_command_writes_and_reports_what_is_lost(source: SentenceTransformer, tmp_path: Path) -> None:
    whole(source, query_length="dynamic 8").save(str(tmp_path / "saved"), create_model_card=False)
    arguments = ["export", str(tmp_path / "saved"), "-f", "pylate", "-o", str(tmp_path / "out")]
    refused = CliRunner().invoke(app, arguments)
    assert isinstance(refused.exception, InputError) and "`lossy=True`" in str(refused.exception)
    done = CliRunner().invoke(app, [*arguments, "--lossy", "--json"])
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout.splitlines()[-1])["losses"]) == 1
    assert (tmp_path / "out" / "modules.json").is_file()
