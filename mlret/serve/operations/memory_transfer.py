"""Export the memory as lines of JSON, and import such lines."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

import anyio.to_thread

from mlret.data.json_text import RepeatedKeyError, read_json
from mlret.errors import AlreadyExists
from mlret.memory.ingest.import_export import Existing, export_records
from mlret.memory.memory import Memory
from mlret.memory.scope import Scope
from mlret.memory.storage.store import MemoryStore
from mlret.serve.operations.service import Service
from mlret.serve.problems import Problem
from mlret.serve.security.principal import Principal

# Records that are read in one step, so that what others ask for comes in between.
_TOGETHER = 64


async def export_memories(
    service: Service, principal: Principal, scope: Scope | None = None, *, vectors: bool = False
) -> AsyncIterator[bytes]:
    """Yield the records of a scope as lines of NDJSON, each with all its versions.

    What others change meanwhile is exported as it is when its turn comes.

    Parameters
    ----------
    service
        The server.
    principal
        Who asks.
    scope
        What the request names of a scope.
    vectors
        Whether to include the vector of each version.

    Yields
    ------
    bytes
        Lines, as :meth:`mlret.memory.memory.Memory.export` describes them.
    """
    served, bound = service.memory(principal, "read", scope)
    ids = await served.handle.read(lambda memory: memory.ids(bound))
    for start in range(0, len(ids), _TOGETHER):
        some = ids[start : start + _TOGETHER]
        yield await served.handle.read(partial(_lines_of, scope=bound, ids=some, vectors=vectors))


async def import_memories(
    service: Service, principal: Principal, body: bytes, scope: Scope | None = None, *, existing: Existing = "error"
) -> tuple[int, int]:
    """Store records that an export has written.

    Parameters
    ----------
    service
        The server.
    principal
        Who asks.
    body
        Lines of NDJSON. Every record must belong to the scope of the request.
    scope
        What the request names of a scope.
    existing
        What to do with an id that is stored already: ``error`` or ``skip``.

    Returns
    -------
    (imported, skipped)
        The numbers of records that are new, and of those that were stored already.

    Raises
    ------
    Problem
        If a line is not a record, is outside the scope, or its id is taken. Records of earlier lines may be stored;
        the same request with ``existing=skip`` resumes.
    """
    served, bound = service.memory(principal, "write", scope)
    lines = await anyio.to_thread.run_sync(_read, body)
    try:
        found = await served.handle.write(lambda memory: memory.import_records(lines, bound, existing=existing))
    except AlreadyExists as error:
        raise Problem(
            "conflict", str(error), field="existing", place="query", fix="Send existing=skip to skip stored records."
        ) from error
    return found, len(lines) - found


def _lines_of(memory: Memory, scope: Scope, ids: Sequence[str], *, vectors: bool) -> bytes:
    records = export_records(MemoryStore(memory.folder_of(scope), scope), ids, vectors=vectors)
    return b"".join(json.dumps(one, ensure_ascii=False).encode() + b"\n" for one in records)


def _read(body: bytes) -> list[Any]:
    found = []
    for number, line in enumerate(body.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            found.append(read_json(line.decode("utf-8")))
        except (RepeatedKeyError, ValueError, RecursionError) as error:
            raise Problem(
                "malformed", f"line {number} is not JSON ({error})", place="body", fix="Send one record on each line."
            ) from error
    return found
