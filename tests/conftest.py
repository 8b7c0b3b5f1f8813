"""Fixtures that several parts of the tests share."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")
# On a machine with other work an example may wait for seconds: a deadline says nothing about what is tested.
settings.register_profile("full", deadline=None, max_examples=100)
# `make test` runs with `--hypothesis-profile=fast`, `make test-all` with all examples.
settings.register_profile("fast", settings.get_profile("full"), max_examples=20)
settings.load_profile("full")


def examples(number: int) -> int:
    """How many examples a property gets that has ``number`` of them in the profile "full": a fifth in "fast"."""
    return max(1, number * settings.default.max_examples // settings.get_profile("full").max_examples)


WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "while",
    "seven",
    "dogs",
    "ran",
    "home",
    "to",
    "eat",
    "rice",
    "and",
    "fish",
    "in",
    "warm",
    "rain",
    "by",
    "night",
]


@pytest.fixture(scope="session", autouse=True)
def bundled_encoder_is_loaded_once() -> Iterator[None]:
    """Read the bundled encoder and its multi-vector head from disk once; each load gives a copy of its own.

    Loading takes seconds, most of them for the tokenizer, which the copies share.
    """
    import mlret
    from mlret.encoders import head

    loading = sys.modules[mlret.load_encoder.__module__]
    read_folder, read_head = loading._load_folder, head.load_head
    bundled = loading.BUNDLED
    read: dict[tuple[str, str | None], Any] = {}

    def load_folder(path: Path, device: str | None) -> Any:
        if path != bundled:
            return read_folder(path, device)
        known = read.get(("encoder", device))
        # The copies share a tokenizer: one that a test has added tokens to is not that of the folder.
        if known is None or len(known.tokenizer) != known.tokenizer.vocab_size:
            read["encoder", device] = read_folder(path, device)
        return copy_of(read["encoder", device])

    def load_head(folder: Path, backbone: Any) -> Any:
        if folder != bundled / "multi-vector":
            return read_head(folder, backbone)
        device = str(backbone.device)
        if ("head", device) not in read:
            # A head adds its markers to the tokenizer of its backbone, which is therefore not a copy.
            read["head", device] = read_head(folder, read_folder(bundled, device))
        return copy_of(read["head", device])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "_load_folder", load_folder)
        patch.setattr(head, "load_head", load_head)
        yield


def copy_of(model: Any) -> Any:
    """Copy a model of sentence-transformers, but for its tokenizer."""
    return copy.deepcopy(model, {id(model.tokenizer): model.tokenizer})


@pytest.fixture(scope="session")
def tiny_encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a tiny, untrained XLM-R encoder: 2 layers of width 32, a tokenizer of letters and word starts."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

    # The vocabulary is fixed because the trainer of Unigram gives a different one in every process.
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    letters = sorted({*"abcdefghijklmnopqrstuvwxyz", *"приветмир", *"שלוםעולם", *"你好世界"})
    starts = sorted({f"▁{word[:2]}" for word in WORDS})
    pieces = [*((token, 0.0) for token in specials), *((token, -4.0) for token in ["▁", *letters])]
    tokenizer = Tokenizer(models.Unigram([*pieces, *((token, -6.0) for token in starts)], specials.index("<unk>")))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
        model_max_length=64,
    )
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=len(fast),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=66,
        type_vocab_size=1,
    )
    folder = tmp_path_factory.mktemp("tiny-encoder")
    XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(folder / "backbone")
    fast.save_pretrained(folder / "backbone")
    transformer = Transformer(str(folder / "backbone"), max_seq_length=64)
    model = SentenceTransformer(modules=[transformer, Pooling(32, "mean"), Normalize()], device="cpu")
    model.save(str(folder / "model"), create_model_card=False)
    return folder / "model"


@pytest.fixture(scope="session")
def tiny_encoder(tiny_encoder_folder: Path):  # type: ignore[no-untyped-def]
    """Load the tiny encoder."""
    from mlret.encoders.loading import load_encoder

    return load_encoder(tiny_encoder_folder, device="cpu")


@pytest.fixture(scope="session")
def tiny_token_encoder_folder(tiny_encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write an untrained encoder with a vector for each token: the layers of the tiny one and a projection to 128."""
    import torch
    from sentence_transformers import MultiVectorEncoder

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny-token-encoder") / "model"
    prompts = {"query": "query: ", "document": "passage: "}
    model = MultiVectorEncoder(str(tiny_encoder_folder.parent / "backbone"), device="cpu", prompts=prompts)
    model.save(str(folder), create_model_card=False)
    return folder


@pytest.fixture(scope="session")
def tiny_token_encoder(tiny_token_encoder_folder: Path):  # type: ignore[no-untyped-def]
    """Load the tiny encoder with a vector for each token."""
    from mlret.encoders.multi_vector import load_token_encoder

    return load_token_encoder(tiny_token_encoder_folder, device="cpu")


@pytest.fixture(scope="session")
def calibrated_encoder(tiny_encoder_folder: Path):  # type: ignore[no-untyped-def]
    """Make the tiny encoder with a calibration for English and Swahili, but not for German."""
    from mlret.encoders.calibration import Calibration
    from mlret.encoders.loading import load_encoder

    encoder = load_encoder(tiny_encoder_folder, device="cpu")
    random = np.random.default_rng(3)
    clouds = {code: random.normal(random.normal(size=32), 0.2, (40, 32)).astype(np.float32) for code in ("en", "sw")}
    encoder.model.append(Calibration.fit(clouds))
    encoder.__dict__.pop("_calibrated", None)
    return encoder
