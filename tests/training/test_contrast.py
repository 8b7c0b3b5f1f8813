"""InfoNCE against a loop in float64 that reads like its definition."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.training.contrast import info_nce


def loop_reference(query, key, document, temperature, own_side, bank, bank_document):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(len(query)):
        denominator = 0.0
        for j in range(len(key)):
            if j == i or document[j] != document[i]:
                denominator += math.exp(float(query[i] @ key[j]) / temperature)
            if own_side and document[j] != document[i]:
                denominator += math.exp(float(query[i] @ query[j]) / temperature)
        for m in range(len(bank)):
            if bank_document[m] != document[i]:
                denominator += math.exp(float(query[i] @ bank[m]) / temperature)
        total -= math.log(math.exp(float(query[i] @ key[i]) / temperature) / denominator)
    return total / len(query)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 6), m=st.integers(0, 5), own_side=st.booleans(), seed=st.integers(0, 10_000),
    temperature=st.sampled_from([0.05, 0.1, 1.0]),
)  # fmt: skip
def test_info_nce_equals_the_loop(n: int, m: int, own_side: bool, seed: int, temperature: float) -> None:
    torch.manual_seed(seed)
    unit = torch.nn.functional.normalize
    query, key, bank = (unit(torch.randn(rows, 4, dtype=torch.float64), dim=1) for rows in (n, n, m))
    document, bank_document = torch.randint(0, 4, (n,)), torch.randint(0, 4, (m,))
    loss, _ = info_nce(
        query,
        key,
        document,
        temperature=temperature,
        own_side=own_side,
        bank=bank,
        bank_document=bank_document,
    )
    expected = loop_reference(query, key, document, temperature, own_side, bank, bank_document)
    assert float(loss) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_rows_of_one_document_do_not_push_each_other_away() -> None:
    query = torch.nn.functional.normalize(torch.randn(4, 8), dim=1).requires_grad_()
    loss, accuracy = info_nce(query, query, torch.zeros(4, dtype=torch.int64), temperature=0.1, own_side=True)
    assert float(loss) == pytest.approx(0.0, abs=1e-6)
    assert float(accuracy) == 1.0
