"""The base class of :class:`mlret.memory.memory.Memory`: an open store and what every method needs from it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mlret.data.detection import detect_language
from mlret.data.languages import normalise_language
from mlret.data.unicode_text import check_unicode
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import InputError
from mlret.index.index import Index
from mlret.index.search import Mode
from mlret.index.sharding.one_shard import OneShard
from mlret.index.sharding.placement import shard_of
from mlret.index.vectors.space import AnySpace
from mlret.memory.maintenance.thresholds import bundled_thresholds
from mlret.memory.scope import Scope, check_scope, scope_with
from mlret.memory.search.candidates import Query
from mlret.memory.search.feedback import weights_of
from mlret.memory.search.search import Request
from mlret.memory.search.selection import Selection
from mlret.memory.storage import tables
from mlret.memory.storage.folder import Folder
from mlret.memory.storage.store import MemoryStore
from mlret.memory.text.duplicates import DuplicateThresholds
from mlret.reporting.notebook import as_html
from mlret.wording import counted

THRESHOLDS = "duplicates"  # Key of the calibrated thresholds in the settings table.


class OpenMemory:
    """An open store with its encoder, and the helpers that build a search request from both."""

    def __init__(self, index: Index) -> None:
        self._index = index
        # The open folders: one, or one for each shard by its number; opened here so that erasures are completed.
        self._opened: dict[int, Folder] = {}
        for number in self._index.shards.answering():
            self._numbered(number)
        # The settings that the thresholds were last read from, and the thresholds.
        self._calibrated: tuple[list[tuple[Any, ...]], DuplicateThresholds | None] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_index": self._index, "_calibrated": None, "_opened": {}}

    @property
    def folder(self) -> Folder:
        """The open folder of a store that is not divided, for programs that work on it directly.

        Raises
        ------
        MlretError
            If the memory has been closed; only here and in :meth:`folder_of` is that checked.
        InputError
            If the store is divided into shards; :meth:`folder_of` returns that of a scope.

        Examples
        --------
        >>> len(memory.folder)
        2
        """
        _ = self._index.store
        return self._numbered(0)

    def folder_of(self, scope: Scope) -> Folder:
        """Return the open folder that holds the records of a scope: that of its tenant, if the store is divided.

        Parameters
        ----------
        scope
            A checked scope.

        Returns
        -------
        Folder
            The open folder.

        Examples
        --------
        >>> memory.folder_of(anna) is memory.folder
        True
        """
        return self._numbered(shard_of(scope.get("tenant", ""), len(self._index.shards)))

    def _folders(self) -> list[Folder]:
        """Return all open folders."""
        return [self._numbered(number) for number in range(len(self._index.shards))]

    def _numbered(self, number: int) -> Folder:
        shards = self._index.shards
        store = shards.store_of(number)
        folder = self._opened.get(number)
        if folder is None or folder.store is not store:
            index = self._index
            if shards.divided:
                index = Index(OneShard(store, load=lambda: self._index.encoder))
            # Of several threads that use an unpickled memory for the first time, one wins.
            folder = self._opened.setdefault(number, _folder_of(index))
            if folder.store is not store:  # The shard was opened again.
                folder = self._opened[number] = _folder_of(index)
        return folder

    @property
    def space(self) -> AnySpace:
        """The space of the vectors of the store.

        Examples
        --------
        >>> memory.space.manifest.dims
        384
        """
        return self._index.shards.space

    def _memory(self, scope: Scope | None, *, within: bool = False, **names: str | None) -> MemoryStore:
        """Return the memory as a scope sees it, after checking the scope and the names given beside it.

        ``within`` is described at :class:`MemoryStore`.
        """
        checked = check_scope(scope_with(scope, names))
        return MemoryStore(self.folder_of(checked), checked, within=within)

    @property
    def path(self) -> Path:
        """Folder of the store.

        Examples
        --------
        >>> memory.path.name
        'agent.memory'
        """
        return self._index.path

    @property
    def encoder(self) -> AnyEncoder:
        """Encoder of the store.

        Examples
        --------
        >>> memory.encoder.dims
        384
        """
        return self._index.encoder

    def refresh(self) -> None:
        """Load the changes that other processes have committed.

        Raises
        ------
        Corrupt
            If the folder is damaged.

        Examples
        --------
        >>> with Memory.open("agent.memory", memory.encoder) as writer:
        ...     done = writer.delete("nuts", anna)
        >>> memory.refresh()
        >>> memory.get("nuts", anna) is None
        True
        """
        if self._index.shards.divided:
            self._index.refresh()
        for folder in self._folders():
            folder.refresh()

    def close(self) -> None:
        """Close the store. Closing is optional: every operation is already committed when its method returns.

        Examples
        --------
        >>> memory.close()
        >>> with Memory.open("agent.memory") as memory:
        ...     len(memory)
        2
        """
        self._index.close()

    def __repr__(self) -> str:
        if self._index._closed:
            return f"Memory({str(self.path)!r}, closed)"
        count = sum(map(len, self._folders()))
        return f"Memory({str(self.path)!r}, {counted(count, 'record')}, {self._index.manifest.encoder})"

    def _repr_html_(self) -> str:
        return f"<div>{as_html(repr(self))}</div>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _request(
        self,
        store: MemoryStore,
        query: str,
        *,
        language: str | None = None,
        mode: Mode | None = None,
        vector: Any = None,
    ) -> Request:
        """Return a search request for one query with default ranking, after checking the query."""
        if not isinstance(query, str) or not query.strip():
            raise InputError(f"the query {query!r} is empty or no string; write a few words")
        check_unicode(query, f"the query {query!r}")
        code = None if language is None else normalise_language(language)
        with store.lock:
            weights = weights_of(store, store.scope)
        return Request(
            queries=[self._query(query, code, mode, vector)],
            selection=Selection(store.scope),
            mode=mode,
            thresholds=self.thresholds(),
            weights=weights,
        )

    def _query(self, text: str, language: str | None, mode: Mode | None, vector: Any = None) -> Query:
        """Return a query with its vector: the given one or the text's; none if the search compares words alone."""
        space = self.space
        if vector is not None:
            [given] = space.check_queries([vector])
            return Query(text, language, given)
        if mode == "lexical":
            return Query(text, language)
        if self.encoder.calibration_languages:
            language = language or detect_language(text)
        return Query(text, language, space.queries(self.encoder.encode_query([text], language=[language]))[0])

    def thresholds(self) -> DuplicateThresholds | None:
        """Return the thresholds of duplicates: those calibrated for this store, else those bundled for its encoder.

        Returns
        -------
        DuplicateThresholds or None
            ``None`` if there are none for the encoder: only identical texts are duplicates then.

        Examples
        --------
        >>> thresholds = memory.thresholds()
        >>> thresholds.duplicate > thresholds.related
        True
        """
        folder = self._numbered(self._index.shards.answering()[0])  # All shards have the same.
        rows = folder.records.read(tables.SETTING, (THRESHOLDS,))
        if self._calibrated is None or rows != self._calibrated[0]:
            fingerprint = folder.store.manifest.fingerprint
            kept = tables.parse_setting(folder.records.path, rows)
            if kept is not None and kept["fingerprint"] == fingerprint:
                thresholds: DuplicateThresholds | None = DuplicateThresholds.from_dict(kept)
            else:
                thresholds = bundled_thresholds(fingerprint)
            self._calibrated = rows, thresholds
        return self._calibrated[1]


def _folder_of(index: Index) -> Folder:
    """Return the folder of an open index, after completing an erasure that was interrupted."""
    folder = Folder(index)
    if folder.records.read("SELECT 1 FROM memory_erasing LIMIT 1"):
        folder.resume_erasing()
    return folder
