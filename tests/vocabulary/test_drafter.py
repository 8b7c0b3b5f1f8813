"""Test a drafter with a trimmed head: the text of the target model does not change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mlret.errors import InputError
from mlret.vocabulary.drafter import HEAD, load_drafter, open_drafter, save_drafter, trim_head
from tests.vocabulary import made


@pytest.mark.parametrize("name", ["llama tied", "llama untied", "gpt2"])
def test_the_target_generates_the_same_text_with_a_drafter(name: str, tmp_path: Path) -> None:
    tokenizer = made.fast("byte-bpe")
    target, drafter = made.model(name, len(tokenizer)), made.model(name, len(tokenizer))
    whole = drafter(torch.tensor([[0, 300, 5]])).logits
    table = drafter.get_input_embeddings().weight.clone()
    trim_head(drafter, size=600, corpus=made.texts(), tokenizer=tokenizer)
    assert torch.equal(drafter.get_input_embeddings().weight, table)
    logits = drafter(torch.tensor([[0, 300, 5]])).logits
    kept = torch.isfinite(logits[0, -1])
    assert kept.sum() == 600
    assert logits.shape == whole.shape
    torch.testing.assert_close(logits[..., kept], whole[..., kept])
    save_drafter(drafter, tokenizer, tmp_path)
    loaded = load_drafter(tmp_path)
    assert torch.equal(loaded(torch.tensor([[0, 300, 5]])).logits, logits)
    prompt = tokenizer("The train", return_tensors="pt", add_special_tokens=False)["input_ids"]
    alone = target.generate(prompt, max_new_tokens=24, do_sample=False)
    assert torch.equal(target.generate(prompt, max_new_tokens=24, do_sample=False, assistant_model=loaded), alone)


def trained(name: str, tokenizer: PreTrainedTokenizerFast, texts: list[str], steps: int) -> PreTrainedModel:
    """Return a small language model after ``steps`` steps on the texts, so that what it generates repeats them."""
    model: PreTrainedModel = made.model(name, len(tokenizer))
    batch = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=20)["input_ids"]
    labels = batch.masked_fill(batch == tokenizer.pad_token_id, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model.train()
    for _ in range(steps):
        model(batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def test_trained_drafter_with_a_trimmed_head_saves_passes_and_changes_nothing(tmp_path: Path) -> None:
    tokenizer = made.fast("byte-bpe")
    texts = made.corpus()["en"][:4]
    target = trained("llama tied", tokenizer, texts, steps=60)
    drafter = trained("llama tied", tokenizer, texts, steps=45)
    # Smaller than the vocabulary of the texts: the target also writes tokens that the drafter cannot propose.
    used = np.unique(np.concatenate(tokenizer(texts)["input_ids"]))
    size = len(used) * 4 // 5
    drafter.save_pretrained(tmp_path / "drafter")
    tokenizer.save_pretrained(tmp_path / "drafter")
    opened, shared = open_drafter(str(tmp_path / "drafter"))
    save_drafter(trim_head(opened, size=size, corpus=texts, tokenizer=shared), shared, tmp_path / "fast")
    fast = load_drafter(tmp_path / "fast")
    head = fast.get_output_embeddings()
    assert head.weight.shape == (size, 32)

    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    target.get_output_embeddings().register_forward_hook(count)
    written, proposed = [], set(head.target_ids.tolist())
    for text in texts:
        prompt = torch.tensor([tokenizer(text)["input_ids"][:4]])
        options = {"max_new_tokens": 16, "do_sample": False, "eos_token_id": None}
        alone = target.generate(prompt, **options)
        passes = 0
        assert torch.equal(target.generate(prompt, assistant_model=fast, **options), alone)
        new = alone[0, prompt.shape[1] :].tolist()
        written.append((passes, len(new), not proposed.issuperset(new)))
    assert any(beyond for _, _, beyond in written)
    assert sum(passes for passes, _, _ in written) < 0.7 * sum(tokens for _, tokens, _ in written)


def test_the_rows_are_the_tokens_that_come_most() -> None:
    tokenizer = made.fast("byte-bpe")
    drafter = made.model("llama untied", len(tokenizer))
    trim_head(drafter, size=50, corpus=["the the the"] * 9 + ["cat"], tokenizer=tokenizer)
    kept = set(drafter.lm_head.target_ids.tolist())
    assert set(tokenizer.all_special_ids) <= kept
    assert set(tokenizer(["the the", "cat"], add_special_tokens=False)["input_ids"][0]) <= kept
    assert np.all(np.diff(drafter.lm_head.target_ids) > 0)


def test_what_has_no_head_is_refused(tmp_path: Path) -> None:
    tokenizer = made.fast("byte-bpe")
    with pytest.raises(InputError, match=r"BertModel has no output head"):
        trim_head(made.model("bert", len(tokenizer)), size=50, corpus=["a"], tokenizer=tokenizer)
    llama = made.model("llama tied", len(tokenizer))
    for size in (2, 3001):
        with pytest.raises(InputError, match=r"give from 5 \(the special ones\) to 3,000"):
            trim_head(llama, size=size, corpus=["a"], tokenizer=tokenizer)
    with pytest.raises(InputError, match=r"corpus is empty"):
        trim_head(llama, size=50, corpus=[], tokenizer=tokenizer)
    with pytest.raises(InputError, match=r"is not trimmed: call trim_head"):
        save_drafter(llama, tokenizer, tmp_path)
    with pytest.raises(InputError, match=HEAD):
        load_drafter(tmp_path)
