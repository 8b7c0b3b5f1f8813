"""Test monolingual documents: the same content in every file format, and the errors for unreadable files."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.data.monolingual import MonolingualDocument, TextColumns, read_hub, read_monolingual
from mlret.errors import InputError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

ENGLISH = MonolingualDocument("en", ("It rains.", "Take a coat!"))
CHINESE = MonolingualDocument("zh", ("我喜欢茶。", "你呢？"))


def write(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def as_jsonl(documents: Sequence[MonolingualDocument]) -> str:
    return "".join(json.dumps({"lang": d.language, "sents": list(d.sentences)}) + "\n" for d in documents)


def as_text(documents: Sequence[MonolingualDocument]) -> str:
    return "\n\n".join("\n".join(document.sentences) for document in documents) + "\n"


def write_parquet(path: Path, documents: Sequence[MonolingualDocument], **options: object) -> Path:
    table = pa.table(
        {
            "id": list(range(len(documents))),
            "lang": pa.array([d.language for d in documents], pa.string()),
            "sents": pa.array([list(d.sentences) for d in documents], pa.list_(pa.string())),
        }
    )
    pq.write_table(table, path, **options)
    return path


# In a text file a line break within a sentence cannot be distinguished from its end. All other characters are tested.
sentences = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), min_size=1).map(str.strip).filter(bool)
documents = st.lists(st.lists(sentences, min_size=1, max_size=4), min_size=1, max_size=5).map(
    lambda contents: [MonolingualDocument("sw", tuple(content)) for content in contents]
)


@settings(max_examples=60, deadline=None)
@given(documents)
def test_every_form_of_file_gives_the_documents_that_were_written(written: list[MonolingualDocument]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        assert list(read_monolingual(write(root / "d.jsonl", as_jsonl(written)))) == written
        assert list(read_monolingual(write(root / "d.jsonl.gz", as_jsonl(written)))) == written
        assert list(read_monolingual(write(root / "d.txt", as_text(written)), language="swh")) == written
        assert list(read_monolingual(write(root / "d.txt.gz", as_text(written)), language="sw")) == written
        assert list(read_monolingual(write_parquet(root / "d.parquet", written))) == written


@pytest.mark.parametrize("name", ["d.jsonl", "d.JSONL", "d.jsonl.gz"])
def test_running_text_is_split_and_languages_are_normalised(tmp_path: Path, name: str) -> None:
    lines = [{"lang": "eng", "text": "It rains. Take a coat!", "id": 1}, {"lang": "zh_CN", "text": "我喜欢茶。你呢？"}]
    path = write(tmp_path / name, "\n".join(json.dumps(line) for line in lines))
    assert list(read_monolingual(path)) == [ENGLISH, CHINESE]


def test_parquet_text_is_split(tmp_path: Path) -> None:
    table = pa.table({"text": ["It rains. Take a coat!", None, "我喜欢茶。你呢？"], "lang": ["en", "en", "zh"]})
    for number, text_type in enumerate((pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()))):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(table.set_column(0, "text", table["text"].cast(text_type)), path)
        assert list(read_monolingual(path)) == [ENGLISH, CHINESE]


def test_sentences_go_before_text_and_the_file_before_the_given_language(tmp_path: Path) -> None:
    records = [
        {"lang": "en", "sents": ["It rains.", " Take a coat!\n"], "text": "unread"},
        {"text": "Jua. Mvua.", "sents": None},
        {"lang": "", "sents": ["Jua.", " ", ""]},
    ]
    expected = [ENGLISH, MonolingualDocument("sw", ("Jua.", "Mvua.")), MonolingualDocument("sw", ("Jua.",))]
    jsonl = write(tmp_path / "d.jsonl", "\n".join(map(json.dumps, records)))
    assert list(read_monolingual(jsonl, language="swh")) == expected
    parquet = tmp_path / "d.parquet"
    pq.write_table(pa.Table.from_pylist([{"lang": None, "text": None, "sents": None, **r} for r in records]), parquet)
    assert list(read_monolingual(parquet, language="swh")) == expected


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    columns = TextColumns(text="content", sentences="lines", language="code")
    record = {"content": "It rains. Take a coat!", "code": "en", "text": 3, "lang": 4}
    jsonl = write(tmp_path / "d.jsonl", json.dumps(record))
    pq.write_table(pa.Table.from_pylist([record]), tmp_path / "d.parquet")
    assert list(read_monolingual(jsonl, columns=columns)) == [ENGLISH]
    assert list(read_monolingual(tmp_path / "d.parquet", columns=columns)) == [ENGLISH]


def test_windows_line_ends_and_byte_order_marks_are_not_text(tmp_path: Path) -> None:
    text = write(tmp_path / "d.txt", "\ufeffIt rains.\r\nTake a coat!\r\n\r\n \t\r\n Jua.\r\n")
    assert list(read_monolingual(text, language="en")) == [ENGLISH, MonolingualDocument("en", ("Jua.",))]
    jsonl = write(tmp_path / "d.jsonl", "\ufeff" + as_jsonl([ENGLISH, CHINESE]).replace("\n", "\r\n"))
    assert list(read_monolingual(jsonl)) == [ENGLISH, CHINESE]


def test_text_file_without_blank_lines_is_split_into_parts(tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(25_000)]
    read = list(read_monolingual(write(tmp_path / "d.txt", "\n".join(lines)), language="en"))
    assert [len(document.sentences) for document in read] == [10_000, 10_000, 5_000]
    assert [sentence for document in read for sentence in document.sentences] == lines


def test_records_without_text_are_skipped(tmp_path: Path) -> None:
    content = '{"lang": "en", "sents": []}\n{"lang": "en", "text": " \\n"}\n\n' + as_jsonl([ENGLISH])
    assert list(read_monolingual(write(tmp_path / "d.jsonl", content))) == [ENGLISH]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.jsonl", b"", r"d\.jsonl: empty file; expected"),
        ("d.jsonl", b"\n \n", r"d\.jsonl: empty file; expected"),
        ("d.jsonl", b'{"lang": "en", "sents": [" "]}', r"d\.jsonl: empty file; expected"),
        ("d.jsonl.gz", b"", r"d\.jsonl\.gz: empty file; expected"),
        ("d.jsonl", b'{"lang": "en", "sents": ["a"]}\n{"lang": "en"}\n', r"d\.jsonl:2: .* needs the keys 'lang' and"),
        ("d.jsonl", b'{"sents": ["a b"]}\n', r"d\.jsonl:1: a document needs the key 'lang', or a language"),
        ("d.jsonl", b'{"lang": "en", "sents": ["a"]}\n{"lang": \n', r"d\.jsonl:2: not JSON .*; one object per line"),
        ("d.jsonl", b"[" * 100_000, r"d\.jsonl:1: not readable JSON"),
        ("d.jsonl", b"3\n", r"d\.jsonl:1: a JSON int, not an object; write"),
        ("d.jsonl", b'{"lang": "en", "sents": ["\xff"]}\n', r"d\.jsonl:1: not UTF-8 at byte"),
        ("d.jsonl", b'{"lang": "english!", "sents": ["a b"]}\n', r"d\.jsonl:1: unknown language code 'english!'"),
        ("d.jsonl", b'{"lang": 7, "sents": ["a b"]}\n', r"d\.jsonl:1: 'lang' is int, not a string; use"),
        ("d.jsonl", b'{"lang": "en", "sents": "a b"}\n', r"d\.jsonl:1: 'sents' must be a list of strings; give"),
        ("d.jsonl", b'{"lang": "en", "sents": ["a", 3]}\n', r"d\.jsonl:1: 'sents' must be a list of strings; give"),
        ("d.jsonl", b'{"lang": "en", "text": ["a"]}\n', r"d\.jsonl:1: 'text' is list, not a string; give"),
        ("d.jsonl", b'{"lang": "en", "text": "a \\ud800"}\n', r"d\.jsonl:1: the text holds half a surrogate pair,"),
        ("d.parquet", b"PAR1 or rather not", r"d\.parquet: damaged or no Parquet file \(.*\); fetch it again"),
        ("d.parquet", b"", r"d\.parquet: damaged or no Parquet file"),
    ],
)  # fmt: skip
def test_bad_input_names_file_line_and_how_to_fix_it(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(InputError, match=message) as caught:
        list(read_monolingual(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"d\.txt: empty file; expected"),
        (b"\n\n \n", r"d\.txt: empty file; expected"),
        (b"one\ntwo \xff\n", r"d\.txt:2: not UTF-8 at byte 4; convert"),
    ],
)
def test_bad_text_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(read_monolingual(write(tmp_path / "d.txt", content), language="en"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], r"d\.parquet: empty file; expected"),
        ([{"text": "x", "lang": "en"}, {"text": "x", "lang": "xx"}], r"d\.parquet: row 2: unknown language code 'xx'"),
        ([{"text": 3, "lang": "en"}], r"d\.parquet: row 1: 'text' is int, not a string; give"),
        ([{"sents": "x", "lang": "en"}], r"d\.parquet: row 1: 'sents' must be a list of strings"),
        ([{"body": "x", "lang": "en"}], r"no column 'sents' or 'text'; name the .* there are \['body', 'lang'\]"),
        ([{"text": "x", "id": 1}], r"d\.parquet: no column 'lang'; give the language"),
    ],
)
def test_bad_parquet_names_file_row_and_how_to_fix_it(
    tmp_path: Path, rows: list[dict[str, object]], message: str
) -> None:
    schema = None if rows else pa.schema({"text": pa.string(), "lang": pa.string()})
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "d.parquet")
    with pytest.raises(InputError, match=message) as caught:
        list(read_monolingual(tmp_path / "d.parquet"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["d.csv", "d", "d.gz", "d.parquet.gz", "d.json"])
def test_unknown_kinds_of_file_are_refused_before_reading(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"unknown kind of file; give \.jsonl, \.jsonl\.gz, .* or \.parquet"):
        read_monolingual(tmp_path / name)


def test_language_is_checked_before_reading(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"d\.txt: a text file does not state its language; give it"):
        read_monolingual(tmp_path / "d.txt")
    with pytest.raises(InputError, match="unknown language code 'xx'"):
        read_monolingual(tmp_path / "d.jsonl", language="xx")


@pytest.mark.parametrize("name", ["d.jsonl", "d.txt.gz", "d.parquet"])
def test_missing_files_and_folders_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: no such file"):
        list(read_monolingual(tmp_path / name, language="en"))
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=f"{name}: is a folder"):
        list(read_monolingual(tmp_path / name, language="en"))


def test_parquet_damaged_in_the_middle_is_named(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "d.parquet", [ENGLISH] * 1000, row_group_size=100)
    content = bytearray(path.read_bytes())
    content[len(content) // 4 : len(content) // 2] = b"\xff" * (len(content) // 2 - len(content) // 4)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"d\.parquet: damaged or no Parquet file"):
        list(read_monolingual(path))


@pytest.mark.parametrize("name", ["d.jsonl", "d.txt"])
def test_first_document_is_there_before_the_rest_is_read(tmp_path: Path, name: str) -> None:
    good = as_jsonl([ENGLISH]) if name == "d.jsonl" else as_text([ENGLISH]) + "\n\nx\n\n"
    path = write(tmp_path / name, good.encode() + b"\xff\n")
    read = read_monolingual(path, language="en")
    assert next(read) == ENGLISH
    with pytest.raises(InputError, match="not UTF-8"):
        list(read)


def bytes_read_so_far() -> int:
    """Return the number of bytes that this process has read from files."""
    counters = Path("/proc/self/io")
    if not counters.exists():
        pytest.skip("the system does not count the bytes that a process reads")
    return int(counters.read_text().split("rchar:")[1].split()[0])


def large_parquet(path: Path) -> Path:
    # There is one row group without compression, so a reader of whole row groups would read all of it.
    texts = pa.array([f"{number} {'x' * 2000}" for number in range(10_000)])
    table = pa.table({"text": texts, "lang": ["en"] * 10_000})
    pq.write_table(table, path, row_group_size=10_000, compression="none", use_dictionary=False)
    assert path.stat().st_size > 20_000_000
    return path


def test_first_row_of_a_large_parquet_file_does_not_read_it_all(tmp_path: Path) -> None:
    path = large_parquet(tmp_path / "d.parquet")
    next(read_monolingual(path))
    before = bytes_read_so_far()
    assert next(read_monolingual(path)).sentences[0].startswith("0 x")
    assert bytes_read_so_far() - before < path.stat().st_size / 4


@pytest.fixture(scope="module")
def hub_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "dataset"
    folder.mkdir()
    rows = [{"id": i, "text": f"It rains {i}. Take a coat!", "lang": "eng"} for i in range(50)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "train.parquet")
    return folder


def test_hub_reader_streams_a_local_folder(hub_folder: Path) -> None:
    pytest.importorskip("datasets")
    read = list(read_hub(str(hub_folder), config=None, split="train", language="sw", columns=TextColumns()))
    assert read == [MonolingualDocument("en", (f"It rains {i}.", "Take a coat!")) for i in range(50)]


def test_hub_reader_uses_the_given_language_if_there_is_none(hub_folder: Path) -> None:
    pytest.importorskip("datasets")
    columns = TextColumns(language="none")
    first = next(read_hub(str(hub_folder), config=None, split="train", language="swh", columns=columns))
    assert first.language == "sw"
    with pytest.raises(InputError, match=r"split 'train': no column 'none'; give the language"):
        read_hub(str(hub_folder), config=None, split="train", language=None, columns=columns)


def test_hub_reader_keeps_to_its_limit_and_reads_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    taken: list[int] = []

    def records() -> Iterator[dict[str, str]]:
        for number in range(1000):
            taken.append(number)
            yield {"text": "" if number % 2 else f"Jua {number}.", "lang": "sw"}

    def load_dataset(*_: object, streaming: bool, **__: object) -> object:
        assert streaming
        return datasets.IterableDataset.from_generator(records)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    read = read_hub("owner/name", config=None, split="train", language=None, columns=TextColumns(), limit=3)
    assert len(taken) <= 1  # from_generator may look at the first record
    assert [document.sentences for document in read] == [("Jua 0.",), ("Jua 2.",), ("Jua 4.",)]
    assert len(taken) < 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "dev"}, r"split 'dev' cannot be read \(Bad split.*\); check the name"),
        ({"config": "none"}, r"\(none\): split 'train' cannot be read \(.*\); check the name, the configuration"),
        ({"columns": TextColumns(text="body")}, r"no column 'sents' or 'body'; name .* \['id', 'lang', 'text'\]"),
        ({"columns": TextColumns(text="id")}, r"split 'train', row 1: 'id' is int, not a string"),
        ({"columns": TextColumns(language="id")}, r"split 'train', row 1: 'id' is int, not a string; use a code"),
        ({"language": "xx"}, "unknown language code 'xx'"),
        ({"limit": 0}, "the limit is 0; give 1 or more"),
    ],
)  # fmt: skip
def test_hub_reader_names_what_is_wrong(hub_folder: Path, options: dict[str, object], message: str) -> None:
    pytest.importorskip("datasets")
    arguments = {"config": None, "split": "train", "language": None, "columns": TextColumns(), **options}
    with pytest.raises(InputError, match=message) as caught:
        list(read_hub(str(hub_folder), **arguments))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ConnectionError("Couldn't reach 'a/b'\nmore"),
            r"cannot be reached \(Couldn't .*\); check the network",
        ),
        (
            FileNotFoundError("Dataset 'a/b' doesn't exist"),
            r"a/b: split 'x' cannot be read .*check the name",
        ),
        (RuntimeError("Dataset scripts are no longer supported"), r"a/b: split 'x' cannot be read \(Dataset scripts"),
    ],
)
def test_unreachable_hub_and_wrong_name_have_different_errors(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    datasets = pytest.importorskip("datasets")

    def load_dataset(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(InputError, match=message) as caught:
        read_hub("a/b", config=None, split="x", language="en", columns=TextColumns())
    assert "\n" not in str(caught.value)


def test_hub_split_without_text_is_named(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    folder = tmp_path / "dataset"
    folder.mkdir()
    pq.write_table(pa.table({"text": ["", " "], "lang": ["en", "en"]}), folder / "x.parquet")
    with pytest.raises(InputError, match="split 'train' has no document with text; choose another"):
        list(read_hub(str(folder), config=None, split="train", language=None, columns=TextColumns()))
