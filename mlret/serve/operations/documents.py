"""Read, change and delete the documents of an index."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import anyio.to_thread

from mlret.data.detection import DETECTION_CHARACTERS, detect_language
from mlret.data.documents import Document
from mlret.errors import InputError, NotFound
from mlret.index.filtering.filters import Where, read_filter
from mlret.index.index import Index
from mlret.index.queries import check_ids
from mlret.serve.operations.cursors import cursor_after, row_of
from mlret.serve.operations.incoming import IncomingDocument, field_of
from mlret.serve.operations.invalid_values import about, invalid
from mlret.serve.operations.service import Service
from mlret.serve.operations.storing import Batch, to_encode
from mlret.serve.problems import Problem
from mlret.serve.security.principal import Principal


class Page(NamedTuple):
    """A part of the documents of an index, and the cursor of the next part, ``None`` on the last one."""

    documents: list[Document]
    cursor: str | None


async def list_documents(service: Service, principal: Principal, name: str, cursor: str | None, limit: int) -> Page:
    """Return documents in the order in which they were stored.

    A page starts behind a row and not at a number of documents: deletions between two pages make none repeat and none
    go missing. A document that was replaced takes a new row, and so moves to the end.

    Parameters
    ----------
    service
        The server.
    principal
        Who asks.
    name
        The name of the index.
    cursor
        The cursor of the page before; ``None`` for the first page.
    limit
        The number of documents.

    Raises
    ------
    Problem
        If the cursor is not one of this index.
    """
    served = service.index(principal, name, "read")

    def read(index: Index) -> Page:
        identity = index.manifest.identity
        after = 0 if cursor is None else row_of(cursor, identity)
        # One more than the page shows whether there is a next one.
        found = index.shards.page(after, limit + 1)
        shown = found[:limit]
        return Page([one for _, one in shown], cursor_after(shown[-1][0], identity) if len(found) > limit else None)

    return await served.handle.read(read)


async def get_document(service: Service, principal: Principal, name: str, id: str) -> Document:
    """Return a document.

    Raises
    ------
    NotFound
        If it is not stored.
    """
    served = service.index(principal, name, "read")
    document = await served.handle.read(lambda index: index.get(id))
    if document is None:
        raise _missing(name, id)
    return document


async def change_document(
    service: Service, principal: Principal, name: str, id: str, change: dict[str, Any]
) -> Document:
    """Change some fields of a document, and return it as it is stored then.

    Parameters
    ----------
    service
        The server.
    principal
        Who asks.
    name
        The name of the index.
    id
        The id of the document.
    change
        The new ``text``, ``lang`` and ``metadata``; a merge patch (RFC 7396).

    Raises
    ------
    NotFound
        If it is not stored.
    Problem
        If the changed document is not valid.
    """
    served = service.index(principal, name, "write")
    before = await get_document(service, principal, name, id)
    after = await anyio.to_thread.run_sync(_changed, before, change)
    incoming = IncomingDocument(after, named=True)
    wanted = await served.handle.read(partial(to_encode, documents=[incoming], on_conflict="replace"))
    vectors = await served.passages([text for text, _ in wanted], [language for _, language in wanted])
    encoded = dict(zip(wanted, vectors, strict=True))

    def write(index: Index) -> Document:
        # What was read may be outdated by now: another change of this document may have come first.
        index.refresh()
        present = index.get(id)
        if present is None:
            raise _missing(name, id)
        document = after if present == before else _changed(present, change)
        Batch([IncomingDocument(document, named=True)], "replace", encoded, together=True).store(index)
        return document

    return await served.handle.write(write)


async def delete_documents(
    service: Service,
    principal: Principal,
    name: str,
    ids: Sequence[str] = (),
    where: Where | None = None,
    *,
    ignore_missing: bool = False,
) -> tuple[int, int]:
    """Delete documents by id or by filter.

    Parameters
    ----------
    service
        The server.
    principal
        Who asks.
    name
        The name of the index.
    ids, where, ignore_missing
        As for :meth:`mlret.index.index.Index.delete`.

    Returns
    -------
    (deleted, left)
        The number of documents that were deleted, and that of those which the index holds.
    """
    served = service.index(principal, name, "write")
    with about("ids"):
        check_ids(ids)
    with about("where"):
        read_filter(where)

    def write(index: Index) -> tuple[int, int]:
        try:
            return index.delete(ids, where=where, ignore_missing=ignore_missing), len(index)
        except NotFound as error:
            stored = index.shards.stored(ids)
            missing = [id for id in ids if id not in stored]
            raise Problem(
                "not-found",
                f"{len(missing)} ids are not stored, the first is {missing[0]!r}; nothing was deleted",
                field=f"/ids/{list(ids).index(missing[0])}",
                place="body",
                fix="Leave these ids out, or send ignore_missing: true.",
            ) from error

    return await served.handle.write(write)


async def delete_document(service: Service, principal: Principal, name: str, id: str) -> tuple[int, int]:
    """Delete a document, and return 1 and the number of documents that are left.

    Raises
    ------
    NotFound
        If it is not stored.
    """
    deleted, left = await delete_documents(service, principal, name, [id], ignore_missing=True)
    if not deleted:
        raise _missing(name, id)
    return deleted, left


def _changed(document: Document, change: dict[str, Any]) -> Document:
    """Return a document with a merge patch applied, and its language detected if the patch removes it."""
    text = change.get("text", document.text)
    language = change.get("lang", document.language)
    metadata = document.metadata
    if "metadata" in change:
        metadata = _merged(metadata, change["metadata"]) if change["metadata"] is not None else {}
    try:
        found = Document(document.id, text, language, metadata)
    except InputError as error:
        raise invalid(str(error), field_of({"text": text, "lang": language}) or ["metadata"]) from error
    if found.language is not None:
        return found
    return Document.stored(found.id, text, detect_language(text[:DETECTION_CHARACTERS]), found.metadata)


def _merged(old: Any, change: Any) -> Any:
    """Return a JSON value with a merge patch (RFC 7396) applied."""
    if not isinstance(change, dict):
        return change
    found = dict(old) if isinstance(old, dict) else {}
    for key, value in change.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = _merged(found.get(key), value)
    return found


def _missing(name: str, id: str) -> NotFound:
    error = NotFound(f"the index {name!r} has no document {id!r}")
    error.field = "id"
    return error
