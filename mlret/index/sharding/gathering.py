"""Asks the shards of an index, and gathers their answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from mlret.data.columns import Columns
from mlret.data.documents import Document
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import Corrupt, InputError, MlretError, NotFound, first_line
from mlret.index.filtering.fields import Kind
from mlret.index.filtering.filter_warnings import Messages, Unmatched, common_messages, is_plain
from mlret.index.filtering.filters import Condition
from mlret.index.hits import IndexInfo
from mlret.index.ingest import Adding, Existing
from mlret.index.settings import Choice
from mlret.index.sharding.local_search import LocalSearch
from mlret.index.sharding.merged_info import merged_info
from mlret.index.sharding.placement import at, by_shard, shard_of
from mlret.index.sharding.shard import State
from mlret.index.storage.manifest import Manifest
from mlret.index.storage.receipts import Receipt
from mlret.index.storage.sealed import SealedFiles
from mlret.index.store.opening import space_of
from mlret.index.store.store import Store
from mlret.index.store.stored_encoder import encoder_of
from mlret.index.vectors.exact import Device
from mlret.index.vectors.space import AnySpace, Vectors
from mlret.wording import counted

_PAGE = 1024
# A page of documents begins behind a row of a shard; no shard has as many rows.
_ROWS = 2**48


class Answers(NamedTuple):
    """What shards answered.

    Attributes
    ----------
    found
        Number of the shard -> what its method returned.
    failed
        Number of the shard -> the error, for those that did not answer.
    """

    found: dict[int, Any]
    failed: dict[int, Exception]


class Searched(Protocol):
    """What is searched: the shards of an index, or several together as one."""

    @property
    def folder(self) -> Path:
        """The folder of the index."""

    @property
    def manifest(self) -> Manifest:
        """What all shards share."""

    def __len__(self) -> int: ...

    def ask(self, method: str, arguments: Mapping[int, Sequence[Any]]) -> Answers:
        """Call one method of several shards; see :meth:`Shards.ask`."""

    def check_filter(self, condition: Condition, matching: int, numbers: Sequence[int]) -> None:
        """Warn once if a part of a filter cannot match anything."""


class JoinedShards:
    """All shards of an index, which are open in this process, as one.

    Errors are raised as they are, and do not tell which shard does not answer.

    Parameters
    ----------
    shards
        The shards.
    search
        Searches their stores.
    """

    def __init__(self, shards: Shards, search: LocalSearch) -> None:
        self._shards = shards
        self.search = search

    @property
    def folder(self) -> Path:
        """The folder of the index."""
        return self._shards.folder

    @property
    def manifest(self) -> Manifest:
        """What all shards share."""
        return self._shards.manifest

    def __len__(self) -> int:
        return 1

    def ask(self, method: str, arguments: Mapping[int, Sequence[Any]]) -> Answers:
        """Call one method of the search."""
        return Answers({number: getattr(self.search, method)(*some) for number, some in arguments.items()}, {})

    def check_filter(self, condition: Condition, matching: int, numbers: Sequence[int]) -> None:
        """Warn once if a part of a filter cannot match anything in any shard."""
        self._shards.check_filter(condition, matching, range(len(self._shards)))


class Shards(ABC):
    """The shards of an index, of which an ordinary index has one.

    Attributes
    ----------
    folder
        The folder of the index.
    names
        The name of each shard, for messages.
    device
        Where sealed segments are searched exactly.

    Parameters
    ----------
    folder, names, device
        As above.
    encoder
        The encoder; ``None`` to load the one that the manifest names when it is first needed.
    """

    def __init__(
        self, folder: Path, names: Sequence[str], encoder: AnyEncoder | None = None, device: Device = "cpu"
    ) -> None:
        self.folder = folder
        self.names = names
        self.device: Device = device
        self._encoder = encoder
        self._filters = Unmatched("document")

    @property
    @abstractmethod
    def manifest(self) -> Manifest:
        """What all shards share: the encoder, its fingerprint, the dimensions, the similarity and the settings."""

    @property
    def encoder(self) -> AnyEncoder:
        """The encoder of the index, which is loaded on first use."""
        if self._encoder is None:
            self._encoder = encoder_of(self.folder, self.manifest)
        return self._encoder

    @cached_property
    def space(self) -> AnySpace:
        """The space of the vectors of all shards, to check and prepare vectors."""
        return space_of(SealedFiles(self.folder), self.manifest)

    @property
    def store(self) -> Store:
        """The store of an index that is not divided.

        Raises
        ------
        InputError
            If the index is divided.
        """
        raise InputError(f"{self.folder} is divided into {len(self)} shards, which have a store each: open one of them")

    def store_of(self, number: int) -> Store:
        """Return the store of a shard that is in this process.

        Raises
        ------
        InputError
            If it is not in this process.
        MlretError
            If the shard could not be opened.
        """
        raise InputError(f"{self.folder}: the shard {self.names[number]} is in another process")

    def answering(self) -> list[int]:
        """Return the numbers of the shards that could be opened."""
        return list(range(len(self)))

    def __len__(self) -> int:
        return len(self.names)

    @abstractmethod
    def ask(self, method: str, arguments: Mapping[int, Sequence[Any]]) -> Answers:
        """Call one method of several shards, as far as possible at the same time, and wait for all.

        Parameters
        ----------
        method
            The name of a method of :class:`mlret.index.sharding.shard.Shard`.
        arguments
            Number of the shard -> the arguments of its call.

        Returns
        -------
        Answers
            What was returned, and the errors of shards that do not answer.
        """

    def every(self, method: str, *arguments: Any) -> list[Any]:
        """Call one method of all shards with the same arguments, and return what each returned.

        Raises
        ------
        MlretError
            If a shard does not answer; the message names it.
        """
        found = self.some(method, dict.fromkeys(range(len(self)), arguments))
        return [found[number] for number in range(len(self))]

    def some(self, method: str, arguments: Mapping[int, Sequence[Any]]) -> dict[int, Any]:
        """Do the same as :meth:`ask`, and raise if a shard does not answer.

        Raises
        ------
        MlretError
            The message names the shard.
        """
        answers = self.ask(method, arguments)
        if answers.failed:
            raise self.unanswered(answers.failed)
        return answers.found

    def unanswered(self, failed: Mapping[int, Exception]) -> MlretError:
        """Return the error to raise if shards do not answer: that of the first, with its name, also as ``field``."""
        number = min(failed)
        error, name = failed[number], self.names[number]
        others = f" (nor do {len(failed) - 1} others)" if len(failed) > 1 else ""
        what = f"{self.folder}: the shard {name} does not answer{others}: {first_line(error)}"
        found = type(error)(what) if isinstance(error, MlretError) else MlretError(what)
        if isinstance(error, NotFound):  # Its folder is missing, which is not the fault of the caller.
            found = Corrupt(what)
        found.field = name
        found.__cause__ = error
        return found

    @abstractmethod
    def close(self) -> None:
        """Close all shards."""

    def check_process(self) -> None:  # noqa: B027 - shards of other processes need no check
        """Raise if this process was forked from the one that opened the shards, and cannot use them."""

    @abstractmethod
    def intake(self, existing: Existing, columns: Columns) -> Adding:
        """Return what stores documents.

        Parameters
        ----------
        existing
            What to do with a document whose id is stored already.
        columns
            Columns, or keys of records, that are read under another name.
        """

    def refresh(self) -> None:
        """Load what other processes have changed."""
        self.every("refresh")

    def state(self) -> State:
        """Return how much all shards hold together."""
        states: list[State] = self.every("state")
        return State(*(sum(values) for values in zip(*states, strict=True)))

    def by_shard(self, ids: Sequence[str]) -> dict[int, list[str]]:
        """Return the ids that belong to each shard, without shards that none belongs to."""
        return {number: at(ids, places) for number, places in by_shard(ids, len(self)).items()}

    def stored(self, ids: Sequence[str]) -> set[str]:
        """Return those ids that are stored."""
        found = self.some("stored", {number: (some,) for number, some in self.by_shard(ids).items()})
        return {id for some in found.values() for id in some}

    def get(self, ids: Sequence[str]) -> dict[str, Document]:
        """Return the documents with some ids; ids that are not stored are missing from the result."""
        found = self.some("get", {number: (some,) for number, some in self.by_shard(ids).items()})
        return {id: document for some in found.values() for id, document in some.items()}

    def documents(self) -> Iterator[Document]:
        """Iterate over all documents, shard by shard, in the order in which each shard stored them."""
        after = 0
        while page := self.page(after, _PAGE):
            yield from (document for _, document in page)
            after = page[-1][0]

    def page(self, after: int, size: int) -> list[tuple[int, Document]]:
        """Return documents in the order of :meth:`documents`, each with a number that says where the next page begins.

        Parameters
        ----------
        after
            The number of the last document of the page before; 0 for the first page.
        size
            The number of documents.
        """
        found: list[tuple[int, Document]] = []
        number, row = divmod(after, _ROWS)
        while len(found) < size and number < len(self):
            page = self.some("page", {number: (row, size - len(found))})[number]
            found += [(number * _ROWS + row, document) for row, document in page]
            number, row = number + 1, 0
        return found

    def fields(self, fields: int, values: int) -> dict[str, dict[Kind, list[Any]]]:
        """Return the metadata that filters can use, by field and kind.

        Parameters
        ----------
        fields
            The most fields, in the order of their names.
        values
            The most values of a kind, in ascending order.
        """
        parts: list[dict[str, dict[Kind, list[Any]]]] = self.every("fields", fields, values)
        found: dict[str, dict[Kind, list[Any]]] = {}
        for name in sorted({name for part in parts for name in part})[:fields]:
            kinds = dict.fromkeys(kind for part in parts for kind in part.get(name, ()))
            found[name] = {
                kind: sorted({one for part in parts for one in part.get(name, {}).get(kind, ())})[:values]
                for kind in kinds
            }
        return found

    def receipts(self, key: str) -> list[Receipt]:
        """Return the receipts of a request to a server."""
        number = shard_of(key, len(self))
        found: list[Receipt] = self.some("receipts", {number: (key,)})[number]
        return found

    def keep_receipt(self, key: str, receipt: Receipt) -> None:
        """Store a receipt of a request to a server."""
        self.some("keep_receipt", {shard_of(key, len(self)): (key, receipt)})

    def joined(self) -> JoinedShards | None:
        """Return all shards as one, which is searched faster; ``None`` if they are not all open in this process."""
        return None

    @property
    def divided(self) -> bool:
        """Whether the index is divided, so that it has no :attr:`store`."""
        return True

    def writing(self) -> AbstractContextManager[object]:
        """Keep other processes from writing between several calls, where the folder is in reach of this process."""
        return nullcontext()

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """Return the vectors of documents, as :meth:`mlret.Index.vectors` does.

        Raises
        ------
        NotFound
            If an id is not stored.
        """
        wanted = list(dict.fromkeys(ids))
        parts = self.some("vectors", {number: (some,) for number, some in self.by_shard(wanted).items()})
        found = {id: vector for some in parts.values() for id, vector in some.items()}
        if missing := [id for id in ids if id not in found]:
            raise NotFound(f"{self.folder} has no document {missing[0]!r}")
        joined: Vectors = self.space.joined([found[id] for id in ids])
        return joined

    def delete(self, ids: Sequence[str], *, ignore_missing: bool = False) -> int:
        """Delete the documents with some ids, and return how many were stored.

        Raises
        ------
        NotFound
            If an id is not stored and ``ignore_missing`` is not set. Nothing is deleted.
        """
        if not ignore_missing:
            self.check_stored(ids, self.stored(ids))
        return sum(self.some("delete", {number: (some,) for number, some in self.by_shard(ids).items()}).values())

    def check_stored(self, ids: Sequence[str], stored: Container[str]) -> None:
        """Raise if an id that is to be deleted is not stored."""
        if missing := [id for id in ids if id not in stored]:
            raise NotFound(
                f"{self.folder} does not hold {counted(len(missing), 'id')}, the first of which is "
                f"{missing[0]!r}; nothing was deleted (`ignore_missing=True` skips them)"
            )

    def delete_matching(self, condition: Condition) -> int:
        """Delete the documents that satisfy a condition, and return how many they were."""
        deleted: int = sum(self.every("delete_matching", condition))
        self.check_filter(condition, deleted, range(len(self)))
        return deleted

    def info(self) -> IndexInfo:
        """Return a summary of the whole index."""
        return merged_info(self.folder, self.every("info"))

    def maintain(self, *, more: bool) -> None:  # noqa: B027 - shards of one vector for each document do it themselves
        """Do what is needed after a batch that concerns all shards together.

        Parameters
        ----------
        more
            Whether more will be written at once.
        """

    def seal(self) -> None:
        """Write the vectors that are only in databases to segment files."""
        self.every("seal")

    def compact(self, due: bool, progress: Callable[[str, int, int], None] | None = None) -> list[Choice]:
        """Merge the segments of each shard, and return the kind of each segment; see :meth:`mlret.Index.compact`.

        Parameters
        ----------
        due
            Do so only in shards to which much was added since the last time.
        progress
            Called with the name of the current step, the number of vectors that are done, and their total number, where
            the shards are in this process.
        """
        return [choice for some in self.every("compact", due) for choice in some]

    def tune(self, vectors: Vectors | None, recall: float | None) -> str:
        """Choose the search effort of each shard of a multi-vector index; see :meth:`mlret.Index.tune`."""
        return "; ".join(dict.fromkeys(self.every("tune", vectors, recall)))

    def unmatched(self, condition: Condition, numbers: Sequence[int] | None = None) -> Messages:
        """Return a message for each part of a filter that cannot match anything in some shards, by default all."""
        numbers = range(len(self)) if numbers is None else numbers
        found = self.some("unmatched", dict.fromkeys(numbers, (condition,)))
        states = self.some("state", dict.fromkeys(numbers, ()))
        documents = sum(one.documents for one in states.values())
        return common_messages([one for one in found.values() if one is not None], documents)

    def check_filter(self, condition: Condition, matching: int, numbers: Sequence[int]) -> None:
        """Warn once if a part of a filter cannot match anything.

        Parameters
        ----------
        condition
            The filter.
        matching
            The number of documents that satisfy it.
        numbers
            The numbers of the shards that were searched.
        """
        if (not matching or not is_plain(condition)) and self._filters.is_new((condition, tuple(numbers))):
            self._filters.report(self.unmatched(condition, numbers).values())
