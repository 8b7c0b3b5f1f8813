"""Copy an index of shards from storage that fsspec knows to this machine, to search it here."""

from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlret.cluster.storage import Storage
from mlret.data.durable import fsync_folder
from mlret.errors import Corrupt, NotFound
from mlret.index.sharding.shards_manifest import contents_of, read_shards
from mlret.index.storage.manifest import SHARDS, read_manifest
from mlret.index.store.new_folder import beside, check_name, check_vacant

# Shards that are copied at the same time.
_THREADS = 4


def download_index(url: str, folder: str | Path) -> Path:
    """Copy an index that Ray has built on a file system of fsspec to a folder of this machine.

    The manifest is read first, then every shard is copied and compared with what the manifest states of it. The folder
    appears when it is complete. A copy that was stopped resumes with the same call: shards that are complete are kept.

    Parameters
    ----------
    url
        The index, such as ``s3://bucket/news.index``.
    folder
        The folder to create.

    Returns
    -------
    pathlib.Path
        The folder, which :meth:`mlret.Index.open` opens.

    Raises
    ------
    NotFound
        If there is no complete index at the URL.
    InputError
        If something exists at ``folder`` already.
    Corrupt
        If a shard is not what the manifest states.
    """
    path = Path(folder)
    check_name(path)
    check_vacant(path)
    storage = Storage(url)
    if not storage.exists(SHARDS):
        raise NotFound(f"{url} is not a complete index: {SHARDS} is missing")
    building = beside(path, "download")
    building.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mlret-manifest-") as temporary:
        storage.download_file(SHARDS, Path(temporary) / SHARDS)
        stated = read_shards(Path(temporary))

        def copy(number: int) -> None:
            info = stated.shards[number]
            target = building / info.folder
            if target.exists():  # It was copied and compared before.
                return
            partial = beside(target, "partial")
            shutil.rmtree(partial, ignore_errors=True)
            storage.download(info.folder, partial)
            if read_manifest(partial).identity != info.identity or contents_of(partial) != info.contents:
                raise Corrupt(f"{url}/{info.folder} is not what {SHARDS} states: build the index again")
            partial.replace(target)

        with ThreadPoolExecutor(_THREADS, "mlret-download") as pool:
            list(pool.map(copy, range(len(stated.shards))))
        shutil.copy(Path(temporary) / SHARDS, building / SHARDS)
    building.replace(path)
    fsync_folder(path.parent)
    return path
