"""Test InfoNCE against a loop in float64 that follows its definition."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.training.objectives.contrast import info_nce


def loop_reference(  # type: ignore[no-untyped-def]
    query, key, document, temperature, own_side, other_side, bank, bank_document
):
    total, right = 0.0, 0
    for i in range(len(query)):
        scores = [float(query[i] @ key[i])]
        for j in range(len(key)):
            if document[j] != document[i]:
                scores += [float(query[i] @ key[j])] * other_side + [float(query[i] @ query[j])] * own_side
        scores += [float(query[i] @ bank[m]) for m in range(len(bank)) if bank_document[m] != document[i]]
        exponents = [math.exp(score / temperature) for score in scores]
        total -= math.log(exponents[0] / sum(exponents))
        right += all(scores[0] > score for score in scores[1:])
    return total / len(query), right / len(query)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(2, 6), m=st.integers(0, 5), own_side=st.booleans(), other_side=st.booleans(),
    seed=st.integers(0, 10_000), temperature=st.sampled_from([0.05, 0.1, 1.0]),
)  # fmt: skip
def test_info_nce_equals_the_loop(
    n: int, m: int, own_side: bool, other_side: bool, seed: int, temperature: float
) -> None:
    torch.manual_seed(seed)
    unit = torch.nn.functional.normalize
    query, key, bank = (unit(torch.randn(rows, 4, dtype=torch.float64), dim=1) for rows in (n, n, m))
    document, bank_document = torch.randint(0, 4, (n,)), torch.randint(0, 4, (m,))
    loss, accuracy = info_nce(
        query,
        key,
        document,
        temperature=temperature,
        own_side=own_side,
        other_side=other_side,
        bank=bank,
        bank_document=bank_document,
    )
    expected, right = loop_reference(query, key, document, temperature, own_side, other_side, bank, bank_document)
    assert float(loss) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert float(accuracy) == pytest.approx(right)


def test_scores_are_float32_under_autocast() -> None:
    torch.manual_seed(0)
    query, key = (torch.nn.functional.normalize(torch.randn(8, 16), dim=1) for _ in range(2))
    document = torch.arange(8)
    plain, _ = info_nce(query, key, document, temperature=0.05, own_side=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed, _ = info_nce(query.bfloat16().float(), key, document, temperature=0.05, own_side=True)
        again, _ = info_nce(query, key, document, temperature=0.05, own_side=True)
    assert torch.equal(again, plain)
    assert not torch.equal(mixed, plain)


def test_a_collapsed_encoder_is_never_right() -> None:
    query = torch.ones(4, 8) / 8**0.5
    _, accuracy = info_nce(query, query, torch.arange(4), temperature=0.1, own_side=True)
    assert float(accuracy) == 0.0


def test_rows_of_one_document_do_not_push_each_other_away() -> None:
    query = torch.nn.functional.normalize(torch.randn(4, 8), dim=1).requires_grad_()
    loss, accuracy = info_nce(query, query, torch.zeros(4, dtype=torch.int64), temperature=0.1, own_side=True)
    assert float(loss) == pytest.approx(0.0, abs=1e-6)
    assert float(accuracy) == 1.0
