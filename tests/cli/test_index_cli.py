"""Test `mlret index`, `search` and `memory` as a user runs them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.timeout(120)


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Done]


@pytest.fixture
def mlret(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process, in which torch is already imported."""
    from mlret.cli.main import main

    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: object, code: int = 0) -> Done:
        monkeypatch.setattr(sys, "argv", ["mlret", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            done = 0
        except SystemExit as exit:
            done = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        captured = capsys.readouterr()
        assert done == code, captured.err
        return Done(done, captured.out, captured.err)

    return run


def mlret_process(*arguments: object, code: int = 0) -> Done:
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "mlret.cli.main", *map(str, arguments)]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, encoding="utf-8")
    assert done.returncode == code, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "a.jsonl").write_text(
        '{"id": "a", "text": "the cat sat on a mat", "lang": "en", "year": 2024}\n'
        '{"id": "b", "text": "seven dogs ran home", "lang": "en"}\n'
        '{"id": "he", "text": "שלום עולם", "lang": "he"}\n',
        encoding="utf-8",
    )
    (folder / "b.tsv").write_text("id\ttext\tlang\nzh\t你好世界\tzh\n", encoding="utf-8")
    (folder / "bad.jsonl").write_text('{"id": "x", "text": "y"}\n{"id": "x2", "text": "y", "lang": "xx"}\n')
    return folder


@pytest.mark.thorough
def test_index_from_files_to_hits_in_two_processes(files: Path, tmp_path: Path, tiny_encoder_folder: Path) -> None:
    index = tmp_path / "wiki"
    model = ("--model", tiny_encoder_folder)
    built = mlret_process("index", "build", index, files / "a.jsonl", *model, "--json").json
    assert (built["documents"]["added"], built["index"]["documents"]) == (3, 3)
    found = mlret_process("search", index, "the cat sat on a mat", "-k", 2, "--where", "lang=en", "--json").json
    assert [hit["id"] for hit in found["hits"]] == ["a", "b"]
    assert found["hits"][0]["score"] == pytest.approx(1.0)


def test_index_is_extended_described_and_searched(
    files: Path, tmp_path: Path, tiny_encoder_folder: Path, mlret: Run
) -> None:
    index = tmp_path / "wiki"
    text = mlret("index", "build", index, files / "a.jsonl", "-m", tiny_encoder_folder).out
    assert "3 documents stored in" in text and "search it: mlret search" in text
    added = mlret("index", "add", index, files / "b.tsv", "--json").json
    assert (added["documents"]["added"], added["index"]["documents"]) == (1, 4)
    info = mlret("index", "info", index, "--json").json
    assert info["languages"] == {"en": 2, "he": 1, "zh": 1}
    assert info["encoder"] == str(tiny_encoder_folder)
    assert "English 2" in mlret("index", "info", index).out
    table = mlret("search", index, "שלום", "--where", "lang=he", "--where", "lang=zh").out
    assert "Hebrew" in table and "Chinese" in table and "你好世界" in table and "English" not in table
    found = mlret("search", index, "cat", "--where", "year=2024", "--language", "eng", "--json").json
    assert [hit["id"] for hit in found["hits"]] == ["a"]
    assert mlret("search", index, "cat", "--where", "lang=fr").out == "no documents match\n"


def test_bad_input_is_one_line_and_leaves_nothing(
    files: Path, tmp_path: Path, tiny_encoder_folder: Path, mlret: Run
) -> None:
    bad = files / "bad.jsonl"
    done = mlret("index", "build", tmp_path / "i", bad, "--model", tiny_encoder_folder, code=2)
    assert done.err.splitlines()[-1].startswith(f"error: {bad}:2: unknown language code 'xx'")
    assert not done.out and not list(tmp_path.iterdir())
    assert "no such index; make it with `mlret index build" in mlret("search", tmp_path / "i", "cat", code=2).err
    missing = mlret("index", "build", tmp_path / "i", files / "nothing.tsv", code=2)
    assert missing.err == f"error: {files / 'nothing.tsv'}: no such file; check the path\n"
    assert not list(tmp_path.iterdir())


def test_folders_and_tables_with_other_names_are_indexed(
    tmp_path: Path, tiny_encoder_folder: Path, mlret: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    Path("docs/a.md").write_text("# The cat\n\nsat on a mat\n")
    Path("docs/bad.pdf").write_text("nothing")
    Path("items.csv").write_text("sku;body;headline\n7;seven dogs;Dogs\n")
    done = mlret("index", "build", "i", "docs", "-m", tiny_encoder_folder)
    assert "1 document stored, 1 file could not be read (see the warnings)" in done.out
    assert "docs/bad.pdf: no PDF file that can be read" in done.err
    names = ("--id-column", "sku", "--text-column", "body", "--column-as", "headline=title")
    assert mlret("index", "add", "i", "items.csv", *names, "--json").json["documents"]["added"] == 1
    assert mlret("index", "update", "i", "items.csv", *names, "--json").json["documents"]["skipped"] == 1
    [hit] = mlret("search", "i", "seven dogs", "-k", 1, "--json").json["hits"]
    assert (hit["id"], hit["metadata"]) == ("7", {"title": "Dogs"})
    assert mlret("encode", "items.csv", "docs/*.md", *names, "-o", "v.npy", "-m", tiny_encoder_folder, "--json").json[
        "documents"
    ] == 2  # fmt: skip
    assert "--column-as 'x': write OLD=NEW" in mlret("index", "add", "i", "items.csv", "--column-as", "x", code=2).err
    twice = ("--id-column", "sku", "--text-column", "sku")
    assert "'sku' cannot be read both as 'id' and as 'text'" in mlret("index", "add", "i", "a.csv", *twice, code=2).err
    missing = mlret("index", "add", "i", "items.csv", code=2).err
    assert "no column 'id' or" in missing and "--id-column NAME" in missing and "'sku', 'body', 'headline'" in missing


def test_memory_is_remembered_and_found(tmp_path: Path, tiny_encoder_folder: Path, mlret: Run) -> None:
    store = tmp_path / "notes"
    options = ("--store", store, "--scope", "user=u1")
    assert "no such memory store" in mlret("memory", "search", "cat", *options, code=2).err
    model = ("--model", tiny_encoder_folder)
    added = mlret("memory", "add", "the cat sat on a mat", *options, *model, "--json").json
    assert added["verdict"] == "added"
    found = mlret("memory", "search", "cat", *options, "--json").json
    assert [hit["record"]["id"] for hit in found["hits"]] == [added["id"]]
    assert found["hits"][0]["record"]["scope"] == {"user": "u1"} and found["hits"][0]["record"]["recorded_at"]
    assert "the cat sat on a mat" in mlret("memory", "search", "cat", *options).out
    other = mlret("memory", "search", "cat", "--store", store, "--scope", "user=u2", "--json").json
    assert other["hits"] == []
    assert "unknown scope 'who'" in mlret("memory", "search", "cat", "--store", store, "-s", "who=x", code=2).err


def test_an_index_is_changed_looked_after_and_exported(
    mlret: Run, files: Path, tmp_path: Path, tiny_encoder_folder: Path
) -> None:
    index, model = tmp_path / "i", ("--model", tiny_encoder_folder)
    built = mlret("index", "build", index, files / "a.jsonl", files / "b.tsv", *model, "--lexical", "--json").json
    assert built["documents"] == {"added": 4, "replaced": 0, "skipped": 0} and built["index"]["lexical"]
    changed = tmp_path / "changed.jsonl"
    changed.write_text(
        '{"id": "a", "text": "a dog", "lang": "en", "year": 1999}\n{"id": "n", "text": "new", "lang": "en"}\n'
    )
    assert mlret("index", "update", index, changed, "--json").json["documents"] == {
        "added": 1,
        "replaced": 1,
        "skipped": 0,
    }
    hits = mlret("search", index, "dog", "--where", "year<2000", "--mode", "lexical", "--json").json["hits"]
    assert [hit["id"] for hit in hits] == ["a"]
    assert "does not hold 1 id, " in mlret("index", "delete", index, "a", "nothing", code=2).err
    assert mlret("index", "delete", index, "n", "nothing", "--ignore-missing", "--json").json == {
        "deleted": 1,
        "documents": 4,
    }
    assert mlret("index", "delete", index, "--where", '{"lang": "he"}').out.startswith("1 document deleted")
    assert mlret("index", "compact", index, "--json").json["index"]["deleted"] == 0
    assert mlret("index", "verify", index).out == f"{index} is intact\n"
    for name in ("out.jsonl.gz", "out.parquet"):
        assert mlret("index", "export", index, "-o", tmp_path / name, "--vectors", "--json").json["documents"] == 3
        again = mlret("index", "build", tmp_path / name.replace(".", "-"), tmp_path / name, *model, "--json").json
        assert again["index"]["documents"] == 3
    segment = next(path for path in (index / "vectors").iterdir() if path.suffix == ".npy")
    segment.write_bytes(b"torn")
    assert "--repair repairs it" in mlret("index", "verify", index, code=1).out
    assert "(repaired)" in mlret("index", "verify", index, "--repair").out
    assert mlret("index", "verify", index, "--json").json == {"problems": []}


def test_a_long_document_is_cut_found_by_a_passage_and_shown_with_it(tmp_path: Path, mlret: Run) -> None:
    filler = "Die Bibliothek am Bahnhof ist montags geschlossen und sonst bis acht Uhr offen. " * 60
    needle = "Der Preis für Mais ist auf dem Markt von Nairobi stark gestiegen."
    long = {"id": "long", "text": f"{filler}{needle} {filler}", "lang": "de"}
    file, folder = tmp_path / "in.jsonl", tmp_path / "i"
    short = {"id": "short", "text": "The train is late.", "lang": "en"}
    file.write_text("".join(json.dumps(one) + "\n" for one in (long, short)))
    options = ("--passage-tokens", 64, "--passage-overlap", 0)
    assert "2 documents stored, the long ones cut" in mlret("index", "build", folder, file, *options).out
    info = mlret("index", "info", folder, "--json").json
    assert info["documents"] == 2 < info["passages"]
    query = "The price of maize has risen in Kenya."
    hits = mlret("search", folder, query, "--json").json["hits"]
    assert [hit["id"] for hit in hits] == ["long", "short"] and hits[1]["passage"] is None
    passage = hits[0]["passage"]
    assert needle in passage["text"] and passage["text"] == hits[0]["text"][passage["start"] : passage["end"]]
    shown = mlret("search", folder, query).out
    assert f"[{passage['start']:,}–{passage['end']:,} of {len(long['text']):,} characters]" in " ".join(shown.split())
    assert mlret("index", "verify", folder).out.strip() == f"{folder} is intact"
    refused = mlret("index", "build", tmp_path / "j", file, "--passages", "refuse", code=2).err
    assert "document 'long' has" in refused and "would be lost" in refused and not (tmp_path / "j").exists()
    assert "passages: Input should be" in mlret("index", "build", tmp_path / "l", file, "--passages", "no", code=2).err


def test_an_index_gets_the_vectors_of_another_encoder(
    files: Path, tmp_path: Path, tiny_encoder_folder: Path, mlret: Run
) -> None:
    index, other, new = tmp_path / "wiki", tmp_path / "other", tmp_path / "new"
    shutil.copytree(tiny_encoder_folder, other)
    mlret("index", "build", index, files / "a.jsonl", "-m", tiny_encoder_folder)
    made = mlret("index", "reembed", index, "-o", new, "-m", other, "--json").json
    assert (made["documents"], made["encoder"], made["path"]) == (3, str(other), str(new))
    assert mlret("search", new, "the cat sat on a mat", "-k", "1", "--json").json["hits"][0]["id"] == "a"
    assert "is an index already" in mlret("index", "reembed", index, "-o", new, "-m", other, code=2).err
    text = mlret("index", "reembed", index, "-o", tmp_path / "again", "-m", other).out
    assert text == f"{tmp_path / 'again'} holds 3 documents with vectors of {other}; {index} is as it was\n"


def test_vectors_are_encoded_to_a_file_and_indexed_from_it(
    mlret: Run, files: Path, tmp_path: Path, tiny_encoder_folder: Path
) -> None:
    vectors, model = tmp_path / "v.npy", ("--model", tiny_encoder_folder)
    encoded = mlret("encode", files / "a.jsonl", "-o", vectors, *model, "--json").json
    small = mlret("index", "build", tmp_path / "s", files / "a.jsonl", *model, "--precision", "float32", "--json").json
    assert small["index"]["fingerprint"] == encoded["fingerprint"]
    assert "no precision 'int2'" in mlret("encode", files / "a.jsonl", "-o", vectors, "--precision", "int2", code=2).err
    assert encoded["documents"] == 3
    mlret("index", "build", tmp_path / "i", files / "a.jsonl", *model, "--vectors", vectors, "--dims", 16)
    mlret("index", "build", tmp_path / "j", files / "a.jsonl", *model, "--dims", 16)
    found = [mlret("search", tmp_path / name, "dogs", "--json").json["hits"] for name in ("i", "j", "s")]
    assert [hit["id"] for hit in found[0]] == [hit["id"] for hit in found[1]]
    assert found[2][0]["id"] == found[0][0]["id"]
    assert found[0][0]["score"] == pytest.approx(found[1][0]["score"], abs=1e-5)
    mlret("index", "build", tmp_path / "k", files / "a.jsonl", "--vectors", vectors, "--external", "theirs")
    assert "which mlret does not run" in mlret("search", tmp_path / "k", "dogs", code=2).err
    assert (
        "--external names the encoder of --vectors"
        in mlret("index", "build", tmp_path / "l", files / "a.jsonl", "--external", "x", code=2).err
    )


def test_a_vector_for_each_token_goes_through_the_same_verbs(
    mlret: Run, files: Path, tmp_path: Path, tiny_token_encoder_folder: Path
) -> None:
    index = tmp_path / "i"
    built = mlret(
        "index", "build", index, files / "a.jsonl", "-m", tiny_token_encoder_folder, "--bits", 8, "--json"
    ).json
    assert built["index"]["similarity"] == "maxsim" and built["index"]["documents"] == 3
    hits = mlret("search", index, "dogs ran", "-k", 2, "--json").json["hits"]
    assert len(hits) == 2 and hits[0]["score"] >= hits[1]["score"] > 1  # a sum over the query's tokens
    mlret("index", "add", index, files / "b.tsv")
    assert {hit["id"] for hit in mlret("search", index, "dogs", "-k", 9, "--json").json["hits"]} == {
        "a",
        "b",
        "he",
        "zh",
    }
    assert "maxsim" in mlret("index", "info", index).out
    assert "nothing to tune" in mlret("index", "tune", index, code=2).err
    np.save(tmp_path / "v.npy", np.random.default_rng(0).standard_normal((9, 16)).astype(np.float32))
    np.save(tmp_path / "l.npy", np.array([4, 2, 3]))
    given = ["--vectors", tmp_path / "v.npy", "--lengths", tmp_path / "l.npy", "--external", "theirs"]
    mlret("index", "build", tmp_path / "j", files / "a.jsonl", *given)
    mlret("index", "export", tmp_path / "j", "-o", tmp_path / "o.jsonl", "--vectors")
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [len(row["vectors"]) for row in rows] == [4, 2, 3]
    np.save(tmp_path / "l.npy", np.array([4, 2]))
    assert "do not divide 9 tokens" in mlret("index", "build", tmp_path / "k", files / "a.jsonl", *given, code=2).err
    assert "give these too" in mlret("index", "build", tmp_path / "k", files / "a.jsonl", *given[2:4], code=2).err
