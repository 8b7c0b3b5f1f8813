"""The results that the methods of a memory return."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, overload

from mlret.data.languages import language_name
from mlret.index.hits import ScoreKind
from mlret.memory.records import MemoryRecord
from mlret.memory.storage.journal import Change, Entry, NewVersion, SetEnd, SetField, SetLink, Verb
from mlret.memory.text.duplicates import Evidence
from mlret.memory.times import from_micros, iso
from mlret.reporting.frames import data_frame
from mlret.reporting.notebook import as_html, html_table, shortened

if TYPE_CHECKING:
    from pandas import DataFrame

Verdict = Literal["added", "duplicate", "related"]
# The keys of a note that a history shows; other keys hold data that feedback is learned from.
_SHOWN = ("again", "source", "reason", "merged", "undoes")
_ELSEWHERE = "a record that is not in this scope"


@dataclass(frozen=True, slots=True)
class Added:
    """The outcome of adding a text.

    Attributes
    ----------
    id
        Id of the record that holds the text: a new record, or, for a ``duplicate``, the one that already said it.
    verdict
        ``added``; ``duplicate``: the record ``id`` already says the text and everything that came with it, and has
        gained strength and one more source; ``related``: added, and linked to the record that the evidence names.
    evidence
        The nearest records that decided the verdict, with what spoke for and against each.
    reason
        The verdict explained in one sentence.
    operation
        Number of the operation, for :meth:`~mlret.memory.memory.Memory.undo`.
    """

    id: str
    verdict: Verdict
    evidence: tuple[Evidence, ...]
    reason: str
    operation: int

    def as_json(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class AddedMessages:
    """The outcome of adding messages.

    Attributes
    ----------
    turns
        One result for each message that has text, in order.
    facts
        One result for each fact that was extracted.
    operation
        Number of the operation that stored all of them, for :meth:`~mlret.memory.memory.Memory.undo`; ``None`` if there
        was nothing to store.
    """

    turns: tuple[Added, ...]
    facts: tuple[Added, ...]
    operation: int | None

    def as_json(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Done:
    """The outcome of an operation.

    Attributes
    ----------
    ids
        Ids of the records that were changed.
    operation
        Number of the operation, for :meth:`~mlret.memory.memory.Memory.undo`.
    """

    ids: tuple[str, ...]
    operation: int


# The longest text in the representation of a hit.
_SHOWN_TEXT = 80
_COLUMNS = ("rank", "id", "score", "language", "text", "kind", "cosine")


@dataclass(frozen=True, slots=True, repr=False)
class MemoryHit:
    """A record that a search found.

    Attributes
    ----------
    rank, score
        Rank, from 1, and score; higher is better, and equal scores are ordered by id.
    record
        The version that was found.
    scores
        Every term of the score by name. The raw channel scores are ``dense`` (a cosine, or MaxSim) and ``lexical``
        (BM25). A ``fused`` score is the sum of the terms mapped into 0 to 1 by :func:`mlret.index.fusion.in_unit`.
    why
        The score explained in words, including the number of near-duplicates that were collapsed.
    conflicts
        Other versions and contradicting records, if they were requested.
    also
        Ids of near-duplicates that are collapsed into this hit.
    kind
        Kind of the score: ``fused`` for several terms; ``cosine``, ``maxsim`` or ``bm25`` for that of a single
        channel; ``rerank`` for that of the callable.
    cosine
        Cosine with the query, whatever the kind; ``None`` in a memory with a vector for each token.
    yields_to
        Ids of hits that supersede or contradict this one and are ranked before it.
    """

    rank: int
    score: float
    record: MemoryRecord
    scores: dict[str, float] = field(default_factory=dict)
    why: tuple[str, ...] = ()
    conflicts: tuple[MemoryRecord, ...] = ()
    also: tuple[str, ...] = ()
    kind: ScoreKind | Literal["rerank"] = "fused"
    cosine: float | None = None
    yields_to: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return (
            f"MemoryHit(rank={self.rank}, id={self.id!r}, score={self.score:.4f}, language={self.language!r}, "
            f"text={shortened(self.text, _SHOWN_TEXT)!r})"
        )

    @property
    def id(self) -> str:
        """Id of the record."""
        return self.record.id

    @property
    def text(self) -> str:
        """Text of the record, word for word."""
        return self.record.text

    @property
    def language(self) -> str | None:
        """Language of the text, ``None`` if unknown."""
        return self.record.language

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata of the record."""
        return self.record.metadata

    def as_json(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return {
            "rank": self.rank,
            "score": self.score,
            "scores": self.scores,
            "why": list(self.why),
            "also": list(self.also),
            "record": self.record.as_json(),
            "conflicts": [record.as_json() for record in self.conflicts],
            "kind": self.kind,
            "cosine": self.cosine,
            "yields_to": list(self.yields_to),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values, as :meth:`as_json` does."""
        return self.as_json()


@dataclass(frozen=True, slots=True, repr=False)
class Found(Sequence[MemoryHit]):
    """The hits of a search, as a sequence, best first.

    Attributes
    ----------
    hits
        The hits.
    scope
        The scope that was searched.
    searched
        Number of versions that were eligible.
    reason
        Why there are no hits, if there are none.
    """

    hits: tuple[MemoryHit, ...]
    scope: dict[str, str]
    searched: int
    reason: str | None = None

    @overload
    def __getitem__(self, place: int) -> MemoryHit: ...
    @overload
    def __getitem__(self, place: slice) -> Found: ...
    def __getitem__(self, place: int | slice) -> MemoryHit | Found:
        return replace(self, hits=self.hits[place]) if isinstance(place, slice) else self.hits[place]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[MemoryHit]:
        return iter(self.hits)

    def __repr__(self) -> str:
        reason = f", reason={self.reason!r}" if self.reason else ""
        return f"Found({list(self.hits)!r}, scope={self.scope!r}, searched={self.searched}{reason})"

    def _repr_html_(self) -> str:
        if not self.hits:
            return f"<div>no hits{': ' if self.reason else ''}{as_html(self.reason or '')}</div>"
        rows = [
            [hit.id, "–" if hit.language is None else language_name(hit.language), hit.text, f"{hit.score:.3f}"]
            for hit in self.hits
        ]
        scope = ", ".join(f"{name} {value}" for name, value in self.scope.items())
        headings = ["id", "language", "text", f"score ({self.hits[0].kind})"]
        return html_table(headings, rows, title=scope, text_columns=3)

    def to_pandas(self) -> DataFrame:
        """Return the hits as a data frame of pandas, with a row for each hit.

        Returns
        -------
        pandas.DataFrame
            The columns ``rank``, ``id``, ``score``, ``language``, ``text``, ``kind`` and ``cosine``.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.
        """
        return data_frame(({name: getattr(hit, name) for name in _COLUMNS} for hit in self.hits), _COLUMNS)

    def as_json(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return {
            "scope": self.scope,
            "searched": self.searched,
            "reason": self.reason,
            "hits": [hit.as_json() for hit in self.hits],
        }


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One event in the history of a record.

    Attributes
    ----------
    operation
        Number of the operation.
    at
        When it happened.
    verb
        What was done.
    changes
        The changes to the record, as texts.
    note
        Further facts, such as a reason or a source.
    """

    operation: int
    at: datetime
    verb: Verb
    changes: tuple[str, ...]
    note: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The records that a policy archives, or would archive.

    Attributes
    ----------
    reasons
        Id -> why the record is archived.
    operation
        Number of the operation; ``None`` in a dry run, or if nothing was archived.
    """

    reasons: dict[str, str]
    operation: int | None = None


@dataclass(frozen=True, slots=True)
class ErasureProof:
    """The evidence that erased records left nothing on disk.

    Attributes
    ----------
    ids
        Ids of the erased records: those that were named, those derived from them and those merged into them.
    versions
        Number of versions that were erased, with their vectors.
    pieces
        Number of text fragments and ids that were searched for.
    files
        File or folder name -> ``{"places": n}``: how many of the fragments occur in that file, or in the files of that
        folder, without being part of something that is still stored, whoever stored it.
    shared
        Ids of records of the scope that still contain some of the fragments.
    complete
        Whether no byte is left: no unaccounted fragment was found, and the write-ahead log was emptied.
    note
        What remains to be done if the erasure is not complete; else empty.
    """

    ids: tuple[str, ...]
    versions: int
    pieces: int
    files: dict[str, dict[str, int]]
    shared: tuple[str, ...]
    complete: bool
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return asdict(self)


def history_entry(entry: Entry, numbers: Mapping[int, int], seen: Callable[[str], bool]) -> HistoryEntry:
    """Return a journal entry as a readable history entry.

    Parameters
    ----------
    entry
        An entry that names records by ids.
    numbers
        Number of an operation in the journal -> the number that the reader knows it by.
    seen
        Whether the reader's scope holds a record; records that it does not hold are not named.

    Returns
    -------
    HistoryEntry
        The entry with its changes and its note in words.
    """
    changes = ("erased",) if entry.changes is None else tuple(_formatted(change, seen) for change in entry.changes)
    note: dict[str, Any] = {name: entry.note[name] for name in _SHOWN if name in entry.note}
    if "merged" in note:
        note["merged"] = [one for one in note["merged"] if seen(one)]
    if "undoes" in note:
        note["undoes"] = numbers.get(note["undoes"])
    return HistoryEntry(entry.counted, from_micros(entry.at), entry.verb, changes, note)


def _formatted(change: Change, seen: Callable[[str], bool]) -> str:
    match change:
        case NewVersion(_, _, version, _, valid_from):
            return f"version {version}, valid from {iso(valid_from)}"
        case SetField("row", _, _):
            return "the current version is another"
        case SetField("merged_into", before, after):
            names = [one if one is None or seen(one) else _ELSEWHERE for one in (before, after)]
            return f"merged into: {names[0]} -> {names[1]}"
        case SetField("accessed_at", before, after):
            instants = ["never" if one is None else iso(one) for one in (before, after)]
            return f"accessed at: {instants[0]} -> {instants[1]}"
        case SetField(name, before, after):
            return f"{name.replace('_', ' ')}: {before} -> {after}"
        case SetEnd(_, _, after):
            return f"an earlier version is valid until {'further notice' if after is None else iso(after)}"
        case SetLink(type, target, on):
            name = target if isinstance(target, str) and seen(target) else _ELSEWHERE
            return f"{'link' if on else 'no link'} {type} to {name}"
    raise AssertionError(change)
