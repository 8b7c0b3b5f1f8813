"""Creates the folder of an index that is divided into shards, completely or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mlret.data.durable import fsync_folder
from mlret.errors import MlretError
from mlret.index.sharding.shards_manifest import gathered, shard_name, write_shards
from mlret.index.storage.manifest import Manifest
from mlret.index.store.new_folder import beside, check_name, check_vacant, create_folder


def create_shards(folder: Path, manifest: Manifest, shards: int, schema: str = "") -> None:
    """Create the folder of an index with empty shards, completely or not at all.

    Parameters
    ----------
    folder
        The folder to create.
    manifest
        The manifest of each shard; it gets an identity of its own.
    shards
        The number of shards.
    schema
        SQL that creates further tables in the database of each shard.

    Raises
    ------
    InputError
        If something that is not an empty folder exists there.
    MlretError
        If the folder cannot be created.
    """
    check_name(folder)
    check_vacant(folder)
    temporary = beside(folder, f"{os.getpid()}.new")
    try:
        temporary.mkdir(parents=True)
        for number in range(shards):
            create_folder(temporary / shard_name(number), manifest, schema)
        write_shards(temporary, gathered(temporary, shards))
        temporary.replace(folder)
    except OSError as error:
        raise MlretError(f"{folder} cannot be made ({error.strerror}); check the path and its rights") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    fsync_folder(folder.parent)
