"""Store training text on disk in Arrow files that are written as a stream and read through a memory map."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from mlret.data.durable import write_atomically
from mlret.data.monolingual import MonolingualDocument
from mlret.errors import require
from mlret.training.text.parallel import TextPair

_ROWS_TOGETHER = 1000


class _Rows:
    """Rows of an Arrow file; ``_batches`` yields the columns of some rows at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _reader(self) -> Any:
        arrow = require("pyarrow", extra="train", feature="training")
        return arrow.ipc.open_file(arrow.memory_map(str(self.path)))

    def _batches(self) -> Iterator[list[list[Any]]]:
        for number in range(self._reader.num_record_batches):
            yield [column.to_pylist() for column in self._reader.get_batch(number).columns]

    def __len__(self) -> int:
        return sum(self._reader.get_batch(number).num_rows for number in range(self._reader.num_record_batches))


def _write(path: Path, schema: Any, rows: Iterable[Sequence[Any]]) -> None:
    arrow = require("pyarrow", extra="train", feature="training")

    def stream(target: Path) -> None:
        remaining = iter(rows)
        with arrow.ipc.new_file(str(target), schema) as writer:
            while some := list(islice(remaining, _ROWS_TOGETHER)):
                arrays = [
                    arrow.array(column, field.type)
                    for column, field in zip(zip(*some, strict=True), schema, strict=True)
                ]
                writer.write_batch(arrow.record_batch(arrays, schema=schema))

    write_atomically(path, stream)


class DocumentStore(_Rows):
    """Documents on disk, iterated in the order in which they were written."""

    @staticmethod
    def write(path: Path, documents: Iterable[MonolingualDocument]) -> None:
        """Write documents as a stream; the file appears when it is complete."""
        arrow = require("pyarrow", extra="train", feature="training")
        schema = arrow.schema([("language", arrow.string()), ("sentences", arrow.list_(arrow.string()))])
        _write(path, schema, ((document.language, document.sentences) for document in documents))

    def __iter__(self) -> Iterator[MonolingualDocument]:
        for languages, sentences in self._batches():
            yield from map(MonolingualDocument, languages, map(tuple, sentences))


@dataclass(frozen=True, slots=True)
class TaskExample:
    """A query of a task, with passages.

    Attributes
    ----------
    task
        Name of the task. Each batch has examples of a single task.
    language
        Language of the query; ``None`` if unknown.
    query
        Text of the query.
    positives
        Passages that answer the query, one or more.
    negatives
        Passages that do not answer it.
    languages
        Languages of the positives and then of the negatives; ``None`` if unknown.
    scores
        A teacher's scores in the same order; empty if there is no teacher.
    """

    task: str
    language: str | None
    query: str
    positives: list[str]
    negatives: list[str]
    languages: list[str | None]
    scores: list[float]


class ExampleStore(_Rows):
    """Examples of retrieval on disk, in the order in which they were written; each can be read by its row number."""

    @staticmethod
    def write(path: Path, examples: Iterable[TaskExample]) -> None:
        """Write examples as a stream; the file appears when it is complete."""
        arrow = require("pyarrow", extra="train", feature="training")
        texts = arrow.list_(arrow.string())
        kinds = [arrow.string(), arrow.string(), arrow.string(), texts, texts, texts, arrow.list_(arrow.float64())]
        _write(path, arrow.schema(list(zip(TaskExample.__slots__, kinds, strict=True))), map(astuple, examples))

    def __iter__(self) -> Iterator[TaskExample]:
        for columns in self._batches():
            yield from map(TaskExample, *columns)

    def __getitem__(self, row: int) -> TaskExample:
        batch, place = divmod(row, _ROWS_TOGETHER)
        return TaskExample(*(column[place].as_py() for column in self._reader.get_batch(batch).columns))


class PairStore(_Rows):
    """Aligned pairs on disk, iterated in the order in which they were written."""

    @staticmethod
    def write(path: Path, pairs: Iterable[TextPair]) -> None:
        """Write pairs as a stream; the file appears when it is complete."""
        arrow = require("pyarrow", extra="train", feature="training")
        _write(path, arrow.schema([(name, arrow.string()) for name in TextPair.__slots__]), map(astuple, pairs))

    def __iter__(self) -> Iterator[TextPair]:
        for columns in self._batches():
            yield from map(TextPair, *columns)
