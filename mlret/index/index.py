"""The index: add texts in any language, find them from any other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlret.data.detection import detect_language
from mlret.data.documents import Document, document_from_mapping
from mlret.data.languages import normalise_language
from mlret.encoders.encoder import Encoder, load_encoder
from mlret.errors import FingerprintError, InputError, MlretError
from mlret.index.filters import Where, conditions
from mlret.index.hits import Hit, IndexInfo
from mlret.index.manifest import MANIFEST, Manifest, read_manifest
from mlret.index.store import Store
from mlret.index.vectors import search_segments

__all__ = ["Hit", "Index", "IndexInfo"]

_BUNDLED = "bundled:"
# The opening tells the language; a whole book would tell it no better.
_DETECTION_CHARACTERS = 2000


class Index:
    """Documents on disk with their vectors, in one folder. Make one with :meth:`create` or :meth:`open`.

    An open index shows what was stored when it was opened, and what it adds itself; :meth:`refresh` takes in
    what other processes have added since.
    """

    def __init__(self, store: Store, encoder: Encoder | None) -> None:
        self._open_store: Store | None = store
        self._encoder = encoder
        self.path = store.folder

    @classmethod
    def create(
        cls,
        path: str | Path,
        encoder: Encoder | str | Path | None = None,
        *,
        kind: Literal["index", "memory"] = "index",
    ) -> Index:
        """Make an empty index.

        Parameters
        ----------
        path
            The folder; it is made whole or not at all.
        encoder
            The encoder, its folder or hub id; ``None`` for the bundled one.
        kind
            Who looks after the records: an index, or a memory store on top of it.

        Raises
        ------
        InputError
            If something stands at ``path`` already, or the encoder cannot be loaded.
        FingerprintError
            If what stands there is an index of another encoder.
        """
        encoder = encoder if isinstance(encoder, Encoder) else load_encoder(encoder)
        path = Path(path)
        if (path / MANIFEST).exists():
            _check_fingerprint(path, read_manifest(path), encoder)
        Store.create(
            path,
            Manifest(kind=kind, encoder=_reference(encoder), fingerprint=encoder.fingerprint, dims=encoder.dims),
        )
        return cls.open(path, encoder, kind=kind)

    @classmethod
    def open(
        cls,
        path: str | Path,
        encoder: Encoder | str | Path | None = None,
        *,
        kind: Literal["index", "memory"] = "index",
    ) -> Index:
        """Open an index.

        Missing or torn vector files are rebuilt from the records, with a warning to the log ``mlret.index``.

        Parameters
        ----------
        path
            The folder of the index.
        encoder
            The encoder, its folder or hub id; by default the one that the manifest names, loaded when it is
            first needed.
        kind
            What the folder must be.

        Raises
        ------
        InputError
            If ``path`` is no index, or of another kind or format.
        FingerprintError
            If the index was built with another encoder.
        MlretError
            If its records are missing or damaged.
        """
        path = Path(path)
        manifest = read_manifest(path)
        if manifest.kind != kind:
            names = {"index": "an index (`mlret search`)", "memory": "a memory store (`mlret memory`)"}
            raise InputError(f"{path} is {names[manifest.kind]}, not {names[kind]}; name the other folder")
        if encoder is not None:
            encoder = encoder if isinstance(encoder, Encoder) else load_encoder(encoder)
            _check_fingerprint(path, manifest, encoder)
        return cls(Store(path), encoder)

    @property
    def encoder(self) -> Encoder:
        """The encoder of the index."""
        if self._encoder is None:
            manifest = self._store.manifest
            name = None if manifest.encoder.startswith(_BUNDLED) else manifest.encoder
            encoder = load_encoder(name)
            _check_fingerprint(self.path, manifest, encoder)
            self._encoder = encoder
        return self._encoder

    @property
    def _store(self) -> Store:
        if self._open_store is None:
            raise MlretError(f"the index {self.path} is closed; open it again")
        return self._open_store

    def add(
        self,
        documents: Iterable[str | Mapping[str, Any] | Document],
        *,
        batch_size: int = 256,
        skip_existing: bool = False,
    ) -> int:
        """Store documents; see :meth:`add_batches`. Returns how many were stored.

        Raises
        ------
        InputError
            At the first bad document, or the first whose id is stored already. The batches before it stay,
            and the message says how many documents they are.
        """
        added = 0
        try:
            for count in self.add_batches(documents, batch_size=batch_size, skip_existing=skip_existing):
                added += count
        except InputError as error:
            if not added:
                raise
            raise type(error)(f"{error} (the first {added} documents of this call are stored)") from error
        return added

    def add_batches(
        self,
        documents: Iterable[str | Mapping[str, Any] | Document],
        *,
        batch_size: int = 256,
        skip_existing: bool = False,
    ) -> Iterator[int]:
        """Store documents batch by batch, each in one transaction.

        Parameters
        ----------
        documents
            Read as they are needed. A string, or a dict without ``id``, is named ``auto-1``, ``auto-2``, ….
            Where the language is not given it is detected.
        batch_size
            Documents in one transaction.
        skip_existing
            Pass over documents whose id is stored already instead of failing: an interrupted call, repeated
            with this, goes on where it stopped.

        Yields
        ------
        int
            How many documents were stored, after each batch: from then on they survive a crash.

        Raises
        ------
        InputError
            At the first bad document, or the first whose id is stored already.
        MlretError
            If another process keeps writing, or the encoder gives a vector that is not finite.
        """
        if isinstance(documents, str | Mapping | Document):
            raise InputError(f"give a list of documents to add, not one {type(documents).__name__}")
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be at least 1")
        store = self._store
        encoder = self.encoder
        with store.writing():
            source = self._read(documents)
            while batch := list(islice(source, batch_size)):
                fresh = self._without_stored(batch, skip_existing)
                if fresh:
                    fresh = [_with_language(document) for document in fresh]
                    vectors = encoder.encode(
                        [document.text for document in fresh],
                        language=[document.language for document in fresh],
                    )
                    finite = np.isfinite(vectors).all(axis=1)
                    if not finite.all():
                        bad = fresh[int(np.argmin(finite))]
                        raise MlretError(
                            f"{encoder.name} gives document {bad.id!r} a vector that is not finite; check its weights"
                        )
                    store.append(fresh, vectors)
                yield len(fresh)

    def _read(self, documents: Iterable[str | Mapping[str, Any] | Document]) -> Iterator[Document]:
        # Rows only grow and an automatic number takes a row, so that a later call starts beyond it.
        number = self._store.last_row
        for document in documents:
            if isinstance(document, Document):
                yield document
                continue
            number += 1
            if isinstance(document, str):
                yield Document(f"auto-{number}", document)
            elif isinstance(document, Mapping):
                yield document_from_mapping(document, id=f"auto-{number}")
            else:
                raise InputError(f"a document is a string, a dict or a Document, not {type(document).__name__}")

    def _without_stored(self, batch: Sequence[Document], skip: bool) -> list[Document]:
        stored = self._store.records.existing([document.id for document in batch])
        fresh = []
        for document in batch:
            if document.id not in stored:
                stored.add(document.id)
                fresh.append(document)
            elif not skip:
                where = f"{document.origin}: " if document.origin else ""
                raise InputError(
                    f"{where}the id {document.id!r} is in the index already; give the document another id, "
                    "or skip what is stored (--skip-existing)"
                )
        return fresh

    def search(self, query: str, k: int = 10, *, language: str | None = None, where: Where | None = None) -> list[Hit]:
        """Find the documents nearest in meaning to a query; see :meth:`search_batch`."""
        return self.search_batch([query], k, language=language, where=where)[0]

    def search_batch(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        language: str | Sequence[str | None] | None = None,
        where: Where | None = None,
    ) -> list[list[Hit]]:
        """Find the documents nearest in meaning to each query.

        The search is exact: what it returns is what comparing with every document would.

        Parameters
        ----------
        queries
            Texts in any language.
        k
            How many hits to return; fewer only where fewer documents pass ``where``.
        language
            The language of all queries, or of each; detected where it is ``None`` and the encoder is
            calibrated by language.
        where
            Keep only documents that match before ranking: ``{"lang": "sw"}``, ``{"lang": ["sw", "en"]}``, or
            a metadata value by name.

        Returns
        -------
        list of list of Hit
            For each query, the best first.

        Raises
        ------
        InputError
            If a query is blank, ``k`` is below 1, or a language code is unknown.
        """
        return self.search_vectors(self.encode_queries(queries, language=language), k, where=where)

    def encode_queries(
        self, queries: Sequence[str], *, language: str | Sequence[str | None] | None = None
    ) -> NDArray[np.float32]:
        """The vectors of queries, to search with more than once.

        Parameters
        ----------
        queries
            ``n`` texts in any language.
        language
            As in :meth:`search_batch`.

        Returns
        -------
        numpy.ndarray
            ``(n, dims)`` float32, L2-normalised.

        Raises
        ------
        InputError
            If a query is blank or a language code is unknown.
        """
        if isinstance(queries, str):
            raise InputError("search_batch takes a list of queries; use search for one")
        queries = list(queries)
        for query in queries:
            if not isinstance(query, str) or not query.strip():
                raise InputError(f"the query {query!r} is empty or no string; write a few words")
        languages = [language] * len(queries) if isinstance(language, str | None) else list(language)
        if len(languages) != len(queries):
            raise InputError(f"{len(queries)} queries but {len(languages)} languages: give one language a query")
        codes = [None if code is None else normalise_language(code) for code in languages]
        if self.encoder.calibration_languages:
            codes = [
                detect_language(query) if code is None else code for query, code in zip(queries, codes, strict=True)
            ]
        return self.encoder.encode(queries, language=codes)

    def search_vectors(
        self, vectors: NDArray[np.float32], k: int = 10, *, where: Where | None = None
    ) -> list[list[Hit]]:
        """Find the documents nearest to each query vector; exact.

        Parameters
        ----------
        vectors
            ``(n, dims)`` float32, as :meth:`encode_queries` gives them.
        k, where
            As in :meth:`search_batch`.

        Raises
        ------
        InputError
            If the vectors have another length than the index's, or ``k`` is below 1.
        """
        store = self._store
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise InputError(f"k is {k!r}; it must be an integer of at least 1")
        if vectors.ndim != 2 or vectors.shape[1] != store.manifest.dims:
            raise InputError(f"query vectors of shape {vectors.shape}; the index takes (n, {store.manifest.dims})")
        wanted = conditions(where)
        if not len(vectors) or not len(store):
            return [[] for _ in vectors]
        allowed = store.records.matching(wanted, store.last_row) if wanted else None
        found = search_segments(store.all_segments, vectors, k, allowed)
        ids = store.records.ids(sorted({int(row) for _, rows in found for row in rows}))
        best = [
            sorted(((-float(score), ids[int(row)], int(row)) for score, row in zip(*pair, strict=True)))[:k]
            for pair in found
        ]
        documents = store.records.fetch(sorted({row for hits in best for _, _, row in hits}))
        return [
            [_hit(rank, -negative, documents[row]) for rank, (negative, _, row) in enumerate(hits, start=1)]
            for hits in best
        ]

    def get(self, id: str) -> Document | None:
        """The document with this id, or ``None``."""
        return self._store.records.get(id, self._store.last_row)

    def __len__(self) -> int:
        return len(self._store)

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self.get(id) is not None

    def info(self) -> IndexInfo:
        """What the index holds, and with which encoder it was built."""
        store, manifest = self._store, self._store.manifest
        return IndexInfo(
            path=str(self.path),
            documents=len(store),
            languages=store.records.count_by_language(store.last_row),
            encoder=manifest.encoder,
            fingerprint=manifest.fingerprint,
            dims=manifest.dims,
            similarity=manifest.similarity,
            segments=len(store.segments),
            unsealed=len(store.tail),
            bytes=sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file()),
        )

    def refresh(self) -> None:
        """Take in what other processes have added since the index was opened."""
        self._store.refresh()

    def seal(self) -> None:
        """Write the vectors that are in the database alone to a segment file: the index then opens faster."""
        with self._store.writing():
            self._store.seal()

    def close(self) -> None:
        """Close the index; nothing is lost without it. Closing twice is allowed."""
        if self._open_store is not None:
            self._open_store.close()
            self._open_store = None

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _reference(encoder: Encoder) -> str:
    """What the manifest calls an encoder: a folder by its full path, so that it is found from anywhere."""
    return str(Path(encoder.name).resolve()) if Path(encoder.name).is_dir() else encoder.name


def _check_fingerprint(path: Path, manifest: Manifest, encoder: Encoder) -> None:
    if encoder.fingerprint != manifest.fingerprint:
        raise FingerprintError(
            f"{path} was built with the encoder {manifest.encoder} (fingerprint {manifest.fingerprint}), "
            f"not with {encoder.name} (fingerprint {encoder.fingerprint}); use the former, "
            f"or encode the documents anew: mlret index build NEW FILES --model {encoder.name}"
        )


def _with_language(document: Document) -> Document:
    if document.language is not None:
        return document
    return replace(document, language=detect_language(document.text[:_DETECTION_CHARACTERS]))


def _hit(rank: int, score: float, document: Document) -> Hit:
    return Hit(rank, document.id, score, document.text, document.language, document.metadata)
