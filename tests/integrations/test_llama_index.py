"""Test mlret within LlamaIndex: the vector store beside LlamaIndex's SimpleVectorStore, and both end to end.

Where SimpleVectorStore (of llama-index-core 0.14.25) does not do what LlamaIndex documents, mlret's store does, and the
tests compare it with the documented meaning:

- Filters within filters, which ``MetadataFilters`` allows, are refused there.
- ``doc_ids`` and ``mmr_threshold`` of a query are ignored there; the threshold is read from an argument of ``query``.
- The mode ``mmr`` discounts there only what resembles the result before, and not "previous results".
- The modes ``sparse`` and ``hybrid``, and ``get_nodes``, are missing there.
- A filter fails there with a TypeError if one node has a value of another type; here that node does not pass.
- ``text_match_insensitive`` compares lower-case letters there, so that ``ΟΔΟΣ`` does not contain ``Σ``.
- A node without a source document has the source ``"None"`` there, so that ``delete("None")`` deletes it.
- ``in`` and ``any`` with a string instead of a list mean its letters there; here they are refused, as is ``==`` with a
  list or None.
- ``delete_nodes()`` without arguments deletes everything there; here it is refused, and ``clear`` does that.
- An empty list of ``node_ids`` finds nothing there. A retriever passes it to a store of texts if it restricts nothing,
  so it restricts nothing here.
- True is greater than 0 there; here ranges are of numbers and strings alone.
"""

from __future__ import annotations

import asyncio
import pickle
import warnings
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("llama_index.core", reason="make test-integrations installs it")

from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.indices.query.embedding_utils import get_top_k_mmr_embeddings
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import TokenTextSplitter
from llama_index.core.retrievers import VectorIndexRetriever
from llama_index.core.schema import (
    BaseNode,
    ImageNode,
    IndexNode,
    MediaResource,
    Node,
    NodeRelationship,
    NodeWithScore,
    ObjectType,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters, SimpleVectorStore
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

from mlret import ExternalEncoder, Index, IndexSettings, load_encoder
from mlret.errors import FilterWarning, FingerprintError, InputError, MlretError
from mlret.integrations.llama_index import MlretEmbedding, MlretVectorStore
from mlret.integrations.llama_index.diversity import marginally_relevant
from tests.conftest import examples
from tests.test_documentation import blocks, run_page

pytestmark = pytest.mark.frameworks

DIMS = 6
ENCODER = ExternalEncoder("test", DIMS)


def vector(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(DIMS).astype(np.float32)


def node(id: str, seed: int, source: str | None = None, metadata: dict[str, Any] | None = None) -> TextNode:
    relationships = {} if source is None else {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=source)}
    fields: dict[str, Any] = {"relationships": relationships, "metadata": metadata or {}}
    return TextNode(id_=id, text=f"text of {id}", embedding=vector(seed).tolist(), **fields)


def ask(seed: int = 999, **fields: Any) -> VectorStoreQuery:
    return VectorStoreQuery(**{"query_embedding": vector(seed).tolist(), "similarity_top_k": 50, **fields})


def ids_of(store: Any, query: VectorStoreQuery, **kwargs: Any) -> list[str]:
    return list(store.query(query, **kwargs).ids)


@pytest.fixture
def store(tmp_path: Path) -> MlretVectorStore:
    return MlretVectorStore.from_params(tmp_path / "nodes", ENCODER, IndexSettings(lexical=True))


# --- Beside SimpleVectorStore --------------------------------------------------------------------------------------

KEYS = ["a", "b", "id", "text", "lang", "~a"]
TEXTS = st.sampled_from(["", "x", "xy", "Xy", "y", "1", "sw"])
NUMBERS = st.integers(-2, 2) | st.sampled_from([0.5, -1.5, 1.0])
VALUES = (
    st.none() | st.booleans() | NUMBERS | TEXTS | st.lists(TEXTS, max_size=2) | st.lists(st.integers(0, 2), max_size=2)
)
METADATA = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4)
SOURCES = ["s1", "s2"]
IDS = st.sampled_from(["n0", "n1", "n2", "n9"])
NODES = st.lists(
    st.builds(
        lambda number, seed, source, metadata: node(f"n{number}", seed, source, metadata),
        st.integers(0, 5),
        st.integers(0, 10_000),
        st.sampled_from([None, *SOURCES]),
        METADATA,
    ),
    max_size=8,
    unique_by=lambda one: tuple(one.get_embedding()),  # Stores order results with equal scores in different ways.
)
ORDER = [FilterOperator.GT, FilterOperator.GTE, FilterOperator.LT, FilterOperator.LTE]
FILTERS = st.builds(
    lambda key, some: MetadataFilter(key=key, operator=some[0], value=some[1]),
    st.sampled_from([*KEYS, "missing"]),
    st.tuples(st.sampled_from([FilterOperator.EQ, FilterOperator.NE, FilterOperator.CONTAINS, *ORDER]), NUMBERS | TEXTS)
    | st.tuples(st.sampled_from([FilterOperator.TEXT_MATCH, FilterOperator.TEXT_MATCH_INSENSITIVE]), TEXTS)
    | st.tuples(
        st.sampled_from([FilterOperator.IN, FilterOperator.NIN, FilterOperator.ANY, FilterOperator.ALL]),
        st.lists(TEXTS, max_size=3) | st.lists(st.integers(-1, 2), max_size=3),
    )
    | st.tuples(st.just(FilterOperator.IS_EMPTY), st.none()),
)
FLAT = st.builds(
    lambda some, condition: MetadataFilters(filters=some, condition=condition),
    st.lists(FILTERS, max_size=3),
    st.sampled_from([None, *FilterCondition]),
)
NESTED = st.recursive(
    FLAT,
    lambda inner: st.builds(
        lambda some, condition: MetadataFilters(filters=some, condition=condition),
        st.lists(inner | FILTERS, max_size=3),
        st.sampled_from(list(FilterCondition)),
    ),
    max_leaves=4,
)


def passes_one(metadata: dict[str, Any], one: MetadataFilter) -> bool:
    """Return what SimpleVectorStore says of one filter; a node with a value of another type does not pass."""
    if one.operator in ORDER and isinstance(metadata.get(one.key), bool):
        return False
    try:
        return build_metadata_filter_fn(lambda _: metadata, MetadataFilters(filters=[one]))("")
    except TypeError:
        return False


def passes(metadata: dict[str, Any], filters: MetadataFilters) -> bool:
    found = [
        passes(metadata, one) if isinstance(one, MetadataFilters) else passes_one(metadata, one)
        for one in filters.filters
    ]
    if filters.condition == FilterCondition.NOT:
        return not any(found) or not found
    return any(found) or not found if filters.condition == FilterCondition.OR else all(found)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> MlretVectorStore:
    """Return a store that examples use one after the other: creating one takes longer than clearing it."""
    return MlretVectorStore.from_params(tmp_path_factory.mktemp("store") / "nodes", ENCODER)


def filled(own: MlretVectorStore, nodes: Sequence[BaseNode]) -> SimpleVectorStore:
    """Store nodes in a cleared store, and in a new SimpleVectorStore."""
    simple = SimpleVectorStore()
    own.clear()
    assert own.add(nodes) == simple.add(nodes)
    return simple


@settings(max_examples=examples(200), deadline=None, suppress_health_check=list(HealthCheck))
@given(NODES, FLAT, st.integers(0, 99), st.integers(1, 6), st.none() | st.lists(IDS, min_size=1))
@pytest.mark.filterwarnings("ignore::mlret.errors.FilterWarning")
def test_queries_find_what_simple_vector_store_finds(
    own: MlretVectorStore,
    nodes: list[TextNode],
    filters: MetadataFilters,
    seed: int,
    k: int,
    node_ids: list[str] | None,
) -> None:
    if any(one.operator in ORDER for one in filters.filters if isinstance(one, MetadataFilter)):
        # True and False have no order here.
        nodes = [one for one in nodes if not any(isinstance(value, bool) for value in one.metadata.values())]
    simple = filled(own, nodes)
    query = ask(seed, filters=filters, similarity_top_k=k, node_ids=node_ids)
    found = own.query(query)
    try:
        expected = simple.query(query)
    except TypeError:
        return  # It does not answer. The next test compares with what the filters mean.
    assert (found.ids, found.similarities) == (expected.ids, pytest.approx(expected.similarities, abs=2e-6))


@settings(max_examples=examples(300), deadline=None, suppress_health_check=list(HealthCheck))
@given(NODES, NESTED, st.none() | st.lists(st.sampled_from([*SOURCES, "s9"])))
@pytest.mark.filterwarnings("ignore::mlret.errors.FilterWarning")
def test_filters_mean_what_is_documented(
    own: MlretVectorStore, nodes: list[TextNode], filters: MetadataFilters, doc_ids: list[str] | None
) -> None:
    filled(own, nodes)
    kept = {one.node_id: one for one in nodes}  # The last of several with one id.
    passed = {id for id, one in kept.items() if passes(one.metadata, filters)}
    expected = {id for id in passed if doc_ids is None or kept[id].ref_doc_id in doc_ids}
    assert set(ids_of(own, ask(filters=filters, doc_ids=doc_ids))) == expected
    assert {one.node_id for one in own.get_nodes(filters=filters)} == passed
    assert {one.node_id for one in own.get_nodes(["n1", "n2", "n9"], filters)} == passed & {"n1", "n2"}
    if filters.filters:
        own.delete_nodes(["n1"], filters)
        own.delete_nodes(filters=filters)
    assert {one.node_id for one in own.get_nodes()} == (kept.keys() - passed if filters.filters else kept.keys())


@settings(max_examples=examples(50), deadline=None, suppress_health_check=list(HealthCheck))
@given(NODES, NODES, st.sampled_from([*SOURCES, "s9"]), st.lists(IDS))
def test_stores_agree_after_replacing_and_deleting(
    own: MlretVectorStore, nodes: list[TextNode], more: list[TextNode], source: str, some: list[str]
) -> None:
    simple = filled(own, nodes)
    for change in (
        lambda store: store.delete(source),
        lambda store: store.add(more),
        lambda store: store.delete_nodes(some),
        lambda store: store.delete("s1"),
        lambda store: store.clear(),
    ):
        for one in (simple, own):
            change(one)
        found, expected = own.query(ask()), simple.query(ask())
        assert sorted(found.ids) == sorted(expected.ids)
        assert found.similarities == pytest.approx(expected.similarities, abs=2e-6)


def test_a_source_named_none_is_not_that_of_nodes_without_a_source(store: MlretVectorStore) -> None:
    store.add([node("alone", 1), node("of none", 2, "None")])
    store.delete("None")
    assert [one.node_id for one in store.get_nodes()] == ["alone"]
    store.delete("unknown")
    store.delete("")
    assert len(store.client) == 1


@pytest.mark.parametrize("name", ["ref_doc_id", "doc_id", "document_id"])
def test_filters_find_nodes_by_their_source(store: MlretVectorStore, name: str) -> None:
    store.add([node("a", 1, "s1"), node("b", 2, "s2"), node("c", 3)])
    for operator, value, expected in (("==", "s1", {"a"}), ("in", ["s1", "s2"], {"a", "b"}), ("is_empty", None, {"c"})):
        filters = MetadataFilters(filters=[MetadataFilter(key=name, value=value, operator=operator)])
        assert set(ids_of(store, ask(filters=filters))) == expected


def test_case_is_ignored_by_unicode_rules(store: MlretVectorStore) -> None:
    store.add([node("a", 1, None, {"street": "Hauptstraße"}), node("b", 2, None, {"street": "ΟΔΟΣ"})])
    for part, expected in (("STRASSE", ["a"]), ("Σ", ["b"]), ("οδο", ["b"]), ("gasse", [])):
        one = MetadataFilter(key="street", value=part, operator=FilterOperator.TEXT_MATCH_INSENSITIVE)
        assert ids_of(store, ask(filters=MetadataFilters(filters=[one]))) == expected


def test_values_within_objects_are_found_by_a_path(store: MlretVectorStore) -> None:
    store.add([node("a", 1, None, {"author": {"born": 1980}}), node("b", 2, None, {"author": {"born": 1990}})])
    one = MetadataFilter(key="author.born", value=1985, operator=">")
    assert ids_of(store, ask(filters=MetadataFilters(filters=[one]))) == ["b"]


@pytest.mark.parametrize(
    ("operator", "value", "message"),
    [
        ("in", "abc", "'in' on 'a' takes a list, not 'abc'"),
        ("any", "abc", "'any' on 'a' takes a list"),
        ("all", 3, "'all' on 'a' takes a list"),
        ("==", None, "takes a string or a number, not None; there are is_empty"),
        ("==", ["x"], "takes a string or a number"),
        (">", ["x"], "takes a string or a number"),
        ("text_match", 3, "'text_match' on 'a' takes a string, not 3"),
    ],
)
def test_filters_that_mean_nothing_are_refused(
    store: MlretVectorStore, operator: str, value: Any, message: str
) -> None:
    filters = MetadataFilters(filters=[MetadataFilter(key="a", value=value, operator=operator)])
    with pytest.raises(InputError, match=message):
        store.query(ask(filters=filters))


def test_a_filter_on_a_field_that_no_node_has_is_warned_of(store: MlretVectorStore) -> None:
    store.add([node("a", 1, None, {"year": 2020})])
    with pytest.warns(FilterWarning, match="no document has the field 'yaer'.* there is 'year'"):
        store.query(ask(filters=MetadataFilters(filters=[MetadataFilter(key="yaer", value=2020)])))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.query(ask(filters=MetadataFilters(filters=[MetadataFilter(key="year", value=2021)]), doc_ids=["s"]))
        store.delete("s")


# --- Nodes come back as they were ----------------------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab~.", max_size=2), inner, max_size=2),
    max_leaves=4,
)
RELATED = st.builds(
    RelatedNodeInfo,
    node_id=st.text("ab", max_size=2),
    node_type=st.sampled_from(ObjectType),
    metadata=st.dictionaries(st.just("k"), JSON),
)
FIELDS: dict[str, Any] = {
    "id_": st.text(st.characters(codec="utf-8"), min_size=1, max_size=6).filter(str.strip),
    "metadata": st.dictionaries(
        st.sampled_from(
            ["id", "text", "lang", "language", "~id", "~node", "~ref_doc_id", "~~node", "a", "a.b", "", "doc_id"]
        ),
        JSON,
        max_size=4,
    ),
    "excluded_embed_metadata_keys": st.lists(st.text("ab", max_size=1), max_size=2),
    "excluded_llm_metadata_keys": st.lists(st.text("ab", max_size=1), max_size=2),
    "relationships": st.fixed_dictionaries(
        {},
        optional={
            NodeRelationship.SOURCE: RELATED,
            NodeRelationship.NEXT: RELATED,
            NodeRelationship.CHILD: st.lists(RELATED, max_size=2),
        },
    ),
    "metadata_template": st.sampled_from(["{key}: {value}", "{key}={value}"]),
    "metadata_separator": st.sampled_from(["\n", "; "]),
    "text_template": st.sampled_from(["{metadata_str}\n\n{content}", "{content} ({metadata_str})"]),
}
CONTENT = st.sampled_from(["", " ", "\n\t", "\u200b", "A text.", " kept as it is \n"]) | st.text(
    st.characters(codec="utf-8"), max_size=8
)
RESOURCE = st.builds(
    MediaResource,
    text=st.none() | CONTENT,
    path=st.none() | st.just(Path("a/b.png")),
    mimetype=st.none() | st.just("text/html"),
)
EVERY_NODE = (
    st.builds(
        TextNode,
        text=CONTENT,
        mimetype=st.sampled_from(["text/plain", "text/html"]),
        start_char_idx=st.none() | st.integers(0, 9),
        **FIELDS,
    )
    | st.builds(
        ImageNode, text=CONTENT, image=st.none() | st.just("aGk="), image_path=st.none() | st.just("a.png"), **FIELDS
    )
    | st.builds(IndexNode, text=CONTENT, index_id=st.text("ab", max_size=2), **FIELDS)
    | st.builds(Node, text_resource=st.none() | RESOURCE, image_resource=st.none() | RESOURCE, **FIELDS)
    | st.builds(Document, text_resource=RESOURCE, **FIELDS)
    | st.builds(lambda text, id: Document(text=text, id_=id), CONTENT, FIELDS["id_"])
)


@settings(max_examples=examples(200), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(EVERY_NODE, max_size=6, unique_by=lambda one: one.id_))
def test_nodes_come_back_as_they_were(own: MlretVectorStore, nodes: list[BaseNode]) -> None:
    before = [one.model_dump() for one in nodes]
    filled(own, [one.model_copy(update={"embedding": vector(place).tolist()}) for place, one in enumerate(nodes)])
    found = own.get_nodes()
    assert [one.model_dump() for one in found] == before == [one.model_dump() for one in nodes]
    assert [type(one) for one in found] == [type(one) for one in nodes]
    assert [one.hash for one in found] == [one.hash for one in nodes]
    assert [one.get_content("all") for one in found] == [one.get_content("all") for one in nodes]
    queried = own.query(ask())
    assert {one.node_id: one.model_dump() for one in queried.nodes} == {one["id_"]: one for one in before}


def test_an_object_of_an_index_node_is_kept(store: MlretVectorStore) -> None:
    inner = TextNode(id_="inner", text="What it refers to.", metadata={"a": 1})
    store.add([IndexNode(id_="outer", text="A summary.", index_id="i", obj=inner, embedding=vector(1).tolist())])
    [found] = store.get_nodes()
    assert isinstance(found, IndexNode)
    assert found.obj == inner


def test_values_that_are_not_json_are_kept_as_llama_index_writes_them(store: MlretVectorStore) -> None:
    store.add([node("a", 1, None, {"nan": float("nan"), "day": date(2026, 5, 1), "pages": {1: ("x", {"y"})}})])
    assert store.get_nodes()[0].metadata == {"nan": None, "day": "2026-05-01", "pages": {"1": ["x", ["y"]]}}


def test_a_class_of_the_user_comes_back_as_the_class_that_it_extends(store: MlretVectorStore) -> None:
    class Chapter(ImageNode):
        @classmethod
        def class_name(cls) -> str:
            return "Chapter"

    store.add([Chapter(id_="a", text="One.", image_path="a.png", embedding=vector(1).tolist())])
    [found] = store.get_nodes()
    assert type(found) is ImageNode
    assert found.image_path == "a.png"


def test_nodes_that_cannot_be_stored_are_refused_and_nothing_is_stored(store: MlretVectorStore) -> None:
    good = node("good", 1)
    for bad, message in (
        (node(" ", 2), "the id is empty"),
        (node("b", 2, None, {"a": object()}), "the node 'b' cannot be written as JSON"),
        (node("b", 2, None, {"a": 10**400}), "is an integer beyond 1e308"),
        (TextNode(id_="b", text="half \ud800", embedding=vector(1).tolist()), "the text holds half a surrogate pair"),
        (TextNode(id_="b", text="b", embedding=[1.0]), r"embeddings of \[1, 6\] dimensions"),
        (TextNode(id_="b", text="b"), "the vectors of this index come from 'test', which mlret does not run"),
    ):
        with pytest.raises(InputError, match=message):
            store.add([good, bad])
    with pytest.raises(InputError, match=r"must be \(n, 6\)|6 dimensions|1 dimension"):
        store.add([TextNode(id_="b", text="b", embedding=[1.0])])
    assert len(store.client) == 0
    assert store.add([]) == []


def test_an_index_that_was_not_made_by_llama_index_is_read(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", ENCODER) as index:
        index.add([{"id": "a", "text": "Der Zug.", "lang": "de", "year": 2020}], vectors=vector(1)[None])
    store = MlretVectorStore(tmp_path / "i")
    filters = MetadataFilters(filters=[MetadataFilter(key="year", value=2020)])
    [found] = store.query(ask(filters=filters)).nodes
    assert (found.node_id, found.text, found.metadata) == ("a", "Der Zug.", {"year": 2020})


# --- Modes ---------------------------------------------------------------------------------------------------------


def test_marginal_relevance_is_that_of_its_definition() -> None:
    for seed in range(20):
        query, vectors = vector(seed), np.stack([vector(1000 * seed + n) for n in range(1, 12)])
        for threshold in (0.0, 0.3, 0.5, 1.0):
            positions, scores = marginally_relevant(query, vectors, 8, threshold)
            # Two results: LlamaIndex looks at the result before alone, and there is no other.
            expected = get_top_k_mmr_embeddings(query.tolist(), vectors.tolist(), None, 2, None, None, threshold)
            assert (positions[:2], scores[:2]) == (expected[1], pytest.approx(expected[0], abs=1e-6))
            unit = [one / np.linalg.norm(one) for one in vectors.astype(np.float64)]
            chosen: list[int] = []
            for place, value in zip(positions, scores, strict=True):
                gains = {
                    n: threshold * float(unit[n] @ query / np.linalg.norm(query))
                    - (1 - threshold) * max((float(unit[n] @ unit[m]) for m in chosen), default=0.0)
                    for n in range(len(unit))
                    if n not in chosen
                }
                assert gains[place] == pytest.approx(value, abs=1e-6)
                assert max(gains.values()) == pytest.approx(value, abs=1e-6)
                chosen.append(place)


def test_a_query_by_marginal_relevance_chooses_as_llama_index_does_up_to_the_second_result(
    store: MlretVectorStore,
) -> None:
    simple = SimpleVectorStore()
    nodes = [node(f"n{n}", n) for n in range(60)]
    for one in (store, simple):
        one.add(nodes)
    for seed in range(10):
        for threshold in (0.1, 0.5, 0.9, 1.0):
            query = ask(seed + 500, similarity_top_k=2 if threshold < 1 else 9, mode=VectorStoreQueryMode.MMR)
            expected = simple.query(query, mmr_threshold=threshold)
            found = store.query(query, mmr_threshold=threshold)
            assert (found.ids, found.similarities) == (expected.ids, pytest.approx(expected.similarities, abs=1e-5))
            query.mmr_threshold = threshold
            assert store.query(query).ids == expected.ids


def test_a_result_that_repeats_an_earlier_one_is_not_chosen(store: MlretVectorStore) -> None:
    axes = np.eye(DIMS)
    near = {"a": axes[0], "b": axes[1], "a again": axes[0] + 0.01 * axes[2], "c": 0.6 * axes[3] + 0.2 * axes[0]}
    store.add([TextNode(id_=id, text=id, embedding=one.tolist()) for id, one in near.items()])
    query = VectorStoreQuery((axes[0] + 0.9 * axes[1]).tolist(), 3, mode=VectorStoreQueryMode.MMR)
    assert store.query(query).ids == ["a", "b", "c"]
    simple = SimpleVectorStore()
    simple.add(store_nodes := [TextNode(id_=id, text=id, embedding=one.tolist()) for id, one in near.items()])
    assert simple.query(query).ids == ["a", "b", "a again"]
    assert len(store_nodes) == 4


def test_marginal_relevance_keeps_within_filters_and_candidates(store: MlretVectorStore) -> None:
    store.add([node(f"n{n}", n, "s1" if n % 2 else "s2") for n in range(20)])
    query = ask(similarity_top_k=30, mode=VectorStoreQueryMode.MMR, doc_ids=["s1"])
    assert {int(id[1:]) % 2 for id in ids_of(store, query)} == {1}
    nearest = ids_of(store, ask(similarity_top_k=5))
    query = ask(similarity_top_k=30, mode=VectorStoreQueryMode.MMR)
    assert sorted(ids_of(store, query, mmr_prefetch_k=5)) == sorted(nearest)
    with pytest.raises(InputError, match="mmr_threshold is 2; it must be from 0 to 1"):
        store.query(query, mmr_threshold=2)
    store.clear()
    assert ids_of(store, query) == []


SENTENCES = [
    "The harbour was closed after the storm.",
    "A storm closed the harbour for two days.",
    "Fishing boats left the harbour at dawn.",
    "The museum opens at nine on Mondays.",
    "Tickets for the museum are sold at the door.",
    "Bei ya mahindi imepanda sokoni.",
]


@pytest.fixture
def sentences(store: MlretVectorStore) -> MlretVectorStore:
    nodes = [
        TextNode(id_=f"n{n}", text=text, metadata={"n": n}, embedding=vector(n).tolist())
        for n, text in enumerate(SENTENCES)
    ]
    store.add(nodes)
    return store


def test_a_sparse_query_ranks_by_words_as_the_index_does(sentences: MlretVectorStore) -> None:
    query = VectorStoreQuery(query_str="harbour storm", similarity_top_k=4, mode=VectorStoreQueryMode.SPARSE)
    found = sentences.query(query)
    hits = sentences.client.search("harbour storm", 4, mode="lexical")
    assert found.ids == [hit.id for hit in hits]
    assert found.ids[-1] == "n2"
    assert found.similarities == [hit.score for hit in hits]
    query.sparse_top_k = 1
    assert len(ids_of(sentences, query)) == 1
    query.filters = MetadataFilters(filters=[MetadataFilter(key="n", value=2)])
    assert ids_of(sentences, query) == ["n2"]


def hybrid(alpha: float | None, **fields: Any) -> VectorStoreQuery:
    given = {
        "query_str": "storm closed the harbour",
        "similarity_top_k": 6,
        "alpha": alpha,
        "mode": VectorStoreQueryMode.HYBRID,
    }
    return ask(7, **{**given, **fields})


def test_a_hybrid_query_without_a_weight_ranks_as_the_index_does(sentences: MlretVectorStore) -> None:
    [hits] = sentences.client.search_batch(["storm closed the harbour"], 6, vectors=vector(7)[None], mode="hybrid")
    for alpha in (None, 0.5):
        found = sentences.query(hybrid(alpha))
        assert found.ids == [hit.id for hit in hits]
        assert found.similarities == pytest.approx([hit.score for hit in hits], abs=1e-6)
    assert ids_of(sentences, hybrid(None, hybrid_top_k=2)) == [hit.id for hit in hits[:2]]


def test_the_weight_leads_from_words_to_the_embedding(sentences: MlretVectorStore) -> None:
    dense = sentences.query(ask(7, similarity_top_k=6))
    sparse = sentences.query(hybrid(None, mode=VectorStoreQueryMode.SPARSE))
    assert sentences.query(hybrid(1)).ids == dense.ids
    assert sentences.query(hybrid(0)).ids == sparse.ids
    assert ids_of(sentences, hybrid(0.01))[: len(sparse.ids)] == sparse.ids
    english = [id for id in dense.ids if id != "n5"]  # In another language, words do not count.
    assert [id for id in ids_of(sentences, hybrid(0.999)) if id != "n5"] == english
    ranks = [ids_of(sentences, hybrid(alpha)).index(dense.ids[-1]) for alpha in (0.05, 0.3, 0.6, 0.95)]
    assert ranks == sorted(ranks)
    with pytest.raises(InputError, match="alpha is 2; it must be from 0"):
        sentences.query(hybrid(2))


def test_what_a_mode_needs_is_said(sentences: MlretVectorStore, tmp_path: Path) -> None:
    for mode in ("svm", "linear_regression", "logistic_regression", "text_search", "semantic_hybrid"):
        with pytest.raises(InputError, match=f"no mode '{mode}'; there are default, sparse, hybrid, mmr"):
            sentences.query(ask(mode=VectorStoreQueryMode(mode)))
    with pytest.raises(InputError, match="the mode 'sparse' needs query_str"):
        sentences.query(ask(mode=VectorStoreQueryMode.SPARSE))
    with pytest.raises(InputError, match="which mlret does not run"):
        sentences.query(VectorStoreQuery(query_str="by whom is this embedded?"))
    with pytest.raises(InputError, match=r"the shape \(1, 1\); they must be \(n, 6\)"):
        sentences.query(VectorStoreQuery(query_embedding=[1.0]))
    without = MlretVectorStore.from_params(tmp_path / "without", ENCODER)
    with pytest.raises(InputError, match="no lexical channel"):
        without.query(hybrid(None))


def test_deleting_everything_has_a_method_of_its_own(sentences: MlretVectorStore) -> None:
    for filters in (None, MetadataFilters(filters=[])):
        with pytest.raises(InputError, match=r"clear\(\) deletes all nodes"):
            sentences.delete_nodes(filters=filters)
    sentences.delete_nodes([])
    assert len(sentences.client) == len(SENTENCES)
    sentences.clear()
    sentences.clear()
    assert len(sentences.client) == 0


# --- Folders -------------------------------------------------------------------------------------------------------


def test_a_store_is_opened_again_in_every_way(sentences: MlretVectorStore) -> None:
    expected = sentences.query(ask())
    copies = [
        MlretVectorStore.from_persist_path(sentences.folder),
        MlretVectorStore.from_params(sentences.folder, ENCODER),
        MlretVectorStore.from_dict(sentences.to_dict()),
        MlretVectorStore.from_json(sentences.to_json()),
        MlretVectorStore(Index.open(sentences.folder)),
        pickle.loads(pickle.dumps(sentences)),
    ]
    for copy in copies:
        assert copy.query(ask()).ids == expected.ids
        assert copy.query(ask()).nodes == expected.nodes
        assert copy.to_dict() == sentences.to_dict()
    copies[0].delete_nodes(["n0"])
    assert len(sentences.client) == len(SENTENCES)
    sentences.client.refresh()
    assert len(sentences.client) == len(SENTENCES) - 1


def test_a_folder_that_does_not_suit_is_refused(store: MlretVectorStore, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such index"):
        MlretVectorStore(tmp_path / "missing")
    with pytest.raises(FingerprintError):
        MlretVectorStore.from_params(store.folder, ExternalEncoder("other", DIMS))
    with pytest.raises(InputError, match="leave fs out"):
        MlretVectorStore.from_persist_path(store.folder, fs=object())
    Index.create(tmp_path / "tokens", ExternalEncoder("test", DIMS, "maxsim")).close()
    with pytest.raises(InputError, match="has a vector for each token"):
        MlretVectorStore(tmp_path / "tokens")


# --- Embedding -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def embedding() -> MlretEmbedding:
    return MlretEmbedding()


def test_queries_and_texts_are_embedded_as_the_encoder_embeds_them(embedding: MlretEmbedding) -> None:
    encoder = load_encoder()
    texts = ["Der Zug hat Verspätung.", "駅前に図書館がある。", "", "Der Zug hat Verspätung."]
    assert np.allclose(embedding.get_text_embedding_batch(texts), encoder.encode_document(texts), atol=1e-5)
    assert np.allclose(embedding.get_text_embedding(texts[1]), encoder.encode_document(texts)[1], atol=1e-5)
    assert np.allclose(embedding.get_query_embedding(texts[0]), encoder.encode_query(texts)[0], atol=1e-5)
    assert embedding.get_text_embedding_batch([]) == []

    async def of_all() -> list[Any]:
        return await asyncio.gather(
            embedding.aget_text_embedding_batch(texts),
            embedding.aget_query_embedding(texts[0]),
            embedding.aget_text_embedding(texts[1]),
        )

    several, query, text = asyncio.run(of_all())
    assert np.allclose(several, encoder.encode_document(texts), atol=1e-5)
    assert np.allclose(query, encoder.encode_query(texts)[0], atol=1e-5)
    assert np.allclose(text, encoder.encode_document(texts)[1], atol=1e-5)


def test_batches_are_as_large_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    embedding = MlretEmbedding(embed_batch_size=2)
    sizes: list[int] = []
    encode = embedding._encoder.encode_document

    def counted(texts: list[str], **options: Any) -> Any:
        sizes.append(len(texts))
        return encode(texts, **options)

    monkeypatch.setattr(embedding._encoder, "encode_document", counted)
    embedding.get_text_embedding_batch(["a", "b", "c", "d", "e"])
    assert sizes == [2, 2, 1]


def test_an_embedding_is_restored_from_its_name(embedding: MlretEmbedding) -> None:
    assert embedding.to_dict()["fingerprint"] == load_encoder().fingerprint
    for copy in (MlretEmbedding.from_dict(embedding.to_dict()), pickle.loads(pickle.dumps(embedding))):
        assert copy.to_dict() == embedding.to_dict()
        assert copy.get_query_embedding("library") == embedding.get_query_embedding("library")


def test_an_encoder_that_gives_no_single_vector_is_refused() -> None:
    with pytest.raises(InputError, match="has a vector for each token"):
        MlretEmbedding("bundled:multi-vector")
    with pytest.raises(MlretError, match="no such folder"):
        MlretEmbedding("no such folder")


# --- End to end ----------------------------------------------------------------------------------------------------

NEWS = {
    "train": "Der Zug nach Berlin hat eine Stunde Verspätung.",
    "maize": "Bei ya mahindi imepanda sokoni.",
    "library": "駅前に新しい図書館が開館した。",
}


def documents() -> list[Document]:
    return [Document(id_=id, text=text, metadata={"id": id, "length": len(text)}) for id, text in NEWS.items()]


@pytest.fixture
def news(tmp_path: Path, embedding: MlretEmbedding) -> VectorStoreIndex:
    store = MlretVectorStore.from_params(tmp_path / "news", settings=IndexSettings(lexical=True))
    context = StorageContext.from_defaults(vector_store=store)
    return VectorStoreIndex.from_documents(documents(), storage_context=context, embed_model=embedding)


def sources(found: list[NodeWithScore]) -> list[str | None]:
    return [one.node.ref_doc_id for one in found]


def test_an_index_of_llama_index_is_built_searched_and_changed(
    news: VectorStoreIndex, embedding: MlretEmbedding
) -> None:
    retriever = news.as_retriever(similarity_top_k=1)
    assert sources(retriever.retrieve("what does food cost?")) == ["maize"]
    [found] = retriever.retrieve("a place to read books")
    assert (found.text, found.metadata) == (NEWS["library"], {"id": "library", "length": len(NEWS["library"])})
    assert found.score == pytest.approx(
        float(
            embedding._encoder.encode_query(["a place to read books"])[0]
            @ embedding._encoder.encode_document([found.node.get_content("embed")])[0]
        ),
        abs=1e-5,
    )
    for mode in ("sparse", "hybrid", "mmr"):
        some = news.as_retriever(similarity_top_k=1, vector_store_query_mode=mode).retrieve("Verspätung der Züge")
        assert sources(some) == ["train"]
    news.insert(Document(id_="storm", text="Une tempête approche de la côte."))
    assert sources(retriever.retrieve("bad weather is coming")) == ["storm"]
    news.update_ref_doc(Document(id_="storm", text="Le musée est fermé le lundi."))
    assert "Une tempête approche de la côte." not in [one.text for one in news.vector_store.get_nodes()]
    assert sources(retriever.retrieve("the museum is closed")) == ["storm"]
    news.delete_ref_doc("storm")
    news.delete_ref_doc("unknown")
    assert {one.ref_doc_id for one in news.vector_store.get_nodes()} == set(NEWS)
    filters = MetadataFilters(filters=[MetadataFilter(key="id", value=["train", "maize"], operator="in")])
    assert set(sources(news.as_retriever(similarity_top_k=9, filters=filters).retrieve("books"))) == {"train", "maize"}
    limited = VectorIndexRetriever(news, similarity_top_k=9, doc_ids=["train"])
    assert sources(limited.retrieve("books")) == ["train"]
    news.insert_nodes([TextNode(id_="blank", text="")])
    news.delete_nodes(["blank"])
    assert len(news.vector_store.client) == len(NEWS)


def test_an_index_of_llama_index_is_opened_from_the_folder_alone(
    news: VectorStoreIndex, embedding: MlretEmbedding
) -> None:
    news.storage_context.persist(persist_dir=str(Path(news.vector_store.folder).parent / "storage"))
    again = VectorStoreIndex.from_vector_store(MlretVectorStore(news.vector_store.folder), embed_model=embedding)
    assert sources(again.as_retriever(similarity_top_k=1).retrieve("what does food cost?")) == ["maize"]
    with_mlret = Index.open(news.vector_store.folder)
    assert with_mlret.search("what does food cost?", 1)[0].text == NEWS["maize"]
    assert with_mlret.search("books", 9, where={"length": len(NEWS["train"])})[0].language == "de"


def test_nodes_without_an_embedding_are_embedded_by_the_index(tmp_path: Path) -> None:
    store = MlretVectorStore.from_params(tmp_path / "own")
    store.add([TextNode(id_=id, text=text) for id, text in NEWS.items()])
    assert ids_of(store, VectorStoreQuery(query_str="what does food cost?", similarity_top_k=1)) == ["maize"]


def test_an_index_of_llama_index_works_asynchronously(tmp_path: Path, embedding: MlretEmbedding) -> None:
    store = MlretVectorStore.from_params(tmp_path / "news")
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex.from_documents([], storage_context=context, embed_model=embedding)

    async def work() -> None:
        await asyncio.gather(*(index.ainsert(one) for one in documents()))
        retriever = index.as_retriever(similarity_top_k=1)
        asked = {"what does food cost?": "maize", "a place to read books": "library", "the train is late": "train"}
        found = await asyncio.gather(*(retriever.aretrieve(query) for query in asked))
        assert [sources(some) for some in found] == [[id] for id in asked.values()]
        await index.adelete_ref_doc("train")
        assert {one.ref_doc_id for one in await store.aget_nodes()} == {"maize", "library"}
        [node_id] = [one.node_id for one in await store.aget_nodes() if one.ref_doc_id == "maize"]
        await index.adelete_nodes([node_id])
        assert len(store.client) == 1
        await store.aclear()
        assert (await store.aquery(VectorStoreQuery(query_str="books"))).ids == []

    asyncio.run(work())


def test_an_ingestion_pipeline_replaces_and_deletes_changed_documents(
    tmp_path: Path, embedding: MlretEmbedding
) -> None:
    store = MlretVectorStore.from_params(tmp_path / "news")
    pipeline = IngestionPipeline(
        transformations=[TokenTextSplitter(chunk_size=60, chunk_overlap=0), embedding],
        docstore=SimpleDocumentStore(),
        vector_store=store,
        docstore_strategy=DocstoreStrategy.UPSERTS,
    )
    long = Document(id_="long", text=" ".join(f"This is sentence number {n} of a long text." for n in range(30)))
    assert len(pipeline.run(documents=[*documents(), long])) > 5
    of_long = [one for one in store.get_nodes() if one.ref_doc_id == "long"]
    assert len(of_long) > 2
    assert [one.next_node.node_id for one in of_long[:-1]] == [one.node_id for one in of_long[1:]]
    assert pipeline.run(documents=[*documents(), long]) == []
    assert len(store.client) == len(of_long) + len(NEWS)
    changed = Document(id_="long", text="Only this sentence is left.")
    assert len(pipeline.run(documents=[*documents(), changed])) == 1
    assert [one.text for one in store.get_nodes() if one.ref_doc_id == "long"] == [changed.text]
    pipeline.docstore_strategy = DocstoreStrategy.UPSERTS_AND_DELETE
    pipeline.run(documents=[changed])
    assert [one.ref_doc_id for one in store.get_nodes()] == ["long"]


def test_image_nodes_are_found_beside_texts(news: VectorStoreIndex) -> None:
    news.insert_nodes([ImageNode(id_="picture", text="A photograph of maize in a field", image_path="maize.png")])
    retriever = VectorIndexRetriever(news, similarity_top_k=4)
    found = retriever.retrieve("what does maize cost?")
    assert {type(one.node) for one in found} == {TextNode, ImageNode}
    # A retriever that the index makes passes the ids of the nodes that it keeps itself: those with images alone.
    assert [one.node_id for one in news.as_retriever(similarity_top_k=4).retrieve("maize")] == ["picture"]


def test_code_of_the_page_runs_and_prints_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    page = "docs/how-to/use-in-llama-index.md"
    found = [(language, content) for language, content in blocks(page) if language != "bash"]  # It only installs.
    assert sum(language == "text" for language, _ in found) == 3
    run_page(page, found, {"__name__": "__page__"}, capsys)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="llama_index")
        yield
