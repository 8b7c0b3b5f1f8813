"""Test the choice of tokens: exact sizes, coverage, minimal numbers, balance over languages."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from tokenizers import Tokenizer, models

from mlret.data.scripts import script_of
from mlret.errors import InputError
from mlret.vocabulary.choice import Chooser
from mlret.vocabulary.counting import TokenCounts, count_tokens
from mlret.vocabulary.surgery import TokenizerState
from tests.vocabulary import made


def chooser_of(kind: str, *languages: str) -> tuple[Chooser, TokenizerState, TokenCounts]:
    tokenizer = made.tokenizer_of(kind)
    counts = count_tokens(tokenizer, {code: made.corpus()[code] for code in languages})
    state = TokenizerState(tokenizer)
    return Chooser(state, languages, counts), state, counts


@pytest.mark.parametrize("kind", made.KINDS)
def test_the_requested_size_is_the_resulting_size(kind: str) -> None:
    chooser, state, _ = chooser_of(kind, "sw", "ru")
    for size in (len(chooser.always), len(chooser.always) + 1, 900, 1500):
        kept = chooser.by_size(size).kept
        # The last token may need more parts than fit; and no token is kept without a reason.
        assert min(size, chooser.candidates) - 3 <= len(kept) <= size
        assert set(kept.tolist()) == state.closed(set(kept.tolist()))


def test_a_size_without_room_for_what_is_always_kept_is_refused() -> None:
    chooser, _, _ = chooser_of("unigram", "sw")
    with pytest.raises(InputError, match=r"a size of 3 is less than the .* tokens that are always kept"):
        chooser.by_size(3)


@pytest.mark.parametrize("kind", made.KINDS)
@pytest.mark.parametrize("coverage", [0.6, 0.9, 0.99, 1.0])
def test_coverage_holds_in_every_language(kind: str, coverage: float) -> None:
    chooser, _, counts = chooser_of(kind, "sw", "ru", "ja")
    assert (counts.coverage(chooser.by_coverage(coverage).kept) >= coverage - 1e-9).all()


@st.composite
def covering_problems(draw: st.DrawFn) -> tuple[np.ndarray, float]:
    languages, tokens = draw(st.integers(1, 3)), draw(st.integers(2, 9))
    rows = draw(
        st.lists(
            st.lists(st.integers(0, 9), min_size=tokens, max_size=tokens).filter(any),
            min_size=languages,
            max_size=languages,
        )
    )
    return np.array(rows, np.int64), draw(st.sampled_from([0.3, 0.5, 0.8, 0.95]))


def words(count: int) -> TokenizerState:
    """Make a tokenizer of words in no script, so that nothing is kept for its characters."""
    return TokenizerState(Tokenizer(models.WordLevel({f"語{place}": place for place in range(count)}, "語0")))


@given(covering_problems())
@settings(max_examples=150, deadline=None)
def test_coverage_takes_at_most_a_token_a_language_more_than_the_best(problem: tuple[np.ndarray, float]) -> None:
    counts, coverage = problem
    found = TokenCounts([f"l{row}" for row in range(len(counts))], counts)
    state = words(counts.shape[1])
    chosen = set(Chooser(state, ["sw"], found).by_coverage(coverage).kept.tolist())
    shares = found.shares
    free = set(state.indispensable)
    best = next(
        size
        for size in range(counts.shape[1] + 1)
        for some in combinations(range(counts.shape[1]), size)
        if (shares[:, sorted(free | set(some))].sum(axis=1) >= coverage - 1e-9).all()
    )
    assert (shares[:, sorted(chosen)].sum(axis=1) >= coverage - 1e-9).all()
    assert len(chosen - free) <= best + len(counts)


def test_coverage_is_near_the_bound_of_the_linear_programme() -> None:
    random = np.random.default_rng(0)
    frequencies = 1e6 / np.arange(1, 2001)
    counts = np.stack([random.poisson(random.permutation(frequencies)) for _ in range(6)])
    found = TokenCounts([f"l{row}" for row in range(6)], counts)
    chooser = Chooser(words(2000), ["sw"], found)
    for coverage in (0.7, 0.95):
        bound = linprog(np.ones(2000), A_ub=-found.shares, b_ub=-np.full(6, coverage), bounds=(0, 1))
        assert len(chooser.by_coverage(coverage).kept) <= bound.fun + 6 + 1  # the unknown token


def test_languages_weigh_the_same_however_much_text_they_have() -> None:
    tokenizer = made.tokenizer_of("unigram")
    little = {"sw": made.corpus()["sw"], "ru": made.corpus()["ru"]}
    much = {"sw": made.corpus()["sw"] * 30, "ru": made.corpus()["ru"]}
    kept = [
        Chooser(TokenizerState(tokenizer), ["sw", "ru"], count_tokens(tokenizer, corpus)).by_size(700).kept.tolist()
        for corpus in (little, much)
    ]
    assert kept[0] == kept[1]


def test_tokens_are_kept_from_the_count_asked_for() -> None:
    chooser, state, counts = chooser_of("wordpiece", "sw", "en")
    total = counts.counts.sum(axis=0)
    kept = set(chooser.by_count(5).kept.tolist())
    assert set(np.flatnonzero(total >= 5).tolist()) <= kept
    assert kept == state.closed(set(np.flatnonzero(total >= 5).tolist()) | chooser.always)


def test_the_characters_of_the_scripts_are_always_kept_and_no_others_for_their_script() -> None:
    state = TokenizerState(made.tokenizer_of("unigram"))
    always = {state.tokens[position] for position in Chooser(state, ["ru"]).always}
    cyrillic = {token for token in state.ids if len(token) == 1 and script_of(token) == "CYRILLIC"}
    assert cyrillic
    assert cyrillic <= always
    assert "," in always
    assert not {token for token in always if token and len(token) == 1 and script_of(token) == "ARABIC"}


def test_a_text_in_another_script_brings_its_characters() -> None:
    tokenizer = made.tokenizer_of("unigram")
    state, counts = TokenizerState(tokenizer), count_tokens(tokenizer, {"sw": made.corpus()["ru"]})
    always = {state.tokens[position] for position in Chooser(state, ["sw"], counts).always}
    assert {"ж", "z"} & state.ids.keys() <= always


def test_without_text_the_scripts_decide() -> None:
    state = TokenizerState(made.tokenizer_of("unigram"))
    kept = {state.tokens[position] for position in Chooser(state, ["el", "ja"]).by_scripts().kept}
    letters = {script_of(letter) for token in kept - set(made.SPECIALS) for letter in str(token)} - {None}
    assert {"HAN", "HIRAGANA"} <= letters
    # The token with the lowest score is kept for this score, whatever its script.
    assert len(letters - {"HAN", "HIRAGANA", "KATAKANA", "GREEK"}) <= 1
    with pytest.raises(InputError, match=r"need text to count on"):
        Chooser(state, ["el"]).by_count(2)
