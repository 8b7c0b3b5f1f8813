"""Encoders exported as ONNX."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from transformers import BertConfig, BertModel
from typer.testing import CliRunner

from mlret.cli.main import app
from mlret.encoders.encoder import Encoder
from mlret.encoders.light.light_encoder import LightEncoder
from mlret.encoders.light.network import ExportedNetwork
from mlret.encoders.loading import load_encoder
from mlret.encoders.multi_vector import load_any_encoder
from mlret.encoders.onnx_export import WeightBits, export_onnx
from mlret.errors import AlreadyExists, CorruptInput, InputError

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


def test_other_libraries_know_the_names_in_its_files(exports: dict[str, Path]) -> None:
    """The ONNX backend of sentence-transformers needs its version 5 and version 4 of transformers."""
    modules = json.loads((exports["text"] / "modules.json").read_text(encoding="utf-8"))
    assert [module["type"] for module in modules] == [
        f"sentence_transformers.models.{name}" for name in ("Transformer", "Pooling", "Normalize")[: len(modules)]
    ]
    tokenizer = json.loads((exports["text"] / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast" and tokenizer["pad_token"] == "<pad>"


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


def test_a_folder_that_changed_or_is_of_another_program_is_named(exports: dict[str, Path], tmp_path: Path) -> None:
    for kind in ("text", "token"):
        shutil.copytree(exports[kind], tmp_path / kind)
        with (tmp_path / kind / "onnx" / "model.onnx").open("ab") as file:
            file.write(b"\0")
        with pytest.raises(CorruptInput, match=r"changed since it was exported: export the encoder again"):
            load_any_encoder(tmp_path / kind)
        (tmp_path / kind / "light.safetensors").unlink()
        with pytest.raises(CorruptInput, match=r"was not exported by mlret: export the encoder again"):
            load_any_encoder(tmp_path / kind)


def test_an_export_runs_on_the_processor_of_a_machine_that_has_a_gpu(
    exports: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlret.encoders.loading._NVIDIA", tmp_path)
    assert load_any_encoder(exports["text"]).runtime == load_any_encoder(exports["token"]).runtime == "light"


@pytest.fixture(scope="module")
def exports(
    tiny_encoder_folder: Path, tiny_token_encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("exports")
    export_onnx(tiny_encoder_folder, folder / "text")
    export_onnx(tiny_token_encoder_folder, folder / "token")
    lines = [{"id": str(number), "text": "samaki wawili", "lang": "sw"} for number in range(9)]
    (folder / "sw.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return {name: folder / name for name in ("text", "token", "sw.jsonl")}


@pytest.mark.parametrize("kind", ["text", "token"])
@pytest.mark.parametrize(
    "command",
    [
        "export EXPORT -f onnx -o OUTPUT",
        "export EXPORT -f pylate -o OUTPUT",
        "trim EXPORT --corpus TEXT --lang sw --size 40 -o OUTPUT",
        "average EXPORT EXPORT -o OUTPUT",
        "train adapter -m EXPORT -l sw --text TEXT -o OUTPUT",
        "train adapter -m EXPORT -l sw --text TEXT -o OUTPUT --base bundled",
        "calibrate EXPORT --text TEXT -o OUTPUT",
        "encode TEXT --model EXPORT --device cuda -o OUTPUT.npy",
        "encode TEXT --model EXPORT --precision bfloat16 -o OUTPUT.npy",
    ],
)
def test_what_needs_torch_says_that_an_export_is_one(
    exports: dict[str, Path], tmp_path: Path, kind: str, command: str
) -> None:
    if kind == "token" and command.startswith(("calibrate", "encode")):
        return  # these take encoders with one vector for each text alone
    places = {"EXPORT": exports[kind], "OUTPUT": tmp_path / "output", "TEXT": exports["sw.jsonl"]}
    for word, path in places.items():
        command = command.replace(word, str(path))
    done = CliRunner().invoke(app, command.split())
    assert isinstance(done.exception, InputError), (done.output, done.exception)
    assert f"{exports[kind]} is an export in ONNX" in str(done.exception)
    assert "\n" not in str(done.exception)
    assert not (tmp_path / "output" / "model").exists() and not list(tmp_path.glob(".*.partial"))
