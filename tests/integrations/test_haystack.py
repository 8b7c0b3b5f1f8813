"""The document store, retrievers and embedders for Haystack: its own suite of tests, and what that does not cover."""

from __future__ import annotations

import asyncio
import copy
import doctest
import importlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("haystack", reason="make test-integrations installs it")

from haystack import Document, Pipeline
from haystack.components.joiners import DocumentJoiner
from haystack.components.writers import DocumentWriter
from haystack.core.errors import DeserializationError, PipelineConnectError
from haystack.dataclasses import ByteStream, SparseEmbedding
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.document_stores.types import DuplicatePolicy, FilterPolicy
from haystack.testing import document_store as suite
from haystack.testing import document_store_async as async_suite
from hypothesis import given, settings
from hypothesis import strategies as st

from mlret.data.unicode_text import is_unicode
from mlret.encoders.external import ExternalEncoder
from mlret.errors import FingerprintError, InputError
from mlret.index.hits import Hit
from mlret.index.index import Index
from mlret.index.settings import IndexSettings
from mlret.integrations.haystack import (
    MlretDocumentEmbedder,
    MlretDocumentStore,
    MlretEmbeddingRetriever,
    MlretHybridRetriever,
    MlretLexicalRetriever,
    MlretTextEmbedder,
)
from tests.conftest import examples
from tests.test_documentation import blocks, run_page

pytestmark = pytest.mark.frameworks


class _WithStore:
    @pytest.fixture
    def document_store(self, tmp_path: Path) -> Iterator[MlretDocumentStore]:
        # The documents of the suite carry embeddings of 768 numbers, or none.
        store = MlretDocumentStore(tmp_path / "suite.index", embedding_dims=768)
        yield store
        store.close()


class _WithDefaultPolicy(_WithStore):
    def test_write_documents(self, document_store: MlretDocumentStore) -> None:
        """The suite asks each store to say what it does without a policy: this one fails as with FAIL."""
        document = Document(content="test doc")
        assert document_store.write_documents([document]) == 1
        with pytest.raises(DuplicateDocumentError):
            document_store.write_documents([document], policy=DuplicatePolicy.NONE)
        assert document_store.filter_documents() == [document]


class TestBase(_WithDefaultPolicy, suite.DocumentStoreBaseTests):
    pass


class TestExtended(_WithDefaultPolicy, suite.DocumentStoreBaseExtendedTests):
    pass


class TestMetadata(
    _WithStore,
    suite.CountDocumentsByFilterTest,
    suite.CountUniqueMetadataByFilterTest,
    suite.GetMetadataFieldsInfoTest,
    suite.GetMetadataFieldMinMaxTest,
    suite.GetMetadataFieldUniqueValuesTest,
):
    pass


class TestAsynchronous(
    _WithStore,
    async_suite.CountDocumentsAsyncTest,
    async_suite.WriteDocumentsAsyncTest,
    async_suite.FilterDocumentsAsyncTest,
    async_suite.DeleteDocumentsAsyncTest,
    async_suite.DeleteAllAsyncTest,
    async_suite.DeleteByFilterAsyncTest,
    async_suite.UpdateByFilterAsyncTest,
    async_suite.CountDocumentsByFilterAsyncTest,
    async_suite.CountUniqueMetadataByFilterAsyncTest,
    async_suite.GetMetadataFieldsInfoAsyncTest,
    async_suite.GetMetadataFieldMinMaxAsyncTest,
    async_suite.GetMetadataFieldUniqueValuesAsyncTest,
):
    @pytest.mark.asyncio
    async def test_write_documents_async(self, document_store: MlretDocumentStore) -> None:
        document = Document(content="test doc")
        assert await document_store.write_documents_async([document]) == 1
        with pytest.raises(DuplicateDocumentError):
            await document_store.write_documents_async([document])
        assert await document_store.filter_documents_async() == [document]


NAMES = st.text(max_size=4) | st.sampled_from(["id", "text", "lang", "~id", "~embedding", "content", "a.b", "meta"])
META = st.dictionaries(
    NAMES.filter(is_unicode),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=3).filter(is_unicode),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab~.", max_size=2), inner, max_size=2),
        max_leaves=4,
    ),
    max_size=3,
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
EMBEDDINGS = (
    st.none() | st.lists(FLOATS.filter(lambda one: abs(one) < 1e30), min_size=3, max_size=3) | st.just([0.6, 0.8, 0])
)
WHOLE_DOCUMENTS = st.builds(
    Document,
    content=st.sampled_from([None, "", " \n", "\u2060", "Der Zug ist spät.", "alpha\0beta"]),
    blob=st.none() | st.builds(ByteStream, st.binary(max_size=5), META, st.sampled_from([None, "image/png"])),
    meta=META,
    score=st.none() | FLOATS,
    embedding=EMBEDDINGS,
    sparse_embedding=st.none() | st.just(SparseEmbedding([3, 1], [0.1, 2.5])),
)


@settings(max_examples=examples(100))
@given(st.lists(WHOLE_DOCUMENTS, max_size=4, unique_by=lambda one: one.id))
def test_documents_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, documents: list[Document]
) -> None:
    folder = tmp_path_factory.mktemp("written") / "index"
    before = copy.deepcopy(documents)
    store = MlretDocumentStore(folder, embedding_dims=3)
    assert store.write_documents(documents) == len(documents)
    assert documents == before
    assert store.filter_documents() == documents
    store.close()
    reopened = MlretDocumentStore(folder)
    assert reopened.filter_documents() == documents
    found = reopened.embedding_retrieval([1.0, 0.0, 0.0], return_embedding=True)
    assert {one.id: one.embedding for one in found} == {
        one.id: one.embedding for one in documents if one.embedding is not None
    }
    reopened.close()


def random_documents(count: int, dims: int) -> list[Document]:
    rng = np.random.default_rng(5)
    return [
        Document(id=str(number), content=f"text {number}", meta={"third": number % 3}, embedding=one.tolist())
        for number, one in enumerate(rng.standard_normal((count, dims)))
    ]


def test_embeddings_are_ranked_by_their_cosines(tmp_path: Path) -> None:
    documents = random_documents(300, 16)
    store = MlretDocumentStore(tmp_path / "index", embedding_dims=16)
    store.write_documents([*documents, Document(content="without an embedding"), Document(blob=ByteStream(b"1"))])
    query = np.random.default_rng(6).standard_normal(16)
    matrix = np.array([one.embedding for one in documents])
    cosines = matrix @ query / np.linalg.norm(matrix, axis=1) / np.linalg.norm(query)
    for filters, passing in (
        (None, np.arange(300)),
        ({"field": "meta.third", "operator": "==", "value": 1}, np.arange(1, 300, 3)),
    ):
        found = store.embedding_retrieval(query.tolist(), filters, top_k=20)
        expected = passing[np.argsort(-cosines[passing])][:20]
        assert [one.id for one in found] == [str(one) for one in expected]
        assert [one.score for one in found] == pytest.approx(cosines[expected].tolist(), abs=1e-5)
        assert all(one.embedding is None for one in found)
    assert len(store.embedding_retrieval(query.tolist(), top_k=1000)) == 300
    assert store.embedding_retrieval(query.tolist(), top_k=0) == []


def test_an_embedding_of_the_encoder_is_stored_once(tmp_path: Path) -> None:
    store = MlretDocumentStore(tmp_path / "index")
    [embedded] = MlretDocumentEmbedder().run([Document(content="Der Zug ist spät.")])["documents"]
    store.write_documents([embedded])
    assert store.index.get(embedded.id).metadata == {"~embedding": True}
    assert store.filter_documents() == [embedded]


TEXTS = {
    "train": "Der Zug nach Berlin hat eine Stunde Verspätung.",
    "maize": "Bei ya mahindi imepanda sokoni.",
    "library": "駅前に新しい図書館が開館した。",
    "printer": "The printer LX-4470 loses its network connection.",
}


@pytest.fixture
def texts(tmp_path: Path) -> Iterator[MlretDocumentStore]:
    """A store that encodes its documents itself, with one document that has nothing to encode."""
    store = MlretDocumentStore(tmp_path / "texts.index")
    store.write_documents(
        [
            *(Document(id=id, content=text, meta={"length": len(text)}) for id, text in TEXTS.items()),
            Document(id="image", blob=ByteStream(b"\x89PNG", mime_type="image/png")),
        ]
    )
    yield store
    store.close()


def test_a_store_encodes_documents_as_the_index_does(texts: MlretDocumentStore, tmp_path: Path) -> None:
    texts.delete_documents(["image"])
    with Index.create(tmp_path / "plain.index", settings=IndexSettings(lexical=True)) as index:
        index.add([{"id": id, "text": text} for id, text in TEXTS.items()])
        for query in ("the train is late", "a place to read books", "LX-4470"):
            embedding = MlretTextEmbedder().run(query)["embedding"]
            assert pairs(texts.embedding_retrieval(embedding)) == hits_of(index.search(query, mode="dense"))
            assert pairs(texts.lexical_retrieval(query)) == hits_of(index.search(query, mode="lexical"))
            expected = hits_of(index.search(query, mode="hybrid"))
            assert pairs(texts.hybrid_retrieval(query)) == expected
            assert pairs(texts.hybrid_retrieval(query, embedding)) == expected


def pairs(documents: list[Document]) -> list[tuple[str, float]]:
    return [(one.id, one.score) for one in documents]


def hits_of(hits: list[Hit]) -> list[tuple[str, float]]:
    return [(hit.id, hit.score) for hit in hits]


def test_an_embedder_gives_the_vectors_that_a_store_makes(texts: MlretDocumentStore) -> None:
    given = [Document(id=id, content=text) for id, text in TEXTS.items()]
    embedded = MlretDocumentEmbedder().run([*given, Document(content=" ")])["documents"]
    assert embedded[-1].embedding is None
    assert all(one.embedding is None for one in given)
    np.testing.assert_allclose([one.embedding for one in embedded[:-1]], texts.index.vectors(list(TEXTS)), atol=1e-6)


def test_metadata_can_be_embedded_with_the_content() -> None:
    title = Document(content="It opened.", meta={"title": "Library", "empty": None})
    embedder = MlretDocumentEmbedder(meta_fields_to_embed=["title", "empty", "none"], embedding_separator=": ")
    plain = MlretDocumentEmbedder().run([Document(content="Library: It opened.")])["documents"]
    assert embedder.run([title])["documents"][0].embedding == plain[0].embedding


def test_embedders_refuse_each_others_input() -> None:
    with pytest.raises(TypeError, match="MlretDocumentEmbedder"):
        MlretTextEmbedder().run([Document(content="a")])
    with pytest.raises(TypeError, match="MlretTextEmbedder"):
        MlretDocumentEmbedder().run("a")
    with pytest.raises(InputError, match="empty"):
        MlretTextEmbedder().run(" ")


def test_a_document_that_loses_its_embedding_is_encoded(texts: MlretDocumentStore) -> None:
    embedding = [1.0] + [0.0] * 383
    texts.write_documents(
        [Document(id="train", content=TEXTS["train"], embedding=embedding)], DuplicatePolicy.OVERWRITE
    )
    assert texts.index.vectors(["train"])[0].tolist() == embedding
    plain = Document(id="train", content=TEXTS["train"])
    texts.write_documents([plain, Document(id="image", content="A picture.")], DuplicatePolicy.OVERWRITE)
    expected = MlretDocumentEmbedder().run([plain])["documents"][0].embedding
    np.testing.assert_allclose(texts.index.vectors(["train"])[0], expected, atol=1e-6)
    assert texts.filter_documents({"field": "id", "operator": "==", "value": "train"}) == [plain]
    assert len(texts.embedding_retrieval(embedding)) == 5


def test_a_change_of_metadata_keeps_vectors(texts: MlretDocumentStore) -> None:
    before = texts.index.vectors(["train", "image"])
    assert (
        texts.update_by_filter({"field": "meta.length", "operator": ">", "value": 0}, {"lang": "de", "new": [1]}) == 4
    )
    assert texts.update_by_filter({"field": "blob", "operator": "!=", "value": None}, {"new": 2}) == 1
    assert (texts.index.vectors(["train", "image"]) == before).all()
    [found] = texts.filter_documents({"field": "id", "operator": "==", "value": "train"})
    assert found.meta == {"length": len(TEXTS["train"]), "lang": "de", "new": [1]}
    [image] = texts.filter_documents({"field": "meta.new", "operator": "==", "value": 2})
    assert image.blob == ByteStream(b"\x89PNG", mime_type="image/png")


def test_metadata_names_the_language(tmp_path: Path) -> None:
    store = MlretDocumentStore(tmp_path / "index")
    store.write_documents(
        [Document(id="a", content="Taxi", meta={"lang": "swa"}), Document(id="b", content="Taxi", meta={"language": 3})]
    )
    assert store.index.get("a").language == "sw"
    assert [one.meta for one in store.filter_documents()] == [{"lang": "swa"}, {"language": 3}]


def test_nothing_is_written_if_one_document_cannot_be(tmp_path: Path) -> None:
    store = MlretDocumentStore(tmp_path / "index", embedding_dims=3)
    good = [Document(id=str(number), content="a") for number in range(600)]
    for bad, error in (
        (Document(content="b", embedding=[1.0, 2.0]), "2,.*3 dimensions"),
        (Document(content="b", embedding=[1.0, 2.0, float("nan")]), "NaN"),
        (Document(content="b", embedding=["a", "b", "c"]), "no list of numbers"),
        (Document(content="b", meta={"a": object()}), "not JSON"),
        (Document(content="\ud800", id="b"), "surrogate"),
        (Document(content="b", id=" "), "empty"),
    ):
        with pytest.raises(InputError, match=error):
            store.write_documents([*good, bad])
    for repeated in (good[0], Document(id="599", content="other")):
        with pytest.raises(DuplicateDocumentError, match=repeated.id):
            store.write_documents([*good, repeated])
    assert store.count_documents() == 0


def test_of_two_documents_with_one_id_the_policy_decides(tmp_path: Path) -> None:
    store = MlretDocumentStore(tmp_path / "index", embedding_dims=3)
    first, second = Document(id="1", content="first"), Document(id="1", content="second")
    assert store.write_documents([first, second], DuplicatePolicy.SKIP) == 1
    assert store.filter_documents() == [first]
    assert store.write_documents([first, second], DuplicatePolicy.OVERWRITE) == 2
    assert store.filter_documents() == [second]


def test_stores_on_one_folder_see_each_others_documents(tmp_path: Path) -> None:
    one, other = (MlretDocumentStore(tmp_path / "index", embedding_dims=3) for _ in range(2))
    assert one.count_documents() == other.count_documents() == 0
    one.write_documents([Document(id="a", content="alpha", embedding=[1.0, 2.0, 3.0])])
    assert [found.id for found in other.embedding_retrieval([1.0, 2.0, 3.0])] == ["a"]
    other.delete_documents(["a"])
    assert one.filter_documents() == []


def test_an_index_of_mlret_is_a_document_store(tmp_path: Path) -> None:
    with Index.create(tmp_path / "index", settings=IndexSettings(lexical=True)) as index:
        index.add([{"id": id, "text": text, "year": 2024} for id, text in TEXTS.items()])
        store = MlretDocumentStore(index)
        assert store.filter_documents()[0] == Document(id="train", content=TEXTS["train"], meta={"year": 2024})
        assert store.hybrid_retrieval("LX-4470")[0].id == "printer"
        store.close()
        assert len(index) == 4  # The store closes only what it opened itself.
        again = MlretDocumentStore.from_dict(store.to_dict())
        assert again.count_documents() == 4
        assert again.to_dict() == store.to_dict()


def test_what_does_not_fit_an_index_is_an_error(tmp_path: Path) -> None:
    MlretDocumentStore(tmp_path / "index", embedding_dims=3, lexical=False).write_documents([Document(content="a")])
    store = MlretDocumentStore(tmp_path / "index")
    with pytest.raises(InputError, match="lexical channel"):
        store.lexical_retrieval("a")
    with pytest.raises(InputError, match=r"must be \(n, 3\)"):
        store.embedding_retrieval([1.0, 2.0])
    with pytest.raises(InputError, match="no list of numbers"):
        store.embedding_retrieval(["a", "b", "c"])
    with pytest.raises(InputError, match="3 dimensions, not of 4"):
        _ = MlretDocumentStore(tmp_path / "index", embedding_dims=4).index
    with pytest.raises(FingerprintError, match="other-model"):
        _ = MlretDocumentStore(tmp_path / "index", "other-model", embedding_dims=3).index
    with pytest.raises(InputError, match="leave out encoder"):
        MlretDocumentStore(store.index, embedding_dims=3)
    with pytest.raises(InputError, match="folder of an index"):
        MlretDocumentStore(3)
    tokens = Index.create(tmp_path / "tokens", ExternalEncoder("tokens", 3, "maxsim"))
    with pytest.raises(InputError, match="vector for each token"):
        MlretDocumentStore(tokens)
    hybrid = MlretDocumentStore(tmp_path / "hybrid", embedding_dims=3)
    with pytest.raises(InputError, match="does not run"):
        hybrid.hybrid_retrieval("a")
    with pytest.raises(InputError, match="empty"):
        hybrid.lexical_retrieval(" ")
    with pytest.raises(ValueError, match="top_k"):
        hybrid.lexical_retrieval("a", top_k=-1)


def query_pipeline(store: MlretDocumentStore) -> Pipeline:
    pipeline = Pipeline()
    pipeline.add_component("embedder", MlretTextEmbedder())
    pipeline.add_component("dense", MlretEmbeddingRetriever(store, top_k=2))
    pipeline.add_component(
        "lexical", MlretLexicalRetriever(store, {"field": "meta.length", "operator": ">", "value": 5})
    )
    pipeline.add_component("both", MlretHybridRetriever(store, top_k=1, filter_policy=FilterPolicy.MERGE))
    pipeline.add_component("joiner", DocumentJoiner())
    pipeline.connect("embedder.embedding", "dense.query_embedding")
    pipeline.connect("embedder.embedding", "both.query_embedding")
    for name in ("dense", "lexical", "both"):
        pipeline.connect(f"{name}.documents", "joiner.documents")
    return pipeline


def run(pipeline: Pipeline, query: str) -> list[Document]:
    given = {"embedder": {"text": query}, "lexical": {"query": query}, "both": {"query": query}}
    return pipeline.run(given)["joiner"]["documents"]


def test_a_pipeline_finds_and_survives_serialisation(tmp_path: Path) -> None:
    store = MlretDocumentStore(tmp_path / "index")
    indexing = Pipeline()
    indexing.add_component("embedder", MlretDocumentEmbedder())
    indexing.add_component("writer", DocumentWriter(MlretDocumentStore(tmp_path / "index"), DuplicatePolicy.SKIP))
    indexing.connect("embedder.documents", "writer.documents")
    indexing = Pipeline.loads(indexing.dumps(), allowed_modules=["mlret.integrations.haystack"])
    documents = [Document(id=id, content=text, meta={"length": len(text)}) for id, text in TEXTS.items()]
    assert indexing.run({"embedder": {"documents": documents}})["writer"]["documents_written"] == 4

    pipeline = query_pipeline(store)
    again = Pipeline.loads(pipeline.dumps(), allowed_modules=["mlret.integrations.haystack"])
    assert again.to_dict()["components"] == pipeline.to_dict()["components"]
    for query in ("the printer LX-4470", "a place to read books"):
        found = run(pipeline, query)
        assert found
        assert run(again, query) == found
    again.close()  # The next call opens the index again.
    assert run(again, query) == found


def test_modules_of_mlret_must_be_allowed_when_a_pipeline_is_loaded(tmp_path: Path) -> None:
    text = query_pipeline(MlretDocumentStore(tmp_path / "index")).dumps()
    with pytest.raises(DeserializationError, match="mlret"):
        Pipeline.loads(text)
    assert not (tmp_path / "index").exists()


def test_a_pipeline_refuses_connections_of_other_types(texts: MlretDocumentStore) -> None:
    pipeline = query_pipeline(texts)
    pipeline.add_component("documents", MlretDocumentEmbedder())
    for sender, receiver in (("embedder.embedding", "lexical.query"), ("documents.documents", "dense.query_embedding")):
        with pytest.raises(PipelineConnectError):
            pipeline.connect(sender, receiver)


def test_filters_at_run_time_replace_or_join_those_of_the_retriever(texts: MlretDocumentStore) -> None:
    short = {"field": "meta.length", "operator": "<", "value": 40}
    long = {"field": "content", "operator": "!=", "value": TEXTS["library"]}
    replacing = MlretHybridRetriever(texts, short)
    merging = MlretHybridRetriever(texts, short, filter_policy=FilterPolicy.MERGE)
    assert {one.id for one in replacing.run("train")["documents"]} == {"maize", "library"}
    assert {one.id for one in replacing.run("train", filters=long, top_k=3)["documents"]} == {
        "train",
        "maize",
        "printer",
    }
    assert {one.id for one in merging.run("train", filters=long)["documents"]} == {"maize"}
    assert len(replacing.run("train", filters={}, top_k=1)["documents"]) == 1
    with pytest.raises(TypeError, match="MlretDocumentStore"):
        MlretLexicalRetriever(InMemoryDocumentStore())
    with pytest.raises(ValueError, match="top_k"):
        MlretLexicalRetriever(texts, top_k=0)


@pytest.mark.asyncio
async def test_components_run_asynchronously(texts: MlretDocumentStore) -> None:
    query = "the printer LX-4470"
    embedded = await MlretTextEmbedder().run_async(query)
    assert embedded == MlretTextEmbedder().run(query)
    dense, lexical, both = MlretEmbeddingRetriever(texts), MlretLexicalRetriever(texts), MlretHybridRetriever(texts)
    found = await asyncio.gather(
        dense.run_async(embedded["embedding"]), lexical.run_async(query), both.run_async(query, top_k=2)
    )
    assert found == [dense.run(embedded["embedding"]), lexical.run(query), both.run(query, top_k=2)]
    documents = [Document(content="Treni imechelewa.")]
    assert await MlretDocumentEmbedder().run_async(documents) == MlretDocumentEmbedder().run(documents)
    given = {"embedder": {"text": query}, "lexical": {"query": query}, "both": {"query": query}}
    pipeline = query_pipeline(texts)
    assert (await pipeline.run_async(given))["joiner"]["documents"] == run(pipeline, query)


def test_threads_write_and_read_one_store(tmp_path: Path) -> None:
    store = MlretDocumentStore(tmp_path / "index", embedding_dims=16)
    documents = random_documents(200, 16)

    def write_and_read(part: list[Document]) -> None:
        store.write_documents(part)
        for one in part:
            [nearest] = store.embedding_retrieval(one.embedding, top_k=1, return_embedding=True)
            assert nearest == replace(one, score=nearest.score)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write_and_read, [documents[start : start + 20] for start in range(0, 200, 20)]))
    assert sorted(store.filter_documents(), key=lambda one: int(one.id)) == documents


def test_deleting_everything_can_clear_the_disk(tmp_path: Path) -> None:
    def traces() -> bool:
        return any(b"text 17" in one.read_bytes() for one in (tmp_path / "index").iterdir() if one.is_file())

    store = MlretDocumentStore(tmp_path / "index", embedding_dims=16)
    store.write_documents(random_documents(50, 16))
    assert traces()
    store.delete_all_documents(recreate_index=True)
    assert store.count_documents() == 0
    assert not traces()


@pytest.mark.parametrize("module", ["document_store", "embedders", "retrievers"])
def test_examples_print_what_they_say(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(f"mlret.integrations.haystack.{module}"))
    assert result.attempted and not result.failed


def test_code_of_the_page_runs_and_prints_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    page = "docs/how-to/use-in-haystack.md"
    assert len(blocks(page)) > 5
    run_page(page, blocks(page), {"__name__": "__page__"}, capsys)
