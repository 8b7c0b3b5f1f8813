"""Test the index behind mteb against what mteb computes itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlret.errors import InputError
from mlret.index.settings import IndexSettings
from mlret.integrations.mteb import MtebIndex

RNG = np.random.default_rng(0)


def unit(shape: tuple[int, ...]) -> np.ndarray:  # type: ignore[type-arg]
    vectors = RNG.standard_normal(shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_single_vectors_are_ranked_by_cosine(tmp_path: Path) -> None:
    documents, queries = unit((40, 16)), unit((3, 16))
    index = MtebIndex(tmp_path / "i")
    index.add_documents(documents[:25], [f"d{n}" for n in range(25)])
    index.add_documents(documents[25:], [f"d{n}" for n in range(25, 40)])
    scores, positions = index.search(queries, 7)
    cosines = queries @ documents.T
    assert positions == np.argsort(-cosines, axis=1)[:, :7].tolist()
    assert np.allclose(scores, -np.sort(-cosines, axis=1)[:, :7], atol=1e-5)
    index.clear()
    with pytest.raises(InputError, match="nothing was added"):
        index.search(queries, 3)


@pytest.mark.parametrize("padded", [False, True])
def test_tokens_are_ranked_by_maxsim_and_padding_never_counts(padded: bool) -> None:
    torch = pytest.importorskip("torch")
    lengths = RNG.integers(2, 9, 30)
    documents = [-np.abs(unit((length, 16))) for length in lengths]  # every product with the query is negative
    query = np.abs(unit((4, 16)))
    expected = np.array([(query @ tokens.T).max(axis=1).sum() for tokens in documents])
    given = [torch.from_numpy(tokens) for tokens in documents]
    # Codes would round more: so few tokens have none, unless another test of this process lets fewer be coded.
    index = MtebIndex(settings=IndexSettings(bits=16))
    index.add_documents(
        torch.nn.utils.rnn.pad_sequence(given, batch_first=True) if padded else given,
        list("abcdefghijklmnopqrstuvwxyzABCD"),
    )
    scores, positions = index.search([query], 30)
    # The index rounds tokens to 16 bits, which may exchange documents with nearly the same score.
    assert sorted(positions[0]) == list(range(30))
    assert np.allclose(expected[positions[0]], -np.sort(-expected), atol=2e-3)
    assert np.allclose(scores[0], -np.sort(-expected), atol=2e-3)
    few = index.search([query], 5, top_ranked={"q": ["c", "B"]}, query_idx_to_id={0: "q"})[1][0]
    assert sorted(few) == [2, 27]
    with pytest.raises(InputError, match="give query_idx_to_id"):
        index.search([query], 5, top_ranked={"q": ["c"]})
    index.clear()


def test_it_is_what_mteb_asks_for() -> None:
    mteb = pytest.importorskip("mteb")
    asked = {name for name in vars(mteb.IndexEncoderSearchProtocol) if not name.startswith("_")}
    assert asked and all(callable(getattr(MtebIndex, name)) for name in asked)
