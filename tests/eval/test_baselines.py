from __future__ import annotations

import numpy as np

from mlret.eval.baselines import CharacterNGrams, RandomVectors
from mlret.eval.matching import hits_of_aligned, similarities


def test_random_vectors_are_unit_and_the_same_for_the_same_text() -> None:
    floor = RandomVectors(dims=16)
    vectors = floor.encode(["a", "b", "a"], language="en", show_progress=True)
    assert vectors.shape == (3, 16)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert (vectors[0] == vectors[2]).all()
    assert (vectors == RandomVectors(dims=16).encode(["a", "b", "a"])).all()
    assert (vectors[0] != vectors[1]).all()
    assert (vectors != RandomVectors(dims=16, seed=1).encode(["a", "b", "a"])).any()


def test_random_vectors_retrieve_by_chance() -> None:
    floor = RandomVectors()
    one, other = ([f"{side} {i}" for i in range(400)] for side in "xy")
    assert hits_of_aligned(similarities(floor.encode(one), floor.encode(other))).mean() < 0.02


def test_character_ngrams_find_shared_spelling_and_ignore_case() -> None:
    floor = CharacterNGrams()
    vectors = floor.encode(["Internationale Konferenz in Genf", "international CONFERENCE in Geneva", "ночь", "NIGHT"])
    assert vectors.shape == (4, floor.dims)
    assert vectors.dtype == np.float32
    similarity = (vectors @ vectors.T).toarray()
    np.testing.assert_allclose(similarity.diagonal(), 1, atol=1e-6)
    assert similarity[0, 1] > 0.4
    assert abs(similarity[2, 3]) < 0.05
    assert (floor.encode(["night"]) @ vectors[3].T).toarray()[0, 0] > 0.99


def test_baselines_need_no_texts() -> None:
    assert RandomVectors(dims=8).encode([]).shape == (0, 8)
    assert CharacterNGrams(dims=64).encode([]).shape == (0, 64)
