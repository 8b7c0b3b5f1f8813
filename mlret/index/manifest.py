"""What an index says about itself: its format, its encoder, its sealed segments."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlret.data.durable import write_atomically
from mlret.errors import InputError

FORMAT_VERSION: Literal[1] = 1
MANIFEST = "manifest.json"


class SegmentInfo(BaseModel):
    """A sealed vector file: the vectors of the records ``first_row`` … ``last_row``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(pattern=r"^vectors/[0-9]+-[0-9]+\.faiss$")
    first_row: int = Field(ge=1)
    last_row: int = Field(ge=1)
    rows: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """The content of ``manifest.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = FORMAT_VERSION
    kind: Literal["index", "memory"] = "index"
    encoder: str
    fingerprint: str
    dims: int = Field(ge=1)
    similarity: Literal["cosine"] = "cosine"
    segments: tuple[SegmentInfo, ...] = ()

    @property
    def last_sealed_row(self) -> int:
        """The last record whose vector is in a sealed segment; 0 if there is none."""
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
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"] == ("format_version",):
            raise InputError(
                f"{path}: format version {first['input']!r}, but this mlret reads version {FORMAT_VERSION}; "
                "install the version of mlret that wrote it, or build the index again"
            ) from error
        key = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(f"{path} is damaged ({key}: {first['msg']}); restore it from a copy") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest, atomically."""
    content = manifest.model_dump_json(indent=1) + "\n"
    write_atomically(folder / MANIFEST, lambda path: _write_text(path, content))


def _write_text(path: Path, content: str) -> None:
    path.write_text(content, encoding="utf-8")
