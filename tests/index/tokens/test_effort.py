"""Test from which size on probing is chosen, and the choice of an index that moves to another machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.index.settings import IndexSettings
from mlret.index.storage.manifest import Measured, Probing, Trial
from mlret.index.tokens.bits import WHOLE
from mlret.index.tokens.codec_training import LEAST
from mlret.index.tokens.cost import Cost, least_to_probe, measured
from mlret.index.tokens.effort import adapted

MILLION = 1_000_000
EVERYTHING = Trial(probes=None, recall=1, seconds=0.02, tokens=MILLION)
FEW = Trial(probes=4, compared=256, recall=0.98, seconds=0.04, tokens=16_000)
FEWEST = Trial(probes=1, compared=256, recall=0.7, seconds=0.01, tokens=16_000)


def chosen_on_a_fast_machine(target: float = 0.97) -> Probing:
    trials = Measured(instructions="fast", token_seconds=2e-8, target=target, trials=(EVERYTHING, FEW, FEWEST))
    return Probing(probes=None, recall=1, queries=48, asked=True, why="all documents", measured=trials)


def test_where_products_are_dear_probing_is_chosen_from_a_smaller_size_on() -> None:
    sizes = [least_to_probe(Cost("", token, 0.34e-3), LEAST) for token in (24e-9, 40e-9, 200e-9)]
    assert sizes == [262_144, 196_608, 131_072]


@given(st.floats(1e-10, 1e-3), st.floats(1e-10, 1e-3), st.floats(1e-6, 1e-1))
def test_the_size_falls_with_the_cost_of_a_token_down_to_the_least(one: float, other: float, lists: float) -> None:
    cheap, dear = sorted((one, other))
    at_cheap, at_dear = (least_to_probe(Cost("", token, lists), LEAST) for token in (cheap, dear))
    assert LEAST <= at_dear <= at_cheap


@pytest.mark.parametrize("bits", [4, 8, WHOLE])
def test_the_cost_is_measured_once(bits: int) -> None:
    cost = measured(32, bits)
    assert cost.instructions and 0 < cost.token < 1e-3 and 0 < cost.lists < 1
    assert measured(32, bits) is cost


def test_a_slower_machine_probes_where_a_faster_one_compared_all() -> None:
    found = adapted(chosen_on_a_fast_machine(), IndexSettings(), Cost("slow", 2e-7, 1e-3))
    assert (found.probes, found.compared, found.recall, found.asked) == (4, 256, 0.98, True)
    assert "estimated for slow from trial runs with fast" in found.why
    assert found.measured is not None and found.measured.instructions == "slow"
    assert found.measured.trials[0].seconds == pytest.approx(0.02 + 1.8e-7 * MILLION)


def test_a_choice_that_moves_back_is_the_first_one() -> None:
    first = chosen_on_a_fast_machine()
    back = adapted(adapted(first, IndexSettings(), Cost("slow", 2e-7, 1e-3)), IndexSettings(), Cost("fast", 2e-8, 1e-3))
    assert (back.probes, back.compared, back.recall) == (first.probes, first.compared, first.recall)


def test_no_machine_gives_up_the_recall_that_was_asked_for() -> None:
    found = adapted(chosen_on_a_fast_machine(target=0.99), IndexSettings(), Cost("slow", 1e-5, 1e-3))
    assert found.probes is None and found.recall == 1


def test_the_same_instructions_and_old_manifests_keep_the_choice() -> None:
    probing = chosen_on_a_fast_machine()
    assert adapted(probing, IndexSettings(), Cost("fast", 1e-3, 1e-3)) is probing
    old = probing.model_copy(update={"measured": None})
    assert adapted(old, IndexSettings(), Cost("slow", 1e-3, 1e-3)) is old
