"""Test folders in practice: read-only, moved while open, with files of other users, or unreachable."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlret.cli.main import app
from mlret.errors import Corrupt, InputError, MlretError
from mlret.index.index import Index
from mlret.index.sqlite import database
from mlret.index.verify import verify_index
from mlret.memory.maintenance.upkeep import verify as verify_memory
from mlret.memory.memory import Memory
from tests.index.damaging import all_answers, store
from tests.index.made import SIMILARITIES, encoder, settings, vector_of
from tests.index.old.write_folders import memory_answers
from tests.index.test_manifest import Replayed
from tests.index.test_migration import ANSWERS, answers_as_json, unpacked, version
from tests.memory.made import add, open_memory

NOBODY = 65534


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a folder that every user can enter, unlike those of pytest."""
    found = Path(tempfile.mkdtemp())
    found.chmod(0o755)
    yield found
    subprocess.run(["chmod", "-R", "u+rwX", str(found)], check=True)
    shutil.rmtree(found)


@contextmanager
def reading_only(folder: Path) -> Iterator[None]:
    """Make a folder read-only, and change to an unprivileged user if the tests run as root, who can always write."""
    paths = [folder, *folder.rglob("*")]
    before = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for path, mode in before.items():
            if path.exists():
                path.chmod(mode)


def made(folder: Path, similarity: str = "cosine") -> Path:
    with Index.create(folder, encoder(similarity), settings=settings(similarity)) as index:  # type: ignore[arg-type]
        store(index, 0, 40)
        index.compact()
        store(index, 40, 50)
        index.delete(["doc-3"])
    return folder


def state(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_read_only_index_is_searched_and_not_written(place: Path, similarity: str) -> None:
    folder = made(place / "i", similarity)
    right, before = all_answers(folder), state(folder)
    verify_index(folder)
    with reading_only(folder):
        assert all_answers(folder) == right
        assert verify_index(folder) == []
        with Index.open(folder) as index:
            only = re.escape(f"{folder} may only be read by this user (i is not writable)")
            for write in (lambda: index.delete(["doc-1"]), index.compact, lambda: store(index, 90, 91)):
                with pytest.raises(MlretError, match=only):
                    write()
            index.refresh()
            assert len(index) == right["count"]
            assert index.info().documents == right["count"]
    after = state(folder)
    assert {name: after[name] for name in before} == before
    with Index.open(folder) as index:
        store(index, 50, 51)


def test_read_only_index_is_searched_while_its_owner_writes(place: Path) -> None:
    folder = made(place / "i")
    with Index.open(folder) as owner:
        store(owner, 50, 55)  # only in the log
        with reading_only(folder), Index.open(folder) as reader:
            assert len(reader) == len(owner) and reader.get("doc-54") is not None
            with pytest.raises(MlretError, match="may only be read"):
                reader.delete(["doc-1"])
        with Index.open(folder) as reader:
            store(owner, 55, 60)
            assert reader.get("doc-59") is None
            reader.refresh()
            assert reader.get("doc-59") is not None


def test_reader_of_a_file_that_was_not_open_sees_later_writes(place: Path) -> None:
    folder = made(place / "i")
    with reading_only(folder):
        reader = Index.open(folder)
    with Index.open(folder) as owner:
        store(owner, 50, 60)
    with reading_only(folder):
        reader.refresh()
        assert len(reader) == 59 and reader.get("doc-59") is not None
        reader.close()


def test_log_without_shared_memory_is_read_from_a_copy(place: Path) -> None:
    made(place / "i")
    folder = place / "copy"
    with Index.open(place / "i") as owner:
        store(owner, 50, 55)
        shutil.copytree(place / "i", folder)
    (folder / "records.db-shm").unlink()
    assert (folder / "records.db-wal").stat().st_size
    temporary = set(Path(tempfile.gettempdir()).glob("mlret-*"))
    with reading_only(folder), Index.open(folder) as reader:
        assert len(reader) == 54 and reader.get("doc-54") is not None
        assert reader.store.records._database.temporary is not None
    assert set(Path(tempfile.gettempdir()).glob("mlret-*")) == temporary


def test_read_only_old_index_gives_the_same_answers(place: Path) -> None:
    folder = unpacked("index-cosine", place)
    before = state(folder)
    with reading_only(folder), Index.open(folder, encoder()) as index:
        assert answers_as_json(index, "cosine") == ANSWERS["index-cosine"]
        with pytest.raises(MlretError, match="may only be read"):
            index.delete(["doc-1"])
    assert state(folder) == before and version(folder) == (2, 2)


def test_read_only_memory_is_searched(place: Path) -> None:
    folder = place / "m"
    with open_memory(folder) as memory:
        for number in range(8):
            add(memory, f"note {number}", {"user": "u"})
        (best, *_) = memory.search("note 3", {"user": "u"}, k=3, vector=vector_of("note 3"))
    with reading_only(folder), open_memory(folder) as memory:
        hits = memory.search("note 3", {"user": "u"}, k=3, vector=vector_of("note 3"))
        assert hits[0].id == best.id and len(memory.list({"user": "u"})) == 8
        for write in (
            lambda: add(memory, "another", {"user": "u"}),
            lambda: memory.delete(best.id, {"user": "u"}),
            lambda: memory.erase([best.id], {"user": "u"}),
        ):
            with pytest.raises(MlretError, match="may only be read"):
                write()
        assert verify_memory(folder) == []


def test_verify_reports_damage_in_a_read_only_folder(place: Path) -> None:
    folder = made(place / "i")
    (folder / "manifest.json").write_bytes(b"{}")
    with reading_only(folder):
        assert [problem.repaired for problem in verify_index(folder)] == [False]
        with pytest.raises(MlretError, match=r"may not be written to \(writer|writer\.lock belongs to another"):
            verify_index(folder, repair=True)


def test_unreadable_folder_is_named(place: Path) -> None:
    folder = made(place / "i")
    with reading_only(folder):
        folder_mode = folder.stat().st_mode
        if os.geteuid() == NOBODY:
            os.seteuid(0)
        folder.chmod(0)
        if os.getuid() == 0:
            os.seteuid(NOBODY)
        for open_it in (Index.open, verify_index, lambda path: Memory.open(path, encoder())):
            with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
                open_it(folder)
        if os.getuid() == 0:
            os.seteuid(0)
        folder.chmod(folder_mode)
        if os.getuid() == 0:
            os.seteuid(NOBODY)


def test_lock_of_another_user_is_named_and_does_not_keep_from_reading(place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs a file of another user")
    folder = made(place / "i")
    subprocess.run(["chown", "-R", str(NOBODY), str(folder)], check=True)
    os.chown(folder / "writer.lock", 0, 0)
    (folder / "writer.lock").chmod(0o644)
    os.seteuid(NOBODY)
    try:
        with Index.open(folder) as index:
            assert len(index) == 49
            with pytest.raises(MlretError, match=r"writer\.lock belongs to another user .* remove it while"):
                index.delete(["doc-1"])
            (folder / "writer.lock").unlink()
            assert index.delete(["doc-1"]) == 1
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("there", ["moved", "removed", "replaced"])
def test_folder_that_moves_while_it_is_open_is_named_and_nothing_is_written_elsewhere(
    tmp_path: Path, there: str
) -> None:
    folder = made(tmp_path / "i")
    with Index.open(folder) as index:
        right = [hit.id for hit in index.search_vectors(vector_of("query")[None], 5)[0]]
        folder.rename(tmp_path / "moved")
        if there == "removed":
            shutil.rmtree(tmp_path / "moved")
        if there == "replaced":
            made(folder)
        before = state(folder) if folder.exists() else {}
        gone = rf"{re.escape(str(folder))} (is gone: it was moved or removed|was moved, removed or replaced)"
        for act in (index.refresh, lambda: index.delete(["doc-1"]), lambda: store(index, 90, 91), index.compact):
            with pytest.raises(MlretError, match=gone):
                act()
        if there != "removed":
            assert [hit.id for hit in index.search_vectors(vector_of("query")[None], 5)[0]] == right
        assert (state(folder) if folder.exists() else {}) == before
    if there == "moved":
        assert verify_index(tmp_path / "moved") == []


def test_what_is_missing_from_a_folder_is_named(tmp_path: Path) -> None:
    folder = made(tmp_path / "i")
    database_file, content = folder / "records.db", (folder / "records.db").read_bytes()
    database_file.write_bytes(b"")
    for act in (lambda: Index.open(folder), lambda: verify_index(folder), lambda: verify_index(folder, repair=True)):
        with pytest.raises(MlretError, match=r"records\.db is damaged \(0 bytes.*restore the folder from a copy"):
            act()
    database_file.unlink()
    for act in (lambda: Index.open(folder), lambda: verify_index(folder), lambda: verify_index(folder, repair=True)):
        with pytest.raises(MlretError, match=r"records\.db is missing; restore"):
            act()
    database_file.mkdir()
    with pytest.raises(MlretError, match=r"records\.db is missing"):
        Index.open(folder)
    database_file.rmdir()
    database_file.write_bytes(content)
    right = all_answers(folder)
    shutil.rmtree(folder / "vectors")
    with pytest.raises(Corrupt, match=r"npy is missing; 39 vectors of it are lost, and mlret does not run 'external:"):
        Index.open(folder)
    assert all(problem.repaired for problem in verify_index(folder, Replayed("test", 8, "cosine"), repair=True))
    assert all_answers(folder) == right and len(right["documents"]) == 49
    (tmp_path / "file").write_text("text")
    for act in (Index.open, verify_index, lambda path: Memory.open(path, encoder())):
        with pytest.raises(InputError, match=r"file (is a file|already exists)"):
            act(tmp_path / "file")


def test_disk_without_room_for_a_copy_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = unpacked("index-cosine", place)
    full = place / "full"
    full.mkdir()
    monkeypatch.setattr(database.tempfile, "mkdtemp", lambda prefix: str(full / "missing"))
    with reading_only(folder), pytest.raises(MlretError, match=r"temporary copy of it in .*full failed .*set TMPDIR"):
        Index.open(folder, encoder())


def test_read_only_old_memory_gives_the_same_answers(place: Path) -> None:
    folder = unpacked("memory", place)
    with open_memory(Path(shutil.copytree(folder, place / "warm"))) as memory:
        memory_answers(memory)
    before = state(folder)
    with reading_only(folder), open_memory(folder) as memory:
        assert json.loads(json.dumps(memory_answers(memory))) == ANSWERS["memory"]
    assert state(folder) == before


def test_command_line_reads_a_read_only_folder(place: Path) -> None:
    folder = str(made(place / "i"))
    for command in ("info", "verify"):  # as root, who can read the modules that are imported later
        assert CliRunner().invoke(app, ["index", command, folder]).exit_code == 0
    with reading_only(place / "i"):
        found = CliRunner().invoke(app, ["index", "info", folder, "--json"])
        assert found.exit_code == 0 and json.loads(found.stdout)["documents"] == 49
        found = CliRunner().invoke(app, ["index", "verify", folder])
        assert (found.exit_code, found.stdout) == (0, f"{folder} is intact\n")
        refused = CliRunner().invoke(app, ["index", "delete", folder, "doc-1"])
        assert "may only be read by this user" in str(refused.exception)
