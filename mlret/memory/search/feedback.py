"""Store feedback and learn the weights of the score terms from it, separately for each scope.

The weights follow from the journal alone. A feedback is an operation on the records that were useful, which each count
one more access; its first entry holds the terms of the candidates, as numbers without ids or texts. Undoing the
feedback or erasing the record removes it from what is learned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from mlret.errors import InputError
from mlret.memory import times
from mlret.memory.results import Done
from mlret.memory.scope import Scope, check_scope
from mlret.memory.search.fitted_weights import LoggedSearch, fit_weights
from mlret.memory.search.search import Request, logged
from mlret.memory.storage.drafts import Step
from mlret.memory.storage.journal import Change, SetField, dump, read_entries
from mlret.memory.storage.store import MemoryStore

TERMS = ("meaning", "words", "contiguity", "links", "date", "decay")
_LATEST = 500  # Number of latest searches that weights are fitted to.
# Notes that are not valid JSON are selected as well, so that reading the entry reports the damage.
_QUERY = """
    verb = 'feedback' AND (NOT json_valid(note) OR json_extract(note, '$.scope') = ?) AND operation NOT IN (
        SELECT json_extract(note, '$.undoes') FROM memory_journal AS later
        WHERE later.verb = 'undo' AND later.record = memory_journal.record AND json_valid(later.note)
    )
"""


def feedback(store: MemoryStore, request: Request, used: Sequence[str]) -> Done:
    """Store which records were useful for a query; use it within ``writing``.

    Parameters
    ----------
    store
        The memory.
    request
        The search that the feedback is about.
    used
        Ids of the useful records.

    Raises
    ------
    InputError
        If no id is given, or the scope lacks one of the records.
    """
    scope = request.selection.scope
    ids = list(dict.fromkeys(used))
    if not ids:
        raise InputError("name the records that were used; nothing can be learned from a search without any")
    for id in ids:
        store.position(id, scope)
    search = logged(store, request, ids)
    note = {} if search is None else {"scope": key_of(scope), "search": search.as_json()}
    at = times.now()
    steps: list[Step] = []
    for id in ids:
        there = store.columns.statuses[id]
        changes: list[Change] = [
            SetField("accesses", there.accesses, there.accesses + 1),
            SetField("accessed_at", there.accessed_at, at),
        ]
        steps.append(Step(id, changes=changes, note=note if not steps else {}))
    return Done(tuple(ids), store.commit("feedback", steps))


def weights_of(store: MemoryStore, scope: Scope) -> dict[str, float]:
    """Return the fitted weights for searches of a scope, by term; empty if there is no feedback.

    Parameters
    ----------
    store
        The memory.
    scope
        A checked scope.
    """
    key = key_of(scope)
    if key not in store.weights:
        entries = list(read_entries(store.records, _QUERY, (key,)))[-_LATEST:]
        log = [LoggedSearch(entry.note["search"]["terms"], entry.note["search"]["used"]) for entry in entries]
        store.weights[key] = fit_weights(log, TERMS) if log else {}
    return store.weights[key]


def key_of(scope: Scope) -> str:
    """Return a hash that identifies a scope without naming it."""
    return hashlib.blake2b(dump(check_scope(scope)).encode("utf-8"), digest_size=8).hexdigest()
