"""The end of direct connections at which a replica listens."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from mlret.cluster.direct_connection import Address, DirectConnection
from mlret.errors import Unavailable

_PAUSE = 0.1


class CallServer:
    """Answers calls over direct connections, each of which has a thread of its own.

    Attributes
    ----------
    address
        Where it listens, with the key that whoever connects must know.

    Parameters
    ----------
    host
        The address of this machine at which it listens, at a port that the system chooses.
    answer
        Is given what a peer that knows the key has sent, and returns what is sent back. It is called in several threads
        and does not raise.

    Raises
    ------
    Unavailable
        If it cannot listen there.
    """

    def __init__(self, host: str, answer: Callable[[Any], object]) -> None:
        self._answer = answer
        self._connections: set[DirectConnection] = set()
        self._changing = threading.Lock()
        self._closed = False
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._listening = socket.create_server((host, 0), family=family, backlog=128)
        except OSError as error:
            reason = error.strerror or str(error)
            raise Unavailable(
                f"a replica cannot listen on {host}, the address by which Ray knows its node ({reason}); start Ray "
                "there with the --node-ip-address of an interface"
            ) from error
        self.address = Address(host, self._listening.getsockname()[1], secrets.token_bytes(32))
        self._accepting = threading.Thread(target=self._accept, name="mlret-accept", daemon=True)
        self._accepting.start()

    @property
    def listens(self) -> bool:
        """Whether peers can connect."""
        return self._accepting.is_alive()

    def _accept(self) -> None:
        while not self._closed:
            try:
                peer, _ = self._listening.accept()
            except OSError:  # It was closed, or too many files are open.
                time.sleep(_PAUSE)
            else:
                threading.Thread(target=self._serve, args=(peer,), name="mlret-calls", daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        """Answer a peer until it closes the connection."""
        try:
            connection = DirectConnection(peer)
        except OSError:  # It has gone already.
            peer.close()
            return
        with self._changing:
            self._connections.add(connection)
        try:
            connection.admit(self.address.key)
            while not self._closed:
                connection.send(self._answer(connection.receive()))
        except OSError:
            pass
        finally:
            with self._changing:
                self._connections.discard(connection)
            connection.close()

    def close(self) -> None:
        """Stop listening, and close all connections, so that routers turn to other replicas at once."""
        with self._changing:
            self._closed = True
            waiting = list(self._connections)
        with suppress(OSError):  # It was closed before.
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in waiting:
            connection.shut()
