"""What a client sends and what it makes of the answer, without any input or output.

A verb, such as a search, is a generator: it yields the calls it wants to have made, is sent their answers, and returns
its result. :func:`attempts` adds the repetitions. The clients only have to carry out the calls and the waits, with
blocking sockets or with an event loop, so that both share everything else.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from mlret.client.failures import error_of
from mlret.data.values import as_json
from mlret.errors import InputError, MlretError, Unavailable

T = TypeVar("T")
# Answers after which the same request may succeed, if they say when.
_LATER = {409, 429, 503}
_LONGEST_WAIT = 60.0
_FIRST_WAIT = 0.25


@dataclass(frozen=True, slots=True)
class Call:
    """A request.

    Attributes
    ----------
    method, path
        The method, and the path below the address of the server.
    body
        The body; empty for none.
    query
        The parameters of the address.
    headers
        Headers, besides those that every request has.
    repeatable
        Whether it may be sent again if the connection was lost and the server may have done it already.
    """

    method: str
    path: str
    body: bytes = b""
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a call; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the decoded body."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Lost:
    """The failure of a connection.

    Attributes
    ----------
    reason
        What happened.
    sent
        Whether the server may have got the request.
    final
        Whether the time that the user allows has passed, so that it is not tried again.
    """

    reason: str
    sent: bool
    final: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Seconds to wait before the next call."""

    seconds: float


Outcome = Answer | Lost
Steps = Generator[Call, Answer, T]
"""A verb: it yields calls, is sent their answers, and returns its result."""


def attempts(steps: Steps[T], address: str, retries: int) -> Generator[Call | Wait, Outcome | None, T]:
    """Carry out a verb, repeating calls that may be repeated.

    Parameters
    ----------
    steps
        The verb.
    address
        The address of the server, for error messages.
    retries
        How often a call is repeated at most.

    Yields
    ------
    Call or Wait
        What to do next. The generator is sent the answer to the call, or how the connection failed.

    Returns
    -------
    Any
        The result of the verb.

    Raises
    ------
    MlretError
        What the server answers, or that it cannot be reached.
    """
    proceed: Callable[[], Call] = partial(next, steps)
    while True:
        try:
            call = proceed()
        except StopIteration as end:
            result: T = end.value
            return result
        try:
            proceed = partial(steps.send, (yield from _answered(call, address, retries)))
        except MlretError as error:
            proceed = partial(steps.throw, error)


def _answered(call: Call, address: str, retries: int) -> Generator[Call | Wait, Outcome | None, Answer]:
    for attempt in range(retries + 1):
        outcome = yield call
        pause: float | None
        if isinstance(outcome, Answer):
            if outcome.status < 400:
                return outcome
            error: MlretError = error_of(outcome.status, outcome.headers, outcome.body, address)
            pause = _pause(outcome)
        else:
            assert outcome is not None, "a call was not answered"
            error = _unreachable(outcome, call, address)
            # The pauses grow, and differ between clients that failed at the same moment.
            pause = _FIRST_WAIT * 2**attempt * random.uniform(0.5, 1.0)
            if outcome.final or (outcome.sent and not call.repeatable):
                pause = None
        if pause is None or pause > _LONGEST_WAIT or attempt == retries:
            raise error
        yield Wait(pause)
    raise AssertionError("unreachable")


def _pause(answer: Answer) -> float | None:
    """Return after how many seconds a refused request may be sent again; ``None`` if it may not."""
    given = answer.headers.get("retry-after", "")
    return float(given) if answer.status in _LATER and given.isdigit() else None


def _unreachable(lost: Lost, call: Call, address: str) -> Unavailable:
    if not lost.sent:
        return Unavailable(f"{address} cannot be reached ({lost.reason}); check the address and that the server runs")
    unsure = "" if call.method == "GET" else "; whether it was done is not known"
    return Unavailable(f"{address} did not answer {call.method} {call.path} ({lost.reason}){unsure}")


def new_key() -> str:
    """Return a new value for the header ``Idempotency-Key``."""
    return str(uuid.uuid4())


def _plain(value: Any) -> Any:
    if (found := as_json(value)) is value:
        raise TypeError(f"{type(value).__name__} is not JSON")
    return found


def json_body(value: Any, what: str = "the request") -> bytes:
    """Return a value as JSON.

    Parameters
    ----------
    value
        The value.
    what
        What it is, for error messages.

    Raises
    ------
    InputError
        If it cannot be written as JSON in UTF-8.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode(
            "utf-8"
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{what} cannot be sent as JSON ({error})") from error


def post(path: str, value: Any, *, repeatable: bool = True, key: str = "") -> Call:
    """Return a call that sends a JSON value.

    Parameters
    ----------
    path
        The path below the address of the server.
    value
        The value.
    repeatable
        Whether it may be sent again though the server may have done it already.
    key
        Value of the header ``Idempotency-Key``, which makes it repeatable; empty for none.
    """
    return json_call("POST", path, json_body(value), repeatable=repeatable, key=key)


def json_call(method: str, path: str, body: bytes, *, repeatable: bool, key: str = "") -> Call:
    """Return a call whose body is JSON already; see :func:`post`."""
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
    return Call(method, path, body, headers=headers, repeatable=repeatable or bool(key))
