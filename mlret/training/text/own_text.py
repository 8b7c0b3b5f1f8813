"""The files of a recipe: those that it names, or, in a folder of one's own, whatever text or examples it holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlret.data.files import expand
from mlret.data.monolingual import is_text_file
from mlret.data.ranking.layout import QRELS, TRIPLES, role_of
from mlret.data.ranking.texts import kind_of
from mlret.errors import InputError
from mlret.training.recipe import Recipe
from mlret.training.sources import DocumentSource, ExampleSource

_EXAMPLES = (".jsonl", ".ndjson", ".json", ".tsv", ".parquet")


def document_files(source: DocumentSource, root: Path, *, apart: Path | None = None) -> list[Path]:
    """The files of documents: those that the patterns match; where none does and the source takes the whole folder,
    every text file below ``root``.

    Parameters
    ----------
    source
        The source.
    root
        The data folder.
    apart
        A folder that is not looked into: that of the run.

    Raises
    ------
    InputError
        If there is none.
    """
    if not is_own(source, root):
        return expand(source.files, root)
    found = [path for path in files_below(root, apart) if is_text_file(path)]
    if not found:
        raise InputError(
            f"{root}: holds neither {source.files[0]} nor any text of your own (.jsonl, .txt or .parquet); give a "
            "folder of text with --data"
        )
    return found


def example_sources(source: ExampleSource, root: Path, *, apart: Path | None = None) -> list[Path | str]:
    """The files and folders of examples, and the data sets of the hub; where the patterns match nothing and the source
    takes the whole folder, that folder if it holds judgements or triples, else every file of examples in it.

    Raises
    ------
    InputError
        If there is none; parameters as of :func:`document_files`.
    """
    if not is_own(source, root):
        found: list[Path | str] = []
        for name in source.files:
            found += [name] if name.startswith("hub:") else expand([name], root)
        return found
    files = list(files_below(root, apart))
    roles = {path: role_of(path, root) for path in files}
    if any(role in (QRELS, TRIPLES) for role in roles.values()):
        return [root]
    own: list[Path | str] = [path for path in files if kind_of(path) in _EXAMPLES and roles[path] is None]
    if not own:
        raise InputError(
            f"{root}: holds neither {source.files[0]} nor any examples of your own (queries with passages that answer "
            "them: .jsonl, .tsv or .parquet; or queries, judgements and a corpus); give a folder of them with --data"
        )
    return own


def is_own(source: DocumentSource | ExampleSource, root: Path) -> bool:
    """Whether a source that may take the whole folder does: none of the files that it names is there."""
    if not source.or_whole_folder or any(name.startswith("hub:") for name in source.files):
        return False
    return not any(any(root.glob(name)) for name in source.files)


def held_out_files(recipe: Recipe, root: Path) -> tuple[list[Path], list[str]]:
    """The held-out files of a recipe, and the patterns that match none, which a recipe may do without.

    Raises
    ------
    InputError
        If a pattern matches nothing and the recipe requires it.
    """
    missing = [pattern for pattern in recipe.held_out if not any(root.glob(pattern))]
    if missing and recipe.requires_held_out:
        raise InputError(
            f"{root / missing[0]}: no such file; the recipe's figures are published, so that its held-out files must "
            "be there (--set requires_held_out=false trains without)"
        )
    return expand([pattern for pattern in recipe.held_out if pattern not in missing], root), missing


def files_below(root: Path, apart: Path | None) -> Sequence[Path]:
    """The files below a folder, sorted; hidden ones and those of a run left out."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the one that holds the text with --data")
    away = None if apart is None or apart.resolve() in (root.resolve(), *root.resolve().parents) else apart.resolve()
    return [
        path
        for path in sorted(root.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and (away is None or away not in path.resolve().parents)
    ]
