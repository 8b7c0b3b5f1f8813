"""Test given vectors: each belongs to its own text, keeps its direction, or is refused before anything is stored."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from mlret.data.corpus import Corpus
from mlret.data.documents import Document
from mlret.encoders.encoder import Encoder
from mlret.encoders.external import ExternalEncoder
from mlret.errors import InputError
from mlret.index.build import build_index, extend_index
from mlret.index.index import Index
from mlret.index.settings import IndexSettings
from mlret.index.vectors import pairing
from mlret.index.vectors.cosine import at_unit_length
from mlret.index.vectors.ragged import Ragged
from mlret.memory.memory import Memory
from tests.index.made import DIMS, encoder, tokens_of, vector_of, vectors_of
from tests.memory.made import open_memory

UNIT = np.eye(DIMS, dtype=np.float32)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.create(tmp_path / "i", encoder()) as made:
        yield made


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[Index]:
    with Index.create(tmp_path / "t", encoder("maxsim")) as made:
        yield made


def named(ids: str) -> list[Document]:
    """Return documents whose text states which one of its id it is: a1, a2, b1 …"""
    return [Document(id, f"{id}{ids[: place + 1].count(id)}", "en") for place, id in enumerate(ids)]


def rounded(vector: Any) -> list[float]:
    """Return the tokens as they are stored."""
    values: list[float] = np.asarray(vector, dtype=np.float16).ravel().tolist()
    return values


def stored(index: Index) -> dict[str, tuple[str, list[float]]]:
    """Return the text and the rounded vector of each id."""
    documents = list(index.documents())
    vectors: Any = index.vectors([document.id for document in documents])
    return {document.id: (document.text, rounded(vector)) for document, vector in zip(documents, vectors, strict=True)}


def reference(documents: list[Document], vectors: Any, *, replace: bool) -> dict[str, tuple[str, list[float]]]:
    """Return the result of applying one change after another to a dict."""
    found: dict[str, tuple[str, list[float]]] = {}
    for document, vector in zip(documents, vectors, strict=True):
        if replace or document.id not in found:
            found[document.id] = (document.text, rounded(vector))
    return found


@settings(max_examples=30, deadline=None)
@given(
    ids=st.text("abcde", min_size=1, max_size=12),
    before=st.sets(st.sampled_from("abxy")),
    size=st.integers(1, 5),
    replace=st.booleans(),
    stream=st.booleans(),
    many=st.booleans(),
)
def test_each_text_keeps_its_own_vector(
    tmp_path_factory: pytest.TempPathFactory,
    ids: str,
    before: set[str],
    size: int,
    replace: bool,
    stream: bool,
    many: bool,
) -> None:
    similarity: Any = "maxsim" if many else "cosine"
    earlier = [Document(id, f"{id}0", "en") for id in sorted(before)]
    documents = named(ids)
    with Index.create(tmp_path_factory.mktemp("i") / "i", encoder(similarity)) as index:
        index.add(earlier, vectors=vectors_of([d.text for d in earlier], similarity) if earlier else [])
        vectors = vectors_of([document.text for document in documents], similarity)
        given: Any = (document for document in documents) if stream else documents
        if replace:
            index.update(given, vectors=vectors, batch_size=size)
        else:
            index.add(given, vectors=vectors, batch_size=size, skip_existing=True)
        every = [*earlier, *documents]
        expected = reference(every, vectors_of([d.text for d in every], similarity), replace=replace)
        assert stored(index) == expected


@pytest.mark.parametrize("many", [False, True])
def test_files_with_repeated_ids_keep_texts_and_vectors_together(tmp_path: Path, many: bool) -> None:
    similarity: Any = "maxsim" if many else "cosine"
    file, documents = tmp_path / "d.jsonl", named("aab")
    file.write_text("".join(json.dumps({"id": d.id, "text": d.text, "lang": "en"}) + "\n" for d in documents))
    Index.create(tmp_path / "i", encoder(similarity)).close()
    vectors = vectors_of([document.text for document in documents], similarity)
    extend_index(tmp_path / "i", [file], encoder(similarity), vectors=vectors, existing="skip")
    with Index.open(tmp_path / "i", encoder(similarity)) as index:
        assert stored(index) == reference(documents, vectors, replace=False)


class KilledError(Exception):
    """Raised in place of a kill between two batches."""


def test_resumed_build_keeps_texts_and_vectors_together(tmp_path: Path) -> None:
    file, documents = tmp_path / "d.jsonl", named("abcde")
    file.write_text("".join(json.dumps({"id": d.id, "text": d.text, "lang": "en"}) + "\n" for d in documents))
    vectors = vectors_of([document.text for document in documents], "cosine")

    def stop(*_: object) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        build_index(tmp_path / "i", [file], encoder(), vectors=vectors, batch_size=2, progress=stop)
    shares: list[float | None] = []
    build_index(
        tmp_path / "i", [file], encoder(), vectors=vectors, batch_size=2, progress=lambda _, part: shares.append(part)
    )
    assert shares == [0.4, 0.8, 1.0]
    with Index.open(tmp_path / "i", encoder()) as index:
        assert stored(index) == reference(documents, vectors, replace=False)


@pytest.mark.parametrize("count", [0, 1, 4, 6, 300])
@pytest.mark.parametrize("form", ["list", "stream", "file"])
@pytest.mark.parametrize("similarity", ["cosine", "maxsim"])
def test_more_or_fewer_vectors_than_documents_store_nothing(
    tmp_path: Path, count: int, form: str, similarity: Any
) -> None:
    documents: Any = named("abcde")
    if form == "file":
        file = tmp_path / "d.jsonl"
        file.write_text("".join(json.dumps({"id": d.id, "text": d.text}) + "\n" for d in documents))
        documents = Corpus([file])
    elif form == "stream":
        documents = iter(documents)
    vectors = vectors_of([f"v{number}" for number in range(count)], similarity) if count else []
    with Index.create(tmp_path / "i", encoder(similarity)) as index:
        with pytest.raises(InputError, match="one vector for each document"):
            index.add(documents, vectors=vectors, batch_size=2)
        assert len(index) == 0 and list(index.documents()) == []


def test_a_bad_document_of_a_stream_stores_nothing(index: Index) -> None:
    stream = ({"id": id, "text": text} for id, text in [("a", "x"), ("b", "y"), ("c", " ")])
    with pytest.raises(InputError, match="the text is empty"):
        index.add(stream, vectors=UNIT[:3], batch_size=1)
    assert len(index) == 0


@pytest.mark.parametrize("kept", [0, 1, 100])
def test_streams_keep_metadata_languages_and_made_up_ids(
    index: Index, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    monkeypatch.setattr(pairing, "_IN_MEMORY", kept)
    documents = [
        {"text": "one\u2028line", "lang": "swh", "tags": ["a\0b"]},
        "habari ya asubuhi",
        {"id": "é", "text": "z"},
    ]
    assert index.add(iter(documents), vectors=UNIT[:3]) == 3
    assert index.get("auto-1") == Document("auto-1", "one\u2028line", "sw", {"tags": ["a\0b"]})
    assert {document.id for document in index.documents()} == {"auto-1", "auto-2", "é"}
    assert list(index.path.glob("tmp*")) == []


def direction(vector: NDArray[Any]) -> NDArray[np.float64]:
    """Return a vector of unit length, computed in exact fractions except for the last root."""
    exact = [Fraction(float(value)) for value in vector]
    largest = max(map(abs, exact))
    if not largest:
        return np.zeros(len(vector))
    scaled = [value / largest for value in exact]
    squares = sum(value * value for value in scaled)
    return np.array([float(value) for value in scaled]) / math.sqrt(squares)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([np.float16, np.float32, np.float64]).flatmap(
        lambda kind: arrays.arrays(kind, (3, 5), elements={"allow_nan": False, "allow_infinity": False})
    )
)
def test_any_finite_vector_gets_unit_length_and_keeps_its_direction(vectors: NDArray[Any]) -> None:
    found = at_unit_length(vectors)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [direction(vector) for vector in vectors], atol=2e-7)


def test_unit_vectors_of_float32_stay_bit_for_bit() -> None:
    vectors = np.stack([vector_of(f"text {number}") for number in range(200)])
    assert np.array_equal(at_unit_length(vectors), vectors)


@pytest.mark.parametrize("scale", [1e-320, 1e-300, 1e-30, 1e-5, 1.0, 3.0, 1e38, 1e300])
def test_length_does_not_change_what_is_stored_or_found(index: Index, scale: float) -> None:
    texts = [f"text {number}" for number in range(9)]
    vectors = np.stack([vector_of(text) for text in texts]).astype(np.float64)
    index.add([Document(text, text, "en") for text in texts], vectors=vectors * scale)
    lengths = np.linalg.norm(np.asarray(index.vectors(texts), dtype=np.float64), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=3e-7)
    query = vector_of("a query").astype(np.float64)
    [hits] = index.search_vectors(query[None] * scale, 9)
    # 1e-320 is subnormal and has only three significant digits.
    close = 1e-2 if scale == 1e-320 else 2e-6
    assert {hit.id: hit.score for hit in hits} == pytest.approx(
        dict(zip(texts, vectors @ query, strict=True)), abs=close
    )
    assert all(-1 <= hit.score <= 1 for hit in hits)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(1e-3, 1e6))
def test_no_cosine_is_beyond_one(tmp_path_factory: pytest.TempPathFactory, seed: int, scale: float) -> None:
    vectors = np.random.default_rng(seed).standard_normal((20, DIMS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors *= np.float32(1 + 9e-8 * (seed % 30))  # lengths near the limit at which a vector counts as normalised
    with Index.create(tmp_path_factory.mktemp("i") / "i", encoder()) as index:
        index.add([Document(f"n{n}", "x", "en") for n in range(20)], vectors=vectors)
        for hits in index.search_vectors(np.concatenate([vectors, -vectors]) * np.float32(scale), 20):
            assert all(-1 <= hit.score <= 1 for hit in hits)


def test_a_zero_vector_is_kept_and_has_cosine_zero_with_everything(index: Index) -> None:
    index.add([Document("zero", "x", "en"), Document("one", "y", "en")], vectors=np.stack([UNIT[0] * 0, UNIT[1]]))
    assert {hit.id: hit.score for hit in index.search_vectors(UNIT[1:2], 2)[0]} == {"one": 1.0, "zero": 0.0}
    assert [hit.score for hit in index.search_vectors(UNIT[:1] * 0, 2)[0]] == [0.0, 0.0]


def test_forms_of_arrays_are_all_taken(index: Index, tmp_path: Path) -> None:
    import torch

    vectors = np.stack([vector_of(f"text {number}") for number in range(6)])
    np.save(tmp_path / "v.npy", vectors)
    spread = np.zeros((12, 16), np.float32)
    spread[::2, ::2] = vectors
    forms: dict[str, Any] = {
        "fortran": np.asfortranarray(vectors),
        "strided": spread[::2, ::2],
        "backwards": vectors[::-1].copy()[::-1],
        "float16": vectors.astype(np.float16),
        "float64": vectors.astype(np.float64),
        "long double": vectors.astype(np.longdouble),
        "memory map": np.load(tmp_path / "v.npy", mmap_mode="r"),
        "big-endian": vectors.astype(">f4"),
        "lists": vectors.tolist(),
        "tensor": torch.from_numpy(vectors),
        "bfloat16": torch.from_numpy(vectors).bfloat16(),
        "rows": list(vectors),
    }
    for form, given_vectors in forms.items():
        index.add([Document(f"{form} {n}", "x", "en") for n in range(6)], vectors=given_vectors, batch_size=4)
        found = np.asarray(index.vectors([f"{form} {n}" for n in range(6)]))
        np.testing.assert_allclose(found, vectors, atol=8e-3 if "16" in form else 1e-6, err_msg=form)


BAD_FOR_ONE = [
    (np.ones((2, 16), np.float32), r"\(2, 16\).*must be \(n, 8\)"),
    (np.ones((2, 7), np.float32), r"\(2, 7\).*must be \(n, 8\)"),
    (np.ones((2, 8, 1), np.float32), r"\(2, 8, 1\)"),
    (np.ones(8, np.float32), r"one vector of shape \(8,\)"),
    (np.float32(1), r"shape \(\)"),
    (np.ones((2, 8), np.complex64), "type complex64; give floats"),
    (np.ones((2, 8), object), "type object; give floats"),
    (np.ones((2, 8), np.int64), "type int64; give floats"),
    (np.ones((2, 8), np.bool_), "type bool; give floats"),
    (np.full((2, 8), "1.0"), "type <U3; give floats"),
    ([["1"] * 8] * 2, "type <U1; give floats"),
    ([[1.0] * 8, [1.0] * 7], "not an array of numbers"),
    ({"a": 1}, "type object; give floats"),
    (np.ma.masked_array(np.ones((2, 8)), np.eye(2, 8)), "masked values"),
    (np.full((2, 8), np.nan), "document 'a' has a NaN or an infinity"),
    (np.stack([UNIT[0], np.full(8, np.inf)]), "document 'b' has a NaN or an infinity"),
]


@pytest.mark.parametrize(("vectors", "message"), BAD_FOR_ONE)
def test_vectors_that_cannot_be_used_are_named_and_nothing_is_stored(index: Index, vectors: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        index.add(named("ab"), vectors=vectors)
    assert len(index) == 0


@pytest.mark.parametrize(("vectors", "message"), [*BAD_FOR_ONE[:-2], (np.full((1, 8), np.nan), "query vector 0")])
def test_query_vectors_that_cannot_be_used_are_named(index: Index, vectors: Any, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("document 'a'", "query vector 0")):
        index.search_vectors(vectors)


def one(value: Any, count: int = 3) -> Any:
    return [np.full((count, DIMS), value)]


BAD_FOR_TOKENS = [
    ([np.ones((3, 16))], r"tokens of document 0 have the shape \(3, 16\); they must be \(t, 8\)"),
    ([np.ones((3, 7))], r"\(3, 7\)"),
    ([np.ones(8)], r"shape \(8,\)"),
    ([[]], r"shape \(0,\)"),
    ([[[1.0] * 8, [1.0] * 7]], "tokens of document 0 are not an array"),
    (np.ones((1, 8)), "one array of shape"),
    (np.ones(8), "one array of shape"),
    (3, "tokens of the type int"),
    ("tokens", "tokens of the type str"),
    ({"a": np.ones((1, 8))}, "tokens of the type dict"),
    (one(1), "type int64; give floats"),
    (one(1j), "type complex128; give floats"),
    (one("x"), "type <U1; give floats"),
    (one(np.nan), "document 'a' has a NaN or an infinity"),
    (one(-np.inf), "document 'a' has a NaN or an infinity"),
    (one(7e4), "document 'a' has a value beyond 65504"),
    (one(1e300), "document 'a' has a value beyond 65504"),
    (Ragged(np.ones((3, 16)), np.array([0, 3])), r"\(3, 16\)"),
    (Ragged(np.ones((3, 8)), np.array([0, 2])), "do not divide 3 tokens"),
    (Ragged(np.ones((3, 8)), np.array([], dtype=np.int64)), "do not divide 3 tokens"),
    (Ragged(np.ones((3, 8)), np.array([0.0, 3.0])), "do not divide 3 tokens"),
    (Ragged(np.ones((3, 8)), np.array([0, 3, 2, 3], dtype=np.uint64)), "do not divide 3 tokens"),
]


@pytest.mark.parametrize(("vectors", "message"), BAD_FOR_TOKENS)
def test_tokens_that_cannot_be_used_are_named_and_nothing_is_stored(tokens: Index, vectors: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tokens.add(named("a"), vectors=vectors)
    assert len(tokens) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, 7e4, 1e39])
def test_tokens_of_queries_that_cannot_be_used_are_named(tokens: Index, value: float) -> None:
    tokens.add(named("a"), vectors=[tokens_of("a")])
    with pytest.raises(InputError, match="the query 0"):
        tokens.search_vectors(one(value))


def test_tokens_are_stored_as_they_are_whatever_their_width(tokens: Index) -> None:
    matrix = tokens_of("some words of it")
    empty = np.empty((0, DIMS), np.float32)
    tokens.add(named("abcd"), vectors=[matrix, np.asfortranarray(matrix.astype(np.float64)), matrix.tolist(), empty])
    for id in "abc":
        [found] = tokens.vectors([id])
        np.testing.assert_array_equal(found, matrix.astype(np.float16))
    assert len(tokens.vectors(["d"])[0]) == 0
    assert {hit.id for hit in tokens.search_vectors([matrix], 4)[0][:3]} == set("abc")


@pytest.mark.parametrize("similarity", ["cosine", "maxsim"])
def test_longer_vectors_are_cut_only_where_that_was_asked_for(tmp_path: Path, similarity: Any) -> None:
    wide = np.random.default_rng(1).standard_normal((1, 4, 16)).astype(np.float32)
    vectors: Any = list(wide) if similarity == "maxsim" else wide[0, :1]
    kept = IndexSettings(dims=8)
    with Index.create(tmp_path / "i", ExternalEncoder("x", 16, similarity), settings=kept) as index:
        index.add(named("a"), vectors=vectors)
        found = np.asarray(index.vectors(["a"])[0], dtype=np.float64).reshape(-1, 8)
    before = np.asarray(vectors[0], dtype=np.float64).reshape(-1, 16)
    expected = before[:, :8] / np.linalg.norm(before[:, :8], axis=1, keepdims=True)
    if similarity == "maxsim":
        expected *= np.linalg.norm(before, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=2e-3 if similarity == "maxsim" else 1e-6)
    with Index.create(tmp_path / "j", ExternalEncoder("x", 8, similarity)) as index:
        with pytest.raises(InputError, match="longer ones are cut only in an index that was made to keep the first 8"):
            index.add(named("a"), vectors=vectors)
        assert len(index) == 0


def test_width_of_a_known_encoder_is_held_to(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Index.create(tmp_path / "i", tiny_encoder, settings=IndexSettings(dims=8)) as index:
        with pytest.raises(InputError, match=r"10 dimensions; .* gives 32, of which the index keeps the first 8"):
            index.add(named("a"), vectors=np.ones((1, 10)))
        assert index.add(named("ab"), vectors=np.ones((2, 32))) == 2
        assert index.add(named("c"), vectors=np.ones((1, 8))) == 1


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (np.ones(16), "shape"),
        (np.ones((1, 8)), "shape"),
        (np.ones(8, np.int64), "type int64"),
        (["1"] * 8, "type <U1"),
        (np.full(8, np.nan), "has a NaN or an infinity"),
        ("vector", "type <U6"),
    ],
)
def test_memory_refuses_the_same_vectors(tmp_path: Path, vector: Any, message: str) -> None:
    scope = {"user": "u"}
    with open_memory(tmp_path / "m") as memory:
        with pytest.raises(InputError, match=message):
            memory.add("a text", scope, vector=vector, language="en")
        memory.add("another text", scope, id="a", vector=np.full(8, 1e300), language="en")
        with pytest.raises(InputError, match=message):
            memory.search("a text", scope, vector=vector, language="en")
        with pytest.raises(InputError, match=message):
            memory.update("a", scope, "changed", vector=vector)
        [line] = memory.export(scope, vectors=True)
        line["versions"][0]["vector"] = np.asarray(vector).tolist()
        with Memory(Index.create(tmp_path / "n", encoder(), kind="memory", schema=_schema())) as other:
            with pytest.raises(InputError, match=message):
                other.import_records([line], scope)
            assert list(other.list(scope)) == []
        [kept] = memory.list(scope)
        assert kept.text == "another text"
        [hit] = memory.search("a text", scope, vector=np.full(8, 1e-30), mode="dense", language="en")
        assert hit.record.id == "a" and hit.scores["dense"] == pytest.approx(1.0, abs=1e-6)


def _schema() -> str:
    from mlret.memory.storage import tables

    return tables.SCHEMA


@pytest.mark.parametrize("bad", [("", 8), ("x", 0), ("x", 2.5), ("x", True), ("\udce9", 8), (3, 8)])
def test_external_encoder_is_named_and_sized(bad: tuple[Any, Any]) -> None:
    with pytest.raises(InputError, match="external encoder needs"):
        ExternalEncoder(*bad)
