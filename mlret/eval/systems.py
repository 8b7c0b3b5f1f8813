"""Systems that rank a collection's documents: encoders searched through mlret's index, baselines, and saved runs."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np

from mlret.data.documents import Document
from mlret.data.retrieval import Topic, read_run
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import InputError
from mlret.eval.bm25 import DESCRIPTION, NAME, Bm25
from mlret.eval.collection import Collection
from mlret.index.index import Hit, Index
from mlret.index.settings import IndexRecipe
from mlret.index.vectors.space import Vectors
from mlret.wording import counted

Run = dict[str, dict[str, float]]
_QUERIES_AT_ONCE = 256
# Queries of each group that are searched one at a time, to measure the time of a single search.
_TIMED = 50


class RetrievalSystem(Protocol):
    """Interface of a system that a retrieval evaluation can score.

    Attributes
    ----------
    name
        The system's name in tables.
    """

    name: str

    def retrieve(self, collection: Collection, k: int) -> Run:
        """Rank the documents of a collection for each judged query.

        Parameters
        ----------
        collection
            The documents and queries.
        k
            Number of documents to return for each query.

        Returns
        -------
        dict
            Query id -> document id -> score.
        """

    def facts(self) -> dict[str, Any]:
        """Return further facts about the system, for JSON."""


class IndexSystem:
    """An encoder of either kind, searched through :class:`mlret.Index`.

    Parameters
    ----------
    encoder
        The encoder.
    folder
        Where to keep the indexes, one for each group. An existing index is reused, and an incomplete one is completed.
        By default the indexes are built in a temporary folder and deleted afterwards.
    recipe
        How to build the index, which is then searched with its usual settings. By default every document is compared.
    show_progress
        Show progress bars.
    """

    def __init__(
        self,
        encoder: AnyEncoder,
        folder: Path | None = None,
        recipe: IndexRecipe | None = None,
        *,
        show_progress: bool = False,
    ) -> None:
        self.name = encoder.name if recipe is None else f"{encoder.name}, {recipe.name}"
        self._encoder = encoder
        self._folder = folder
        self._recipe = recipe
        self._show_progress = show_progress
        self._milliseconds: list[float] = []
        self._bytes: list[float] = []

    def facts(self) -> dict[str, Any]:
        """Return fingerprint, dimensions and similarity, and after a search the median milliseconds and the bytes.

        Milliseconds are those of one search; bytes are those of the index per document, including its text.
        """
        encoder = self._encoder
        facts = {"fingerprint": encoder.fingerprint, "dims": encoder.dims, "similarity": encoder.similarity}
        if not self._milliseconds:
            return facts
        return {**facts, "milliseconds": median(self._milliseconds), "bytes": sum(self._bytes) / len(self._bytes)}

    def retrieve(self, collection: Collection, k: int) -> Run:
        """Return the ``k`` best documents for each judged query; see :class:`RetrievalSystem`."""
        from tqdm import tqdm

        queries = collection.queries
        run: Run = {}
        with ExitStack() as stack:
            index = stack.enter_context(self._index(collection, stack))
            self._bytes.append(index.info().bytes / len(index))
            bar = stack.enter_context(
                tqdm(total=len(queries), desc=f"{collection.group}: searching", disable=not self._show_progress)
            )
            for some in batches(queries):
                vectors = index.encode_queries(
                    [topic.text for topic in some], language=[topic.language for topic in some]
                )
                # The first queries are searched one at a time to be timed, the rest in batches, which is faster.
                first = _TIMED if len(run) < _TIMED else 0
                found = [hits for row in range(min(first, len(some))) for hits in self._timed(index, vectors, row, k)]
                if first < len(some):
                    found += index.search_vectors(_part(vectors, first, len(some)), k + 1, exact=self._recipe is None)
                for topic, hits in zip(some, found, strict=True):
                    run[topic.id] = cut({hit.id: hit.score for hit in hits}, topic.id, k, collection)
                bar.update(len(some))
        return run

    def _timed(self, index: Index, vectors: Vectors, row: int, k: int) -> Sequence[Sequence[Hit]]:
        start = time.perf_counter()
        found = index.search_vectors(_part(vectors, row, row + 1), k + 1, exact=self._recipe is None)
        self._milliseconds.append(1000 * (time.perf_counter() - start))
        return found

    def _index(self, collection: Collection, stack: ExitStack) -> Index:
        if collection.documents is None:
            raise InputError(f"{collection.group}: there is no corpus to search; give its folder, or only saved runs")
        if self._folder is None:
            temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="mlret-eval-"))
            path = Path(temporary) / "index"
        else:
            self._folder.mkdir(parents=True, exist_ok=True)
            kind = "" if self._recipe is None else f"-{self._recipe.name}"
            path = self._folder / f"{collection.group}-{self._encoder.fingerprint}{kind}"
        settings = None if self._recipe is None else self._recipe.settings
        index = (
            Index.open(path, self._encoder) if path.exists() else Index.create(path, self._encoder, settings=settings)
        )
        try:
            self._fill(index, collection, path)
        except BaseException:
            index.close()
            raise
        return index

    def _fill(self, index: Index, collection: Collection, path: Path) -> None:
        from tqdm import tqdm

        assert collection.documents is not None
        read = 0
        with tqdm(desc=f"{collection.group}: encoding", unit=" documents", disable=not self._show_progress) as bar:
            for done in index.add_batches(collection.documents(), existing="skip"):
                read += done.added + done.skipped
                bar.update(done.added + done.skipped)
        if read != len(index):
            raise InputError(
                f"{path}: holds {counted(len(index), 'document')}, the corpus has {read}: it is the index of another "
                "corpus; "
                "remove it, or name another folder"
            )
        if self._recipe is not None:
            index.compact()


class Bm25System:
    """BM25 with the analyzers of :mod:`mlret.eval.bm25`. It keeps the whole collection in memory."""

    name = NAME

    def facts(self) -> dict[str, Any]:
        """Return a description of BM25's settings."""
        return {"description": DESCRIPTION}

    def retrieve(self, collection: Collection, k: int) -> Run:
        """Return the ``k`` best documents for each judged query; see :class:`RetrievalSystem`."""
        documents = list(_documents(collection))
        bm25 = Bm25([document.text for document in documents], [document.language for document in documents])
        names = np.array([document.id for document in documents], dtype=object)
        run: Run = {}
        for some in batches(collection.queries):
            scores = bm25.scores([topic.text for topic in some], [topic.language for topic in some])
            for row, topic in enumerate(some):
                part = slice(scores.indptr[row], scores.indptr[row + 1])
                run[topic.id] = _best(names[scores.indices[part]], scores.data[part], k, topic.id, collection)
        return run


class RandomSystem:
    """A baseline that ranks documents in a reproducible random order.

    Parameters
    ----------
    seed
        Seed of the order.
    """

    name = "random"

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def facts(self) -> dict[str, Any]:
        """Return the seed."""
        return {"seed": self._seed}

    def retrieve(self, collection: Collection, k: int) -> Run:
        """Return ``k`` random documents for each judged query; see :class:`RetrievalSystem`."""
        names = sorted(document.id for document in _documents(collection))
        run: Run = {}
        for topic in collection.queries:
            digest = hashlib.blake2b(topic.id.encode(), digest_size=8, salt=self._seed.to_bytes(8, "big")).digest()
            chosen = np.random.default_rng(int.from_bytes(digest, "big")).choice(
                len(names), size=min(k, len(names)), replace=False
            )
            run[topic.id] = {names[place]: float(len(chosen) - rank) for rank, place in enumerate(chosen)}
        return run


class SavedRuns:
    """Saved runs in TREC format, from any system.

    Parameters
    ----------
    path
        A file with the queries of all groups, or a folder with a file for each group, such as ``sw.trec``,
        ``sw.trec.gz``, ``sw.txt`` or ``sw.run``.

    Raises
    ------
    InputError
        If the path does not exist.
    """

    _SUFFIXES = (".trec.gz", ".trec", ".txt", ".txt.gz", ".run", ".run.gz")

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise InputError(f"{path}: no such run; give a TREC file, or a folder with one for each language")
        self.name = path.name.split(".")[0]
        self._path = path
        self._run = read_run(path) if path.is_file() else None

    def facts(self) -> dict[str, Any]:
        """Return the name of the run's file or folder."""
        return {"run": self._path.name}

    def retrieve(self, collection: Collection, k: int) -> Run:
        """Return the saved ranking of each judged query; ``k`` is ignored, because the metrics apply their own cutoffs.

        If the collection has ``drop_identical`` set, the document with the query's id is removed, as in any other
        ranking.

        Raises
        ------
        InputError
            If the run has none of the collection's queries, or there is no run for its group.
        """
        run = self._run if self._run is not None else read_run(self._file(collection.group))
        found = {
            topic.id: cut(run[topic.id], topic.id, len(run[topic.id]), collection)
            for topic in collection.queries
            if topic.id in run
        }
        if not found:
            raise InputError(
                f"{self._path}: has none of the {len(collection.queries)} queries of {collection.group}, e.g. "
                f"{collection.queries[0].id!r}; give the run of these topics"
            )
        return found

    def _file(self, group: str) -> Path:
        for suffix in self._SUFFIXES:
            if (path := self._path / f"{group}{suffix}").is_file():
                return path
        raise InputError(f"{self._path}: has no run for {group}; expected {group}.trec or {group}.trec.gz")


def cut(scores: dict[str, float], query: str, k: int, collection: Collection) -> dict[str, float]:
    """Return the ``k`` best documents of a query.

    Parameters
    ----------
    scores
        Document id -> score, in descending order; ``k + 1`` documents if that many exist.
    query
        The query's id.
    k
        Number of documents to return.
    collection
        If its ``drop_identical`` is set, the document with the query's id is removed.
    """
    kept = ((name, score) for name, score in scores.items() if not (collection.drop_identical and name == query))
    return dict(islice(kept, k))


def batches(queries: Sequence[Topic]) -> Iterator[Sequence[Topic]]:
    """Yield the queries in batches of at most 256."""
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        yield queries[start : start + _QUERIES_AT_ONCE]


def _part(vectors: Vectors, start: int, stop: int) -> Vectors:
    return vectors[start:stop] if isinstance(vectors, np.ndarray) else [vectors[row] for row in range(start, stop)]


def _best(names: Any, scores: Any, k: int, query: str, collection: Collection) -> dict[str, float]:
    order = sorted(zip((-scores).tolist(), names, strict=True))[: k + 1]
    return cut({name: -score for score, name in order}, query, k, collection)


def _documents(collection: Collection) -> Iterable[Document]:
    if collection.documents is None:
        raise InputError(f"{collection.group}: there is no corpus to search; give its folder, or omit the baselines")
    return collection.documents()
