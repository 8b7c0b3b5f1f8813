"""Batches of retrieval examples: a query, a passage that answers it, and passages that do not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.data_collator import BaseDataCollator
from sentence_transformers.base.model import BaseModel
from sentence_transformers.multi_vector_encoder.data_collator import MultiVectorEncoderDataCollator

from mlret.data.same_text import text_number
from mlret.encoders.adapters import TaggedText
from mlret.encoders.encoder import prompt_of_side
from mlret.errors import InputError
from mlret.training.batches.pairs import Batchable, group_weights
from mlret.training.stages import RankingStage
from mlret.training.text.store import ExampleStore, TaskExample

# Keys that the collator adds to the features of a column.
PASSAGE = "passage"
POSITIVES = "positives"
# At most this many positives of a query are excluded from its in-batch negatives; further ones may be drawn as such.
_MOST_POSITIVES = 64


class RankingExamples(Batchable):
    """Retrieval examples grouped by task and language. The passages of a query are drawn again at each visit.

    If several rows of a task have the same query, the positives of all of them count as its answers.

    Parameters
    ----------
    store
        The examples on disk.
    stage
        The settings: the number of negatives, whether a teacher's scores are needed, and how often each task is drawn.

    Raises
    ------
    InputError
        If a task that the stage draws from has no examples, or if no example has what the stage needs.
    """

    def __init__(self, store: ExampleStore, stage: RankingStage) -> None:
        self._store = store
        self._stage = stage
        found: dict[tuple[str, str], list[int]] = defaultdict(list)
        self.dropped = 0
        self._lengths = np.zeros(len(store), dtype=np.int64)
        asked: dict[tuple[str, int], list[int]] = defaultdict(list)
        most = 1
        for row, example in enumerate(store):
            asked[example.task, text_number(example.query)].append(row)
            most = max(most, len(example.positives))
            if stage.uses_teacher and len(example.scores) < stage.negatives + 1:
                self.dropped += 1
                continue
            self._lengths[row] = len(example.query) + len(example.positives[0])
            found[example.task, example.language or ""].append(row)
        if not found:
            needs = f" with {stage.negatives + 1} scored passages or more" if stage.uses_teacher else ""
            raise InputError(f"stage {stage.name!r}: the sources hold no ranking examples{needs}")
        tasks = sorted({task for task, _ in found})
        if stage.tasks is not None and (missing := stage.tasks.keys() - set(tasks)):
            raise InputError(f"stage {stage.name!r}: no examples of {sorted(missing)}; there are tasks {tasks}")
        groups = sorted(key for key in found if stage.tasks is None or key[0] in stage.tasks)
        self.rows = [np.asarray(found[key], dtype=np.int64) for key in groups]
        self.languages = [language for _, language in groups]
        self.tasks = [task for task, _ in groups]
        self.weights = group_weights(self.rows, self.tasks, stage.tasks, stage.alpha)
        self._answers: dict[int, frozenset[int]] = {}
        for rows in asked.values():
            if len(rows) > 1:
                shared = frozenset(text_number(text) for row in rows for text in store[row].positives)
                self._answers |= dict.fromkeys(rows, shared)
                most = max(most, len(shared))
        self.most_answers = min(most, _MOST_POSITIVES)

    def draw(self, rows: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        """Return keys ``(n, 2)`` int64 for some of a group's examples: the row, and a seed for drawing its passages."""
        return np.stack([rows, random.integers(np.iinfo(np.int64).max, size=len(rows))], axis=1)

    def lengths(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the approximate length of the query and its first positive together, in characters, ``(n,)`` int64."""
        return self._lengths[keys[:, 0]]

    def __getitem__(self, row: int) -> TaskExample:
        return self._store[row]

    def answers(self, row: int) -> list[int]:
        """Return the numbers of the passages that answer an example's query, at most ``most_answers``.

        The example's own positives come first, then those of other rows with the same query.
        """
        own = dict.fromkeys(text_number(text) for text in self[row].positives)
        return list(own | dict.fromkeys(sorted(self._answers.get(row, ()))))[: self.most_answers]

    def passages(self, group: int, row: int, seed: int) -> tuple[list[TaggedText], list[float]]:
        """Draw a positive and the negatives of an example.

        An example with too few negatives borrows positives of other queries of its group.

        Parameters
        ----------
        group
            The group of the example.
        row
            The row of the example.
        seed
            The seed of the draw.

        Returns
        -------
        passages : list of TaggedText
            The positive, then as many negatives as the stage asks for.
        scores : list of float
            The teacher's score of each passage; empty if the stage uses no teacher's scores.

        Raises
        ------
        InputError
            If there are not enough passages to borrow.
        """
        example, wanted = self[row], self._stage.negatives
        every = _passages(example)
        random = np.random.default_rng(seed)
        positive = int(random.integers(len(example.positives)))
        if self._stage.uses_teacher:
            # Any other scored passage, including another positive, may be compared with the chosen positive.
            others = [place for place in range(len(every)) if place != positive]
            chosen = [positive, *random.permutation(others)[:wanted]]
            return [every[place] for place in chosen], [example.scores[place] for place in chosen]
        answers = {*map(text_number, example.positives), *self._answers.get(row, ())}
        negatives = [text for text in every[len(example.positives) :] if text_number(text) not in answers]
        found = [negatives[place] for place in random.permutation(len(negatives))[:wanted]]
        if len(found) < wanted:
            known = answers | {text_number(text) for text in every}
            found += self._borrowed(group, known, wanted - len(found), random)
        if len(found) < wanted:
            raise InputError(
                f"the query {example.query[:60]!r} has {len(negatives)} negatives, and the others of its task too few "
                f"to borrow from: lower negatives from {wanted}, or mine some (`mlret mine`)"
            )
        return [every[positive], *found], []

    def _borrowed(self, group: int, known: set[int], count: int, random: np.random.Generator) -> list[TaggedText]:
        found: list[TaggedText] = []
        rows = self.rows[group]
        # More candidates than needed, because some may be known already; the whole group if it is small.
        for other in random.choice(rows, min(len(rows), 8 * count + 8), replace=False):
            candidate = _passages(self[int(other)])[0]
            if len(found) < count and text_number(candidate) not in known:
                known.add(text_number(candidate))
                found.append(candidate)
        return found


class RankingCollator:
    """Turn keys of :class:`RankingExamples` into a batch of columns, as sentence-transformers' trainer expects them.

    The columns are ``query``, ``document_1`` (the positive), ``document_2`` and so on. Each text is preceded by the
    model's prompt for queries or documents (the markers of a multi-vector encoder), then by the instruction of the
    task.

    Parameters
    ----------
    examples
        The examples that the keys refer to.
    model
        The model whose tokenizer, prompts and adapters are used.
    instructions
        Map each task to the instructions for its queries and for its documents.
    query_length, max_length
        The maximum number of tokens of a query and of a document.
    """

    valid_label_columns = ("label",)

    def __init__(
        self,
        examples: RankingExamples,
        model: BaseModel,
        *,
        instructions: Mapping[str, tuple[str, str]],
        query_length: int,
        max_length: int,
    ) -> None:
        self._examples = examples
        self._columns: Any = _collator(model, query_length, max_length)
        self._prompts = {task: _prompts(model, pair) for task, pair in instructions.items()}
        self._plain = _prompts(model, ("", ""))

    def __call__(self, keys: list[NDArray[np.int64]]) -> dict[str, Any]:
        drawn = [self._examples.passages(int(group), int(row), int(seed)) for group, row, seed in keys]
        examples = [self._examples[int(row)] for _, row, _ in keys]
        rows: list[dict[str, Any]] = []
        for example, (passages, scores) in zip(examples, drawn, strict=True):
            row: dict[str, Any] = {"query": TaggedText(example.query, example.language)}
            row |= {f"document_{place}": passage for place, passage in enumerate(passages, start=1)}
            rows.append(row | ({"label": scores} if scores else {}))
        query, document = self._prompts.get(examples[0].task, self._plain)
        self._columns.prompts = {name: query if name == "query" else document for name in rows[0]}
        batch: dict[str, Any] = self._columns(rows)
        for place in range(len(drawn[0][0])):
            numbers = [text_number(passages[place]) for passages, _ in drawn]
            batch[f"document_{place + 1}_{PASSAGE}"] = torch.tensor(numbers)
        known = torch.full((len(examples), self._examples.most_answers), -1, dtype=torch.int64)
        for line, (_, number, _) in enumerate(keys):
            some = self._examples.answers(int(number))
            known[line, : len(some)] = torch.tensor(some)
        batch[f"query_{POSITIVES}"] = known
        return batch


def _collator(model: BaseModel, query_length: int, max_length: int) -> BaseDataCollator:
    # A multi-vector encoder pads its queries to a length of its own.
    lengths = {"document": max_length}
    if not isinstance(model, MultiVectorEncoder):
        lengths["query"] = query_length
    return MultiVectorEncoderDataCollator(preprocess_fn=model.preprocess, max_length=lengths)


def _prompts(model: BaseModel, instructions: tuple[str, str]) -> tuple[str | None, str | None]:
    """Return the prefixes of a task's queries and documents: the model's own prompts, then the instructions."""
    # The prompts of a model that was trained on the task already end in the instructions.
    query = prompt_of_side(model, "query").removesuffix(instructions[0]) + instructions[0]
    document = prompt_of_side(model, "document").removesuffix(instructions[1]) + instructions[1]
    return query or None, document or None


def remember_instructions(model: BaseModel, instructions: Mapping[str, tuple[str, str]]) -> None:
    """Store the instructions of the tasks as prompts of a trained model, in place.

    The instructions of a single task become the prompts ``query`` and ``document``. With several tasks they become
    ``TASK-query`` and ``TASK-document``, for use with ``encode(prompt_name=…)``.

    Parameters
    ----------
    model
        The trained model.
    instructions
        Map each task to the instructions for its queries and for its documents.
    """
    found: dict[str, str | None] = {}
    for task, pair in instructions.items():
        before = "" if len(instructions) == 1 else f"{task}-"
        query, document = _prompts(model, pair)
        found |= {f"{before}query": query or "", f"{before}document": document or ""}
    model.prompts |= found


def _passages(example: TaskExample) -> list[TaggedText]:
    return [TaggedText(*pair) for pair in zip(example.positives + example.negatives, example.languages, strict=True)]
