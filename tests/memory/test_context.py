"""Test contexts: a budget is never exceeded, texts are in order of time, and the best texts are complete."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.errors import InputError
from mlret.memory.search.context import Passage, pack


def words(text: str) -> int:
    return len(text.split())


PASSAGES = st.lists(st.tuples(st.integers(0, 12), st.none() | st.integers(0, 12), st.floats(0, 9)), max_size=10).map(
    lambda items: [
        Passage(str(rank), " ".join(["w"] * long), None if short is None else " ".join(["s"] * short), at)
        for rank, (long, short, at) in enumerate(items)
    ]
)


@given(PASSAGES, st.integers(0, 60), st.integers(0, 2))
def test_packing_keeps_the_budget_and_the_order_of_time(passages: list[Passage], budget: int, separator: int) -> None:
    packed = pack(passages, budget, words, separator=separator)
    assert packed.cost <= budget
    assert packed.cost == sum(words(p.text) for p in packed.pieces) + separator * max(0, len(packed.pieces) - 1)
    of = {passage.id: passage for passage in passages}
    times = [(of[piece.id].at, int(piece.id)) for piece in packed.pieces]
    assert times == sorted(times)
    assert sorted([piece.id for piece in packed.pieces] + list(packed.dropped)) == sorted(of)
    for piece in packed.pieces:
        assert piece.text == (of[piece.id].text if piece.form == "raw" else of[piece.id].summary)


@given(PASSAGES, st.integers(0, 60))
def test_nothing_that_was_excluded_or_shortened_would_still_fit(passages: list[Passage], budget: int) -> None:
    packed = pack(passages, budget, words, separator=0)
    left = budget - packed.cost
    of = {passage.id: passage for passage in passages}
    for id in packed.dropped:
        costs = [words(of[id].text)] + ([] if of[id].summary is None else [words(of[id].summary or "")])
        assert min(costs) > left or min(costs) == 0
    for piece in packed.pieces:
        if piece.form == "summary":
            assert words(of[piece.id].text) - piece.cost > left


@given(PASSAGES)
def test_with_room_for_all_every_text_is_complete(passages: list[Passage]) -> None:
    packed = pack(passages, 1000, words)
    assert not packed.dropped
    assert all(piece.form == "raw" for piece in packed.pieces)


def test_the_worst_are_shortened_before_any_is_excluded() -> None:
    passages = [
        Passage("best", "a b c d", "a", at=3),
        Passage("middle", "e f g h", "e", at=1),
        Passage("worst", "i j k l", "i", at=2),
    ]
    packed = pack(passages, 8, words, separator=0)
    assert [(piece.id, piece.form) for piece in packed.pieces] == [
        ("middle", "summary"), ("worst", "summary"), ("best", "raw"),
    ]  # fmt: skip
    assert packed.text == "e\ni\na b c d"
    assert pack(passages, 5, words, separator=0).dropped == ()
    assert pack(passages, 2, words, separator=0).dropped == ("worst",)


def test_what_can_never_fit_does_not_push_out_what_can() -> None:
    packed = pack([Passage("huge", "w " * 50), Passage("small", "w")], 3, words)
    assert [piece.id for piece in packed.pieces] == ["small"]
    assert packed.dropped == ("huge",)


def test_impossible_budgets_are_errors() -> None:
    with pytest.raises(InputError, match="-1"):
        pack([], -1, words)
    with pytest.raises(InputError, match="x: its raw text costs -2"):
        pack([Passage("x", "w")], 3, lambda _: -2)
