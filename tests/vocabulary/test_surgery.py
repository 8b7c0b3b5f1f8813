"""Test cutting tokenizers: kept tokens are split from texts as before, and every id is updated."""

from __future__ import annotations

import json
import random
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from mlret.errors import InputError
from mlret.vocabulary.proof import encoded
from mlret.vocabulary.surgery import TokenizerState
from tests.vocabulary import made

ALL_KINDS = [*made.KINDS, *made.REAL]


@cache
def opened(kind: str) -> tuple[Tokenizer, TokenizerState, list[str]]:
    tokenizer = made.tokenizer_of(kind)
    words = sorted({word for text in made.texts() for word in text.split()})
    return tokenizer, TokenizerState(tokenizer), words


def ids_for(tokenizer: Tokenizer, text: str) -> set[int]:
    return set(encoded(tokenizer, [text])[0].tolist())


@pytest.mark.parametrize("kind", made.KINDS)
@given(seed=st.integers(0, 2**32 - 1), length=st.integers(1, 12), extra=st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_covered_text_keeps_its_tokens_one_to_one(kind: str, seed: int, length: int, extra: int) -> None:
    tokenizer, state, words = opened(kind)
    draw = random.Random(seed)
    text = " ".join(draw.choices(words, k=length))
    needed = ids_for(tokenizer, text)
    kept = np.array(sorted(state.closed(needed | set(draw.sample(range(len(state.tokens)), extra)))))
    cut = state.cut(kept)
    old, new = tokenizer.encode(text), cut.encode(text)
    assert kept[new.ids].tolist() == old.ids
    assert new.tokens == old.tokens
    assert cut.decode(new.ids) == tokenizer.decode(old.ids)


@pytest.mark.parametrize("kind", made.REAL)
def test_covered_text_of_a_real_tokenizer_keeps_its_tokens_one_to_one(kind: str) -> None:
    tokenizer, state, _ = opened(kind)
    unknown = state.ids[state.model.get("unk_token") or state.tokens[state.model.get("unk_id") or 0] or ""]
    for seed, languages in enumerate([["sw"], ["en", "ja"], ["ar", "hi", "zh"], list(made.corpus())]):
        texts = [text for language in languages for text in made.corpus()[language]]
        before = encoded(tokenizer, texts)
        needed = {int(position) for ids in before for position in ids}
        kept = np.array(sorted(state.closed(needed | set(random.Random(seed).sample(range(len(state.tokens)), 500)))))
        after = encoded(state.cut(kept), texts)
        for old, new in zip(before, after, strict=True):
            if unknown not in old:
                assert np.array_equal(kept[new], old)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_nothing_kept_is_lost_and_a_cut_tokenizer_can_be_cut_again(kind: str) -> None:
    _, state, _ = opened(kind)
    draw = random.Random(1)
    wanted = {position for position in draw.sample(range(len(state.tokens)), 400) if state.tokens[position]}
    kept = np.array(sorted(state.closed(wanted)))
    cut = TokenizerState(state.cut(kept))
    assert cut.tokens == [state.tokens[position] for position in kept]
    # The kept tokens are closed, so cutting again needs no removed token.
    again = np.array(sorted(cut.closed({cut.ids[str(state.tokens[position])] for position in wanted})))
    assert again.tolist() == list(range(len(kept)))
    twice = TokenizerState(cut.cut(again[: len(again) // 2 * 2]) if kind == "wordpiece" else cut.cut(again))
    assert set(twice.ids) <= set(cut.ids)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_id_in_the_tokenizer_follows(kind: str) -> None:
    tokenizer, state, _ = opened(kind)
    cut = state.cut(np.array(sorted(state.closed(set()))))
    for added in json.loads(cut.to_str())["added_tokens"]:
        assert cut.token_to_id(added["content"]) == added["id"]
    one, pair = cut.encode(""), cut.encode("", "")
    assert one.tokens == tokenizer.encode("").tokens
    assert [cut.id_to_token(position) for position in pair.ids] == pair.tokens == tokenizer.encode("", "").tokens


def test_padding_and_nested_post_processors_follow() -> None:
    tokenizer = made.tokenizer_of("bpe")
    state = json.loads(tokenizer.to_str())
    state["post_processor"] = {"type": "Sequence", "processors": [state["post_processor"]]}
    tokenizer = Tokenizer.from_str(json.dumps(state))
    # A padding token that is not special and has a high id.
    tokenizer.add_tokens(["[PAD]"])
    position = tokenizer.token_to_id("[PAD]")
    tokenizer.enable_padding(pad_id=position, pad_token="[PAD]", length=8)
    opened = TokenizerState(tokenizer)
    cut = opened.cut(np.array(sorted(opened.closed(ids_for(tokenizer, "the")))))
    assert cut.padding["pad_id"] == cut.token_to_id("[PAD]") < position
    assert cut.encode("the").tokens == tokenizer.encode("the").tokens


def with_a_gap(kind: str, first: int, width: int) -> Tokenizer:
    """Return a tokenizer without tokens from one id on, and with two tokens added after that."""
    state = json.loads(made.trained(kind))
    vocab = state["model"]["vocab"]
    state["model"]["vocab"] = {token: old + width * (old >= first) for token, old in vocab.items()}
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.add_tokens(["New York", "[Q]"])
    return tokenizer


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "byte-bpe"])
def test_added_tokens_before_tokens_of_the_model_keep_their_place(kind: str) -> None:
    tokenizer = with_a_gap(kind, 2900, 150)
    assert tokenizer.token_to_id("[Q]") == 3001
    state = TokenizerState(tokenizer)
    assert len(state.tokens) == 3150
    last = len(state.tokens) - 1
    kept = np.array(sorted(state.closed(ids_for(tokenizer, "in New York [Q] the") | {last, 2950})))
    cut = state.cut(kept)
    assert 2950 not in kept
    assert kept[cut.encode("in New York [Q] the").ids].tolist() == tokenizer.encode("in New York [Q] the").ids
    assert cut.id_to_token(len(kept) - 1) == state.tokens[last]
    again = TokenizerState(Tokenizer.from_str(cut.to_str()))
    assert again.cut(np.arange(len(kept))).get_vocab() == cut.get_vocab()


def test_two_tokens_of_one_id_are_refused() -> None:
    with pytest.raises(InputError, match=r"'New York' the same id, 3,000: give one of them another"):
        _ = TokenizerState(with_a_gap("wordpiece", 1000, 50)).tokens


def test_merges_that_lead_to_a_kept_token_stay() -> None:
    vocab = {token: place for place, token in enumerate(["<unk>", "a", "b", "c", "ab", "abc", "bc"])}
    model = models.BPE(vocab=vocab, merges=[("a", "b"), ("ab", "c"), ("b", "c")], unk_token="<unk>")
    state = TokenizerState(Tokenizer(model))
    kept = state.closed({vocab["abc"]})
    assert {state.tokens[position] for position in kept} == {"<unk>", "a", "b", "c", "ab", "abc"}
    assert state.cut(np.array(sorted(kept))).encode("abc").tokens == ["abc"]


def test_the_lowest_score_stays_for_unknown_characters() -> None:
    # Without the token with the lowest score an unknown character would cost less, and "x" would become one.
    entries = [("<unk>", 0.0), ("a", -1.0), ("x", -9.0), ("q", -30.0), ("ax", -18.0)]
    tokenizer = Tokenizer(models.Unigram(entries, 0))
    state = TokenizerState(tokenizer)
    kept = np.array(sorted(state.closed({1})))
    assert [state.tokens[position] for position in kept] == ["<unk>", "a", "q"]


def test_bytes_are_always_kept() -> None:
    for kind in ("byte-bpe", "unigram-bytes"):
        tokenizer, state, _ = opened(kind)
        cut = state.cut(np.array(sorted(state.closed(set()))))
        text = "𓀀 ꙮ �"
        assert cut.decode(cut.encode(text).ids).strip() == text
        assert tokenizer.decode(tokenizer.encode(text).ids).strip() == text


def test_surfaces() -> None:
    _, unigram, _ = opened("unigram")
    assert [unigram.surface(token) for token in ("▁the", "the", "▁", "<s>")] == ["the", "the", "", "<s>"]
    _, byte, _ = opened("byte-bpe")
    assert [byte.surface(token) for token in ("Ġthe", "Ø§", "Ø")] == ["the", "ا", ""]
    _, piece, _ = opened("wordpiece")
    assert piece.surface("##ing") == "ing"
    _, suffixed, _ = opened("bpe-suffix")
    assert suffixed.surface("ing</w>") == "ing"


def test_an_unknown_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlret.vocabulary.surgery.json.loads", lambda _: {"model": {"type": "Odd"}})
    with pytest.raises(InputError, match=r"kind Odd; mlret trims Unigram, BPE"):
        TokenizerState(Tokenizer(models.BPE()))
