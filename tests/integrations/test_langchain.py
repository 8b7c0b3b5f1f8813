"""What the suites of langchain-tests do not cover: filters, hybrid search, embeddings of others, reopening, threads."""

from __future__ import annotations

import asyncio
import copy
import doctest
import inspect
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("langchain_core", reason="make test-integrations installs it")

from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.indexing import InMemoryRecordManager, aindex, index
from langchain_core.indexing.base import DocumentIndex
from langchain_core.runnables import RunnableLambda
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from typer.testing import CliRunner

import mlret
from mlret import ExternalEncoder, Index, IndexSettings
from mlret.cli.main import app
from mlret.data.documents import RESERVED_KEYS
from mlret.encoders.light.light_encoder import LightEncoder
from mlret.errors import FingerprintError, InputError, NotFound
from mlret.integrations.langchain import MlretDocumentIndex, MlretEmbeddings, MlretRetriever, MlretVectorStore
from mlret.integrations.langchain.conversion import to_where
from tests.test_documentation import ROOT, blocks, run_page

pytestmark = pytest.mark.frameworks

OTHER = DeterministicFakeEmbedding(size=8)
TEXTS = {
    "train": "Der Zug nach Berlin hat eine Stunde Verspätung.",
    "maize": "Bei ya mahindi imepanda sokoni.",
    "library": "駅前に新しい図書館が開館した。",
    "part": "Spare part XK-4711 is in stock.",
}


@pytest.fixture(scope="module")
def embeddings() -> MlretEmbeddings:
    return MlretEmbeddings()


@pytest.fixture
def store(tmp_path: Path, embeddings: MlretEmbeddings) -> Iterator[MlretVectorStore]:
    """A store with a lexical channel, whose vectors are those of the bundled encoder."""
    store = MlretVectorStore(tmp_path / "store", embeddings, settings=IndexSettings(lexical=True))
    yield store
    store.index.close()


@pytest.fixture
def filled(store: MlretVectorStore) -> MlretVectorStore:
    store.add_texts(list(TEXTS.values()), [{"place": place} for place in range(len(TEXTS))], ids=list(TEXTS))
    return store


@pytest.fixture
def other(tmp_path: Path) -> Iterator[MlretVectorStore]:
    store = MlretVectorStore(tmp_path / "other", OTHER)
    yield store
    store.index.close()


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


class TestAdding:
    def test_inputs_are_not_changed_and_metadata_comes_back_as_it_was(self, store: MlretVectorStore) -> None:
        metadata = {"id": 1, "text": ["a"], "lang": None, "language": {"of": "us"}, "~id": "2", "deep": {"id": [1.5]}}
        given = [Document("foo", metadata=metadata), Document("bar", id="b")]
        before = copy.deepcopy(given)
        names = store.add_documents(given)
        assert given == before
        assert store.get_by_ids(names) == [Document("foo", metadata=before[0].metadata, id=names[0]), before[1]]
        store.get_by_ids(names)[0].metadata["deep"]["id"].append(2)
        assert store.get_by_ids(names)[0].metadata == before[0].metadata

    def test_missing_ids_are_made_and_given_ones_take_precedence(self, other: MlretVectorStore) -> None:
        given = [Document("a", id="a"), Document("b"), Document("c", id="c")]
        names = other.add_documents(given)
        assert names[0] == "a"
        assert names[2] == "c"
        assert other.add_documents(given, ids=["x", None, "y"])[::2] == ["x", "y"]
        assert len(other.index) == 6

    def test_a_known_id_replaces_and_the_later_of_two_counts(self, store: MlretVectorStore) -> None:
        store.add_texts(["old", "kept"], ids=["a", "b"])
        assert store.add_texts(["new", "newer"], [{"n": 1}, {"n": 2}], ids=["a", "a"]) == ["a", "a"]
        assert store.get_by_ids(["a", "b"]) == [Document("newer", id="a", metadata={"n": 2}), Document("kept", id="b")]

    def test_texts_may_come_from_a_generator(self, store: MlretVectorStore, other: MlretVectorStore) -> None:
        for one in (store, other):
            names = one.add_texts(text for text in ("a", "b"))
            assert [document.page_content for document in one.get_by_ids(names)] == ["a", "b"]

    @pytest.mark.parametrize(
        "options", [{"ids": ["1"]}, {"metadatas": [{}]}, {"ids": ["1", "2", "3"]}, {"metadatas": [{}, {}, {}]}]
    )
    def test_other_numbers_than_texts_are_a_value_error(self, other: MlretVectorStore, options: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="give one for each") as raised:
            other.add_texts(["a", "b"], **options)
        assert isinstance(raised.value, InputError)
        assert len(other.index) == 0

    def test_nothing_is_stored_or_embedded_if_one_document_cannot_be(self, tmp_path: Path) -> None:
        counting = Counting()
        store = MlretVectorStore(tmp_path / "store", counting)
        asked = counting.asked
        with pytest.raises(InputError, match=r"document 'b': metadata\['when'\] is object, which is not JSON"):
            store.add_documents([Document("a"), Document("b", id="b", metadata={"when": object()})])
        assert counting.asked == asked
        assert len(store.index) == 0

    def test_one_string_or_one_document_is_no_list(self, other: MlretVectorStore) -> None:
        with pytest.raises(InputError, match="one string, 'foo'"):
            other.add_texts("foo")
        for wrong, kind in ((["foo"], "str"), (Document("foo"), "tuple")):
            with pytest.raises(InputError, match=f"LangChain's documents, not of {kind}"):
                other.add_documents(wrong)  # type: ignore[arg-type]
        assert len(other.index) == 0

    def test_the_language_is_taken_from_the_metadata_or_detected(self, store: MlretVectorStore) -> None:
        german = "Der Zug nach Berlin hat heute eine Stunde Verspätung."
        store.add_texts(["ok", german], [{"language": "swa"}, {}], ids=["a", "b"])
        assert [store.index.get(id).language for id in ("a", "b")] == ["sw", "de"]  # type: ignore[union-attr]

    def test_unknown_options_are_an_error(self, store: MlretVectorStore) -> None:
        with pytest.raises(TypeError, match="filters"):
            store.similarity_search("a", filters={"a": 1})
        with pytest.raises(TypeError, match="collection"):
            store.add_texts(["a"], collection="b")

    def test_one_string_is_no_list_of_ids(self, filled: MlretVectorStore) -> None:
        for call in (filled.get_by_ids, filled.delete):
            with pytest.raises(InputError, match="one string, 'train'"):
                call("train")


class TestBlankTexts:
    """LangChain has documents without text, such as empty pages of a PDF file."""

    @pytest.mark.parametrize("text", ["", " \n\t "])
    def test_they_come_back_as_they_were_and_rank_last(self, store: MlretVectorStore, text: str) -> None:
        blank = Document(text, id="blank", metadata={"page": 7, "page_content": "x", "~page_content": "y"})
        store.add_documents([blank, Document("The library is open.", id="full")])
        assert store.get_by_ids(["blank"]) == [blank]
        assert ids(store.similarity_search("a library", mode="dense")) == ["full", "blank"]
        assert ids(store.similarity_search("— a library", mode="lexical")) == ["full"]
        assert store.similarity_search("a library", filter={"page": 7}) == [blank]
        assert ids(store.max_marginal_relevance_search("a library")) == ["full"]
        store.add_documents([Document("now it has text", id="blank")])
        assert store.get_by_ids(["blank"]) == [Document("now it has text", id="blank")]

    def test_others_embed_them_as_they_are(self, other: MlretVectorStore) -> None:
        other.add_documents([Document("", id="blank"), Document("foo", id="foo")])
        [(document, score), _] = other.similarity_search_with_score_by_vector(OTHER.embed_documents([""])[0])
        assert (document, round(score, 5)) == (Document("", id="blank"), 1)

    def test_a_store_with_a_vector_for_each_token_takes_them(self, tmp_path: Path) -> None:
        with Index.create(tmp_path / "tokens", mlret.load_token_encoder()) as tokens:
            store = MlretVectorStore(tokens)
            store.add_texts(["The library is open.", "", "The train is late."], ids=["library", "blank", "train"])
            assert ids(store.similarity_search("Treni imechelewa", k=3)) == ["train", "library", "blank"]
            assert store.embeddings is None
            with pytest.raises(InputError, match="a vector for each token"):
                store.max_marginal_relevance_search("a train")
            with pytest.raises(InputError, match="no largest value"):
                store.similarity_search_with_relevance_scores("a train")

    def test_a_blank_query_is_refused_before_others_embed_it(self, tmp_path: Path) -> None:
        counting = Counting()
        store = MlretVectorStore(tmp_path / "store", counting)
        asked = counting.asked
        for search in (store.similarity_search, store.max_marginal_relevance_search):
            with pytest.raises(InputError, match="is empty"):
                search(" ")
        assert counting.asked == asked


class Counting(Embeddings):
    """Embeddings that state no model, give integers, and count how often they are asked."""

    def __init__(self) -> None:
        self.asked = 0

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        self.asked += 1
        return [len(text), 1, 0]


class TestDeleting:
    def test_by_ids_filter_or_everything(self, filled: MlretVectorStore) -> None:
        assert filled.delete(["train", "missing", "train"])
        assert sorted(document.id for document in filled.index.documents()) == ["library", "maize", "part"]
        assert filled.delete([])
        assert len(filled.index) == 3
        assert filled.delete(filter={"place": {"$gte": 2}})
        assert [document.id for document in filled.index.documents()] == ["maize"]
        with pytest.raises(InputError, match="give ids or a filter"):
            filled.delete(filter={})
        with pytest.raises(InputError, match="not both"):
            filled.delete(["maize"], filter={"place": 1})
        assert filled.delete()
        assert len(filled.index) == 0

    def test_a_document_index_reports_what_was_there(self, filled: MlretVectorStore) -> None:
        documents = MlretDocumentIndex(store=filled)
        response = documents.delete(["train", "missing", "maize"])
        assert response == {"succeeded": ["train", "maize"], "num_deleted": 2, "failed": [], "num_failed": 0}


NAMES = (*sorted(RESERVED_KEYS), "~id", "year", "$price")
VALUES = (1, 2, "de", "German", "x", None)


def holds(filter: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """Whether metadata passes a filter: the reference, without renaming and without SQL."""
    return all(holds_for(name, wanted, metadata) for name, wanted in filter.items())


def holds_for(name: str, wanted: Any, metadata: Mapping[str, Any]) -> bool:
    if name == "$and":
        return all(holds(part, metadata) for part in wanted)
    if name == "$or":
        return any(holds(part, metadata) for part in wanted)
    if name == "$not":
        return not holds(wanted, metadata)
    if isinstance(wanted, list):
        return name in metadata and metadata[name] in wanted
    if isinstance(wanted, dict):
        return all(OPERATORS[operator](name, value, metadata) for operator, value in wanted.items())
    return name in metadata and metadata[name] == wanted


OPERATORS: dict[str, Callable[[str, Any, Mapping[str, Any]], bool]] = {
    "$eq": lambda name, value, metadata: name in metadata and metadata[name] == value,
    "$ne": lambda name, value, metadata: not (name in metadata and metadata[name] == value),
    "$in": lambda name, value, metadata: name in metadata and metadata[name] in value,
    "$nin": lambda name, value, metadata: not (name in metadata and metadata[name] in value),
    "$gte": lambda name, value, metadata: type(metadata.get(name)) is type(value) and metadata[name] >= value,
    "$exists": lambda name, value, metadata: (name in metadata) == value,
}
names = st.sampled_from([name for name in NAMES if not name.startswith("$")])
conditions = st.one_of(
    st.sampled_from(VALUES),
    st.lists(st.sampled_from(VALUES), min_size=1, max_size=3),
    st.dictionaries(st.sampled_from(["$eq", "$ne"]), st.sampled_from(VALUES), min_size=1),
    st.dictionaries(st.sampled_from(["$in", "$nin"]), st.lists(st.sampled_from(VALUES), min_size=1), min_size=1),
    st.builds(lambda value: {"$gte": value}, st.sampled_from([1, 2, "a", "x"])),
    st.builds(lambda value: {"$exists": value}, st.booleans()),
)
filters = st.recursive(
    st.dictionaries(names, conditions, min_size=1, max_size=2),
    lambda parts: st.one_of(
        st.builds(lambda some: {"$and": some}, st.lists(parts, min_size=1, max_size=3)),
        st.builds(lambda some: {"$or": some}, st.lists(parts, min_size=1, max_size=3)),
        st.builds(lambda one: {"$not": one}, parts),
    ),
    max_leaves=5,
)


class TestFilters:
    @pytest.fixture(scope="class")
    def varied(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlretVectorStore]:
        """A store of 40 documents, whose metadata has names that an index reserves."""
        store = MlretVectorStore(tmp_path_factory.mktemp("filters") / "store", OTHER)
        random = np.random.default_rng(0)
        chosen = [
            {name: VALUES[random.integers(len(VALUES))] for name in NAMES if random.random() < 0.6} for _ in range(40)
        ]
        store.add_texts([f"text {number}" for number in range(40)], chosen)
        yield store
        store.index.close()

    @pytest.mark.filterwarnings("ignore::mlret.errors.FilterWarning")
    @given(filter=filters)
    def test_a_filter_passes_what_the_metadata_says(self, varied: MlretVectorStore, filter: dict[str, Any]) -> None:
        everything = varied.similarity_search("text", k=100)
        assert len(everything) == 40
        expected = [document for document in everything if holds(filter, document.metadata)]
        assert varied.similarity_search("text", k=100, filter=filter) == expected
        assert varied.similarity_search_by_vector(OTHER.embed_query("text"), 100, filter=filter) == expected

    def test_a_function_is_refused_with_the_way_out(self, filled: MlretVectorStore) -> None:
        for search in (filled.similarity_search, filled.max_marginal_relevance_search):
            with pytest.raises(InputError, match="this is a function"):
                search("a train", filter=lambda document: True)

    @pytest.mark.parametrize(
        ("filter", "message"),
        [
            ({"year": {"$regex": "x"}}, "unknown operator '\\$regex' on 'year'"),
            ({"$and": {"year": 1}}, "\\$and takes a list of filters"),
            ({"$nor": [{"year": 1}]}, "unknown operator '\\$nor'"),
            ("year = 1", "is str"),
            ({3: 1}, "names are strings"),
        ],
    )
    def test_mistakes_are_named(self, filled: MlretVectorStore, filter: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            filled.similarity_search("a train", filter=filter)

    def test_deep_nesting_is_refused(self, filled: MlretVectorStore) -> None:
        deep: dict[str, Any] = {"year": 1}
        for _ in range(500):
            deep = {"$not": deep}
        with pytest.raises(InputError, match="nested more than 64 deep"):
            filled.similarity_search("a train", filter=deep)

    def test_a_filter_is_not_changed(self) -> None:
        filter = {"$or": [{"id": 1}, {"$not": {"language": "de"}}]}
        before = copy.deepcopy(filter)
        assert to_where(filter, show_language=False) == {"$or": [{"~id": 1}, {"$not": {"~language": "de"}}]}
        assert filter == before


class TestHybridSearch:
    @pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
    def test_each_type_of_search_is_the_mode_of_the_index(self, filled: MlretVectorStore, mode: Any) -> None:
        expected = [hit.id for hit in filled.index.search("xk-4711 library", 3, mode=mode)]
        assert expected
        assert ids(filled.search("xk-4711 library", mode, k=3)) == expected
        assert ids(asyncio.run(filled.asearch("xk-4711 library", mode, k=3))) == expected
        assert ids(filled.similarity_search("xk-4711 library", k=3, mode=mode)) == expected
        retriever = filled.as_retriever(search_type=mode, search_kwargs={"k": 3})
        assert ids(retriever.invoke("xk-4711 library")) == expected
        assert ids(asyncio.run(retriever.ainvoke("xk-4711 library"))) == expected
        assert ids(MlretRetriever(store=filled, mode=mode, k=3).invoke("xk-4711 library")) == expected

    def test_an_index_with_a_lexical_channel_is_searched_by_both_channels(self, filled: MlretVectorStore) -> None:
        [hit] = filled.index.search("xk-4711", 1)
        assert hit.kind == "fused"
        assert filled.similarity_search_with_score("xk-4711", 1) == [(filled.get_by_ids(["part"])[0], hit.score)]

    def test_embeddings_of_others_are_a_channel_like_ours(self, tmp_path: Path) -> None:
        store = MlretVectorStore(tmp_path / "store", OTHER, settings=IndexSettings(lexical=True))
        store.add_texts(list(TEXTS.values()), ids=list(TEXTS))
        vectors = np.array([OTHER.embed_query("xk-4711")])
        [expected] = store.index.search_batch(["xk-4711"], 4, vectors=vectors, mode="hybrid")
        assert [score for _, score in store.similarity_search_with_score("xk-4711")] == [hit.score for hit in expected]
        assert ids(store.search("xk-4711", "lexical")) == ["part"]

    def test_a_mode_that_the_index_lacks_is_refused(self, other: MlretVectorStore) -> None:
        with pytest.raises(InputError, match="no lexical channel"):
            other.search("a", "hybrid")
        with pytest.raises(ValueError, match="search_type of keywords not allowed"):
            other.search("a", "keywords")
        with pytest.raises(ValueError, match="search_type of keywords not allowed"):
            other.as_retriever(search_type="keywords")


class TestRelevance:
    def test_it_is_the_cosine_and_never_negative(self, other: MlretVectorStore) -> None:
        texts = [f"text {number}" for number in range(30)]
        other.add_texts(texts, ids=texts)
        found = other.similarity_search_with_relevance_scores("query", k=30)
        cosines = {text: max(0.0, cosine(OTHER.embed_query("query"), OTHER.embed_query(text))) for text in texts}
        assert 0 < sum(cosine == 0 for cosine in cosines.values()) < 30
        assert {document.id: score for document, score in found} == pytest.approx(cosines, abs=1e-6)
        retriever = other.as_retriever(
            search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.3, "k": 30}
        )
        assert set(ids(retriever.invoke("query"))) == {text for text, cosine in cosines.items() if cosine >= 0.3}
        assert ids(asyncio.run(retriever.ainvoke("query"))) == ids(retriever.invoke("query"))

    def test_hybrid_scores_are_relevance_and_lexical_ones_are_not(self, filled: MlretVectorStore) -> None:
        scored = filled.similarity_search_with_score("xk-4711", mode="hybrid")
        assert filled.similarity_search_with_relevance_scores("xk-4711", mode="hybrid") == scored
        with pytest.raises(InputError, match="bm25 have no largest value"):
            filled.similarity_search_with_relevance_scores("xk-4711", mode="lexical")


def cosine(one: Any, another: Any) -> float:
    return float(np.dot(one, another) / np.linalg.norm(one) / np.linalg.norm(another))


class TestEmbeddingsOfOthers:
    def test_scores_are_cosines_of_their_vectors(self, other: MlretVectorStore) -> None:
        texts = [f"text {number}" for number in range(50)]
        other.add_texts(texts, ids=texts)
        cosines = {text: cosine(OTHER.embed_query("query"), OTHER.embed_documents([text])[0]) for text in texts}
        best = sorted(texts, key=lambda text: -cosines[text])[:7]
        found = other.similarity_search_with_score("query", k=7)
        assert [document.id for document, _ in found] == best
        assert [score for _, score in found] == pytest.approx([cosines[text] for text in best], abs=1e-6)
        memory = InMemoryVectorStore(OTHER)
        memory.add_texts(texts, ids=texts)
        assert ids(other.similarity_search("query", k=50)) == ids(memory.similarity_search("query", k=50))
        assert other.embeddings is OTHER

    def test_a_folder_opens_only_with_the_same_class_and_model(self, tmp_path: Path) -> None:
        with MlretVectorStore(tmp_path / "store", Named("small")).index as made:
            MlretVectorStore(made, Named("small")).add_texts(["a"], ids=["a"])
        with pytest.raises(FingerprintError, match="langchain:Named:small, not of external:langchain:Named:large"):
            MlretVectorStore(tmp_path / "store", Named("large"))
        with MlretVectorStore(tmp_path / "store", Named("small")).index as index:
            assert "a" in index
        with Index.open(tmp_path / "store") as index:  # The caller says so.
            assert ids(MlretVectorStore(index, Named("large")).similarity_search("a")) == ["a"]

    def test_own_and_other_vectors_are_never_mixed(
        self, tmp_path: Path, store: MlretVectorStore, other: MlretVectorStore, embeddings: MlretEmbeddings
    ) -> None:
        with pytest.raises(InputError, match="must not be mixed"):
            MlretVectorStore(store.index, OTHER)
        with pytest.raises(InputError, match="must not be mixed"):
            MlretVectorStore(store.index.path, OTHER)
        with pytest.raises(InputError, match="give its Embeddings"):
            MlretVectorStore(other.index.path)
        with pytest.raises(InputError, match="give its Embeddings"):
            MlretVectorStore(other.index, embeddings)

    def test_vectors_of_another_size_are_refused(self, other: MlretVectorStore) -> None:
        wide = MlretVectorStore(other.index, DeterministicFakeEmbedding(size=9))
        with pytest.raises(InputError, match=r"\(1, 9\); they must be \(n, 8\)"):
            wide.add_texts(["a"])
        with pytest.raises(InputError, match="not lists of numbers of one length"):
            other.similarity_search_by_vector([[1.0], [2.0, 3.0]])  # type: ignore[list-item]

    def test_vectors_may_be_integers(self, tmp_path: Path) -> None:
        store = MlretVectorStore(tmp_path / "store", Counting())
        store.add_texts(["a", "bcdefgh"])
        assert [document.page_content for document in store.similarity_search("12345678")] == ["bcdefgh", "a"]

    def test_an_index_of_given_vectors_made_by_mlret_can_be_searched(self, tmp_path: Path) -> None:
        with Index.create(tmp_path / "given", ExternalEncoder("my-model", 8)) as given:
            given.add(list(TEXTS.values()), vectors=np.array(OTHER.embed_documents(list(TEXTS.values()))))
            [found] = MlretVectorStore(given, OTHER).similarity_search(TEXTS["maize"], k=1)
            assert found.page_content == TEXTS["maize"]


class Named(DeterministicFakeEmbedding):
    """Embeddings that state the name of a model."""

    model: str

    def __init__(self, model: str) -> None:
        super().__init__(size=4, model=model)  # type: ignore[call-arg]


class TestOurEmbeddings:
    def test_queries_and_documents_have_their_prompts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        encoder = mlret.load_encoder()
        assert isinstance(encoder, LightEncoder)
        monkeypatch.setitem(encoder.folder.prompts, "query", "query: ")
        monkeypatch.setitem(encoder.folder.prompts, "document", "passage: ")
        embeddings, text = MlretEmbeddings(encoder), TEXTS["train"]
        assert embeddings.embed_query(text) == encoder.encode([f"query: {text}"])[0].tolist()
        assert embeddings.embed_documents([text]) == encoder.encode([f"passage: {text}"]).tolist()
        assert embeddings.embed_query(text) != embeddings.embed_documents([text])[0]
        assert embeddings.embed_documents([]) == []

    def test_fewer_dimensions_are_kept_at_unit_length(self, embeddings: MlretEmbeddings) -> None:
        short = MlretEmbeddings(embeddings.encoder, dims=32)
        full = np.array(embeddings.embed_query("a"))
        assert short.embed_query("a") == pytest.approx(full[:32] / np.linalg.norm(full[:32]), abs=1e-6)
        for dims in (0, 385):
            with pytest.raises(InputError, match=f"dims is {dims}"):
                MlretEmbeddings(embeddings.encoder, dims=dims)

    def test_another_store_finds_with_them_what_ours_finds(self, filled: MlretVectorStore) -> None:
        ours = filled.embeddings
        assert isinstance(ours, MlretEmbeddings)
        memory = InMemoryVectorStore(ours)
        memory.add_documents(filled.get_by_ids(list(TEXTS)))
        for query in ("the train is late", "what does food cost?", "a place to read"):
            expected = memory.similarity_search_with_score(query, k=4)
            found = filled.similarity_search_with_score(query, k=4, mode="dense")
            assert [document for document, _ in found] == [document for document, _ in expected]
            assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-5)
            vector = ours.embed_query(query)
            assert filled.similarity_search_by_vector(vector) == [document for document, _ in found]

    def test_a_new_store_keeps_as_many_dimensions_as_they_do(self, tmp_path: Path, embeddings: MlretEmbeddings) -> None:
        short = MlretEmbeddings(embeddings.encoder, dims=32)
        with MlretVectorStore(tmp_path / "store", short).index as index:
            assert index.info().dims == 32
            reopened = MlretVectorStore(index, short)
            reopened.add_texts(["", "a train"], ids=["blank", "train"])
            assert ids(reopened.max_marginal_relevance_search("Zug")) == ["train"]
            assert len(reopened.embeddings.embed_query("a")) == 32  # type: ignore[union-attr]
            with pytest.raises(InputError, match="keeps 32 dimensions, but the embeddings 64"):
                MlretVectorStore(index, MlretEmbeddings(embeddings.encoder, dims=64))

    def test_an_encoder_of_tokens_is_refused_with_the_way_out(self) -> None:
        with pytest.raises(InputError, match="give an index of it to MlretVectorStore"):
            MlretEmbeddings("bundled:multi-vector")


class TestFolders:
    def test_what_was_added_is_there_after_reopening(self, tmp_path: Path, embeddings: MlretEmbeddings) -> None:
        texts, settings = list(TEXTS.values()), IndexSettings(lexical=True)
        store = MlretVectorStore.from_texts(
            texts, embeddings, [{"id": 1}] * 4, index=tmp_path / "store", ids=list(TEXTS), settings=settings
        )
        found = store.similarity_search_with_score("the train is late")
        store.index.close()
        for embedding in (None, embeddings):
            reopened = MlretVectorStore(str(tmp_path / "store"), embedding, settings=settings)
            assert reopened.similarity_search_with_score("the train is late") == found
            assert found[0][0] == Document(TEXTS["train"], id="train", metadata={"id": 1})
            reopened.index.close()
        with pytest.raises(InputError, match="created with other settings"):
            MlretVectorStore(tmp_path / "store", settings=IndexSettings())

    def test_from_documents_adds_to_a_store_that_exists(self, tmp_path: Path) -> None:
        for documents in ([Document("a", id="a"), Document("b")], [Document("new", id="a")]):
            with MlretVectorStore.from_documents(documents, OTHER, index=tmp_path / "store").index as index:
                pass
        with MlretVectorStore(tmp_path / "store", OTHER).index as index:
            assert sorted(document.text for document in index.documents()) == ["b", "new"]

    def test_a_class_method_gives_a_store_in_a_task(self, tmp_path: Path) -> None:
        made = asyncio.run(MlretVectorStore.afrom_texts(["a"], OTHER, index=tmp_path / "texts", ids=["x"]))
        assert made.get_by_ids(["x"]) == [Document("a", id="x")]
        made = asyncio.run(MlretVectorStore.afrom_documents([Document("b", id="y")], OTHER, index=tmp_path / "more"))
        assert made.get_by_ids(["y"]) == [Document("b", id="y")]

    def test_a_retriever_creates_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound):
            MlretRetriever(store=tmp_path / "missing")
        assert not (tmp_path / "missing").exists()


class TestIndexBuiltByMlret:
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("built")
        lines = [
            {"id": "train", "text": TEXTS["train"], "lang": "de", "year": 2024},
            {"id": "maize", "text": TEXTS["maize"], "lang": "sw", "title": "Mahindi"},
            {"id": "library", "text": TEXTS["library"], "lang": "ja"},
        ]
        (folder / "news.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        done = CliRunner().invoke(app, ["index", "build", str(folder / "news.index"), str(folder / "news.jsonl")])
        assert done.exit_code == 0, done.output
        return folder / "news.index"

    def test_it_opens_as_a_store_and_a_retriever(self, folder: Path) -> None:
        with MlretVectorStore(folder).index as index:
            [found] = MlretVectorStore(index).similarity_search("the train is late", k=1)
            assert found == Document(TEXTS["train"], id="train", metadata={"year": 2024})
        retriever = MlretRetriever(store=str(folder), k=1)
        assert ids((retriever | RunnableLambda(lambda found: found)).invoke("what does food cost?")) == ["maize"]
        retriever.store.index.close()

    def test_its_languages_can_be_shown_and_filtered(self, folder: Path) -> None:
        store = MlretVectorStore(folder, show_language=True)
        found = store.similarity_search("news", filter={"language": ["sw", "ja"]})
        assert {document.id: document.metadata for document in found} == {
            "maize": {"title": "Mahindi", "language": "sw"},
            "library": {"language": "ja"},
        }
        assert ids(store.similarity_search("news", filter={"$not": {"language": {"$ne": "de"}}})) == ["train"]
        store.index.close()

    def test_documents_of_both_are_found_together(self, folder: Path) -> None:
        store = MlretVectorStore(folder, show_language=True)
        store.add_documents([Document("Treni imechelewa.", id="x", metadata={"language": "sw", "id": 9})])
        assert set(ids(store.similarity_search("news", filter={"language": "sw"}))) == {"maize", "x"}
        plain = MlretVectorStore(store.index)
        assert plain.get_by_ids(["x"]) == store.get_by_ids(["x"])
        assert ids(plain.similarity_search("news", filter={"language": "sw"})) == ["x"]
        store.delete(["x"])
        store.index.close()


def reference_of_mmr(query: Any, vectors: Any, k: int, balance: float) -> list[int]:
    """Choose by maximal marginal relevance (Carbonell and Goldstein 1998), one after another."""
    relevance = [cosine(query, vector) for vector in vectors]
    chosen: list[int] = []
    while len(chosen) < min(k, len(vectors)):
        values = {
            place: balance * relevance[place]
            - (1 - balance) * max([cosine(vectors[place], vectors[one]) for one in chosen], default=0)
            for place in range(len(vectors))
            if place not in chosen
        }
        chosen.append(max(values, key=lambda place: (relevance if not chosen else values)[place]))
    return chosen


class TestMaximalMarginalRelevance:
    @pytest.fixture(scope="class")
    def many(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlretVectorStore]:
        store = MlretVectorStore(tmp_path_factory.mktemp("mmr") / "store", OTHER)
        store.add_texts([f"text {number}" for number in range(60)], [{"odd": number % 2} for number in range(60)])
        yield store
        store.index.close()

    @given(query=st.text("abc", min_size=1), k=st.integers(1, 8), fetch_k=st.integers(1, 30), balance=st.floats(0, 1))
    def test_it_chooses_what_the_definition_says(
        self, many: MlretVectorStore, query: str, k: int, fetch_k: int, balance: float
    ) -> None:
        nearest = many.similarity_search(query, k=fetch_k, filter={"odd": 1})
        vectors = [OTHER.embed_query(document.page_content) for document in nearest]
        expected = [nearest[place] for place in reference_of_mmr(OTHER.embed_query(query), vectors, k, balance)]
        found = many.max_marginal_relevance_search(query, k, fetch_k, balance, filter={"odd": 1})
        assert found == expected

    def test_all_ways_to_it_are_the_same(self, filled: MlretVectorStore) -> None:
        expected = filled.max_marginal_relevance_search("a train", 3, 4, 0.3)
        vector = filled.embeddings.embed_query("a train")  # type: ignore[union-attr]
        assert filled.max_marginal_relevance_search_by_vector(vector, 3, 4, 0.3) == expected
        options = {"k": 3, "fetch_k": 4, "lambda_mult": 0.3}
        assert filled.as_retriever(search_type="mmr", search_kwargs=options).invoke("a train") == expected
        assert asyncio.run(filled.amax_marginal_relevance_search("a train", 3, 4, 0.3)) == expected

    def test_an_empty_store_gives_nothing_and_a_zero_vector_is_refused(self, other: MlretVectorStore) -> None:
        assert other.max_marginal_relevance_search("a") == []
        with pytest.raises(InputError, match="the query vector is zero"):
            other.max_marginal_relevance_search_by_vector([0.0] * 8)


class TestThreadsAndTasks:
    def test_tasks_add_search_and_delete_at_once(self, store: MlretVectorStore) -> None:
        async def everything() -> list[Any]:
            adding = [
                store.aadd_texts([f"train {number}"] * 3, ids=[f"{number}-{i}" for i in range(3)])
                for number in range(8)
            ]
            searching = [store.asimilarity_search("train", k=2) for _ in range(8)]
            diverse = [store.amax_marginal_relevance_search("train", k=2) for _ in range(4)]
            deleting = [store.adelete([f"{number}-0"]) for number in range(8)]
            return list(await asyncio.gather(*adding, *searching, *diverse, *deleting))

        done = asyncio.run(everything())
        assert done[:8] == [[f"{number}-{i}" for i in range(3)] for number in range(8)]
        assert all(len(found) <= 2 for found in done[8:20])
        store.delete([f"{number}-0" for number in range(8)])
        assert {document.id for document in store.index.documents()} == {
            f"{number}-{i}" for number in range(8) for i in (1, 2)
        }

    def test_writers_wait_for_each_other_however_long_it_takes(self, other: MlretVectorStore) -> None:
        other.index.store.lock.timeout = 0  # Between processes, a writer that waits for longer gives up.
        started = threading.Barrier(8)

        def write(number: int) -> None:
            started.wait()
            for turn in range(5):
                other.add_texts([f"{number} {turn}"])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(8)))
        assert len(other.index) == 40

    def test_a_document_that_goes_while_it_is_chosen_is_left_out(
        self, filled: MlretVectorStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = filled.index.vectors

        def read_after_deletion(ids: list[str]) -> Any:
            filled.delete(["train"])
            return read(ids)

        monkeypatch.setattr(filled.index, "vectors", read_after_deletion)
        assert set(ids(filled.max_marginal_relevance_search("a train"))) == {"maize", "library", "part"}


class TestIndexingWithARecordManager:
    """``langchain_core.indexing.index`` keeps a store up to date with its sources."""

    @pytest.fixture(params=["store", "document index"])
    def destination(self, request: pytest.FixtureRequest, other: MlretVectorStore) -> VectorStore | DocumentIndex:
        return other if request.param == "store" else MlretDocumentIndex(store=other)

    def test_sources_are_added_skipped_changed_and_removed(
        self, destination: VectorStore | DocumentIndex, other: MlretVectorStore
    ) -> None:
        manager = InMemoryRecordManager("news")
        manager.create_schema()

        def run(*texts: str, cleanup: Any) -> dict[str, int]:
            documents = [Document(text, metadata={"source": text[0]}) for text in texts]
            done = index(documents, manager, destination, cleanup=cleanup, source_id_key="source", key_encoder="sha256")
            return {name: count for name, count in done.items() if count}

        def stored() -> list[str]:
            return sorted(document.text for document in other.index.documents())

        assert run("a one", "b one", "b one", cleanup="incremental") == {"num_added": 2, "num_skipped": 1}
        assert run("a one", "b one", cleanup="incremental") == {"num_skipped": 2}
        assert run("a two", cleanup="incremental") == {"num_added": 1, "num_deleted": 1}
        assert stored() == ["a two", "b one"]
        assert run("c one", cleanup="full") == {"num_added": 1, "num_deleted": 2}
        assert stored() == ["c one"]
        [document] = other.similarity_search("c one")
        assert document.metadata == {"source": "c"}

    def test_it_runs_in_a_task(self, destination: VectorStore | DocumentIndex, other: MlretVectorStore) -> None:
        manager = InMemoryRecordManager("news")
        manager.create_schema()
        documents = [Document(text, metadata={"source": "s"}) for text in ("one", "two")]

        async def run(cleanup: Any, *some: Document) -> Any:
            return await aindex(
                some, manager, destination, cleanup=cleanup, source_id_key="source", key_encoder="sha256"
            )

        assert asyncio.run(run("full", *documents))["num_added"] == 2
        assert asyncio.run(run("full", documents[1]))["num_deleted"] == 1
        assert [document.text for document in other.index.documents()] == ["two"]


class TestRetrievers:
    def test_options_of_a_call_take_precedence(self, filled: MlretVectorStore) -> None:
        retriever = MlretRetriever(store=filled, k=1, filter={"place": {"$gte": 1}}, mode="dense", language="en")
        assert len(retriever.invoke("a train")) == 1
        assert ids(retriever.invoke("a train", filter={"place": 0})) == ["train"]
        assert len(asyncio.run(retriever.ainvoke("a train", k=3))) == 3
        assert retriever.batch(["a train", "xk-4711"], mode="lexical")[1][0].id == "part"

    def test_an_open_index_is_taken(self, filled: MlretVectorStore) -> None:
        assert ids(MlretRetriever(store=filled.index, k=1).invoke("the train is late")) == ["train"]

    def test_a_document_index_takes_the_same_options(self, filled: MlretVectorStore) -> None:
        documents = MlretDocumentIndex(store=filled, k=2)
        documents.upsert([Document("The train is on time.", id="new")])
        assert set(ids(documents.invoke("the train is late"))) == {"train", "new"}
        assert documents.get(["new", "missing"]) == [Document("The train is on time.", id="new")]


def test_examples_of_the_classes_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each begins where the one before ended."""
    monkeypatch.chdir(tmp_path)
    names = {"Document": Document, "IndexSettings": IndexSettings}
    runner = doctest.DocTestRunner(verbose=False)
    for kind in (MlretEmbeddings, MlretVectorStore, MlretRetriever, MlretDocumentIndex):
        names[kind.__name__] = kind
        example = doctest.DocTestParser().get_doctest(inspect.getdoc(kind) or "", names, kind.__name__, None, None)
        assert example.examples
        runner.run(example, clear_globs=False)
        names = example.globs
    assert runner.summarize().failed == 0


def test_code_of_the_page_runs_and_prints_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = "docs/how-to/use-in-langchain.md"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    found = blocks(page)
    assert sum(language == "text" for language, _ in found) > 5
    run_page(page, found, {"__name__": "__page__"}, capsys)
