"""The index: add texts in any language, find them from any other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlret.data.detection import detect_language
from mlret.data.documents import Document
from mlret.data.unicode_text import is_unicode
from mlret.encoders.encoder import INT8, Encoder, Precision
from mlret.encoders.external import EXTERNAL, ExternalEncoder
from mlret.encoders.multi_vector import AnyEncoder, TokenEncoder, load_any_encoder
from mlret.errors import FingerprintError, InputError, MlretError
from mlret.index import compaction
from mlret.index.asked import check_ids, check_k, check_queries
from mlret.index.exact import Device
from mlret.index.filters import Condition, Where, read_filter
from mlret.index.hits import Hit, IndexInfo, Updated
from mlret.index.intake import Existing, Incoming, Intake
from mlret.index.kinds import Choice, IndexSettings, check_settings
from mlret.index.manifest import Manifest, has_manifest, read_manifest
from mlret.index.retrieval import Mode, Query, check_mode, retrieve
from mlret.index.space import Vectors
from mlret.index.store import Store
from mlret.index.tokens.ragged import Ragged
from mlret.index.unmatched import Unmatched

__all__ = ["Hit", "Index", "IndexInfo", "Updated"]


class Index:
    """Documents on disk with their vectors, in one folder. Make one with :meth:`create` or :meth:`open`.

    An open index shows what was stored when it was opened, and what it changes itself; :meth:`refresh` takes in
    what other processes have changed since. It may be searched from several threads.
    """

    def __init__(self, store: Store, encoder: AnyEncoder | None) -> None:
        self._open_store: Store | None = store
        self._encoder = encoder
        self._unmatched = Unmatched("document")
        self.path = store.folder

    @classmethod
    def create(
        cls,
        path: str | Path,
        encoder: AnyEncoder | str | Path | None = None,
        *,
        kind: Literal["index", "memory"] = "index",
        settings: IndexSettings | None = None,
        schema: str = "",
    ) -> Index:
        """Make an empty index.

        Parameters
        ----------
        path
            The folder; it is made whole or not at all.
        encoder
            The encoder, its folder or hub id; ``None`` for the bundled one. One that gives a vector for each token
            makes a multi-vector index, compared by MaxSim.
        kind
            Who looks after the records: an index, or a memory store on top of it.
        settings
            Which FAISS index large segments get, how many dimensions are kept, and so on; by default chosen from the
            number of documents.
        schema
            SQL that makes the tables of what is built on top, in the database of the records.

        Raises
        ------
        InputError
            If something stands at ``path`` already, the encoder cannot be loaded, or gives fewer dimensions than the
            settings ask for.
        FingerprintError
            If what stands there is an index of another encoder.
        """
        encoder = encoder if isinstance(encoder, Encoder | TokenEncoder) else load_any_encoder(encoder)
        settings = settings or IndexSettings()
        check_settings(settings, encoder.similarity)
        path = Path(path)
        if has_manifest(path):
            _check_fingerprint(path, read_manifest(path), encoder)
        if settings.dims is not None and settings.dims > encoder.dims:
            raise InputError(f"the settings keep {settings.dims} dimensions, but {encoder.name} gives {encoder.dims}")
        manifest = Manifest(
            kind=kind,
            encoder=_reference(encoder),
            fingerprint=encoder.fingerprint,
            dims=settings.dims or encoder.dims,
            similarity=encoder.similarity,
            settings=settings,
        )
        Store.create(path, manifest, schema)
        return cls.open(path, encoder, kind=kind)

    @classmethod
    def open(
        cls,
        path: str | Path,
        encoder: AnyEncoder | str | Path | None = None,
        *,
        kind: Literal["index", "memory"] = "index",
        device: Device = "auto",
    ) -> Index:
        """Open an index.

        Missing or torn vector files are made again from the records, with a warning to the log ``mlret.index``.

        Parameters
        ----------
        path
            The folder of the index.
        encoder
            The encoder, its folder or hub id; by default the one that the manifest names, loaded when it is
            first needed.
        kind
            What the folder must be.
        device
            Where large segments are searched exactly: ``"cpu"``; ``"cuda"`` (copied there in half precision, by FAISS
            or by torch; tokens as they are coded); ``"auto"``, a GPU where there is one. The hits are the same.
            Accelerators of large segments run on the CPU; where a GPU is used, they are passed over.

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
            encoder = encoder if isinstance(encoder, Encoder | TokenEncoder) else load_any_encoder(encoder)
            _check_fingerprint(path, manifest, encoder)
        return cls(Store(path, device=device), encoder)

    @property
    def encoder(self) -> AnyEncoder:
        """The encoder of the index."""
        if self._encoder is None:
            self._encoder = encoder_of(self.path, self.store.manifest)
        return self._encoder

    @property
    def store(self) -> Store:
        """The folder behind the index, for what is built on top of it."""
        if self._open_store is None:
            raise MlretError(f"the index {self.path} is closed; open it again")
        return self._open_store

    def add(
        self,
        documents: Iterable[Incoming],
        *,
        vectors: Vectors | None = None,
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
        existing: Existing = "skip" if skip_existing else "error"
        return self._store_all(documents, vectors, batch_size, existing).added

    def update(
        self,
        documents: Iterable[Incoming],
        *,
        vectors: Vectors | None = None,
        batch_size: int = 256,
    ) -> Updated:
        """Store documents, each in place of the one that has its id, if there is one; as :meth:`add` otherwise.

        Where neither text nor language changed, the vector is kept and nothing is encoded.
        """
        return self._store_all(documents, vectors, batch_size, "replace")

    def _store_all(
        self, documents: Iterable[Incoming], vectors: Vectors | None, batch_size: int, existing: Existing
    ) -> Updated:
        total = Updated()
        try:
            for done in self.add_batches(documents, vectors=vectors, batch_size=batch_size, existing=existing):
                total += done
        except InputError as error:
            stored = total.added + total.replaced
            if not stored:
                raise
            raise type(error)(f"{error} (the first {stored} documents of this call are stored)") from error
        return total

    def add_batches(
        self,
        documents: Iterable[Incoming],
        *,
        vectors: Vectors | None = None,
        batch_size: int = 256,
        existing: Existing = "error",
    ) -> Iterator[Updated]:
        """Store documents batch by batch, each in one transaction.

        Parameters
        ----------
        documents
            Read as they are needed. A string, or a dict without ``id``, is named ``auto-1``, ``auto-2``, ….
            Where the language is not given it is detected.
        vectors
            ``(n, dims)`` floats, one for each document in the same order, made by the encoder of the index; in a
            multi-vector index a list of ``(t, dims)`` arrays or tensors, as ``MultiVectorEncoder.encode_document``
            gives it, or a :class:`mlret.index.tokens.ragged.Ragged`. Memory maps are fine. By default the texts are
            encoded.

            Single vectors are stored at unit length, a zero vector as it is (its cosine with everything is 0); tokens
            keep their lengths. Documents and vectors are counted before anything is stored: a stream of documents is
            read to its end first, into a temporary file in the index's folder. Longer vectors than the index's are
            refused, except in an index that was made to keep fewer dimensions than its encoder gives
            (``IndexSettings(dims=…)``): there the first of them are kept.
        batch_size
            Documents in one transaction.
        existing
            What to do with a document whose id is stored already: fail, pass over it (an interrupted call, repeated
            with this, goes on where it stopped), or replace what is stored.

        Yields
        ------
        Updated
            What was done, after each batch: from then on it survives a crash.

        Raises
        ------
        InputError
            At the first bad document or vector, or the first document whose id is stored already; before anything is
            stored, if there are more or fewer vectors than documents.
        MlretError
            If another process keeps writing, or the encoder gives a vector that is not finite.
        """
        if isinstance(documents, str | Mapping | Document):
            raise InputError(f"give a list of documents to add, not one {type(documents).__name__}")
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be at least 1")
        if vectors is not None:
            vectors = self._checked(vectors)
        store = self.store
        with store.writing():
            for done in Intake(store, self.encoder, existing).batches(documents, batch_size, vectors):
                compaction.maintain(store, more=True)
                yield done
            compaction.maintain(store)

    def _checked(self, vectors: Any) -> Vectors:
        """Vectors of documents of the shape that the index takes."""
        found = self.store.space.check_vectors(vectors)
        dims = (found.values if isinstance(found, Ragged) else np.asarray(found)).shape[1]
        # Of an encoder that mlret does not run, only the dimensions that are kept are known once it is reopened.
        if dims == self.store.manifest.dims or isinstance(self.encoder, ExternalEncoder) or dims == self.encoder.dims:
            return found
        raise InputError(
            f"the vectors have {dims} dimensions; {self.encoder.name} gives {self.encoder.dims}, of which the index "
            f"keeps the first {self.store.manifest.dims}"
        )

    def delete(self, ids: Iterable[str] = (), *, where: Where | None = None, ignore_missing: bool = False) -> int:
        """Drop documents; on return they are found no more, and survive no crash either.

        Parameters
        ----------
        ids
            Which.
        where
            Instead of ``ids``, all that match; see :meth:`search_batch`.
        ignore_missing
            Pass over ids that are not stored, instead of failing before anything is deleted.

        Returns
        -------
        int
            How many were deleted.

        Raises
        ------
        InputError
            If an id is not stored, or both or neither of ``ids`` and ``where`` are given.
        """
        if isinstance(ids, str):
            raise InputError("delete takes a list of ids; write [id] for one")
        ids = check_ids(ids)
        condition = read_filter(where)
        if bool(ids) == (condition is not None):
            raise InputError("say what to delete: ids, or a filter, one of the two")
        store = self.store
        with store.writing():
            if condition is not None:
                rows = self._matching(condition).tolist()
            else:
                stored = store.records.rows_of(ids)
                if not ignore_missing and (missing := [id for id in ids if id not in stored]):
                    raise InputError(
                        f"{len(missing)} ids are not in {self.path}, the first is {missing[0]!r}; nothing was deleted "
                        "(--ignore-missing passes over them)"
                    )
                rows = sorted(stored.values())
            if rows:
                store.remove(rows)
                compaction.maintain(store)
        return len(rows)

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        language: str | None = None,
        where: Where | None = None,
        ids: Iterable[str] | None = None,
        mode: Mode | None = None,
        exact: bool = False,
    ) -> list[Hit]:
        """Find the documents nearest in meaning to a query; see :meth:`search_batch`."""
        return self.search_batch([query], k, language=language, where=where, ids=ids, mode=mode, exact=exact)[0]

    def search_batch(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        language: str | Sequence[str | None] | None = None,
        where: Where | None = None,
        ids: Iterable[str] | None = None,
        mode: Mode | None = None,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """Find the documents nearest in meaning to each query.

        In a small index, or with ``exact``, what it returns is what comparing with every document would. In a large one
        (:meth:`info` names the kinds of its segments) some of the best may be missing; the scores are exact all the
        same, and never fewer hits come back than there are documents to find.

        Parameters
        ----------
        queries
            Texts in any language.
        k
            How many hits to return; fewer only where fewer documents pass the filters.
        language
            The language of all queries, or of each; detected where it is ``None`` and the encoder is
            calibrated by language.
        where
            Keep only documents that match before ranking: ``{"lang": "sw"}``, ``{"lang": ["sw", "en"]}``,
            ``{"year": {"$gte": 2020}}``, ``{"$or": [...]}``; see :func:`mlret.index.filters.read_filter`.
        ids
            Keep only these documents before ranking; ids that are not stored are passed over.
        mode
            ``"dense"``: by meaning, the scores are cosines. ``"lexical"``: by the characters that query and document
            share (BM25 over character n-grams). ``"hybrid"``: both, ranked by the mean of the standard scores over
            the channels that apply, brought between 0 and 1, so that a document in another language or script loses
            nothing by sharing no word. By default hybrid where the index has a lexical channel, else dense.
        exact
            Compare with every document.

        Returns
        -------
        list of list of Hit
            For each query, the best first.

        Raises
        ------
        InputError
            If a query is blank, ``k`` is below 1, or a language code or a filter cannot be used.
        """
        mode = check_mode(mode) or ("hybrid" if self.store.manifest.settings.lexical else "dense")
        check_k(k)
        texts, languages = check_queries(queries, language)
        if mode != "dense" or self.encoder.calibration_languages:
            languages = [c or detect_language(text) for text, c in zip(texts, languages, strict=True)]
        if not texts:
            return []
        found = [Query(*one) for one in zip(self._encoded(texts, languages), texts, languages, strict=True)]
        return retrieve(self.store, found, k, allowed=self._allowed(where, ids), mode=mode, exact=exact)

    def encode_queries(self, queries: Sequence[str], *, language: str | Sequence[str | None] | None = None) -> Vectors:
        """The vectors of queries, to search with more than once.

        Parameters
        ----------
        queries
            ``n`` texts in any language.
        language
            As in :meth:`search_batch`.

        Returns
        -------
        numpy.ndarray or list of numpy.ndarray
            ``(n, dims)`` float32, L2-normalised; in a multi-vector index ``n`` times ``(t, dims)``.

        Raises
        ------
        InputError
            If a query is blank or a language code is unknown.
        """
        texts, languages = check_queries(queries, language)
        if self.encoder.calibration_languages:
            languages = [code or detect_language(text) for text, code in zip(texts, languages, strict=True)]
        return self._encoded(texts, languages)

    def _encoded(self, texts: list[str], languages: list[str | None]) -> Vectors:
        return self.store.space.queries(self.encoder.encode_query(texts, language=languages))

    def search_vectors(
        self,
        vectors: Vectors,
        k: int = 10,
        *,
        where: Where | None = None,
        ids: Iterable[str] | None = None,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """Find the documents nearest to each query vector.

        Parameters
        ----------
        vectors
            As :meth:`encode_queries` gives them. Where one vector stands for a text, only its direction counts: it is
            brought to unit length, so that the scores are cosines.
        k, where, ids, exact
            As in :meth:`search_batch`.

        Raises
        ------
        InputError
            If the vectors have other dimensions than the index's or are not finite, or ``k`` is below 1.
        """
        store = self.store
        check_k(k)
        vectors = store.space.check_queries(vectors)
        if not len(vectors):
            return []
        return retrieve(store, [Query(vector) for vector in vectors], k, allowed=self._allowed(where, ids), exact=exact)

    def _allowed(self, where: Where | None, ids: Iterable[str] | None) -> NDArray[np.int64] | None:
        """The rows that pass the filters, rising; ``None`` for all."""
        if isinstance(ids, str):
            raise InputError("ids takes a list; write [id] for one")
        condition = read_filter(where)
        allowed = None if condition is None else self._matching(condition)
        if ids is None:
            return allowed
        rows = np.array(sorted(self.store.records.rows_of(check_ids(ids)).values()), dtype=np.int64)
        return rows if allowed is None else np.intersect1d(rows, allowed, assume_unique=True)

    def _matching(self, condition: Condition) -> NDArray[np.int64]:
        """The rows that meet a condition; a warning where a part of it cannot match."""
        rows = self.store.matching(condition)
        self._unmatched.check(self.store.records, condition, rows)
        return rows

    def get(self, id: str) -> Document | None:
        """The document with this id, or ``None``.

        Raises
        ------
        InputError
            If the id is no string of valid Unicode, which no document's is.
        """
        [id] = check_ids([id])
        return self.store.records.get(id)

    def documents(self) -> Iterator[Document]:
        """All documents, in the order in which they were stored; as of the last refresh or change."""
        for batch in self.store.records.stream():
            yield from (document for _, document in batch)

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """The vectors of documents, ``(n, dims)`` float32; in a multi-vector index a
        :class:`mlret.index.tokens.ragged.Ragged`, as far as the codes keep them.

        Raises
        ------
        InputError
            If an id is not stored.
        """
        if isinstance(ids, str):
            raise InputError("vectors takes a list of ids; write [id] for one")
        ids = list(ids)
        rows = self.store.records.rows_of(check_ids(ids))
        if missing := [id for id in ids if id not in rows]:
            raise InputError(f"{self.path} has no document {missing[0]!r}")
        found = self.store.vectors_of(list(rows.values()))
        joined: Vectors = self.store.space.joined([found[rows[id]] for id in ids])
        return joined

    def __len__(self) -> int:
        return len(self.store)

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and is_unicode(id) and bool(self.store.records.rows_of([id]))

    def info(self) -> IndexInfo:
        """What the index holds, and with which encoder it was built."""
        store, manifest = self.store, self.store.manifest
        kinds: dict[str, int] = {}
        for segment in store.segments:
            kinds[segment.kind] = kinds.get(segment.kind, 0) + len(segment) - store.dead_in(segment)
        unsealed = store.records.count(manifest.last_sealed_row + 1, store.last_row)
        return IndexInfo(
            path=str(self.path),
            documents=len(store),
            languages=store.records.count_by_language(),
            encoder=manifest.encoder,
            fingerprint=manifest.fingerprint,
            dims=manifest.dims,
            similarity=manifest.similarity,
            lexical=manifest.settings.lexical,
            kind=manifest.settings.kind,
            kinds=kinds,
            why=list(dict.fromkeys(info.why for info in manifest.segments if info.why)),
            probing=manifest.probing.why if manifest.probing else "",
            segments=len(store.segments),
            unsealed=unsealed,
            deleted=sum(map(store.dead_in, store.segments)),
            bytes=sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file()),
        )

    def refresh(self) -> None:
        """Take in what other processes have changed since the index was opened."""
        self.store.refresh()

    def seal(self) -> None:
        """Write the vectors that are in the database alone to a segment file: the index then opens faster."""
        with self.store.writing():
            compaction.seal(self.store)

    def compact(self, progress: Callable[[str, int, int], None] | None = None) -> list[Choice]:
        """Merge the segments, drop what was deleted from disk, and build the FAISS index that suits what is left.

        Parameters
        ----------
        progress
            Called with what is being done, how many vectors of it are done, and of how many.

        Returns
        -------
        list of Choice
            The kind of each segment now, and why.

        Raises
        ------
        MlretError
            If another process keeps writing.
        """
        with self.store.writing():
            return compaction.compact(self.store, progress)

    def tune(
        self,
        queries: Sequence[str] = (),
        *,
        vectors: Vectors | None = None,
        recall: float | None = None,
    ) -> str:
        """Choose how hard a multi-vector index is searched, by a trial run.

        Parameters
        ----------
        queries
            Some as they will be asked; a few dozen do. Made from the index's own tokens by default.
        vectors
            Instead of ``queries``, their vectors, as :meth:`encode_queries` gives them.
        recall
            Of the ten documents that comparing all gives, the share to be found; by default that of the settings.

        Returns
        -------
        str
            What was chosen, the recall it had, and the milliseconds of a query.

        Raises
        ------
        InputError
            If the index has no lists to probe, or the recall is not in 0 … 1.
        """
        if recall is not None and not 0 < recall <= 1:
            raise InputError(f"a recall of {recall} cannot be had; give one above 0 and up to 1")
        store = self.store
        if vectors is None and queries:
            vectors = self.encode_queries(queries)
        asked = [] if vectors is None else list(store.space.check_queries(vectors))
        with store.writing():
            store.switch(store.manifest.segments, store.space.tuned(store.segments, asked, recall))
            assert store.manifest.probing is not None
            return store.manifest.probing.why

    def compact_if_due(self, progress: Callable[[str, int, int], None] | None = None) -> list[Choice]:
        """:meth:`compact`, if much was added since the last one; nothing otherwise."""
        with self.store.writing():
            return compaction.compact(self.store, progress) if compaction.is_due(self.store) else []

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


def encoder_of(path: Path, manifest: Manifest) -> AnyEncoder:
    """The encoder that a manifest names.

    Raises
    ------
    InputError
        If it cannot be loaded.
    FingerprintError
        If it is another now.
    """
    if manifest.encoder.startswith(EXTERNAL):
        dims = manifest.settings.dims or manifest.dims
        encoder: AnyEncoder = ExternalEncoder(manifest.encoder, dims, manifest.similarity)
    else:
        precision: Precision = "int8" if manifest.fingerprint.endswith(INT8) else "float32"
        encoder = load_any_encoder(manifest.encoder, precision=precision, emulate=True)
    _check_fingerprint(path, manifest, encoder)
    return encoder


def _reference(encoder: AnyEncoder) -> str:
    """What the manifest calls an encoder: a folder by its full path, so that it is found from anywhere."""
    return str(Path(encoder.name).resolve()) if Path(encoder.name).is_dir() else encoder.name


def _check_fingerprint(path: Path, manifest: Manifest, encoder: AnyEncoder) -> None:
    if encoder.fingerprint != manifest.fingerprint:
        raise FingerprintError(
            f"{path} was built with the encoder {manifest.encoder} (fingerprint {manifest.fingerprint}), "
            f"not with {encoder.name} (fingerprint {encoder.fingerprint}); use the former, "
            f"or encode the documents anew: mlret index build NEW FILES --model {encoder.name}"
        )
