"""Headers of every answer that tell a browser what it may do with it."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders

# The page runs only the server's own scripts and styles, from files, and cannot be put into a frame.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_OTHER_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Answers hold texts that only the owner of the token may see, so that nothing on the way keeps them.
    "Cache-Control": "no-store",
}


def add_security_headers(headers: MutableHeaders) -> None:
    """Add the headers to those of an answer, unless the answer sets one itself."""
    for name, value in _ALWAYS.items():
        headers.setdefault(name, value)
    page = headers.get("content-type", "").startswith("text/html")
    headers.setdefault("Content-Security-Policy", PAGE_POLICY if page else _OTHER_POLICY)
