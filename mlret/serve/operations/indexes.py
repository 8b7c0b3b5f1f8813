"""Describe, create and delete indexes."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlret.errors import AlreadyExists
from mlret.index.index import Index
from mlret.index.settings import IndexSettings
from mlret.index.storage.lock import LOCK
from mlret.index.storage.manifest import MANIFEST
from mlret.index.storage.records import RECORDS
from mlret.serve.catalogue import ServedIndex
from mlret.serve.operations.invalid_values import about
from mlret.serve.operations.service import Service
from mlret.serve.problems import Problem
from mlret.serve.security.principal import Principal
from mlret.serve.settings import check_name

MOST_FIELDS = 100
MOST_VALUES = 50


async def list_indexes(service: Service, principal: Principal) -> list[dict[str, Any]]:
    """Describe the indexes that a client may read, in the order of their names."""
    principal.require("read")
    found = []
    for name in service.catalogue.names():
        if principal.may_use(name) and name in service.catalogue:
            try:
                found.append(await _described(service.catalogue.index(name)))
            except Problem:
                if name in service.catalogue:  # Otherwise it was deleted meanwhile.
                    raise
    return found


async def describe_index(service: Service, principal: Principal, name: str) -> dict[str, Any]:
    """Describe an index: settings, encoder, numbers of documents."""
    return await _described(service.index(principal, name, "read"))


async def list_fields(service: Service, principal: Principal, name: str) -> list[dict[str, Any]]:
    """Return the metadata fields of an index, for which a filter can be made.

    Returns
    -------
    list of dict
        At most :data:`MOST_FIELDS` fields in the order of their ``name``; ``kinds`` are those of the values; ``values``
        are the strings, numbers and booleans, ``None`` if there are more than :data:`MOST_VALUES` of a kind.
    """
    served = service.index(principal, name, "read")

    def read(index: Index) -> list[dict[str, Any]]:
        found = []
        for field, by_kind in index.shards.fields(MOST_FIELDS, MOST_VALUES + 1).items():
            few = all(len(values) <= MOST_VALUES for values in by_kind.values())
            values = [value for some in by_kind.values() for value in some] if few else None
            found.append({"name": field, "kinds": list(by_kind), "values": values})
        return found

    return await served.handle.read(read)


async def create_index(
    service: Service, principal: Principal, name: str, settings: IndexSettings
) -> tuple[dict[str, Any], bool]:
    """Create an index below the root of the server, unless the same one exists.

    Parameters
    ----------
    service
        The server.
    principal
        Who asks.
    name
        The name of the index, and of its folder.
    settings
        The settings of the index.

    Returns
    -------
    (description, created)
        What it is like, and whether it is new.

    Raises
    ------
    Problem
        If the server has no root, or an index of that name has other settings.
    """
    principal.require_index(name, "admin")
    check_name(name)
    created = False
    if name not in service.catalogue:
        if service.catalogue.root is None:
            raise Problem(
                "forbidden",
                "this server creates no indexes: it was started without --root",
                fix="Start the server with --root FOLDER, or build the index with `mlret index build` and name it at "
                "the start.",
            )
        try:
            with about("settings"):
                await service.catalogue.create(name, settings)
            created = True
        except AlreadyExists:
            if name not in service.catalogue:  # Otherwise another request created it first.
                raise
    served = service.catalogue.index(name)
    if await served.handle.read(lambda index: index.manifest.settings) != settings:
        raise Problem(
            "conflict",
            f"an index {name!r} with other settings exists",
            field="/settings",
            place="body",
            fix="Choose another name, or send the settings that GET shows.",
        )
    return await _described(served), created


async def delete_index(service: Service, principal: Principal, name: str) -> None:
    """Delete an index with all its documents.

    Raises
    ------
    Problem
        If it was named at the start of the server, which then does not own its folder.
    """
    served = service.index(principal, name, "admin")
    if not served.removable:
        raise Problem(
            "forbidden",
            f"the index {name!r} was named when the server was started, and is not deleted by a request",
            fix="Stop the server and remove the folder, or delete the documents.",
        )
    await service.catalogue.remove(name)


async def compact_index(service: Service, principal: Principal, name: str) -> dict[str, Any]:
    """Compact an index, and describe it; see :meth:`mlret.index.index.Index.compact`."""
    served = service.index(principal, name, "admin")
    await served.handle.write(Index.compact)
    return await _described(served)


async def _described(served: ServedIndex) -> dict[str, Any]:
    def read(index: Index) -> dict[str, Any]:
        info = asdict(index.info())
        # The settings hold kind, dtype and copies; where the folder is, is nobody's business.
        del info["path"], info["kind"], info["dtype"], info["copies"]
        languages = {code or "und": count for code, count in info["languages"].items()}
        settings = index.manifest.settings.model_dump()
        encoder = info["encoder"]
        if Path(encoder).is_absolute():
            encoder = Path(encoder).name
        return {
            "name": served.name,
            **info,
            "encoder": encoder,
            "parts": _sizes(served.folder),
            "languages": languages,
            "settings": settings,
            "removable": served.removable,
        }

    return await served.handle.read(read)


def _sizes(folder: Path) -> dict[str, int]:
    """Return what takes how many bytes of the folder of an index: the database, files of vectors, the rest."""
    sizes = {"records": 0, "vectors": 0, "other": 0}
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # A compaction removes files at any time.
            if file.is_file():
                own = file.name in (MANIFEST, LOCK)
                part = "records" if file.name.startswith(RECORDS) else "other" if own else "vectors"
                sizes[part] += file.stat().st_size
    return sizes
