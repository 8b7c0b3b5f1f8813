"""A test collection: documents, topics and relevance judgements that belong together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlret.data.corpus import Corpus, read_collection_tsv
from mlret.data.documents import Document, document_from_mapping
from mlret.data.retrieval import Qrels, Topic, check_id, grade_of
from mlret.errors import InputError, first_line, require

# Given instead of a folder to download the data by name, which needs network access once.
IR_DATASETS = "ir_datasets"


@dataclass(frozen=True)
class Collection:
    """One language (or one data set) of a benchmark.

    Attributes
    ----------
    group
        The group's name in tables, e.g. ``"sw"``.
    language
        Language of topics and documents that do not state their own; ``None`` if it is unknown.
    topics
        The queries.
    qrels
        Query id -> document id -> relevance.
    documents
        Streams the documents from the beginning each time it is called; ``None`` if only saved runs are scored.
    drop_identical
        Whether to remove the document with the query's id from that query's ranking. BEIR's code does so; MIRACL's does
        not, and its scores would be lower.
    notes
        Problems found while reading that a reader of the results should know.
    size
        Number of documents; ``None`` before :func:`checked` has counted them.
    """

    group: str
    language: str | None
    topics: dict[str, Topic]
    qrels: Qrels
    documents: Callable[[], Iterator[Document]] | None
    drop_identical: bool = False
    notes: tuple[str, ...] = ()
    size: int | None = None

    @property
    def queries(self) -> list[Topic]:
        """The topics that have judgements, each with its language."""
        judged = (topic for topic in self.topics.values() if topic.id in self.qrels)
        return [replace(topic, language=topic.language or self.language) for topic in judged]


def checked(collection: Collection) -> Collection:
    """Read a collection once, and record inconsistencies in :attr:`Collection.notes`.

    Returns
    -------
    Collection
        The collection with its size, its notes, and only the judgements of its topics.

    Raises
    ------
    InputError
        If no topic is judged, a document id occurs twice, or none of the relevant documents is in the corpus.
    """
    group, topics, qrels = collection.group, collection.topics, collection.qrels
    kept = {query: judged for query, judged in qrels.items() if query in topics}
    if not kept:
        raise InputError(
            f"{group}: no topic is judged (topics: {next(iter(topics), 'none')!r}, qrels: "
            f"{next(iter(qrels), 'none')!r}); give topics and qrels of the same split"
        )
    for query in kept:  # fail before encoding, because runs are written with these ids
        check_id(query, "query id", group)
    notes = list(collection.notes)
    if missing := [query for query in topics if query not in kept]:
        notes.append(f"{group}: {_count(missing, 'topic')} without judgements skipped, e.g. {missing[0]!r}")
    if stray := [query for query in qrels if query not in topics]:
        notes.append(
            f"{group}: judgements of {_count(stray, 'query', 'queries')} without a topic skipped, e.g. {stray[0]!r}"
        )
    size = None
    if collection.documents is not None:
        relevant = {document for judged in kept.values() for document, grade in judged.items() if grade > 0}
        ids = _ids(collection.documents(), group)
        size, absent = len(ids), relevant - ids
        if absent == relevant and relevant:
            raise InputError(
                f"{group}: none of the {len(relevant)} relevant documents is in the corpus, e.g. {min(absent)!r}; "
                "give the corpus that these judgements were made on"
            )
        if absent:
            notes.append(
                f"{group}: {_count(absent, 'relevant document')} not in the corpus, e.g. {min(absent)!r}; they count "
                "as not retrieved"
            )
    return replace(collection, qrels=kept, notes=tuple(notes), size=size)


def corpus_reader(sources: Sequence[str | Path], language: str | None) -> Callable[[], Iterator[Document]]:
    """Return a function that reads documents from files and folders.

    Parameters
    ----------
    sources
        Files and folders; see :class:`mlret.data.corpus.Corpus`.
    language
        Language of documents that do not state their own.
    """

    def read() -> Iterator[Document]:
        return with_language(Corpus(sources), language)

    return read


def with_language(documents: Iterable[Document], language: str | None) -> Iterator[Document]:
    """Yield the documents, with a default language for those that have none.

    Parameters
    ----------
    documents
        The documents.
    language
        The default language; if ``None``, the documents are not changed.
    """
    for document in documents:
        yield document if document.language or language is None else replace(document, language=language)


def collection_tsv_reader(path: Path, language: str | None) -> Callable[[], Iterator[Document]]:
    """Return a function that reads an MS MARCO collection with :func:`mlret.data.corpus.read_collection_tsv`.

    The first line is read immediately, so that a missing or malformed file is reported early.

    Parameters
    ----------
    path
        The TSV file.
    language
        Language of the passages.
    """
    next(read_collection_tsv(path, language), None)
    return lambda: read_collection_tsv(path, language)


def from_ir_datasets(name: str, group: str, language: str | None) -> Collection:
    """Load a collection from the catalogue of ir_datasets, which downloads, verifies and caches it.

    Parameters
    ----------
    name
        Name in the catalogue, e.g. ``"mr-tydi/sw/test"``.
    group, language
        See :class:`Collection`.

    Raises
    ------
    InputError
        If the name does not exist, or the data cannot be downloaded.
    MissingExtraError
        If ir_datasets is not installed.
    """
    ir_datasets = require("ir_datasets", extra="eval", feature="fetching benchmarks by name")
    try:
        dataset = ir_datasets.load(name)
        topics = {
            query.query_id: Topic(query.query_id, query.text.strip(), language) for query in dataset.queries_iter()
        }
        qrels: Qrels = {}
        for judgement in dataset.qrels_iter():
            qrels.setdefault(judgement.query_id, {})[judgement.doc_id] = grade_of(
                judgement.relevance, f"{name}: document {judgement.doc_id!r} of query {judgement.query_id!r}"
            )
    except KeyError as error:
        raise InputError(f"ir_datasets has no {name!r}; give a folder as `data=…` instead") from error
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{name} cannot be fetched ({first_line(error)}); check the network, or give a folder as `data=…`"
        ) from error

    def read() -> Iterator[Document]:
        for found in dataset.docs_iter():
            record = {"docid": found.doc_id, "title": getattr(found, "title", None), "text": found.text}
            if (record["title"] or found.text).strip():
                yield document_from_mapping(record | ({"lang": language} if language else {}))

    note = f"{group}: fetched by ir_datasets {ir_datasets.__version__}, {name}"
    return Collection(group, language, topics, qrels, read, notes=(note,))


def find_present(candidates: Iterable[Path]) -> Path | None:
    """Return the first of these files that exists, as named or with ``.gz`` appended, or ``None``."""
    for path in candidates:
        for found in (path, path.with_name(f"{path.name}.gz")):
            if found.is_file():
                return found
    return None


def first_present(candidates: Sequence[Path], what: str) -> Path:
    """Return the first of these files that exists, either as named or with ``.gz`` appended.

    Parameters
    ----------
    candidates
        The files to look for.
    what
        What the file contains, for the error message.

    Raises
    ------
    InputError
        If none exists; the message names the first candidate.
    """
    if (found := find_present(candidates)) is None:
        raise InputError(f"{what} not found: expected {candidates[0]} (or .gz); fetch it, or check the folder `data=…`")
    return found


def _ids(documents: Iterable[Document], group: str) -> set[str]:
    ids: set[str] = set()
    for document in documents:
        if document.id in ids:
            where = f"{document.origin}: " if document.origin else f"{group}: "
            raise InputError(f"{where}the document id {document.id!r} occurs twice in the corpus; drop one of them")
        ids.add(document.id)
    return ids


def _count(things: Sequence[object] | set[str], one: str, many: str | None = None) -> str:
    return f"{len(things):,} {one if len(things) == 1 else many or one + 's'}"
