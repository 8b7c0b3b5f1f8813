"""Errors are problem documents that name the field and the fix, and give nothing away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mlret.serve.problems import KINDS, MEDIA_TYPE, Problem, ProblemDocument, documented, pointer
from tests.serve.serving import SECRET, Served, application, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("problems")) as one:
        yield one


def problem(response: httpx2.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == MEDIA_TYPE
    document = response.json()
    ProblemDocument.model_validate(document)
    assert document["status"] == response.status_code
    assert document["title"] and document["detail"] and document["fix"]
    return dict(document)


@pytest.mark.parametrize(
    ("name", "status", "detail"),
    [
        ("input", 422, "k is 0; give at least 1"),
        ("not-found", 404, "news: there is no document 'x'"),
        ("exists", 409, "the id 'x' is taken"),
        ("locked", 503, "another process is writing; nothing was changed"),
        ("corrupt", 500, "stored data is damaged"),
        ("unexpected", 500, "the server failed; nothing more can be said here"),
    ],
)
def test_errors_of_mlret_become_problems_without_paths_or_texts(
    served: Served, name: str, status: int, detail: str
) -> None:
    response = served.client.get(f"/v1/errors/{name}")
    assert response.status_code == status
    assert problem(response)["detail"] == detail
    assert SECRET not in response.text and "/srv" not in response.text
    assert ("retry-after" in response.headers) == (name == "locked")


@pytest.mark.parametrize(
    ("body", "status", "field", "place"),
    [
        ({"text": "a"}, 422, "/k", "body"),
        ({"text": 1, "k": 1}, 422, "/text", "body"),
        ([], 422, "", "body"),
        ("", 422, "", "body"),
        ('{"text": "a", "k": 1', 400, None, "body"),
        ("[" * 100_000, 400, None, "body"),
        ('{"text": "\\ud800", "k": 1}', 400, None, "body"),
        ('{"text": "a", "k": NaN}', 400, None, "body"),
        ('{"text": "a", "k": 1e999}', 422, "/k", "body"),
        ('{"text": "a", "k": ' + "9" * 5000 + "}", 400, None, "body"),
        (b'{"text": "\xff", "k": 1}', 400, None, "body"),
        (b"\xef\xbb\xbf{}", 400, None, "body"),
    ],
)
def test_a_body_that_does_not_fit_names_the_field(
    served: Served, body: object, status: int, field: str | None, place: str | None
) -> None:
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    response = served.client.post("/v1/queries", content=content, headers={"content-type": "application/json"})
    assert response.status_code == status
    document = problem(response)
    assert (document.get("field"), document.get("in")) == (field, place)


def test_all_errors_are_listed_without_the_values(served: Served) -> None:
    response = served.client.post("/v1/queries", json={"text": [SECRET], "k": SECRET})
    assert [error["field"] for error in problem(response)["errors"]] == ["/text", "/k"]
    assert SECRET not in response.text


def test_a_parameter_that_does_not_fit_is_named(served: Served) -> None:
    document = problem(served.client.get("/v1/slow?seconds=long"))
    assert (document["field"], document["in"]) == ("seconds", "query")


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "POST", "OPTIONS"])
def test_a_method_that_a_path_does_not_take_is_answered_with_all_that_it_takes(served: Served, method: str) -> None:
    response = served.client.request(method, "/v1/things/a")
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD, PUT"
    assert problem(response)["type"] == "/problems/method-not-allowed"


def test_a_path_that_is_not_served_is_not_found(served: Served) -> None:
    for path in ("/nothing", "/v1", "/v1/things/a/b"):
        assert problem(served.client.get(path))["type"] == "/problems/not-found"


def test_the_type_of_a_problem_leads_to_its_explanation(served: Served) -> None:
    for name, kind in KINDS.items():
        explained = httpx2.get(f"http://localhost:{served.port}/problems/{name}").json()
        assert explained == {
            "type": f"/problems/{name}",
            "title": kind.title,
            "status": kind.status,
            "meaning": kind.meaning,
        }
    assert problem(httpx2.get(f"http://localhost:{served.port}/problems/x"))["status"] == 404


def test_a_type_has_one_title_and_status(served: Served) -> None:
    document = Problem("invalid", "a").document("x")
    assert document["title"] == KINDS["invalid"].title
    with pytest.raises(ValidationError):
        ProblemDocument.model_validate({**document, "in": "cookie"})


def test_the_description_of_the_interface_holds_the_form_of_problems() -> None:
    app = application()
    app.include_router(other := app.router.__class__())
    other.add_api_route("/x", lambda: None, responses=documented("invalid", "internal", "damaged"))
    from mlret.serve.problems import add_handlers

    add_handlers(app)
    document = app.openapi()
    assert document["components"]["schemas"]["ProblemDocument"]["properties"]["in"]
    responses = document["paths"]["/x"]["get"]["responses"]
    assert set(responses) == {"200", "422", "500"}
    assert responses["422"]["content"][MEDIA_TYPE]["schema"] == {"$ref": "#/components/schemas/ProblemDocument"}
    assert responses["500"]["description"] == "The server failed; stored data is damaged"


@given(st.text(st.characters(), max_size=50))
def test_any_text_can_be_sent(text: str) -> None:
    """Also half of a surrogate pair, which JSON may hold, and UTF-8 may not."""
    response = Problem("invalid", text, field=text, place="body").response({})
    document = json.loads(bytes(response.body))
    assert (document["detail"], document["field"]) == (text, text)


@given(st.lists(st.text(max_size=5) | st.integers(0, 99), max_size=4))
def test_a_pointer_leads_to_its_parts(location: list[str | int]) -> None:
    found = [part.replace("~1", "/").replace("~0", "~") for part in pointer(location).split("/")[1:]]
    assert found == [str(part) for part in location]
