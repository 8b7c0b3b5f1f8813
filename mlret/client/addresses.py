"""Addresses of a server, and of an index on it."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from mlret.errors import InputError

_SCHEMES = ("http://", "https://")
_INDEXES = "/v1/indexes/"


def is_address(place: str) -> bool:
    """Return whether a place is named by an address of the web rather than by a path.

    Examples
    --------
    >>> is_address("https://example.org/news"), is_address("data/news.index")
    (True, False)
    """
    return place.lower().startswith(_SCHEMES)


def server_address(address: str) -> str:
    """Return the address of a server without a slash at its end.

    Parameters
    ----------
    address
        ``http://HOST[:PORT]``; a proxy may serve it below a path.

    Raises
    ------
    InputError
        If it is no address, or holds a password, a query or a fragment.
    """
    try:
        parts = urlsplit(address)
        _ = parts.port  # It is checked when it is read.
    except ValueError as error:
        raise InputError(f"{address!r} is no address ({error}); write http://HOST:PORT") from error
    if not is_address(address) or not parts.hostname:
        raise InputError(f"{address!r} is no address of a server; write http://HOST:PORT")
    if parts.username is not None or parts.query or parts.fragment:
        raise InputError(
            f"the address of {parts.hostname} holds more than a path; write http://HOST:PORT, and give the token apart"
        )
    return address.rstrip("/")


def index_address(address: str) -> tuple[str, str]:
    """Return the address of the server, and the name of the index, that an address names.

    Parameters
    ----------
    address
        ``http://HOST:PORT/v1/indexes/NAME``, or shorter ``http://HOST:PORT/NAME``.

    Raises
    ------
    InputError
        If it names no index.

    Examples
    --------
    >>> index_address("http://127.0.0.1:8752/v1/indexes/news")
    ('http://127.0.0.1:8752', 'news')
    >>> index_address("https://example.org/search/news")
    ('https://example.org/search', 'news')
    """
    whole = server_address(address)
    server, separator, name = whole.rpartition(_INDEXES)
    if not separator:
        server, _, name = whole.rpartition("/")
    if not is_address(server) or "/" in name or not name or not urlsplit(server).hostname:
        raise InputError(f"{address!r} names no index; write http://HOST:PORT/v1/indexes/NAME")
    return server, unquote(name)


def memory_address(address: str) -> str:
    """Return the address of the server of a memory: ``http://HOST:PORT``, with or without ``/v1/memories``.

    Examples
    --------
    >>> memory_address("http://127.0.0.1:8752/v1/memories")
    'http://127.0.0.1:8752'
    """
    return server_address(address).removesuffix("/v1/memories")
