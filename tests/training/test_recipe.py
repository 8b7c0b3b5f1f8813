"""Recipes: what ships is valid, what is wrong is named."""

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


def test_an_unknown_recipe_names_those_there_are() -> None:
    with pytest.raises(InputError, match=r"no recipe 'ccp-maxi'; there are .*ccp-mini"):
        find_recipe("ccp-maxi", "training")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sedd": 1}, "sedd: Extra inputs"),
        ({"languages": ["sw", "klingonish"]}, "unknown language code 'klingonish'"),
        ({"stages": []}, "stages: List should have at least 1"),
        ({"tokenizer": {"vocab_size": "many"}}, "tokenizer.vocab_size"),
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
