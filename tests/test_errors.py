"""The class of an error tells callers what went wrong; exit codes are those of the base classes."""

from __future__ import annotations

import gzip
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mlret
from mlret import errors
from mlret.data.corpus import read_documents
from mlret.data.ranking import read_ranking
from mlret.encoders.external import ExternalEncoder
from mlret.errors import AlreadyExists, Corrupt, CorruptInput, InputError, Locked, MlretError, NotFound
from mlret.index.index import Index
from mlret.index.storage import lock
from mlret.memory.memory import Memory
from mlret.recipes import find_recipe

ENCODER = ExternalEncoder("tests", 4)
ANNA = {"user": "anna"}
AXES = np.eye(4, dtype="float32")


@pytest.fixture
def index(tmp_path: Path) -> Index:
    made = Index.create(tmp_path / "i", ENCODER)
    made.add([{"id": id, "text": f"text {id}"} for id in "abc"], vectors=np.eye(3, 4, dtype="float32"))
    return made


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    made = Memory.open(tmp_path / "m", ENCODER)
    made.add("Treni imechelewa.", ANNA, id="train", vector=AXES[0], language="sw")
    made.add("駅前に図書館がある。", ANNA, id="library", vector=AXES[1], language="ja")
    made.add("Ich wohne in Rom.", {"user": "bob"}, id="home", vector=AXES[2], language="de")
    return made


def test_old_handlers_catch_the_new_classes() -> None:
    assert issubclass(NotFound, InputError) and issubclass(AlreadyExists, InputError)
    assert issubclass(Locked, MlretError) and issubclass(Corrupt, MlretError)
    assert issubclass(CorruptInput, Corrupt) and issubclass(CorruptInput, InputError)
    assert not issubclass(Locked, InputError) and not issubclass(Corrupt, InputError)


def test_exit_codes_are_those_of_the_classes_that_were_raised_before() -> None:
    codes = {kind.__name__: kind.exit_code for kind in (NotFound, AlreadyExists, CorruptInput, Locked, Corrupt)}
    assert codes == {"NotFound": 2, "AlreadyExists": 2, "CorruptInput": 2, "Locked": 1, "Corrupt": 1}


def test_every_error_can_be_imported_from_the_package() -> None:
    kinds = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, MlretError)}
    assert kinds <= set(mlret.__all__)
    assert all(getattr(mlret, name) is getattr(errors, name) for name in kinds)


MISSING: dict[str, Callable[[Index, Memory, Path], object]] = {
    "index folder": lambda index, memory, folder: Index.open(folder / "none"),
    "folder without an index": lambda index, memory, folder: Index.open(folder),
    "document to delete": lambda index, memory, folder: index.delete(["a", "z"]),
    "document's vector": lambda index, memory, folder: index.vectors(["z"]),
    "record to update": lambda index, memory, folder: memory.update("none", ANNA, "text", vector=AXES[0]),
    "record to delete": lambda index, memory, folder: memory.delete("none", ANNA),
    "record to erase": lambda index, memory, folder: memory.erase("none", ANNA),
    "record to restore": lambda index, memory, folder: memory.restore("none", ANNA),
    "record of another scope": lambda index, memory, folder: memory.history("home", ANNA),
    "versions": lambda index, memory, folder: memory.versions("none", ANNA),
    "operation": lambda index, memory, folder: memory.undo(99, ANNA),
    "link": lambda index, memory, folder: memory.unlink("train", "related", "library", ANNA),
    "session": lambda index, memory, folder: memory.events("monday", ANNA),
    "encoder folder": lambda index, memory, folder: mlret.load_encoder(folder / "none"),
    "folder without an encoder": lambda index, memory, folder: mlret.load_encoder(folder),
    "model to trim": lambda index, memory, folder: mlret.trim_vocabulary(folder, languages=["sw"]),
    "documents": lambda index, memory, folder: read_documents(folder / "none.jsonl"),
    "training data": lambda index, memory, folder: read_ranking(folder / "none.jsonl"),
    "recipe": lambda index, memory, folder: find_recipe("none"),
}


@pytest.mark.parametrize("what", MISSING)
def test_what_does_not_exist_is_not_found(what: str, index: Index, memory: Memory, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        MISSING[what](index, memory, tmp_path)
    assert "\n" not in str(caught.value)


def _again(memory: Memory) -> object:
    memory.link("train", "related", "library", ANNA)
    return memory.link("train", "related", "library", ANNA)


TAKEN: dict[str, Callable[[Index, Memory, Path], object]] = {
    "document": lambda index, memory, folder: index.add([{"id": "a", "text": "x"}], vectors=np.eye(1, 4)),
    "document after others": lambda index, memory, folder: index.add(
        [{"id": "d", "text": "x"}, {"id": "a", "text": "x"}], vectors=np.eye(2, 4), batch_size=1
    ),
    "index": lambda index, memory, folder: Index.create(folder / "i", ENCODER),
    "other folder": lambda index, memory, folder: Index.create(_filled(folder / "other"), ENCODER),
    "record": lambda index, memory, folder: memory.add("other", ANNA, id="train", vector=AXES[3], language="en"),
    "record to import": lambda index, memory, folder: memory.import_records(list(memory.export(ANNA)), ANNA),
    "link": lambda index, memory, folder: _again(memory),
    "folder of an export": lambda index, memory, folder: mlret.export_encoder(
        "none", _filled(folder / "other"), format="colbert"
    ),
}


def _filled(folder: Path) -> Path:
    folder.mkdir()
    (folder / "file").touch()
    return folder


@pytest.mark.parametrize("what", TAKEN)
def test_what_exists_already_is_named_so(what: str, index: Index, memory: Memory, tmp_path: Path) -> None:
    with pytest.raises(AlreadyExists) as caught:
        TAKEN[what](index, memory, tmp_path)
    assert "\n" not in str(caught.value)


HOLD = """
import sys
from pathlib import Path
from mlret.index.storage.lock import WriterLock
with WriterLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("store", ["index", "memory"])
def test_a_second_writer_is_locked_out_until_the_first_ends(
    store: str, index: Index, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock.WriterLock.__init__, "__defaults__", (0.2,))
    write = (lambda: index.delete(["a"])) if store == "index" else (lambda: memory.delete("train", ANNA))
    path = (index if store == "index" else memory).path / lock.LOCK
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(Locked, match=str(holder.pid)):
        write()
    holder.communicate("")
    write()


def test_a_database_that_another_program_holds_is_locked(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlret.index.sqlite.database import reported

    other = sqlite3.connect(index.path / "records.db", timeout=0)
    other.execute("BEGIN EXCLUSIVE")
    third = sqlite3.connect(index.path / "records.db", timeout=0)
    with pytest.raises(sqlite3.OperationalError) as busy:
        third.execute("BEGIN EXCLUSIVE")
    assert type(reported(index.path / "records.db", busy.value)) is Locked
    other.close()
    third.close()


def _flip(path: Path, needle: bytes) -> None:
    """Change one byte of the first occurrence of some bytes in a file."""
    content = bytearray(path.read_bytes())
    place = content.index(needle)
    content[place] ^= 1
    path.write_bytes(content)


def test_a_flipped_byte_in_an_index_is_corrupt(index: Index) -> None:
    index.close()
    _flip(index.path / "manifest.json", b'"dims"')
    with pytest.raises(Corrupt, match=r"manifest\.json is damaged"):
        Index.open(index.path)


def test_a_flipped_byte_of_a_text_in_a_memory_is_corrupt(memory: Memory) -> None:
    memory.close()
    _flip(memory.path / "records.db", b"imechelewa")
    with pytest.raises(Corrupt, match="damaged"), Memory.open(memory.path, ENCODER) as opened:
        opened.get("train", ANNA)


def test_a_database_that_was_lost_or_cut_is_corrupt(index: Index) -> None:
    index.close()
    records = index.path / "records.db"
    kept = records.read_bytes()
    records.write_bytes(b"")
    with pytest.raises(Corrupt, match="0 bytes"):
        Index.open(index.path)
    records.unlink()
    with pytest.raises(Corrupt, match="is missing"):
        Index.open(index.path)
    records.write_bytes(kept)
    assert len(Index.open(index.path)) == 3


def test_a_compressed_file_that_was_cut_is_corrupt_input(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"id": str(number), "text": "Habari ya asubuhi."}) + "\n" for number in range(500))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode())[:-20])
    with pytest.raises(CorruptInput, match="damaged gzip file"):
        list(read_documents(tmp_path / "a.jsonl.gz"))


def test_an_encoder_without_its_weights_is_corrupt_input(tiny_encoder_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(tiny_encoder_folder, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(CorruptInput, match="has no weights"):
        mlret.load_encoder(folder)


def test_the_command_line_ends_with_the_codes_that_it_had(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """2 for what the user can correct, 1 for a failure; `main` takes the code from the error."""
    from mlret.cli import main

    def code(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["mlret", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        return int(ended.value.code or 0)

    assert code("index", "info", str(index.path / "none")) == 2
    assert code("index", "delete", str(index.path), "z") == 2
    assert code("index", "info", str(index.path)) == 0
    index.close()
    monkeypatch.setattr(lock.WriterLock.__init__, "__defaults__", (0.1,))
    with lock.WriterLock(index.path / lock.LOCK):
        assert code("index", "delete", str(index.path), "a") == 1
    (index.path / "records.db").write_bytes(b"")
    assert code("index", "info", str(index.path)) == 1
