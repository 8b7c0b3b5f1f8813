"""What an index says about itself: its format, its encoder, its sealed segments."""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlret.data.durable import write_atomically
from mlret.errors import InputError, MlretError
from mlret.index.kinds import IndexSettings, SegmentKind

FORMAT_VERSION: Literal[2] = 2
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
    searched.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[2] = FORMAT_VERSION
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


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an index.

    Raises
    ------
    InputError
        If the folder is no index, its manifest is damaged, or its format is of another version of mlret.
    """
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        if not folder.exists():
            raise InputError(f"{folder}: no such index; make it with `mlret index build {folder} FILES`") from error
        raise InputError(f"{folder} is no index: {MANIFEST} is missing; name a folder that mlret made") from error
    try:
        return _parsed(text)
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"] == ("format_version",):
            raise InputError(
                f"{path}: format version {first['input']!r}, but this mlret reads version {FORMAT_VERSION}; "
                "install the version of mlret that wrote it, or build the index again"
            ) from error
        key = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(f"{path} is damaged ({key}: {first['msg']}); restore it from a copy") from error


@lru_cache(maxsize=8)
def _parsed(text: bytes) -> Manifest:
    """Every write reads the manifest, which hardly ever changes; it is immutable."""
    return Manifest.model_validate_json(text)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest, atomically.

    Raises
    ------
    MlretError
        If the disk is full or may not be written to; the manifest that was there stays.
    """
    content = manifest.model_dump_json(indent=1) + "\n"
    try:
        write_atomically(folder / MANIFEST, partial(Path.write_text, data=content, encoding="utf-8"))
    except OSError as error:
        raise MlretError(f"{folder / MANIFEST} cannot be written ({error.strerror}); check the disk's space") from error
