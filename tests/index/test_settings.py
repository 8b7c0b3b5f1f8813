"""Test settings, recipes and the choice of a kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.errors import InputError
from mlret.index.settings import FLAT_ROWS, IndexSettings, changed_settings, choose_kind, read_index_recipe
from mlret.index.vectors.scan_cost import seconds_per_value
from mlret.recipes import list_recipes

GIB = 2**30


def test_choice_goes_from_exact_to_compressed_and_gives_the_reason() -> None:
    assert choose_kind(FLAT_ROWS - 1, 384).kind == "flat"
    large = choose_kind(1_000_000, 384, memory_bytes=24 * GIB)
    assert large.kind == "hnsw" and "1,000,000 vectors of 384 dimensions (1.5 GB)" in large.why
    huge = choose_kind(1_000_000, 384, memory_bytes=2 * GIB)
    assert huge.kind == "ivf-pq" and "on a machine with 2 GB" in huge.why


def test_vectors_that_this_machine_compares_quickly_need_no_graph() -> None:
    quick, slow = (choose_kind(200_000, 64, memory_bytes=24 * GIB, value_seconds=lambda s=s: s) for s in (1e-10, 1e-9))
    assert quick.kind == "flat" and "takes 1.3 ms on this machine" in quick.why
    assert slow.kind == "hnsw"
    assert choose_kind(200_000, 64, memory_bytes=10**7, value_seconds=lambda: 1e-10).kind == "ivf-pq"


def test_the_machine_is_only_timed_if_the_choice_depends_on_it() -> None:
    def timed() -> float:
        raise AssertionError

    assert choose_kind(FLAT_ROWS - 1, 1024, memory_bytes=24 * GIB, value_seconds=timed).kind == "flat"
    assert choose_kind(10**8, 1024, memory_bytes=24 * GIB, value_seconds=timed).kind == "ivf-pq"


def test_the_measured_cost_of_a_comparison_is_one_of_a_computer() -> None:
    # Between a petabyte a second and a megabyte a second.
    assert 4e-15 < seconds_per_value() < 4e-6


@given(st.integers(1, 10**7), st.integers(1, 10**7), st.integers(8, 1024), st.floats(1e-12, 1e-6))
def test_more_vectors_are_never_compressed_less(few: int, many: int, dims: int, cost: float) -> None:
    order = ["flat", "hnsw", "ivf-pq"]
    chosen = (choose_kind(rows, dims, memory_bytes=8 * GIB, value_seconds=lambda: cost) for rows in sorted((few, many)))
    kinds = [order.index(choice.kind) for choice in chosen]
    assert kinds == sorted(kinds)


@given(st.integers(1, 10**7))
def test_cells_can_be_trained(rows: int) -> None:
    assert 1 <= IndexSettings().cells(rows) <= max(1, rows // 39)


def test_every_recipe_is_complete_and_describes_its_use() -> None:
    recipes = list_recipes("index")
    assert {"flat", "hnsw", "ivf-sq8", "ivf-pq", "binary"} <= set(recipes)
    for name, path in recipes.items():
        recipe = read_index_recipe(path)
        assert recipe.name == name and recipe.description


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name: x\nsettings: {kind: best}", r"settings\.kind: "),
        ("name: x\nsettings: {nprobes: 3}", r"settings\.nprobes: .*the settings are kind, dims"),
        ("name: x\nsettings: {m: 2}", r"settings\.m: "),
        ("settings: {}", "name: Field required"),
        ("name: [", "r.yaml:.*not YAML"),
    ],
)
def test_wrong_recipe_names_the_key(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_index_recipe(path)


def test_settings_from_the_command_line_are_checked() -> None:
    assert changed_settings(IndexSettings(nprobe=3), {"dims": 64}) == IndexSettings(nprobe=3, dims=64)
    with pytest.raises(InputError, match="kind: Input should be"):
        changed_settings(IndexSettings(), {"kind": "best"})
