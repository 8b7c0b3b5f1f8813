"""kill -9 while documents are added: what was acknowledged stays, and nothing is there twice."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlret.encoders.encoder import Encoder
from mlret.errors import InputError
from mlret.index.build import build_index, extend_index
from mlret.index.index import Index
from mlret.index.manifest import Manifest
from mlret.index.store import Store

# The store without the encoder: it starts quickly, so that it can be killed at many moments.
_STORE_WRITER = """
import sys
from pathlib import Path
import numpy as np
from mlret.data.documents import Document
from mlret.index import store
store.SEGMENT_ROWS = 40
opened = store.Store(Path(sys.argv[1]))
number = len(opened)
while True:
    documents = [Document(f"n{number + i}", f"text {number + i}") for i in range(8)]
    vectors = np.zeros((8, 16), dtype=np.float32)
    vectors[np.arange(8), (number + np.arange(8)) % 16] = 1
    with opened.writing():
        opened.append(documents, vectors)
    number += 8
    print(number, flush=True)
"""

_INDEX_WRITER = """
import sys
from mlret.encoders.encoder import load_encoder
from mlret.index.index import Index
index = Index.open(sys.argv[1], load_encoder(sys.argv[2], device="cpu"))
stored = 0
endless = ({"id": f"n{i}", "text": f"cat {i}"} for i in range(10**9))
for count in index.add_batches(endless, batch_size=16):
    stored += count
    print(stored, flush=True)
"""


_BUILDER = """
import sys
from mlret.encoders.encoder import load_encoder
from mlret.index.build import build_index
encoder = load_encoder(sys.argv[3], device="cpu")
build_index(sys.argv[1], [sys.argv[2]], encoder, batch_size=2, progress=lambda n: print(n, flush=True))
"""


def kill_after(lines: int, script: str, *arguments: str) -> int:
    """Run a writer, kill it after it has acknowledged so many batches; the last number it printed."""
    process = subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged = 0
    for _ in range(lines):
        acknowledged = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    return int(rest[-1]) if rest else acknowledged


def check(folder: Path, acknowledged: int) -> int:
    store = Store(folder)
    count = len(store)
    assert count >= acknowledged
    rows = np.concatenate([segment.rows for segment in store.all_segments])
    assert len(set(rows.tolist())) == count
    documents = store.records.fetch(rows.tolist())
    assert sorted(documents[row].id for row in rows) == sorted(f"n{i}" for i in range(count))
    # The vector of a record is its own.
    for segment in store.all_segments:
        for row, vector in zip(segment.rows, segment.matrix, strict=True):
            assert vector[int(documents[int(row)].id[1:]) % 16] == 1
    store.close()
    connection = sqlite3.connect(folder / "records.db")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    return count


def test_killed_writer_loses_nothing_acknowledged(tmp_path: Path) -> None:
    folder = tmp_path / "i"
    Store.create(folder, Manifest(encoder="none", fingerprint="0", dims=16))
    count = 0
    for lines in (1, 4, 5, 7, 10):  # the fifth batch seals a segment
        acknowledged = kill_after(lines, _STORE_WRITER, str(folder))
        assert acknowledged >= count + 8 * lines
        count = check(folder, acknowledged)


@pytest.mark.timeout(60)
def test_index_killed_while_adding_goes_on_where_it_stopped(
    tmp_path: Path, tiny_encoder: Encoder, tiny_encoder_folder: Path
) -> None:
    folder = tmp_path / "i"
    Index.create(folder, tiny_encoder).close()
    acknowledged = kill_after(3, _INDEX_WRITER, str(folder), str(tiny_encoder_folder))
    with Index.open(folder, tiny_encoder) as index:
        count = len(index)
        assert count >= acknowledged >= 48 and count % 16 == 0
        assert sorted(hit.id for hit in index.search("cat", count + 1)) == sorted(f"n{i}" for i in range(count))
        more = [{"id": f"n{i}", "text": f"cat {i}"} for i in range(count + 5)]
        assert index.add(more, skip_existing=True) == 5


@pytest.mark.timeout(60)
def test_killed_build_says_how_to_go_on(tmp_path: Path, tiny_encoder: Encoder, tiny_encoder_folder: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps({"id": f"n{i}", "text": f"cat {i}"}) + "\n" for i in range(600)))
    folder, building = tmp_path / "i", tmp_path / ".i.building"
    acknowledged = kill_after(3, _BUILDER, str(folder), str(file), str(tiny_encoder_folder))
    assert not folder.exists()
    with pytest.raises(InputError, match=f"mv {building} {folder}; then mlret index add {folder} FILES"):
        build_index(folder, [file], tiny_encoder)
    building.rename(folder)
    with Index.open(folder, tiny_encoder) as index:
        stored = len(index)
    assert 6 <= acknowledged <= stored < 600
    report = extend_index(folder, [file], tiny_encoder, skip_existing=True)
    assert (report.added, report.index.documents) == (600 - stored, 600)
