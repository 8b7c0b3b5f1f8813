"""Test reading JSON arrays block by block."""

from __future__ import annotations

import gzip
import json
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.data.files import read_lines
from mlret.data.json_text import decode_json, read_json, stream_array
from mlret.errors import InputError

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(values, max_size=6), st.integers(1, 40), st.sampled_from([None, 2]), st.booleans())
def test_whatever_is_read_at_once_the_elements_are_json_s(
    elements: list[Any], block: int, indent: int | None, ascii: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "array.json"
        text = json.dumps({"before": [1, {"data": 2}], "data": elements, "after": 3}, indent=indent, ensure_ascii=ascii)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        assert [value for _, value in stream_array(path, "data", block_bytes=block)] == elements
        path.write_text(json.dumps(elements, indent=indent), encoding="utf-8")
        assert [value for _, value in stream_array(path, block_bytes=block)] == elements


@pytest.mark.parametrize("number", ["0.0", "15", "-1.5e+300", "1E-7", "[1e5]", "-0"])
def test_numbers_may_be_cut_anywhere(tmp_path: Path, number: str) -> None:
    path = tmp_path / "numbers.json"
    path.write_text(f"[{number},{number}]", encoding="utf-8")
    for block in range(1, 12):
        assert [value for _, value in stream_array(path, block_bytes=block)] == [json.loads(number)] * 2


def test_lines_are_those_on_which_elements_begin(tmp_path: Path) -> None:
    path = tmp_path / "array.json.gz"
    path.write_bytes(gzip.compress(b'[\n  {"a": 1},\n\n  {"a":\n 2}, 3\n]\n'))
    for block in (1, 7, 1000):
        assert list(stream_array(path, block_bytes=block)) == [(2, {"a": 1}), (4, {"a": 2}), (5, 3)]


@pytest.mark.parametrize("block", [1, 5, 1000])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1},\n {"a": }]', ":2: not JSON"),
        ('[{"a": 1},\n {"a": "never closed', ":2: not JSON .Unterminated string"),
        ("[1,\n2\n3]", ":3: '3' where a comma or ] should be"),
        ("[1, 2", ":1: the end of the file where a comma or ]"),
        ('{"a": 1}', "where an array"),
        ("[1, nul]", ":1: not JSON"),
    ],
)
def test_invalid_json_is_named_with_its_line(tmp_path: Path, text: str, message: str, block: int) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        list(stream_array(path, block_bytes=block))


def test_an_object_without_the_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text('{"rows": [1]}', encoding="utf-8")
    with pytest.raises(InputError, match="has no key 'data'"):
        list(stream_array(path, "data"))


def test_half_a_character_and_a_torn_archive_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(b'["\xff"]')
    with pytest.raises(InputError, match="not UTF-8"):
        list(stream_array(path))
    torn = tmp_path / "torn.json.gz"
    torn.write_bytes(gzip.compress(json.dumps([str(number) * 50 for number in range(500)]).encode())[:300])
    with pytest.raises(InputError, match="damaged gzip file"):
        list(stream_array(torn))
    with pytest.raises(InputError, match="no such file"):
        list(stream_array(tmp_path / "none.json"))


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '{"x": [{"b": 1, "c": 2, "b": 3}]}', '{"": 1, "": 2}'])
def test_an_object_with_a_key_twice_is_refused_by_every_reader(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"d\.jsonl:3: the key '.?' occurs twice in one object"):
        decode_json(text, "d.jsonl:3")
    path = tmp_path / "array.json"
    path.write_text(f"[1,\n{text}]", encoding="utf-8")
    with pytest.raises(InputError, match=r"array\.json:2: the key '.?' occurs twice"):
        list(stream_array(path))


@given(values)
def test_json_without_repeated_keys_is_read_as_by_the_standard_library(value: Any) -> None:
    assert read_json(json.dumps(value)) == value


@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_lines_up_to_the_bound_are_read_and_longer_ones_named(tmp_path: Path, ending: str, suffix: str) -> None:
    path = tmp_path / f"lines.txt{suffix}"

    def write(*lines: str) -> None:
        content = (ending or "\n").join(lines).encode() + ending.encode()
        path.write_bytes(gzip.compress(content) if suffix else content)

    write("é" * 4, "x" * 8)
    assert list(read_lines(path, longest=9)) == [(1, "é" * 4), (2, "x" * 8)]
    write("short", "x" * 10 + ending * 3)
    with pytest.raises(InputError, match=r"lines\.txt.*:2: the line is longer than 9 bytes; .*`max_line=…`"):
        list(read_lines(path, longest=9))


def test_a_line_without_end_is_never_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "zeros.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(64):
            file.write(b"x" * (1 << 20))
    tracemalloc.start()
    with pytest.raises(InputError, match="longer than 1 MiB"):
        next(read_lines(path, longest=1 << 20))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 16 << 20
