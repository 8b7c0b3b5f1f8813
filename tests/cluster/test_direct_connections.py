"""Test the connections between the router and replicas: who may connect, what arrives, and what is not waited for."""

from __future__ import annotations

import hashlib
import hmac
import pickle
import secrets
import socket
import statistics
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from mlret.cluster.call_server import CallServer
from mlret.cluster.direct_connection import Address, DirectConnection
from mlret.errors import Unavailable

HOST = "127.0.0.1"
unpickled: list[str] = []


def note(what: str) -> None:
    unpickled.append(what)


class Noted:
    """An object that notes when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return note, ("unpickled",)


@pytest.fixture
def serving() -> Iterator[Callable[..., CallServer]]:
    servers: list[CallServer] = []

    def serve(answer: Callable[[Any], object] = lambda call: call, host: str = HOST) -> CallServer:
        servers.append(CallServer(host, answer))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


def connected(server: CallServer) -> DirectConnection:
    return DirectConnection.to(server.address, time.monotonic() + 10)


def threads() -> int:
    return sum(thread.name == "mlret-calls" for thread in threading.enumerate())


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_arrays_and_other_objects_arrive_as_they_were_sent(serving: Callable[..., CallServer]) -> None:
    random = np.random.default_rng(0)
    large = random.standard_normal((300, 384)).astype(np.float32)
    message = {
        "text": "Straße 東京",
        "small": np.arange(5),
        "large": large,
        "transposed": large.T,
        "every second": large[::2, ::2],
        "constant": np.broadcast_to(np.float32(1), (200, 200)),
        "empty": np.empty((0, 384), np.float32),
        "many": [random.standard_normal((64, 64)) for _ in range(1500)],
        "words": np.array(["ein", "zwei"], dtype=object),
    }
    connection = connected(serving())
    for _ in range(2):
        connection.send(message)
        found = connection.receive(time.monotonic() + 20)
        assert found.keys() == message.keys() and found["text"] == message["text"]
        for name, sent in message.items():
            if isinstance(sent, np.ndarray):
                np.testing.assert_array_equal(found[name], sent)
                assert found[name].dtype == sent.dtype
        np.testing.assert_array_equal(found["many"], message["many"])
    connection.close()


@pytest.mark.parametrize("key", [b"", secrets.token_bytes(32)], ids=["empty", "another"])
def test_a_peer_that_does_not_know_the_key_is_refused(serving: Callable[..., CallServer], key: bytes) -> None:
    calls: list[Any] = []
    server = serving(calls.append)
    address = server.address
    with pytest.raises(OSError):
        DirectConnection.to(Address(address.host, address.port, key), time.monotonic() + 10)
    assert not calls
    connected(server).close()


def test_nothing_is_unpickled_before_the_peer_has_proved_that_it_knows_the_key(
    serving: Callable[..., CallServer],
) -> None:
    calls: list[Any] = []
    server = serving(calls.append)
    content = pickle.dumps([Noted(), "x" * 100])
    frame = struct.pack("!QI", len(content), 0) + content
    guess = secrets.token_bytes(32) + hashlib.sha256(b"a guess").digest()
    for sent in (frame, guess + frame, frame * 3):
        with socket.create_connection((server.address.host, server.address.port)) as peer:
            assert len(peer.recv(64)) == 32
            peer.sendall(sent)
            with suppress(ConnectionResetError):  # Of a server that has not read all bytes.
                assert peer.recv(64) == b""
    assert not unpickled and not calls
    # The same bytes are unpickled if the peer knows the key.
    with socket.create_connection((server.address.host, server.address.port)) as peer:
        theirs, ours = peer.recv(64), secrets.token_bytes(32)
        peer.sendall(ours + hmac.digest(server.address.key, b"router" + theirs + ours, "sha256") + frame)
        until(lambda: bool(unpickled))
    assert unpickled == ["unpickled"]
    unpickled.clear()


def test_a_router_refuses_a_replica_that_does_not_know_the_key() -> None:
    with socket.create_server((HOST, 0)) as listening:
        address = Address(HOST, listening.getsockname()[1], secrets.token_bytes(32))

        def pretend() -> None:
            peer, _ = listening.accept()
            with peer:
                peer.sendall(secrets.token_bytes(32))
                proof = peer.recv(64)
                peer.sendall(proof[32:])  # What the router has proved proves nothing of the replica.
                peer.recv(1)

        thread = threading.Thread(target=pretend)
        thread.start()
        with pytest.raises(PermissionError):
            DirectConnection.to(address, time.monotonic() + 10)
        thread.join()


def test_the_key_is_shown_nowhere(serving: Callable[..., CallServer]) -> None:
    address = serving().address
    assert repr(address.key) not in repr(address)
    assert address == pickle.loads(pickle.dumps(address))


def test_a_silent_peer_keeps_nobody_waiting_and_is_dropped(
    serving: Callable[..., CallServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlret.cluster.direct_connection.HANDSHAKE", 1.0)
    server = serving()
    with socket.create_connection((server.address.host, server.address.port)) as silent:
        start = time.monotonic()
        connection = connected(server)
        connection.send("call")
        assert connection.receive(time.monotonic() + 10) == "call"
        assert time.monotonic() - start < 0.9
        assert len(silent.recv(64)) == 32
        assert silent.recv(64) == b""
        connection.close()


def test_small_messages_do_not_wait_for_acknowledgements(serving: Callable[..., CallServer]) -> None:
    # A message of two writes that waited for the delayed acknowledgement of the first would take 40 ms.
    connection = connected(serving())
    for message in (b"x" * 100, np.zeros(20_000, np.uint8), [np.zeros(20_000, np.uint8)] * 3):
        seconds = []
        for _ in range(30):
            start = time.perf_counter()
            connection.send(message)
            connection.receive(time.monotonic() + 10)
            seconds.append(time.perf_counter() - start)
        assert statistics.median(seconds) < 0.02
    connection.close()


def test_a_deadline_ends_waiting_for_an_answer(serving: Callable[..., CallServer]) -> None:
    going = threading.Event()
    connection = connected(serving(lambda call: going.wait(20)))
    start = time.monotonic()
    connection.send("call", start + 10)
    with pytest.raises(TimeoutError):
        connection.receive(start + 0.2)
    assert 0.15 < time.monotonic() - start < 5
    # What has arrived is still read when the deadline has passed.
    going.set()
    time.sleep(0.2)
    assert connection.receive(start) is True
    connection.close()


def test_a_peer_that_reads_nothing_does_not_block_forever() -> None:
    with socket.create_server((HOST, 0)) as listening, socket.create_connection(listening.getsockname()) as joined:
        connection = DirectConnection(joined)
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            connection.send(np.zeros(50_000_000, np.uint8), start + 0.3)
        assert time.monotonic() - start < 5


def test_threads_end_with_their_connections_and_closing_ends_all(serving: Callable[..., CallServer]) -> None:
    before = threads()
    server = serving()
    connections = [connected(server) for _ in range(5)]
    for one in connections:
        one.send("call")
        assert one.receive(time.monotonic() + 10) == "call"
    assert threads() == before + 5
    for one in connections[:3]:
        one.close()
    until(lambda: threads() == before + 2)
    start = time.monotonic()
    server.close()
    with pytest.raises(OSError):
        connections[3].receive(time.monotonic() + 10)
    until(lambda: threads() == before and not server.listens)
    assert time.monotonic() - start < 2
    with pytest.raises(OSError):
        connected(server)
    server.close()
    for one in connections[3:]:
        one.close()


def test_an_address_that_no_interface_has_is_reported() -> None:
    with pytest.raises(Unavailable, match=r"a replica cannot listen on 192\.0\.2\.77, the address by which Ray"):
        CallServer("192.0.2.77", lambda call: call)


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_it_listens_on_an_address_of_ipv6(serving: Callable[..., CallServer]) -> None:
    try:
        server = serving(host="::1")
    except Unavailable:
        pytest.skip("the loopback has no address of IPv6")
    connection = connected(server)
    connection.send("call")
    assert connection.receive(time.monotonic() + 10) == "call"
    connection.close()
