"""Look up the texts of queries and passages that training files give by id."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mlret.data.ranking.example import Passage, build
from mlret.data.ranking.records import Defaults, IdentifiedExample, Outcome
from mlret.data.ranking.texts import IdentifiedText, Say, TextStore, open_store, stream_passages, stream_queries
from mlret.errors import InputError

Source = str | Path
# Number of examples without texts after which an error states that the ids are not in the collection.
_PATIENCE = 100


class TextStores:
    """The text stores of one reader; each is written when it is first needed.

    Parameters
    ----------
    cache
        Folder in which the stores are kept; ``None`` for a temporary folder that is deleted with this object.
    say
        Called with a line of progress from time to time while a store is written.
    """

    def __init__(self, cache: Path | None, say: Say) -> None:
        self._cache = cache
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._open: dict[tuple[str, ...], TextStore] = {}
        self._say = say

    def of(self, sources: Sequence[Source], *, queries: bool) -> TextStore:
        """Return the store of some sources, which hold queries if ``queries`` is true and passages otherwise.

        Parameters
        ----------
        sources
            Files, folders or data sets of the hub.
        queries
            Whether the sources hold queries.
        """
        key = ("queries" if queries else "passages", *map(str, sources))
        if key not in self._open:
            read = stream_queries if queries else stream_passages
            self._open[key] = open_store(self._folder(), sources, read, say=self._say)
        return self._open[key]

    def _folder(self) -> Path:
        if self._cache is not None:
            return self._cache
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="mlret-", ignore_cleanup_errors=True)
        return Path(self._temporary.name)


class Resolver:
    """Adds texts to examples that are given by ids.

    Parameters
    ----------
    queries, passages
        The stores in which the texts are looked up.
    defaults
        The language of texts that do not state theirs, and the task.
    where
        What the stores were made from, for messages.
    """

    def __init__(self, queries: TextStore, passages: TextStore, defaults: Defaults, where: str) -> None:
        self._queries = queries
        self._passages = passages
        self._defaults = defaults
        self._where = where
        self._found = self._missed = 0

    def example(self, one: IdentifiedExample) -> Outcome:
        """Return the example with its texts. Negatives that are missing or blank in the collection are excluded.

        Raises
        ------
        InputError
            If none of the first hundred examples has texts.
        """
        query = self._queries.get([one.query_id]).get(one.query_id)
        texts = self._passages.get([passage.id for passage in (*one.positives, *one.negatives) if passage.id])
        positives, negatives = (
            [self._with_text(one, texts) for one in side] for side in (one.positives, one.negatives)
        )
        if query is None or not any(passage.text for passage in positives):
            self._missed += 1
            if not self._found and self._missed >= _PATIENCE:
                raise InputError(
                    f"{one.where}: of the first {self._missed} examples none has its query and a positive in "
                    f"{self._where}; give the queries and the collection that these ids are of"
                )
            return "query not among the queries" if query is None else "positive not in the collection"
        self._found += 1
        language = query.language or self._defaults.language
        return build(
            query.text,
            positives,
            negatives,
            where=one.where,
            language=language,
            task=self._defaults.task,
            query_id=one.query_id,
        )

    def _with_text(self, passage: Passage, texts: Mapping[str, IdentifiedText]) -> Passage:
        """Return the passage with its text, which stays blank if the collection does not have it."""
        found = texts.get(passage.id or "")
        if found is None:
            return passage
        return replace(passage, text=found.text, language=found.language or self._defaults.language)
