"""Test reading training text: filters and bad input."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.data.held_out import normalised
from mlret.data.monolingual import MonolingualDocument
from mlret.errors import InputError
from mlret.training.recipe import Recipe
from mlret.training.text.store import DocumentStore
from mlret.training.text.training_text import prepare_text


def _folder(tmp_path: Path) -> Path:
    """Make a new folder for prepared text."""
    folder = tmp_path / f"text-{len(list(tmp_path.glob('text-*')))}"
    folder.mkdir()
    return folder


def test_held_out_text_is_dropped_whatever_its_case_and_punctuation(
    world: Path, small_recipe: Recipe, tmp_path: Path
) -> None:
    text = prepare_text(small_recipe, world, _folder(tmp_path))
    held_out = (world / "held-out.tsv").read_text().split("\t")[0]
    assert text.statistics.removed_held_out == 1
    assert len(text.pairs) == 59
    assert normalised(held_out) not in {normalised(pair.source) for pair in text.pairs}


def test_repeated_documents_are_dropped(world: Path, small_recipe: Recipe, tmp_path: Path) -> None:
    (world / "again.jsonl").write_bytes((world / "mono.jsonl").read_bytes())
    text = prepare_text(small_recipe, world, _folder(tmp_path))
    assert len(list(text.documents)) == len(text.documents) == 120
    assert text.statistics.removed_documents == 120


def test_running_text_is_split_into_sentences(world: Path, small_recipe: Recipe, tmp_path: Path) -> None:
    (world / "mono.jsonl").write_text('{"id": "a", "lang": "zh_CN", "text": "我喜欢茶。你呢？"}\n', encoding="utf-8")
    (document,) = prepare_text(small_recipe, world, _folder(tmp_path)).documents
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
def test_bad_documents_name_file_and_line(
    world: Path, small_recipe: Recipe, tmp_path: Path, content: bytes, message: str
) -> None:
    (world / "mono.jsonl").write_bytes(content)
    with pytest.raises(InputError, match="mono") as error:
        prepare_text(small_recipe, world, _folder(tmp_path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_wrong_columns_name_file_and_line(world: Path, small_recipe: Recipe, tmp_path: Path) -> None:
    (world / "pairs.tsv").write_text("sw\tsun\tjua\nsw\tsun\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"pairs\.tsv:2: 2 columns, expected 3"):
        prepare_text(small_recipe, world, _folder(tmp_path))


def test_missing_and_damaged_files_are_named(world: Path, small_recipe: Recipe, tmp_path: Path) -> None:
    (world / "pairs.tsv").unlink()
    with pytest.raises(InputError, match=r"pairs\.tsv: no such file"):
        prepare_text(small_recipe, world, _folder(tmp_path))
    (world / "mono.jsonl").rename(world / "plain")
    recipe = small_recipe.model_copy(
        update={"sources": [small_recipe.sources[0].model_copy(update={"files": ["m.jsonl.gz"]})]}
    )
    (world / "m.jsonl.gz").write_bytes(gzip.compress((world / "plain").read_bytes())[:200])
    with pytest.raises(InputError, match=r"m\.jsonl\.gz:\d+: damaged gzip"):
        prepare_text(recipe, world, _folder(tmp_path))


def test_multi_parallel_keeps_the_configured_documents(tmp_path: Path) -> None:
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
    pairs = prepare_text(recipe, tmp_path, _folder(tmp_path)).pairs
    assert [(p.language, p.source, p.target) for p in pairs if p.language == "sw"] == [
        ("sw", f"line {i}", f"mstari {i}") for i in range(4)
    ]
    assert {p.language for p in pairs} == {"sw", "de"}


def test_only_the_languages_of_the_recipe_are_kept(world: Path, small_recipe: Recipe, tmp_path: Path) -> None:
    english = Recipe.model_validate(small_recipe.model_dump() | {"languages": ["eng"]})
    text = prepare_text(english, world, _folder(tmp_path))
    assert {document.language for document in text.documents} == {"en"}
    assert text.pairs == []
    swahili = Recipe.model_validate(small_recipe.model_dump() | {"languages": ["swh"]})
    text = prepare_text(swahili, world, _folder(tmp_path))
    assert {document.language for document in text.documents} == {"sw"}
    assert len(text.pairs) == 59


def test_repeated_sentences_are_dropped_unless_the_recipe_keeps_them(
    world: Path, small_recipe: Recipe, tmp_path: Path
) -> None:
    lines = [{"lang": "en", "sents": ["Share this page.", f"sun {i}", "Share this page."]} for i in range(3)]
    lines.append({"lang": "sw", "sents": ["Share this page.", "jua"]})
    (world / "mono.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    text = prepare_text(small_recipe, world, _folder(tmp_path))
    assert [document.sentences for document in text.documents] == [
        ("Share this page.", "sun 0"), ("sun 1",), ("sun 2",), ("Share this page.", "jua"),
    ]  # fmt: skip
    assert text.statistics.removed_sentences == 5
    keep = small_recipe.model_copy(update={"repeated_sentences": "keep"})
    assert prepare_text(keep, world, _folder(tmp_path)).statistics.sentences == {"en": 9, "sw": 2}


def test_prepared_text_is_reused_until_its_files_change(world: Path, small_recipe: Recipe, tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    first = prepare_text(small_recipe, world, folder)
    written = (folder / "documents.arrow").stat().st_mtime_ns
    (world / "mono.jsonl").touch()  # as copying the data does
    again = prepare_text(small_recipe, world, folder)
    assert (folder / "documents.arrow").stat().st_mtime_ns == written
    assert again.statistics == first.statistics
    assert list(again.documents) == list(first.documents)
    assert again.pairs == first.pairs
    with (world / "mono.jsonl").open("a") as handle:
        handle.write('{"lang": "en", "sents": ["a b", "c d"]}\n')
    with pytest.raises(InputError, match="was read from other files or settings"):
        prepare_text(small_recipe, world, folder)


def test_documents_come_from_text_files_parquet_and_data_sets_too(
    world: Path, small_recipe: Recipe, tmp_path: Path
) -> None:
    (world / "plain.txt").write_text("rain falls\nwind blows\n\nmoon rises\nsun sets\n", encoding="utf-8")
    table = pyarrow.table({"code": ["swh", "swh"], "body": ["Jua linawaka. Mvua inanyesha.", "Moto. Jiwe."]})
    pyarrow.parquet.write_table(table, world / "rows.parquet")
    (world / "hub").mkdir()
    pyarrow.parquet.write_table(table, world / "hub" / "train.parquet")
    columns = {"text": "body", "language": "code"}
    sources = [
        {"kind": "documents", "files": ["plain.txt"], "language": "en"},
        {"kind": "documents", "files": ["rows.parquet"], "columns": columns},
        {"kind": "hub", "dataset": "hub", "columns": columns, "limit": 1},
    ]
    recipe = Recipe.model_validate(
        {"name": "n", "description": "d", "sources": sources, "stages": [{"name": "a", "objective": "ccp", "steps": 1}]}
    )
    text = prepare_text(recipe, world, _folder(tmp_path))
    assert [(document.language, len(document.sentences)) for document in text.documents] == [
        ("en", 2), ("en", 2), ("sw", 2), ("sw", 2),
    ]  # fmt: skip
    assert text.statistics.removed_documents == 1  # the data set repeats the Parquet file


@given(
    st.lists(
        st.tuples(st.sampled_from(["en", "sw", "zh"]), st.lists(st.text(max_size=5), min_size=1, max_size=4)),
        max_size=9,
    )
)
def test_stored_documents_come_back_as_they_were(documents: list[tuple[str, list[str]]]) -> None:
    expected = [MonolingualDocument(language, tuple(sentences)) for language, sentences in documents]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "documents.arrow"
        DocumentStore.write(path, iter(expected))
        assert list(DocumentStore(path)) == expected
