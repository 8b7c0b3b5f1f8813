"""A summary of an index that is divided into shards, made from those of its shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from mlret.index.hits import IndexInfo, Unread
from mlret.index.store.summary import MOST_FIELDS

K = TypeVar("K")


def merged_info(folder: Path, parts: Sequence[IndexInfo]) -> IndexInfo:
    """Return the summary of a whole index.

    Parameters
    ----------
    folder
        The folder of the index.
    parts
        The summaries of its shards, which have one encoder and the same settings.
    """
    unread = [part.unread for part in parts]
    return replace(
        parts[0],
        path=str(folder),
        documents=sum(part.documents for part in parts),
        languages=_most_frequent_first(part.languages for part in parts),
        kinds=dict(_added(part.kinds for part in parts)),
        why=list(dict.fromkeys(why for part in parts for why in part.why)),
        probing="; ".join(dict.fromkeys(part.probing for part in parts if part.probing)),
        segments=sum(part.segments for part in parts),
        unsealed=sum(part.unsealed for part in parts),
        deleted=sum(part.deleted for part in parts),
        bytes=sum(part.bytes for part in parts),
        passages=sum(part.passages for part in parts),
        unread=Unread(
            cut=sum(one.cut for one in unread),
            tokens=sum(one.tokens for one in unread),
            languages=_most_frequent_first(one.languages for one in unread),
            scripts=_most_frequent_first(one.scripts for one in unread),
        ),
        fields=sorted({field for part in parts for field in part.fields})[:MOST_FIELDS],
        shards=len(parts),
    )


def _added(counts: Iterable[Mapping[K, int]]) -> Counter[K]:
    total: Counter[K] = Counter()
    for some in counts:
        total.update(some)
    return total


def _most_frequent_first(counts: Iterable[Mapping[K, int]]) -> dict[K, int]:
    """Return added counts, the highest first; equal counts are ordered by name, and what is unknown comes first."""
    total = _added(counts)
    return dict(sorted(total.items(), key=lambda one: (-one[1], one[0] is not None, str(one[0]))))
