"""A memory: short texts that belong to someone, added one at a time and found from any language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

from mlret.data.documents import Document
from mlret.encoders.encoder import Encoder, load_encoder
from mlret.errors import InputError, MlretError
from mlret.index.index import Hit, Index
from mlret.index.manifest import MANIFEST

SCOPE_KEYS = ("tenant", "user", "agent", "run")
_PREFIX = "scope."
_CREATED_AT = "created_at"


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """A memory, word for word as it was given. ``created_at`` is UTC in ISO 8601."""

    id: str
    text: str
    scope: dict[str, str]
    created_at: str
    language: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


class Memory:
    """Memories on disk, in one folder. Make or open one with :meth:`open`.

    Every memory belongs to a scope, and every search names one: a memory of another scope is never ranked.
    """

    def __init__(self, index: Index) -> None:
        self._index = index

    @classmethod
    def open(cls, path: str | Path, encoder: Encoder | str | Path | None = None) -> Memory:
        """Open a memory store, or make it.

        Parameters
        ----------
        path
            The folder.
        encoder
            The encoder, its folder or hub id. By default the one that the store was made with, and the
            bundled one for a new store.

        Raises
        ------
        InputError
            If something that is no memory store stands at ``path``.
        FingerprintError
            If the store was made with another encoder.
        """
        manifest = Path(path) / MANIFEST
        if not manifest.exists():
            encoder = encoder if isinstance(encoder, Encoder) else load_encoder(encoder)
            try:
                return cls(Index.create(path, encoder, kind="memory"))
            except MlretError:
                if not manifest.exists():  # else another process made it first: open that
                    raise
        return cls(Index.open(path, encoder, kind="memory"))

    def add(self, text: str, scope: Mapping[str, str], *, language: str | None = None, **metadata: Any) -> str:
        """Remember a text; on return it survives a crash.

        Parameters
        ----------
        text
            What to remember; kept word for word.
        scope
            Whose memory it is: some of ``tenant``, ``user``, ``agent``, ``run``.
        language
            The language of the text; detected by default.
        **metadata
            JSON values to keep with it.

        Returns
        -------
        str
            The id of the memory, for :meth:`get`.

        Raises
        ------
        InputError
            If the text is blank, the scope is empty or has other keys, the language code is unknown, or the
            metadata is not JSON or uses the names ``created_at`` or ``scope``.
        """
        scope = _check_scope(scope)
        for key in metadata:
            if key in (_CREATED_AT, "scope") or key.startswith(_PREFIX):
                raise InputError(f"the metadata of a memory may not use the name {key!r}; rename it")
        created_at = datetime.now(UTC).isoformat(timespec="microseconds")
        stored = {**_fields(scope), _CREATED_AT: created_at, **metadata}
        document = Document(uuid4().hex, text, language, stored)
        self._index.add([document])
        return document.id

    def search(self, query: str, scope: Mapping[str, str], k: int = 5, *, language: str | None = None) -> list[Hit]:
        """Find the memories of a scope that are nearest in meaning to a query.

        Parameters
        ----------
        query
            A text in any language.
        scope
            Only memories that have all of it are considered; ``{"user": "u1"}`` includes those that
            ``{"user": "u1", "agent": "a"}`` were added with.
        k
            How many to return; fewer only where the scope holds fewer.
        language
            The language of the query.

        Returns
        -------
        list of Hit
            The best first. ``metadata`` holds ``scope``, ``created_at`` and what was given to :meth:`add`.

        Raises
        ------
        InputError
            If the query is blank, or the scope is empty or has other keys.
        """
        hits = self._index.search(query, k, language=language, where=_fields(_check_scope(scope)))
        return [replace(hit, metadata=_public(hit.metadata)) for hit in hits]

    def get(self, id: str) -> MemoryRecord | None:
        """The memory with this id, or ``None``."""
        document = self._index.get(id)
        if document is None:
            return None
        metadata = _public(document.metadata)
        scope, created_at = metadata.pop("scope"), metadata.pop(_CREATED_AT)
        return MemoryRecord(document.id, document.text, scope, created_at, document.language, metadata)

    def __len__(self) -> int:
        return len(self._index)

    def close(self) -> None:
        """Close the store; nothing is lost without it."""
        self._index.close()

    def __enter__(self) -> Memory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def parse_scope(arguments: list[str]) -> dict[str, str]:
    """Read a scope from the command line: ``["user=u1", "agent=a"]``.

    Raises
    ------
    InputError
        If an argument is not ``NAME=VALUE``, a name is given twice, or the scope is not valid.
    """
    scope: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise InputError(f"{argument!r} is no scope; write NAME=VALUE, e.g. user=u1")
        if key in scope:
            raise InputError(f"the scope names {key!r} twice; give it once")
        scope[key] = value
    return _check_scope(scope)


def _check_scope(scope: Mapping[str, str]) -> dict[str, str]:
    names = ", ".join(SCOPE_KEYS)
    if not isinstance(scope, Mapping) or not scope:
        raise InputError(f'a scope is needed, e.g. {{"user": "u1"}}; its names are {names}')
    for key, value in scope.items():
        if key not in SCOPE_KEYS:
            raise InputError(f"unknown scope {key!r}; the names are {names}")
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"the scope {key!r} is {value!r}; give a string that is not empty")
    return dict(scope)


def _fields(scope: Mapping[str, str]) -> dict[str, str]:
    return {_PREFIX + key: value for key, value in scope.items()}


def _public(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as the user knows it: the scope in one place, then the rest."""
    scope = {key.removeprefix(_PREFIX): value for key, value in metadata.items() if key.startswith(_PREFIX)}
    return {"scope": scope, **{key: value for key, value in metadata.items() if not key.startswith(_PREFIX)}}
