"""Find the files of a recipe: those that it names or, in a folder of the user's own, all text or examples in it."""

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


def document_files(source: DocumentSource, root: Path, *, excluded: Path | None = None) -> list[Path]:
    """Return the files of documents that match the patterns of a source.

    If none matches and the source may take the whole folder, every text file below ``root`` is returned.

    Parameters
    ----------
    source
        The source.
    root
        The data folder.
    excluded
        A folder that is not searched: that of the run.

    Returns
    -------
    list of pathlib.Path
        The files.

    Raises
    ------
    InputError
        If there is none.
    """
    if not is_own(source, root):
        return expand(source.files, root)
    found = [path for path in files_below(root, excluded) if is_text_file(path)]
    if not found:
        raise InputError(
            f"{root}: holds neither {source.files[0]} nor any text of your own (.jsonl, .txt or .parquet); give a "
            "folder of text as `data=…`"
        )
    return found


def example_sources(source: ExampleSource, root: Path, *, excluded: Path | None = None) -> list[Path | str]:
    """Return the files and folders of examples, and the names of data sets of the hub.

    If the patterns match nothing and the source may take the whole folder, this is the folder itself if it holds
    judgements or triples, and otherwise every file of examples in it.

    Parameters
    ----------
    source
        The source.
    root
        The data folder.
    excluded
        A folder that is not searched: that of the run.

    Returns
    -------
    list
        A :class:`pathlib.Path` for each file or folder, and a string ``hub:NAME`` for each data set.

    Raises
    ------
    InputError
        If there is none.
    """
    if not is_own(source, root):
        found: list[Path | str] = []
        for name in source.files:
            found += [name] if name.startswith("hub:") else expand([name], root)
        return found
    files = list(files_below(root, excluded))
    roles = {path: role_of(path, root) for path in files}
    if any(role in (QRELS, TRIPLES) for role in roles.values()):
        return [root]
    own: list[Path | str] = [path for path in files if kind_of(path) in _EXAMPLES and roles[path] is None]
    if not own:
        raise InputError(
            f"{root}: holds neither {source.files[0]} nor any examples of your own (queries with passages that answer "
            "them: .jsonl, .tsv or .parquet; or queries, judgements and a corpus); give a folder of them as `data=…`"
        )
    return own


def is_own(source: DocumentSource | ExampleSource, root: Path) -> bool:
    """Return whether a source takes the whole folder: it may do so, and none of the files that it names exists."""
    if not source.or_whole_folder or any(name.startswith("hub:") for name in source.files):
        return False
    return not any(any(root.glob(name)) for name in source.files)


def held_out_files(recipe: Recipe, root: Path) -> tuple[list[Path], list[str]]:
    """Return the held-out files of a recipe, and its patterns of held-out files that match nothing.

    Parameters
    ----------
    recipe
        The recipe.
    root
        The data folder.

    Returns
    -------
    tuple
        The files, and the patterns without a match.

    Raises
    ------
    InputError
        If a pattern matches nothing and the recipe requires its held-out files.
    """
    missing = [pattern for pattern in recipe.held_out if not any(root.glob(pattern))]
    if missing and recipe.requires_held_out:
        raise InputError(
            f"{root / missing[0]}: no such file; the recipe's figures are published, so that its held-out files must "
            "be there (a recipe with requires_held_out: false trains without)"
        )
    return expand([pattern for pattern in recipe.held_out if pattern not in missing], root), missing


def files_below(root: Path, excluded: Path | None) -> Sequence[Path]:
    """Return the files below a folder, sorted, without hidden files and without those in the folder ``excluded``.

    Raises
    ------
    InputError
        If there is no such folder.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the one that holds the text as `data=…`")
    run = None if excluded is None else excluded.resolve()
    if run in (root.resolve(), *root.resolve().parents):
        run = None  # the data folder lies within the run's folder
    return [
        path
        for path in sorted(root.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and (run is None or run not in path.resolve().parents)
    ]
