"""Encoders exported as ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import BertConfig, BertModel

from mlret.encoders.encoder import Encoder
from mlret.encoders.light.light_encoder import LightEncoder
from mlret.encoders.light.network import ExportedNetwork
from mlret.encoders.loading import load_encoder
from mlret.encoders.onnx_export import WeightBits, export_onnx
from mlret.errors import AlreadyExists, InputError

TEXTS = ["the cat sat on a mat", "", "seven dogs ran home", "rain by night " * 40]
LEAST: dict[WeightBits, float] = {32: 1 - 1e-5, 8: 0.999, 4: 0.98}


@pytest.mark.parametrize("bits", LEAST)
def test_an_exported_encoder_runs_without_torch(tiny_encoder_folder: Path, tmp_path: Path, bits: WeightBits) -> None:
    original = export_onnx(tiny_encoder_folder, tmp_path / "exported", bits=bits)
    light = load_encoder(tmp_path / "exported")
    assert isinstance(light, LightEncoder) and isinstance(light.network, ExportedNetwork)
    assert (light.encode(TEXTS) * original.encode(TEXTS)).sum(axis=1).min() > LEAST[bits]
    assert light.fingerprint == original.fingerprint + ("" if bits == 32 else f"-{bits}bit")
    assert light.dims == original.dims
    assert not list((tmp_path / "exported").glob("*model*.safetensors"))


def test_padding_changes_no_vector(tiny_encoder_folder: Path, tmp_path: Path) -> None:
    """Other programs pad; the light runtime does not."""
    import onnxruntime

    export_onnx(tiny_encoder_folder, tmp_path / "exported")
    session = onnxruntime.InferenceSession(str(tmp_path / "exported" / "onnx" / "model.onnx"))
    ids = np.array([[0, 5, 6, 7, 2]], dtype=np.int64)
    padded = np.array([[0, 5, 6, 7, 2, 1, 1], [0, 5, 5, 5, 5, 5, 2]], dtype=np.int64)
    (alone,) = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    (together,) = session.run(None, {"input_ids": padded, "attention_mask": (padded != 1).astype(np.int64)})
    assert np.allclose(alone[0], together[0, :5], atol=1e-5)


def test_a_network_of_bert_is_exported_with_its_types(tiny_encoder: Encoder, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny_encoder.name), device="cpu")
    network = BertModel(
        BertConfig(
            vocab_size=len(model.tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=64, max_position_embeddings=64,
        )
    )  # fmt: skip
    model[0].model = network.eval()
    model.save(str(tmp_path / "bert"), create_model_card=False)
    original = export_onnx(tmp_path / "bert", tmp_path / "exported")
    light = load_encoder(tmp_path / "exported")
    assert isinstance(light, LightEncoder)
    assert (light.encode(TEXTS) * original.encode(TEXTS)).sum(axis=1).min() > 1 - 1e-5


def test_what_cannot_be_exported_is_named(tiny_encoder_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights of 3 bits"):
        export_onnx(tiny_encoder_folder, tmp_path / "exported", bits=3)  # type: ignore[arg-type]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(AlreadyExists, match="already exists"):
        export_onnx(tiny_encoder_folder, tmp_path / "full")
