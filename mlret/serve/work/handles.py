"""Handles of open folders for the event loop: readers on snapshots, and one writer."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from mlret.encoders.multi_vector import AnyEncoder
from mlret.index.concurrency.crew import Opened
from mlret.index.concurrency.handle import Handle
from mlret.index.filtering.filters import Where
from mlret.index.hits import Hits
from mlret.index.index import Index
from mlret.index.search import Mode
from mlret.index.vectors.space import Vectors
from mlret.serve.problems import Problem
from mlret.serve.work.refusals import refused

if TYPE_CHECKING:
    from mlret.memory.memory import Memory  # noqa: F401 - a base class below names it

S = TypeVar("S", bound=Opened)


class ServedHandle(Handle[S]):
    """A folder that is open in threads of its own. A call that is refused raises a :class:`Problem`."""

    def refusal(self, waiting: str | None) -> Problem:
        """Return the problem of a request that was not begun."""
        return refused(waiting)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Queries of one request to an index.

    Attributes
    ----------
    vectors
        The vectors of ``n`` queries, as the encoder of the index gives them.
    texts, languages
        Their texts and languages; empty if there are only vectors.
    k, where, ids, mode, exact, partial
        As for :meth:`mlret.index.index.Index.search_batch`.
    """

    vectors: Vectors
    texts: Sequence[str] = ()
    languages: Sequence[str | None] = ()
    k: int = 10
    where: Where | None = None
    ids: Sequence[str] | None = None
    mode: Mode | None = None
    exact: bool = False
    partial: bool = False

    @property
    def kind(self) -> Hashable:
        """Equal for requests whose queries can be searched together."""
        restricted = None if self.where is None and self.ids is None else json.dumps([self.where, self.ids])
        return bool(self.texts), self.k, restricted, self.mode, self.exact, self.partial


class IndexHandle(ServedHandle[Index]):
    """An open index; see :class:`ServedHandle`."""

    @classmethod
    async def open(
        cls,
        path: Path,
        encoder: AnyEncoder | None = None,
        *,
        readers: int | None = None,
        reading: Callable[[AnyEncoder | None], Index] | None = None,
    ) -> Self:
        """Open an index; see :meth:`mlret.index.index.Index.open` for the parameters and what it raises.

        ``reading`` opens what is read, if other processes read the folder for this one.
        """
        read = None if reading is None else partial(reading, encoder)
        return await cls(lambda: Index.open(path, encoder), readers=readers, reading=read).checked()

    async def search(self, wanted: Wanted) -> list[Hits]:
        """Search for queries, together with those of other requests that wait.

        Returns
        -------
        list of Hits
            For each query its hits, best first: those that :meth:`mlret.index.index.Index.search_batch` returns.

        Raises
        ------
        InputError
            As there.
        Problem
            If too many reads wait, or the handle is being closed.
        """
        return await self._readers.run_together(wanted.kind, wanted, _search)


def _search(index: Index, several: Sequence[Wanted]) -> list[list[Hits]]:
    first = several[0]
    options: dict[str, Any] = {"where": first.where, "ids": first.ids, "exact": first.exact, "partial": first.partial}
    space = index.shards.space
    vectors = space.queries([vector for one in several for vector in one.vectors])
    if first.texts:
        texts = [text for one in several for text in one.texts]
        languages = [code for one in several for code in one.languages]
        found = index.search_batch(texts, first.k, language=languages, vectors=vectors, mode=first.mode, **options)
    else:
        found = index.search_vectors(vectors, first.k, **options)
    hits = iter(found)
    return [list(islice(hits, len(one.vectors))) for one in several]


class MemoryHandle(ServedHandle["Memory"]):
    """An open memory; see :class:`ServedHandle`."""

    @classmethod
    async def open(cls, path: Path, encoder: AnyEncoder | None = None, *, readers: int | None = None) -> Self:
        """Open a memory, creating it if it does not exist; see :meth:`mlret.memory.memory.Memory.open`."""
        from mlret.memory.memory import Memory

        return await cls(lambda: Memory.open(path, encoder), readers=readers).checked()
