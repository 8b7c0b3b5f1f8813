"""A searchable index of documents: add texts in any language and find them with queries in any other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from mlret.data.columns import Columns, checked_columns
from mlret.data.documents import Document
from mlret.data.given import Given
from mlret.data.unicode_text import is_unicode
from mlret.encoders.encoder import Encoder
from mlret.encoders.multi_vector import AnyEncoder, load_any_encoder
from mlret.encoders.token_encoder import TokenEncoder
from mlret.errors import InputError, MlretError
from mlret.index.filtering.filters import Where, read_filter
from mlret.index.hits import Hit, Hits, IndexInfo, Passage, Updated
from mlret.index.ingest import Adding, Existing
from mlret.index.queries import check_filters, check_ids, check_k, check_queries, encoded, encoded_if_possible
from mlret.index.reranking import CANDIDATES, Reranker, as_reranker, reranked
from mlret.index.search import Mode, Query, check_lexical, check_mode, retrieve
from mlret.index.settings import Choice, IndexSettings, check_settings
from mlret.index.sharding.creating import create_shards
from mlret.index.sharding.gathering import Shards
from mlret.index.sharding.local_shards import LocalShards
from mlret.index.sharding.one_shard import OneShard
from mlret.index.sharding.shard import Restriction
from mlret.index.sharding.shards_manifest import check_shards, has_shards, manifest_of
from mlret.index.storage.manifest import Manifest, has_manifest
from mlret.index.store.new_folder import check_vacant, create_folder
from mlret.index.store.store import Store
from mlret.index.store.stored_encoder import check_fingerprint, reference_of
from mlret.index.vectors.exact import Device
from mlret.index.vectors.faiss_index import check_faiss
from mlret.index.vectors.space import Vectors
from mlret.reporting.notebook import as_html
from mlret.wording import counted

if TYPE_CHECKING:
    from mlret.index.reranking import Reranking

__all__ = ["Hit", "Hits", "Index", "IndexInfo", "Passage", "Updated"]


class Index:
    """A folder on disk that holds documents and their vectors. Make one with :meth:`create` or :meth:`open`.

    An open index shows the documents that were stored when it was opened, and its own changes since. Call
    :meth:`refresh` to see what other processes have changed. Several threads may search one index at the same time.

    A pickled index, or a copy (``copy.deepcopy``), is another handle of the same folder, which is opened when it is
    first used; its encoder is loaded by name. An index cannot be used in a process that was forked while it was open,
    which raises an error there; start processes by ``spawn`` or ``forkserver``.

    Parameters
    ----------
    shards
        The shards of an open folder; one for an index that is not divided.
    encoder
        The encoder of the index; ``None`` to load it when it is first needed.

    Examples
    --------
    The examples of the methods use this index.

    >>> from mlret import Index
    >>> index = Index.create("news.index")
    >>> index.add(
    ...     [
    ...         {"id": "train", "text": "Der Zug nach Berlin hat eine Stunde Verspätung.", "lang": "de", "year": 2024},
    ...         {"id": "maize", "text": "Bei ya mahindi imepanda sokoni.", "lang": "sw", "year": 2025},
    ...         {"id": "library", "text": "駅前に新しい図書館が開館した。", "lang": "ja", "year": 2025},
    ...     ]
    ... )
    3
    >>> [hit.id for hit in index.search("the train is late", k=1)]
    ['train']
    """

    # Those of an index that was unpickled and not used yet.
    _kind: Literal["index", "memory"]
    _device: Device

    def __init__(self, shards: Shards, encoder: AnyEncoder | None = None) -> None:
        self._open_shards: Shards | None = shards
        self._encoder = encoder
        self._last_reranker: tuple[Reranking, Reranker] | None = None
        self.path = shards.folder

    @classmethod
    def create(
        cls,
        path: str | Path,
        encoder: AnyEncoder | str | Path | None = None,
        *,
        kind: Literal["index", "memory"] = "index",
        settings: IndexSettings | None = None,
        schema: str = "",
        shards: int | None = None,
    ) -> Index:
        """Create an empty index and open it.

        Parameters
        ----------
        path
            The folder to create. It is created completely or not at all.
        encoder
            The encoder, its folder or its hub id; ``None`` for the bundled one. An encoder that gives a vector for each
            token makes a multi-vector index, whose documents are compared by MaxSim.
        kind
            What manages the records: ``"index"`` for this class, ``"memory"`` for a memory store that uses the index.
        settings
            The FAISS index for large segments, the number of dimensions to keep, and so on. By default these are chosen
            from the number of documents.
        schema
            SQL that creates further tables in the database of the records, for the memory store that uses the index.
        shards
            Divide the documents by their ids among this many shards, which are ordinary indexes in folders of their
            own; ``None`` for an index that is not divided. The hits are the same.

        Returns
        -------
        Index
            The open index.

        Raises
        ------
        InputError
            If something exists at ``path`` already, the encoder cannot be loaded, or it gives fewer dimensions than the
            settings ask for.
        FingerprintError
            If the folder holds an index of another encoder.

        Examples
        --------
        >>> from mlret import Index, IndexSettings
        >>> with Index.create("hybrid.index", settings=IndexSettings(lexical=True)) as hybrid:
        ...     hybrid.info().documents
        0
        """
        path = Path(path)
        check_faiss()
        if not has_manifest(path):
            check_vacant(path)
        encoder = encoder if isinstance(encoder, Encoder | TokenEncoder) else load_any_encoder(encoder)
        settings = settings or IndexSettings()
        check_settings(settings, encoder.similarity)
        if has_manifest(path):
            check_fingerprint(path, manifest_of(path), encoder)
        if settings.dims is not None and settings.dims > encoder.dims:
            raise InputError(
                f"the settings keep {counted(settings.dims, 'dimension')}, but {encoder.name} gives {encoder.dims}"
            )
        manifest = Manifest(
            kind=kind,
            encoder=reference_of(encoder),
            fingerprint=encoder.fingerprint,
            dims=settings.dims or encoder.dims,
            similarity=encoder.similarity,
            settings=settings,
        )
        if shards is None:
            create_folder(path, manifest, schema)
        else:
            create_shards(path, manifest, check_shards(shards), schema)
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
        """Open an existing index.

        Damaged vector files are written again if none of their vectors is lost: from their intact blocks, and from the
        second copies of an index that keeps them. A warning is written to the logger ``mlret.index``. The graphs of
        large segments are only checked, in a time that does not depend on their size, and read by the first search that
        needs them.

        Parameters
        ----------
        path
            The folder of the index.
        encoder
            The encoder, its folder or its hub id. By default the encoder that the manifest names is loaded when it is
            first needed.
        kind
            The kind of store that the folder must hold.
        device
            Where large segments are searched exactly: ``"cpu"``; ``"cuda"``, where FAISS or torch holds a copy in half
            precision (tokens are copied as they are coded); or ``"auto"``, which takes a GPU if there is one. The hits
            are the same on every device. The FAISS accelerators of large segments run on the CPU only and are skipped
            when a GPU is used.

        Returns
        -------
        Index
            The open index.

        Raises
        ------
        InputError
            If ``path`` holds no index, or one of another kind or format.
        FingerprintError
            If the index was built with another encoder.
        Corrupt
            If the records or vectors are missing or damaged. The message names the command that encodes the texts of
            lost vectors again.

        Examples
        --------
        >>> from mlret import Index
        >>> with Index.open("news.index") as index:
        ...     len(index), "maize" in index
        (3, True)
        """
        path = Path(path)
        manifest = manifest_of(path)
        if manifest.kind != kind:
            names = {"index": "an index (`Index.open`)", "memory": "a memory store (`Memory.open`)"}
            raise InputError(f"{path} is {names[manifest.kind]}, not {names[kind]}; name the other folder")
        if encoder is not None:
            encoder = encoder if isinstance(encoder, Encoder | TokenEncoder) else load_any_encoder(encoder)
            check_fingerprint(path, manifest, encoder)
        if has_shards(path):
            return cls(LocalShards(path, device=device, encoder=encoder), encoder)
        return cls(OneShard(Store(path, device=device), encoder), encoder)

    @property
    def encoder(self) -> AnyEncoder:
        """The encoder of the index, which is loaded on first use.

        Examples
        --------
        >>> index.encoder.dims
        384
        """
        if self._encoder is None:
            self._encoder = self.shards.encoder
        return self._encoder

    @property
    def shards(self) -> Shards:
        """The shards of the index, for code that is built on it; an index that is not divided has one.

        Raises
        ------
        MlretError
            If the index is closed.

        Examples
        --------
        >>> len(index.shards)
        1
        """
        try:
            shards = self._open_shards
        except AttributeError:  # It was unpickled, and is used for the first time.
            shards = self._opened()
        if shards is None:
            raise MlretError(f"the index {self.path} is closed; open it again")
        shards.check_process()
        return shards

    @property
    def store(self) -> Store:
        """The store that reads and writes the folder, for code that is built on an index that is not divided.

        Raises
        ------
        MlretError
            If the index is closed.
        InputError
            If it is divided into shards.

        Examples
        --------
        >>> index.store.manifest.dims
        384
        """
        return self.shards.store

    @property
    def manifest(self) -> Manifest:
        """The manifest of the index; of one that is divided, what its shards share.

        Examples
        --------
        >>> index.manifest.dims
        384
        """
        return self.shards.manifest

    def _opened(self) -> Shards | None:
        opened = Index.open(self.path, kind=self._kind, device=self._device).shards
        # If several threads open it at the same time, one of them wins.
        shards: Shards | None = vars(self).setdefault("_open_shards", opened)
        if shards is not opened:
            opened.close()
        return shards

    def __getstate__(self) -> dict[str, Any]:
        state = {"path": self.path.absolute(), "_encoder": None, "_last_reranker": None}
        try:
            if self._open_shards is None:
                return {**state, "_open_shards": None}
            return {**state, "_kind": self._open_shards.manifest.kind, "_device": self._open_shards.device}
        except AttributeError:
            return {**state, "_kind": self._kind, "_device": self._device}

    def add(
        self,
        documents: Given,
        *,
        vectors: Vectors | None = None,
        columns: Columns | None = None,
        batch_size: int = 256,
        skip_existing: bool = False,
    ) -> int:
        """Store new documents, and return how many were stored.

        Parameters
        ----------
        documents
            The documents, as in :meth:`add_batches`.
        vectors
            The vectors of the documents, as in :meth:`add_batches`; by default the texts are encoded.
        columns
            Columns, or keys of dicts, that are read under another name, as in :meth:`add_batches`.
        batch_size
            Number of documents in one transaction.
        skip_existing
            Skip a document whose id is stored already, instead of raising.

        Returns
        -------
        int
            The number of documents that were stored.

        Raises
        ------
        InputError
            At the first invalid document, or the first whose id is stored already. The batches before it stay stored,
            and the message states how many documents they hold.

        Examples
        --------
        >>> index.add([{"id": "storm", "text": "Une tempête approche de la côte.", "lang": "fr"}])
        1
        >>> index.add(["The museum is closed on Mondays."], skip_existing=True)
        1
        """
        existing: Existing = "skip" if skip_existing else "error"
        return self._intake(existing, columns).add(documents, vectors, batch_size).added

    def update(
        self,
        documents: Given,
        *,
        vectors: Vectors | None = None,
        columns: Columns | None = None,
        batch_size: int = 256,
    ) -> Updated:
        """Store documents, and replace the stored documents that have the same ids.

        If neither the text nor the language of a document has changed, its vector is kept and nothing is encoded.

        Parameters
        ----------
        documents
            The documents, as in :meth:`add_batches`.
        vectors
            The vectors of the documents, as in :meth:`add_batches`; by default the texts are encoded.
        columns
            Columns, or keys of dicts, that are read under another name, as in :meth:`add_batches`.
        batch_size
            Number of documents in one transaction.

        Returns
        -------
        Updated
            How many documents were added, replaced and skipped.

        Raises
        ------
        InputError
            At the first invalid document. The batches before it stay stored, and the message states how many documents
            they hold.

        Examples
        --------
        >>> index.update([{"id": "train", "text": "Der Zug nach Berlin fällt aus.", "lang": "de"}])
        Updated(added=0, replaced=1, skipped=0)
        >>> index.get("train").text
        'Der Zug nach Berlin fällt aus.'
        """
        return self._intake("replace", columns).add(documents, vectors, batch_size)

    def add_batches(
        self,
        documents: Given,
        *,
        vectors: Vectors | None = None,
        columns: Columns | None = None,
        batch_size: int = 256,
        existing: Existing = "error",
    ) -> Iterator[Updated]:
        """Store documents batch by batch, with one transaction for each batch.

        Parameters
        ----------
        documents
            Strings, dicts or documents, read as they are needed; or a data frame of pandas or polars, a table of Arrow
            or any object with its interface, or a data set of the package datasets; or the ``pathlib.Path`` of a file
            or folder, as `mlret index build` reads it. A table needs a column ``text`` and may have ``id`` and
            ``lang``; the others become metadata. A string, or a record without ``id``, gets the id ``auto-1``,
            ``auto-2``, …. If the language is not given, it is detected.
        vectors
            ``(n, dims)`` floats, one row for each document in the same order, made by the encoder of the index. In a
            multi-vector index, a list of ``(t, dims)`` arrays or tensors, as returned by
            ``MultiVectorEncoder.encode_document``, or a :class:`mlret.index.vectors.ragged.Ragged`. Memory maps are
            accepted. By default the texts are encoded.

            Single vectors are normalised to unit length; a zero vector is stored as it is, and its cosine with
            everything is 0. Token vectors keep their lengths. Documents and vectors are counted before anything is
            stored, so a stream of documents is first read to its end into a temporary file in the index's folder.
            Vectors with more dimensions than the index are refused, unless the index was created to keep fewer
            dimensions than its encoder gives (``IndexSettings(dims=…)``): then the first dimensions are kept.
        columns
            Columns, or keys of dicts, that are read under another name: ``{"body": "text", "sku": "id"}``.
        batch_size
            Number of documents in one transaction.
        existing
            What to do with a document whose id is stored already: ``"error"`` raises; ``"skip"`` skips it, so that
            repeating an interrupted call resumes where it stopped; ``"replace"`` replaces the stored document.

        Yields
        ------
        Updated
            What was done, after each batch. From then on the batch survives a crash.

        Raises
        ------
        InputError
            At the first invalid document or vector, or the first document whose id is stored already. If the numbers of
            vectors and documents differ, this is raised before anything is stored.
        MlretError
            If another process keeps writing, or the encoder gives a vector that is not finite.

        Examples
        --------
        >>> lines = (f"Bericht {number} aus Kairo" for number in range(5))
        >>> [done.added for done in index.add_batches(lines, batch_size=2)]
        [2, 2, 1]
        """
        yield from self._intake(existing, columns).batches(documents, vectors, batch_size)

    def _intake(self, existing: Existing, columns: Columns | None) -> Adding:
        return self.shards.intake(existing, checked_columns(columns))

    def delete(self, ids: Iterable[str] = (), *, where: Where | None = None, ignore_missing: bool = False) -> int:
        """Delete documents. On return they are no longer found, and a crash does not bring them back.

        Parameters
        ----------
        ids
            The ids of the documents to delete.
        where
            A filter, given instead of ``ids``: all documents that match it are deleted. See :meth:`search_batch`.
        ignore_missing
            Skip ids that are not stored, instead of raising before anything is deleted.

        Returns
        -------
        int
            The number of documents that were deleted.

        Raises
        ------
        InputError
            If an id is not stored, or both or neither of ``ids`` and ``where`` are given.

        Examples
        --------
        >>> index.delete(["maize"])
        1
        >>> index.delete(where={"year": {"$lt": 2025}})
        1
        >>> [document.id for document in index.documents()]
        ['library']
        """
        if isinstance(ids, str):
            raise InputError("delete takes a list of ids; write [id] for one")
        ids = check_ids(ids)
        condition = read_filter(where)
        if bool(ids) == (condition is not None):
            raise InputError("give ids or a filter to delete, one of the two")
        if condition is not None:
            return self.shards.delete_matching(condition)
        return self.shards.delete(ids, ignore_missing=ignore_missing)

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
        rerank: Reranking | None = None,
        candidates: int = CANDIDATES,
        partial: bool = False,
    ) -> Hits:
        """Find the documents nearest in meaning to one query.

        Parameters
        ----------
        query
            A text in any language.
        k
            The number of hits to return; fewer are returned only if fewer documents pass the filters.
        language
            The language code of the query. If it is ``None`` and the search uses languages, it is detected.
        where
            A filter; only documents that match it are ranked. See :func:`mlret.index.filtering.filters.read_filter`.
        ids
            Rank only the documents with these ids; ids that are not stored are skipped.
        mode
            ``"dense"``, ``"lexical"`` or ``"hybrid"``; see :meth:`search_batch`. By default ``"hybrid"`` if the index
            has a lexical channel, else ``"dense"``.
        exact
            Compare the query with every document, without the accelerators of large segments.
        rerank
            What ranks the best documents anew; see :meth:`search_batch`.
        candidates
            How many documents are ranked anew.
        partial
            Search the other shards if one does not answer; see :meth:`search_batch`.

        Returns
        -------
        Hits
            The hits, best first: a list of :class:`Hit`.

        Raises
        ------
        InputError
            If the query is blank, ``k`` is below 1, or a language code or a filter is invalid.

        Examples
        --------
        >>> [hit.id for hit in index.search("what does food cost?", k=1)]
        ['maize']
        >>> [hit.id for hit in index.search("what does food cost?", where={"lang": ["de", "ja"], "year": 2025})]
        ['library']
        """
        return self.search_batch(
            [query],
            k,
            language=language,
            where=where,
            ids=ids,
            mode=mode,
            exact=exact,
            rerank=rerank,
            candidates=candidates,
            partial=partial,
        )[0]

    def search_batch(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        language: str | Sequence[str | None] | None = None,
        vectors: Vectors | None = None,
        where: Where | None = None,
        ids: Iterable[str] | None = None,
        mode: Mode | None = None,
        exact: bool = False,
        rerank: Reranking | None = None,
        candidates: int = CANDIDATES,
        partial: bool = False,
    ) -> list[Hits]:
        """Find the documents nearest in meaning to each query.

        In a small index, or with ``exact``, the result is the same as comparing with every document. In a large index
        (:meth:`info` names the kinds of its segments) some of the best documents may be missing. The scores are exact
        in both cases, and fewer than ``k`` hits are returned only if there are fewer documents to find.

        Parameters
        ----------
        queries
            Texts in any language.
        k
            The number of hits to return for each query; fewer are returned only if fewer documents pass the filters.
        language
            The language code of all queries, or a sequence with one for each. A language that is ``None`` is detected
            if it is needed: if the encoder is calibrated by language, or a hybrid search has words to compare.
        vectors
            The vectors of the queries in the same order, as returned by :meth:`encode_queries`. By default the queries
            are encoded.
        where
            A filter; only documents that match it are ranked: ``{"lang": "sw"}``, ``{"lang": ["sw", "en"]}``,
            ``{"year": {"$gte": 2020}}``, ``{"$or": [...]}``. See :func:`mlret.index.filtering.filters.read_filter`.
        ids
            Rank only the documents with these ids; ids that are not stored are skipped.
        mode
            ``"dense"`` ranks by meaning, and the scores are cosines. ``"lexical"`` ranks by the characters that query
            and document share (BM25 over character n-grams). ``"hybrid"`` uses both: it ranks by the mean of the
            standard scores over the channels that apply to a document, mapped to a value between 0 and 1, so that a
            document in another language or script is not ranked lower because it shares no word with the query. The
            default is ``"hybrid"`` if the index has a lexical channel, else ``"dense"``.
        exact
            Compare each query with every document, without the accelerators of large segments.
        rerank
            A slower model that compares the best documents of the search with the query, and ranks them anew: an
            encoder, such as ``mlret.load_token_encoder()``; a ``CrossEncoder`` of sentence-transformers; or a callable
            that takes a query and a list of texts and returns a score for each. The scores of an encoder are averaged
            with those of the search; see :class:`mlret.index.reranking.EncoderReranker`. The vectors of documents are
            kept for the next call with the same encoder.
        candidates
            The number of documents that are ranked anew, at least ``k``.
        partial
            In an index that is divided into shards, search the others if one does not answer, and name it in
            ``Hits.missing``, instead of raising. Scores for words are then those of the shards that were searched.

        Returns
        -------
        list of Hits
            For each query its hits, best first.

        Raises
        ------
        InputError
            If a query is blank, ``k`` is below 1, a language code or a filter is invalid, there are more or fewer
            vectors than queries, or ``rerank`` cannot be used or gives anything but a finite score for each text.

        Examples
        --------
        >>> found = index.search_batch(["a place to read books", "treni imechelewa"], k=1, language=["en", "sw"])
        >>> [hits[0].id for hits in found]
        ['library', 'train']
        """
        shards = self.shards
        mode = check_mode(mode) or ("hybrid" if shards.manifest.settings.lexical else "dense")
        check_k(k)
        check_k(candidates, "candidates")
        reranker = None if rerank is None else self._reranker_of(rerank)
        texts, languages = check_queries(queries, language)
        check_lexical(shards, mode)
        restriction = _restriction(where, ids)
        compared: Vectors | Sequence[None]
        if vectors is not None:
            compared = shards.space.check_queries(vectors)
            if len(compared) != len(texts):
                raise InputError(
                    f"{counted(len(texts), 'query', 'queries')} but {counted(len(compared), 'vector')}: give one "
                    "vector for each query"
                )
        elif texts:
            encode = encoded_if_possible if mode == "lexical" else encoded
            compared = encode(lambda: self.encoder, shards.space, texts, languages)
        if not texts:
            return []
        found = [Query(*one) for one in zip(compared, texts, languages, strict=True)]
        depth = k if reranker is None else max(k, candidates)
        hits = retrieve(shards, found, depth, restriction=restriction, mode=mode, exact=exact, partial=partial)
        if reranker is None:
            return hits
        return [reranked(reranker, *one, k) for one in zip(texts, languages, hits, strict=True)]

    def _reranker_of(self, rerank: Reranking) -> Reranker:
        """Return the reranker of an argument; that of the last call if it is the same, for what it has cached."""
        if self._last_reranker is None or self._last_reranker[0] is not rerank:
            self._last_reranker = (rerank, as_reranker(rerank))
        return self._last_reranker[1]

    def encode_queries(self, queries: Sequence[str], *, language: str | Sequence[str | None] | None = None) -> Vectors:
        """Encode queries, so that they can be searched with more than once.

        Parameters
        ----------
        queries
            ``n`` texts in any language.
        language
            As in :meth:`search_batch`.

        Returns
        -------
        numpy.ndarray or list of numpy.ndarray
            ``(n, dims)`` float32, L2-normalised; in a multi-vector index ``n`` arrays of shape ``(t, dims)``.

        Raises
        ------
        InputError
            If a query is blank or a language code is unknown.

        Examples
        --------
        >>> index.encode_queries(["a place to read books"], language="en").shape
        (1, 384)
        """
        return encoded(lambda: self.encoder, self.shards.space, *check_queries(queries, language))

    def search_vectors(
        self,
        vectors: Vectors,
        k: int = 10,
        *,
        where: Where | None = None,
        ids: Iterable[str] | None = None,
        exact: bool = False,
        partial: bool = False,
    ) -> list[Hits]:
        """Find the documents nearest to each query vector.

        Parameters
        ----------
        vectors
            Query vectors as returned by :meth:`encode_queries`. In an index with one vector for each text, they are
            normalised to unit length, so that the scores are cosines.
        k
            The number of hits to return for each vector; fewer are returned only if fewer documents pass the filters.
        where
            A filter; only documents that match it are ranked. See :meth:`search_batch`.
        ids
            Rank only the documents with these ids; ids that are not stored are skipped.
        exact
            Compare each vector with every document, without the accelerators of large segments.
        partial
            Search the other shards if one does not answer; see :meth:`search_batch`.

        Returns
        -------
        list of Hits
            For each query vector its hits, best first.

        Raises
        ------
        InputError
            If the vectors have other dimensions than the index or are not finite, or ``k`` is below 1.

        Examples
        --------
        >>> vectors = index.encode_queries(["a place to read books"], language="en")
        >>> [[hit.id for hit in hits] for hits in index.search_vectors(vectors, k=1)]
        [['library']]
        """
        shards = self.shards
        check_k(k)
        vectors = shards.space.check_queries(vectors)
        if not len(vectors):
            return []
        restriction = _restriction(where, ids)
        queries = [Query(vector) for vector in vectors]
        return retrieve(shards, queries, k, restriction=restriction, exact=exact, partial=partial)

    def get(self, id: str) -> Document | None:
        """Return the document with this id, or ``None`` if it is not stored.

        Parameters
        ----------
        id
            The id of a document.

        Returns
        -------
        Document or None
            The document; ``None`` if no document has this id.

        Raises
        ------
        InputError
            If the id is not a string of valid Unicode.

        Examples
        --------
        >>> index.get("maize").text
        'Bei ya mahindi imepanda sokoni.'
        >>> index.get("wheat") is None
        True
        """
        [id] = check_ids([id])
        return self.shards.get([id]).get(id)

    def documents(self) -> Iterator[Document]:
        """Iterate over all documents in the order in which they were stored, as of the last refresh or change.

        Yields
        ------
        Document
            The documents in the order in which they were stored.

        Examples
        --------
        >>> [(document.id, document.metadata["year"]) for document in index.documents()]
        [('train', 2024), ('maize', 2025), ('library', 2025)]
        """
        yield from self.shards.documents()

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """Return the vectors of stored documents.

        Parameters
        ----------
        ids
            The ids of ``n`` documents.

        Returns
        -------
        numpy.ndarray or Ragged
            ``(n, dims)`` float32. The vector of a document of several passages is the mean of theirs, at unit length.
            In a multi-vector index a :class:`mlret.index.vectors.ragged.Ragged`, whose values are only as exact as the
            stored codes; there a document has the tokens of all its passages.

        Raises
        ------
        InputError
            If an id is not stored.

        Examples
        --------
        >>> train, maize = index.vectors(["train", "maize"])
        >>> train.shape
        (384,)
        """
        if isinstance(ids, str):
            raise InputError("vectors takes a list of ids; write [id] for one")
        ids = list(ids)
        check_ids(ids)
        return self.shards.vectors(ids)

    @property
    def _closed(self) -> bool:
        return self._open_shards is None

    def __repr__(self) -> str:
        if self._closed:
            return f"Index({str(self.path)!r}, closed)"
        return f"Index({str(self.path)!r}, {counted(len(self), 'document')}, {self.manifest.encoder})"

    def _repr_html_(self) -> str:
        return f"<div>{as_html(repr(self))}</div>" if self._closed else self.info()._repr_html_()

    def __len__(self) -> int:
        return self.shards.state().documents

    def __iter__(self) -> Iterator[Document]:
        return self.documents()

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and is_unicode(id) and bool(self.shards.stored([id]))

    def info(self) -> IndexInfo:
        """Return a summary of what the index holds and of the encoder that it was built with.

        Returns
        -------
        IndexInfo
            Numbers of documents, by language and by kind of segment, the encoder, and the size on disk in bytes.

        Examples
        --------
        >>> info = index.info()
        >>> info.documents, info.dims, info.languages
        (3, 384, {'de': 1, 'ja': 1, 'sw': 1})
        """
        return self.shards.info()

    def refresh(self) -> None:
        """Load what other processes have changed since the index was opened.

        Raises
        ------
        Corrupt
            If the folder is damaged.

        Examples
        --------
        >>> with Index.open("news.index", index.encoder) as writer:
        ...     writer.delete(["train"])
        1
        >>> "train" in index
        True
        >>> index.refresh()
        >>> "train" in index
        False
        """
        self.shards.refresh()

    def seal(self) -> None:
        """Write the vectors that are only in the database to a segment file, so that the index opens faster.

        Raises
        ------
        Locked
            If another process keeps writing.

        Examples
        --------
        >>> index.info().unsealed
        3
        >>> index.seal()
        >>> index.info().unsealed
        0
        """
        self.shards.seal()

    def compact(self, progress: Callable[[str, int, int], None] | None = None) -> list[Choice]:
        """Merge the segments, remove deleted rows from disk, and build the FAISS index that suits the remaining rows.

        Parameters
        ----------
        progress
            Called with the name of the current step, the number of vectors that are done, and their total number.

        Returns
        -------
        list of Choice
            The new kind of each segment, and why it was chosen.

        Raises
        ------
        MlretError
            If another process keeps writing.

        Examples
        --------
        >>> [choice.kind for choice in index.compact()]
        ['flat']
        """
        return self.shards.compact(due=False, progress=progress)

    def tune(
        self,
        queries: Sequence[str] = (),
        *,
        vectors: Vectors | None = None,
        recall: float | None = None,
    ) -> str:
        """Choose by a trial run how many candidates a search of a multi-vector index examines.

        Parameters
        ----------
        queries
            A few dozen typical queries. By default queries are made from the index's own tokens.
        vectors
            Query vectors, as returned by :meth:`encode_queries`, given instead of ``queries``.
        recall
            The share of the ten best documents of an exhaustive comparison that a search must find. By default that of
            the settings.

        Returns
        -------
        str
            What was chosen, its recall, and its milliseconds for each query.

        Raises
        ------
        InputError
            If the index has no lists to probe, or the recall is not above 0 and up to 1.

        Examples
        --------
        >>> with Index.open("my-tokens.index") as tokens:  # a multi-vector index that has lists
        ...     chosen = tokens.tune(recall=0.9)
        >>> chosen != ""
        True
        """
        if recall is not None and not 0 < recall <= 1:
            raise InputError(f"a recall of {recall} is not possible; give one above 0 and up to 1")
        if vectors is None and queries:
            vectors = self.encode_queries(queries)
        return self.shards.tune(None if vectors is None else self.shards.space.check_queries(vectors), recall)

    def compact_if_due(self, progress: Callable[[str, int, int], None] | None = None) -> list[Choice]:
        """Run :meth:`compact` if much was added since the last compaction; otherwise do nothing.

        Parameters
        ----------
        progress
            As for :meth:`compact`.

        Returns
        -------
        list of Choice
            The new kind of each segment; empty if nothing was done.

        Raises
        ------
        Locked
            If another process keeps writing.

        Examples
        --------
        >>> index.compact_if_due()
        []
        """
        return self.shards.compact(due=True, progress=progress)

    def close(self) -> None:
        """Close the index. No data is lost if this is not called, and closing twice is allowed.

        Examples
        --------
        >>> index.close()
        >>> index.search("the train is late")
        Traceback (most recent call last):
        ...
        mlret.errors.MlretError: the index news.index is closed; open it again
        """
        if (shards := vars(self).get("_open_shards")) is not None:
            shards.close()
        self._open_shards = None

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _restriction(where: Where | None, ids: Iterable[str] | None) -> Restriction:
    condition, some = check_filters(where, ids)
    return Restriction(condition, None if some is None else tuple(some))
