"""Test a recipe on a folder of the user's own: all text or examples in it, and missing held-out files."""

from __future__ import annotations

import bz2
import gzip
import json
from pathlib import Path

import pytest

from mlret.errors import InputError
from mlret.recipes import find_recipe, list_recipes
from mlret.training.recipe import Recipe, read_recipe
from mlret.training.run import _claim, _own_text
from mlret.training.text.own_text import held_out_files
from mlret.training.text.training_text import TrainingText, prepare_text, source_files

ENGLISH = "The river was high after the rain. We walked along the bank until evening. Nobody else was there."
GERMAN = "Der Fluss war nach dem Regen sehr hoch. Wir gingen bis zum Abend am Ufer entlang. Sonst war niemand da."
RUSSIAN = "После дождя река была очень высокой. Мы гуляли по берегу до вечера. Больше там никого не было."


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Write text of many kinds as users have it, next to files that are not text."""
    root = tmp_path / "my-text"
    (root / "deep" / "er").mkdir(parents=True)
    (root / ".hidden").mkdir()
    (root / "a.txt").write_text(f"{ENGLISH}\n\n{ENGLISH[:35]} Then we went home.\n", encoding="utf-8")
    (root / "deep" / "b.jsonl").write_text(json.dumps({"text": GERMAN}) + "\n", encoding="utf-8")
    (root / "deep" / "er" / "c.txt.gz").write_bytes(gzip.compress(f"{RUSSIAN}\n".encode()))
    (root / "deep" / "said.ndjson").write_text(json.dumps({"text": "Nyumba kubwa.", "lang": "swh"}), encoding="utf-8")
    (root / "d.txt.bz2").write_bytes(bz2.compress(GERMAN.replace("Fluss", "Bach").encode()))
    (root / "empty.txt").touch()
    (root / "README.md").write_text("not read", encoding="utf-8")
    (root / ".hidden" / "x.txt").write_text("not read either", encoding="utf-8")
    return root


def prepared(recipe: Recipe, root: Path, run: Path) -> TrainingText:
    (run / "text").mkdir(parents=True, exist_ok=True)
    return prepare_text(recipe, root, run / "text")


@pytest.mark.parametrize("name", ["ccp-mini", "ccp-small", "ccp-xlmr-base", "ccp-xlmr-large"])
def test_recipes_from_running_text_take_every_text_of_a_folder(name: str, own: Path, tmp_path: Path) -> None:
    text = prepared(read_recipe(find_recipe(name, "training")), own, tmp_path / "run")
    assert dict(text.statistics.documents) == {"en": 2, "de": 2, "ru": 1, "sw": 1}
    found = {document.sentences for document in text.documents}
    assert tuple(f"{part}." for part in ENGLISH.rstrip(".").split(". ")) in found, "lines are split into sentences"
    assert ("Nyumba kubwa.",) in found


def test_parquet_without_languages_is_accepted(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "data").mkdir()
    parquet.write_table(arrow.table({"text": [ENGLISH, GERMAN]}), tmp_path / "data" / "a.parquet")
    text = prepared(read_recipe(find_recipe("ccp-mini", "training")), tmp_path / "data", tmp_path / "run")
    assert dict(text.statistics.documents) == {"en": 1, "de": 1}


def test_a_run_inside_the_data_folder_is_not_read_as_text(own: Path) -> None:
    recipe = read_recipe(find_recipe("ccp-mini", "training"))
    before = source_files(recipe, own, excluded=own / "runs" / "x")
    (own / "runs" / "x" / "model").mkdir(parents=True)
    (own / "runs" / "x" / "model" / "vocab.txt").write_text("a\nb\n", encoding="utf-8")
    assert source_files(recipe, own, excluded=own / "runs" / "x") == before
    first = prepared(recipe, own, own / "runs" / "x").statistics
    assert prepared(recipe, own, own / "runs" / "x").statistics == first


def test_the_files_that_a_recipe_names_go_before_the_rest_of_the_folder(own: Path, tmp_path: Path) -> None:
    (own / "mono" / "part").mkdir(parents=True)
    line = json.dumps({"text": GERMAN, "lang": "de"}) + "\n"
    (own / "mono" / "part" / "a.jsonl.gz").write_bytes(gzip.compress(line.encode()))
    recipe = read_recipe(find_recipe("ccp-mini", "training"))
    assert [path.name for path in source_files(recipe, own)] == ["a.jsonl.gz"]
    assert dict(prepared(recipe, own, tmp_path / "run").statistics.documents) == {"de": 1}


@pytest.mark.parametrize("name", ["colbert-mini", "retrieval-mini"])
def test_recipes_from_examples_take_those_of_a_folder_in_any_language(name: str, tmp_path: Path) -> None:
    recipe = read_recipe(find_recipe(name, "training"))
    own = tmp_path / "my-data"
    own.mkdir()
    (own / "a.jsonl").write_text('{"query": "wapi", "positive": "hapa", "lang": "sw"}\n', encoding="utf-8")
    (own / "b.tsv").write_text("query\tpositive\nwo\thier\n", encoding="utf-8")
    text = prepared(recipe, own, tmp_path / "run")
    assert [(one.query, one.language) for one in text.examples] == [("wapi", "sw"), ("wo", None)]


def test_a_folder_of_queries_judgements_and_a_corpus_is_one_source(tmp_path: Path) -> None:
    own = tmp_path / "my-data"
    (own / "qrels").mkdir(parents=True)
    (own / "corpus.jsonl").write_text('{"_id": "New York", "title": "", "text": "a city"}\n', encoding="utf-8")
    (own / "queries.jsonl").write_text('{"_id": "q 1", "text": "which city"}\n', encoding="utf-8")
    (own / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq 1\tNew York\t1\n", encoding="utf-8")
    text = prepared(read_recipe(find_recipe("colbert-mini", "training")), own, tmp_path / "run")
    assert [(one.query, one.positives) for one in text.examples] == [("which city", ["a city"])]


@pytest.mark.parametrize(
    ("name", "message"), [("ccp-mini", r"nor any text of your own"), ("colbert-mini", r"nor any examples of your own")]
)
def test_a_folder_without_text_is_an_error(name: str, message: str, tmp_path: Path) -> None:
    recipe = read_recipe(find_recipe(name, "training"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "photo.png").write_bytes(b"x")
    with pytest.raises(InputError, match=message):
        source_files(recipe, tmp_path / "empty")
    with pytest.raises(InputError, match=r"nowhere: no such folder"):
        source_files(recipe, tmp_path / "nowhere")


def test_missing_held_out_files_are_skipped_with_a_warning(own: Path, tmp_path: Path) -> None:
    recipe = read_recipe(find_recipe("ccp-mini", "training"))
    lines = _own_text(recipe, own)
    assert "does not have the held-out tatoeba/tatoeba.v1.tsv.gz and 5 more: skipped" in lines[0]
    assert "taking every text file in it" in lines[1]
    # Existing held-out files are still used.
    (own / "tatoeba").mkdir()
    test = gzip.compress(f"1\t{GERMAN.split('. ')[0]}\n".encode())
    (own / "tatoeba" / "tatoeba.v1.tsv.gz").write_bytes(test)
    assert "xquad_r/corpus.sentences.jsonl.gz and 4 more" in _own_text(recipe, own)[0]
    assert prepared(recipe, own, tmp_path / "run").statistics.removed_held_out == 1


def test_recipes_whose_figures_are_published_require_what_is_held_out(own: Path) -> None:
    requiring = {name for name, path in list_recipes("training").items() if read_recipe(path).requires_held_out}
    assert {"mlret-mini/taught", "mlret-mini/multi-vector", "static-mini/taught", "ccp-ablation"} <= requiring
    assert not {"ccp-mini", "ccp-small", "colbert-mini", "retrieval-mini"} & requiring
    for name in requiring:
        with pytest.raises(InputError, match=r"tatoeba.v1.tsv.gz: no such file; the recipe's figures are published"):
            held_out_files(read_recipe(find_recipe(name, "training")), own)
    free = read_recipe(find_recipe("mlret-mini/taught", "training"), ["requires_held_out=false"])
    assert held_out_files(free, own) == ([], free.held_out)


def test_a_run_that_an_earlier_version_began_is_the_same_recipe(small_recipe: Recipe, tmp_path: Path) -> None:
    """Keys that were added since then have their defaults."""
    _claim(tmp_path / "run", small_recipe)
    mark = tmp_path / "run" / "recipe.json"
    written = json.loads(mark.read_text(encoding="utf-8"))
    del written["requires_held_out"], written["sources"][0]["or_whole_folder"], written["tokenizer"]["or_fewer"]
    mark.write_text(json.dumps(written), encoding="utf-8")
    _claim(tmp_path / "run", small_recipe)
    with pytest.raises(InputError, match="a run of another recipe"):
        _claim(tmp_path / "run", small_recipe.model_copy(update={"seed": 7}))
