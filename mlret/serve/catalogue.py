"""The open folders of the server, by the names that clients know them by."""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlret.data.detection import detect_language
from mlret.data.durable import fsync_folder
from mlret.encoders.external import EXTERNAL
from mlret.encoders.multi_vector import AnyEncoder
from mlret.errors import AlreadyExists, InputError, MlretError, NotFound
from mlret.index.index import Index
from mlret.index.settings import IndexSettings
from mlret.index.sharding.shards_manifest import manifest_of
from mlret.index.storage.manifest import has_manifest
from mlret.index.store.stored_encoder import encoder_of
from mlret.index.vectors.space import Vectors
from mlret.serve.security.principal import no_index
from mlret.serve.settings import NAME, ServeSettings
from mlret.serve.work.encoders import Encoders, ServedEncoder
from mlret.serve.work.handles import IndexHandle, MemoryHandle

Reading = Mapping[Path, Callable[[AnyEncoder | None], Index]]

# The folder of an index that is being deleted gets such a name first, so that a crash leaves no half of an index.
_REMOVED = re.compile(rf"\.{NAME}\.[0-9a-f]{{8}}\.removed")


@dataclass(frozen=True)
class Served:
    """An open folder.

    Attributes
    ----------
    folder
        Where it is.
    encoding
        Its encoder.
    """

    folder: Path
    encoding: ServedEncoder

    @property
    def encoder(self) -> AnyEncoder:
        """The encoder of the folder."""
        return self.encoding.encoder

    async def queries(self, texts: Sequence[str], languages: Sequence[str | None]) -> Vectors:
        """Encode queries; see :meth:`mlret.serve.work.encoder_queue.EncoderQueue.queries`."""
        return await self.encoding.queries(texts, languages)

    async def passages(self, texts: Sequence[str], languages: Sequence[str | None]) -> Vectors:
        """Encode passages; see :meth:`mlret.serve.work.encoder_queue.EncoderQueue.passages`."""
        return await self.encoding.passages(texts, languages)


@dataclass(frozen=True)
class ServedIndex(Served):
    """An open index.

    Attributes
    ----------
    name
        The name that clients know it by.
    handle
        Reads and writes it.
    lexical
        Whether it has a lexical channel.
    removable
        Whether a request may delete it.
    """

    name: str
    handle: IndexHandle
    lexical: bool
    removable: bool


@dataclass(frozen=True)
class ServedMemory(Served):
    """The open memory store.

    Attributes
    ----------
    handle
        Reads and writes it.
    """

    handle: MemoryHandle


class Catalogue:
    """All folders that the server has open.

    Parameters
    ----------
    settings
        How the server was started.
    folders
        Path of each open folder -> the name that clients know it by, which messages name instead of the path. It is
        kept up to date.
    reading
        Folder -> a function that opens it for reading, where other processes read it for the server.

    Attributes
    ----------
    encoders
        The encoders of the indexes, and that of new ones.
    """

    def __init__(self, settings: ServeSettings, folders: dict[str, str], reading: Reading | None = None) -> None:
        self._reading = reading or {}
        self.root = settings.root
        self.folders = folders
        self._settings = settings
        self._indexes: dict[str, ServedIndex] = {}
        self._memory: ServedMemory | None = None
        self.encoders = Encoders(settings.model)
        self._changing = asyncio.Lock()

    def __contains__(self, name: str) -> bool:
        return name in self._indexes

    def names(self) -> list[str]:
        """Return the names of all indexes, sorted."""
        return sorted(self._indexes)

    def index(self, name: str) -> ServedIndex:
        """Return an index.

        Raises
        ------
        NotFound
            If there is none of this name.
        """
        if name not in self._indexes:
            raise no_index(name)
        return self._indexes[name]

    @property
    def has_memory(self) -> bool:
        """Whether the server was started with a memory store."""
        return self._memory is not None

    @property
    def memory(self) -> ServedMemory:
        """The memory store.

        Raises
        ------
        NotFound
            If the server was started without one.
        """
        if self._memory is None:
            raise NotFound("this server has no memory: it was started without --memory FOLDER")
        return self._memory

    async def open(self) -> None:
        """Open the folders that the server was started with, and those that requests have created below its root.

        Raises
        ------
        InputError
            If a folder is not an index, or the root is not a folder.
        MlretError
            If a folder is damaged.
        """
        for name, folder in self._settings.indexes.items():
            await self._open(name, folder, removable=False)
        if self._settings.memory is not None:
            await self._open_memory(self._settings.memory)
        if self.root is None:
            return
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            found = sorted(self.root.iterdir())
        except OSError as error:
            raise InputError(f"--root {self.root} cannot be used ({error.strerror}); name a folder") from error
        named = {served.folder.resolve() for served in self._indexes.values()}
        for folder in found:
            if _REMOVED.fullmatch(folder.name):
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            elif folder.resolve() not in named and re.fullmatch(NAME, folder.name) and _is_index(folder):
                if folder.name in self._indexes:
                    raise InputError(
                        f"{folder} and {self._indexes[folder.name].folder} are both named {folder.name!r}: give the "
                        "latter another name (NAME=FOLDER)"
                    )
                await self._open(folder.name, folder, removable=True)

    async def warm(self) -> None:
        """Load what the first request would load otherwise: the runtimes of the encoders, and language detection."""
        await asyncio.to_thread(detect_language, "the train is late")
        await self.encoders.warm()

    async def create(self, name: str, settings: IndexSettings) -> None:
        """Create an index below the root.

        Parameters
        ----------
        name
            Its name, and that of its folder.
        settings
            Its settings.

        Raises
        ------
        AlreadyExists
            If an index or a folder has this name.
        InputError
            If the settings do not fit the encoder.
        """
        assert self.root is not None
        folder = self.root / name
        async with self._changing:
            if name in self._indexes:
                raise AlreadyExists(f"there is an index {name!r} already")
            encoder = (await self.encoders.default()).encoder
            self.folders[str(folder)] = name
            (await asyncio.to_thread(Index.create, folder, encoder, settings=settings)).close()
            await self._open(name, folder, removable=True)

    async def remove(self, name: str) -> None:
        """Delete an index, after the calls that wait for it."""
        async with self._changing:
            served = self.index(name)
            del self._indexes[name]
            await served.handle.close()
            await asyncio.to_thread(_remove_folder, served.folder)
            del self.folders[str(served.folder)]

    async def close(self) -> None:
        """Finish what waits, refuse what comes later, and close all folders."""
        for served in self._indexes.values():
            await served.handle.close()
        if self._memory is not None:
            await self._memory.handle.close()
        await self.encoders.close()

    async def _open(self, name: str, folder: Path, *, removable: bool) -> None:
        encoding = await self._encoding_of(folder)
        handle = await IndexHandle.open(folder, encoding.shared, reading=self._reading.get(folder))
        self.folders[str(folder)] = name
        lexical = manifest_of(folder).settings.lexical
        self._indexes[name] = ServedIndex(folder, encoding, name, handle, lexical, removable)

    async def _open_memory(self, folder: Path) -> None:
        encoding = await (self._encoding_of(folder) if has_manifest(folder) else self.encoders.default())
        self.folders[str(folder)] = "the memory"
        self._memory = ServedMemory(folder, encoding, await MemoryHandle.open(folder, encoding.shared))

    async def _encoding_of(self, folder: Path) -> ServedEncoder:
        """Return the encoder that an existing folder was built with, loaded if it is not yet."""
        manifest = manifest_of(folder)
        if manifest.encoder.startswith(EXTERNAL):
            # Such encoders are not shared: their fingerprint is that of the name, whatever their vectors are.
            return ServedEncoder(manifest.encoder, encoder_of(folder, manifest), None)
        known = self.encoders.of(manifest.fingerprint)
        return known or self.encoders.add(await asyncio.to_thread(encoder_of, folder, manifest))


def _remove_folder(folder: Path) -> None:
    """Remove a folder such that a crash leaves no half of an index: what is left then is removed at the next start."""
    gone = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.removed")
    try:
        folder.rename(gone)
    except OSError as error:
        raise MlretError(f"{folder} cannot be deleted ({error.strerror})") from error
    fsync_folder(gone.parent)
    shutil.rmtree(gone, ignore_errors=True)


def _is_index(folder: Path) -> bool:
    return has_manifest(folder) and manifest_of(folder).kind == "index"
