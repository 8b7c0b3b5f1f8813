"""Test examples on disk, drawn and batched: none is lost, and no passage is both an answer and a negative."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from mlret.encoders.loading import load_encoder
from mlret.errors import InputError
from mlret.training.batches.by_language import LanguageBatchSampler
from mlret.training.batches.examples import RankingCollator, RankingExamples, remember_instructions
from mlret.training.batches.pairs import group_weights
from mlret.training.objectives.ranking import PASSAGE, POSITIVES, RankingLoss
from mlret.training.stages import RankingStage
from mlret.training.text.store import ExampleStore, TaskExample

TEXT = st.text(st.characters(codec="utf-8"), max_size=6)


def example(number: int, positives: int = 1, negatives: int = 0, **changes: Any) -> TaskExample:
    count = positives + negatives
    settings: dict[str, Any] = {
        "task": "qa",
        "language": "en",
        "query": f"where is {number}",
        "positives": [f"answer {number}.{i}" for i in range(positives)],
        "negatives": [f"other {number}.{i}" for i in range(negatives)],
        "languages": ["en"] * count,
        "scores": [float(10 * number + i) for i in range(count)],
    }
    return TaskExample(**settings | changes)


def row(query: str, positives: list[str], negatives: Sequence[str] = (), task: str = "qa") -> TaskExample:
    return TaskExample(task, "en", query, positives, [*negatives], ["en"] * (len(positives) + len(negatives)), [])


def examples_of(folder: Path, *examples: TaskExample, **stage: Any) -> RankingExamples:
    ExampleStore.write(folder / "examples.arrow", examples)
    options: dict[str, Any] = {"name": "s", "objective": "ranking", "steps": 1, "negatives": 0}
    return RankingExamples(ExampleStore(folder / "examples.arrow"), RankingStage(**options | stage))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(TEXT, st.none() | TEXT, st.lists(TEXT, max_size=3), st.booleans()), max_size=8))
def test_stored_examples_come_back_in_any_order(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("store") / "examples.arrow"
    written = [
        TaskExample("qa", language, query, passages, passages[:1], [None] * len(passages), [0.5] * scored)
        for query, language, passages, scored in rows
    ]
    ExampleStore.write(path, written)
    store = ExampleStore(path)
    assert list(store) == written and len(store) == len(written)
    assert [store[row] for row in reversed(range(len(store)))] == written[::-1]


def test_examples_beyond_one_part_of_the_file_are_found(tmp_path: Path) -> None:
    written = [example(number) for number in range(2003)]
    ExampleStore.write(tmp_path / "examples.arrow", written)
    store = ExampleStore(tmp_path / "examples.arrow")
    assert [store[row] for row in (0, 999, 1000, 1999, 2000, 2002)] == [
        written[row] for row in (0, 999, 1000, 1999, 2000, 2002)
    ]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_draw_is_a_positive_and_passages_that_are_none(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    shapes = data.draw(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4)), min_size=4, max_size=8))
    wanted = data.draw(st.integers(0, 3))
    examples = examples_of(
        tmp_path_factory.mktemp("draw"), *(example(i, *shape) for i, shape in enumerate(shapes)), negatives=wanted
    )
    seed = data.draw(st.integers(0, 2**62))
    for row in range(len(shapes)):
        found, scores = examples.passages(0, row, seed)
        own = examples[row]
        assert (found, scores) == examples.passages(0, row, seed), "the seed decides"
        assert found[0] in own.positives and not scores
        assert len(found) == len(set(found)) == wanted + 1
        assert not set(found[1:]) & set(own.positives)
        # Its own negatives come before those of others.
        assert sum(text in own.negatives for text in found[1:]) == min(wanted, len(own.negatives))
        assert all(text.language == "en" for text in found)


def test_every_passage_comes_in_time_and_scores_stay_with_theirs(tmp_path: Path) -> None:
    examples = examples_of(
        tmp_path, example(1, 2, 3), example(2, 1, 1), example(3, 1, 4), losses={"kl": 1.0}, negatives=2
    )
    assert examples.dropped == 1 and list(examples.rows[0]) == [0, 2]
    own = examples[0]
    score_of = dict(zip(own.positives + own.negatives, own.scores, strict=True))
    seen = set()
    for seed in range(60):
        found, scores = examples.passages(0, 0, seed)
        assert found[0] in own.positives and len(set(found)) == 3
        assert scores == [score_of[text] for text in found]
        seen |= set(found)
    assert seen == score_of.keys()


def test_too_few_to_borrow_from_is_an_error(tmp_path: Path) -> None:
    examples = examples_of(tmp_path, example(1), example(2), negatives=2)
    with pytest.raises(InputError, match=r"has 0 negatives, and the others of its task too few .* lower negatives"):
        examples.passages(0, 0, 0)


def test_a_group_is_one_task_in_one_language_and_draws_are_those_of_the_seed(tmp_path: Path) -> None:
    many = [
        example(i, task=task, language=language)
        for i, (task, language) in enumerate([("qa", "en"), ("qa", "sw"), ("chat", "en"), ("qa", None)] * 3)
    ]
    examples = examples_of(tmp_path, *many, tasks={"qa": 3.0})
    assert list(zip(examples.tasks, examples.languages, strict=True)) == [("qa", ""), ("qa", "en"), ("qa", "sw")]

    def batches() -> list[Any]:
        return [np.stack(keys) for keys in LanguageBatchSampler(examples, batch_size=8, batches=6, seed=3)]

    for one, other in zip(batches(), batches(), strict=True):
        assert np.array_equal(one, other)
        # The batch is larger than the group: every example occurs before any occurs a third time.
        assert one.shape == (8, 3) and len(set(one[:, 0])) == 1
        assert np.bincount(one[:, 1]).max() == 3 and len(set(one[:, 1])) == 3
        assert len(set(one[:, 2])) == 8, "a query that comes again draws other passages"


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50)), min_size=1, max_size=9),
    st.none() | st.fixed_dictionaries({name: st.floats(0.1, 10) for name in "abc"}),
    st.floats(0.1, 1.0),
)
def test_groups_of_a_name_share_its_weight(
    groups: list[tuple[str, int]], wanted: dict[str, float] | None, alpha: float
) -> None:
    rows, names = [np.arange(size) for _, size in groups], [name for name, _ in groups]
    usable = [size > 1 for _, size in groups]
    if not any(usable):
        with pytest.raises(InputError, match="no language has two pairs"):
            group_weights(rows, names, wanted, alpha)
        return
    weights = group_weights(rows, names, wanted, alpha)
    assert weights.sum() == pytest.approx(1) and ((weights > 0) == usable).all()
    for i, j in np.ndindex(len(groups), len(groups)):
        if usable[i] and usable[j] and (wanted is None or names[i] == names[j]):
            assert weights[i] / weights[j] == pytest.approx((groups[i][1] / groups[j][1]) ** alpha)
    if wanted is not None:
        there = {name for name, use in zip(names, usable, strict=True) if use}
        share = {name: sum(w for w, own in zip(weights, names, strict=True) if own == name) for name in there}
        for name in there:
            assert share[name] == pytest.approx(wanted[name] / sum(wanted[other] for other in there))


def test_a_batch_has_the_texts_after_their_prompts_and_marks_equal_passages(
    tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    model = load_encoder(tiny_encoder_folder, device="cpu").model
    model.prompts = {"query": "q: ", "passage": "p: "}
    pair = [
        TaskExample("qa", "en", f"where is {i}", ["the same answer"], [f"other {i}"], ["en", "en"], [2.0, 1.0])
        for i in (1, 2)
    ]
    examples = examples_of(tmp_path, *pair, losses={"margin_mse": 1.0}, negatives=1)
    collator = RankingCollator(examples, model, instructions={"qa": ("find ", "")}, query_length=32, max_length=32)
    batch = collator([np.asarray([0, row, 5]) for row in (0, 1)])

    def texts(column: str) -> list[str]:
        ids, mask = batch[f"{column}_input_ids"], batch[f"{column}_attention_mask"]
        return [str(model.tokenizer.decode(row[kept.bool()][1:-1])) for row, kept in zip(ids, mask, strict=True)]

    def cut(*expected: str) -> list[str]:
        return [str(model.tokenizer.decode(model.tokenizer(text).input_ids[1:-1])) for text in expected]

    assert texts("query") == cut("q: find where is 1", "q: find where is 2")
    assert texts("document_1") == cut("p: the same answer", "p: the same answer")
    assert texts("document_2") == cut("p: other 1", "p: other 2")
    assert torch.equal(batch["label"], torch.tensor([[2.0, 1.0], [2.0, 1.0]]))
    first, second = batch[f"document_1_{PASSAGE}"], batch[f"document_2_{PASSAGE}"]
    assert first[0] == first[1] != second[0] != second[1]
    assert torch.equal(batch[f"query_{POSITIVES}"][:, 0], first) and (batch[f"query_{POSITIVES}"][:, 1:] == -1).all()


def test_positives_of_another_row_of_the_query_are_not_negatives(tiny_encoder_folder: Path, tmp_path: Path) -> None:
    model = load_encoder(tiny_encoder_folder, device="cpu").model
    rows = [
        row("who sings", ["a bird"], ["A tree.", "a stone"]),
        row("Who sings?", ["a tree"]),
        row("who swims", ["a fish"]),
        row("who sings", ["a stone"], task="other"),
    ]
    examples = examples_of(tmp_path, *rows, negatives=0)
    collator = RankingCollator(examples, model, instructions={}, query_length=32, max_length=32)
    group = examples.tasks.index("qa")
    batch = collator([np.asarray([group, row, 5]) for row in (0, 1, 2)])
    numbers, known = batch[f"document_1_{PASSAGE}"].tolist(), batch[f"query_{POSITIVES}"].tolist()
    assert len({*numbers}) == 3
    assert [row[0] for row in known] == numbers
    assert {*known[0]} == {*known[1]} == {numbers[0], numbers[1]}
    assert {*known[2]} == {numbers[2], -1}
    # The loss of the first ignores the second's positive, as if it were not in the batch.
    loss = RankingLoss(model, {"in_batch": 1.0})
    columns = [
        {name.removeprefix(f"{column}_"): value for name, value in batch.items() if name.startswith(f"{column}_")}
        for column in ("query", "document_1")
    ]
    every = loss(columns)["in_batch"].item()
    alone = collator([np.asarray([group, row, 5]) for row in (0, 2)])
    queries, documents = ["who sings", "Who sings?", "who swims"], ["a bird", "a tree", "a fish"]
    assert every == pytest.approx(_in_batch(model, queries, documents), abs=1e-4)
    assert {*alone[f"query_{POSITIVES}"][0].tolist()} == {numbers[0], numbers[1]}


def _in_batch(model: SentenceTransformer, queries: list[str], documents: list[str]) -> float:
    """Compute the loss by its definition; the first two queries are answered by each other's document."""
    model.eval()
    q, d = (torch.tensor(model.encode(texts, normalize_embeddings=True)) for texts in (queries, documents))
    scores = q @ d.T / 0.05
    scores[0, 1] = scores[1, 0] = float("-inf")
    return float(torch.nn.functional.cross_entropy(scores, torch.arange(3)))


@pytest.mark.parametrize("seed", range(8))
def test_neither_drawn_nor_borrowed_passages_answer_the_query_in_another_row(tmp_path: Path, seed: int) -> None:
    rows = [
        row("who sings", ["a bird"], ["A tree.", "a stone"]),
        row("Who sings?", ["a tree", "A BIRD"]),
        row("who swims", ["a fish"]),
        row("who runs", ["a Fish!"]),
        row("who flies", ["a fly"]),
    ]
    examples = examples_of(tmp_path, *rows, negatives=2)
    passages, _ = examples.passages(0, 0, seed)
    assert passages[0] == "a bird" and passages[1] == "a stone"
    assert passages[2] in ("a fish", "a Fish!", "a fly")
    passages, _ = examples.passages(0, 1, seed)
    assert {text.lower().strip("!") for text in passages[1:]} == {"a fish", "a fly"}


def test_instructions_are_kept_once_whatever_the_prompt_is_called(tiny_encoder_folder: Path) -> None:
    model = SentenceTransformer(str(tiny_encoder_folder), device="cpu")
    model.prompts = {"query": "query: ", "passage": "passage: "}
    for _ in range(2):
        remember_instructions(model, {"qa": ("find: ", "")})
        assert model.prompts["query"] == "query: find: " and model.prompts["document"] == "passage: "
