"""Test recipes that fine-tune an encoder: every objective, both kinds of encoder, adapters, resumption."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import MultiVectorEncoder
from torch import Tensor
from transformers import AutoModelForMaskedLM

from mlret.encoders.adapters import LanguageTransformer
from mlret.encoders.loading import load_encoder
from mlret.encoders.multi_vector import load_any_encoder
from mlret.encoders.quantised import rounded, scales
from mlret.errors import InputError
from mlret.recipes import find_recipe
from mlret.training import trainer
from mlret.training.adapter import train_adapter
from mlret.training.adapter_settings import AdapterSettings
from mlret.training.recipe import Recipe, read_recipe
from mlret.training.run import train
from tests.training.conftest import ENGLISH, OTHER, retrieval_recipe

THOROUGH = pytest.mark.thorough
KINDS = pytest.mark.parametrize("kind", ["dense", "tokens"])


def modular(backbone: Path, kind: str, *stages: dict[str, Any], languages: tuple[str, ...] = ("en", "fr")) -> Recipe:
    made = retrieval_recipe(backbone, kind, *stages)
    adapters = {"languages": list(languages), "default_language": "en"}
    settings = made.model_dump() | {"backbone": made.backbone.model_dump() | {"adapters": adapters}}
    return Recipe.model_validate(settings)


def weights(folder: Path) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in load_any_encoder(folder).model.state_dict().items()}


@KINDS
@pytest.mark.parametrize(
    "stage",
    [
        {"losses": {"in_batch": 1.0, "pairwise": 1.0}, "negatives": 2},
        pytest.param(
            {"losses": {"kl": 1.0}, "negatives": 2, "optimizer": "schedule-free", "mini_batch_size": 3}, marks=THOROUGH
        ),
        pytest.param({"losses": {"margin_mse": 1.0, "rank_aware": 0.5}, "negatives": 1}, marks=THOROUGH),
    ],
    ids=["contrast", "distillation", "margins-and-ranks"],
)
def test_a_ranking_stage_trains_either_kind(
    kind: str, stage: dict[str, Any], data: Path, tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    made = retrieval_recipe(tiny_encoder_folder, kind, {"objective": "ranking", **stage})
    folder = train(made, data, tmp_path / "run", say=lines.append)
    encoder = load_any_encoder(folder)
    assert isinstance(encoder.model, MultiVectorEncoder) == (kind == "tokens")
    assert any("40 queries in 1 groups" in line for line in lines)
    history = json.loads((tmp_path / "run" / "stages" / "stage-0" / "done.json").read_text())["history"]
    assert {*stage["losses"]} <= {*history[0]} and all(
        np.isfinite(entry["loss"]) for entry in history if "loss" in entry
    )
    # The instruction is stored with the encoder, after the marker of encoders that have one.
    assert encoder.model.prompts["query"].endswith("find: ")
    before = load_encoder(tiny_encoder_folder).model.state_dict()
    after = encoder.model.state_dict()
    name = "0.model.encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(before[name], after[name])


@pytest.mark.thorough
@KINDS
def test_what_ranks_well_is_learned(kind: str, data: Path, tiny_encoder_folder: Path, tmp_path: Path) -> None:
    stage = {"objective": "ranking", "negatives": 1, "steps": 60, "batch_size": 16, "learning_rate": 3e-3,
             "temperature": 0.05 if kind == "dense" else 0.3}  # fmt: skip
    train(retrieval_recipe(tiny_encoder_folder, kind, stage), data, tmp_path / "run", say=str)
    history = json.loads((tmp_path / "run" / "stages" / "stage-0" / "done.json").read_text())["history"]
    losses = [entry["in_batch"] for entry in history if "in_batch" in entry]
    assert np.mean(losses[-2:]) < 0.7 * losses[0]


def test_a_model_is_trained_to_work_without_its_prompts(data: Path, tiny_encoder_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "prompted"
    shutil.copytree(tiny_encoder_folder, folder)
    described = folder / "config_sentence_transformers.json"
    described.write_text(json.dumps(json.loads(described.read_text()) | {"prompts": {"query": "query: "}}))
    stage = {"objective": "lexical", "groups": {"words": 1.0}, "steps": 1}
    for prompts in ("keep", "drop"):
        made = retrieval_recipe(folder, "dense", stage).model_dump()
        made["backbone"]["prompts"] = prompts
        trained = train(Recipe.model_validate(made), data, tmp_path / prompts, say=str)
        found = load_encoder(trained).model.prompts.get("query", "")
        assert found == ("query: " if prompts == "keep" else "")


@pytest.mark.parametrize(
    "stage",
    [
        {"objective": "lexical", "groups": {"words": 1.0}},
        pytest.param({"objective": "translation-distillation", "teacher": "bundled"}, marks=THOROUGH),
        pytest.param({"objective": "mlm"}, marks=THOROUGH),
    ],
    ids=lambda stage: stage["objective"],
)
def test_the_other_objectives_train(
    stage: dict[str, Any], data: Path, tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    made = retrieval_recipe(tiny_encoder_folder, "dense", stage)
    train(made, data, tmp_path / "run", say=str)
    history = json.loads((tmp_path / "run" / "stages" / "stage-0" / "done.json").read_text())["history"]
    assert history[0]["loss"] > 0
    assert load_encoder(tmp_path / "run" / "model").calibration_languages == ["en", "sw"]
    tokens = retrieval_recipe(tiny_encoder_folder, "tokens", stage)
    if stage["objective"] == "mlm":
        assert isinstance(load_any_encoder(train(tokens, data, tmp_path / "tokens", say=str)).model, MultiVectorEncoder)
    else:
        with pytest.raises(InputError, match=r"trains encoders with one vector per text"):
            train(tokens, data, tmp_path / "tokens", say=str)


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"optimizer": "schedule-free"}, marks=THOROUGH),
        pytest.param({"few_bits": {"layers": 4, "embeddings": 4}, "learning_rate": 1e-2}, marks=THOROUGH),
    ],
    ids=["adamw", "schedule-free", "few bits"],
)
def test_an_interrupted_ranking_resumes_to_the_same_encoder(
    options: dict[str, Any], data: Path, tiny_encoder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = {"objective": "ranking", "negatives": 1, "steps": 6, "temperature": 1.0} | options
    made = retrieval_recipe(tiny_encoder_folder, "tokens", stage)
    whole = train(made, data, tmp_path / "whole", say=str)
    own = trainer.TrainingProgress
    with monkeypatch.context() as patched:
        patched.setattr(trainer, "TrainingProgress", _progress_that_stops(own, 3))
        with pytest.raises(KeyboardInterrupt):
            train(made, data, tmp_path / "cut", say=str)
    cut = train(made, data, tmp_path / "cut", say=str)
    one, other = weights(whole), weights(cut)
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    if "few_bits" in options:  # the trained weights are already rounded as they will be stored
        matrices = [weight for name, weight in one.items() if "encoder.layer" in name and weight.ndim == 2]
        assert matrices and all(torch.equal(rounded(weight, scales(weight, 4), 4), weight) for weight in matrices)


def _progress_that_stops(own: type[Any], at: int) -> type[Any]:
    class Stopping(own):  # type: ignore[misc,valid-type]
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == at:
                raise KeyboardInterrupt

    return Stopping


@KINDS
def test_transfer_leaves_embeddings_and_adapters_bit_for_bit(
    kind: str, data: Path, tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    made = modular(
        tiny_encoder_folder,
        kind,
        {"objective": "mlm", "freeze": "shared", "learning_rate": 1e-2},
        {"objective": "ranking", "freeze": "transfer", "learning_rate": 1e-2},
        languages=("en", "sw"),
    )
    folder = train(made, data, tmp_path / "run", say=str)
    first, last = weights(tmp_path / "run" / "stages" / "stage-0" / "model"), weights(folder)
    untrained = load_encoder(tiny_encoder_folder).model.state_dict()
    shared = "0.model.encoder.layer.0.attention.self.query.weight"
    assert torch.equal(untrained[shared], first[shared]) and not torch.equal(first[shared], last[shared])
    kept = [name for name in first if ".adapter_modules." in name or ".embeddings." in name]
    assert len(kept) > 8 and all(torch.equal(first[name], last[name]) for name in kept)
    # The adapter of each language was trained on its own text.
    added = {name: value for name, value in first.items() if ".adapter_modules." in name and "dense2.weight" in name}
    assert {name.split(".adapter_modules.")[1].split(".")[0] for name, value in added.items() if value.any()} == {
        "en",
        "sw",
    }


@KINDS
@pytest.mark.parametrize("start", [None, pytest.param("en", marks=THOROUGH)])
def test_a_language_is_added_and_no_other_changes_by_a_bit(
    kind: str, start: str | None, data: Path, tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    base = train(
        modular(tiny_encoder_folder, kind, {"objective": "mlm", "freeze": "shared", "learning_rate": 1e-2},
                {"objective": "ranking", "freeze": "transfer"}, languages=("en",)),
        data, tmp_path / "base", say=str,
    )  # fmt: skip
    texts = ["jua mwezi mvua", "the sun", "mti jani"]

    def encoded(folder: Path, language: str) -> list[Any]:
        encoder = load_any_encoder(folder)
        return list(encoder.encode_document(texts, language=language))

    with pytest.warns(UserWarning, match=r"no adapter for Swahili \(sw\): it goes through that of en"):
        before = encoded(base, "sw")
    added = train_adapter(
        str(base), "sw", [data / "mono.jsonl"], tmp_path / "added",
        AdapterSettings(start=start, steps=8, batch_size=8, max_length=16, learning_rate=1e-2, bfloat16=False), say=str,
    )  # fmt: skip
    old, new = weights(base), weights(added)
    assert all(torch.equal(value, new[name]) for name, value in old.items())
    assert new.keys() - old.keys() and all(".adapter_modules.sw." in name for name in new.keys() - old.keys())
    for language in ("en", "de"):
        assert all(map(np.array_equal, encoded(base, language), encoded(added, language)))
    assert not all(map(np.array_equal, before, encoded(added, "sw")))
    assert "sw" in load_any_encoder(added).model[0].languages


@pytest.mark.thorough
def test_an_added_language_learns_its_words(data: Path, tiny_encoder_folder: Path, tmp_path: Path) -> None:
    base = train(modular(tiny_encoder_folder, "dense", {"objective": "ranking"}), data, tmp_path / "base", say=str)
    train_adapter(
        str(base), "sw", [data / "mono.jsonl"], tmp_path / "added",
        AdapterSettings(steps=150, batch_size=16, max_length=16, learning_rate=1e-2, bfloat16=False), say=str,
    )  # fmt: skip
    history = json.loads((tmp_path / "added" / "stages" / "mlm" / "done.json").read_text())["history"]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert losses[-1] < 0.9 * losses[0]


def test_bad_stages_are_refused_before_training(data: Path, tiny_encoder_folder: Path, tmp_path: Path) -> None:
    def refused(message: str, *stages: dict[str, Any], kind: str = "dense", **more: Any) -> None:
        with pytest.raises((InputError, ValueError), match=message):
            train(retrieval_recipe(tiny_encoder_folder, kind, *stages, **more), data, tmp_path / message[:8], say=str)

    refused(r"set negatives to 1 or more", {"objective": "ranking", "losses": {"kl": 1.0}, "negatives": 0})
    refused(r"no ranking examples with 6 scored", {"objective": "ranking", "losses": {"kl": 1.0}, "negatives": 5})
    refused(r"no examples of \['chat'\]", {"objective": "ranking", "tasks": {"chat": 1.0}})
    refused(r"has no language adapters", {"objective": "ranking", "freeze": "transfer"})
    with pytest.raises(InputError, match=r"the sources hold no documents in fi"):
        train(
            modular(tiny_encoder_folder, "dense", {"objective": "mlm", "adapter": "fi"}), data, tmp_path / "fi", say=str
        )
    only_text = [{"kind": "documents", "files": ["mono.jsonl"]}]
    refused(r"needs a source of kind 'ranking'", {"objective": "ranking"}, sources=only_text)
    two = [{"kind": "ranking", "files": ["questions.jsonl"], "query_instruction": text} for text in ("ask: ", "find: ")]
    refused(r"have other instructions: name two tasks", {"objective": "ranking"}, sources=two)


def test_tasks_are_batched_separately_and_keep_their_instructions(
    data: Path, tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    sources = [
        {"kind": "ranking", "files": ["questions.jsonl"], "task": task, "query_instruction": f"{task}: "}
        for task in ("qa", "chat")
    ]
    made = retrieval_recipe(
        tiny_encoder_folder, "dense", {"objective": "ranking", "tasks": {"qa": 3, "chat": 1}}, sources=sources
    )
    lines: list[str] = []
    model = load_encoder(train(made, data, tmp_path / "run", say=lines.append)).model
    assert any("80 queries in 2 groups" in line for line in lines)
    assert {"qa-query": "qa: ", "chat-query": "chat: "}.items() <= model.prompts.items()


def test_a_checkpoint_with_adapters_of_its_own_trains(data: Path, tmp_path: Path) -> None:
    from tests.encoders.test_adapters import folder_of

    made = retrieval_recipe(
        folder_of(tmp_path), "tokens", {"objective": "ranking", "freeze": "transfer", "losses": {"pairwise": 1.0}}
    )
    model = load_any_encoder(train(made, data, tmp_path / "run", say=str)).model
    assert isinstance(model[0], LanguageTransformer) and list(model[0].languages) == ["en", "sw", "ru", "zh"]


def _msmarco(folder: Path) -> None:
    """Write a collection, its queries, hard negatives by ids, and lists with a teacher's scores."""
    (folder / "msmarco").mkdir()
    (folder / "triplets").mkdir()
    passages = "".join(f"{i}\tthe {word} and the {ENGLISH[i - 1]}\n" for i, word in enumerate(ENGLISH))
    queries = "".join(f"{i}\twhere is the {word}\n" for i, word in enumerate(ENGLISH))
    for name in ("msmarco", "triplets"):
        (folder / name / "collection.tsv").write_text(passages, encoding="utf-8")
        (folder / name / ("queries.train.tsv" if name == "msmarco" else "queries.tsv")).write_text(queries)
    count = range(len(ENGLISH))
    with gzip.open(folder / "msmarco" / "msmarco-hard-negatives.jsonl.gz", "wt") as file:
        for i in count:
            others = [(i + 3) % len(ENGLISH), (i + 5) % len(ENGLISH)]
            file.write(json.dumps({"qid": i, "pos": [i], "neg": {"bm25": others, "dense": others[:1]}}) + "\n")
    lists = [[i, *([(i + j) % len(ENGLISH), 9.0 - j] for j in range(8))] for i in count]
    (folder / "triplets" / "triplets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lists))
    (folder / "lexicons").mkdir()
    with gzip.open(folder / "lexicons" / "omw_wikt.en-xx.tsv.gz", "wt") as file:
        file.write("lang\tsynset\ten\txx\n")
        file.writelines(f"sw\t{i}-n\t{a}\t{b}\n" for i, (a, b) in enumerate(zip(ENGLISH, OTHER, strict=True)))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "stage"),
    [("colbert-xm-base", "ranking"), ("jacolbert-v2.5", "distillation"), ("babelbert-xlmr", "lexical")],
)
def test_the_published_recipes_run_on_a_small_backbone(
    name: str, stage: str, tiny_encoder_folder: Path, tiny_token_encoder_folder: Path, tmp_path: Path
) -> None:
    from tests.encoders.test_adapters import folder_of

    _msmarco(tmp_path)
    backbone = {
        "colbert-xm-base": folder_of(tmp_path),
        "jacolbert-v2.5": tiny_token_encoder_folder,
        "babelbert-xlmr": tiny_encoder_folder.parent / "backbone",
    }[name]
    lengths = {
        "colbert-xm-base": ["backbone.max_length=64", "multi_vector.query_length=16", "multi_vector.document_length=32"]
    }.get(name, [])
    small = [f"stages.{stage}.{change}" for change in ("steps=3", "batch_size=4", "max_length=16", "bfloat16=false")]
    if name == "jacolbert-v2.5":
        small += [f"stages.{stage}.negatives=7"]
    changes = [f"backbone.model={backbone}", *lengths, *small]
    made = read_recipe(find_recipe(name, "training"), changes)
    folder = train(made, tmp_path, tmp_path / "run", say=str)
    encoder = load_any_encoder(folder)
    assert len(encoder.encode_query(["where is the sun"])) == 1
    history = json.loads((tmp_path / "run" / "stages" / stage / "done.json").read_text())["history"]
    assert set(made.stages[0].losses) <= history[0].keys() if stage != "lexical" else history[0]["loss"] > 0


@pytest.mark.thorough
def test_an_adapter_learned_before_fine_tuning_is_put_in_after_it(
    data: Path, tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    stage = {"objective": "mlm", "freeze": "shared", "learning_rate": 1e-2}
    base = train(modular(tiny_encoder_folder, "dense", stage, languages=("en",)), data, tmp_path / "base", say=str)
    language_model = tmp_path / "base" / "stages" / "stage-0" / "language-model"
    tuned = train(
        retrieval_recipe(base, "tokens", {"objective": "ranking", "freeze": "transfer", "learning_rate": 1e-2}),
        data,
        tmp_path / "tuned",
        say=str,
    )
    head = AutoModelForMaskedLM.from_pretrained(language_model)
    assert head.roberta.config.languages == ["en"]
    few = {"steps": 4, "batch_size": 8, "max_length": 16, "learning_rate": 1e-2, "bfloat16": False}
    settings = AdapterSettings(base=str(base), head=str(language_model), **few)
    added = train_adapter(str(tuned), "sw", [data / "mono.jsonl"], tmp_path / "added", settings, say=str)
    learned, old, new = weights(tmp_path / "added" / "base" / "model"), weights(tuned), weights(added)
    assert all(torch.equal(value, new[name]) for name, value in old.items())
    fresh = new.keys() - old.keys()
    assert fresh and all(".adapter_modules.sw." in name and torch.equal(new[name], learned[name]) for name in fresh)
