"""Select the versions that a call may see: by scope first, then by state, time and filters, all before ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlret.errors import InputError
from mlret.index.filtering.filters import Where, read_filter
from mlret.memory import times
from mlret.memory.records import KINDS, LEVELS, Kind, Level
from mlret.memory.scope import Scope, check_scope
from mlret.memory.storage.columns import Columns, Mask
from mlret.memory.storage.positions import Positions
from mlret.memory.storage.record_state import ACTIVE, ARCHIVED, MERGED
from mlret.memory.storage.store import MemoryStore
from mlret.memory.times import Instant, read_instant

_IN_STATE = {"active": ACTIVE, "archived": ARCHIVED, "merged": MERGED}


@dataclass(frozen=True, slots=True)
class Selection:
    """The conditions that a version must meet.

    Attributes
    ----------
    scope
        A checked scope; records outside it do not exist for the call.
    where
        A filter on metadata, ``tags`` and ``lang``; see :func:`mlret.index.filtering.filters.read_filter`.
    kinds, levels
        Only versions of these kinds and levels; all by default.
    as_of
        Select what was valid at this instant, instead of what is current.
    current_only
        Whether to exclude superseded versions.
    state
        ``active``, ``archived`` or ``merged``.
    """

    scope: Scope
    where: Where | None = None
    kinds: Sequence[Kind] = ()
    levels: Sequence[Level] = ()
    as_of: Instant | None = None
    current_only: bool = True
    state: str = "active"

    def positions(self, store: MemoryStore, now: int | None = None) -> Positions:
        """Return the positions of the selected versions, in ascending order.

        Parameters
        ----------
        store
            The memory.
        now
            Microseconds since 1970 in UTC; the present by default.

        Returns
        -------
        numpy.ndarray
            ``(n,)`` int64.

        Raises
        ------
        InputError
            If a value cannot be used.
        """
        columns = store.columns
        if self.state not in _IN_STATE:
            raise InputError(f"state is {self.state!r}; there are {', '.join(_IN_STATE)}")
        found: Positions = columns.in_scope(check_scope(self.scope))
        # If the scope holds many versions, whole arrays are compared, which is faster than gathering elements.
        some: Positions | slice = slice(0, len(columns)) if len(found) > len(columns) // 8 else found
        holds: Mask = columns.state[some] == _IN_STATE[self.state]
        holds &= self._in_time(columns, some, times.now() if now is None else now)
        found = found[holds if some is found else holds[found]]
        for values, known, name in ((self.kinds, KINDS, "kind"), (self.levels, LEVELS, "level")):
            if values:
                numbers = [_number(value, known, name) for value in values]
                found = found[np.isin((columns.kind if name == "kind" else columns.level)[found], numbers)]
        condition = read_filter(self.where)
        if condition is not None:
            rows = columns.row[found]
            passing = np.isin(rows, store.store.matching(condition), assume_unique=True)
            store.unmatched.check(store.records, condition, rows[passing], rows)
            found = found[passing]
        return found

    def _in_time(self, columns: Columns, some: Positions | slice, now: int) -> Mask:
        if self.as_of is not None:
            then = times.micros(read_instant(self.as_of, "as_of"))
            valid: Mask = (columns.valid_from[some] <= then) & (then < columns.valid_to[some])
            valid &= then < columns.expires_at[some]
            return valid
        alive: Mask = columns.expires_at[some] > now
        if self.current_only:
            alive &= columns.current[some] & (columns.valid_to[some] > now)
        return alive


def _number(value: str, known: Sequence[str], name: str) -> int:
    if value not in known:
        raise InputError(f"no {name} {value!r}; there are {', '.join(known)}")
    return known.index(value)
