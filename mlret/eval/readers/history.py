"""A history (a long conversation or text), its documents, and the questions that are asked about it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class HistoryDocument:
    """One document of a history: a turn, a session, or another part, as the benchmark defines it.

    Attributes
    ----------
    id
        Its id in the benchmark. It need not be unique: some benchmarks contain a session twice.
    text
        What is searched; not blank.
    session
        The session that it belongs to; ``None`` for none.
    role
        Who said it; ``None`` if several did.
    at
        When it was said; ``None`` if the benchmark does not state it.
    """

    id: str
    text: str
    session: str | None = None
    role: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a history.

    Attributes
    ----------
    id
        Its id, unique within the benchmark.
    text
        The question.
    group
        The kind of question, as the benchmark names it.
    evidence
        Position of the document that contains each piece of evidence; ``None`` for evidence that is not in the history.
        Several pieces may be in one document.
    tags
        What else the benchmark's averages depend on.
    at
        When the question is asked; ``None`` if the benchmark does not state it.
    """

    id: str
    text: str
    group: str
    evidence: tuple[int | None, ...]
    tags: frozenset[str] = frozenset()
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class History:
    """A history with its questions.

    Attributes
    ----------
    id
        Its id, unique within the benchmark.
    documents
        The documents, in the order of the history.
    questions
        The questions.
    unit
        What a document is: ``turn``, ``session`` or another part.
    """

    id: str
    documents: tuple[HistoryDocument, ...]
    questions: tuple[Question, ...]
    unit: str = "turn"

    def digest(self) -> str:
        """Return a hash of everything that a ranking of the documents depends on."""
        content = [
            self.unit,
            [(one.id, one.text, one.session, one.role, _iso(one.at)) for one in self.documents],
            [(one.id, one.text, _iso(one.at)) for one in self.questions],
        ]
        return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()


@dataclass
class ReadingNotes:
    """What a reader left out of a benchmark, or found wrong in it.

    Attributes
    ----------
    counts
        Remark -> the ids that it is about.
    """

    counts: dict[str, list[str]] = field(default_factory=dict)

    def add(self, remark: str, id: str) -> None:
        """Note that a remark applies to an id."""
        self.counts.setdefault(remark, []).append(id)

    def lines(self) -> list[str]:
        """Return each remark with the number of ids that it is about, and the first of them."""
        return [f"{remark}: {len(ids):,}, e.g. {ids[0]!r}" for remark, ids in self.counts.items()]


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
