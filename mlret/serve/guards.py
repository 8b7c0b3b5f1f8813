"""All guards of the server, in the order in which a request meets them.

1. :class:`~mlret.serve.limits.requests.Requests`: id, log, measurements, headers, unexpected errors
2. :class:`~mlret.serve.security.hosts.Hosts`: ``Host`` and ``Origin``
3. :class:`~mlret.serve.security.authentication.Authentication`: the token
4. :class:`~mlret.serve.limits.capacity.Capacity`: the number of requests
5. :class:`~mlret.serve.limits.body.Body`: size and speed of the body
6. :class:`~mlret.serve.limits.deadline.Deadline`: the time for the work

What comes before the token costs nothing that grows with the request, so that someone without one can use up little.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fastapi import FastAPI

from mlret.serve.limits.access_log import AccessLog
from mlret.serve.limits.body import Body, BodyLimits
from mlret.serve.limits.capacity import Capacity, CapacityLimits
from mlret.serve.limits.deadline import Deadline
from mlret.serve.limits.measurements import Measurements
from mlret.serve.limits.requests import Requests
from mlret.serve.problems import add_handlers
from mlret.serve.security.authentication import Authentication
from mlret.serve.security.hosts import HostPolicy, Hosts
from mlret.serve.security.tokens import TokenStore


@dataclass
class Guards:
    """The guards and their settings.

    Parameters
    ----------
    tokens
        The tokens.
    hosts
        Hosts and origins.
    body
        Limits of bodies.
    capacity
        Limits of the number of requests.
    deadline
        Seconds that the work on a request may take.
    log
        The log; the one who makes it closes it.
    measurements
        The measurements, which ``GET /metrics`` returns.
    folders
        Path of a folder on the server -> the name that clients know it by, which messages name instead.
    """

    tokens: TokenStore
    hosts: HostPolicy = field(default_factory=HostPolicy)
    body: BodyLimits = field(default_factory=BodyLimits)
    capacity: CapacityLimits = field(default_factory=CapacityLimits)
    deadline: float = 120.0
    log: AccessLog = field(default_factory=AccessLog)
    measurements: Measurements = field(default_factory=Measurements)
    folders: Mapping[str, str] = field(default_factory=dict)

    def protect(self, app: FastAPI) -> None:
        """Put the guards before an application, and let it answer errors with problem documents."""
        add_handlers(app, folders=self.folders)
        # The last one added is the outermost.
        app.add_middleware(Deadline, seconds=self.deadline)
        app.add_middleware(Body, limits=self.body)
        app.add_middleware(Capacity, limits=self.capacity)
        app.add_middleware(Authentication, tokens=self.tokens)
        app.add_middleware(Hosts, policy=self.hosts)
        app.add_middleware(Requests, log=self.log, measurements=self.measurements)
