"""Numbers of tokens: those of the tokenizer of the model, in the light runtime and in torch."""

from __future__ import annotations

from pathlib import Path

import pytest

import mlret
from mlret.data.sample import load_sample
from mlret.encoders.encoder import Encoder
from mlret.encoders.external import ExternalEncoder
from mlret.encoders.loading import BUNDLED
from mlret.encoders.multi_vector import load_head_of
from mlret.encoders.token_encoder import TokenEncoder
from mlret.errors import InputError


def test_the_light_runtime_counts_as_the_tokenizers_library_does() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    encoder = mlret.load_encoder(device="cpu")
    texts = [passage.text for passage in load_sample().passages[::13]] + ["", "word " * 2000]
    library = tokenizers.Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))
    library.no_padding()
    library.no_truncation()
    longest = encoder.folder.longest  # type: ignore[attr-defined]
    expected = [min(longest, len(one.ids)) for one in library.encode_batch(texts)]
    assert encoder.token_counts(texts) == expected and expected[-1] == longest


def test_a_model_in_torch_counts_what_it_reads(tiny_encoder: Encoder, tiny_token_encoder: TokenEncoder) -> None:
    texts = ["the cat sat", "a", "the cat " * 500]
    for encoder in (tiny_encoder, tiny_token_encoder):
        tokenizer = encoder.model.tokenizer
        longest = encoder.model.max_seq_length
        counted = encoder.token_counts(texts)
        assert counted[:2] == [len(tokenizer(text)["input_ids"]) for text in texts[:2]]
        assert counted[2] == longest
        assert encoder.token_counts([]) == []


def test_a_single_text_and_an_encoder_made_elsewhere_are_refused(tiny_encoder: Encoder) -> None:
    with pytest.raises(InputError, match="list"):
        tiny_encoder.token_counts("the cat")
    with pytest.raises(InputError, match="my-model"):
        ExternalEncoder("my-model", 4).token_counts(["the cat"])


def test_the_head_of_an_encoder_is_loaded_with_it_if_it_has_one(tiny_encoder: Encoder, tmp_path: Path) -> None:
    bundled = mlret.load_encoder(device="cpu")
    head = load_head_of(bundled)
    assert head is not None and head.fingerprint == mlret.load_token_encoder(device="cpu").fingerprint
    assert load_head_of(tiny_encoder) is None
    copied = tmp_path / "copied"
    copied.mkdir()
    for file in BUNDLED.rglob("*"):  # links, since the files are large
        if file.is_file():
            (copied / file.relative_to(BUNDLED)).parent.mkdir(parents=True, exist_ok=True)
            (copied / file.relative_to(BUNDLED)).symlink_to(file)
    own = load_head_of(mlret.load_encoder(copied, device="cpu"))
    assert own is not None and own.fingerprint == head.fingerprint
