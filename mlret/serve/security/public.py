"""What is public: the checks of health, the web page with its static files, and the explanations of errors.

None of it holds data. Everything else needs a token, also ``/openapi.json`` and ``/metrics``. ``/docs`` is a page that
fetches ``/openapi.json`` with the token that the reader gives it.
"""

from __future__ import annotations

from starlette.types import Scope

PAGES = frozenset({"/", "/docs", "/healthz", "/readyz", "/favicon.ico"})
FOLDERS = ("/static/", "/problems/")


def is_public(scope: Scope) -> bool:
    """Return whether a request needs no token."""
    path = scope["path"]
    return scope["method"] in ("GET", "HEAD") and (path in PAGES or path.startswith(FOLDERS))
