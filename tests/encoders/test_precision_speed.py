"""Test that a precision that is slow on this processor is replaced by float32, with a warning and float32's vectors."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mlret.encoders import precision_speed
from mlret.encoders.encoder import Encoder
from mlret.encoders.loading import load_encoder
from mlret.encoders.precision_speed import bfloat16_speed
from mlret.errors import FingerprintError
from mlret.index.index import Index

TEXTS = ["the cat sat on a mat", "seven dogs ran home", "rice and fish in warm rain by night " * 4]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make torch report these instructions of an x86 processor, or the named features of an ARM processor."""
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)

    def set_features(*found: str, arm: tuple[str, ...] = ()) -> None:
        for name in ("vnni", "avx512_bf16", "amx_tile"):
            monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda name=name: name in found)
        monkeypatch.setattr(precision_speed, "_arm_features", lambda: frozenset(arm))

    return set_features


def test_a_processor_without_bfloat16_runs_float32_in_its_place(
    tiny_encoder: Encoder, pretend: Callable[..., None]
) -> None:
    pretend("vnni")
    with pytest.warns(UserWarning, match=r"bfloat16 is slower than float32 here \(.*neither AMX nor AVX512_BF16\)"):
        encoder = load_encoder(tiny_encoder.name, device="cpu", precision="bfloat16")
    assert (encoder.precision, encoder.fingerprint) == ("float32", tiny_encoder.fingerprint)
    np.testing.assert_array_equal(encoder.encode(TEXTS), tiny_encoder.encode(TEXTS))


def test_an_index_of_an_earlier_version_in_int8_says_what_to_do(tiny_encoder: Encoder, tmp_path: Path) -> None:
    class Earlier(Encoder):
        fingerprint = tiny_encoder.fingerprint + "-int8"  # type: ignore[assignment]

    with Index.create(tmp_path / "i", Earlier(tiny_encoder.model, tiny_encoder.name)) as index:
        index.add([{"id": str(number), "text": text} for number, text in enumerate(TEXTS)])
    with Index.open(tmp_path / "i") as index:
        assert index.get("1").text == TEXTS[1]
        with pytest.raises(FingerprintError, match=r"int8, which.*encode its texts again: mlret index"):
            index.search("cat")


@pytest.mark.parametrize(
    ("found", "cap", "fast"),
    [
        (("vnni", "avx512_bf16", "amx_tile"), None, True),
        (("vnni", "avx512_bf16", "amx_tile"), "ALL", True),
        (("vnni", "avx512_bf16", "amx_tile"), "avx512_core_amx", True),
        (("vnni", "avx512_bf16", "amx_tile"), "AVX512_CORE_VNNI", False),
        (("vnni", "avx512_bf16", "amx_tile"), "AVX512_CORE", False),
        (("vnni", "avx512_bf16", "amx_tile"), "AVX2", False),
        (("vnni",), None, False),
        ((), None, False),
        ((), "ALL", False),
    ],
)
def test_features_and_what_onednn_may_use_of_them_decide(
    pretend: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    found: tuple[str, ...],
    cap: str | None,
    fast: bool,
) -> None:
    pretend(*found)
    for variable in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        if cap is not None:
            monkeypatch.setenv(variable, cap)
        assert bfloat16_speed().fast == fast
        assert not bfloat16_speed().measured
        monkeypatch.delenv(variable, raising=False)


def test_where_features_do_not_decide_a_product_is_timed(pretend: Callable[..., None]) -> None:
    for found, arm in ((("avx512_bf16",), ()), ((), ("bf16",))):
        pretend(*found, arm=arm)
        speed = bfloat16_speed()
        assert speed.measured and "speed" in speed.reason
        assert speed.fast == (float(speed.reason.split()[-4]) >= 1.25)


def test_a_torch_without_these_questions_or_without_onednn_runs_float32(
    pretend: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend("vnni", "amx_tile")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not bfloat16_speed().fast
    monkeypatch.undo()
    for name in ("vnni", "avx512_bf16", "amx_tile"):
        monkeypatch.delattr(torch.cpu, f"_is_{name}_supported")
    monkeypatch.setattr(precision_speed, "_arm_features", frozenset)
    assert not bfloat16_speed().fast


_TIMED = """
import sys, time, warnings
import torch
from tests.encoders.test_precision_speed import wide_encoder, seconds_of
torch.set_num_threads(1)
warnings.simplefilter("ignore")
texts = ["cat dog " * 20 + str(n) for n in range(8)]
exact = seconds_of(wide_encoder("float32"), texts)
other = wide_encoder("bfloat16")
print(other.precision, seconds_of(other, texts) / exact)
"""


def wide_encoder(precision: str) -> Encoder:
    """Return four untrained layers with the width of a small encoder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = Path(os.environ["WIDE_ENCODER"])
    if not (folder / "config.json").is_file():
        words = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1, "cat": 2, "dog": 3}, unk_token="[UNK]"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        config = BertConfig(vocab_size=4, hidden_size=384, num_hidden_layers=4, intermediate_size=1536, pad_token_id=1)
        BertModel(config).save_pretrained(folder)
        PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(folder)
    first = Transformer(str(folder))
    model = SentenceTransformer(modules=[first, Pooling(first.get_embedding_dimension())], device="cpu")
    return Encoder(model, precision=precision)  # type: ignore[arg-type]


def seconds_of(encoder: Encoder, texts: list[str]) -> float:
    """Return the least processor time that encoding the texts takes."""
    found = []
    for _ in range(6):
        start = time.process_time()
        encoder.encode(texts)
        found.append(time.process_time() - start)
    return min(found[1:])


@pytest.mark.slow  # This measures time, which parallel tests make uneven.
@pytest.mark.parametrize("cap", [None, "AVX2"])
def test_no_precision_is_slower_than_float32_whatever_the_processor_has(cap: str | None, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ONEDNN_MAX_CPU_ISA"}
    environment |= {"OMP_NUM_THREADS": "1", "WIDE_ENCODER": str(tmp_path)}
    if cap is not None:
        environment["ONEDNN_MAX_CPU_ISA"] = cap
    found = subprocess.run([sys.executable, "-c", _TIMED], env=environment, capture_output=True, text=True, check=True)
    ran, ratio = found.stdout.split()[-2:]
    # Other load on the machine makes the times uneven. Without its instructions bfloat16 takes several times as long.
    assert float(ratio) < 1.5, f"{ran} in the place of bfloat16 took {ratio} times as long as float32"
    assert cap is None or ran == "float32"
