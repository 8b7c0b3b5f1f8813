"""A connection between client and server that is cut when a test says so."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Cutting:
    """Forwards connections to a port, and cuts those whose request begins with a method and path to be cut.

    The request reaches the server, and its answer is awaited but not forwarded: the server has done the work, and the
    client does not know.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._left, self._start = 0, b""
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, times: int, start: str) -> None:
        """Cut the next requests that begin so, as many times."""
        self._left, self._start, self.cuts = times, start.encode(), 0

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self._to)) as server:
            cutting = threading.Event()
            threading.Thread(target=self._answers, args=(server, client, cutting), daemon=True).start()
            while part := client.recv(1 << 16):
                if self._left and part.startswith(self._start):
                    self._left -= 1
                    self.cuts += 1
                    cutting.set()
                server.sendall(part)

    def _answers(self, server: socket.socket, client: socket.socket, cutting: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while part := server.recv(1 << 16):
                if cutting.is_set():
                    break
                client.sendall(part)
            client.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def cutting(port: int) -> Iterator[Cutting]:
    """Forward a port until the end of the block."""
    one = Cutting(port)
    try:
        yield one
    finally:
        one.close()
