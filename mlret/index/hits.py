"""Results of an index: the hits of a search, a summary of an index, and the counts of an update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, overload

from mlret.data.languages import language_name
from mlret.reporting.frames import data_frame
from mlret.reporting.notebook import html_table, shortened
from mlret.wording import counted

if TYPE_CHECKING:
    from pandas import DataFrame

ScoreKind = Literal["cosine", "maxsim", "bm25", "fused", "rerank"]


# The longest text in the representation of a hit.
_SHOWN = 80
_COLUMNS = ("rank", "id", "score", "language", "text", "kind", "cosine")


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document that is longer than its encoder reads.

    Attributes
    ----------
    start, end
        Where it is in the text of the document: from ``start`` to before ``end``, in characters.
    text
        What stands there.
    """

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True, repr=False)
class Hit:
    """A document that a search found.

    Attributes
    ----------
    rank
        The position among the hits, starting at 1. Documents with equal scores are ordered by id.
    score
        The score by which the hits are ranked; higher is better.
    id, text, language, metadata
        The fields of the document.
    scores
        The score of each channel that found the document: ``dense`` (the cosine, or MaxSim) and ``lexical`` (BM25); of
        a search that was reranked also ``rerank``.
    kind
        What ``score`` is: ``cosine`` (from -1 to 1, rounded to six decimals), ``maxsim``, ``bm25`` (from 0, unbounded),
        ``fused``: the mean of the channels' standard scores, mapped to a value between 0 and 1 by
        :func:`mlret.index.fusion.in_unit`; or ``rerank``: what the reranker gave.
    cosine
        The cosine with the query, whatever ``kind`` is; ``None`` in an index with a vector for each token, and in a
        lexical search of an index whose encoder is not at hand.
    terms
        What ``score`` is the sum of, by channel. A ``fused`` score is the sum mapped to a value between 0 and 1: each
        term is the standard score of a channel divided by the number of channels that were counted. A channel that
        does not apply to the document, or distinguishes no candidates, is not among them.
    passage
        The passage that is nearest to the query, if the document was cut into passages; it decides the score for
        meaning. ``None`` for other documents, and in a lexical search of an index whose encoder is not at hand.

    Examples
    --------
    >>> [hit] = index.search("the train is late", k=1)
    >>> hit.rank, hit.id, hit.language, hit.kind
    (1, 'train', 'de', 'cosine')
    """

    rank: int
    id: str
    score: float
    text: str
    language: str | None
    metadata: dict[str, Any]
    scores: dict[str, float] = field(default_factory=dict)
    kind: ScoreKind = "cosine"
    cosine: float | None = None
    terms: dict[str, float] = field(default_factory=dict)
    passage: Passage | None = None

    def __repr__(self) -> str:
        return (
            f"Hit(rank={self.rank}, id={self.id!r}, score={self.score:.4f}, language={self.language!r}, "
            f"text={shortened(self.text, _SHOWN)!r})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values.

        Returns
        -------
        dict
            The fields by name.

        Examples
        --------
        >>> hit = index.search("the train is late", k=1)[0]
        >>> hit.to_dict()["id"], hit.to_dict()["metadata"]
        ('train', {'year': 2024})
        """
        return asdict(self)

    def _repr_html_(self) -> str:
        return Hits([self])._repr_html_()


class Hits(list[Hit]):
    """The hits of one query, best first: a list that notebooks show as a table.

    Attributes
    ----------
    missing
        The names of the shards that did not answer, in a search that was to do without them; empty if all documents
        were searched.

    Examples
    --------
    >>> hits = index.search("the train is late", k=2)
    >>> isinstance(hits, list), [hit.id for hit in hits[:1]]
    (True, ['train'])
    """

    missing: tuple[str, ...] = ()

    @overload
    def __getitem__(self, place: SupportsIndex) -> Hit: ...
    @overload
    def __getitem__(self, place: slice) -> Hits: ...
    def __getitem__(self, place: SupportsIndex | slice) -> Hit | Hits:
        found = super().__getitem__(place)
        if not isinstance(found, list):
            return found
        some = Hits(found)
        some.missing = self.missing
        return some

    def to_pandas(self) -> DataFrame:
        """Return the hits as a data frame of pandas, with a row for each hit and a column for each metadata value.

        Returns
        -------
        pandas.DataFrame
            The columns ``rank``, ``id``, ``score``, ``language``, ``text``, ``kind`` and ``cosine``, then the metadata
            by name. A name that is a column already is written as ``metadata.NAME``.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.

        Examples
        --------
        >>> frame = index.search("the train is late", k=2).to_pandas()
        >>> list(frame["id"]), list(frame.columns[-2:])
        (['train', 'library'], ['cosine', 'year'])
        """
        return data_frame(
            (
                {name: getattr(hit, name) for name in _COLUMNS}
                | {f"metadata.{key}" if key in _COLUMNS else key: value for key, value in hit.metadata.items()}
                for hit in self
            ),
            _COLUMNS,
        )

    def _repr_html_(self) -> str:
        if not self:
            return "<div>no hits</div>"
        rows = [
            [hit.id, "–" if hit.language is None else language_name(hit.language), hit.text, f"{hit.score:.3f}"]
            for hit in self
        ]
        return html_table(["id", "language", "text", f"score ({self[0].kind})"], rows, text_columns=3)


@dataclass(frozen=True, slots=True)
class Unread:
    """What the encoder of an index does not read of the documents that it encoded.

    Attributes
    ----------
    cut
        The number of documents that are longer than the encoder's longest input.
    tokens
        The number of their tokens that are not read.
    languages
        Language -> number of documents in it, for languages that the encoder was not trained in.
    scripts
        Script or scripts -> number of documents in them of which the tokenizer lacks much: a fifth of their tokens or
        more stand for unknown characters.
    """

    cut: int = 0
    tokens: int = 0
    languages: dict[str, int] = field(default_factory=dict)
    scripts: dict[str, int] = field(default_factory=dict)

    def warnings(self, documents: int) -> list[str]:
        """Return a sentence for each kind of what is not read.

        Parameters
        ----------
        documents
            The number of all documents of the index.

        Returns
        -------
        list of str
            The sentences; empty if everything is read.

        Examples
        --------
        >>> from mlret.index.hits import Unread
        >>> Unread(cut=1, tokens=488).warnings(20)
        ['1 of 20 documents is longer than the encoder reads: its last 488 tokens are not searched']
        """
        of = f"of {counted(documents, 'document')}"
        found = []
        if self.cut:
            longer, last = ("is", "its last") if self.cut == 1 else ("are", "together their last")
            found.append(
                f"{self.cut:,} {of} {longer} longer than the encoder reads: {last} {counted(self.tokens, 'token')} "
                f"{'is' if self.tokens == 1 else 'are'} not searched"
            )
        if self.scripts:
            names = {script.replace(",", " and ").title(): count for script, count in self.scripts.items()}
            found.append(_few(names, of, "written in characters that the encoder's tokenizer does not know"))
        if self.languages:
            names = {language_name(code): count for code, count in self.languages.items()}
            found.append(_few(names, of, "in a language that the encoder was not trained in"))
        return found


_NAMED = 5


def _few(counts: Mapping[str, int], of: str, what: str) -> str:
    """Return a sentence on documents that may not be found, with the most frequent of their groups."""
    total = sum(counts.values())
    named = ", ".join(f"{name or 'no script'} {count:,}" for name, count in list(counts.items())[:_NAMED])
    more = f" and {counted(len(counts) - _NAMED, 'other')}" if len(counts) > _NAMED else ""
    return f"{total:,} {of} {'is' if total == 1 else 'are'} {what}, and may not be found: {named}{more}"


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """A summary of what an index holds.

    ``passages`` counts the passages of all documents; a document that was not cut counts as one. Each passage has a
    vector: ``kinds`` counts those in segments of each kind, and ``unsealed`` those that are in no segment yet.
    ``probing`` describes how a multi-vector index is searched and the recall that was measured. ``deleted`` counts the
    rows of segments that the next compaction removes. ``bytes`` is the size of the folder on disk. ``unread`` counts
    what the encoder does not read of the documents. ``fields`` names the metadata that filters can use, at most 100
    names. ``shards`` is the number of shards of an index that is divided, otherwise 1. ``dtype`` is what is stored of
    a vector, and ``copies`` how often.
    """

    path: str
    documents: int
    languages: dict[str | None, int]
    encoder: str
    fingerprint: str
    dims: int
    similarity: str
    lexical: bool
    kind: str
    kinds: dict[str, int]
    why: list[str]
    probing: str
    segments: int
    unsealed: int
    deleted: int
    bytes: int
    passages: int
    unread: Unread = field(default_factory=Unread)
    fields: list[str] = field(default_factory=list)
    shards: int = 1
    dtype: str = "float32"
    copies: int = 1

    @property
    def warnings(self) -> list[str]:
        """A sentence for each kind of what the encoder does not read: long texts, unknown scripts and languages.

        Examples
        --------
        >>> index.info().warnings
        []
        """
        return self.unread.warnings(self.documents)

    def _repr_html_(self) -> str:
        languages = ", ".join(
            f"{'unknown' if code is None else language_name(code)} {count:,}" for code, count in self.languages.items()
        )
        rows = [
            ["documents", f"{self.documents:,}"],
            *([["passages", f"{self.passages:,}"]] if self.passages > self.documents else []),
            ["languages", languages or "–"],
            ["encoder", f"{self.encoder}, {self.dims} dimensions, {self.similarity}"],
            ["words", "searched, too" if self.lexical else "not searched"],
            ["fields", ", ".join(self.fields) or "–"],
            ["size", f"{self.bytes / 1e6:.1f} MB"],
            *(["warning", warning] for warning in self.warnings),
        ]
        return html_table([], rows, title=self.path, text_columns=2)


@dataclass(frozen=True, slots=True)
class Updated:
    """How many documents were added, replaced an earlier one with the same id, or were skipped.

    A document is skipped if it is stored already.
    """

    added: int = 0
    replaced: int = 0
    skipped: int = 0

    def __add__(self, other: Updated) -> Updated:
        return Updated(self.added + other.added, self.replaced + other.replaced, self.skipped + other.skipped)
