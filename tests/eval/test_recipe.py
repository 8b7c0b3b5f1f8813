from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlret.errors import InputError
from mlret.eval.recipe import TatoebaRecipe, read_recipe, run_tatoeba


def test_the_recipe_that_comes_with_mlret_is_valid_and_has_every_default() -> None:
    recipe = read_recipe(Path(__file__).parents[2] / "eval" / "tatoeba.yaml")
    assert recipe == TatoebaRecipe(benchmark="tatoeba", data=Path("tatoeba"), description=recipe.description)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "benchmark: tatoeba\ndata: x\nmodle: y\n",
            "modle: Extra inputs are not permitted; the keys are name",
        ),
        ("benchmark: tatoeba\n", "data: Field required"),
        ("benchmark: mteb\ndata: x\n", "benchmark: Input should be 'tatoeba'"),
        ("benchmark: tatoeba\ndata: x\nbatch_size: 0\n", "batch_size: Input should be greater"),
        ("benchmark: tatoeba\ndata: x\nfloors: perhaps\n", "floors: "),
        ("benchmark: tatoeba\ndata: x\nlanguages: sw\n", "languages"),
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


def test_a_run_writes_the_files_that_the_recipe_names(
    tmp_path: Path, table_folder: Path, tiny_encoder_folder: Path
) -> None:
    output, markdown = tmp_path / "result.json", tmp_path / "result.md"
    report = run_tatoeba(
        TatoebaRecipe(
            benchmark="tatoeba",
            data=table_folder,
            model=str(tiny_encoder_folder),
            languages=["sw"],
            output=output,
            markdown=markdown,
        )
    )
    assert json.loads(output.read_text(encoding="utf-8")) == report.to_dict()
    assert markdown.read_text(encoding="utf-8") == report.markdown()
    assert [result.encoder for result in report.results[1:]] == ["random vectors", "character n-grams"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result.json", "result.md"]


def test_a_result_that_could_not_be_written_is_said_before_the_run(tmp_path: Path) -> None:
    recipe = TatoebaRecipe(benchmark="tatoeba", data=tmp_path, output=tmp_path / "nowhere" / "result.json")
    with pytest.raises(InputError, match=r"nowhere does not exist; make it first"):
        run_tatoeba(recipe)
