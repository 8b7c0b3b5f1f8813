"""Test that the shipped recipes are valid, and that errors name what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mlret.errors import InputError
from mlret.recipes import find_recipe, list_recipes
from mlret.training.recipe import read_recipe


@pytest.mark.parametrize("name", sorted(list_recipes("training")))
def test_shipped_recipes_are_valid(name: str) -> None:
    assert read_recipe(find_recipe(name, "training")).name == name


def test_the_error_for_an_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"no recipe 'ccp-maxi'; there are .*ccp-mini"):
        find_recipe("ccp-maxi", "training")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sedd": 1}, "sedd: Extra inputs"),
        ({"languages": ["sw", "klingonish"]}, "unknown language code 'klingonish'"),
        ({"stages": []}, "stages: List should have at least 1"),
        ({"tokenizer": {"vocab_size": "many"}}, "tokenizer.vocab_size"),
        ({"backbone": {"kind": "pretrained", "model": "m"}}, "a pretrained backbone brings its tokenizer"),
        ({"backbone": {"layers": 0}}, "backbone.new.layers"),
        (
            {
                "stages": [
                    {
                        "name": "s",
                        "objective": "ccp",
                        "steps": 1,
                        "bank": 0,
                        "own_side_negatives": False,
                        "other_side_negatives": False,
                    }
                ]
            },
            "no negatives are left",
        ),
        (
            {"stages": [{"name": "s", "objective": "ccp", "steps": 1, "layers": "none", "mlm_weight": 1}]},
            "needs the layers",
        ),
        (
            {"sources": [{"kind": "parallel", "files": ["a"], "columns": ["language"]}]},
            "needs a source of kind 'documents'",
        ),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    settings = yaml.safe_load(find_recipe("ccp-mini").read_text(encoding="utf-8")) | change
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    with pytest.raises(InputError, match="mine") as error:
        read_recipe(path)
    assert message in str(error.value)


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: x\nstages: [\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.yaml:3: not YAML"):
        read_recipe(path)


def test_overrides_change_one_value_and_name_what_is_wrong() -> None:
    path = find_recipe("ccp-mini")
    recipe = read_recipe(path, ["stages.ccp.steps=7", "stages.0.bank=0", "backbone.layers=2", "languages=[sw, en]"])
    assert [stage.steps for stage in recipe.stages] == [1000, 7]
    assert recipe.stages[0].bank == 0
    assert recipe.backbone.layers == 2
    assert recipe.languages == ["sw", "en"]
    for override, message in (
        ("stages.ccq.steps=7", "no entry 'ccq'; there are ['ccp-words', 'ccp']"),
        ("stages.ccp.stepps=7", "stages.1.ccp.stepps: Extra inputs"),
        ("seed", "expected key=value"),
        ("seed.x=1", "not a key here"),
        ("name=[", "not YAML"),
    ):
        with pytest.raises(InputError) as error:
            read_recipe(path, [override])
        assert message in str(error.value)


def test_the_large_recipes_name_the_source_of_every_value() -> None:
    for name in ("ccp-xlmr-base", "ccp-xlmr-large"):
        stage = find_recipe(name).read_text(encoding="utf-8").partition("stages:")[2].partition("# Shift")[0]
        values = [line for line in stage.splitlines() if ":" in line.partition("#")[0]]
        sourced = [line for line in values if any(word in line for word in ("paper", "review", "sibling", "ours"))]
        assert {line.partition(":")[0].strip(" -") for line in values} - {
            line.partition(":")[0].strip(" -") for line in sourced
        } == {"name", "objective"}
