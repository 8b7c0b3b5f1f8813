"""An answer that is sent while the body of the request still arrives."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mlret.serve.problems import problem_of, request_id_of

NDJSON = "application/x-ndjson"
"""The media type of lines of JSON."""
LINE_FORMS = {NDJSON, "application/ndjson", "application/jsonl", "application/jsonlines"}
"""The media types under which clients send them."""
# What a client has not read yet is kept in memory up to this many bytes, and beyond that in a temporary file.
_IN_MEMORY = 1 << 20
_BLOCK = 64 << 10


class Spool:
    """Bytes that are written and read at different speeds: a queue of any length that takes little memory.

    Many clients send their whole body before they read a byte of the answer. If the server then waited for them to
    read, both would wait for ever.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed by close()
        self._read = self._written = 0

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self._file.seek(self._written)
        self._file.write(data)
        self._written += len(data)

    def read(self) -> bytes:
        """Take the next bytes; none if there are none at present."""
        self._file.seek(self._read)
        data = self._file.read(_BLOCK)
        self._read += len(data)
        if self._read == self._written:
            self._file.seek(0)
            self._file.truncate()
            self._read = self._written = 0
        return data

    def close(self) -> None:
        """Remove what is left."""
        self._file.close()


class StreamedAnswer(Response):
    """An answer in lines of JSON, sent as they are made. The headers are sent with the first of them.

    The body of the request may still be arriving, and nothing but the lines' source reads it.

    Parameters
    ----------
    lines
        The lines. An error before the first one is answered as any error; after that it is the last line.
    media_type
        The type of the answer.
    """

    def __init__(self, lines: AsyncIterator[bytes], media_type: str) -> None:
        self._lines = lines
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        self.init_headers({"X-Accel-Buffering": "no"})  # A proxy is not to keep lines back.
        self.raw_headers = [one for one in self.raw_headers if one[0] != b"content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        first = await anext(self._lines, b"")
        spool, more, ended = Spool(), asyncio.Event(), False
        spool.write(first)

        async def make() -> None:
            nonlocal ended
            try:
                async for line in self._lines:
                    spool.write(line)
                    more.set()
            except ClientDisconnect:
                pass
            except Exception as error:
                scope.setdefault("state", {})["error"] = error
                problem = problem_of(error).document(request_id_of(scope))
                spool.write(json.dumps({"end": False, "problem": problem}, ensure_ascii=False).encode() + b"\n")
            finally:
                ended = True
                more.set()

        making = asyncio.ensure_future(make())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            while True:
                if data := spool.read():
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                elif ended:
                    break
                else:
                    more.clear()
                    await more.wait()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            await making
        finally:
            making.cancel()
            spool.close()
