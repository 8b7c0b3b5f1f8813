"""The manifest of an index that is divided into shards: ``shards.json`` in its folder.

It names the shards, which are ordinary indexes in folders of their own below it, and what all of them share. It is
written whole and renamed into place, and does not change when documents are added or deleted: how many a shard holds is
stated by the shard. What it records of the content of a shard (:class:`Contents`) is that of the last build, resharding
or repair, together with the number of changes that the shard counted then: as long as that number is the same the
content must be, and a smaller one shows that the shard was replaced by an older copy.
"""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mlret.data.durable import write_atomically
from mlret.errors import Corrupt, InputError, MlretError, NotFound
from mlret.index.settings import IndexSettings
from mlret.index.sharding.placement import PLACEMENT, Placement
from mlret.index.storage.manifest import MANIFEST, SHARDS, Manifest, new_identity, read_manifest
from mlret.index.storage.records import RECORDS, Records

SHARDS_FORMAT: Literal[1] = 1
# So many shards have names of five digits. Each takes a few open files and some memory.
MOST_SHARDS = 4096


class Contents(BaseModel):
    """The content of a shard at some time.

    ``checksum`` is the sum of the checksums of all records modulo 2 to the power of 64, so it does not depend on the
    order in which they were stored, and that of an index is the sum over its shards, however many these are.
    ``changes`` is the number of changes that the shard counted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    documents: int = Field(ge=0)
    checksum: int = Field(ge=0)
    changes: int = Field(ge=0)


class ShardInfo(BaseModel):
    """A shard: its folder, the identity of the index in it, and its content when the manifest was written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str = Field(pattern=r"^shard-[0-9]{5}([.][0-9]+)?$")
    identity: str = Field(pattern=r"^[0-9a-f]{32}$")
    contents: Contents


class ShardsManifest(BaseModel):
    """The content of ``shards.json``.

    ``generation`` is the number of times that the index was divided again. It is part of the names of the shards, so
    that the shards of two generations may be in one folder until the manifest that names the new ones is in place.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = SHARDS_FORMAT
    identity: str
    kind: Literal["index", "memory"] = "index"
    placement: Placement = PLACEMENT
    encoder: str
    fingerprint: str
    dims: int = Field(ge=1)
    similarity: Literal["cosine", "maxsim"] = "cosine"
    settings: IndexSettings = IndexSettings()
    generation: int = Field(0, ge=0)
    shards: tuple[ShardInfo, ...] = Field(min_length=1, max_length=MOST_SHARDS)

    @model_validator(mode="after")
    def _numbered(self) -> ShardsManifest:
        names = [shard_name(number, self.generation) for number in range(len(self.shards))]
        if [shard.folder for shard in self.shards] != names:
            raise ValueError("the shards are not numbered from 0")
        return self

    @property
    def described(self) -> Manifest:
        """What all shards share, as the manifest of an index without segments."""
        return Manifest(
            identity=self.identity,
            kind=self.kind,
            encoder=self.encoder,
            fingerprint=self.fingerprint,
            dims=self.dims,
            similarity=self.similarity,
            settings=self.settings,
        )


def shard_name(number: int, generation: int = 0) -> str:
    """Return the name of the folder of a shard."""
    return f"shard-{number:05d}.{generation}" if generation else f"shard-{number:05d}"


def check_shards(shards: object) -> int:
    """Return a number of shards.

    Raises
    ------
    InputError
        If it is not an integer from 1 to ``MOST_SHARDS``.
    """
    if isinstance(shards, bool) or not isinstance(shards, int) or not 1 <= shards <= MOST_SHARDS:
        raise InputError(f"shards is {shards!r}; it must be an integer from 1 to {MOST_SHARDS}")
    return shards


def has_shards(folder: Path) -> bool:
    """Return whether a folder holds an index that is divided into shards; false if this user cannot look into it."""
    try:
        return (folder / SHARDS).exists()
    except OSError:
        return False


def manifest_of(folder: Path) -> Manifest:
    """Return the manifest of an index, or what all shards of a divided index share.

    Raises
    ------
    InputError
        If the folder is no index.
    Corrupt
        If the manifest is damaged.
    """
    return read_shards(folder).described if has_shards(folder) else read_manifest(folder)


def read_shards(folder: Path) -> ShardsManifest:
    """Read the manifest of a folder of shards.

    Raises
    ------
    InputError
        If there is none, or it has a format that this version of mlret does not know.
    Corrupt
        If it is not what was written.
    """
    path = folder / SHARDS
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"{folder} is not divided into shards: {SHARDS} is missing") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check its rights") from error
    try:
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError("no JSON object")
        version = content.get("format_version")
        if isinstance(version, int) and version > SHARDS_FORMAT:
            raise InputError(
                f"{path}: format version {version}, but this mlret reads versions up to {SHARDS_FORMAT}; install the "
                "version of mlret that wrote it, or build the index again"
            )
        if content.pop("checksum", None) != _checksum(content):
            raise ValueError("its content is not what its checksum was made of")
        return ShardsManifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise _damaged(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> Corrupt:
    return Corrupt(
        f"{path} is damaged ({why}); `mlret index verify --repair {path.parent}` writes it again from the shards"
    )


def write_shards(folder: Path, manifest: ShardsManifest) -> None:
    """Write the manifest of a folder of shards whole, and rename it into place.

    Raises
    ------
    MlretError
        If the disk is full or the folder is not writable; an old manifest is then kept.
    """
    content = json.loads(manifest.model_dump_json())
    content["checksum"] = _checksum(content)
    text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
    try:
        write_atomically(folder / SHARDS, partial(Path.write_text, data=text, encoding="utf-8"))
    except OSError as error:
        raise MlretError(
            f"{folder / SHARDS} cannot be written ({error.strerror}); check the disk's space and rights"
        ) from error


def gathered(folder: Path, shards: int, *, generation: int = 0) -> ShardsManifest:
    """Return the manifest of a folder whose shards are complete, made from the shards themselves.

    Parameters
    ----------
    folder
        The folder, with the folders ``shard-00000`` and so on.
    shards
        The number of shards.
    generation
        The generation of the shards.

    Raises
    ------
    Corrupt
        If a shard is missing, or has another encoder or other settings than the first.
    """
    infos, first = [], None
    for number in range(shards):
        path = folder / shard_name(number, generation)
        if not (path / MANIFEST).exists():
            raise Corrupt(
                f"{folder}: the shard {path.name} is missing; restore it from a copy, or build the index again"
            )
        manifest = read_manifest(path)
        first = first or manifest
        check_alike(folder, path.name, manifest, first)
        infos.append(ShardInfo(folder=path.name, identity=manifest.identity, contents=contents_of(path)))
    if first is None:
        raise Corrupt(f"{folder} has no shards")
    return ShardsManifest(
        identity=new_identity(),
        kind=first.kind,
        encoder=first.encoder,
        fingerprint=first.fingerprint,
        dims=first.dims,
        similarity=first.similarity,
        settings=first.settings,
        generation=generation,
        shards=tuple(infos),
    )


def record_contents(folder: Path) -> ShardsManifest:
    """Write down what the shards of a folder hold at present, and return the manifest.

    Parameters
    ----------
    folder
        The folder of the index, to which nobody writes meanwhile.

    Raises
    ------
    Corrupt
        If a shard is missing or does not fit the others.
    """
    stated = read_shards(folder)
    found = gathered(folder, len(stated.shards), generation=stated.generation)
    found = found.model_copy(update={"identity": stated.identity, "encoder": stated.encoder})
    write_shards(folder, found)
    return found


def check_alike(folder: Path, name: str, manifest: Manifest, wanted: Manifest) -> None:
    """Raise if a shard does not fit the others.

    Parameters
    ----------
    folder
        The folder of the index, for messages.
    name
        The name of the shard.
    manifest
        The manifest of the shard.
    wanted
        What all shards share.

    Raises
    ------
    Corrupt
        The message names the shard and what differs.
    """
    for field in ("kind", "fingerprint", "dims", "similarity", "settings"):
        if getattr(manifest, field) != getattr(wanted, field):
            what = {"fingerprint": "encoder", "dims": "number of dimensions"}.get(field, field)
            raise Corrupt(
                f"{folder}: the shard {name} has another {what} than the index; restore the shard that belongs here"
            )


def contents_of(folder: Path) -> Contents:
    """Return the content of a shard; every record is read.

    Parameters
    ----------
    folder
        The folder of the shard.
    """
    records = Records(folder / RECORDS)
    try:
        [(documents, checksum)] = records.read("SELECT count(*), coalesce(sum(crc), 0) FROM records")
        return Contents(documents=documents, checksum=checksum % 2**64, changes=records.changes)
    finally:
        records.close()


def _checksum(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()[:32]
