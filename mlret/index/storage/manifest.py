"""The manifest of an index: its format, its encoder and its sealed segments.

The manifest is stored twice: in ``manifest.json`` and, as a copy, in the database. Each has a checksum over its content
and names the checksum of the manifest before it; :mod:`mlret.index.storage.agreement` decides whether the two belong
together.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlret.data.durable import write_atomically
from mlret.errors import Corrupt, InputError, MlretError, NotFound
from mlret.index.settings import IndexSettings, SegmentKind

# What is written. Formats 2 to 4 are read: format 2 had no checksums of manifests, format 4 is that of indexes with
# passages, and both, as format 3, kept the vectors of sealed segments in the database as well. Each change of segments
# writes the present format, which earlier versions of mlret refuse.
FORMAT_VERSION: Literal[5] = 5
MANIFEST = "manifest.json"
# The manifest of an index that is divided into shards; see mlret.index.sharding.shards_manifest.
SHARDS = "shards.json"
VECTORS = "vectors"


class FileInfo(BaseModel):
    """A sealed file: its name under the folder of the index, its length, and the SHA-256 of its bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(pattern=rf"^{VECTORS}/[0-9a-z][0-9a-z.-]*$")
    bytes: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class AcceleratorInfo(FileInfo):
    """A FAISS index over the vectors of a segment; ``why`` states why it is of this kind."""

    kind: SegmentKind
    why: str


class SealedRows(BaseModel):
    """The sealed vectors of ``rows`` records, whose row numbers are from ``first_row`` to ``last_row``.

    ``numbers`` is the file of the ``(rows,)`` int64 row numbers, in ascending order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    first_row: int = Field(ge=1)
    last_row: int = Field(ge=1)
    rows: int = Field(ge=0)
    numbers: FileInfo


class SegmentInfo(SealedRows):
    """A segment with one vector for each record: ``vectors`` is a ``(rows, dims)`` ``.npy``.

    It holds float32, or what the setting ``dtype`` says, together with ``scales``
    (:class:`mlret.index.vectors.rounding.Rounded`). ``blocks`` holds the checksums of its blocks
    (:mod:`mlret.index.storage.blocks`). A segment that was written in format 2, 3 or 4 has none until it is compacted.
    """

    vectors: FileInfo
    scales: FileInfo | None = None
    blocks: FileInfo | None = None
    accelerator: AcceleratorInfo | None = None

    @property
    def size(self) -> int:
        """The number of records, which is the unit of size of its space."""
        return self.rows

    @property
    def main(self) -> FileInfo:
        """The main file, from which all others can be rebuilt."""
        return self.vectors

    @property
    def why(self) -> str:
        """Why the segment is of its kind; empty without an accelerator."""
        return self.accelerator.why if self.accelerator else ""

    @property
    def files(self) -> list[FileInfo]:
        """All files of the segment."""
        found = [self.vectors, self.numbers, self.scales, self.blocks, self.accelerator]
        return [info for info in found if info is not None]


class ListsInfo(BaseModel):
    """Inverted lists: for each centroid, from ``first_centroid`` on, the records that have a token near it.

    See :class:`mlret.index.tokens.lists.Lists`. ``generation`` identifies the centroids.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    starts: FileInfo
    documents: FileInfo
    first_centroid: int = Field(ge=0)
    generation: str  # See mlret.index.tokens.codec.TokenCodec.generation.
    why: str


class TokenSegmentInfo(SealedRows):
    """A segment with a vector for each token.

    With 16 bits ``codes`` holds the ``(tokens, dims)`` float16 vectors themselves; otherwise it holds codes, together
    with ``units`` and ``centroids``, as in :class:`mlret.index.tokens.kernels.dispatch.PackedTokens`. ``offsets``
    states which tokens belong to which record.
    """

    tokens: int = Field(ge=0)
    bits: Literal[1, 2, 4, 8, 16]
    codes: FileInfo
    offsets: FileInfo
    units: FileInfo | None = None
    centroids: FileInfo | None = None
    lists: ListsInfo | None = None

    @property
    def size(self) -> int:
        """The number of tokens, which is the unit of size of its space."""
        return self.tokens

    @property
    def main(self) -> FileInfo:
        """The main file, which is the largest and without which the others are useless."""
        return self.codes

    @property
    def why(self) -> str:
        """Why the segment is of its kind; empty without lists."""
        return self.lists.why if self.lists else ""

    @property
    def files(self) -> list[FileInfo]:
        """All files of the segment."""
        lists = [self.lists.starts, self.lists.documents] if self.lists else []
        found = [self.codes, self.numbers, self.offsets, self.units, self.centroids, *lists]
        return [info for info in found if info is not None]


AnySegmentInfo = SegmentInfo | TokenSegmentInfo


class Trial(BaseModel):
    """What a trial run of one search effort gave; see :class:`mlret.index.tokens.maxsim.Effort`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    probes: int | None = Field(ge=1, description="all documents are compared where it is null")
    compared: int | None = Field(None, ge=1, description="all candidates are where it is null")
    recall: float = Field(ge=0, le=1, description="the share of the ten best documents that it found")
    seconds: float = Field(ge=0, description="for each query")
    tokens: float = Field(ge=0, description="stored tokens that a query was compared with, times its blocks of lanes")


class Measured(BaseModel):
    """The trial runs on which a search effort was chosen, and what made them fast or slow on that machine.

    On a machine with other instructions the effort is chosen anew from the same trial runs: recall stays the same, and
    what a token costs is measured there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    instructions: str = Field(description="the kernels that compared tokens")
    token_seconds: float = Field(ge=0, description="for comparing a token with a block of lanes")
    target: float = Field(gt=0, le=1, description="the recall to reach")
    trials: tuple[Trial, ...] = Field(min_length=1, description="the first compares all documents")


class Probing(BaseModel):
    """The search effort of a multi-vector index, and the recall that was measured with it.

    See :class:`mlret.index.tokens.maxsim.Effort`. Indexes of earlier versions have no ``measured``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    probes: int | None = Field(ge=1, description="all documents are compared where it is null")
    compared: int | None = Field(None, ge=1, description="all candidates are where it is null")
    recall: float = Field(ge=0, le=1)
    queries: int = Field(ge=1)
    asked: bool = Field(False, description="measured on queries that were given, and kept at compaction")
    why: str
    measured: Measured | None = None


class Manifest(BaseModel):
    """The content of ``manifest.json``.

    ``generation`` grows with every change of the segments. ``dims`` is the number of stored dimensions, which is less
    than the encoder gives if vectors are truncated (Matryoshka). ``codec`` codes the tokens of a multi-vector index,
    and ``probing`` states how it is searched. ``identity`` identifies the index and never changes; ``previous`` is the
    checksum of the manifest before this one; ``changes`` is the number of changes that the database counted when this
    one was written. Format 2 had none of these three, and no checksum.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[2, 3, 4, 5] = FORMAT_VERSION
    identity: str = ""
    previous: str = ""
    changes: int = Field(0, ge=0)
    kind: Literal["index", "memory"] = "index"
    encoder: str
    fingerprint: str
    dims: int = Field(ge=1)
    similarity: Literal["cosine", "maxsim"] = "cosine"
    settings: IndexSettings = IndexSettings()
    generation: int = Field(0, ge=0)
    segments: tuple[AnySegmentInfo, ...] = ()
    codec: FileInfo | None = None
    probing: Probing | None = None

    @property
    def files(self) -> list[FileInfo]:
        """All sealed files."""
        return [info for segment in self.segments for info in segment.files] + ([self.codec] if self.codec else [])

    @property
    def last_sealed_row(self) -> int:
        """The last row that a sealed segment covers; 0 if there is none."""
        return self.segments[-1].last_row if self.segments else 0


class Written(NamedTuple):
    """A manifest with the checksum of its content and its text."""

    manifest: Manifest
    checksum: str
    text: str


class DamagedManifestError(Corrupt):
    """A manifest is not what was written."""


def new_identity() -> str:
    """Return a random identity for a new index."""
    return secrets.token_hex(16)


def has_manifest(folder: Path) -> bool:
    """Return whether a folder has the manifest of an index or of its shards; false if this user cannot look into it."""
    try:
        return (folder / MANIFEST).exists() or (folder / SHARDS).exists()
    except OSError:
        return False


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an index; errors are those of :func:`read_written`."""
    return read_written(folder).manifest


def read_written(folder: Path) -> Written:
    """Read the manifest of an index, with its checksum.

    Raises
    ------
    InputError
        If the folder is no index, cannot be read, or has a format that this version of mlret does not know.
    DamagedManifestError
        If the manifest is not what was written.
    """
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        if not folder.exists():
            raise NotFound(f"{folder}: no such index; make it with `mlret index build {folder} FILES`") from error
        if (folder / SHARDS).exists():
            raise InputError(
                f"{folder} is divided into shards, which this does not work on; open one of them"
            ) from error
        raise NotFound(f"{folder} is not an index: {MANIFEST} is missing; name a folder that mlret made") from error
    except NotADirectoryError as error:
        raise InputError(f"{folder} is a file, not the folder of an index; name a folder that mlret made") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check its rights") from error
    try:
        return parse_manifest(text)
    except UnknownFormatError as error:
        raise InputError(
            f"{path}: format version {error.version!r}, but this mlret reads versions up to {FORMAT_VERSION}; "
            "install the version of mlret that wrote it, or build the index again"
        ) from error
    except ValueError as error:
        raise DamagedManifestError(
            f"{path} is damaged ({error}); `mlret index verify --repair {folder}` writes it again from the copy in the "
            "database"
        ) from error


class UnknownFormatError(ValueError):
    """A manifest was written by another version of mlret."""

    def __init__(self, version: object) -> None:
        super().__init__(f"format version {version!r}")
        self.version = version


@lru_cache(maxsize=8)
def parse_manifest(text: bytes) -> Written:
    """Parse the content of a manifest. The result is cached, because every write parses it although it hardly changes.

    Raises
    ------
    UnknownFormatError
        If it was written by another version of mlret.
    ValueError
        If it is not what was written; the message states why.
    """
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
    stated, version = content.pop("checksum", None), content.get("format_version")
    found = _checksum(content)
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise UnknownFormatError(version)
    if stated is None and version != 2:
        raise ValueError("it has no checksum")
    if stated is not None and stated != found:
        raise ValueError("its content is not what its checksum was made of")
    try:
        return Written(Manifest.model_validate(content), found, text.decode())
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"] == ("format_version",):
            raise UnknownFormatError(version) from error
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def written_of(manifest: Manifest) -> Written:
    """Return a manifest in the form in which it is written, with its checksum and its text."""
    content = json.loads(manifest.model_dump_json())
    content["checksum"] = checksum = _checksum(content)
    return Written(manifest, checksum, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def write_manifest(folder: Path, written: Written) -> None:
    """Replace the manifest of a folder atomically.

    Parameters
    ----------
    folder
        The folder of the index.
    written
        The new manifest.

    Raises
    ------
    MlretError
        If the disk is full or the folder is not writable; the old manifest is then kept.
    """
    try:
        write_atomically(folder / MANIFEST, partial(Path.write_text, data=written.text, encoding="utf-8"))
    except OSError as error:
        raise MlretError(
            f"{folder / MANIFEST} cannot be written ({error.strerror}); check the disk's space and rights"
        ) from error


def _checksum(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()[:32]
