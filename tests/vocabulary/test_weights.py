"""Test cutting weights: the same hidden states and logits, tied weights stay tied, every id is updated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

from mlret.errors import InputError
from mlret.vocabulary.weights import cut_weights, special_ids, vocabulary_rows
from tests.vocabulary import made

ROWS = 211  # no layer of the models here is as wide
# Special tokens that stay in front, and every third of the others.
KEPT = torch.tensor([*range(5), *range(5, ROWS, 3)])


def inputs_of(model: Any, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"input_ids": ids} | ({"decoder_input_ids": ids} if model.config.is_encoder_decoder else {})


def cut(name: str) -> tuple[Any, Any]:
    model, small = made.model(name, ROWS), made.model(name, ROWS)
    small.load_state_dict(model.state_dict())
    cut_weights(small, KEPT)
    return model, small


@pytest.mark.parametrize("name", made.MODELS)
@torch.inference_mode()
def test_a_cut_model_computes_the_same(name: str) -> None:
    model, small = cut(name)
    new = torch.tensor([[0, 7, 30, 9, 41, 2], [0, 64, 12, 5, 6, 2]])
    old = KEPT[new]
    before = model(**inputs_of(model, old), output_hidden_states=True)
    after = small(**inputs_of(small, new), output_hidden_states=True)
    for part in ("hidden_states", "encoder_hidden_states", "decoder_hidden_states"):
        for one, other in zip(getattr(before, part, None) or (), getattr(after, part, None) or (), strict=True):
            assert torch.equal(one, other)
    if (logits := getattr(after, "logits", None)) is not None:
        expected = before.logits if logits.shape == before.logits.shape else before.logits[..., KEPT]
        torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize("name", made.MODELS)
def test_a_cut_model_is_saved_loaded_and_cut_again(name: str, tmp_path: Path) -> None:
    model, small = cut(name)
    small.save_pretrained(tmp_path)
    again = type(small).from_pretrained(tmp_path)
    for one, other in zip(small.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert vocabulary_rows(again) == again.get_input_embeddings().num_embeddings == len(KEPT)
    old_head, head = model.get_output_embeddings(), again.get_output_embeddings()
    # In DeBERTa the module named as the head is the layer below it.
    if head is not None and len(old_head.weight) == ROWS:
        assert head.out_features == len(head.weight) == len(KEPT)
        tied = old_head.weight is model.get_input_embeddings().weight
        assert (head.weight is again.get_input_embeddings().weight) == tied
    cut_weights(again, torch.arange(0, len(KEPT), 2))
    assert vocabulary_rows(again) == (len(KEPT) + 1) // 2
    # Training can continue: every weight requires a gradient as before.
    assert all(parameter.requires_grad for parameter in again.parameters())


def test_every_id_in_the_configurations_moves() -> None:
    model = made.model("mbart", ROWS)
    model.config.bad_words_ids = [[8, 11], [14]]
    model.generation_config.forced_bos_token_id = 200
    model.generation_config.suppress_tokens = [8, 11]
    model.generation_config.forced_decoder_ids = [[1, 17]]
    model.generation_config.pad_token_id = None
    model.generation_config.sequence_bias = [[[20, 23], -1.5]]
    assert special_ids(model) >= {0, 1, 2, 8, 11, 14, 17, 20, 23, 200}
    kept = torch.tensor(sorted(special_ids(model) | {3, 4, 150}))
    new = {int(old): place for place, old in enumerate(kept)}
    cut_weights(model, kept)
    assert model.config.vocab_size == len(kept)
    assert model.config.bad_words_ids == [[new[8], new[11]], [new[14]]]
    assert model.generation_config.forced_bos_token_id == new[200]
    assert model.generation_config.suppress_tokens == [new[8], new[11]]
    assert model.generation_config.forced_decoder_ids == [[1, new[17]]]
    assert model.generation_config.pad_token_id is None
    assert model.generation_config.sequence_bias == [[[new[20], new[23]], -1.5]]
    assert model.final_logits_bias.shape == (1, len(kept))


@pytest.mark.parametrize(
    ("tokens", "millions"),
    [
        (250_002, 278.3),
        (120_000, 178.2),
        (90_000, 155.3),
        (60_000, 132.1),
        (30_000, 109.1),
        (15_000, 97.6),
        (5_000, 89.9),
    ],
)
def test_xlm_r_base_comes_to_the_published_sizes(tokens: int, millions: float) -> None:
    """Model cards of vocabulary trimming state sizes to a tenth of a million, so a few tokens more or fewer matter."""
    with torch.device("meta"):
        config = XLMRobertaConfig(vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1)
        model = XLMRobertaForMaskedLM(config)
        model.tie_weights()
    cut_weights(model, torch.arange(tokens))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    # A token has a row of 768 and an entry in the head's bias.
    assert parameters == 278_295_186 - (250_002 - tokens) * 769
    assert parameters / 1e6 == pytest.approx(millions, abs=0.13)


def test_a_small_vocabulary_may_be_as_large_as_a_layer() -> None:
    model = XLMRobertaForMaskedLM(
        XLMRobertaConfig(
            vocab_size=48, hidden_size=48, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48,
            max_position_embeddings=48,
        )
    ).eval()  # fmt: skip
    ids = torch.tensor([[0, 5, 9, 2]])
    before = model(ids, output_hidden_states=True).hidden_states[-1]
    cut_weights(model, torch.arange(20))
    assert torch.equal(model(ids, output_hidden_states=True).hidden_states[-1], before)


def test_an_unknown_weight_is_refused() -> None:
    model = made.model("bert", ROWS)
    model.token_prior = nn.Parameter(torch.zeros(ROWS))
    with pytest.raises(InputError, match=r"token_prior of BertModel has the vocabulary as a dimension \(211,\)"):
        cut_weights(model, KEPT)
    assert vocabulary_rows(model) == ROWS


def test_two_vocabularies_are_refused() -> None:
    options = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    encoder = transformers.BertConfig(vocab_size=ROWS, **options)
    decoder = transformers.BertConfig(vocab_size=300, is_decoder=True, add_cross_attention=True, **options)
    config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    with pytest.raises(InputError, match=r"two vocabularies, of 211 and 300 rows"):
        cut_weights(transformers.EncoderDecoderModel(config), KEPT)


def test_a_table_of_tokens_in_every_layer_is_refused() -> None:
    model = made.model("gemma", ROWS)
    model.config.vocab_size_per_layer_input = 200
    with pytest.raises(InputError, match=r"Gemma3ForCausalLM has a table of tokens in every layer"):
        cut_weights(model, KEPT)


def test_quantised_models_are_refused() -> None:
    model = made.model("bert", ROWS)
    model.is_quantized = True
    with pytest.raises(InputError, match=r"quantised \(8 bits or fewer\): load it in float32"):
        cut_weights(model, KEPT)
    declared = made.model("bert", ROWS)
    declared.config.quantization_config = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    with pytest.raises(InputError, match=r"quantised \(8 bits or fewer\)"):
        cut_weights(declared, KEPT)
    whole = made.model("bert", ROWS)
    table = whole.get_input_embeddings()
    table.weight = nn.Parameter(torch.zeros(ROWS, 32, dtype=torch.int8), requires_grad=False)
    with pytest.raises(InputError, match=r"embeddings are torch.int8"):
        vocabulary_rows(whole)


def test_half_precision_stays() -> None:
    model = made.model("xlm-r masked", ROWS).to(torch.bfloat16)
    cut_weights(model, KEPT)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert np.isfinite(model(torch.tensor([[0, 5, 2]])).logits.float().detach().numpy()).all()
