"""Adds documents to an index that is divided into shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlret.data.columns import Columns
from mlret.data.documents import Document
from mlret.errors import InputError
from mlret.index.hits import Updated
from mlret.index.ingest import Adding, Existing, already_exists, checked_vectors, vectors_at
from mlret.index.sharding.gathering import Shards
from mlret.index.sharding.placement import at, by_shard
from mlret.index.vectors.space import Vectors


class ShardedIntake(Adding):
    """Stores documents batch by batch, each in the shard that its id belongs to.

    A batch is one transaction in each shard that gets some of it. After a crash some shards may therefore hold their
    part of the last batch and others not; storing the same documents again with ``"skip"`` or ``"replace"`` completes
    it.

    Parameters
    ----------
    shards
        The shards.
    existing
        What to do with a document whose id is stored already.
    columns
        Columns, or keys of records, that are read under another name.
    """

    def __init__(self, shards: Shards, existing: Existing, columns: Columns) -> None:
        self.columns = columns
        self._shards = shards
        self._existing: Existing = existing
        self._touched: set[int] = set()

    @property
    def folder(self) -> Path:
        return self._shards.folder

    @property
    def scale(self) -> int:
        return len(self._shards)

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._shards.writing():
            yield

    def last_row(self) -> int:
        return self._shards.state().last_row

    def checked(self, vectors: Vectors) -> Vectors:
        return checked_vectors(vectors, self._shards.space, lambda: self._shards.encoder)

    def store_next(self, batch: Sequence[Document], given: Vectors | None, *, more: bool) -> Updated:
        if self._existing == "error":
            self._check_new(batch)
        if given is not None and (bad := self._shards.space.first_unusable(given)) is not None:
            place, why = bad
            raise InputError(
                f"the vector of document {batch[place].id!r} {why}; correct the vector, or leave the text out"
            )
        arguments = {
            number: (at(batch, places), None if given is None else vectors_at(given, places), self._existing, more)
            for number, places in by_shard([document.id for document in batch], len(self._shards)).items()
        }
        self._touched |= set(arguments)
        stored: dict[int, Updated] = self._shards.some("store_batch", arguments)
        self._shards.maintain(more=more)
        return sum(stored.values(), Updated())

    def _check_new(self, batch: Sequence[Document]) -> None:
        """Raise if an id is stored already or occurs twice, before a shard stores its part of the batch."""
        known = self._shards.stored([document.id for document in batch])
        for document in batch:
            if document.id in known:
                raise already_exists(document)
            known.add(document.id)

    def finish(self) -> None:
        """Do what concerns all shards together; :meth:`report` finishes each of them."""
        self._shards.maintain(more=False)

    def report(self) -> None:
        """Let each shard that stored documents do what is needed after the last batch, and warn of long documents."""
        touched, self._touched = sorted(self._touched), set()
        self._shards.ask("finish", dict.fromkeys(touched, ()))
