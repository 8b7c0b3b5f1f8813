"""Explain hits: the words that match, and the part of a long text that is nearest to the query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import anyio.to_thread
import numpy as np

from mlret.index.lexical.marking import Mark, marks
from mlret.index.vectors.space import Vectors
from mlret.memory.text.passages import parts
from mlret.serve.catalogue import Served

# A passage has about this many characters, one or two sentences; a longer text has longer ones, so that there are
# at most about MOST_PASSAGES.
PASSAGE = 160
MOST_PASSAGES = 8
# Hits of a query whose passages are compared; marking words costs little and is done for all.
MOST_HITS = 20


class Found(Protocol):
    """A hit of an index or of the memory."""

    @property
    def text(self) -> str: ...

    @property
    def language(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Passage:
    """The part of a text that is nearest to a query: from ``start`` to before ``end`` in characters.

    ``score`` is its cosine with the query, in a multi-vector index MaxSim.
    """

    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a document was found.

    Attributes
    ----------
    marks
        The words that the query and the text share; empty in an index without a lexical channel, or for a vector.
    passage
        The part of the text that is nearest to the query; ``None`` if the text is short, for hits beyond
        :data:`MOST_HITS`, and if mlret does not run the encoder.
    """

    marks: list[Mark]
    passage: Passage | None = None

    def as_json(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return {"marks": [mark._asdict() for mark in self.marks], "passage": self.passage and asdict(self.passage)}


async def explain(
    served: Served, queries: Sequence[str], vectors: Vectors, found: Sequence[Sequence[Found]], *, lexical: bool = True
) -> list[list[Explanation]]:
    """Explain the hits of queries.

    Parameters
    ----------
    served
        The index, or the memory.
    queries
        The texts of the queries; empty if vectors were given.
    vectors
        The vectors of the queries.
    found
        The hits of each query.
    lexical
        Whether it has a lexical channel.

    Returns
    -------
    list of list of Explanation
        For each query an explanation of each hit.
    """
    lexical = lexical and bool(queries)
    return [
        await _explained(served, queries[place] if lexical else "", vectors[place], hits)
        for place, hits in enumerate(found)
    ]


async def _explained(served: Served, query: str, vector: Any, hits: Sequence[Found]) -> list[Explanation]:
    def divided() -> tuple[list[list[Mark]], list[list[tuple[int, int]]]]:
        spans = [_passages(hit) for hit in hits[:MOST_HITS]]
        return [marks(query, hit.text) if query else [] for hit in hits], spans

    marked, spans = await anyio.to_thread.run_sync(divided)
    wanted = [(place, span) for place, some in enumerate(spans) if len(some) > 1 for span in some]
    best: dict[int, Passage] = {}
    if wanted and served.encoding.queue is not None:
        texts = [hits[place].text[start:end] for place, (start, end) in wanted]
        encoded = await served.passages(texts, [hits[place].language for place, _ in wanted])
        for (place, (start, end)), other in zip(wanted, encoded, strict=True):
            score = _similarity(vector, other)
            if place not in best or score > best[place].score:
                best[place] = Passage(start, end, round(score, 6))
    return [Explanation(some, best.get(place)) for place, some in enumerate(marked)]


def _passages(hit: Found) -> list[tuple[int, int]]:
    """Return the parts of a text without the white space around them; a blank part is none.

    Of a document that was cut, only the passage that was found is divided.
    """
    found, cut = [], getattr(hit, "passage", None)
    first, text = (0, hit.text) if cut is None else (cut.start, cut.text)
    for start, end in parts(text, max(PASSAGE, len(text) // MOST_PASSAGES)):
        part = text[start:end]
        start, end = start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())
        if start < end:
            found.append((first + start, first + end))
    return found


def _similarity(query: Any, other: Any) -> float:
    """Return the cosine of two vectors, or MaxSim of two lists of them, over the dimensions that both have."""
    query, other = np.asarray(query, dtype=np.float64), np.asarray(other, dtype=np.float64)
    dims = min(query.shape[-1], other.shape[-1])
    query, other = query[..., :dims], other[..., :dims]
    if query.ndim == 2:
        return float((query @ other.T).max(axis=1).sum()) if len(other) else 0.0
    lengths = np.linalg.norm(query) * np.linalg.norm(other)
    return float(query @ other / lengths) if lengths else 0.0
