"""What both clients need of httpx2: where they connect to and how, and how its failures are told apart."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Coroutine, Generator
from functools import wraps
from inspect import signature
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

from mlret.client.addresses import server_address
from mlret.client.calls import Answer, Call, Lost, Outcome, Steps, Wait
from mlret.errors import InputError, require

httpx2 = require("httpx2", extra="client", feature="the client")

P = ParamSpec("P")
T = TypeVar("T")
V = TypeVar("V")
TOKEN = "MLRET_TOKEN"
Running = Generator[Call | Wait, Outcome | None, T]


class Target:
    """The server of a client, and how it is reached.

    Parameters
    ----------
    address
        ``http://HOST:PORT``.
    token
        The token; by default the value of the environment variable ``MLRET_TOKEN``.
    timeout
        Seconds that the server may take for an answer.
    retries
        How often a request is repeated at most.

    Raises
    ------
    InputError
        If a value cannot be used.
    """

    def __init__(self, address: str, token: str | None, timeout: float, retries: int) -> None:
        self.address = server_address(address)
        self.retries = retries
        if not timeout > 0 or not isinstance(retries, int) or retries < 0:
            raise InputError(f"timeout is {timeout!r} and retries {retries!r}; give seconds above 0, and 0 or more")
        token = os.environ.get(TOKEN) if token is None else token
        headers = {"Accept": "application/json, application/x-ndjson", "Authorization": f"Bearer {token}"}
        if not token:
            del headers["Authorization"]
        elif not token.isascii() or not token.isprintable() or " " in token:
            raise InputError("the token contains characters that no token has; copy it again")
        self.options: dict[str, Any] = {
            "headers": headers,
            "timeout": httpx2.Timeout(timeout, connect=min(timeout, 10.0)),
            # A proxy of the environment does not reach what only this machine reaches.
            "trust_env": not _is_loopback(urlsplit(self.address).hostname or ""),
        }

    def request(self, call: Call) -> dict[str, Any]:
        """Return a call as the arguments of httpx2."""
        return {
            "method": call.method,
            "url": self.address + call.path,
            "content": call.body or None,
            "params": list(call.query) or None,
            "headers": dict(call.headers),
        }


def answer_of(response: Any) -> Answer:
    """Return an answer of httpx2."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, response.content)


def lost(error: Exception) -> Lost:
    """Return what an error of httpx2 means."""
    reason = (str(error) or type(error).__name__).splitlines()[0]
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return Lost(reason, sent=False)
    if isinstance(error, httpx2.TimeoutException):
        return Lost("the time that the client allows is over", sent=True, final=True)
    return Lost(reason, sent=True)


def blocking(verb: Callable[Concatenate[V, P], Steps[T]]) -> Callable[Concatenate[Any, P], T]:
    """Return a method that carries out a verb and returns its result.

    Parameters
    ----------
    verb
        A method of the object that the caller keeps as ``_verbs``. The caller's ``_client`` carries it out.
    """

    @wraps(verb)
    def method(self: Any, /, *args: P.args, **values: P.kwargs) -> T:
        result: T = self._client.run(verb(self._verbs, *args, **values))
        return result

    return _shown(method, verb)


def awaited(verb: Callable[Concatenate[V, P], Steps[T]]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """Return a coroutine function that carries out a verb and returns its result; see :func:`blocking`."""

    @wraps(verb)
    async def method(self: Any, /, *args: P.args, **values: P.kwargs) -> T:
        result: T = await self._client.run(verb(self._verbs, *args, **values))
        return result

    return _shown(method, verb)


def _shown(method: Callable[P, T], verb: Callable[..., Any]) -> Callable[P, T]:
    """Let ``help()`` and documentation show what the method returns, and not that the verb is a generator."""
    described = signature(verb)
    result = str(described.return_annotation).removeprefix("Steps[").removesuffix("]")
    method.__signature__ = described.replace(return_annotation=result)  # type: ignore[attr-defined]
    method.__annotations__ = {**verb.__annotations__, "return": result}
    return method


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
