"""A connection between the router of searches and a replica of a shard, which carries pickled objects.

Both ends first prove that they know a key, and nothing is unpickled before that. ``multiprocessing.connection`` does
this too, but it has no deadlines for connecting, sending and receiving, and a peer that is silent keeps its listener
from accepting others.

A message is the length of the pickle and the number of its buffers, the lengths of the buffers, the pickle, and the
buffers. A buffer is the content of a large array, which is copied neither when it is sent nor when it is received.
"""

from __future__ import annotations

import hmac
import pickle
import secrets
import select
import socket
import struct
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

# Bytes from which an array is sent next to the pickle.
_LARGE = 1 << 14
_NONCE = 32
_PROOF = 32
_HEADER = struct.Struct("!QI")
_LENGTH = struct.Struct("!Q")
# Seconds that a peer may take to accept a connection and to prove that it knows the key.
HANDSHAKE = 5.0
# Seconds that a machine may take to accept a connection, which its processes do not delay.
_CONNECT = 2.0
# A peer whose machine or network was lost is noticed this many seconds after the last that it sent, by this many probes
# at this interval, and this many seconds after a call was sent.
_IDLE, _PROBES, _INTERVAL, _UNACKNOWLEDGED = 5, 3, 2, 10
# A socket with a timeout of 0 would not wait for what has arrived but is not read yet.
_LEAST = 0.001


@dataclass(frozen=True, slots=True)
class Address:
    """Where a replica listens, and the key that opens a connection to it. The key is in no message and no log."""

    host: str
    port: int
    key: bytes = field(repr=False)


class DirectConnection:
    """One end of a connection. It belongs to one thread.

    Every method raises ``OSError`` if the connection is broken, and ``TimeoutError``, which is one, if a deadline has
    passed; afterwards the connection can only be closed.

    Parameters
    ----------
    connected
        A connected TCP socket, which this object closes.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._arrival = select.poll()
        self._arrival.register(connected, select.POLLIN)
        # A small message must not wait until the one before it is acknowledged, which takes 40 ms.
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if sys.platform == "linux":
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _INTERVAL)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)

    @classmethod
    def to(cls, address: Address, deadline: float) -> Self:
        """Connect to a replica.

        Parameters
        ----------
        address
            Where it listens.
        deadline
            The time of ``time.monotonic`` until which it may take, and at most :data:`HANDSHAKE` seconds.
        """
        deadline = min(deadline, time.monotonic() + HANDSHAKE)
        seconds = min(_CONNECT, _left(deadline))
        connection = cls(socket.create_connection((address.host, address.port), timeout=seconds))
        try:
            if sys.platform == "linux":
                # Only here: a replica reads whatever is sent, but a router reads one answer after another.
                milliseconds = int(1000 * _UNACKNOWLEDGED)
                connection._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
            connection._prove_first(address.key, deadline)
        except BaseException:
            connection.close()
            raise
        return connection

    def admit(self, key: bytes) -> None:
        """Let a router that knows the key use this connection; raise ``PermissionError`` if it does not know it."""
        deadline = time.monotonic() + HANDSHAKE
        ours = secrets.token_bytes(_NONCE)
        self._send(ours, deadline)
        answer = self._received(_NONCE + _PROOF, deadline)
        theirs, proof = bytes(answer[:_NONCE]), bytes(answer[_NONCE:])
        if not hmac.compare_digest(proof, _proof(key, b"router", ours, theirs)):
            raise PermissionError("the peer does not know the key")
        self._send(_proof(key, b"replica", ours, theirs), deadline)

    def _prove_first(self, key: bytes, deadline: float) -> None:
        theirs, ours = bytes(self._received(_NONCE, deadline)), secrets.token_bytes(_NONCE)
        self._send(ours + _proof(key, b"router", theirs, ours), deadline)
        if not hmac.compare_digest(bytes(self._received(_PROOF, deadline)), _proof(key, b"replica", theirs, ours)):
            raise PermissionError("the peer does not know the key")

    def send(self, message: object, deadline: float | None = None) -> None:
        """Send an object until a time of ``time.monotonic``; ``None`` to wait as long as the peer takes."""
        buffers: list[memoryview] = []

        def stays_in_pickle(buffer: pickle.PickleBuffer) -> bool:
            content = buffer.raw()
            if content.nbytes < _LARGE:
                return True
            buffers.append(content)
            return False

        pickled = pickle.dumps(message, protocol=5, buffer_callback=stays_in_pickle)
        lengths = b"".join(_LENGTH.pack(buffer.nbytes) for buffer in buffers)
        self._send(_HEADER.pack(len(pickled), len(buffers)) + lengths + pickled, deadline)
        for buffer in buffers:
            self._send(buffer, deadline)

    def receive(self, deadline: float | None = None) -> Any:
        """Return the next object that the peer sends until a time of ``time.monotonic``; ``None`` to wait for it."""
        length, count = _HEADER.unpack(self._received(_HEADER.size, deadline))
        lengths = [one for (one,) in _LENGTH.iter_unpack(self._received(_LENGTH.size * count, deadline))]
        pickled = self._received(length, deadline)
        return pickle.loads(pickled, buffers=[self._received(one, deadline) for one in lengths])

    def _send(self, content: bytes | memoryview, deadline: float | None) -> None:
        self._socket.settimeout(None if deadline is None else _left(deadline))
        self._socket.sendall(content)

    def _received(self, count: int, deadline: float | None) -> bytearray:
        content = bytearray(count)
        missing = memoryview(content)
        while missing:
            self._socket.settimeout(None if deadline is None else _left(deadline))
            read = self._socket.recv_into(missing)
            if not read:
                raise ConnectionResetError("the connection was closed")
            missing = missing[read:]
        return content

    def fileno(self) -> int:
        """Return the file descriptor, to wait until something can be received."""
        return self._socket.fileno()

    def arrives(self, seconds: float) -> bool:
        """Return whether something can be received within some seconds, or the connection turns out to be broken."""
        return bool(self._arrival.poll(1000 * seconds))

    def shut(self) -> None:
        """Let the thread that waits at this connection find that it is closed. Call it from any thread."""
        with suppress(OSError):  # The peer has closed it already.
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection. In a process that was forked, that of the parent stays open."""
        self._socket.close()


def _left(deadline: float) -> float:
    return max(_LEAST, deadline - time.monotonic())


def _proof(key: bytes, end: bytes, replica: bytes, router: bytes) -> bytes:
    """Return what one end of a connection sends to prove that it knows the key, given what both drew at random."""
    return hmac.digest(key, end + replica + router, "sha256")
