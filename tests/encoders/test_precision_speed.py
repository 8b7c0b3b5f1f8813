"""Test that a precision that is slow on this processor is replaced by float32, with a warning and float32's vectors."""

from __future__ import annotations

import copy
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
from mlret.encoders.forward import Int8Linear, use_int8
from mlret.encoders.loading import load_encoder
from mlret.encoders.multi_vector import load_any_encoder
from mlret.encoders.precision import INT8
from mlret.encoders.precision_speed import speed_of
from mlret.errors import InputError
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


def test_a_processor_without_vnni_runs_float32_in_the_place_of_int8(
    tiny_encoder: Encoder, pretend: Callable[..., None]
) -> None:
    pretend("avx512_bf16", "amx_tile")
    with pytest.warns(UserWarning, match=r"int8 is slower than float32 here \(the processor has no AVX512_VNNI\)"):
        encoder = load_encoder(tiny_encoder.name, device="cpu", precision="int8")
    assert encoder.precision == "float32"
    assert encoder.fingerprint == tiny_encoder.fingerprint
    np.testing.assert_array_equal(encoder.encode(TEXTS), tiny_encoder.encode(TEXTS))
    assert not any(isinstance(module, Int8Linear) for module in encoder.model.modules())


def test_a_processor_without_bfloat16_runs_float32_in_its_place(
    tiny_encoder: Encoder, pretend: Callable[..., None]
) -> None:
    pretend("vnni")
    with pytest.warns(UserWarning, match=r"bfloat16 is slower than float32 here \(.*neither AMX nor AVX512_BF16\)"):
        encoder = load_encoder(tiny_encoder.name, device="cpu", precision="bfloat16")
    assert (encoder.precision, encoder.fingerprint) == ("float32", tiny_encoder.fingerprint)
    np.testing.assert_array_equal(encoder.encode(TEXTS), tiny_encoder.encode(TEXTS))


@pytest.mark.parametrize("width", [32, 1024, 1025, 3000])
def test_int8_without_its_instruction_gives_the_same_outputs_bit_for_bit(width: int) -> None:
    torch.manual_seed(width)
    linear = torch.nn.Linear(width, 64)
    rows = torch.randn(5, 7, width)
    rows[0, 0] = 1.0  # the largest possible sums
    linear.weight.data[0] = 1.0
    with torch.inference_mode():
        fast, slow = Int8Linear(linear)(rows), Int8Linear(linear, in_hardware=False)(rows)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            among_halves = Int8Linear(linear, in_hardware=False)(rows)
    assert torch.equal(fast, slow) and torch.equal(fast, among_halves)


def test_an_index_that_was_encoded_in_int8_elsewhere_is_searched_in_int8(
    tiny_encoder: Encoder, pretend: Callable[..., None], tmp_path: Path
) -> None:
    pretend("vnni", "amx_tile")
    fast = load_encoder(tiny_encoder.name, device="cpu", precision="int8")
    with Index.create(tmp_path / "i", fast) as index:
        index.add([{"id": str(number), "text": text} for number, text in enumerate(TEXTS)])
    expected = fast.encode(TEXTS)
    pretend()
    with Index.open(tmp_path / "i") as index:
        assert index.encoder.fingerprint == tiny_encoder.fingerprint + INT8
        assert [index.search(text, k=1)[0].id for text in TEXTS] == ["0", "1", "2"]
        # The other layers are in bfloat16 on the first machine and in float32 on the second.
        assert (index.encode_queries(TEXTS) * expected).sum(axis=1).min() > 0.999
    again = load_any_encoder(tiny_encoder.name, precision="int8", emulate=True)
    assert isinstance(again, Encoder) and again.precision == "int8"


@pytest.mark.parametrize(
    ("found", "cap", "int8", "bfloat16"),
    [
        (("vnni", "avx512_bf16", "amx_tile"), None, True, True),
        (("vnni", "avx512_bf16", "amx_tile"), "ALL", True, True),
        (("vnni", "avx512_bf16", "amx_tile"), "avx512_core_amx", True, True),
        (("vnni", "avx512_bf16", "amx_tile"), "AVX512_CORE_VNNI", True, False),
        (("vnni", "avx512_bf16", "amx_tile"), "AVX512_CORE", False, False),
        (("vnni", "avx512_bf16", "amx_tile"), "AVX2", False, False),
        (("vnni",), None, True, False),
        ((), None, False, False),
        ((), "ALL", False, False),
    ],
)
def test_features_and_what_onednn_may_use_of_them_decide(
    pretend: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    found: tuple[str, ...],
    cap: str | None,
    int8: bool,
    bfloat16: bool,
) -> None:
    pretend(*found)
    for variable in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        if cap is not None:
            monkeypatch.setenv(variable, cap)
        assert (speed_of("int8").fast, speed_of("bfloat16").fast) == (int8, bfloat16)
        assert not speed_of("int8").measured and not speed_of("bfloat16").measured
        monkeypatch.delenv(variable, raising=False)


def test_where_features_do_not_decide_a_product_is_timed(pretend: Callable[..., None]) -> None:
    for found, arm, kinds in (
        (("avx512_bf16",), (), ("bfloat16",)),
        ((), ("bf16", "i8mm"), ("bfloat16", "int8")),
    ):
        pretend(*found, arm=arm)
        for kind in kinds:
            speed = speed_of(kind)  # type: ignore[arg-type]
            assert speed.measured and "speed" in speed.reason
            assert speed.fast == (float(speed.reason.split()[-4]) >= 1.25)


def test_a_torch_without_these_questions_or_without_onednn_runs_float32(
    pretend: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend("vnni", "amx_tile")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not speed_of("int8").fast and not speed_of("bfloat16").fast
    monkeypatch.undo()
    for name in ("vnni", "avx512_bf16", "amx_tile"):
        monkeypatch.delattr(torch.cpu, f"_is_{name}_supported")
    monkeypatch.setattr(precision_speed, "_arm_features", frozenset)
    assert not speed_of("int8").fast and not speed_of("bfloat16").fast


def test_int8_on_another_device_is_refused(tiny_encoder: Encoder) -> None:
    with pytest.raises(InputError, match="int8 runs on a CPU, the model is on meta"):
        use_int8(copy.deepcopy(tiny_encoder.model).to("meta"))


_TIMED = """
import sys, time, warnings
import torch
from tests.encoders.test_processor import wide_encoder, seconds_of
torch.set_num_threads(1)
warnings.simplefilter("ignore")
texts = ["cat dog " * 20 + str(n) for n in range(8)]
exact = seconds_of(wide_encoder("float32"), texts)
for precision in ("int8", "bfloat16"):
    other = wide_encoder(precision)
    print(precision, other.precision, seconds_of(other, texts) / exact)
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
    lines = [line.split() for line in found.stdout.splitlines()[-2:]]
    assert [line[0] for line in lines] == ["int8", "bfloat16"]
    for asked, ran, ratio in lines:
        # Other load on the machine makes the times uneven. With other instructions int8 took four times as long.
        assert float(ratio) < 1.5, f"{ran} in the place of {asked} took {ratio} times as long as float32"
        assert cap is None or ran == "float32"
