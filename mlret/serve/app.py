"""The application: the routes behind the guards, and the folders that they work on."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Response

from mlret import __version__
from mlret.serve.catalogue import Catalogue, Reading
from mlret.serve.guards import Guards
from mlret.serve.limits.access_log import AccessLog
from mlret.serve.limits.body import BodyLimits
from mlret.serve.limits.capacity import CapacityLimits
from mlret.serve.limits.measurements import Measurements
from mlret.serve.mcp.mcp_endpoint import McpEndpoint, caller_of
from mlret.serve.mcp.mcp_server import mcp_server
from mlret.serve.operations.service import Service
from mlret.serve.problems import explanations
from mlret.serve.routes import (
    document_routes,
    embedding_routes,
    health,
    index_routes,
    memory_routes,
    permission_routes,
    search_routes,
)
from mlret.serve.routes.dependencies import problems
from mlret.serve.routes.page_routes import page_router
from mlret.serve.schemas.value_types import FILTER_SCHEMA, with_filters
from mlret.serve.security.authentication import Caller
from mlret.serve.security.hosts import HostPolicy
from mlret.serve.security.tokens import TokenStore, default_path
from mlret.serve.settings import ServeSettings

_DESCRIPTION = """Store text in any language and find it from any other.

Every error is a problem document (RFC 9457) that names the field and how to fix it. A document is stored, and survives
a crash of the server, when the answer says so."""


def create_app(
    settings: ServeSettings,
    *,
    tokens: TokenStore | None = None,
    log: AccessLog | None = None,
    reading: Reading | None = None,
) -> FastAPI:
    """Return the application. Its folders are opened when it is started, and closed when it is ended.

    Parameters
    ----------
    settings
        What is served, and the limits.
    tokens
        The tokens; those in the file of the settings unless given.
    log
        The log, which the caller closes; one to standard error unless given.
    reading
        How folders are read that other processes read for the server; see :class:`mlret.serve.catalogue.Catalogue`.

    Returns
    -------
    fastapi.FastAPI
        An ASGI application.
    """
    tokens = tokens or TokenStore(settings.tokens or default_path())
    own_log = log is None
    written = log or AccessLog(texts=settings.log_texts)
    measurements = Measurements()
    folders: dict[str, str] = {}
    mcp = McpEndpoint()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        catalogue = Catalogue(settings, folders, reading)
        app.state.service = service = Service(settings, catalogue)
        warming = None
        try:
            await catalogue.open()
            warming = asyncio.ensure_future(_warm(service))
            async with mcp.serving(mcp_server(service, caller_of, written), settings.body_limit):
                yield
        finally:
            service.state = "ending"
            if warming is not None:
                warming.cancel()
            await catalogue.close()
            if own_log:
                written.close()

    app = FastAPI(
        title="mlret",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    guards = Guards(
        tokens,
        hosts=HostPolicy(settings.host, frozenset(settings.allow_host), frozenset(settings.allow_origin)),
        body=BodyLimits(size=settings.body_limit),
        capacity=CapacityLimits(working=settings.most_requests),
        deadline=settings.deadline,
        log=written,
        measurements=measurements,
        folders=folders,
    )
    for module in (
        health,
        permission_routes,
        index_routes,
        document_routes,
        search_routes,
        memory_routes,
        embedding_routes,
    ):
        app.include_router(module.router)
    app.include_router(page_router())
    app.include_router(explanations())
    app.router.routes.append(mcp.route)
    _add_metrics(app, measurements)
    guards.protect(app)
    _describe_more(app)
    return app


async def _warm(service: Service) -> None:
    # An encoder that fails to load fails the requests that need it, with an error that says why; others go on.
    with contextlib.suppress(Exception):
        await service.catalogue.warm()
    if service.state == "starting":
        service.state = "ready"


def _add_metrics(app: FastAPI, measurements: Measurements) -> None:
    described: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}

    @app.get(
        "/metrics",
        tags=["server"],
        summary="Measurements in Prometheus' format",
        response_class=Response,
        responses=described | problems(),
    )
    async def metrics(caller: Caller) -> Response:
        """Return how many requests were answered, how, and how fast; no name of an index and no text is part of it."""
        caller.require("read")
        content, media_type = measurements.exposition()
        return Response(content, media_type=media_type)


def _describe_more(app: FastAPI) -> None:
    """Add the models of bodies that the routes read themselves to the description of the interface."""
    described = app.openapi

    @functools.cache
    def openapi() -> dict[str, Any]:
        document = described()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for model in (*document_routes.DESCRIBED, *embedding_routes.DESCRIBED):
            found = model.model_json_schema(by_alias=True, ref_template="#/components/schemas/{model}")
            for name, schema in found.pop("$defs", {}).items():
                schemas.setdefault(name, schema)
            schemas.setdefault(model.__name__, found)
        complete: dict[str, Any] = with_filters(document)
        complete["components"]["schemas"]["Filter"] = FILTER_SCHEMA
        return complete

    app.openapi = openapi  # type: ignore[method-assign] # as FastAPI's documentation extends it
