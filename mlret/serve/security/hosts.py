"""Which names the server answers under, and which web pages may call it.

A page of any web site can send requests to addresses that only this machine reaches, and a site can give its own name
the address 127.0.0.1 (DNS rebinding), so that the browser takes the server for a part of the site. Two checks prevent
both:

* ``Host`` must be a name that the server was started for. Loopback names always are; on another address every literal
  IP address is, because a name that an attacker controls cannot be one.
* ``Origin``, which a browser sends and a page cannot choose, must be the server's own or one that was listed. A request
  that a browser marks as sent by another site (``Sec-Fetch-Site``) is refused, except when someone follows a link to a
  public page.

There are no CORS headers unless origins are listed, and never for cookies: the server uses none.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import cached_property

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from mlret.errors import InputError, MlretWarning, warn
from mlret.serve.problems import Problem
from mlret.serve.security.public import is_public

_HOST = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::[0-9]{1,5})?", re.ASCII)
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(:[0-9]{1,5})?", re.ASCII)
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_EXPOSED = ("X-Request-Id", "Retry-After", "WWW-Authenticate", "Allow", "Location", "ETag", "Mcp-Session-Id")


def is_loopback(host: str) -> bool:
    """Return whether an address or name is reached from this machine alone.

    Examples
    --------
    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "example.org")]
    [True, True, True, False, False]
    """
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def host_name(header: str) -> str | None:
    """Return the name or address in a ``Host`` header, in lower case and without the port; ``None`` if not valid.

    Examples
    --------
    >>> host_name("LocalHost:8752"), host_name("[::1]:80"), host_name("a@b")
    ('localhost', '::1', None)
    """
    match = _HOST.fullmatch(header.lower())
    return match and match[1].strip("[]").removesuffix(".")


@dataclass(frozen=True)
class HostPolicy:
    """Which hosts and origins are allowed.

    Parameters
    ----------
    listening
        The address that the server listens on.
    hosts
        More names that clients use, such as that of a proxy.
    origins
        Web pages of other origins that may call the server, such as ``https://app.example.org``.

    Raises
    ------
    InputError
        If a host or an origin does not have the form of one.
    """

    listening: str = "127.0.0.1"
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for host in self.hosts:
            if host_name(host) != host.lower().strip("[]"):
                raise InputError(f"{host!r} is not the name of a host; give a name such as search.example.org")
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise InputError(
                    f"{origin!r} is not an origin; write scheme://host[:port] in lower case, without a path, "
                    "e.g. https://app.example.org"
                )

    @cached_property
    def _listed(self) -> frozenset[str]:
        return frozenset(one.lower().strip("[]") for one in self.hosts)

    def answers(self, host: str) -> bool:
        """Return whether the server answers under a name, in lower case and without the port."""
        if host in self._listed or is_loopback(host):
            return True
        return not is_loopback(self.listening) and (_address(host) is not None or host == self.listening.lower())


class Hosts:
    """ASGI middleware that refuses requests for other names and from pages of other origins.

    Parameters
    ----------
    app
        The application behind it.
    policy
        What is allowed.
    """

    def __init__(self, app: ASGIApp, policy: HostPolicy) -> None:
        self._app: ASGIApp = app
        self._policy = policy
        if policy.origins:
            self._app = CORSMiddleware(
                app,
                allow_origins=sorted(policy.origins),
                allow_methods=_METHODS,
                allow_headers=("*",),
                expose_headers=_EXPOSED,
                # A browser asks for this too where a public page calls an address of the local network.
                allow_private_network=True,
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (problem := refusal(scope, self._policy)):
            await problem.response(scope)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def refusal(scope: Scope, policy: HostPolicy) -> Problem | None:
    """Return why a request is refused for its ``Host``, ``Origin`` or ``Sec-Fetch-Site``, or ``None``."""
    hosts, origins = headers_named(scope, b"host"), headers_named(scope, b"origin")
    name = host_name(hosts[0]) if len(hosts) == 1 else None
    if name is None:
        return Problem("malformed", "the request needs one valid header Host", field="Host", place="header")
    if not policy.answers(name):
        return Problem("wrong-host", f"the server does not answer under {name!r}", field="Host", place="header")
    if origins:
        own = {f"{scheme}://{hosts[0].lower()}" for scheme in ("http", "https")}
        if len(origins) > 1 or (origins[0] not in own and origins[0] not in policy.origins):
            detail = "the origin of this web page is neither the server's own nor listed"
            return Problem("foreign-page", detail, field="Origin", place="header")
        return _refused_preflight(scope)
    sites = headers_named(scope, b"sec-fetch-site")
    if any(site in ("cross-site", "same-site") for site in sites) and not _follows_a_link(scope):
        detail = "the browser states that another site sends this request"
        return Problem("foreign-page", detail, field="Sec-Fetch-Site", place="header")
    return None


def _refused_preflight(scope: Scope) -> Problem | None:
    """Return why a browser's question whether a page may send a request is refused, or ``None``."""
    methods = headers_named(scope, b"access-control-request-method")
    if scope["method"] != "OPTIONS" or all(method in _METHODS for method in methods):
        return None
    return Problem("malformed", "no path takes this method", field="Access-Control-Request-Method", place="header")


def headers_named(scope: Scope, name: bytes) -> list[str]:
    """Return the values of all headers of a name."""
    return [value.decode("latin-1").strip() for key, value in scope["headers"] if key == name]


def _follows_a_link(scope: Scope) -> bool:
    """Return whether a browser opens a public page on its own, such as after a click on a link."""
    return is_public(scope) and headers_named(scope, b"sec-fetch-mode") == ["navigate"]


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def check_listening(address: str, tokens: int, *, where: object) -> None:
    """Check that the server may listen on an address, and warn if what is sent to it is not encrypted.

    Parameters
    ----------
    address
        The address.
    tokens
        Number of valid tokens.
    where
        The file of the tokens, for the message.

    Raises
    ------
    InputError
        If others reach the address and there is no token yet.
    """
    if is_loopback(address):
        return
    if not tokens:
        raise InputError(
            f"{address} can be reached from other machines, and there is no token yet in {where}; "
            "make one first: mlret tokens add NAME --role read"
        )
    warn(
        f"tokens and texts travel to {address} without encryption; on a network that others use, put a proxy with TLS "
        "before the server",
        MlretWarning,
    )
