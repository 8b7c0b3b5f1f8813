"""The ablation's report: what varies, what is bold, what is shared."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlret.recipes import find_recipe
from mlret.training.recipe import read_recipe
from scripts.ccp_ablation import (
    BASE,
    CALIBRATIONS,
    MONITORS,
    RETRIEVAL,
    VARIANTS,
    cell,
    folder_of,
    plot,
    recipe_of,
    share_preparation,
    tables,
)


def _scores(value: float) -> list[dict[str, dict[str, float]]]:
    """Three seeds around a value."""
    return [
        {way: dict.fromkeys(RETRIEVAL, value + seed / 1000) for way in CALIBRATIONS}
        | {"monitors": dict.fromkeys(MONITORS, value)}
        for seed in range(3)
    ]


def test_a_variant_differs_from_the_base_in_its_key_and_seed_alone() -> None:
    base = read_recipe(find_recipe("ccp-ablation", "training"))
    for variant, change in VARIANTS.items():
        recipe = recipe_of(base, variant, 7)
        before, after = base.model_dump(), recipe.model_dump()
        assert after.pop("seed") == 7
        before.pop("seed")
        differs = {key for key in after["stages"][0] if after["stages"][0][key] != before["stages"][0][key]}
        assert differs == set(change)
        after["stages"] = before["stages"]
        assert after == before
    assert len({folder_of(Path(), variant, 0) for variant in VARIANTS}) == len(VARIANTS)


def test_a_cell_is_bold_where_it_lies_beyond_twice_the_pooled_deviation() -> None:
    assert cell([0.10, 0.12], None, 100) == "11.0 ± 1.4"
    assert cell([0.10, 0.12], [0.11, 0.13], 100) == "11.0 ± 1.4"
    assert cell([0.10, 0.12], [0.20, 0.22], 100) == "**11.0 ± 1.4**"
    assert cell([2.0], None, 1) == "2.00 ± 0.00"


def test_the_tables_hold_every_variant_and_calibration() -> None:
    scores = {variant: _scores(0.1 if variant == BASE else 0.2) for variant in VARIANTS}
    written = tables(scores)
    for label in (*VARIANTS, *CALIBRATIONS):
        assert f"| {label} |" in written
    assert written.count("**20.1 ± 0.1**") == 2 * len(RETRIEVAL) * (len(VARIANTS) - 1)
    del scores["no bank"][0]["monitors"]["leakage"], scores["no bank"][1]["monitors"]["leakage"]
    assert "| no bank | **0.20 ± 0.00**" in tables(scores)


def test_prepared_text_is_shared_by_links(tmp_path: Path) -> None:
    first, other = tmp_path / "first", tmp_path / "other"
    for part in ("text", "tokenizer", "tokens"):
        (first / part).mkdir(parents=True)
        (first / part / "file").write_text(part)
    recipe = read_recipe(find_recipe("ccp-ablation", "training"))
    share_preparation(first, other, recipe)
    assert (other / "text" / "file").samefile(first / "text" / "file")
    assert (other / "recipe.json").read_text() == recipe.model_dump_json(indent=1)
    (other / "tokens" / "mine").write_text("x")
    share_preparation(first, other, recipe)
    assert (other / "tokens" / "mine").exists()


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot({variant: _scores(0.3) for variant in VARIANTS}, tmp_path / "ablation.png")
    assert (tmp_path / "ablation.png").read_bytes()[:4] == b"\x89PNG"
