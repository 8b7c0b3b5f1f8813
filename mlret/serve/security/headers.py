"""Headers of every answer that tell a browser what it may do with it."""

from __future__ import annotations

from collections.abc import Sequence

# The page runs only the server's own scripts and styles, from files, and cannot be put into a frame.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_OTHER_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

_ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    # Answers hold texts that only the owner of the token may see, so that nothing on the way keeps them.
    (b"cache-control", b"no-store"),
]
_PAGE = [*_ALWAYS, (b"content-security-policy", PAGE_POLICY.encode())]
_OTHER = [*_ALWAYS, (b"content-security-policy", _OTHER_POLICY.encode())]


def with_security_headers(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer, with those of security that it does not set itself.

    Examples
    --------
    >>> headers = dict(with_security_headers([(b"cache-control", b"max-age=60")]))
    >>> headers[b"cache-control"], headers[b"x-content-type-options"]
    (b'max-age=60', b'nosniff')
    """
    given = {name.lower(): value for name, value in headers}
    more = _PAGE if given.get(b"content-type", b"").startswith(b"text/html") else _OTHER
    return [*headers, *(one for one in more if one[0] not in given)]
