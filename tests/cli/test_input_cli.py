"""Test input on the command line: strings that are not Unicode, very long lines, files of vectors, filters."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlret.cli.main import main
from mlret.data.documents import Document
from mlret.index.index import Index
from tests.index.made import encoder, vector_of, vectors_of
from tests.memory.made import add, open_memory

Run = Callable[..., str]
# The Latin-1 bytes of "café" as an argument on a system with UTF-8.
BAD = "caf\udce9"


@pytest.fixture
def mlret(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process; return its output, or standard error if it fails or ``err`` is set."""

    def run(*arguments: object, code: int = 0, err: bool = False) -> str:
        monkeypatch.setattr(sys, "argv", ["mlret", *map(str, arguments)])
        capsys.readouterr()
        done = 0
        try:
            main()
        except SystemExit as exit:
            done = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        captured = capsys.readouterr()
        assert done == code, captured.err
        return captured.err if code or err else captured.out

    return run


@pytest.fixture
def index(tmp_path: Path) -> Path:
    texts = ["one", "two", "three"]
    documents = [
        Document(text, text, "en", {"n": number, "author": {"name": text.title()}, "tags": [text, "any"]})
        for number, text in enumerate(texts)
    ]
    with Index.create(tmp_path / "i", encoder()) as made:
        made.add(documents, vectors=vectors_of(texts, "cosine"))
    return tmp_path / "i"


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    with open_memory(tmp_path / "m") as made:
        add(made, "a text", {"user": "u"}, id="a")
    return tmp_path / "m"


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "I", BAD),
        ("search", "I", "query", "--language", BAD),
        ("search", "I", "query", "--where", f"n={BAD}"),
        ("search", "I", "query", "--where", f"{BAD}=1"),
        ("search", "I", "query", "--where", f'{{"n": "{BAD}"}}'),
        ("search", "I", "query", "--mode", BAD),
        ("index", "delete", "I", BAD),
        ("index", "delete", "I", "--where", f"n~{BAD}"),
        ("index", "add", "I", BAD),
        ("index", "build", BAD, "DOCS", "--external", "x", "--vectors", "VECTORS"),
        ("index", "build", "new", "DOCS", "--external", BAD, "--vectors", "VECTORS"),
        ("index", "info", BAD),
        ("memory", "add", BAD, "--store", "M", "-s", "user=u"),
        ("memory", "add", "text", "--store", "M", "-s", f"user={BAD}"),
        ("memory", "add", "text", "--store", "M", "-s", "user=u", "--tag", BAD),
        ("memory", "add", "text", "--store", "M", "-s", "user=u", "--key", BAD),
        ("memory", "add", "text", "--store", "M", "-s", "user=u", "--session", BAD),
        ("memory", "add", "text", "--store", "M", "-s", "user=u", "--source", BAD),
        ("memory", "add", "text", "--store", "M", "-s", "user=u", "--metadata", f'{{"a": "{BAD}"}}'),
        ("memory", "search", BAD, "--store", "M", "-s", "user=u"),
        ("memory", "get", BAD, "--store", "M", "-s", "user=u"),
        ("memory", "list", "--store", "M", "-s", "user=u", "--where", f"n={BAD}"),
        ("memory", "delete", BAD, "--store", "M", "-s", "user=u"),
        ("memory", "link", "a", BAD, "a", "--store", "M", "-s", "user=u"),
        ("memory", "import", BAD, "--store", "M", "-s", "user=u"),
        ("memory", "list", "--store", BAD, "-s", "user=u"),
    ],
    ids=lambda arguments: " ".join(arguments).encode("ascii", "backslashreplace").decode(),
)
def test_arguments_that_are_not_unicode_are_one_line_errors(
    mlret: Run, index: Path, memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    docs = write(tmp_path / "d.jsonl", {"id": "a", "text": "t"})
    np.save(tmp_path / "v.npy", np.ones((1, 8), np.float32))
    places = {"I": index, "M": memory, "DOCS": docs, "VECTORS": tmp_path / "v.npy"}
    err = mlret(*(places.get(one, one) for one in arguments), code=2)
    # typer prints errors of options in a frame; those of mlret are one line.
    assert "Traceback" not in err and ((err.startswith("error: ") and err.count("\n") == 1) or "Usage" in err)


def test_lines_that_are_not_utf_8_are_named(mlret: Run, index: Path, memory: Path, tmp_path: Path) -> None:
    file = tmp_path / "d.jsonl"
    file.write_bytes(b'{"id": "a", "text": "caf\xe9"}\n')
    np.save(tmp_path / "v.npy", np.ones((1, 8), np.float32))
    assert "d.jsonl:1: not UTF-8" in mlret("index", "add", index, file, "--vectors", tmp_path / "v.npy", code=2)
    assert "d.jsonl:1: not UTF-8" in mlret("index", "delete", index, "--ids-from", file, code=2)
    assert "d.jsonl:1: not UTF-8" in mlret("memory", "import", file, "--store", memory, "-s", "user=u", code=2)


def test_lines_have_a_bound(mlret: Run, index: Path, memory: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "d.jsonl", {"id": "short", "text": "t"}, {"id": "a", "text": "t" * (1 << 20)})
    np.save(tmp_path / "v.npy", np.ones((2, 8), np.float32))
    add = ("index", "add", index, file, "--vectors", tmp_path / "v.npy")
    assert "d.jsonl:2: the line is longer than 1 MiB" in mlret(*add, "--max-line", 1, code=2)
    with Index.open(index) as opened:
        assert "short" not in opened
    mlret(*add, "--max-line", 2)
    error = mlret("memory", "import", file, "--chat", "--store", memory, "-s", "user=u", "--max-line", 1, code=2)
    assert "d.jsonl:1" in error or "d.jsonl:2" in error or "line 1: no turn" in error


def test_repeated_keys_and_deep_metadata_are_refused(mlret: Run, index: Path, memory: Path, tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(200):
        deep = {"a": deep}
    np.save(tmp_path / "v.npy", np.ones((1, 8), np.float32))
    vectors = ("--vectors", tmp_path / "v.npy")
    twice = write(tmp_path / "twice.jsonl", '{"id": "a", "text": "t", "x": {"k": 1, "k": 2}}')
    assert "twice.jsonl:1: the key 'k' occurs twice" in mlret("index", "add", index, twice, *vectors, code=2)
    nested = write(tmp_path / "deep.jsonl", {"id": "a", "text": "t", "metadata": deep})
    assert "deep.jsonl:1: metadata['a']['a']" in mlret("index", "add", index, nested, *vectors, code=2)
    store = ("--store", memory, "-s", "user=u")
    assert "nested more than 32" in mlret("memory", "add", "t", *store, "--metadata", json.dumps(deep), code=2)
    assert "occurs twice" in mlret("memory", "add", "t", *store, "--metadata", '{"a": 1, "a": 2}', code=2)
    exported = json.loads(mlret("memory", "export", *store))
    exported["id"], exported["versions"][0]["metadata"] = "b", deep
    other = write(tmp_path / "other.jsonl", exported)
    assert "line 1: metadata['a']['a']" in mlret("memory", "import", other, *store, code=2)


def test_files_of_vectors_go_to_their_own_texts(mlret: Run, index: Path, tmp_path: Path) -> None:
    documents = [{"id": id, "text": text, "lang": "en"} for id, text in [("a", "A"), ("a", "again"), ("b", "B")]]
    file, other = write(tmp_path / "d.jsonl", *documents), tmp_path / "other.npy"
    vectors = np.stack([vector_of(str(one["text"])) for one in documents])
    np.save(tmp_path / "v.npy", np.asfortranarray(vectors.astype(np.float64) * 1e300))
    for count in (2, 4):
        np.save(other, np.ones((count, 8), np.float32))
        assert f"{count} vectors" in mlret("index", "add", index, file, "--skip-existing", "--vectors", other, code=2)
    np.save(other, np.ones((3, 16), np.float32))
    assert "(n, 8)" in mlret("index", "add", index, file, "--skip-existing", "--vectors", other, code=2)
    np.savez(tmp_path / "v.npz", vectors)
    assert "archive of arrays" in mlret("index", "add", index, file, "--vectors", tmp_path / "v.npz", code=2)
    mlret("index", "add", index, file, "--skip-existing", "--vectors", tmp_path / "v.npy")
    with Index.open(index, encoder()) as opened:
        assert [opened.get(id).text for id in "ab"] == ["A", "B"]  # type: ignore[union-attr]
        np.testing.assert_allclose(opened.vectors(["a", "b"]), vectors[[0, 2]], atol=1e-6)


def test_filters_are_written_with_dots_and_tildes(mlret: Run, index: Path) -> None:
    mlret("index", "delete", index, "--where", "author.name=Two")
    mlret("index", "delete", index, "--where", "tags~any", "--where", "author.name~hre")
    with Index.open(index, encoder()) as opened:
        assert [document.id for document in opened.documents()] == ["one"]
    assert mlret("index", "delete", index, "--where", "authr.name=One", err=True) == (
        "warning: no document has the field 'authr.name' (of 1), so that the filter on it matches nothing; there is "
        "'author.name' and 'author'\n"
    )
