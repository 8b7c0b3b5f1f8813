"""Write an ONNX model as bytes, so that a graph can be built where the package ``onnx`` is not installed.

An ONNX model is one Protocol Buffers message. Only the fields that our graphs need are written here; their numbers are
those of ``onnx.proto``, which never change.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Numbers of types in onnx.proto.
_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9, "float16": 10}
_IR_VERSION = 10
_OPSETS = {"": 21, "com.microsoft": 1}
_VARINT, _LENGTH_DELIMITED, _FIXED32 = 0, 2, 5
_FLOAT, _INT, _STRING, _INTS = 1, 2, 3, 7

Attribute = int | float | str | Sequence[int]


def _varint(number: int) -> bytes:
    if number < 0:
        number += 1 << 64
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _integer(key: int, number: int) -> bytes:
    return _varint(key << 3 | _VARINT) + _varint(number)


def _content(key: int, content: bytes | str) -> bytes:
    encoded = content.encode() if isinstance(content, str) else content
    return _varint(key << 3 | _LENGTH_DELIMITED) + _varint(len(encoded)) + encoded


def _contents(key: int, contents: Sequence[bytes | str]) -> bytes:
    return b"".join(_content(key, content) for content in contents)


def _chunks(key: int, chunks: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    """Return a field whose content is in chunks, so that large ones are copied once, when all are joined."""
    length = sum(len(chunk) for chunk in chunks)
    return [_varint(key << 3 | _LENGTH_DELIMITED) + _varint(length), *chunks]


def _attribute(name: str, value: Attribute) -> bytes:
    match value:
        case int():
            body, kind = _integer(3, value), _INT
        case float():
            body, kind = _varint(2 << 3 | _FIXED32) + struct.pack("<f", value), _FLOAT
        case str():
            body, kind = _content(4, value), _STRING
        case _:
            body, kind = b"".join(_integer(8, number) for number in value), _INTS
    return _content(1, name) + body + _integer(20, kind)


def _described(name: str, dtype: str, shape: Sequence[int | str]) -> bytes:
    """Return a ValueInfoProto; a dimension that is a string varies from call to call."""
    dims = [_integer(1, dim) if isinstance(dim, int) else _content(2, dim) for dim in shape]
    tensor = _integer(1, _TYPES[dtype]) + _content(2, _contents(1, dims))
    return _content(1, name) + _content(2, _content(1, tensor))


@dataclass
class Graph:
    """A graph of ONNX nodes that is built from its inputs to its outputs.

    Attributes
    ----------
    name
        Name of the graph.
    """

    name: str
    _nodes: list[bytes] = field(default_factory=list)
    _tensors: list[bytes | memoryview] = field(default_factory=list)
    _inputs: list[bytes] = field(default_factory=list)
    _outputs: list[bytes] = field(default_factory=list)

    def input(self, name: str, dtype: str, shape: Sequence[int | str]) -> str:
        """Declare an input and return its name."""
        self._inputs.append(_described(name, dtype, shape))
        return name

    def output(self, name: str, dtype: str, shape: Sequence[int | str]) -> None:
        """Declare that a node's result is an output."""
        self._outputs.append(_described(name, dtype, shape))

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Add an array to the model and return its name."""
        head = b"".join(_integer(1, size) for size in array.shape) + _integer(2, _TYPES[array.dtype.name])
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        self._tensors += _chunks(5, [head + _content(8, name), *_chunks(9, [content])])
        return name

    def node(
        self,
        kind: str,
        inputs: Sequence[str],
        output: str | Sequence[str],
        *,
        domain: str = "",
        **attributes: Attribute,
    ) -> Any:
        """Add a node and return the name, or the names, of its output.

        An empty name among the inputs stands for one that is left out.
        """
        outputs = [output] if isinstance(output, str) else list(output)
        body = _contents(1, list(inputs)) + _contents(2, outputs) + _content(3, outputs[0]) + _content(4, kind)
        body += _contents(5, [_attribute(key, value) for key, value in attributes.items()])
        self._nodes.append(body + _content(7, domain))
        return output

    def model(self) -> bytes:
        """Return the whole model."""
        graph: list[bytes | memoryview] = [_contents(1, self._nodes), _content(2, self.name), *self._tensors]
        graph.append(_contents(11, self._inputs) + _contents(12, self._outputs))
        opsets = [_content(1, domain) + _integer(2, version) for domain, version in _OPSETS.items()]
        head = _integer(1, _IR_VERSION) + _content(2, "mlret")
        return b"".join([head, *_chunks(7, graph), _contents(8, opsets)])
