"""Test tokens on a device against the exact scores; the kernel itself with triton's interpreter."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from numpy.typing import NDArray

from mlret.errors import InputError
from mlret.index.tokens.codec import TokenCodec
from mlret.index.tokens.device import DeviceTokens, device_tokens
from mlret.index.tokens.maxsim import compare_on_device, search_tokens
from mlret.index.tokens.stored_tokens import CodedTokens, StoredTokens, TokenQuery, WholeTokens
from mlret.index.tokens.token_segments import TokenSegment, packed
from mlret.index.vectors.ragged import Ragged, offsets_of
from mlret.index.vectors.space import View


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32)


def made(bits: int, documents: int = 40, dims: int = 128) -> tuple[StoredTokens, list[NDArray[np.float32]]]:
    """Make documents, some empty or longer than the kernel's block, and queries, one longer than its lanes."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 90, documents)
    lengths[3] = 0
    tokens = unit(rng.standard_normal((lengths.sum(), dims)) + 0.3)
    whole = Ragged(tokens.astype(np.float16), offsets_of(lengths))
    queries = [unit(rng.standard_normal((count, dims))) for count in (5, 32, 40)]
    if bits == 16:
        return WholeTokens(whole), queries
    codec = TokenCodec.train(tokens, bits, centroids=64)  # type: ignore[arg-type]
    return CodedTokens(codec, packed(codec, whole)), queries


def expected(stored: StoredTokens, queries: list[NDArray[np.float32]]) -> NDArray[np.float64]:
    codec = stored.codec if isinstance(stored, CodedTokens) else None
    return np.stack([stored.score(TokenQuery.of(query, codec), np.arange(len(stored))) for query in queries])


def check(bits: int, device: str, fused: bool) -> None:
    stored, queries = made(bits)
    on_device = DeviceTokens(stored, device, fused=fused)
    assert np.allclose(on_device.scores(queries).cpu().numpy(), expected(stored, queries), atol=2e-3)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_all_documents_get_their_score(bits: int) -> None:
    check(bits, "cpu", fused=False)


def test_the_best_of_what_is_visible_come_back() -> None:
    stored, queries = made(4)
    truth = expected(stored, queries)
    segment = TokenSegment(np.arange(1, 41), stored)
    segment.device = DeviceTokens(stored, "cpu")
    visible = np.arange(0, 40, 3)
    assert isinstance(stored, CodedTokens)
    compared = compare_on_device(View(segment, visible), queries, 4)
    for query, ranked, scores in zip(queries, compared, truth, strict=True):
        best, rows = search_tokens([], TokenQuery.of(query, stored.codec), 4, ranked=[ranked])
        order = visible[np.argsort(-scores[visible], kind="stable")][:4]
        assert rows[:4].tolist() == (order + 1).tolist() and np.allclose(best[:4], scores[order], atol=1e-3)


def test_a_missing_gpu_is_named() -> None:
    stored, _ = made(4)
    assert device_tokens(stored, "cpu") is None and device_tokens(stored, "auto") is None
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="torch sees no GPU"):
            device_tokens(stored, "cuda")


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.parametrize("bits", [1, 4, 16])
def test_the_kernel_computes_what_it_should(bits: int) -> None:
    code = (
        "import os; os.environ['TRITON_INTERPRET'] = '1'\n"
        f"from tests.index.tokens.test_device import check\ncheck({bits}, 'cpu', fused=True)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=250)


@pytest.mark.gpu
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_on_a_gpu_kernel_and_torch_agree(bits: int) -> None:
    for fused in (True, False):
        check(bits, "cuda", fused=fused)


@pytest.mark.gpu
def test_what_does_not_fit_is_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlret.index.tokens import device

    monkeypatch.setattr(device, "_PART", 0.0)
    monkeypatch.setattr(device, "_CHUNK_BYTES", 20_000)
    stored, queries = made(4)
    on_device = DeviceTokens(stored)
    assert not on_device.resident
    assert np.allclose(on_device.scores(queries).cpu().numpy(), expected(stored, queries), atol=2e-3)
