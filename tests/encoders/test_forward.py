"""Test the forward pass over many texts against that of sentence-transformers."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.data.documents import Document
from mlret.encoders import forward
from mlret.encoders.encoder import Encoder
from mlret.encoders.forward import ForwardPass
from mlret.encoders.streams import encode_to_file
from mlret.errors import InputError
from tests.conftest import WORDS


def texts_of(lengths: list[int]) -> list[str]:
    return [" ".join(WORDS[(length + place) % len(WORDS)] for place in range(length)) or "·" for length in lengths]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 120), min_size=1, max_size=30), st.integers(1, 200), st.integers(1, 9))
def test_any_texts_get_the_vectors_that_sentence_transformers_gives(
    tiny_encoder: Encoder, lengths: list[int], tokens: int, window: int
) -> None:
    patch = pytest.MonkeyPatch()
    patch.setattr(forward, "_CPU_TOKENS", tokens)
    patch.setattr(forward, "_WINDOW", window)
    texts = texts_of(lengths)
    ours = ForwardPass(tiny_encoder.model)(texts)
    patch.undo()
    assert np.abs(ours - tiny_encoder.model.encode(texts)).max() < 1e-5


def test_a_repeated_text_is_encoded_once(tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    original = ForwardPass._padded

    def counted(self: ForwardPass, tokens: list[list[int]]) -> object:
        seen.append(len(tokens))
        return original(self, tokens)

    monkeypatch.setattr(ForwardPass, "_padded", counted)
    vectors = tiny_encoder.encode(["cat", "dogs", "cat", "cat"])
    assert sum(seen) == 2 and np.array_equal(vectors[0], vectors[3]) and not np.array_equal(vectors[0], vectors[1])


def test_languages_mixed_in_one_call_get_what_each_gets_alone(calibrated_encoder: Encoder) -> None:
    encoder = calibrated_encoder
    texts = ["good morning", "habari ya asubuhi", "guten Morgen", "good morning", "xyz"]
    languages = ["en", "sw", "de", "sw", None]
    together = encoder.encode(texts, language=languages)
    for text, language, vector in zip(texts, languages, together, strict=True):
        options = {"normalize_embeddings": True, "show_progress_bar": False}
        [alone] = encoder.model.encode([text], language=language, **options)  # type: ignore[arg-type]
        assert np.abs(vector - alone).max() < 1e-5
    raw = encoder.encode(texts, calibrate=False)
    assert np.array_equal(raw[0], raw[3]) and not np.array_equal(together[0], together[3])


def test_a_prompt_is_left_to_sentence_transformers(tiny_encoder: Encoder) -> None:
    model = copy.deepcopy(tiny_encoder.model)
    model.prompts, model.default_prompt_name = {"query": "the cat "}, "query"
    assert not ForwardPass.suits(model)
    prompted = Encoder(model).encode(["sat"])
    assert np.allclose(prompted, model.encode(["sat"], normalize_embeddings=True), atol=1e-6)
    assert not np.allclose(prompted, tiny_encoder.encode(["sat"]), atol=1e-3)
    with pytest.raises(InputError, match="runs in float32 alone"):
        Encoder(model, precision="bfloat16")


def test_bfloat16_is_close_and_has_the_same_fingerprint(tiny_encoder: Encoder) -> None:
    texts = texts_of(list(range(1, 40)))
    exact = tiny_encoder.encode(texts)
    half = Encoder(copy.deepcopy(tiny_encoder.model), precision="bfloat16")
    assert (half.encode(texts) * exact).sum(axis=1).min() > 0.999
    assert half.fingerprint == tiny_encoder.fingerprint
    with pytest.raises(InputError, match="no precision 'int4'; there are auto, float32, bfloat16"):
        Encoder(tiny_encoder.model, precision="int4")  # type: ignore[arg-type]


def test_nothing_and_the_very_long_are_encoded(tiny_encoder: Encoder) -> None:
    assert tiny_encoder.encode([]).shape == (0, 32)
    long = "cat " * 5000
    assert np.allclose(tiny_encoder.encode([long]), tiny_encoder.encode(["cat " * 200]), atol=1e-5)


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_a_file_of_vectors_has_every_document(tiny_encoder: Encoder, tmp_path: Path, suffix: str) -> None:
    documents = [Document(f"n{n}", text, "en") for n, text in enumerate(texts_of([3, 9, 1]))]
    seen: list[int] = []
    file = tmp_path / f"v{suffix}"
    assert encode_to_file(tiny_encoder, iter(documents), file, progress=seen.append) == 3 and seen == [3]
    expected = tiny_encoder.encode([document.text for document in documents])
    if suffix == ".npy":
        found = np.load(file, mmap_mode="r", allow_pickle=False)
        assert (tmp_path / "v.ids.txt").read_text().split() == ["n0", "n1", "n2"]
    else:
        from pyarrow import parquet

        table = parquet.read_table(file)
        assert table["id"].to_pylist() == ["n0", "n1", "n2"] and table["lang"].to_pylist() == ["en"] * 3
        found = np.array(table["vector"].to_pylist(), dtype=np.float32)
    assert found.dtype == np.float32 and np.array_equal(found, expected)


def test_a_file_is_written_completely_or_not_at_all(tiny_encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are no documents to encode"):
        encode_to_file(tiny_encoder, [], tmp_path / "v.npy")
    with pytest.raises(InputError, match="has a line break; write Parquet"):
        encode_to_file(tiny_encoder, [Document("a\nb", "cat")], tmp_path / "v.npy")
    with pytest.raises(InputError, match=r"unknown kind of file; give \.npy or \.parquet"):
        encode_to_file(tiny_encoder, [Document("a", "cat")], tmp_path / "v.txt")
    assert list(tmp_path.iterdir()) == []


def test_layers_that_are_the_identity_are_skipped_until_they_are_trained(tmp_path: Path) -> None:
    from mlret.training.backbones.backbone import build_backbone
    from mlret.training.recipe import NewBackbone
    from mlret.training.text.tokenizer import fast_tokenizer

    pieces = [(token, -1.0) for token in ["<s>", "<pad>", "</s>", "<unk>", "▁sun", "▁rain", "▁tree", "<mask>"]]
    shape = NewBackbone(layers=2, hidden=32, heads=2, feed_forward=16, max_length=16)
    model = build_backbone(shape, fast_tokenizer(pieces, max_length=16), folder=tmp_path, seed=0).eval()
    with torch.no_grad():
        model[1].token_weights.copy_(torch.rand(8, 1) + 0.5)
    encoder = Encoder(model)
    texts = ["sun", "rain tree", "tree sun rain sun", ""]
    calls = []
    hook = model[0].model.encoder.layer[0].register_forward_hook(lambda *_: calls.append(1))
    found = encoder.encode(texts)
    assert not calls
    expected = model.encode(texts, normalize_embeddings=True)
    assert calls and np.allclose(found, expected, atol=1e-5)
    with torch.no_grad():  # as training does it
        model[0].model.encoder.layer[1].output.dense.weight.normal_()
    moved = encoder.encode(texts)
    hook.remove()
    assert not np.allclose(moved, found, atol=1e-2)
    assert np.allclose(moved, model.encode(texts, normalize_embeddings=True), atol=1e-5)
