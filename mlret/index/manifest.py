"""What an index says about itself: its format, its encoder, its sealed segments.

The manifest stands twice: in ``manifest.json`` and, as a copy, in the database. Each has a checksum over its content,
and each names the checksum of the manifest before it: :mod:`mlret.index.agreement` says when the two belong together.
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
from mlret.errors import InputError, MlretError
from mlret.index.kinds import IndexSettings, SegmentKind

FORMAT_VERSION: Literal[3] = 3
MANIFEST = "manifest.json"
VECTORS = "vectors"


class FileInfo(BaseModel):
    """A sealed file, by its name under the folder of the index, its length and what its bytes hash to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(pattern=rf"^{VECTORS}/[0-9a-z][0-9a-z.-]*$")
    bytes: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class AcceleratorInfo(FileInfo):
    """A FAISS index over the vectors of a segment; ``why`` it is of this kind."""

    kind: SegmentKind
    why: str


class SealedRows(BaseModel):
    """The sealed vectors of ``rows`` records out of ``first_row`` … ``last_row``.

    ``numbers`` is the ``(rows,)`` int64 row numbers, rising.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    first_row: int = Field(ge=1)
    last_row: int = Field(ge=1)
    rows: int = Field(ge=0)
    numbers: FileInfo


class SegmentInfo(SealedRows):
    """A segment with one vector a record: ``vectors`` is a ``(rows, dims)`` float32 ``.npy``."""

    vectors: FileInfo
    accelerator: AcceleratorInfo | None = None

    @property
    def size(self) -> int:
        """How large it is, in the unit of its space: records."""
        return self.rows

    @property
    def main(self) -> FileInfo:
        """The file that all others can be made from."""
        return self.vectors

    @property
    def why(self) -> str:
        """Why it is of its kind."""
        return self.accelerator.why if self.accelerator else ""

    @property
    def files(self) -> list[FileInfo]:
        """All files of the segment."""
        return [self.vectors, self.numbers, *([self.accelerator] if self.accelerator else [])]


class ListsInfo(BaseModel):
    """For each of the centroids ``first_centroid`` … the records with a token near it; see
    :class:`mlret.index.tokens.lists.Lists`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    starts: FileInfo
    documents: FileInfo
    first_centroid: int = Field(ge=0)
    generation: str  # of these centroids: see mlret.index.tokens.codec.TokenCodec.generation
    why: str


class TokenSegmentInfo(SealedRows):
    """A segment with a vector for each token.

    With 16 bits ``codes`` is the ``(tokens, dims)`` float16 themselves; otherwise they are codes, with ``units`` and
    ``centroids``, as in :class:`mlret.index.tokens.kernels.PackedTokens`. ``offsets`` says whose they are.
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
        """How large it is, in the unit of its space: tokens."""
        return self.tokens

    @property
    def main(self) -> FileInfo:
        """The largest file, without which the others are nothing."""
        return self.codes

    @property
    def why(self) -> str:
        """Why it is of its kind."""
        return self.lists.why if self.lists else ""

    @property
    def files(self) -> list[FileInfo]:
        """All files of the segment."""
        lists = [self.lists.starts, self.lists.documents] if self.lists else []
        found = [self.codes, self.numbers, self.offsets, self.units, self.centroids, *lists]
        return [info for info in found if info is not None]


AnySegmentInfo = SegmentInfo | TokenSegmentInfo


class Probing(BaseModel):
    """How hard a multi-vector index is searched (:class:`mlret.index.tokens.search.Effort`), and the recall that this
    had when it was measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    probes: int | None = Field(ge=1, description="all documents are compared where it is null")
    compared: int | None = Field(None, ge=1, description="all candidates are where it is null")
    recall: float = Field(ge=0, le=1)
    queries: int = Field(ge=1)
    asked: bool = Field(False, description="measured on queries that were given, and kept at compaction")
    why: str


class Manifest(BaseModel):
    """The content of ``manifest.json``.

    ``generation`` grows with every change of the segments; ``dims`` is what is stored, which Matryoshka truncation
    makes less than what the encoder gives. ``codec`` codes the tokens of a multi-vector index, ``probing`` is how it is
    searched. ``identity`` is the index's own and never changes; ``previous`` is the checksum of the manifest before
    this one; ``changes`` is how many changes the database counted when this one was written. Format 2 had none of these
    three, and no checksum.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[2, 3] = FORMAT_VERSION
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
    """A manifest as it was read, with the checksum of its content, and its text."""

    manifest: Manifest
    checksum: str
    text: str


class DamagedManifestError(MlretError):
    """A manifest is not what was written."""


def new_identity() -> str:
    """The identity of a new index."""
    return secrets.token_hex(16)


def has_manifest(folder: Path) -> bool:
    """Whether a folder has the manifest of an index, as far as this user may look into it."""
    try:
        return (folder / MANIFEST).exists()
    except OSError:
        return False


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an index, as :func:`read_written`."""
    return read_written(folder).manifest


def read_written(folder: Path) -> Written:
    """Read the manifest of an index, with its checksum.

    Raises
    ------
    InputError
        If the folder is no index, may not be read, or is of a format that this version of mlret does not know.
    DamagedManifestError
        If the manifest is not what was written.
    """
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        if not folder.exists():
            raise InputError(f"{folder}: no such index; make it with `mlret index build {folder} FILES`") from error
        raise InputError(f"{folder} is no index: {MANIFEST} is missing; name a folder that mlret made") from error
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
    """A manifest is of another version of mlret."""

    def __init__(self, version: object) -> None:
        super().__init__(f"format version {version!r}")
        self.version = version


@lru_cache(maxsize=8)
def parse_manifest(text: bytes) -> Written:
    """Read the content of a manifest. Every write does, while it hardly ever changes.

    Raises
    ------
    UnknownFormatError
        If it is of another version of mlret.
    ValueError
        If it is not what was written; the message says why.
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
    """A manifest as it is to be written."""
    content = json.loads(manifest.model_dump_json())
    content["checksum"] = checksum = _checksum(content)
    return Written(manifest, checksum, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def write_manifest(folder: Path, written: Written) -> None:
    """Replace the manifest, atomically.

    Raises
    ------
    MlretError
        If the disk is full or may not be written to; the manifest that was there stays.
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
