"""Divide what is stored, however long it is, into requests of limited size."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlret.client.calls import json_body
from mlret.errors import InputError

# Bytes of a request that holds more than one item; servers take 32 MiB unless they were started with another limit.
_MOST_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Batch:
    """Items of one request.

    Attributes
    ----------
    items
        The items as JSON.
    start
        How many items of the whole were before these.
    """

    items: Sequence[bytes]
    start: int

    def __len__(self) -> int:
        return len(self.items)

    @property
    def body(self) -> bytes:
        """The items as a JSON array."""
        return b"[" + b",".join(self.items) + b"]"

    def halves(self) -> tuple[Batch, Batch]:
        """Return two batches that hold these items."""
        middle = len(self.items) // 2
        return Batch(self.items[:middle], self.start), Batch(self.items[middle:], self.start + middle)

    def counted(self, field: str | None, within: str = "") -> str | None:
        """Return a pointer to an item of this batch as one to an item of the whole.

        Parameters
        ----------
        field
            A JSON pointer; others are returned as they are.
        within
            The pointer to the list.
        """
        found = re.match(re.escape(within) + r"/(\d+)(?=/|$)", field or "")
        if field is None or found is None:
            return field
        return f"/{self.start + int(found[1])}{field[found.end() :]}"


class Batcher:
    """Collects items until a request is full.

    Parameters
    ----------
    size
        The most items of a request.
    what
        What an item is called in error messages.

    Raises
    ------
    InputError
        If the size is not a positive number.
    """

    def __init__(self, size: int, what: str) -> None:
        if not isinstance(size, int) or size < 1:
            raise InputError(f"batch_size is {size!r}; give a number from 1 on")
        self._size, self._what = size, what
        self._items: list[bytes] = []
        self._bytes = self._before = 0

    @property
    def taken(self) -> int:
        """How many items were taken."""
        return self._before + len(self._items)

    def take(self, item: Any) -> list[Batch]:
        """Take an item, and return the batches that are full now: none, one or two.

        Raises
        ------
        InputError
            If it cannot be written as JSON.
        """
        encoded = json_body(item, f"{self._what} {self.taken + 1}")
        full = []
        if self._items and self._bytes + len(encoded) > _MOST_BYTES:
            full += self.rest()
        self._items.append(encoded)
        self._bytes += len(encoded) + 1
        return full + (self.rest() if len(self._items) >= self._size else [])

    def rest(self) -> list[Batch]:
        """Return the batch of the items that are left, if there are any."""
        if not self._items:
            return []
        batch = Batch(self._items, self._before)
        self._before += len(self._items)
        self._items, self._bytes = [], 0
        return [batch]
