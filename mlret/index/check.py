"""Check how well an index finds its own documents, by language, when it is asked for their titles or first sentences.

A search engine that does not find a document by its own words will not find it by the words of others. What the check
finds weak is weak; that a check is good does not say that every question is answered: `mlret eval` measures that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlret.data.documents import Document
from mlret.data.languages import language_name
from mlret.errors import InputError
from mlret.index.hits import Hit, Unread
from mlret.index.index import Index
from mlret.reporting.frames import data_frame
from mlret.reporting.notebook import as_html
from mlret.reporting.table import ResultTable, percent
from mlret.wording import counted

if TYPE_CHECKING:
    from pandas import DataFrame

_K = 10
_BATCH = 64
# A language is weak if fewer of its documents are among the ten best hits for their own words.
_LEAST_RECALL = 0.8
# The recall of fewer queries says little about a language.
_LEAST_QUERIES = 10
# Documents that are encoded again, to compare their vectors with those that are stored, and the least cosine of two
# vectors of one text. Codes of a few bits, and the instructions of another processor, change a vector less.
_COMPARED = 32
_SAME = 0.9
_LONGEST_QUERY = 300
_SHORTEST_SENTENCE = 15
_SENTENCE_END = re.compile(r"[.!?…؟۔።।॥។။]+[\"”’»)\]]*\s+|[。！？．｡]+[」』”）]*|\n+")


@dataclass(frozen=True, slots=True)
class LanguageCheck:
    """How well the documents of one language are found by their own words.

    Attributes
    ----------
    documents
        The number of documents in the language.
    queries
        How many of them were asked for.
    recall_at_1, recall_at_10
        The share of the queries whose document is the first hit, or among the first ten.
    mrr
        The mean of 1 / rank of the document, which is 0 if it is not among the first ten hits.
    """

    documents: int
    queries: int
    recall_at_1: float
    recall_at_10: float
    mrr: float


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The result of asking an index for its own documents.

    Attributes
    ----------
    index
        The folder of the index.
    queries
        How many documents were asked for.
    titles
        How many of them were asked for by their title; the others by their first sentence.
    whole
        How many queries are the whole text of the document, which has no title and only one sentence.
    recall_at_1, recall_at_10, mrr
        As for :class:`LanguageCheck`, over all queries.
    languages
        Language, or ``"und"`` where it is unknown -> how well its documents are found; the weakest language first.
    compared, different
        How many stored vectors were compared with what the encoder gives for the text today, and how many of them
        differ.
    weak
        A sentence for each weakness; empty if there is none.

    Examples
    --------
    >>> from mlret.index.check import check_index
    >>> report = check_index(index)
    >>> report.queries, report.recall_at_1, report.good
    (3, 1.0, True)
    """

    index: str
    queries: int
    titles: int
    whole: int
    recall_at_1: float
    recall_at_10: float
    mrr: float
    languages: dict[str, LanguageCheck]
    compared: int = 0
    different: int = 0
    weak: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing is weak."""
        return not self.weak

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return {**asdict(self), "good": self.good}

    def _repr_html_(self) -> str:
        sentences = "".join(f"<li>{as_html(sentence)}</li>" for sentence in self.weak or ["nothing is weak"])
        return f"{self.table()._repr_html_()}<ul>{sentences}</ul>"

    def to_pandas(self) -> DataFrame:
        """Return the results by language as a data frame of pandas.

        Returns
        -------
        pandas.DataFrame
            A row for each language, the weakest first, with the fields of :class:`LanguageCheck`.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.
        """
        columns = ("language", *LanguageCheck.__slots__)
        return data_frame(({"language": code, **asdict(one)} for code, one in self.languages.items()), columns)

    def table(self) -> ResultTable:
        """Return the results by language as a table, in per cent."""
        rows: list[tuple[str, int, CheckReport | LanguageCheck]] = [("all", self.queries, self)]
        rows += ((code, one.queries, one) for code, one in self.languages.items())
        cells = [
            [
                language_name(code) if code in self.languages and code != "und" else code,
                str(queries),
                percent(one.recall_at_1),
                percent(one.recall_at_10),
                percent(one.mrr),
            ]
            for code, queries, one in rows
        ]
        return ResultTable(
            f"{self.index}, asked for its own titles and first sentences, in per cent",
            ["language", "queries", "recall@1", "recall@10", "MRR"],
            [cells[:1], cells[1:]],
            caption=(
                f"{counted(self.whole, 'query', 'queries')} {'is' if self.whole == 1 else 'are'} the whole text of the "
                "document, and easily found."
                if self.whole
                else ""
            ),
            strong=True,
        )


def check_index(index: Index, *, size: int = 500, seed: int = 0) -> CheckReport:
    """Ask an index for its own documents, by their titles or first sentences.

    A query is the title of a document (the metadata ``title``), or its first sentence if it has none. It is answered
    by the document, or by another one with the same title or first sentence. The index is searched as usual: in a
    large one with the accelerators of its segments.

    Parameters
    ----------
    index
        An open index.
    size
        The number of documents to ask for. They are drawn from all languages alike; a language with fewer documents
        leaves its share to the others.
    seed
        Seed of the draw.

    Returns
    -------
    CheckReport
        Recall by language, and what is weak.

    Raises
    ------
    InputError
        If the index is empty, ``size`` is below 1, or mlret does not run the encoder of the index.

    Examples
    --------
    >>> from mlret.index.check import check_index
    >>> for language, found in check_index(index, size=3).languages.items():
    ...     print(language, found.queries, found.recall_at_1)
    de 1 1.0
    ja 1 1.0
    sw 1 1.0
    """
    if type(size) is not int or size < 1:
        raise InputError(f"size is {size!r}; it must be an integer of at least 1")
    if type(seed) is not int or seed < 0:
        raise InputError(f"seed is {seed!r}; it must be an integer of at least 0")
    if not len(index):
        raise InputError(f"{index.path} holds no documents to ask for; add some first")
    documents, counts = _drawn(index, size, np.random.default_rng(seed))
    asked = [_question_of(document) for document in documents]
    ranks = _ranks(index, documents, asked)
    by_language: dict[str, list[int]] = {}
    for place, document in enumerate(documents):
        by_language.setdefault(document.language or "und", []).append(place)
    languages = {
        code: LanguageCheck(counts[code], len(places), *_figures(ranks[places])) for code, places in by_language.items()
    }
    languages = dict(sorted(languages.items(), key=lambda one: (one[1].recall_at_10, one[1].mrr, one[0])))
    compared, different = _compared(index, documents[:: -(-len(documents) // _COMPARED)])
    overall = _figures(ranks)
    return CheckReport(
        str(index.path),
        len(documents),
        sum(_title_of(document.metadata) is not None for document in documents),
        sum(query == document.text.strip() for query, document in zip(asked, documents, strict=True)),
        *overall,
        languages,
        compared,
        different,
        _weaknesses(overall[1], languages, compared, different, index.info().unread),
    )


def _drawn(index: Index, size: int, rng: np.random.Generator) -> tuple[list[Document], dict[str, int]]:
    """Return a sample of the documents, and the number of documents in each language."""
    shards = index.shards
    counts = index.info().languages
    rows: list[tuple[int, int]] = []
    for code, share in _shares(counts, size).items():
        by_shard = enumerate(shards.every("rows_in", code))
        found = [(number, row) for number, some in by_shard for row in some.tolist()]
        chosen = np.sort(rng.choice(len(found), min(share, len(found)), replace=False))
        rows += [found[place] for place in chosen.tolist()]
    wanted: dict[int, list[int]] = {}
    for number, row in rows:
        wanted.setdefault(number, []).append(row)
    fetched = shards.some("fetch", {number: (some,) for number, some in wanted.items()})
    documents = [fetched[number].documents.get(row) for number, row in rows]
    return [one for one in documents if one is not None], {code or "und": n for code, n in counts.items()}


def _shares(counts: Mapping[str | None, int], size: int) -> dict[str | None, int]:
    """Divide a sample among languages: equal shares, of which a language gets no more than it has documents."""
    shares: dict[str | None, int] = {}
    left = size
    for number, (code, count) in enumerate(sorted(counts.items(), key=lambda one: (one[1], one[0] or ""))):
        shares[code] = min(count, -(-left // (len(counts) - number)))
        left -= shares[code]
    return {code: share for code, share in shares.items() if share}


def _title_of(metadata: Mapping[str, Any]) -> str | None:
    title = metadata.get("title")
    return title.strip() if isinstance(title, str) and title.strip() else None


def _question_of(document: Document | Hit) -> str:
    """Return the title of a document, or its first sentence."""
    title = _title_of(document.metadata)
    text = document.text.strip()
    if title is None:
        end = next((one.end() for one in _SENTENCE_END.finditer(text) if one.end() >= _SHORTEST_SENTENCE), len(text))
        title = text[:end].strip()
    return title[:_LONGEST_QUERY].strip()


def _ranks(index: Index, documents: Sequence[Document], asked: Sequence[str]) -> NDArray[np.int64]:
    """Return the rank of each document among the hits for its question; 0 if it is not among them."""
    ranks = np.zeros(len(documents), dtype=np.int64)
    for start in range(0, len(documents), _BATCH):
        some = slice(start, start + _BATCH)
        found = index.search_batch(asked[some], _K, language=[document.language for document in documents[some]])
        for place, hits in enumerate(found, start):
            wanted = documents[place].id, asked[place]
            ranks[place] = next((hit.rank for hit in hits if hit.id == wanted[0] or _question_of(hit) == wanted[1]), 0)
    return ranks


def _figures(ranks: NDArray[np.int64]) -> tuple[float, float, float]:
    """Return recall@1, recall@10 and the mean reciprocal rank."""
    found = ranks > 0
    reciprocal = np.divide(1, ranks, out=np.zeros(len(ranks)), where=found)
    return float((ranks == 1).mean()), float(found.mean()), float(reciprocal.mean())


def _compared(index: Index, documents: Sequence[Document]) -> tuple[int, int]:
    """Return how many stored vectors were compared with those of their texts, and how many differ.

    Those of an index with a vector for each token are not compared, since their codes are coarse.
    """
    if index.manifest.similarity != "cosine":
        return 0, 0
    texts, languages = [one.text for one in documents], [one.language for one in documents]
    fresh: Any = index.shards.space.prepared(index.encoder.encode_document(texts, language=languages))
    stored: Any = index.vectors([document.id for document in documents])
    lengths = np.linalg.norm(fresh, axis=1) * np.linalg.norm(stored, axis=1)
    cosines = np.einsum("nd,nd->n", fresh, stored) / np.maximum(lengths, 1e-12)
    return len(documents), int((cosines < _SAME).sum())


def _weaknesses(
    recall: float, languages: Mapping[str, LanguageCheck], compared: int, different: int, unread: Unread
) -> list[str]:
    """Return a sentence for each weakness."""
    found = []
    if different:
        found.append(
            f"{different} of {counted(compared, 'stored vector')} {'is' if different == 1 else 'are'} not what the "
            "encoder gives for the text: encode the texts again (`mlret index reembed`)"
        )
    weak = {
        code: one
        for code, one in languages.items()
        if one.queries >= _LEAST_QUERIES and one.recall_at_10 < _LEAST_RECALL
    }
    if not weak and recall < _LEAST_RECALL:
        found.append(
            f"only {percent(recall)} % of the documents are among the ten best hits for their own title or first "
            "sentence"
        )
    for code, one in weak.items():
        name = "unknown language" if code == "und" else language_name(code)
        unknown = "; the encoder was not trained in it" if code in unread.languages else ""
        found.append(
            f"{name} is weak: of {counted(one.queries, 'document')}, {percent(one.recall_at_10)} % are among the ten "
            f"best hits for their own title or first sentence{unknown}"
        )
    return found
