"""Encoders that run without torch, against the same encoders in torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlret.encoders.encoder import Encoder
from mlret.encoders.head import load_head
from mlret.encoders.light.light_encoder import batches, load_light_encoder, load_light_token_encoder
from mlret.encoders.light.network import Arithmetic, PackedNetwork
from mlret.encoders.loading import BUNDLED
from mlret.encoders.token_encoder import TokenEncoder
from mlret.errors import InputError, MlretError

TEXTS = [
    "the cat sat on a mat",
    "seven dogs ran home to eat rice and fish",
    "привет мир",
    "",
    "  spaces   at the ends  ",
    "the cat sat on a mat",
    "rain by night " * 40,
    "(warm), [rain]!",
]
LEAST: dict[Arithmetic, float] = {"float32": 1 - 1e-5, "4-bit": 0.999, "int8": 0.999, "fast": 0.999}


@pytest.mark.parametrize("arithmetic", LEAST)
def test_vectors_are_those_of_torch(packed_folder: Path, in_torch: Encoder, arithmetic: Arithmetic) -> None:
    light = load_light_encoder(packed_folder, arithmetic=arithmetic)
    assert light is not None
    for language in (None, "en", [None, "sw", "en", "de", "en", "sw", None, "en"]):
        expected = in_torch.encode(TEXTS, language=language)
        found = light.encode(TEXTS, language=language)
        assert found.dtype == np.float32 and found.shape == expected.shape
        assert (found * expected).sum(axis=1).min() > LEAST[arithmetic]
    assert np.allclose(light.embed(TEXTS), in_torch.embed(TEXTS), atol=1e-5 if arithmetic == "float32" else 0.05)


def test_it_is_the_same_encoder(packed_folder: Path, in_torch: Encoder) -> None:
    light = load_light_encoder(packed_folder)
    assert light is not None
    assert light.fingerprint == in_torch.fingerprint
    assert light.dims == in_torch.dims
    assert light.calibration_languages == in_torch.calibration_languages
    assert isinstance(light, Encoder)
    assert light.encode([]).shape == (0, light.dims)
    with pytest.raises(InputError, match="one string"):
        light.encode("the cat")
    with pytest.raises(InputError, match="2 texts but 1 language:"):
        light.encode_query(["a", "b"], language=["en"])


def test_equal_texts_have_equal_vectors_in_any_company(packed_folder: Path) -> None:
    light = load_light_encoder(packed_folder)
    assert light is not None
    alone = np.concatenate([light.encode([text]) for text in TEXTS])
    together = light.encode(TEXTS)
    assert np.array_equal(together[0], together[5])
    assert np.allclose(alone, together, atol=1e-6)


def test_prompts_come_before_texts(copied: Path) -> None:
    settings = json.loads((copied / "config_sentence_transformers.json").read_text(encoding="utf-8"))
    settings["prompts"] = {"query": "rain: ", "passage": "fish: "}
    (copied / "config_sentence_transformers.json").write_text(json.dumps(settings), encoding="utf-8")
    assert load_light_encoder(copied) is None  # packed before the change
    from mlret.encoders.packing import pack_folder

    pack_folder(copied)
    light = load_light_encoder(copied)
    assert light is not None
    assert np.allclose(light.encode_query(["the cat"]), light.encode(["rain: the cat"]))
    assert np.allclose(light.encode_document(["the cat"]), light.encode(["fish: the cat"]))


@pytest.mark.parametrize("arithmetic", ["float32", "fast"])
def test_a_vector_for_each_token_is_that_of_torch(
    packed_folder: Path, in_torch: Encoder, arithmetic: Arithmetic
) -> None:
    expected = TokenEncoder(load_head(packed_folder / "multi-vector", in_torch.model))
    light = load_light_token_encoder(packed_folder, arithmetic=arithmetic)
    assert light is not None
    assert light.fingerprint == expected.fingerprint
    assert light.dims == expected.dims == 16
    texts = [*TEXTS, "a [Q] b [D] c"]
    for found, wanted in (
        (light.encode_query(texts), expected.encode_query(texts)),
        (light.encode_document(texts), expected.encode_document(texts)),
    ):
        assert [len(tokens) for tokens in found] == [len(tokens) for tokens in wanted]
        cosines = (np.concatenate(found) * np.concatenate(wanted)).sum(axis=1)
        assert cosines.min() > (1 - 1e-5 if arithmetic == "float32" else 0.99)
    assert light.encode_query([]) == []


def test_a_folder_that_changed_since_it_was_packed_is_left_to_torch(copied: Path) -> None:
    assert load_light_encoder(copied) is not None
    with (copied / "quantised.safetensors").open("ab") as file:
        file.write(b"\0")
    assert load_light_encoder(copied) is None


def test_a_folder_without_what_was_packed_or_with_other_modules_is_left_to_torch(
    tiny_encoder_folder: Path, copied: Path
) -> None:
    assert load_light_encoder(tiny_encoder_folder) is None
    modules = json.loads((copied / "modules.json").read_text(encoding="utf-8"))
    modules[2]["type"] = "sentence_transformers.base.modules.dense.Dense"
    (copied / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    assert load_light_encoder(copied) is None


def test_a_damaged_file_is_named(copied: Path) -> None:
    light = load_light_encoder(copied)
    assert light is not None
    (copied / "quantised.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(MlretError, match=r"quantised\.safetensors is damaged"):
        light.encode(["the cat"])


def test_an_unknown_arithmetic_is_refused(packed_folder: Path) -> None:
    light = load_light_encoder(packed_folder, arithmetic="int3")  # type: ignore[arg-type]
    assert light is not None
    with pytest.raises(InputError, match="no arithmetic 'int3': there are fast, float32, 4-bit, int8"):
        light.encode(["the cat"])


def test_without_an_instruction_short_texts_are_multiplied_in_4_bits(
    packed_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    light = load_light_encoder(packed_folder)
    assert light is not None and isinstance(light.network, PackedNetwork)
    monkeypatch.setattr("mlret.encoders.light.network.adds_products_in_32_bits", lambda: False)
    assert (light.network.way(12), light.network.way(200)) == ("4-bit", "int8")
    monkeypatch.setattr("mlret.encoders.light.network.adds_products_in_32_bits", lambda: True)
    assert (light.network.way(12), light.network.way(200)) == ("int8", "int8")


def test_batches_hold_texts_of_one_length_and_every_text_once() -> None:
    tokens = [[1] * length for length in [3, 300, 3, 1, 90, 90, 90, 3]]
    rows = []
    for batch in batches(tokens):
        assert all(len(tokens[row]) == batch.ids.shape[1] for row in batch.rows)
        assert batch.ids.size <= 256 or len(batch.rows) == 1
        rows.extend(batch.rows.tolist())
    assert sorted(rows) == list(range(len(tokens)))


def test_encoding_imports_neither_torch_nor_what_comes_with_it(packed_folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mlret.encoders.light.light_encoder import *;"
        f"folder = Path({str(packed_folder)!r}); load_light_encoder(folder).encode_query(['a'], language='en');"
        "load_light_token_encoder(folder).encode_document(['a']);"
        "print(*{'torch', 'transformers', 'sentence_transformers', 'tokenizers', 'onnx', 'scipy', 'safetensors',"
        " 'huggingface_hub', 'tqdm', 'numba'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_the_bundled_encoder_is_packed_as_it_is_now() -> None:
    light = load_light_encoder(BUNDLED)
    assert light is not None
    assert load_light_token_encoder(BUNDLED) is not None
    vectors = light.encode_query(["Where was Ada Lovelace born?", "Ada Lovelace alizaliwa wapi?", "how to bake bread"])
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
