"""Reading training text: filters and bad input."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from mlret.errors import InputError
from mlret.training.recipe import Recipe
from mlret.training.text import normalised, read_training_text


def test_held_out_text_is_dropped_whatever_its_case_and_punctuation(world: Path, small_recipe: Recipe) -> None:
    text = read_training_text(small_recipe, world)
    held_out = (world / "held-out.tsv").read_text().split("\t")[0]
    assert text.removed_held_out == 1
    assert len(text.pairs) == 59
    assert normalised(held_out) not in {normalised(pair.source) for pair in text.pairs}


def test_repeated_documents_are_dropped(world: Path, small_recipe: Recipe) -> None:
    (world / "again.jsonl").write_bytes((world / "mono.jsonl").read_bytes())
    text = read_training_text(small_recipe, world)
    assert len(text.documents) == 120
    assert text.removed_duplicates == 120


def test_running_text_is_split_into_sentences(world: Path, small_recipe: Recipe) -> None:
    (world / "mono.jsonl").write_text('{"id": "a", "lang": "zh_CN", "text": "我喜欢茶。你呢？"}\n', encoding="utf-8")
    (document,) = read_training_text(small_recipe, world).documents
    assert document.language == "zh"
    assert document.sentences == ("我喜欢茶。", "你呢？")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "mono.jsonl: empty file"),
        (b'{"lang": "en", "sents": ["a b"]}\n{"lang": "en"}\n', "mono.jsonl:2: a document needs the keys"),
        (b'{"lang": "en", "sents": ["a b"]}\n{"lang": \n', "mono.jsonl:2: not JSON"),
        (b'{"lang": "en", "sents": ["\xff"]}\n', "mono.jsonl:1: not UTF-8"),
        (b'{"lang": "english!", "sents": ["a b"]}\n', "mono.jsonl:1: unknown language code 'english!'"),
    ],
)
def test_bad_documents_name_file_and_line(world: Path, small_recipe: Recipe, content: bytes, message: str) -> None:
    (world / "mono.jsonl").write_bytes(content)
    with pytest.raises(InputError, match="mono") as error:
        read_training_text(small_recipe, world)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_wrong_columns_name_file_and_line(world: Path, small_recipe: Recipe) -> None:
    (world / "pairs.tsv").write_text("sw\tsun\tjua\nsw\tsun\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"pairs\.tsv:2: 2 columns, expected 3"):
        read_training_text(small_recipe, world)


def test_missing_and_damaged_files_are_named(world: Path, small_recipe: Recipe) -> None:
    (world / "pairs.tsv").unlink()
    with pytest.raises(InputError, match=r"pairs\.tsv: no such file"):
        read_training_text(small_recipe, world)
    (world / "mono.jsonl").rename(world / "plain")
    recipe = small_recipe.model_copy(
        update={"sources": [small_recipe.sources[0].model_copy(update={"files": ["m.gz"]})]}
    )
    (world / "m.gz").write_bytes(gzip.compress((world / "plain").read_bytes())[:200])
    with pytest.raises(InputError, match=r"m\.gz:\d+: damaged gzip"):
        read_training_text(recipe, world)


def test_multi_parallel_keeps_the_documents_it_is_told(tmp_path: Path) -> None:
    lines = [
        f"{code}\t{i}\t{word} {i}"
        for code, word in (("eng", "line"), ("swa", "mstari"), ("x-bad", "b"))
        for i in range(10)
    ]
    (tmp_path / "long.tsv").write_text("lang\tline\ttext\n" + "\n".join(lines), encoding="utf-8")
    (tmp_path / "ids").write_text("".join(f"doc{i // 2}\n" for i in range(10)), encoding="utf-8")
    recipe = Recipe.model_validate(
        {
            "name": "n", "description": "d",
            "sources": [{"kind": "multi-parallel", "files": ["long.tsv"], "documents": "ids", "keep": [0, 0.4],
                         "pivot": "eng", "aliases": {"x-bad": "de"}}],
            "stages": [{"name": "a", "objective": "alignment", "steps": 1}],
        }
    )  # fmt: skip
    pairs = read_training_text(recipe, tmp_path).pairs
    assert [(p.language, p.source, p.target) for p in pairs if p.language == "sw"] == [
        ("sw", f"line {i}", f"mstari {i}") for i in range(4)
    ]
    assert {p.language for p in pairs} == {"sw", "de"}


def test_only_the_languages_of_the_recipe_are_kept(world: Path, small_recipe: Recipe) -> None:
    english = Recipe.model_validate(small_recipe.model_dump() | {"languages": ["eng"]})
    text = read_training_text(english, world)
    assert {document.language for document in text.documents} == {"en"}
    assert text.pairs == []
    swahili = Recipe.model_validate(small_recipe.model_dump() | {"languages": ["swh"]})
    text = read_training_text(swahili, world)
    assert {document.language for document in text.documents} == {"sw"}
    assert len(text.pairs) == 59
