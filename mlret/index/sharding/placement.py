"""Which shard a document belongs to.

A document is in the shard whose number is the hash of its id modulo the number of shards. The hash is the BLAKE2b of
the id in UTF-8 with a digest of eight bytes, read as an unsigned little-endian integer, so that every process, machine
and version of Python finds a document in the same shard. A memory uses the hash of the tenant in the same way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Literal, TypeVar

T = TypeVar("T")

# The name of the rule in the manifest of the shards. Another rule would get another name.
Placement = Literal["blake2b-8"]
PLACEMENT: Placement = "blake2b-8"


def shard_of(key: str, shards: int) -> int:
    """Return the number of the shard that a key belongs to.

    Parameters
    ----------
    key
        The id of a document, or the name of a tenant: a string of valid Unicode.
    shards
        The number of shards, at least 1.

    Returns
    -------
    int
        From 0 to ``shards - 1``.

    Examples
    --------
    >>> from mlret.index.sharding.placement import shard_of
    >>> [shard_of(id, 4) for id in ("train", "maize", "library")]
    [2, 2, 3]
    """
    digest = hashlib.blake2b(key.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "little") % shards


def by_shard(keys: Iterable[str], shards: int) -> dict[int, list[int]]:
    """Return for each shard the places of the keys that belong to it, in ascending order, without empty shards.

    Parameters
    ----------
    keys
        The keys, as for :func:`shard_of`.
    shards
        The number of shards.
    """
    found: dict[int, list[int]] = {}
    for place, key in enumerate(keys):
        found.setdefault(shard_of(key, shards), []).append(place)
    return found


def at(values: Sequence[T], places: Iterable[int]) -> list[T]:
    """Return the values at some places."""
    return [values[place] for place in places]
