"""Divide a body that arrives in blocks into batches of lines, holding little of it in memory."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncIterator
from dataclasses import dataclass

from mlret.serve.problems import Problem

# The most lines and bytes of a batch. What is stored in one transaction, and held in memory, is bounded by them.
MOST_LINES = 256
MOST_BYTES = 4 << 20
# Seconds that a batch waits for more lines after its first, so that a slow client soon hears about what it has sent.
PATIENCE = 0.05


@dataclass(frozen=True, slots=True)
class LineBatch:
    """Consecutive lines of a body.

    Attributes
    ----------
    lines
        The number of each line, from 1, and its bytes without the line break. Blank lines are not among them.
    last
        Whether the body ends with this batch.
    """

    lines: list[tuple[int, bytes]]
    last: bool


class LineReader:
    """Reads the lines of a body.

    Parameters
    ----------
    blocks
        The body, block by block.
    longest
        The longest line that is accepted, in bytes.
    """

    def __init__(self, blocks: AsyncIterator[bytes], longest: int) -> None:
        self._blocks = blocks
        self._longest = longest
        self._rest = bytearray()
        self._number = 0
        self._lines: list[tuple[int, bytes]] = []
        self._bytes = 0

    async def batches(self) -> AsyncIterator[LineBatch]:
        """Yield the lines in batches; the last batch says so, and may be empty.

        Raises
        ------
        Problem
            If a line is too long. The lines before it were yielded.
        """
        waiting: asyncio.Task[bytes | None] = asyncio.ensure_future(self._next())
        try:
            while True:
                await asyncio.wait({waiting}, timeout=PATIENCE if self._lines else None)
                if not waiting.done():
                    yield self._batch()
                    continue
                block = waiting.result()
                if block is None:
                    break
                waiting = asyncio.ensure_future(self._next())
                for batch in self._divided(block):
                    yield batch
                if len(self._rest) > self._longest:
                    if self._lines:
                        yield self._batch()
                    raise self._too_long()
            self._take(bytes(self._rest))
            yield LineBatch(self._lines, last=True)
        finally:
            waiting.cancel()

    async def _next(self) -> bytes | None:
        return await anext(self._blocks, None)

    def _divided(self, block: bytes) -> list[LineBatch]:
        """Return the batches that a block completes. One line is always kept back, so that the last batch is known."""
        batches = []
        *complete, rest = block.split(b"\n")
        for line in complete:
            self._rest += line
            if len(self._rest) > self._longest:
                if self._lines:
                    batches.append(self._batch())
                return batches  # The caller finds the line in the rest, and raises.
            if len(self._lines) >= MOST_LINES or self._bytes >= MOST_BYTES:
                batches.append(self._batch())
            self._take(bytes(self._rest))
            self._rest.clear()
        self._rest += rest
        return batches

    def _take(self, line: bytes) -> None:
        self._number += 1
        if self._number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if line.strip():
            self._lines.append((self._number, line))
            self._bytes += len(line)

    def _batch(self) -> LineBatch:
        batch = LineBatch(self._lines, last=False)
        self._lines, self._bytes = [], 0
        return batch

    def _too_long(self) -> Problem:
        return Problem(
            "too-large",
            f"line {self._number + 1} is longer than {self._longest} bytes; the lines before it are stored",
            place="body",
            fix="Divide the document, or start the server with a larger --body-limit.",
        )
