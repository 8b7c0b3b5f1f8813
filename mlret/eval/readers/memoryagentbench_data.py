"""The accurate-retrieval part of MemoryAgentBench as histories: a long text in chunks, and questions with answers."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mlret.data.files import read_lines
from mlret.data.sentences import split_sentences
from mlret.data.tables import parquet_rows
from mlret.errors import InputError
from mlret.eval.readers.history import History, HistoryDocument, Question, ReadingNotes
from mlret.eval.readers.json_array import read_array
from mlret.eval.readers.json_values import parsed

SOURCES = ("ruler_qa*",)
"""Sources whose answers are short and occur in the text; the benchmark itself scores them by substrings."""
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class _Metadata(BaseModel):
    source: str = ""


class _Row(BaseModel):
    context: str
    questions: list[str]
    answers: list[list[str] | str]
    metadata: _Metadata = _Metadata()


def normalise_answer(text: str) -> str:
    """Return a text as the benchmark compares it: lower case, without ASCII punctuation, articles and extra spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def make_chunks(text: str, characters: int, language: str) -> list[str]:
    """Return consecutive sentences joined into chunks of at most this many characters, unless a sentence is longer."""
    chunks: list[str] = []
    for sentence in split_sentences(text, language):
        if chunks and len(chunks[-1]) + 1 + len(sentence) <= characters:
            chunks[-1] += f" {sentence}"
        else:
            chunks.append(sentence)
    return chunks


def read_memoryagentbench(
    path: Path, sources: Sequence[str], characters: int, language: str, notes: ReadingNotes
) -> Iterator[History]:
    """Yield the texts of the chosen sources.

    Parameters
    ----------
    path
        ``Accurate_Retrieval-00000-of-00001.parquet``, or the same rows as a JSON array or as JSON lines.
    sources
        Names of sources (``metadata.source``), in which ``*`` stands for any characters.
    characters
        Length of a chunk.
    language
        Language code of the texts.
    notes
        Receives what was left out.

    Raises
    ------
    InputError
        If the file is missing, is not the benchmark's, or has no text of these sources.
    """
    chosen, known = 0, dict[str, None]()
    for number, values in _rows(path):
        where = f"{path}: row {number}"
        row = parsed(_Row, values, where)
        source = row.metadata.source
        known[source] = None
        if not any(fnmatchcase(source, one) for one in sources):
            notes.add("texts of other sources, which are not scored", source)
            continue
        if len(row.questions) != len(row.answers):
            raise InputError(
                f"{where}: {len(row.questions)} questions, but {len(row.answers)} answers; give the file as published"
            )
        chosen += 1
        yield _history(row, f"{source}/{number}", characters, language, notes, where)
    if not chosen:
        raise InputError(f"{path}: has no text of {', '.join(sources)}; its sources are {', '.join(known) or 'none'}")


def _history(row: _Row, id: str, characters: int, language: str, notes: ReadingNotes, where: str) -> History:
    chunks = make_chunks(row.context, characters, language)
    if not chunks:
        raise InputError(f"{where}: context: is empty; give the file as it is published")
    normalised = [normalise_answer(one) for one in chunks]
    questions: list[Question] = []
    for number, (text, answers) in enumerate(zip(row.questions, row.answers, strict=True)):
        wanted = [normalise_answer(one) for one in ([answers] if isinstance(answers, str) else answers)]
        wanted = [one for one in wanted if one]
        places = tuple(place for place, chunk in enumerate(normalised) if any(one in chunk for one in wanted))
        if places:
            questions.append(Question(f"{id}/{number}", text, row.metadata.source, places))
        else:
            notes.add("questions left out because no chunk contains an answer", f"{id}/{number}")
    documents = tuple(HistoryDocument(f"{place}", chunk, "text") for place, chunk in enumerate(chunks))
    return History(id, documents, tuple(questions))


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    if path.suffix.lower() == ".parquet":
        yield from enumerate((row for _, row in parquet_rows(path, (("context",), ("questions",), ("answers",)))), 1)
    elif path.suffix.lower() == ".json":
        yield from read_array(path, "row")
    else:
        for number, line in read_lines(path):
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{path}:{number}: not JSON: {error.msg}; give one row per line") from error
