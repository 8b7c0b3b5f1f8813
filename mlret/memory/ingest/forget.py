"""Forgetting: archive old, unused and unimportant records by a policy. Nothing is lost, and a dry run is available."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from mlret.errors import InputError
from mlret.memory import times
from mlret.memory.ingest.change import set_state
from mlret.memory.records import Kind, Level, MemoryRecord
from mlret.memory.results import Forgotten
from mlret.memory.scope import Scope
from mlret.memory.search.ranking import retention
from mlret.memory.search.selection import Selection
from mlret.memory.storage.store import MemoryStore

_DAY = 86_400 * 10**6


@dataclass(frozen=True, slots=True)
class Policy:
    """Which records to archive: those that meet every condition that is given.

    Attributes
    ----------
    unused_days
        Neither stored nor reported as used by feedback for at least this many days.
    retention_below, tau_days
        ``R = exp(-age / (tau S))`` is below this (:func:`mlret.memory.search.ranking.retention`); the age counts from
        the last use.
    importance_below
        Rated lower than this, or not rated. Records that are rated higher are kept whatever their age.
    strength_below
        Said fewer times than this.
    kinds, levels
        Only records of these kinds and levels.
    keep
        Number of best-retained records, among those that meet the conditions, that are kept nevertheless.
    """

    unused_days: float | None = None
    retention_below: float | None = None
    tau_days: float = 30.0
    importance_below: float | None = None
    strength_below: float | None = None
    kinds: Sequence[Kind] = ()
    levels: Sequence[Level] = ()
    keep: int | None = None

    def __post_init__(self) -> None:
        given = (self.unused_days, self.retention_below, self.importance_below, self.strength_below, self.keep)
        if all(value is None for value in given):
            raise InputError("a policy without a condition would forget everything: give one, e.g. unused_days=365")
        for name in ("unused_days", "retention_below", "importance_below", "strength_below", "keep"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
                raise InputError(f"{name} is {value!r}; give a number from 0 on")
        for values, known in ((self.kinds, get_args(Kind)), (self.levels, get_args(Level))):
            if unknown := [value for value in values if value not in known]:
                raise InputError(f"{unknown[0]!r} is unknown; there are {', '.join(known)}")


def forget(store: MemoryStore, policy: Policy, scope: Scope, *, dry_run: bool) -> Forgotten:
    """Archive the records that meet a policy; use it within ``writing`` unless ``dry_run`` is set.

    Parameters
    ----------
    store
        The memory.
    policy, scope
        Which records, and the scope to look in.
    dry_run
        Whether to change nothing.

    Returns
    -------
    Forgotten
        The ids of the records, with the reason for each.
    """
    now = times.now()
    selection = Selection(scope, kinds=policy.kinds, levels=policy.levels)
    chosen: list[tuple[float, MemoryRecord, str]] = []
    for record in store.fetch(selection.positions(store, now)):
        last = max(record.recorded_at, record.accessed_at or record.recorded_at)
        days = max(0.0, (now - times.micros(last)) / _DAY)
        retained = float(retention(days, record.accesses, policy.tau_days))
        if _meets(policy, record, days, retained):
            reason = f"unused for {days:.1f} days, retained {retained:.3f}, mentioned {record.strength:g} times"
            chosen.append((retained, record, reason))
    # Of equally retained records the oldest come first, so that ``keep`` keeps the newest.
    chosen.sort(key=lambda one: (one[0], one[1].recorded_at, one[1].id))
    if policy.keep is not None:
        chosen = chosen[: max(0, len(chosen) - int(policy.keep))]
    reasons = {record.id: reason for _, record, reason in chosen}
    if dry_run or not reasons:
        return Forgotten(reasons)
    return Forgotten(reasons, set_state(store, "forget", reasons, "archived").operation)


def _meets(policy: Policy, record: MemoryRecord, days: float, retained: float) -> bool:
    return (
        (policy.unused_days is None or days >= policy.unused_days)
        and (policy.retention_below is None or retained < policy.retention_below)
        and (policy.importance_below is None or (record.importance or 0.0) < policy.importance_below)
        and (policy.strength_below is None or record.strength < policy.strength_below)
    )
