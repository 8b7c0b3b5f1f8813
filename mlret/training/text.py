"""From the files of a recipe to training text: ordered documents and aligned pairs, held-out text removed."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlret.data.files import read_lines
from mlret.data.languages import normalise_language
from mlret.data.sentences import split_sentences
from mlret.errors import InputError
from mlret.training.recipe import DocumentSource, MultiParallelSource, ParallelSource, Recipe

# Shorter texts ("Yes.", "42") recur everywhere and give nothing away.
_MIN_HELD_OUT_CHARACTERS = 10
_LONGEST_WORD = 12
_SPACES_AND_MARKS = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class TrainingDocument:
    """The ordered sentences of one monolingual document."""

    language: str
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TextPair:
    """A text and its translation. ``language`` is that of ``target``; the source side is the pivot."""

    group: str
    source_language: str
    source: str
    language: str
    target: str


@dataclass
class TrainingText:
    """All text of a recipe, and what the filters removed."""

    documents: list[TrainingDocument] = field(default_factory=list)
    pairs: list[TextPair] = field(default_factory=list)
    removed_held_out: int = 0
    removed_duplicates: int = 0

    def keep_languages(self, languages: Collection[str]) -> None:
        """Drop what is in other languages; the other side of a pair, the pivot, may be in any."""
        self.documents = [document for document in self.documents if document.language in languages]
        self.pairs = [pair for pair in self.pairs if pair.language in languages]


def is_sentence(text: str) -> bool:
    """Whether a text is more than a word: it has a space, or is long for a script that writes none."""
    return " " in text or len(text) > _LONGEST_WORD


def normalised(text: str) -> str:
    """A text reduced to its case-folded letters and digits, for matching against held-out text."""
    return _SPACES_AND_MARKS.sub("", unicodedata.normalize("NFKC", text).casefold())


def expand(patterns: Sequence[str], root: Path) -> list[Path]:
    """The files that paths and globs name, relative to ``root``, sorted.

    Raises
    ------
    InputError
        If a pattern matches nothing.
    """
    files: list[Path] = []
    for pattern in patterns:
        found = sorted(root.glob(pattern))
        if not found:
            raise InputError(f"{root / pattern}: no such file; give the folder that holds it with --data")
        files += found
    return files


def read_held_out(files: Iterable[Path]) -> set[str]:
    """Every text of evaluation files (TSV fields, JSON strings and lists of strings), normalised."""
    texts: set[str] = set()
    for path in files:
        for _, line in read_lines(path):
            if line.lstrip().startswith("{"):
                values = json.loads(line).values()
                fields = [v for v in values if isinstance(v, str)]
                fields += [s for v in values if isinstance(v, list) for s in v if isinstance(s, str)]
            else:
                fields = line.split("\t")
            texts.update(key for key in map(normalised, fields) if len(key) >= _MIN_HELD_OUT_CHARACTERS)
    return texts


def read_training_text(recipe: Recipe, root: Path) -> TrainingText:
    """Read every source of a recipe.

    Sentences and pairs that occur in held-out text are dropped, and so are repeated documents and pairs.

    Parameters
    ----------
    recipe
        The recipe; its file patterns are relative to ``root``.
    root
        The data folder.

    Raises
    ------
    InputError
        If a file is missing, empty or malformed; the message names file and line.
    """
    held_out = read_held_out(expand(recipe.held_out, root))
    text = TrainingText()
    seen: set[int] = set()
    for source in recipe.sources:
        if isinstance(source, DocumentSource):
            for path in expand(source.files, root):
                for document in _read_documents(path):
                    _add_document(text, document, held_out, seen, recipe.min_characters)
            continue
        read = _read_parallel if isinstance(source, ParallelSource) else _read_multi_parallel
        for pair in read(source, root):  # type: ignore[arg-type]
            _add_pair(text, pair, held_out, seen)
    if recipe.languages is not None:
        text.keep_languages(set(recipe.languages))
    return text


def _add_document(
    text: TrainingText, document: TrainingDocument, held_out: set[str], seen: set[int], min_characters: int
) -> None:
    kept = [sentence for sentence in document.sentences if len(sentence) >= min_characters]
    clean = tuple(sentence for sentence in kept if normalised(sentence) not in held_out)
    text.removed_held_out += len(kept) - len(clean)
    key = hash((document.language, clean))
    if key in seen:
        text.removed_duplicates += 1
    elif clean:
        seen.add(key)
        text.documents.append(TrainingDocument(document.language, clean))


def _add_pair(text: TrainingText, pair: TextPair, held_out: set[str], seen: set[int]) -> None:
    if normalised(pair.source) in held_out or normalised(pair.target) in held_out:
        text.removed_held_out += 1
        return
    key = hash((pair.language, pair.source, pair.target))
    if key in seen or pair.source == pair.target:
        text.removed_duplicates += 1
    elif pair.source and pair.target:
        seen.add(key)
        text.pairs.append(pair)


def _read_documents(path: Path) -> Iterator[TrainingDocument]:
    number = 0
    for number, line in read_lines(path):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{number}: not JSON ({error.msg}); one object a line") from error
        if not isinstance(record, dict) or "lang" not in record or not ("sents" in record or "text" in record):
            raise InputError(f"{path}:{number}: a document needs the keys 'lang' and 'sents' (or 'text')")
        try:
            language = normalise_language(record["lang"])
        except InputError as error:
            raise InputError(f"{path}:{number}: {error}") from error
        sentences = record["sents"] if "sents" in record else split_sentences(record["text"], language)
        yield TrainingDocument(language, tuple(sentence.strip() for sentence in sentences))
    if number == 0:
        raise InputError(f"{path}: empty file; expected one JSON document a line")


def _read_parallel(source: ParallelSource, root: Path) -> Iterator[TextPair]:
    missing = {"language", "source", "target"} - set(source.columns)
    if missing:
        raise InputError(f"{source.files[0]}: the recipe's columns lack {sorted(missing)}")
    language_at, source_at, target_at = (source.columns.index(c) for c in ("language", "source", "target"))
    for path in expand(source.files, root):
        for number, line in read_lines(path):
            if source.header and number == 1:
                continue
            cells = line.split("\t")
            if len(cells) != len(source.columns):
                raise InputError(
                    f"{path}:{number}: {len(cells)} columns, expected {len(source.columns)} ({source.columns})"
                )
            try:
                language = normalise_language(cells[language_at])
            except InputError as error:
                raise InputError(f"{path}:{number}: {error}") from error
            yield TextPair(
                source.group,
                source.source_language,
                cells[source_at].strip(),
                language,
                cells[target_at].strip(),
            )


def _read_multi_parallel(source: MultiParallelSource, root: Path) -> Iterator[TextPair]:
    """Pairs of every language with the pivot, from the documents that the recipe keeps."""
    document_of_line = [line for _, line in read_lines(root / source.documents)]
    order = {document: position for position, document in enumerate(dict.fromkeys(document_of_line))}
    low, high = (fraction * len(order) for fraction in source.keep)
    kept = {i for i, document in enumerate(document_of_line) if low <= order[document] < high}
    for path in expand(source.files, root):
        rows: dict[str, dict[int, str]] = {}
        for number, line in read_lines(path):
            cells = line.split("\t")
            if number == 1 and cells[0] == "lang":
                continue
            if len(cells) != 3 or not cells[1].isdigit():
                raise InputError(f"{path}:{number}: expected language, line number and text, separated by tabs")
            rows.setdefault(cells[0], {})[int(cells[1])] = cells[2].strip()
        if source.pivot not in rows:
            raise InputError(f"{path}: no lines in the pivot language {source.pivot!r}; it has {sorted(rows)[:5]} …")
        pivot_language, pivot_rows = normalise_language(source.pivot), rows[source.pivot]
        for code, lines in rows.items():
            language = normalise_language(source.aliases.get(code, code))
            if language == pivot_language:
                continue
            for i, target in lines.items():
                if i in kept and i in pivot_rows and target:
                    yield TextPair(source.group, pivot_language, pivot_rows[i], language, target)
