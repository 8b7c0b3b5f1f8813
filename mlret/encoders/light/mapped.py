"""Read a safetensors file as NumPy arrays that are mapped from disk, without copying and without torch."""

from __future__ import annotations

import json
import mmap
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlret.errors import InputError, MlretError

_DTYPES = {
    "BOOL": "?",
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
}
_LENGTH = struct.Struct("<Q")
# The specification allows headers of up to 100 MB.
_LONGEST_HEADER = 100_000_000


class Place(NamedTuple):
    """Where a tensor stands in its file.

    Attributes
    ----------
    dtype
        NumPy's name of its type.
    shape
        Its shape.
    offset
        Position of its first byte in the file.
    length
        Number of bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int


class MappedTensors:
    """The tensors of one safetensors file; pages are read from disk when they are first used.

    Parameters
    ----------
    path
        The file.

    Attributes
    ----------
    path
        The file.
    places
        Name -> where the tensor stands.
    metadata
        The texts that the file holds beside its tensors.

    Raises
    ------
    InputError
        If the file is missing.
    MlretError
        If it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError as error:
            raise InputError(f"{path} is missing: reinstall mlret, or give another encoder") from error
        except (OSError, ValueError) as error:  # an empty file cannot be mapped
            raise MlretError(f"{path} is damaged ({error}): reinstall mlret, or copy the encoder again") from error
        try:
            self.metadata, self.places = _header(self._bytes)
        except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
            raise MlretError(f"{path} is damaged ({error}): reinstall mlret, or copy the encoder again") from error

    def __contains__(self, name: str) -> bool:
        return name in self.places

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return a tensor as a read-only array of the file's own bytes.

        Raises
        ------
        MlretError
            If the file does not hold it.
        """
        place = self._place(name)
        count = place.length // np.dtype(place.dtype).itemsize
        return np.frombuffer(self._bytes, dtype=place.dtype, count=count, offset=place.offset).reshape(place.shape)

    def view(self, name: str) -> memoryview[Any]:
        """Return a one-dimensional tensor as a memory view, whose items Python reads faster than those of an array."""
        place = self._place(name)
        form: Any = np.dtype(place.dtype).char
        return memoryview(self._bytes)[place.offset : place.offset + place.length].cast(form)

    def _place(self, name: str) -> Place:
        try:
            return self.places[name]
        except KeyError:
            raise MlretError(f"{self.path} holds no tensor {name!r}: it is damaged, or of another version") from None


def _header(content: mmap.mmap) -> tuple[dict[str, str], dict[str, Place]]:
    (length,) = _LENGTH.unpack_from(content)
    start = _LENGTH.size + length
    if length > _LONGEST_HEADER or start > len(content):
        raise ValueError("its header is longer than the file")
    described = json.loads(content[_LENGTH.size : start])
    metadata = described.pop("__metadata__", {})
    places = {}
    for name, entry in described.items():
        begin, end = entry["data_offsets"]
        dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if not 0 <= begin <= end <= len(content) - start or end - begin != size:
            raise ValueError(f"tensor {name!r} does not lie within the file")
        places[name] = Place(dtype, shape, start + begin, end - begin)
    return metadata, places
