"""Training text on disk: Arrow files that are written in a stream and read through a memory map."""

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
    """Rows of an Arrow file; iterating yields the columns of some rows at a time."""

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
    """Documents on disk, iterated in the order they were written."""

    @staticmethod
    def write(path: Path, documents: Iterable[MonolingualDocument]) -> None:
        """Write documents as they come; the file appears when it is whole."""
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
        Batches are of one task.
    language
        Of the query; ``None`` where it is not known.
    query
        The query's text.
    positives
        Passages that answer it, one or more.
    negatives
        Passages that do not.
    languages
        Of the positives and then of the negatives.
    scores
        A teacher's, in the same order; empty without a teacher.
    """

    task: str
    language: str | None
    query: str
    positives: list[str]
    negatives: list[str]
    languages: list[str | None]
    scores: list[float]


class ExampleStore(_Rows):
    """Examples of retrieval on disk, in the order they were written, each at hand by its row."""

    @staticmethod
    def write(path: Path, examples: Iterable[TaskExample]) -> None:
        """Write examples as they come; the file appears when it is whole."""
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
    """Aligned pairs on disk, iterated in the order they were written."""

    @staticmethod
    def write(path: Path, pairs: Iterable[TextPair]) -> None:
        """Write pairs as they come; the file appears when it is whole."""
        arrow = require("pyarrow", extra="train", feature="training")
        _write(path, arrow.schema([(name, arrow.string()) for name in TextPair.__slots__]), map(astuple, pairs))

    def __iter__(self) -> Iterator[TextPair]:
        for columns in self._batches():
            yield from map(TextPair, *columns)
