"""The web page, and the page that shows the description of the interface: static files, which hold no data."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request, Response

from mlret.serve.problems import Problem

_FOLDER = Path(__file__).resolve().parents[1] / "web"
# What a browser needs to be told, because the answers also say that it must not guess.
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# A browser asks each time whether its copy is the present one, so that all files are of one version after an update.
_CACHED = "no-cache"


@dataclass(frozen=True)
class StaticFile:
    """A file of the page, as it is sent."""

    content: bytes
    media_type: str
    etag: str

    @classmethod
    def read(cls, path: Path) -> StaticFile:
        """Read a file."""
        content = path.read_bytes()
        return cls(content, _TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')

    def answer(self, request: Request) -> Response:
        """Return the file, or that it is unchanged since the browser got it."""
        headers = {"ETag": self.etag, "Cache-Control": _CACHED}
        known = {one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")}
        if self.etag in known or "*" in known:
            # The headers replace those that the browser has kept: with the type comes the policy of the page.
            return Response(status_code=304, headers=headers, media_type=self.media_type)
        return Response(self.content, media_type=self.media_type, headers=headers)


def page_router() -> APIRouter:
    """Return the routes of the pages. The files are read now, so that no request reads from the disk."""
    files = {path.name: StaticFile.read(path) for path in _FOLDER.iterdir() if path.suffix in _TYPES}
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def page(request: Request) -> Response:
        return files["index.html"].answer(request)

    @router.get("/docs")
    async def interface(request: Request) -> Response:
        return files["interface.html"].answer(request)

    @router.get("/favicon.ico")
    async def icon(request: Request) -> Response:
        return files["icon.svg"].answer(request)

    @router.get("/static/{name}")
    async def static(name: str, request: Request) -> Response:
        if name not in files or name.endswith(".html"):
            raise Problem("not-found", f"there is no file {name!r}", field="name", place="path")
        return files[name].answer(request)

    return router
