"""Read aligned texts: TSV files of pairs, and TSV files with the same lines in many languages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlret.data.files import expand, read_lines
from mlret.data.languages import normalise_language
from mlret.errors import InputError
from mlret.training.sources import MultiParallelSource, ParallelSource


@dataclass(frozen=True, slots=True)
class TextPair:
    """A text and its translation. ``language`` is that of ``target``; the source side is the pivot.

    ``concept`` distinguishes the meanings of an ambiguous source; by default it is the source.
    """

    group: str
    source_language: str
    source: str
    language: str
    target: str
    concept: str


def read_pairs(source: ParallelSource | MultiParallelSource, root: Path) -> Iterator[TextPair]:
    """Stream the pairs of a source.

    Parameters
    ----------
    source
        The source.
    root
        Folder that the paths of the source are relative to.

    Yields
    ------
    TextPair
        The pairs, in the order of the files.

    Raises
    ------
    InputError
        If a file is missing or malformed; the message names file and line.
    """
    return _read_parallel(source, root) if isinstance(source, ParallelSource) else _read_multi_parallel(source, root)


def _read_parallel(source: ParallelSource, root: Path) -> Iterator[TextPair]:
    missing = {"language", "source", "target"} - set(source.columns)
    if missing:
        raise InputError(f"{source.files[0]}: the recipe's columns lack {sorted(missing)}")
    language_at, source_at, target_at = (source.columns.index(c) for c in ("language", "source", "target"))
    concept_at = source.columns.index("concept") if "concept" in source.columns else None
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
            text, target = cells[source_at].strip(), cells[target_at].strip()
            concept = text if concept_at is None else cells[concept_at].strip()
            yield TextPair(source.group, source.source_language, text, language, target, concept)


def read_excluded(source: MultiParallelSource, root: Path) -> Iterator[str]:
    """Stream the texts of the documents that a source excludes because they are for evaluation.

    Parameters
    ----------
    source
        The source.
    root
        Folder that the paths of the source are relative to.

    Yields
    ------
    str
        The texts, in all languages.

    Raises
    ------
    InputError
        If a file is missing or malformed; the message names file and line.
    """
    kept = _kept_lines(source, root)
    for path in expand(source.files, root):
        for _, line, text in _numbered_lines(path):
            if line not in kept:
                yield text


def _kept_lines(source: MultiParallelSource, root: Path) -> set[int]:
    document_of_line = [line for _, line in read_lines(root / source.documents)]
    order = {document: position for position, document in enumerate(dict.fromkeys(document_of_line))}
    low, high = (fraction * len(order) for fraction in source.keep)
    return {i for i, document in enumerate(document_of_line) if low <= order[document] < high}


def _numbered_lines(path: Path) -> Iterator[tuple[str, int, str]]:
    """Yield the language, line number and text of each line of a multi-parallel file."""
    for number, line in read_lines(path):
        cells = line.split("\t")
        if number == 1 and cells[0] == "lang":
            continue
        if len(cells) != 3 or not cells[1].isdigit():
            raise InputError(f"{path}:{number}: expected language, line number and text, separated by tabs")
        yield cells[0], int(cells[1]), cells[2].strip()


def _read_multi_parallel(source: MultiParallelSource, root: Path) -> Iterator[TextPair]:
    """Yield the pairs of every language with the pivot, from the documents that the recipe keeps."""
    kept = _kept_lines(source, root)
    for path in expand(source.files, root):
        rows: dict[str, dict[int, str]] = {}
        for code, line, text in _numbered_lines(path):
            rows.setdefault(code, {})[line] = text
        if source.pivot not in rows:
            raise InputError(f"{path}: no lines in the pivot language {source.pivot!r}; it has {sorted(rows)[:5]} …")
        pivot_language, pivot_rows = normalise_language(source.pivot), rows[source.pivot]
        for code, lines in rows.items():
            language = normalise_language(source.aliases.get(code, code))
            if language == pivot_language:
                continue
            for i, target in lines.items():
                if i in kept and i in pivot_rows and target:
                    yield TextPair(source.group, pivot_language, pivot_rows[i], language, target, pivot_rows[i])
