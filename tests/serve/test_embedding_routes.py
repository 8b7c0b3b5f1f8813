"""Embeddings, reranking and models over HTTP, in the shapes of OpenAI's, Cohere's and Jina's interfaces."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mlret
from mlret.encoders.encoder import Encoder
from mlret.encoders.token_encoder import TokenEncoder
from tests.serve.running import Running, running

TEXTS = ["Der Zug nach Berlin hat Verspätung.", "Bei ya mahindi imepanda sokoni.", "駅前に新しい図書館が開館した。"]
LANGUAGES = ["de", "sw", "ja"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("embeddings")) as one:
        yield one


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return mlret.load_encoder(device="cpu")


@pytest.fixture(scope="module")
def head() -> TokenEncoder:
    return mlret.load_token_encoder(device="cpu")


def post(served: Running, path: str, **body: Any) -> Any:
    answer = served.client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_embeddings_are_those_of_the_library_in_both_formats(served: Running, encoder: Encoder) -> None:
    expected = encoder.encode_document(TEXTS, language=LANGUAGES)
    found = post(served, "/v1/embeddings", input=TEXTS, model="mlret-mini")
    assert (found["object"], found["model"]) == ("list", "mlret-mini")
    assert [one["index"] for one in found["data"]] == [0, 1, 2]
    np.testing.assert_allclose([one["embedding"] for one in found["data"]], expected, atol=1e-6)
    packed = post(served, "/v1/embeddings", input=TEXTS[0], encoding_format="base64")
    vector = np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), dtype="<f4")
    np.testing.assert_allclose(vector, expected[0], atol=1e-6)
    tokens = sum(encoder.token_counts(TEXTS))
    assert found["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_fewer_dimensions_are_the_first_ones_at_unit_length(served: Running, encoder: Encoder) -> None:
    [expected] = encoder.encode_document(TEXTS[:1], language="de")[:, :64]
    found = post(served, "/v1/embeddings", input=TEXTS[:1], dimensions=64)["data"][0]["embedding"]
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-6)


def test_a_large_batch_is_split_and_not_refused(served: Running) -> None:
    texts = [f"line {number}" for number in range(300)]
    found = post(served, "/v1/embeddings", input=texts, dimensions=2)["data"]
    assert [one["index"] for one in found] == list(range(300))
    once = post(served, "/v1/embeddings", input=texts[299], dimensions=2)["data"]
    np.testing.assert_allclose(found[299]["embedding"], once[0]["embedding"], atol=1e-6)


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
def test_documents_are_ranked_by_the_mean_maxsim_of_the_second_head(
    served: Running, head: TokenEncoder, path: str
) -> None:
    query = "Where can I read books?"
    [tokens] = head.encode_query([query], language="en")
    scores = [(tokens @ one.T).max(axis=1).mean() for one in head.encode_document(TEXTS, language=LANGUAGES)]
    found = post(served, path, model="default", query=query, documents=TEXTS)
    order = sorted(range(3), key=lambda place: -scores[place])
    assert [one["index"] for one in found["results"]] == order and order[0] == 2
    expected = [(1 + scores[place]) / 2 for place in order]
    np.testing.assert_allclose([one["relevance_score"] for one in found["results"]], expected, atol=1e-5)
    assert found["meta"]["api_version"]["version"] == path[2]


def test_reranking_returns_the_best_documents_if_asked_and_reads_objects(served: Running) -> None:
    documents = [{"text": text, "title": f"title {place}"} for place, text in enumerate(TEXTS)]
    body = {"query": "Where can I read books?", "documents": documents, "top_n": 1}
    [found] = post(served, "/v1/rerank", **body, return_documents=True)["results"]
    assert found["document"] == documents[2]
    [found] = post(served, "/v1/rerank", **body, rank_fields=["title", "text"])["results"]
    assert "document" not in found
    answer = served.client.post("/v1/rerank", json={**body, "rank_fields": ["title", "body"]})
    assert (answer.status_code, answer.json()["field"]) == (422, "/documents/0/body")


def test_models_are_listed_and_read_without_a_path_of_the_server(served: Running, encoder: Encoder) -> None:
    models = served.client.get("/v1/models").json()["data"]
    assert models[0]["id"] == "mlret-mini" and models[0]["dimensions"] == encoder.dims
    assert models[0]["fingerprint"] == encoder.fingerprint
    for one in models:
        assert served.client.get(f"/v1/models/{one['id']}").json() == one
    assert served.client.get("/v1/models/gpt-9").status_code == 404


def test_a_model_whose_vectors_are_of_tokens_ranks_but_gives_no_embedding(served: Running) -> None:
    post(served, "/v1/rerank", query="books", documents=TEXTS)
    [name] = [one["id"] for one in served.client.get("/v1/models").json()["data"] if one["vectors"] == "token"]
    assert post(served, "/v2/rerank", query="books", documents=TEXTS, model=name)["model"] == name
    answer = served.client.post("/v1/embeddings", json={"input": "books", "model": name})
    assert (answer.status_code, answer.json()["field"]) == (422, "/model")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "/input"),
        ({"input": []}, "/input"),
        ({"input": "  "}, "/input/0"),
        ({"input": ["a", " "]}, "/input/1"),
        ({"input": [1, 2]}, "/input"),
        ({"input": [[1, 2]]}, "/input"),
        ({"input": "a", "dimensions": 0}, "/dimensions"),
        ({"input": "a", "dimensions": 385}, "/dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "/encoding_format"),
        ({"input": ["a", 1]}, "/input/1"),
    ],
)
def test_an_invalid_value_is_answered_with_its_field(served: Running, body: dict[str, Any], field: str) -> None:
    answer = served.client.post("/v1/embeddings", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["field"] == field


def test_other_errors_have_their_own_status(served: Running) -> None:
    client = served.client
    json = {"Content-Type": "application/json"}
    assert client.post("/v1/embeddings", json={"input": "a", "model": "gpt-9"}).status_code == 404
    assert client.post("/v1/embeddings", content=b"{", headers=json).status_code == 400
    assert client.post("/v1/embeddings", content=b"input=a", headers={"Content-Type": "text/plain"}).status_code == 415
    assert client.post("/v1/rerank", json={"query": " ", "documents": ["a"]}).json()["field"] == "/query"
    assert client.post("/v1/rerank", json={"query": "a", "documents": []}).status_code == 422
    large = b'{"input": "' + b"a" * 20_000 + b'", "dimensions": 0}'
    assert client.post("/v1/embeddings", content=large, headers=json).json()["field"] == "/dimensions"


def test_the_description_names_the_bodies(served: Running) -> None:
    document = served.client.get("/openapi.json").json()
    for path, name in (("/v1/embeddings", "EmbeddingRequest"), ("/v2/rerank", "RerankRequest")):
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert body["$ref"].endswith(f"/{name}") and name in document["components"]["schemas"]
