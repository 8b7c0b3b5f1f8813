"""Test the memory bank against a deque."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlret.training.objectives.bank import MemoryBank


@given(
    size=st.integers(1, 7),
    pushes=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 10)), max_size=12),
)
def test_bank_keeps_the_latest_rows_of_each_language(size: int, pushes: list[tuple[int, int]]) -> None:
    bank = MemoryBank(3, size, 2)
    expected: list[deque[int]] = [deque(maxlen=size) for _ in range(3)]
    serial = 0
    for language, count in pushes:
        ids = torch.arange(serial, serial + count)
        serial += count
        bank.push(language, torch.stack([ids, -ids], dim=1).float(), ids)
        expected[language].extend(ids.tolist())
    for language in range(3):
        vectors, documents = bank.rows(language)
        assert sorted(documents.tolist()) == sorted(expected[language])
        assert torch.equal(vectors, torch.stack([documents, -documents], dim=1).float())


def test_unfilled_rows_are_not_given_out() -> None:
    bank = MemoryBank(1, 5, 2)
    assert len(bank.rows(0)[0]) == 0
    bank.push(0, torch.ones(2, 2), torch.tensor([7, 8]))
    assert bank.rows(0)[1].tolist() == [7, 8]


def test_rows_survive_the_next_push() -> None:
    bank = MemoryBank(1, 2, 1)
    bank.push(0, torch.tensor([[1.0], [2.0]]), torch.tensor([1, 2]))
    vectors, _ = bank.rows(0)
    bank.push(0, torch.tensor([[3.0], [4.0]]), torch.tensor([3, 4]))
    assert vectors.flatten().tolist() == [1.0, 2.0]


def test_a_bank_of_size_zero_is_always_empty() -> None:
    bank = MemoryBank(2, 0, 4)
    bank.push(1, torch.ones(3, 4), torch.arange(3))
    assert len(bank.rows(1)[0]) == 0


def test_ages_count_steps_since_each_push() -> None:
    bank = MemoryBank(2, 4, 2)
    assert bank.age(0, 9) == 0.0
    bank.push(0, torch.ones(2, 2), torch.tensor([1, 2]), step=3)
    bank.push(0, torch.ones(1, 2), torch.tensor([3]), step=7)
    assert bank.age(0, 9) == pytest.approx((6 + 6 + 2) / 3)
    assert bank.age(1, 9) == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_vectors_are_stored_in_the_dtype_that_was_asked_for(dtype: torch.dtype) -> None:
    bank = MemoryBank(1, 4, 8, dtype=dtype)
    vectors = torch.nn.functional.normalize(torch.randn(3, 8), dim=1)
    bank.push(0, vectors, torch.arange(3))
    stored, _ = bank.rows(0)
    assert stored.dtype == dtype
    torch.testing.assert_close(stored.float(), vectors, atol=5e-3, rtol=0)


@pytest.mark.parametrize(("dtype", "gigabytes"), [(torch.float32, 1.37), (torch.float16, 0.69)])
def test_memory_use_is_what_the_docstring_states(dtype: torch.dtype, gigabytes: float) -> None:
    with torch.device("meta"):
        bank = MemoryBank(108, 4096, 768, dtype=dtype)
    assert bank.nbytes == 108 * 4096 * (dtype.itemsize * 768 + 16) + 108 * 8
    assert round(bank.nbytes / 1e9, 2) == gigabytes
    assert f"{gigabytes:.2f} GB" in (MemoryBank.__doc__ or "")
