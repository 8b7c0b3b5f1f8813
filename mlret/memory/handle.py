"""A memory's store in hand: what every verb of :class:`mlret.memory.memory.Memory` needs."""

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
from mlret.index.retrieval import Mode
from mlret.memory import tables
from mlret.memory.calibration import bundled_thresholds
from mlret.memory.duplicates import DuplicateThresholds
from mlret.memory.evidence import Query
from mlret.memory.folder import Folder
from mlret.memory.learning import weights_of
from mlret.memory.scope import Scope, check_scope
from mlret.memory.search import Request
from mlret.memory.selection import Selection

THRESHOLDS = "duplicates"  # among the settings


class Handle:
    """An open store, its encoder, and what a search asks of both."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._store = Folder(index)
        if self._store.records.read("SELECT 1 FROM memory_erasing LIMIT 1"):
            self._store.resume_erasing()

    @property
    def path(self) -> Path:
        """The folder."""
        return self._index.path

    @property
    def encoder(self) -> AnyEncoder:
        """The encoder of the store."""
        return self._index.encoder

    def refresh(self) -> None:
        """Take in what other processes have changed."""
        self._store.refresh()

    def close(self) -> None:
        """Close the store; nothing is lost without it."""
        self._index.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _request(
        self,
        query: str,
        scope: Scope,
        *,
        language: str | None = None,
        mode: Mode | None = None,
        vector: Any = None,
    ) -> Request:
        """A plain search."""
        if not isinstance(query, str) or not query.strip():
            raise InputError(f"the query {query!r} is empty or no string; write a few words")
        check_unicode(query, f"the query {query!r}")
        whose = check_scope(scope)
        code = detect_language(query) if language is None else normalise_language(language)
        with self._store.lock:
            weights = weights_of(self._store.of(whose), whose)
        return Request(
            queries=[Query(query, code, self._vector(query, code, mode, vector))],
            selection=Selection(whose),
            mode=mode,
            thresholds=self._thresholds(),
            weights=weights,
        )

    def _vector(self, query: str, language: str | None, mode: Mode | None, vector: Any) -> Any:
        space = self._index.store.space
        if vector is None:
            return space.queries(self.encoder.encode_query([query], language=[language]))[0]
        [given] = space.check_queries([vector])
        return given

    def _thresholds(self) -> DuplicateThresholds | None:
        """Those that were calibrated here, else those that come with mlret for the encoder."""
        fingerprint = self._index.store.manifest.fingerprint
        with self._store.lock:
            kept = tables.read_setting(self._store.records, THRESHOLDS)
        if kept is not None and kept["fingerprint"] == fingerprint:
            return DuplicateThresholds.from_dict(kept)
        return bundled_thresholds(fingerprint)
