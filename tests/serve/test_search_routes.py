"""Searches over HTTP: the same hits as in the library, for one query or many, texts or vectors."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlret import ExternalEncoder, Index, IndexSettings
from mlret.client.results import hit_of, info_of
from mlret.data.detection import detect_language
from mlret.encoders.multi_vector import load_any_encoder
from mlret.index.hits import Hit, Passage
from mlret.serve.problems import ProblemDocument
from mlret.serve.schemas.search_models import SearchAnswer
from tests.serve.running import Running, running

DOCUMENTS = [
    {"id": "train", "text": "Der Zug nach Berlin hat eine Stunde Verspätung.", "lang": "de", "year": 2024},
    {"id": "maize", "text": "Bei ya mahindi imepanda sokoni.", "lang": "sw", "year": 2025},
    {"id": "library", "text": "駅前に新しい図書館が開館した。", "lang": "ja", "year": 2025},
    {"id": "storm", "text": "Une tempête approche de la côte.", "lang": "fr", "year": 2025},
    {"id": "part", "text": "Ersatzteil XK-4711 ist ab Lager lieferbar.", "lang": "de", "year": 2023},
]
QUERIES = ["the train is late", "what does food cost?", "xk-4711", "図書館", "storm at sea"]
VECTORS = np.eye(4, dtype=np.float32)
TOKENS = [np.eye(4, dtype=np.float32)[[0, 1]], np.eye(4, dtype=np.float32)[[2]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched")
    for name, lexical in (("plain", False), ("hybrid", True)):
        with Index.create(folder / name, settings=IndexSettings(lexical=lexical)) as index:
            index.add(DOCUMENTS)
    with Index.create(folder / "given", ExternalEncoder("outside", 4)) as index:
        index.add(DOCUMENTS[:4], vectors=VECTORS)
    with Index.create(folder / "tokens", ExternalEncoder("outside", 4, "maxsim")) as index:
        index.add(DOCUMENTS[:2], vectors=TOKENS)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    names = ("plain", "hybrid", "given", "tokens")
    with running(tmp_path_factory.mktemp("server"), indexes={name: folder / name for name in names}) as one:
        yield one


def found(server: Running, name: str, **body: Any) -> list[list[dict[str, Any]]]:
    answer = server.client.post(f"/v1/indexes/{name}:search", json=body)
    assert answer.status_code == 200, answer.text
    SearchAnswer.model_validate_json(answer.content)
    return [result["hits"] for result in answer.json()["results"]]


def expected(hits: list[Hit]) -> list[dict[str, Any]]:
    rows = [dataclasses.asdict(hit) for hit in hits]
    return [
        {("lang" if key == "language" else key): value for key, value in row.items() if key != "terms"} for row in rows
    ]


SEARCHES: list[dict[str, Any]] = [
    {},
    {"k": 2},
    {"k": 2.0},
    {"mode": "dense"},
    {"exact": True},
    {"where": {"year": {"$gte": 2025}}},
    {"where": {"lang": ["de", "fr"]}, "k": 1},
    {"ids": ["maize", "storm", "no"]},
    {"ids": []},
    {"language": "en"},
]


@pytest.mark.parametrize("name", ["plain", "hybrid"])
@pytest.mark.parametrize("how", [*SEARCHES, {"mode": "lexical"}, {"mode": "hybrid"}], ids=str)
def test_hits_are_those_of_the_library(server: Running, folder: Path, name: str, how: dict[str, Any]) -> None:
    if name == "plain" and how.get("mode") in ("lexical", "hybrid"):
        answer = server.client.post(f"/v1/indexes/{name}:search", json={"query": "x", **how})
        assert (answer.status_code, answer.json()["field"]) == (422, "/mode")
        assert str(folder) not in answer.text
        return
    with Index.open(folder / name) as index:
        own = [expected(hits) for hits in index.search_batch(QUERIES, **{**how, "k": int(how.get("k", 10))})]
    assert found(server, name, query=QUERIES, **how) == own
    assert [found(server, name, query=query, **how)[0] for query in QUERIES] == own


def test_each_query_may_have_a_language_of_its_own(server: Running, folder: Path) -> None:
    languages = ["en", "en", "de", "ja", None]
    with Index.open(folder / "hybrid") as index:
        own = [expected(hits) for hits in index.search_batch(QUERIES, language=languages)]
    assert found(server, "hybrid", query=QUERIES, language=languages) == own


@pytest.mark.parametrize("how", [one for one in SEARCHES if not {"mode", "language"} & one.keys()], ids=str)
def test_vectors_find_what_they_find_in_the_library(server: Running, folder: Path, how: dict[str, Any]) -> None:
    with Index.open(folder / "plain") as index:
        vectors = index.encode_queries(QUERIES)
        own = [expected(hits) for hits in index.search_vectors(vectors, **{**how, "k": int(how.get("k", 10))})]
    assert isinstance(vectors, np.ndarray)
    assert found(server, "plain", vector=vectors.tolist(), **how) == own
    assert found(server, "plain", vector=vectors[1].tolist(), **how) == own[1:2]


def test_tokens_of_a_query_are_one_query(server: Running) -> None:
    tokens = [one.tolist() for one in TOKENS]
    assert [hits[0]["id"] for hits in found(server, "tokens", vector=tokens)] == ["train", "maize"]
    assert [hits[0]["id"] for hits in found(server, "tokens", vector=tokens[1])] == ["maize"]
    [hits] = found(server, "given", vector=VECTORS[3].tolist(), k=1)
    assert (hits[0]["id"], hits[0]["score"]) == ("storm", 1.0)


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("plain", {}, "/query"),
    ("plain", {"query": ""}, "/query"),
    ("plain", {"query": "  "}, "/query"),
    ("plain", {"query": []}, "/query"),
    ("plain", {"query": ["a", " "]}, "/query"),
    ("plain", {"query": 1}, "/query"),
    ("plain", {"query": "a", "k": 0}, "/k"),
    ("plain", {"query": "a", "k": 10_001}, "/k"),
    ("plain", {"query": ["a"] * 101, "k": 100}, "/k"),
    ("plain", {"query": "a", "k": "x"}, "/k"),
    ("plain", {"query": "a", "k": "1"}, "/k"),
    ("plain", {"query": "a", "k": True}, "/k"),
    ("plain", {"query": "a", "k": 1.5}, "/k"),
    ("plain", {"query": "a", "exact": 0}, "/exact"),
    ("plain", {"query": "a", "mode": "best"}, "/mode"),
    ("plain", {"query": "a", "language": "nonsense"}, "/language"),
    ("plain", {"query": ["a", "b"], "language": ["en"]}, "/language"),
    ("plain", {"query": "a", "where": {"year": {"$no": 1}}}, "/where"),
    ("plain", {"query": "a", "where": []}, "/where"),
    ("plain", {"query": "a", "ids": "train"}, "/ids"),
    ("plain", {"query": "a", "limit": 1}, "/limit"),
    ("plain", {"query": "a", "vector": [1.0]}, "/vector"),
    ("plain", {"vector": []}, "/vector"),
    ("plain", {"vector": [1.0]}, "/vector"),
    ("plain", {"vector": [[1.0] * 384, [1.0]]}, "/vector"),
    ("plain", {"vector": "x"}, "/vector"),
    ("plain", {"vector": ["1.0"] * 384}, "/vector"),
    ("plain", {"vector": [True] * 384}, "/vector"),
    ("plain", {"vector": [[[1.0] * 384]]}, "/vector"),
    ("plain", {"vector": [0.1] * 384, "mode": "dense"}, "/mode"),
    ("tokens", {"vector": [1.0] * 4}, "/vector"),
    ("tokens", {"vector": [[1.0] * 3]}, "/vector"),
    ("given", {"query": "a"}, "/query"),
]


@pytest.mark.parametrize(("name", "body", "field"), BAD, ids=lambda one: str(one)[:40])
def test_a_bad_search_names_the_field(server: Running, name: str, body: dict[str, Any], field: str) -> None:
    answer = server.client.post(f"/v1/indexes/{name}:search", json=body)
    assert answer.status_code == 422, answer.text
    problem = ProblemDocument.model_validate_json(answer.content)
    assert problem.field == field, answer.text
    assert problem.fix


@pytest.mark.parametrize(
    "body",
    [
        b'{"vector": [NaN, NaN, NaN, NaN]}',
        b'{"vector": [1e999, 0, 0, 0]}',
        b'{"vector": [1e39, 0, 0, 0]}',
        b'{"query": "\\ud800"}',
        b'{"query": "a", "ids": ["\\ud800"]}',
        b'{"query": "a", "where": {"year": NaN}}',
        b'{"query": "a", "where": ' + b'{"$not": ' * 1000 + b"{}" + b"}" * 1001,
        b'{"query": "\xff"}',
        b"{",
        b"",
        b"null",
    ],
)
def test_what_is_no_json_or_no_number_or_text_is_refused(server: Running, body: bytes) -> None:
    for name in ("given", "plain"):
        headers = {"content-type": "application/json"}
        answer = server.client.post(f"/v1/indexes/{name}:search", content=body, headers=headers)
        assert answer.status_code in (400, 422), answer.text
        ProblemDocument.model_validate_json(answer.content)


def test_the_answer_to_a_large_bad_request_is_small(server: Running) -> None:
    for body in ({"query": [""] * 5000}, {"vector": ["x"] * 5000}, {"query": "a", "ids": [1] * 5000}):
        answer = server.client.post("/v1/indexes/plain:search", json=body)
        assert answer.status_code == 422 and len(answer.content) < 5000


def test_a_filter_that_matches_nothing_is_explained(server: Running) -> None:
    def warnings(where: dict[str, Any]) -> list[str]:
        answer = server.client.post("/v1/indexes/plain:search", json={"query": "x", "where": where})
        found: list[str] = SearchAnswer.model_validate_json(answer.content).warnings
        return found

    for _ in range(2):  # each time, not only at the first
        [message] = warnings({"yaer": 2024})
        assert "no document has the field 'yaer'" in message and "'year'" in message
    assert warnings({"year": 2024}) == []
    assert warnings({"year": 1900}) == []


def test_concurrent_searches_get_the_hits_of_searches_alone(server: Running) -> None:
    alone = {query: found(server, "hybrid", query=query) for query in QUERIES}
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        together = list(threads.map(lambda query: (query, found(server, "hybrid", query=query)), QUERIES * 20))
    for query, hits in together:
        assert [one["id"] for one in hits[0]] == [one["id"] for one in alone[query][0]]
        for one, other in zip(hits[0], alone[query][0], strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=2e-5)


def test_a_search_sees_what_was_stored_before_it(server: Running) -> None:
    for number in range(20):
        id = f"seen-{number}"
        text = f"The museum number {number} is closed."
        answer = server.client.post("/v1/indexes/plain/documents", json=[{"id": id, "text": text}])
        assert answer.status_code == 200
        assert found(server, "plain", query=text, k=1)[0][0]["id"] == id
    server.client.post("/v1/indexes/plain/documents:delete", json={"ids": [f"seen-{n}" for n in range(20)]})
    assert "seen" not in str(found(server, "plain", query="The museum number 3 is closed.", k=10))


def test_an_explanation_gives_the_terms_of_the_score(server: Running) -> None:
    for mode in ("dense", "lexical", "hybrid"):
        for hits in found(server, "hybrid", query=QUERIES, mode=mode, explain=True):
            for hit in hits:
                total = sum(hit["explanation"]["terms"].values())
                expected = 1 / (1 + math.exp(-total)) if hit["kind"] == "fused" else total
                assert hit["score"] == pytest.approx(expected, abs=2e-6), hit
    assert "explanation" not in found(server, "hybrid", query="x")[0][0]


def test_an_explanation_marks_the_words_that_match(server: Running) -> None:
    text = {one["id"]: one["text"] for one in DOCUMENTS}
    [hits] = found(server, "hybrid", query="xk-4711 図書館", explain=True)
    marked = {
        hit["id"]: [text[hit["id"]][one["start"] : one["end"]] for one in hit["explanation"]["marks"]] for hit in hits
    }
    assert marked == {"part": ["XK", "4711"], "library": ["図書館"], "train": [], "maize": [], "storm": []}
    assert all(hit["explanation"]["passage"] is None for hit in hits)


def test_an_explanation_names_the_nearest_passage_of_a_long_text(server: Running) -> None:
    sentences = [
        "The town council met on Tuesday evening to discuss the budget for the coming year, and most members agreed.",
        "After a long debate the new swimming pool will be built next to the railway station, as the mayor had hoped.",
        "Farmers from the valley complain that the price of maize has fallen again and that the rain came too late.",
    ]
    document = {"id": "long", "text": " ".join(sentences), "lang": "en"}
    assert server.client.post("/v1/indexes/plain/documents", json=[document]).status_code == 200
    for query, sentence in (("Wo wird das Schwimmbad gebaut?", 1), ("bei ya mahindi", 2), ("Haushalt der Stadt", 0)):
        [hits] = found(server, "plain", query=query, ids=["long"], explain=True)
        passage = hits[0]["explanation"]["passage"]
        assert document["text"][passage["start"] : passage["end"]] == sentences[sentence]
        vectors = encoded(query, sentences[sentence])
        cosine = vectors[0] @ vectors[1] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[1])
        assert passage["score"] == pytest.approx(float(cosine), abs=1e-5)
        [same] = found(server, "plain", vector=vectors[0].tolist(), ids=["long"], explain=True)
        assert same[0]["explanation"]["passage"] == pytest.approx(passage, abs=1e-5)
    server.client.delete("/v1/indexes/plain/documents/long")


def encoded(query: str, passage: str) -> list[Any]:
    encoder = load_any_encoder(None)
    return [
        np.asarray(encoder.encode_query([query], language=[detect_language(query)])[0]),
        np.asarray(encoder.encode_document([passage], language=["en"])[0]),
    ]


def test_a_long_document_is_sent_changed_and_found_by_its_passages(server: Running, tmp_path: Path) -> None:
    filler = "Die Bibliothek am Bahnhof ist montags geschlossen. " * 60
    needle = "Der Preis für Mais ist in Nairobi stark gestiegen."
    with running(tmp_path / "server", root=tmp_path / "indexes") as one:
        settings = {"settings": {"passage_tokens": 64, "passage_overlap": 0}}
        assert one.client.put("/v1/indexes/long", json=settings).status_code == 201
        sent = [
            {"id": "a", "text": f"{filler}{needle} {filler}", "lang": "de"},
            {"id": "b", "text": "The train is late.", "lang": "en"},
        ]
        assert one.client.post("/v1/indexes/long/documents", json=sent).status_code == 200
        before = one.client.get("/v1/indexes/long").json()
        assert before["documents"] == 2 < before["passages"] and before["unsealed"] == before["passages"]
        [hits] = found(one, "long", query="The price of maize has risen in Kenya.", explain=True)
        assert [hit["id"] for hit in hits] == ["a", "b"] and hits[1]["passage"] is None
        passage, explained = hits[0]["passage"], hits[0]["explanation"]["passage"]
        assert needle in passage["text"] == hits[0]["text"][passage["start"] : passage["end"]]
        assert passage["start"] <= explained["start"] < explained["end"] <= passage["end"]
        assert [hit_of(hit).passage for hit in hits] == [Passage(**passage), None]
        assert info_of(before, "http://localhost/long").passages == before["passages"]
        changed = one.client.patch("/v1/indexes/long/documents/a", json={"text": filler + needle})
        assert changed.status_code == 200
        [hits] = found(one, "long", query="The price of maize has risen in Kenya.")
        assert hits[0]["id"] == "a" and hits[0]["passage"]["end"] == len(filler + needle)
