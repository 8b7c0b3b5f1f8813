"""Test masked language modelling in addition to the contrastive task."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForMaskedLM, AutoTokenizer, XLMRobertaConfig, XLMRobertaForMaskedLM

from mlret.encoders.adapters import with_adapters
from mlret.encoders.loading import BUNDLED
from mlret.errors import InputError
from mlret.training.objectives.ccp import ContextPredictionLoss
from mlret.training.objectives.masking import MaskedLanguageModel


@pytest.fixture
def model(tiny_encoder_folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(tiny_encoder_folder), device="cpu").eval()


def test_masks_fall_on_ordinary_tokens_in_bert_s_proportions(model: SentenceTransformer) -> None:
    task = MaskedLanguageModel(model)
    torch.manual_seed(0)
    ids = torch.full((500, 60), 40)
    ids[:, 0], ids[:, -10:], ids[:, -11] = 0, 1, 2
    corrupted, chosen = task.corrupt(ids, 120)
    assert not chosen[:, 0].any()
    assert not chosen[:, -11:].any()
    share = chosen[:, 1:-11].float().mean()
    masked = (corrupted == task.mask).sum() / chosen.sum()
    kept = ((corrupted == ids) & chosen).sum() / chosen.sum()
    assert float(share) == pytest.approx(0.15, abs=0.01)
    assert float(masked) == pytest.approx(0.8, abs=0.02)
    assert float(kept) == pytest.approx(0.1, abs=0.02)
    assert torch.equal(corrupted[~chosen], ids[~chosen])


def test_the_loss_is_transformers_own(model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    task = MaskedLanguageModel(model)
    features = dict(model.preprocess(["the cat sat on a mat", "seven dogs ran home to eat rice"]))
    ids = features["input_ids"]
    chosen = (ids > 10) & (torch.arange(ids.shape[1]) % 2 == 0)
    monkeypatch.setattr(task, "corrupt", lambda ids, _: (ids.masked_fill(chosen, task.mask), chosen))
    whole = AutoModelForMaskedLM.from_config(model[0].model.config).eval()
    whole.roberta.load_state_dict(model[0].model.state_dict(), strict=False)
    whole.lm_head.load_state_dict(task.head.state_dict())
    labels = ids.masked_fill(~chosen, -100)
    reference = whole(
        input_ids=ids.masked_fill(chosen, task.mask), attention_mask=features["attention_mask"], labels=labels
    ).loss
    loss = task(features)
    torch.testing.assert_close(loss, reference, atol=1e-5, rtol=1e-5)
    loss.backward()
    reference.backward()
    torch.testing.assert_close(
        model[0].model.embeddings.word_embeddings.weight.grad,
        whole.roberta.embeddings.word_embeddings.weight.grad,
        atol=1e-6,
        rtol=1e-3,
    )


def test_it_joins_the_contrastive_loss_by_its_weight(model: SentenceTransformer) -> None:
    values = []
    for weight in (1.0, 0.25):
        torch.manual_seed(0)
        loss = ContextPredictionLoss(
            model,
            languages=1,
            projection=8,
            masked_language_model=MaskedLanguageModel(model),
            masked_language_model_weight=weight,
        )
        torch.manual_seed(5)
        features = [dict(model.preprocess(t)) for t in (["the cat sat on a mat", "dogs ran"], ["rice", "fish"])]
        values.append(loss(features, torch.tensor([[0, 1], [0, 2]])))
    torch.testing.assert_close(values[0]["mlm"], 4 * values[1]["mlm"])
    assert values[0]["mlm"] > 0
    torch.testing.assert_close(values[0]["ccp"], values[1]["ccp"])


def test_training_on_it_predicts_the_masked_word(model: SentenceTransformer) -> None:
    torch.manual_seed(0)
    task = MaskedLanguageModel(model, probability=0.3)
    features = dict(model.preprocess(["the cat sat on a mat"] * 16))
    optimizer = torch.optim.AdamW([*model.parameters(), *task.head.parameters()], lr=3e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = task(features)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) / 5 < 0.3 * losses[0]


def test_a_tokenizer_without_mask_is_refused(model: SentenceTransformer) -> None:
    model.tokenizer.mask_token = None
    with pytest.raises(InputError, match="mask token"):
        MaskedLanguageModel(model)


def test_nothing_to_predict_costs_nothing(model: SentenceTransformer) -> None:
    task = MaskedLanguageModel(model, probability=0.0)
    assert float(task(dict(model.preprocess(["the cat"])))) == 0.0


@pytest.mark.parametrize("modular", [False, True], ids=["plain", "adapters"])
def test_a_saved_language_model_gives_the_same_logits_in_transformers(
    modular: bool, model: SentenceTransformer, tmp_path: Path
) -> None:
    if modular:
        with_adapters(model, ["sw"])
    language_model = MaskedLanguageModel(model).eval()
    language_model.save(tmp_path / "lm")
    whole = AutoModelForMaskedLM.from_pretrained(tmp_path / "lm").eval()
    inputs = AutoTokenizer.from_pretrained(tmp_path / "lm")("hello world", return_tensors="pt")
    inputs = {"input_ids": inputs["input_ids"]} | ({"lang_ids": torch.tensor([1])} if modular else {})
    with torch.inference_mode():
        own = language_model.head(model[0].model.eval()(**inputs).last_hidden_state)
        assert torch.equal(whole(**inputs).logits, own)
    # Its head can be used, frozen, in another encoder of the same kind.
    again = MaskedLanguageModel(model, pretrained=str(tmp_path / "lm"), frozen=True)
    assert all(
        torch.equal(value, language_model.head.state_dict()[name]) for name, value in again.head.state_dict().items()
    )
    assert not any(
        p.requires_grad for p in again.head.parameters() if p is not model[0].model.get_input_embeddings().weight
    )


def test_a_missing_head_or_one_of_another_encoder_is_refused(
    model: SentenceTransformer, tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    for folder in (tiny_encoder_folder, BUNDLED):
        with pytest.raises(InputError, match=r"has no head that predicts tokens: name a masked language model"):
            MaskedLanguageModel(model, pretrained=str(folder), frozen=True)
    MaskedLanguageModel(model, pretrained=str(BUNDLED))  # a new head is trained
    config = XLMRobertaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    XLMRobertaForMaskedLM(config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"has a head for another encoder"):
        MaskedLanguageModel(model, pretrained=str(tmp_path), frozen=True)
