"""Find queries, judgements, passages and triples in the folders of benchmarks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlret.data.archives import language_of_file
from mlret.data.ranking.texts import kind_of
from mlret.errors import InputError

_SPLITS = frozenset({"train", "dev", "test", "validation", "testa", "testb"})
_WORDS = re.compile(r"[^a-z0-9]+")
_TABLES = (".tsv", ".txt", ".trec", ".jsonl")
_DEPTH = 3


@dataclass(frozen=True, slots=True)
class Role:
    """What a file of a folder contains.

    Attributes
    ----------
    name
        The argument of :func:`mlret.data.ranking.read_ranking` that can name the file instead.
    words
        Words, one of which must be in the file's name or in that of its folder.
    kinds
        Possible suffixes of the file.
    parted
        Whether it may be split into several files.
    """

    name: str
    words: frozenset[str]
    kinds: tuple[str, ...]
    parted: bool = False


QUERIES = Role("queries", frozenset({"topic", "topics", "queries", "query"}), _TABLES)
QRELS = Role("qrels", frozenset({"qrels", "qrel"}), (".tsv", ".txt", ".trec"))
COLLECTION = Role(
    "collection",
    frozenset({"corpus", "collection", "collections", "docs"}),
    (".tsv", ".jsonl", ".parquet"),
    parted=True,
)
TRIPLES = Role("triples", frozenset({"triples", "qidpidtriples", "examples"}), (".tsv", ".jsonl", ".json"))
_ROLES = (QUERIES, QRELS, TRIPLES, COLLECTION)


def find(folder: Path, role: Role, *, split: str, language: str | None) -> list[Path]:
    """Return the files of a folder that have a role: one file or its parts; empty if there is none.

    If several files match, those of the split are preferred, or otherwise those of no split; of these, those of the
    language.

    Parameters
    ----------
    folder
        The folder to search.
    role
        The role.
    split
        Name of the split, such as ``"train"``.
    language
        Normalised language code; ``None`` for any.

    Raises
    ------
    InputError
        If it is ambiguous which of several files is meant.
    """
    files = [path for path in _files(folder) if role_of(path, folder) is role]
    for narrower in (
        [path for path in files if split in _words(path, folder)],
        [path for path in files if not _SPLITS & _words(path, folder)],
    ):
        if narrower:
            files = narrower
            break
    else:
        files = []
    if language is not None and (spoken := [path for path in files if language_of_file(path) in (language, None)]):
        files = spoken
    if len(files) > 1 and not (role.parted and _are_parts(files)):
        names = ", ".join(str(path.relative_to(folder)) for path in files[:6])
        raise InputError(
            f"{folder}: {len(files)} files may be meant as {role.name} ({names}); name one with {role.name}="
        )
    return files


def role_of(path: Path, folder: Path) -> Role | None:
    """Return a file's role, from its name and then from the names of the folders between it and ``folder``.

    Parameters
    ----------
    path
        A file in ``folder``.
    folder
        The folder of the benchmark.

    Returns
    -------
    Role or None
        The role; ``None`` if no role fits.
    """
    for part in (path.name, *reversed(path.relative_to(folder).parts[:-1])):
        words = set(_WORDS.split(part.lower()))
        for role in _ROLES:
            if role.words & words and kind_of(path) in role.kinds:
                return role
    return None


def _files(folder: Path) -> list[Path]:
    """Return the files in a folder and its subfolders, a few levels deep; hidden ones are skipped."""
    files, level = [], [folder]
    for _ in range(_DEPTH):
        entries = sorted(entry for one in level for entry in one.iterdir() if not entry.name.startswith("."))
        files += [entry for entry in entries if entry.is_file()]
        level = [entry for entry in entries if entry.is_dir()]
    return files


def _words(path: Path, folder: Path) -> set[str]:
    return set(_WORDS.split(str(path.relative_to(folder)).lower()))


def _are_parts(files: Sequence[Path]) -> bool:
    """Whether the names of files differ only in a number."""
    return len({re.sub(r"\d+", "#", str(path)) for path in files}) == 1
