"""Search and read the memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import anyio.to_thread
import numpy as np

from mlret.data.detection import detect_language
from mlret.encoders.external import ExternalEncoder
from mlret.errors import InputError, NotFound
from mlret.index.filtering.filters import Where, read_filter
from mlret.index.queries import check_k, check_queries
from mlret.index.search import Mode, check_mode
from mlret.memory import times
from mlret.memory.memory import Memory
from mlret.memory.paging import page
from mlret.memory.profiling import MOST, Profile
from mlret.memory.records import Kind, Level, MemoryRecord
from mlret.memory.results import Found
from mlret.memory.scope import Scope
from mlret.memory.search.selection import Selection
from mlret.memory.storage.store import MemoryStore
from mlret.memory.watching import Changes, changes
from mlret.serve.catalogue import ServedMemory
from mlret.serve.operations.cursors import row_of
from mlret.serve.operations.explaining import Explanation, explain
from mlret.serve.operations.invalid_values import about, invalid
from mlret.serve.operations.service import Service
from mlret.serve.problems import Problem
from mlret.serve.security.principal import Principal


@dataclass(frozen=True, slots=True)
class MemorySearch:
    """What to search the memory for.

    Attributes
    ----------
    queries
        Texts.
    scope
        What the request names of a scope.
    language
        Language of the queries; detected by default.
    k, where, kinds, levels, as_of, current_only, conflicts, abstain, now, mode
        As for :meth:`mlret.memory.memory.Memory.search`.
    """

    queries: Sequence[str]
    scope: Scope | None = None
    language: str | None = None
    k: int = 5
    where: Where | None = None
    kinds: Sequence[Kind] = ()
    levels: Sequence[Level] = ()
    as_of: str | None = None
    current_only: bool = True
    conflicts: bool = False
    abstain: bool = False
    now: str | None = None
    mode: Mode | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """Which records to list.

    Attributes
    ----------
    scope
        What the request names of a scope.
    where, kinds, levels, as_of, current_only, state
        As for :meth:`mlret.memory.memory.Memory.list`.
    """

    scope: Scope | None = None
    where: Where | None = None
    kinds: Sequence[Kind] = ()
    levels: Sequence[Level] = ()
    as_of: str | None = None
    current_only: bool = True
    state: str = "active"


class MemoryPage(NamedTuple):
    """A part of the records of a scope, and the cursor of the next part, ``None`` on the last one."""

    records: list[MemoryRecord]
    cursor: str | None


async def search_memory(service: Service, principal: Principal, wanted: MemorySearch) -> list[Found]:
    """Search the memory; see :func:`search_memory_explained`."""
    found, _ = await search_memory_explained(service, principal, wanted, explained=False)
    return found


async def search_memory_explained(
    service: Service, principal: Principal, wanted: MemorySearch, *, explained: bool = True
) -> tuple[list[Found], list[list[Explanation]]]:
    """Search the memory, and say which words and which part of each hit match.

    Parameters
    ----------
    service
        The server.
    principal
        Who asks.
    wanted
        What to search for.
    explained
        Whether to explain the hits.

    Returns
    -------
    (found, explanations)
        For each query its hits, best first, and an explanation of each of them; no explanations unless ``explained``.

    Raises
    ------
    Problem
        If a value is not valid; ``field`` names it.
    """
    served, scope = service.memory(principal, "read", wanted.scope)
    _check(service, wanted)
    languages = [wanted.language] * len(wanted.queries)
    if served.encoder.calibration_languages and wanted.language is None:
        languages = await anyio.to_thread.run_sync(lambda: [detect_language(one) for one in wanted.queries])
    vectors = await _vectors(served, wanted, languages)
    found = []
    for query, language, vector in zip(wanted.queries, languages, vectors, strict=True):

        def read(memory: Memory, query: str = query, language: str | None = language, vector: Any = vector) -> Found:
            [prepared] = memory.space.queries(vector[np.newaxis] if vector.ndim == 1 else [vector])
            return memory.search(
                query,
                scope,
                wanted.k,
                language=language,
                where=wanted.where,
                kinds=wanted.kinds,
                levels=wanted.levels,
                as_of=wanted.as_of,
                current_only=wanted.current_only,
                conflicts=wanted.conflicts,
                abstain=wanted.abstain,
                now=wanted.now,
                mode=wanted.mode,
                vector=prepared,
            )

        found.append(await served.handle.read(read))
    explanations = await explain(served, wanted.queries, vectors, found) if explained else []
    return found, explanations


async def pack_context(service: Service, principal: Principal, wanted: MemorySearch, budget: int) -> dict[str, Any]:
    """Search for one query, and fit what is found into a budget of tokens, in order of time.

    Parameters
    ----------
    service
        The server.
    principal
        Who asks.
    wanted
        The search, of one query.
    budget
        The most tokens of the encoder that the texts may have together.

    Returns
    -------
    dict
        ``text``; ``pieces`` with id, text, form and cost; ``cost``; ``dropped``, the ids of what did not fit.

    Raises
    ------
    Problem
        If a value is not valid; ``field`` names it.
    """
    [found] = await search_memory(service, principal, wanted)
    served, _ = service.memory(principal, "read", wanted.scope)
    with about("budget"):
        packed = await served.handle.read(lambda memory: memory.context(found, budget))
    return {"text": packed.text, **asdict(packed)}


async def list_memories(
    service: Service, principal: Principal, wanted: Listing, cursor: str | None, limit: int
) -> MemoryPage:
    """Return the records of a scope in the order in which their versions were stored.

    A page starts behind a version and not at a number of records: changes between two pages make no record go missing.
    A record that was changed has a new version, and so moves to the end.

    Parameters
    ----------
    service
        The server.
    principal
        Who asks.
    wanted
        Which records.
    cursor
        The cursor of the page before; ``None`` for the first page.
    limit
        The number of records.

    Raises
    ------
    Problem
        If the cursor is not one of this memory, or a value is not valid.
    """
    served, scope = service.memory(principal, "read", wanted.scope)
    selection = Selection(
        scope, wanted.where, wanted.kinds, wanted.levels, wanted.as_of, wanted.current_only, wanted.state
    )

    def read(memory: Memory) -> MemoryPage:
        store = MemoryStore(memory.folder_of(scope), scope, within=True)
        if cursor is not None:
            row_of(cursor, store.store.manifest.identity)  # It is checked as a part of the request.
        found = page(store, selection, cursor, limit)
        return MemoryPage(list(found), found.next)

    return await served.handle.read(read)


async def profile_of(
    service: Service, principal: Principal, scope: Scope | None = None, as_of: str | None = None, most: int = MOST
) -> Profile:
    """Return what is known of a scope; see :meth:`mlret.memory.memory.Memory.profile`.

    Raises
    ------
    Problem
        If ``as_of`` is not an instant.
    """
    served, bound = service.memory(principal, "read", scope)
    if as_of is not None:
        try:
            times.read_instant(as_of, "as_of")
        except InputError as error:
            raise Problem("invalid", str(error), field="as_of", place="query") from error
    return await served.handle.read(lambda memory: memory.profile(bound, as_of=as_of, most=most))


async def changes_of(
    service: Service, principal: Principal, scope: Scope | None = None, after: str | None = None, limit: int = 100
) -> Changes:
    """Return what changed in a scope behind a cursor.

    Parameters
    ----------
    service
        The server.
    principal
        Who asks.
    scope
        What the request names of a scope.
    after
        A cursor, ``""`` for the beginning, ``None`` for now.
    limit
        The most changes.

    Raises
    ------
    Problem
        If the cursor is not one of this memory.
    """
    served, bound = service.memory(principal, "read", scope)

    def read(memory: Memory) -> Changes:
        if after:
            row_of(after, memory.folder_of(bound).store.manifest.identity, "after")
        return changes(memory, bound, after, limit)

    return await served.handle.read(read)


async def get_memory(
    service: Service, principal: Principal, id: str, scope: Scope | None = None, as_of: str | None = None
) -> MemoryRecord:
    """Return the current version of a record, or the one that was valid at an instant.

    Raises
    ------
    NotFound
        If the scope holds no such record, or it had no version then.
    """
    served, bound = service.memory(principal, "read", scope)
    if as_of is not None:
        times.read_instant(as_of, "as_of")
    record = await served.handle.read(lambda memory: memory.get(id, bound, as_of=as_of))
    if record is None:
        error = NotFound(f"there is no memory {id!r} in the scope {bound}" + (f" at {as_of}" if as_of else ""))
        error.field = "id"
        raise error
    return record


async def history_of(service: Service, principal: Principal, id: str, scope: Scope | None = None) -> dict[str, Any]:
    """Return what happened to a record, and all its versions.

    Returns
    -------
    dict
        ``operations``, in order, and ``versions``, oldest first.

    Raises
    ------
    NotFound
        If the scope holds no such record.
    """
    served, bound = service.memory(principal, "read", scope)

    def read(memory: Memory) -> dict[str, Any]:
        return {
            "operations": [{**asdict(one), "at": one.at.isoformat()} for one in memory.history(id, bound)],
            "versions": [one.as_json() for one in memory.versions(id, bound)],
        }

    return await served.handle.read(read)


def _check(service: Service, wanted: MemorySearch) -> None:
    """Check what can be checked before the queries are encoded."""
    if len(wanted.queries) * wanted.k > service.settings.most_hits:
        raise invalid(
            f"{len(wanted.queries)} queries with up to {wanted.k} hits are more than {service.settings.most_hits} hits",
            ["k"],
            "Ask for fewer hits, or send the queries in several requests.",
        )
    with about("k"):
        check_k(wanted.k)
    with about("query"):
        check_queries(list(wanted.queries), None)
        if not all(one.strip() for one in wanted.queries):
            raise InputError("a query is empty; write a few words")
    with about("language"):
        check_queries(["a"], wanted.language)
    with about("where"):
        read_filter(wanted.where)
    with about("mode"):
        check_mode(wanted.mode)
    for name, value in (("as_of", wanted.as_of), ("now", wanted.now)):
        if value is not None:
            with about(name):
                times.read_instant(value, name)


async def _vectors(served: ServedMemory, wanted: MemorySearch, languages: Sequence[str | None]) -> Any:
    if isinstance(served.encoder, ExternalEncoder):
        raise invalid(f"the vectors of this memory are made elsewhere, by {served.encoder.name}", ["query"])
    return await served.queries(list(wanted.queries), languages)
