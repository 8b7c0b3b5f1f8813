"""Open the sources of training data: recognise their formats and find the other files that they need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mlret.data.archives import language_of_file, languages_of_mlqa
from mlret.data.ranking.formats import Form, Format, form_named, recognise
from mlret.data.ranking.judged import stream_judged
from mlret.data.ranking.layout import COLLECTION, QRELS, QUERIES, TRIPLES, Role, find
from mlret.data.ranking.records import Defaults, Outcome
from mlret.data.ranking.resolve import Resolver, Source, TextStores
from mlret.data.ranking.rows import Rows, rows_of
from mlret.errors import InputError, NotFound

# Number of bytes of a source that have been read, and an example or the reason why it was skipped.
Step = tuple[int, Outcome]


@dataclass(frozen=True, slots=True)
class RankingSource:
    """One source of training data, opened by :func:`read_ranking`.

    Attributes
    ----------
    name
        Name of the source: a path, or ``hub:…``.
    format
        The recognised format.
    title
        Description of the format, for messages.
    bytes
        Length in bytes, compressed if the file is; -1 if it is unknown.
    read
        Yields the position in bytes and an example, or the reason why one was skipped.

    Examples
    --------
    The example is that of :func:`read_ranking`.

    >>> [source] = reader.sources
    >>> source.name, source.format
    ('train.jsonl', 'columns')
    """

    name: str
    format: Format
    title: str
    bytes: int
    read: Callable[[], Iterator[Step]]


@dataclass(frozen=True)
class Opening:
    """Opens sources with the arguments of :func:`read_ranking`."""

    format: str
    language: str | None
    task: str | None
    collection: list[Source] | None
    queries: Source | None
    qrels: Source | None
    run: Source | None
    split: str
    per_system: int | None
    article_negatives: int
    stores: TextStores

    def source(self, source: Source) -> RankingSource:
        """Open one source.

        Raises
        ------
        InputError
            If it is missing, empty or of an unknown format, or another file that it needs is not found.
        """
        if str(source).startswith("hub:"):
            return self._rows(source, rows_of(source), None)
        path = Path(source)
        if not path.exists():
            raise NotFound(f"{path}: no such file; check the path")
        if not path.is_dir():
            return self._rows(path, rows_of(path), path.parent)
        triples = [] if self.format == "judged" else self._found(path, TRIPLES)
        if triples:
            return self._rows(triples[0], rows_of(triples[0]), path)
        return self._judged(path)

    def _rows(self, source: Source, rows: Rows, folder: Path | None) -> RankingSource:
        first = rows.first()
        if self.format == "judged":
            raise InputError(f"{source}: is a file; give the folder of queries, judgements and corpus")
        form = (
            form_named(self.format)
            if self.format != "auto"
            else recognise(first, tabular=rows.tabular, source=str(source))
        )
        if form.identify is not None:
            collection = self.collection or self._beside(folder, COLLECTION, source)
            queries = [self.queries] if self.queries is not None else self._beside(folder, QUERIES, source)
            read = partial(self._identified, rows, form, queries, collection)
        else:
            read = partial(self._plain, rows, form, self._defaults(source))
        return RankingSource(rows.name, form.name, form.title, rows.bytes, read)

    def _defaults(self, source: Source) -> Defaults:
        path = Path(source)
        of_queries, of_passages = languages_of_mlqa(path) or (language_of_file(path), None)
        return Defaults(of_queries or self.language, self.task, of_passages, self.article_negatives)

    def _plain(self, rows: Rows, form: Form, defaults: Defaults) -> Iterator[Step]:
        assert form.read is not None
        for row in rows.read():
            if not isinstance(row.value, list if rows.tabular else dict):
                raise InputError(f"{row.origin}: a JSON {type(row.value).__name__}; write {form.example}")
            for outcome in form.read(row.value, row.origin, defaults):
                yield row.position, outcome

    def _identified(
        self, rows: Rows, form: Form, queries: Sequence[Source], collection: Sequence[Source]
    ) -> Iterator[Step]:
        assert form.identify is not None
        texts = Resolver(
            self.stores.of(queries, queries=True),
            self.stores.of(collection, queries=False),
            Defaults(self.language, self.task),
            f"{', '.join(map(str, queries))} and {', '.join(map(str, collection))}",
        )
        for row in rows.read():
            if not isinstance(row.value, dict if form.name == "id-records" else list):
                raise InputError(f"{row.origin}: a JSON {type(row.value).__name__}; write {form.example}")
            yield row.position, texts.example(form.identify(row.value, row.origin, self.per_system))

    def _judged(self, folder: Path) -> RankingSource:
        queries = Path(self.queries or self._needed(folder, QUERIES)[0])
        qrels = Path(self.qrels or self._needed(folder, QRELS)[0])
        collection = self.collection or self._needed(folder, COLLECTION)
        run = None if self.run is None else Path(self.run)

        def read() -> Iterator[Step]:
            texts = Resolver(
                self.stores.of([queries], queries=True),
                self.stores.of(collection, queries=False),
                Defaults(language_of_file(folder) or self.language, self.task),
                ", ".join(map(str, collection)),
            )
            for example in stream_judged(qrels, run):
                yield 0, example if isinstance(example, str) else texts.example(example)

        return RankingSource(
            str(folder), "judged", f"queries ({queries.name}) with judgements ({qrels.name})", -1, read
        )

    def _beside(self, folder: Path | None, role: Role, source: Source) -> list[Source]:
        """Return the files of a role in a folder or its parent folder."""
        for place in [] if folder is None else [folder, folder.absolute().parent]:
            if found := self._found(place, role):
                return list(found)
        raise InputError(f"{source}: names its texts by ids; give {role.name}=, the file in which they are found")

    def _needed(self, folder: Path, role: Role) -> list[Source]:
        if found := self._found(folder, role):
            return list(found)
        raise InputError(
            f"{folder}: has no {role.name} of the split {self.split!r} that is known by its name; "
            f"give {role.name}=, or another split"
        )

    def _found(self, folder: Path, role: Role) -> list[Path]:
        return find(folder, role, split=self.split, language=self.language)
