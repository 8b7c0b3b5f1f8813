"""Test reading documents, and the errors for those that cannot be read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlret.data.corpus import read_documents
from mlret.data.documents import Document, document_from_mapping
from mlret.errors import InputError


def write(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["d.jsonl", "d.jsonl.gz", "d.JSONL"])
def test_jsonl_is_read_with_the_rest_as_metadata(tmp_path: Path, name: str) -> None:
    lines = [
        {"id": "a", "text": "habari", "lang": "swh", "year": 2024},
        {"id": 7, "text": "你好", "language": "zh_TW", "metadata": {"source": "x"}},
        {"id": "c", "sents": ["One.", "Two."]},
    ]
    path = write(tmp_path / name, "\n".join(json.dumps(line, ensure_ascii=False) for line in lines))
    assert list(read_documents(path)) == [
        Document("a", "habari", "sw", {"year": 2024}),
        Document("7", "你好", "zh-Hant", {"source": "x"}),
        Document("c", "One. Two.", None, {}),
    ]


@pytest.mark.parametrize("name", ["d.tsv", "d.tsv.gz"])
def test_tsv_is_read_by_its_header(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, "\ufefftext\tid\tlang\ttopic\r\nשלום\ta\the\tgreeting\r\nhello\tb\t\t\r\n")
    assert list(read_documents(path)) == [
        Document("a", "שלום", "he", {"topic": "greeting"}),
        Document("b", "hello", None, {}),
    ]


def test_reading_streams(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", '{"id": "a", "text": "x"}\nnot json\n')
    documents = read_documents(path)
    assert next(documents).id == "a"
    with pytest.raises(InputError, match=r"d\.jsonl:2"):
        next(documents)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.jsonl", "", r"d\.jsonl: the file is empty; give"),
        ("d.jsonl", "\n \n", r"d\.jsonl: the file is empty"),
        ("d.jsonl.gz", "", r"d\.jsonl\.gz: the file is empty"),
        ("d.tsv", "id\ttext\n", r"d\.tsv: the file is empty"),
        ("d.doc", "hello", r"d\.doc: unknown kind of file; give \.jsonl"),
        (
            "d.jsonl",
            b'{"id": "a", "text": "x"}\n{"id": "b", "text": "\xff"}\n',
            r"d\.jsonl:2: not UTF-8 at byte 21; ",
        ),
        ("d.tsv", b"id\ttext\na\t\xc3\x28\n", r"d\.tsv:2: not UTF-8 at byte 2; "),
        ("d.jsonl", '{"id": "a", "text": "x"}\n{"id": \n', r"d\.jsonl:2: not JSON \(.*\); one object per line"),
        ("d.jsonl", '["a"]\n', r"d\.jsonl:1: a JSON list, not an object; "),
        ("d.jsonl", "[" * 100_000, r"d\.jsonl:1: not readable JSON"),
        ("d.jsonl", '{"text": "x"}\n', r"d\.jsonl:1: the key 'id' is missing; "),
        ("d.jsonl", '\n{"id": "a"}\n', r"d\.jsonl:2: the key 'text' is missing; "),
        ("d.jsonl", '{"id": "a", "sents": "x"}\n', r"d\.jsonl:1: the sentences must be a list of strings"),
        ("d.jsonl", '{"id": "a", "text": 3}\n', r"d\.jsonl:1: the text is int, not a string; "),
        ("d.jsonl", '{"id": true, "text": "x"}\n', r"d\.jsonl:1: the id is bool, not a string; "),
        ("d.jsonl", '{"id": "", "text": "x"}\n', r"d\.jsonl:1: the id is empty; "),
        ("d.jsonl", '{"id": "a", "text": " "}\n', r"d\.jsonl:1: the text is empty; "),
        ("d.jsonl", '{"id": "a", "text": "\\ud800"}\n', r"d\.jsonl:1: the text holds half a surrogate pair"),
        ("d.jsonl", '{"id": "a", "text": "x", "y": "\\ud800"}\n', r"d\.jsonl:1: metadata\['y'\] is not valid Unicode"),
        ("d.jsonl", '{"id": "a", "text": "x", "y": NaN}\n', r"d\.jsonl:1: metadata\['y'\] is nan, which is not"),
        (
            "d.jsonl",
            '{"id": "a", "text": "x", "lang": "xx"}\n',
            r"d\.jsonl:1: unknown language code 'xx': use",
        ),
        ("d.jsonl", '{"id": "a", "text": "x", "lang": 3}\n', r"d\.jsonl:1: the language is int"),
        ("d.jsonl", '{"id": "a", "text": "x", "metadata": 3}\n', r"d\.jsonl:1: 'metadata' must be an object"),
        (
            "d.jsonl",
            '{"id": "a", "text": "x", "y": 1, "metadata": {"y": 2}}\n',
            r"d\.jsonl:1: the key 'y' is both",
        ),
        (
            "d.jsonl",
            '{"id": "a", "text": "x", "metadata": {"lang": "sw"}}\n',
            r"d\.jsonl:1: metadata may not use",
        ),
        ("d.tsv", "id\tbody\na\tx\n", r"d\.tsv:1: no column 'text' or .*, there are 'id', 'body'"),
        ("d.tsv", "id\ttext\ttext\na\tx\ty\n", r"d\.tsv:1: a column name is repeated"),
        ("d.tsv", "id\ttext\na\tx\ty\n", r"d\.tsv:2: 3 columns where the header has 2; "),
        ("d.tsv", "id\ttext\na\t\n", r"d\.tsv:2: the text is empty; "),
        ("d.tsv", "id\ttext\tlang\na\tx\tklingonish\n", r"d\.tsv:2: unknown language code"),
    ],
)
def test_bad_input_names_file_line_and_how_to_fix_it(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(InputError, match=message) as caught:
        list(read_documents(path))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.jsonl: no such file; check"):
        list(read_documents(tmp_path / "nothing.jsonl"))
    with pytest.raises(InputError, match="holds no files that can be read; "):
        list(read_documents(tmp_path))


def test_file_that_is_not_gzip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl.gz"
    path.write_bytes(b"plain")
    with pytest.raises(InputError, match=r"d\.jsonl\.gz:1: damaged gzip"):
        list(read_documents(path))


def test_mapping_without_id_takes_the_one_offered() -> None:
    assert document_from_mapping({"text": "x"}, id="n1").id == "n1"
    assert document_from_mapping({"id": "own", "text": "x"}, id="n1").id == "own"


@given(
    st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip),
    st.dictionaries(
        st.text(st.characters(codec="utf-8")).filter(
            lambda key: key not in {"id", "text", "lang", "language", "sents", "sentences", "metadata", "vector"}
        ),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(codec="utf-8")),
    ),
)
def test_any_unicode_survives_the_way_through_json(text: str, metadata: dict[str, object]) -> None:
    record = json.loads(json.dumps({"id": text, "text": text, **metadata}))
    assert document_from_mapping(record) == Document(text, text, None, metadata)
