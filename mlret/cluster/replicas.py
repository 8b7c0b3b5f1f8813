"""The replicas of a shard as a thread of the router reaches them: found through Ray Serve, asked over a connection."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from typing import Any

from mlret.cluster.direct_connection import Address, DirectConnection
from mlret.cluster.shard_server import Answer, Call
from mlret.errors import MlretError

# Mean of the seconds after which Ray Serve is asked for another replica, so that new ones get their share of the calls.
RENEWAL = 120.0
# Seconds after which Ray Serve is asked for another replica if the connection to one is broken.
_PAUSE = 0.05
# Seconds that connecting to another one may delay a call that the present one could answer.
_BRIEFLY = 1.0


class Replicas:
    """The replicas behind the deployment of a shard, one of which answers the calls of a thread.

    The handle of Ray Serve takes milliseconds for a call, so that it is only asked which replica to connect to: at
    first, when the connection is broken, and now and then.

    Attributes
    ----------
    waiting
        Whether a call was sent whose answer was not received.

    Parameters
    ----------
    handle
        The handle of the deployment of a :class:`mlret.cluster.shard_server.ShardServer`.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._offer: Any = None  # The response of Ray Serve that names a replica.
        self._address: Address | None = None
        self._connection: DirectConnection | None = None
        self._next_offer = 0.0
        self.waiting = False

    @property
    def connected(self) -> bool:
        """Whether there is a connection to a replica, as far as is known."""
        return self._connection is not None

    def send(self, call: Call, deadline: float) -> int | None:
        """Send a call to a replica, without waiting for Ray Serve to name one.

        Parameters
        ----------
        call
            The call.
        deadline
            The time of ``time.monotonic`` until which it may take, as for :meth:`receive`.

        Returns
        -------
        int
            The file descriptor of the connection, to wait for the answer; ``None`` if the call was not sent because
            there is no connection yet.

        Raises
        ------
        OSError
            If the connection to the replica is broken, or ``TimeoutError`` if the deadline has passed.
        Exception
            One of Ray's, if there is no connection and no replica is found.
        """
        self._seek()
        if self._offer is not None:
            self._follow(deadline)
        if self._connection is None:
            return None
        self.waiting = True
        self._connection.send(call, deadline)
        return self._connection.fileno()

    def answers(self, seconds: float) -> bool:
        """Return whether the answer to the call that was sent arrives within some seconds."""
        assert self._connection is not None
        return self._connection.arrives(seconds)

    def receive(self, deadline: float) -> Answer | MlretError:
        """Return what the replica answers to the call that was sent."""
        assert self._connection is not None
        answer: Answer | MlretError = self._connection.receive(deadline)
        self.waiting = False
        return answer

    def disconnect(self) -> None:
        """Close the connection; the next call is sent over another one, after a short pause."""
        if self._connection is not None:
            self._connection.close()
        self._connection, self._offer, self.waiting = None, None, False
        self._next_offer = time.monotonic() + _PAUSE

    def _seek(self) -> None:
        """Ask Ray Serve for a replica if it is time for that."""
        now = time.monotonic()
        if self._offer is not None or now < self._next_offer:
            return
        # Threads and shards must not all do this at the same time.
        self._next_offer = now + RENEWAL * random.uniform(0.5, 1.5)
        try:
            self._offer = self._handle.address.remote()
        except Exception:  # Ray raises various classes.
            if self._connection is None:
                raise

    def _follow(self, deadline: float) -> None:
        """Connect to the replica that Ray Serve names, if it has answered; keep a connection if that fails."""
        try:
            address = self._offer.result(timeout_s=0.0)
        except TimeoutError:
            return
        except Exception:  # Ray raises various classes.
            self._offer = None
            if self._connection is None:
                raise
            return
        self._offer = None
        if self._connection is None:
            self._connection, self._address = DirectConnection.to(address, deadline), address
        elif address != self._address:
            with suppress(OSError):
                connection = DirectConnection.to(address, min(deadline, time.monotonic() + _BRIEFLY))
                self._connection.close()
                self._connection, self._address = connection, address
