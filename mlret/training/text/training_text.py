"""Read the files of a recipe into training text on disk: documents, pairs and examples, without held-out text."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mlret.data.durable import sha256_of, write_text_atomically
from mlret.data.files import expand
from mlret.data.held_out import held_out_keys, read_held_out
from mlret.data.languages import normalise_language
from mlret.data.monolingual import MonolingualDocument, TextColumns, read_hub, read_monolingual
from mlret.data.ranking import RankingReader, read_ranking
from mlret.data.same_text import VERSION, normalised
from mlret.errors import InputError
from mlret.training.progress import counted
from mlret.training.recipe import Recipe
from mlret.training.sources import (
    DocumentSource,
    ExampleSource,
    GlossSource,
    HubSource,
    MultiParallelSource,
    ParallelSource,
)
from mlret.training.text.glosses import Lexicon, glossed
from mlret.training.text.own_text import document_files, example_sources, files_below, held_out_files, is_own
from mlret.training.text.parallel import TextPair, read_excluded, read_pairs
from mlret.training.text.store import DocumentStore, ExampleStore, PairStore, TaskExample

_LONGEST_WORD = 12
_STATISTICS = "statistics.json"


class TrainingText:
    """All text of a recipe, on disk.

    Attributes
    ----------
    documents
        Iterable of :class:`~mlret.data.monolingual.MonolingualDocument`, streamed from disk.
    examples
        Sequence of :class:`~mlret.training.text.store.TaskExample`, read from disk on access.
    statistics
        Counts by language, and counts of what the filters removed.
    """

    def __init__(self, folder: Path, statistics: TextStatistics) -> None:
        self.documents = DocumentStore(folder / "documents.arrow")
        self.examples = ExampleStore(folder / "examples.arrow")
        self._pairs = PairStore(folder / "pairs.arrow")
        self.statistics = statistics

    @cached_property
    def pairs(self) -> list[TextPair]:
        """The aligned pairs, in memory."""
        return list(self._pairs)


@dataclass
class TextStatistics:
    """Counts of the training text by language, and of what was removed.

    Attributes
    ----------
    documents, sentences, characters, pairs, examples
        Language -> count. Characters are counted in documents, examples by the language of the query.
    removed_held_out
        Number of sentences, pairs and examples that were removed because they occur in held-out text.
    removed_documents, removed_sentences, removed_pairs
        Numbers of repetitions that were removed; for pairs this includes those whose two sides are equal.
    """

    documents: Counter[str] = field(default_factory=Counter)
    sentences: Counter[str] = field(default_factory=Counter)
    characters: Counter[str] = field(default_factory=Counter)
    pairs: Counter[str] = field(default_factory=Counter)
    examples: Counter[str] = field(default_factory=Counter)
    removed_held_out: int = 0
    removed_documents: int = 0
    removed_sentences: int = 0
    removed_pairs: int = 0

    def count_document(self, document: MonolingualDocument) -> None:
        """Count a document that is kept."""
        self.documents[document.language] += 1
        self.sentences[document.language] += len(document.sentences)
        self.characters[document.language] += sum(map(len, document.sentences))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, with languages sorted."""
        return {
            key: dict(sorted(value.items())) if isinstance(value, Counter) else value
            for key, value in vars(self).items()
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TextStatistics:
        """Restore the statistics from the result of :meth:`to_dict`."""
        typed: dict[str, Any] = {k: Counter(v) if isinstance(v, dict) else v for k, v in values.items()}
        return cls(**typed)


def is_sentence(text: str) -> bool:
    """Return whether a text is more than a word: it contains a space, or is long, for scripts without spaces."""
    return " " in text or len(text) > _LONGEST_WORD


def prepare_text(recipe: Recipe, root: Path, folder: Path) -> TrainingText:
    """Read every source of a recipe and store the text in ``folder``; text that is already stored is reused.

    Sentences, pairs and examples that occur in held-out text are dropped, as are repeated documents, repeated pairs
    and, unless the recipe keeps them, repeated sentences. Documents are streamed from their files to the disk.

    Parameters
    ----------
    recipe
        The recipe; its file patterns are relative to ``root``.
    root
        The data folder.
    folder
        Existing folder that the text is stored in.

    Returns
    -------
    TrainingText
        The stored text.

    Raises
    ------
    InputError
        If a file is missing, empty or malformed (the message names file and line), or has changed since the text in
        ``folder`` was read.
    """
    origin = _origin(recipe, root, excluded=folder.parent)
    done = folder / _STATISTICS
    if done.is_file():
        before = json.loads(done.read_text(encoding="utf-8"))
        if before["origin"] != origin:
            raise InputError(
                f"{folder}: was read from other files or settings than the recipe has now; "
                "name another output folder, or bring the files back"
            )
        return TrainingText(folder, TextStatistics.from_dict(before["statistics"]))
    reader = _Reader(recipe, root, excluded=folder.parent)
    DocumentStore.write(folder / "documents.arrow", counted(reader.documents(), "reading documents"))
    PairStore.write(folder / "pairs.arrow", counted(reader.pairs(), "reading pairs"))
    ExampleStore.write(folder / "examples.arrow", counted(reader.examples(folder / "texts"), "reading examples"))
    content = {"origin": origin, "statistics": reader.statistics.to_dict()}
    write_text_atomically(done, json.dumps(content, indent=1, ensure_ascii=False))
    return TrainingText(folder, reader.statistics)


def source_files(recipe: Recipe, root: Path, *, excluded: Path | None = None) -> list[Path]:
    """Return the files that a recipe reads, except those in the folder ``excluded``, which is that of the run.

    Raises
    ------
    InputError
        If a pattern matches nothing, and the recipe has nothing to use instead.
    """
    files, _ = held_out_files(recipe, root)
    for source in recipe.sources:
        if isinstance(source, ExampleSource):
            paths = [path for path in example_sources(source, root, excluded=excluded) if isinstance(path, Path)]
            named = (source.collection, source.queries, source.qrels, source.run)
            paths += expand([name for name in named if name is not None], root)
            for path in paths:
                files += files_below(path, excluded) if path.is_dir() else [path]
        elif isinstance(source, DocumentSource):
            files += document_files(source, root, excluded=excluded)
        elif not isinstance(source, HubSource):
            files += expand(source.files, root)
            files += expand([source.documents], root) if isinstance(source, MultiParallelSource) else []
    return files


def _origin(recipe: Recipe, root: Path, *, excluded: Path) -> dict[str, Any]:
    """Return what determines the text: the recipe's settings for it, and the SHA-256 of each file.

    Modification times are not used, because copying files changes them.
    """
    settings = recipe.model_dump(
        mode="json", include={"sources", "held_out", "languages", "min_characters", "repeated_sentences"}
    )
    for source in settings["sources"]:
        if not source.get(
            "or_whole_folder"
        ):  # so that text that an earlier version stored, which lacks the key, stays valid
            source.pop("or_whole_folder", None)
    files = {str(path.relative_to(root)): sha256_of(path) for path in source_files(recipe, root, excluded=excluded)}
    origin: dict[str, Any] = {"settings": settings, "files": files}
    if recipe.held_out or any(isinstance(source, MultiParallelSource) for source in recipe.sources):
        origin["same_text"] = VERSION  # held-out text is recognised by this normalisation
    return origin


class _Reader:
    """One pass over the sources of a recipe, which remembers the texts that it has seen for its filters."""

    def __init__(self, recipe: Recipe, root: Path, *, excluded: Path) -> None:
        self._recipe = recipe
        self._root = root
        self._excluded = excluded
        self._held_out_files, _ = held_out_files(recipe, root)
        self._held_out = read_held_out(self._held_out_files)
        for source in recipe.sources:
            if isinstance(source, MultiParallelSource):
                self._held_out |= held_out_keys(read_excluded(source, root))
        self._languages = None if recipe.languages is None else set(recipe.languages)
        # Hashes instead of texts take about a hundred bytes for each different text.
        self._seen: set[int] = set()
        self._lexicons = {source.lexicons for source in recipe.sources if isinstance(source, GlossSource)}
        self._words: dict[str, list[TextPair]] = defaultdict(list)
        self.statistics = TextStatistics()

    def documents(self) -> Iterator[MonolingualDocument]:
        for source in self._recipe.sources:
            if not isinstance(source, DocumentSource | HubSource):
                continue
            for document in self._read(source):
                if self._languages is None or document.language in self._languages:
                    kept = self._filter(document)
                    if kept is not None:
                        self.statistics.count_document(kept)
                        yield kept

    def pairs(self) -> Iterator[TextPair]:
        for source in self._recipe.sources:
            if isinstance(source, ParallelSource | MultiParallelSource):
                for pair in read_pairs(source, self._root):
                    if (self._languages is None or pair.language in self._languages) and self._keeps(pair):
                        self.statistics.pairs[pair.language] += 1
                        if pair.group in self._lexicons:
                            self._words[pair.group].append(pair)
                        yield pair
        for source in self._recipe.sources:
            if isinstance(source, GlossSource):
                for pair in self._glosses(source):
                    if self._keeps(pair):
                        self.statistics.pairs[pair.language] += 1
                        yield pair

    def _glosses(self, source: GlossSource) -> Iterator[TextPair]:
        language = normalise_language(source.language)
        sentences = [
            sentence
            for path in expand(source.files, self._root)
            for document in read_monolingual(path, language=None, columns=TextColumns())
            if document.language == language
            for sentence in document.sentences
        ]
        lexicon = Lexicon(pair for pair in self._words[source.lexicons] if pair.source_language == language)
        return glossed(
            sentences,
            lexicon,
            group=source.group,
            language=language,
            languages=lexicon.languages,
            per_language=source.per_language,
            least=source.least,
            seed=self._recipe.seed,
        )

    def examples(self, cache: Path) -> Iterator[TaskExample]:
        for source in self._recipe.sources:
            if isinstance(source, ExampleSource):
                reader = self._open(source, cache)
                instructed = any(self._recipe.instructions[source.task])
                for example in reader:
                    if instructed and example.task not in (None, *self._recipe.instructions):
                        raise InputError(
                            f"{source.files[0]}: an example of the task {example.task!r}, for which no source of the "
                            f"recipe has instructions; the query is {example.query[:60]!r}"
                        )
                    self.statistics.examples[example.language or "und"] += 1
                    yield TaskExample(
                        example.task or source.task,
                        example.language,
                        example.query,
                        list(example.positives),
                        list(example.negatives),
                        list(example.languages),
                        list(example.scores or ()),
                    )
                self.statistics.removed_held_out += sum(
                    count for reason, count in reader.skipped.items() if "held-out" in reason
                )

    def _open(self, source: ExampleSource, cache: Path) -> RankingReader:
        def path(name: str | None) -> Path | None:
            return None if name is None else self._root / name

        return read_ranking(
            example_sources(source, self._root, excluded=self._excluded),
            source.format,
            language=source.language,
            languages=self._recipe.languages
            if is_own(source, self._root)
            else source.languages or self._recipe.languages,
            collection=path(source.collection),
            queries=path(source.queries),
            qrels=path(source.qrels),
            run=path(source.run),
            split=source.split,
            max_negatives=source.max_negatives,
            article_negatives=source.article_negatives,
            held_out=self._held_out_files,
            limit=source.limit,
            cache=cache,
        )

    def _read(self, source: DocumentSource | HubSource) -> Iterator[MonolingualDocument]:
        columns = TextColumns(**source.columns.model_dump())
        if isinstance(source, DocumentSource):
            own = is_own(source, self._root)
            for path in document_files(source, self._root, excluded=self._excluded):
                yield from read_monolingual(path, language=source.language, columns=columns, as_found=own)
            return
        local = self._root / source.dataset
        yield from read_hub(
            str(local) if local.is_dir() else source.dataset,
            config=source.config,
            split=source.split,
            language=source.language,
            columns=columns,
            limit=source.limit,
        )

    def _filter(self, document: MonolingualDocument) -> MonolingualDocument | None:
        long = [sentence for sentence in document.sentences if len(sentence) >= self._recipe.min_characters]
        clean = [sentence for sentence in long if normalised(sentence) not in self._held_out]
        self.statistics.removed_held_out += len(long) - len(clean)
        if not clean:
            return None
        if self._is_repeated((document.language, *clean)):
            self.statistics.removed_documents += 1
            return None
        if self._recipe.repeated_sentences == "drop":
            different = [sentence for sentence in clean if not self._is_repeated((document.language, sentence, None))]
            self.statistics.removed_sentences += len(clean) - len(different)
            clean = different
        return MonolingualDocument(document.language, tuple(clean)) if clean else None

    def _keeps(self, pair: TextPair) -> bool:
        if normalised(pair.source) in self._held_out or normalised(pair.target) in self._held_out:
            self.statistics.removed_held_out += 1
            return False
        # The concept is in the key: an ambiguous word may have the same translation in several meanings.
        if pair.source == pair.target or self._is_repeated((pair.language, pair.source, pair.target, pair.concept)):
            self.statistics.removed_pairs += 1
            return False
        return bool(pair.source and pair.target)

    def _is_repeated(self, content: tuple[str | None, ...]) -> bool:
        key = hash(content)
        if key in self._seen:
            return True
        self._seen.add(key)
        return False
