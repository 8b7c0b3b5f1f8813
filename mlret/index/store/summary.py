"""A summary of what an index holds."""

from __future__ import annotations

from collections import Counter

from mlret.index.filtering.field_table import field_names
from mlret.index.hits import IndexInfo
from mlret.index.storage.passages import COUNTER
from mlret.index.storage.unread import unread_in
from mlret.index.store.store import Store

MOST_FIELDS = 100


def summary_of(store: Store) -> IndexInfo:
    """Return a summary of what an index holds and of the encoder that it was built with."""
    probing = store.space.probing
    manifest, deleted = store.manifest, list(map(store.dead_in, store.segments))
    kinds: Counter[str] = Counter()
    for segment, dead in zip(store.segments, deleted, strict=True):
        kinds[segment.kind] += len(segment) - dead
    return IndexInfo(
        path=str(store.folder),
        documents=len(store),
        languages=store.records.count_by_language(),
        encoder=manifest.encoder,
        fingerprint=manifest.fingerprint,
        dims=manifest.dims,
        similarity=manifest.similarity,
        lexical=manifest.settings.lexical,
        kind=manifest.settings.kind,
        kinds=dict(kinds),
        why=list(dict.fromkeys(info.why for info in manifest.segments if info.why)),
        probing=probing.why if probing else "",
        segments=len(store.segments),
        unsealed=store.vectors.count(store.last_sealed_row + 1, store.last_row),
        deleted=sum(deleted),
        bytes=sum(file.stat().st_size for file in store.folder.rglob("*") if file.is_file()),
        passages=len(store) + store.records.counter(COUNTER),
        unread=unread_in(store.records),
        fields=_field_names(store),
        dtype=manifest.settings.dtype,
        copies=manifest.settings.copies,
    )


def _field_names(store: Store) -> list[str]:
    with store.records.reporting():
        return field_names(store.records.connection, MOST_FIELDS)
