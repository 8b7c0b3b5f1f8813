"""Test a drafter with a trimmed head: the text of the target model does not change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mlret.errors import InputError
from mlret.vocabulary.drafter import HEAD, load_drafter, save_drafter, trim_head
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


def test_the_rows_are_the_most_frequent_tokens() -> None:
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
