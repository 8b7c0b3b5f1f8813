from __future__ import annotations

from pathlib import Path

import pytest

from mlret.errors import InputError
from mlret.eval.recipe import make_recipe, read_recipe, under
from mlret.eval.registry import benchmarks
from mlret.recipes import list_recipes


@pytest.mark.parametrize("path", list(list_recipes("eval").values()), ids=lambda path: path.stem)
def test_the_recipes_that_come_with_mlret_are_valid_and_describe_themselves(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    assert recipe.description
    assert not recipe.data.is_absolute()


@pytest.mark.parametrize("name", benchmarks())
def test_every_benchmark_needs_no_more_than_its_data(name: str) -> None:
    recipe = make_recipe({"benchmark": name, "data": "x"})
    assert (recipe.benchmark_name(), recipe.data, recipe.models) == (name, Path("x"), [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("benchmark: tatoeba\ndata: x\nmodle: y\n", "modle: Extra inputs are not permitted; the keys are name"),
        ("benchmark: tatoeba\n", "data: Field required"),
        ("benchmark: mteb\ndata: x\n", "benchmark: unknown; there are alignment, beam, beir"),
        ("data: x\n", "benchmark: none named; there are alignment"),
        ("benchmark: [tatoeba]\ndata: x\n", "benchmark: unknown; there are alignment"),
        ("benchmark: tatoeba\ndata: x\nbatch_size: 0\n", "batch_size: Input should be greater"),
        ("benchmark: tatoeba\ndata: x\nfloors: perhaps\n", "floors: "),
        ("benchmark: tatoeba\ndata: x\nlanguages: sw\n", "languages"),
        ("benchmark: mrtydi\ndata: x\nsplit: best\n", "split: Input should be 'train', 'dev' or 'test'"),
        ("benchmark: mrtydi\ndata: x\nexpected: [{metric: mrr@100}]\n", "expected.0.value: Field required"),
        ("benchmark: bitext\ndata: x\nlines: [1]\n", "lines.1: Field required"),
        ("benchmark: tatoeba\ndata: [x\n", r"recipe.yaml:\d: not YAML"),
        ("- a\n", "recipe: Input should be"),
        ("", "recipe: Input should be"),
    ],
)
def test_a_bad_recipe_is_an_error_that_names_the_key(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        read_recipe(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_recipe_and_one_that_is_not_utf8_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_recipe(tmp_path / "recipe.yaml")
    (tmp_path / "recipe.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_recipe(tmp_path / "recipe.yaml")


def test_data_is_looked_for_in_the_folder_unless_it_is_fetched_by_name() -> None:
    assert under(make_recipe({"benchmark": "tatoeba", "data": "t"}), Path("d")).data == Path("d/t")
    assert under(make_recipe({"benchmark": "miracl", "data": "ir_datasets"}), Path("d")).data == Path("ir_datasets")
