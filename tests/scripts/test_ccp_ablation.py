"""Test the report of the ablation: deviations, bold figures, shared preparation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from mlret.errors import InputError
from mlret.recipes import find_recipe
from mlret.training.recipe import Recipe, read_recipe
from scripts import ccp_ablation
from scripts.ccp_ablation import (
    BASE,
    CALIBRATIONS,
    MONITORS,
    PROBES,
    RETRIEVAL,
    VARIANTS,
    cell,
    difference,
    folder_of,
    in_words,
    jobs,
    plot,
    read_scores,
    recipe_of,
    report,
    share_preparation,
    tables,
    train_all,
)


def _scores(value: float) -> list[dict[str, dict[str, float]]]:
    """Return three seeds around a value."""
    return [
        {way: dict.fromkeys(RETRIEVAL, value + seed / 1000) for way in CALIBRATIONS}
        | {"monitors": dict.fromkeys(MONITORS, value)}
        for seed in range(3)
    ]


def test_a_variant_differs_from_the_base_in_its_key_and_seed_alone() -> None:
    base = read_recipe(find_recipe("ccp-ablation", "training"))
    for variant, change in (VARIANTS | PROBES).items():
        recipe = recipe_of(base, variant, 7)
        before, after = base.model_dump(), recipe.model_dump()
        assert after.pop("seed") == 7
        before.pop("seed")
        differs = {key for key in after["stages"][0] if after["stages"][0][key] != before["stages"][0][key]}
        assert differs == set(change)
        after["stages"] = before["stages"]
        assert after == before
    assert len({folder_of(Path(), variant, 0) for variant in VARIANTS}) == len(VARIANTS)


def test_probes_have_one_seed() -> None:
    assert len(jobs(3)) == 3 * len(VARIANTS) + len(PROBES)
    assert {seed for variant, seed in jobs(3) if variant in PROBES} == {0}


def test_a_cell_is_bold_where_it_lies_beyond_twice_the_pooled_deviation() -> None:
    assert cell([0.10, 0.12], None, 100) == "11.0 ± 1.4"
    assert cell([0.10, 0.12], [0.11, 0.13], 100) == "11.0 ± 1.4"
    assert cell([0.10, 0.12], [0.20, 0.22], 100) == "**11.0 ± 1.4**"
    assert cell([2.0], [1.0, 1.1], 1) == "2.00"


def test_the_tables_hold_every_variant_and_calibration() -> None:
    scores = {variant: _scores(0.1 if variant == BASE else 0.2) for variant in VARIANTS}
    written = tables(scores)
    for label in (*VARIANTS, *CALIBRATIONS):
        assert f"| {label} |" in written
    assert written.count("**20.1 ± 0.1**") == 2 * len(RETRIEVAL) * (len(VARIANTS) - 1)
    del scores["no bank"][0]["monitors"]["leakage"], scores["no bank"][1]["monitors"]["leakage"]
    rows = [line for line in tables(scores).splitlines() if line.startswith("| no bank |")]
    # Accuracies depend on the number of candidates, and so on the bank: their differences are not marked.
    bold, plain = "**0.20 ± 0.00**", "0.20 ± 0.00"
    assert rows[-2] == f"| no bank | {' | '.join([bold, *[plain] * 3, '0.20', bold, bold])} |"
    assert rows[-1] == "| no bank" + " | +0.10 [+0.10, +0.10]" * 3 + " |"


def test_one_seed_shows_no_difference() -> None:
    assert cell([0.10], [0.50, 0.51], 100) == "10.0"
    assert cell([0.10, 0.11], [0.50], 100) == "10.5 ± 0.7"
    assert in_words({variant: _scores(0.1)[:1] for variant in VARIANTS}).startswith("One seed")


def test_differences_are_computed_seed_by_seed() -> None:
    # The deviation over seeds is twenty times the difference, but every seed shows the difference.
    assert difference([0.11, 0.31, 0.53], [0.10, 0.30, 0.50], 100) == "+1.7 [+1.0, +3.0]"
    assert difference([0.11, None, 0.53], [0.10, 0.30, None], 100) == "+1.0 [+1.0, +1.0]"
    assert difference([None], [0.1], 100) == "-"


def test_a_measure_that_some_runs_lack_is_shown_from_the_others() -> None:
    scores = {variant: _scores(0.1) for variant in VARIANTS}
    for run in scores[BASE]:
        del run["shift, scale"]["recall@1"]
    del scores["w = 1"][1]["shift, scale"]["recall@1"]
    written = tables(scores)
    assert "| full | 10.1 ± 0.1 | 10.1 ± 0.1 | - | 10.1 ± 0.1 | 10.1 ± 0.1 |" in written
    assert "| w = 1 | 10.1 ± 0.1 | 10.1 ± 0.1 | 10.1 ± 0.1 | 10.1 ± 0.1 | 10.1 ± 0.1 |" in written
    assert "| w = 1 | +0.0 [+0.0, +0.0] | +0.0 [+0.0, +0.0] | - |" in written


def test_differences_that_stand_out_are_described_in_words() -> None:
    scores = {variant: _scores(0.3 if variant == "no bank" else 0.1) for variant in VARIANTS}
    written = in_words(scores)
    assert "Against `full` (10.1 %): beyond twice the pooled deviation no bank (+20.0); within it one bank" in written
    assert (
        "Against `no calibration` (10.1 %): beyond twice the pooled deviation none; within it shift (+0.0)" in written
    )
    scores["statistics by language"] = _scores(0.9)[:1]
    assert in_words(scores) == written  # a single seed is not judged


def _base() -> Recipe:
    return read_recipe(find_recipe("ccp-ablation", "training"))


def _keep(runs: Path, seeds: int) -> None:
    """Write runs that have been measured."""
    for variant, seed in jobs(seeds):
        folder = folder_of(runs, variant, seed)
        folder.mkdir(parents=True)
        (folder / "recipe.json").write_text(recipe_of(_base(), variant, seed).model_dump_json(indent=1))
        (folder / "scores.json").write_text(json.dumps(_scores(0.2)[seed]))


def test_the_report_needs_scores_alone_and_keeps_the_findings(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    _keep(tmp_path / "runs", 3)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "findings.md").write_text("By hand, with {braces}.\n", encoding="utf-8")
    scores = read_scores(_base(), tmp_path / "runs", 3)
    for _ in range(2):
        report(scores, tmp_path / "out", "the command")
    written = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert written.count("By hand, with {braces}.") == 1 and "`the command`" in written
    assert "| statistics by language | 20.0 |" in written
    assert json.loads((tmp_path / "out" / "ablation.json").read_text(encoding="utf-8"))["scores"] == scores


def test_scores_of_another_recipe_or_of_no_run_are_refused(tmp_path: Path) -> None:
    _keep(tmp_path, 1)
    changed = _base().model_copy(update={"repeated_sentences": "keep"})
    with pytest.raises(InputError, match="full-0 was measured with another recipe"):
        read_scores(changed, tmp_path, 1)
    with pytest.raises(InputError, match="another recipe"):
        train_all(changed, tmp_path, tmp_path, 1, Console(quiet=True))
    with pytest.raises(InputError, match=re.escape("full-1 has no scores.json")):
        read_scores(_base(), tmp_path, 2)


def test_only_measured_runs_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _keep(tmp_path, 1)
    stopped = folder_of(tmp_path, "w = 5", 0)
    (stopped / "scores.json").unlink()
    (stopped / "model").mkdir()  # as left by an interrupted copy
    trained = []
    monkeypatch.setattr(ccp_ablation, "train", lambda recipe, data, folder, say: trained.append(folder))
    train_all(_base(), tmp_path, tmp_path, 1, Console(quiet=True))
    assert trained == [stopped]


def test_sharing_that_was_interrupted_starts_over(tmp_path: Path) -> None:
    first, other = tmp_path / "first", tmp_path / "other"
    for part in ("text", "tokenizer"):
        (first / part).mkdir(parents=True)
        (first / part / "file").write_text(part)
    with pytest.raises(FileNotFoundError):
        share_preparation(first, other, _base())
    assert not other.exists()
    (first / "tokens").mkdir()
    share_preparation(first, other, _base())
    assert sorted(path.name for path in other.iterdir()) == ["recipe.json", "text", "tokenizer", "tokens"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "other"]


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
    scores = {variant: _scores(0.3) for variant in VARIANTS}
    del scores["w = 5"][0]["shift, scale"]["tatoeba"]
    plot(scores, tmp_path / "ablation.png")
    assert (tmp_path / "ablation.png").read_bytes()[:4] == b"\x89PNG"
    drawn = (tmp_path / "ablation.svg").read_bytes()
    assert b"<svg" in drawn
    plot(scores, tmp_path / "ablation.png")
    assert (tmp_path / "ablation.svg").read_bytes() == drawn
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ablation.png", "ablation.svg"]
