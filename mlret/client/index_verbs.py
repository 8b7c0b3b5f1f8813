"""The verbs of an index on a server, as :class:`mlret.index.index.Index` has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import quote

from mlret.client import results
from mlret.client.batches import Batch, Batcher
from mlret.client.calls import Call, Steps, json_body, json_call, new_key, post
from mlret.client.failures import BodyTooLargeError
from mlret.data.documents import Document
from mlret.errors import FilterWarning, InputError, NotFound, warn
from mlret.index.filtering.filters import Where
from mlret.index.hits import Hits, IndexInfo, Updated
from mlret.index.ingest import Existing, Incoming
from mlret.index.search import Mode
from mlret.index.settings import IndexSettings
from mlret.wording import counted

# Hits that a server gives in one answer unless it was started with another limit; more queries are several requests.
_MOST_HITS = 10_000
_PAGE = 500
_ON_CONFLICT: dict[Existing, str] = {"error": "fail", "skip": "skip", "replace": "replace"}


class _Array(Protocol):
    """What NumPy's arrays and torch's tensors have in common."""

    def tolist(self) -> Any: ...


Numbers = Sequence[Any] | _Array
"""Vectors: nested lists of numbers, or an array."""


class IndexVerbs:
    """The requests of an index.

    Parameters
    ----------
    name
        The name of the index on the server.
    server
        The address of the server.
    """

    def __init__(self, name: str, server: str) -> None:
        self.name = name
        self.path = f"/v1/indexes/{quote(name, safe='')}"
        self.address = server + self.path

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
        partial: bool = False,
    ) -> Steps[Hits]:
        """Find the documents that are nearest in meaning to a query; see :meth:`mlret.index.index.Index.search`."""
        [hits] = yield from self.search_batch(
            [query], k, language=language, where=where, ids=ids, mode=mode, exact=exact, partial=partial
        )
        return hits

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
        partial: bool = False,
    ) -> Steps[list[Hits]]:
        """Search for several queries; see :meth:`mlret.index.index.Index.search_batch`."""
        if isinstance(queries, str):
            raise InputError("queries is one string; give a list of them, or call search()")
        found: list[Hits] = []
        several = language is not None and not isinstance(language, str)
        if several and len(language or ()) != len(queries):
            raise InputError(
                f"there are {counted(len(language or ()), 'language')} for {counted(len(queries), 'query', 'queries')}"
            )
        rest = _given(k=k, where=where, ids=None if ids is None else list(ids), mode=mode)
        rest |= _given(exact=exact or None, partial=partial or None)
        for start, end in _parts(len(queries), k):
            codes = list(language or ())[start:end] if several else language
            wanted = {"query": list(queries[start:end]), **_given(language=codes), **rest}
            found += yield from self._found(wanted)
        return found

    def search_vectors(
        self,
        vectors: Numbers,
        k: int = 10,
        *,
        where: Where | None = None,
        ids: Iterable[str] | None = None,
        exact: bool = False,
        partial: bool = False,
    ) -> Steps[list[Hits]]:
        """Search for several query vectors; see :meth:`mlret.index.index.Index.search_vectors`."""
        found: list[Hits] = []
        rows = _numbers(vectors)
        rest = _given(k=k, where=where, ids=None if ids is None else list(ids))
        rest |= _given(exact=exact or None, partial=partial or None)
        for start, end in _parts(len(rows), k):
            found += yield from self._found({"vector": rows[start:end], **rest})
        return found

    def _found(self, wanted: dict[str, Any]) -> Steps[list[Hits]]:
        answer = (yield post(f"{self.path}:search", wanted)).json()
        for warning in answer["warnings"]:
            warn(warning, FilterWarning)
        return [results.hits_of(one) for one in answer["results"]]

    def get(self, id: str) -> Steps[Document | None]:
        """Return a document, or ``None`` if it is not stored."""
        try:
            answer = yield Call("GET", self._document(id))
        except NotFound as error:
            if error.field != "id":
                raise  # There is no such index.
            return None
        return results.document_of(answer.json())

    def change(self, id: str, fields: Mapping[str, Any]) -> Steps[Document]:
        """Change fields of a document, and return it as it is then.

        Parameters
        ----------
        id
            The id of the document.
        fields
            ``text``, ``lang`` or ``metadata``, of which values are merged: ``None`` removes one (RFC 7396).
        """
        headers = {"Content-Type": "application/merge-patch+json"}
        answer = yield Call("PATCH", self._document(id), json_body(fields), headers=headers)
        return results.document_of(answer.json())

    def page(self, cursor: str | None = None, limit: int = _PAGE) -> Steps[tuple[list[Document], str | None]]:
        """Return documents in the order in which they were stored, and the cursor of the next page.

        Parameters
        ----------
        cursor
            The cursor that came with the page before; ``None`` for the first page.
        limit
            The most documents of the page.
        """
        query = (("limit", str(limit)), *((("cursor", cursor),) if cursor else ()))
        answer = (yield Call("GET", f"{self.path}/documents", query=query)).json()
        return [results.document_of(one) for one in answer["documents"]], answer["next"]

    def delete(
        self, ids: Iterable[str] = (), *, where: Where | None = None, ignore_missing: bool = False
    ) -> Steps[int]:
        """Delete documents by id, or all that match a filter; see :meth:`mlret.index.index.Index.delete`."""
        every = [ids] if isinstance(ids, str) else list(ids)
        if bool(where) == bool(every):
            raise InputError("state what to delete: ids or a filter, one of the two")
        wanted = {"where": where} if where else {"ids": every, "ignore_missing": ignore_missing}
        # Sent again after it was done, ids would be missing; a filter would match nothing, so its count would be lost.
        answer = yield post(f"{self.path}/documents:delete", wanted, repeatable=False)
        return int(answer.json()["deleted"])

    def info(self) -> Steps[IndexInfo]:
        """Return what the index holds and how it was built; ``path`` is its address."""
        answer = yield Call("GET", self.path)
        return results.info_of(answer.json(), self.address)

    def count(self) -> Steps[int]:
        """Return the number of documents."""
        info = yield from self.info()
        return info.documents

    def compact(self) -> Steps[IndexInfo]:
        """Merge segments and remove deleted documents from the disk, and return what the index is then."""
        answer = yield Call("POST", f"{self.path}:compact")
        return results.info_of(answer.json(), self.address)

    def create(self, settings: IndexSettings | None = None) -> Steps[IndexInfo]:
        """Create the index, if it does not exist yet; the token needs the role admin."""
        body = json_body({} if settings is None else {"settings": settings.model_dump()})
        answer = yield json_call("PUT", self.path, body, repeatable=True)
        return results.info_of(answer.json(), self.address)

    def drop(self) -> Steps[None]:
        """Delete the index with all its documents; the token needs the role admin."""
        yield Call("DELETE", self.path, repeatable=False)

    def _document(self, id: str) -> str:
        if not isinstance(id, str) or not id:
            raise InputError(f"the id {id!r} cannot name a document; give a string that is not empty")
        return f"{self.path}/documents/{quote(id, safe='')}"


class DocumentsAdding:
    """Adds documents of any number, in requests of which each is one transaction.

    Parameters
    ----------
    verbs
        The index.
    existing
        What is done with a document whose id is stored already: an ``error``, ``skip`` it, or ``replace`` the other.
    vectors
        The vector of each document; ``None`` to have the server encode the texts.
    batch_size
        The most documents of a request.

    Raises
    ------
    InputError
        If a value cannot be used.
    """

    def __init__(self, verbs: IndexVerbs, existing: Existing, vectors: Numbers | None, batch_size: int) -> None:
        if existing not in _ON_CONFLICT:
            raise InputError(f"existing is {existing!r}; there are {', '.join(_ON_CONFLICT)}")
        self._path = f"{verbs.path}/documents"
        self._query = (("on_conflict", _ON_CONFLICT[existing]),)
        self._rows = None if vectors is None else iter(vectors if isinstance(vectors, Iterable) else _numbers(vectors))
        self._batcher = Batcher(batch_size, "document")
        self._stored = 0

    def take(self, document: Incoming) -> list[Steps[Updated]]:
        """Take a document, and return what is to be carried out now."""
        values = _read_incoming(document)
        if self._rows is not None:
            row = next(self._rows, None)
            if row is None:
                raise InputError(f"there are fewer vectors than documents; document {self._batcher.taken + 1} has none")
            values = {**values, "vector": _numbers(row)}
        return [self._send(batch) for batch in self._batcher.take(values)]

    def rest(self) -> list[Steps[Updated]]:
        """Return what remains to be carried out."""
        if self._rows is not None and next(self._rows, None) is not None:
            raise InputError(f"there are more vectors than documents, which are {self._batcher.taken}")
        return [self._send(batch) for batch in self._batcher.rest()]

    def _send(self, batch: Batch) -> Steps[Updated]:
        """Store a batch; if the server does not take as much at once, in parts."""
        call = json_call("POST", self._path, batch.body, repeatable=False, key=new_key())
        try:
            answer = yield replace(call, query=self._query)
        except BodyTooLargeError as error:
            if len(batch) == 1:
                raise self._at(error, batch) from error
            first, second = batch.halves()
            done = yield from self._send(first)
            return done + (yield from self._send(second))
        except InputError as error:
            raise self._at(error, batch) from error
        done = results.updated_of(answer.json())
        self._stored += done.added + done.replaced
        return done

    def _at(self, error: InputError, batch: Batch) -> InputError:
        """Return an error of a batch as one of all documents."""
        before = f" (stored before it: {counted(self._stored, 'document')} of this call)" if self._stored else ""
        found = type(error)(f"{error}{before}")
        found.field, found.fix = batch.counted(error.field), error.fix
        return found


def _read_incoming(document: Incoming) -> Mapping[str, Any]:
    if isinstance(document, str):
        return {"text": document}
    if isinstance(document, Document):
        found = {"id": document.id, "text": document.text, "lang": document.language, "metadata": document.metadata}
        return {name: value for name, value in found.items() if value is not None}
    if not isinstance(document, Mapping):
        raise InputError(f"a document is a text, a dict or a Document, not {type(document).__name__}")
    return document


def _numbers(vectors: Numbers) -> list[Any]:
    found: list[Any] = vectors.tolist() if hasattr(vectors, "tolist") else list(vectors)
    return found


def _parts(count: int, k: int) -> Iterator[tuple[int, int]]:
    size = max(1, _MOST_HITS // max(1, k)) if isinstance(k, int) else count
    for start in range(0, count, size):
        yield start, min(count, start + size)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
