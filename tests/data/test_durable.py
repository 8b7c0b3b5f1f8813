"""Test atomic writes and the writer's lock."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlret.data.durable import write_atomically
from mlret.errors import MlretError
from mlret.index.storage.lock import WriterLock


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_atomically(path, lambda temporary: temporary.write_text("old") and None)

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_error_of_a_second_writer_names_the_first(tmp_path: Path) -> None:
    with (
        WriterLock(tmp_path / "lock"),
        pytest.raises(MlretError, match=r'being written by another process \({"pid": \d+'),
        WriterLock(tmp_path / "lock", timeout=0.05),
    ):
        pass
    with WriterLock(tmp_path / "lock", timeout=0.05):
        pass
