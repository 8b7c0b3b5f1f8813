"""The arrays of a tenant's versions: one typed array for each value that a search compares."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

_FIRST = 64  # Initial capacity, in versions.


def _int64() -> NDArray[np.int64]:
    return np.zeros(_FIRST, np.int64)


def _int32() -> NDArray[np.int32]:
    return np.zeros(_FIRST, np.int32)


def _int8() -> NDArray[np.int8]:
    return np.zeros(_FIRST, np.int8)


def _bool() -> NDArray[np.bool_]:
    return np.zeros(_FIRST, np.bool_)


@dataclass(eq=False)
class VersionArrays:
    """Values of versions by position. Every array has room for more versions at its end.

    Attributes
    ----------
    row
        Row of the text in the index, ascending.
    record, scope, tenant, user, agent, run, session, language, script
        Numbers of the values, as the :class:`~mlret.memory.storage.positions.Names` of the columns assign them.
    seq
        Position in the session.
    kind, level
        Indices into :data:`mlret.memory.records.KINDS` and :data:`~mlret.memory.records.LEVELS`.
    valid_from, valid_to, event_from, event_to, expires_at
        Microseconds since 1970 in UTC; :data:`mlret.memory.times.FOREVER` for an open end, and
        :data:`~mlret.memory.times.UNTIMED` where there is no event time.
    length
        Number of n-grams of the text.
    alive
        Whether the version has not been erased.
    current
        Whether it is the current version of its record.
    state
        State of its record, as in :mod:`mlret.memory.storage.record_state`.
    """

    row: NDArray[np.int64] = field(default_factory=_int64)
    record: NDArray[np.int32] = field(default_factory=_int32)
    scope: NDArray[np.int32] = field(default_factory=_int32)
    tenant: NDArray[np.int32] = field(default_factory=_int32)
    user: NDArray[np.int32] = field(default_factory=_int32)
    agent: NDArray[np.int32] = field(default_factory=_int32)
    run: NDArray[np.int32] = field(default_factory=_int32)
    session: NDArray[np.int32] = field(default_factory=_int32)
    seq: NDArray[np.int64] = field(default_factory=_int64)
    kind: NDArray[np.int8] = field(default_factory=_int8)
    level: NDArray[np.int8] = field(default_factory=_int8)
    language: NDArray[np.int32] = field(default_factory=_int32)
    script: NDArray[np.int32] = field(default_factory=_int32)
    valid_from: NDArray[np.int64] = field(default_factory=_int64)
    valid_to: NDArray[np.int64] = field(default_factory=_int64)
    event_from: NDArray[np.int64] = field(default_factory=_int64)
    event_to: NDArray[np.int64] = field(default_factory=_int64)
    expires_at: NDArray[np.int64] = field(default_factory=_int64)
    length: NDArray[np.int32] = field(default_factory=_int32)
    alive: NDArray[np.bool_] = field(default_factory=_bool)
    current: NDArray[np.bool_] = field(default_factory=_bool)
    state: NDArray[np.int8] = field(default_factory=_int8)

    def make_room(self, capacity: int) -> None:
        """Make all arrays longer, if they are shorter than a number of versions; the new places hold zeros."""
        if capacity > len(self.row):
            for one in fields(VersionArrays):
                old = getattr(self, one.name)
                grown = np.zeros(capacity, dtype=old.dtype)
                grown[: len(old)] = old
                setattr(self, one.name, grown)
