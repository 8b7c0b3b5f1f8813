"""Creates the folder of an index, completely or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mlret.data.durable import fsync_folder
from mlret.data.unicode_text import check_unicode
from mlret.errors import AlreadyExists, InputError, MlretError
from mlret.index.storage.creation import create_database
from mlret.index.storage.manifest import VECTORS, Manifest, has_manifest, new_identity, write_manifest, written_of
from mlret.index.storage.records import RECORDS
from mlret.index.vectors.faiss_index import faiss_module


def create_folder(folder: Path, manifest: Manifest, schema: str = "") -> None:
    """Create the folder of an empty index, completely or not at all.

    Parameters
    ----------
    folder
        The folder to create.
    manifest
        The manifest of the index; it gets a new identity.
    schema
        SQL that creates further tables in the database, for code that is built on the index.

    Raises
    ------
    InputError
        If something that is not an empty folder exists there.
    MlretError
        If the folder cannot be created.
    """
    faiss_module()
    check_name(folder)
    check_vacant(folder)
    temporary = beside(folder, f"{os.getpid()}.new")
    written = written_of(manifest.model_copy(update={"identity": new_identity()}))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        (temporary / VECTORS).mkdir(parents=True)
        create_database(temporary / RECORDS, written.text, lexical=manifest.settings.lexical, schema=schema)
        write_manifest(temporary, written)
        temporary.replace(folder)
    except OSError as error:
        raise MlretError(f"{folder} cannot be made ({error.strerror}); check the path and its rights") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    fsync_folder(folder.parent)


def check_vacant(folder: Path) -> None:
    """Raise if an index cannot be created in a folder because something exists there already.

    Raises
    ------
    InputError
        If ``folder`` exists and is not an empty folder, or is the current folder, which no rename can replace.
    """
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise InputError(
            f"{folder} cannot be read ({error.strerror}); choose another path, or check its rights"
        ) from error
    if taken:
        if has_manifest(folder):
            raise AlreadyExists(
                f"{folder} is an index already: open it (Index.open), choose another path, or remove it"
            )
        raise AlreadyExists(f"{folder} already exists and is not an index: choose another path, or remove it first")
    if folder.exists() and folder.samefile(Path.cwd()):
        raise InputError(f"{folder} is the current folder: name a new one in it, e.g. {folder / 'NAME'}")


def check_name(folder: Path) -> None:
    """Raise if FAISS could not open files in the folder: it accepts only names in UTF-8."""
    path = str(folder.absolute())
    check_unicode(path, f"the name of the folder {path!r}", "rename it: FAISS opens files by names in UTF-8 alone")


def beside(folder: Path, suffix: str) -> Path:
    """Return a hidden name beside a folder, on the same disk.

    The folder is made under this name before it gets its own.

    Parameters
    ----------
    folder
        The folder that is to be made.
    suffix
        The end of the name, without the dot.
    """
    folder = folder.resolve()  # Resolve "." and "..", which have no name of their own.
    return folder.with_name(f".{folder.name}.{suffix}")
