"""Test reading rows of a mapped table: the same rows, without loading the table into memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from mlret.vocabulary.paging import rows_of


@given(
    st.lists(st.integers(0, 499), unique=True, min_size=1, max_size=300).map(sorted),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_the_rows_asked_for_and_the_table_as_it_was(kept: list[int], dtype: torch.dtype, flat: bool) -> None:
    table = torch.arange(500 * 40).to(dtype) if flat else torch.arange(500 * 40).view(500, 40).to(dtype)
    before = table.clone()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlret.vocabulary.paging._PIECE_ROWS", 7)
        found = rows_of(table, torch.tensor(kept), sole=True)
    assert torch.equal(found, before[torch.tensor(kept)])
    assert torch.equal(table, before)


_READ = """
import sys, torch
from safetensors.torch import load_file
from mlret.vocabulary.paging import rows_of
table = load_file(sys.argv[1])["table"]
kept = torch.arange(0, len(table), 4)
peak = lambda: next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
rows = rows_of(table, kept, sole=sys.argv[2] == "sole")
print((peak() - before) * 1024, float(rows.sum()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not let pages go")
def test_a_mapped_table_is_never_completely_in_memory(tmp_path: Path) -> None:
    rows, width = 80_000, 256
    save_file({"table": torch.ones(rows, width)}, tmp_path / "table.safetensors")
    assert load_file(tmp_path / "table.safetensors")["table"].shape == (rows, width)
    peaks = {}
    for how in ("sole", "shared"):
        command = [sys.executable, "-c", _READ, str(tmp_path / "table.safetensors"), how]
        peak, total = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert float(total) == rows / 4 * width
        peaks[how] = int(peak)
    # A quarter of the rows is copied in either case.
    assert peaks["shared"] > rows * width * 4
    assert peaks["sole"] < rows * width * 4 * 0.7
