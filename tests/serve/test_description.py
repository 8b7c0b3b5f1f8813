"""The description of the interface: complete, and the same as what the server does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from mlret.serve.app import create_app
from mlret.serve.security.public import is_public
from mlret.serve.security.tokens import TokenStore
from mlret.serve.settings import ServeSettings


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    tokens = TokenStore(tmp_path_factory.mktemp("tokens") / "tokens.json")
    found: dict[str, Any] = create_app(ServeSettings(), tokens=tokens).openapi()
    return found


def operations(description: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_operation_behind_a_token_says_so_and_describes_its_problems(description: dict[str, Any]) -> None:
    for method, path, operation in operations(description):
        answers = operation["responses"]
        if is_public({"path": path, "method": method.upper()}):
            assert "security" not in operation
            continue
        assert operation["security"] == [{"token": []}], path
        assert {
            "400",
            "401",
            "403",
            "408",
            "413",
            "414",
            "415",
            "421",
            "429",
            "431",
            "500",
            "503",
            "504",
        } <= answers.keys(), path
        if re.search(r"[{]", path):
            assert {"404", "422"} <= answers.keys(), path
        assert any(status.startswith("2") for status in answers), path
        for status, answer in answers.items():
            if status >= "4":
                [(media_type, content)] = answer["content"].items()
                assert media_type == "application/problem+json"
                assert content["schema"] == {"$ref": "#/components/schemas/ProblemDocument"}


def test_every_operation_has_a_summary_a_description_and_an_id_of_its_own(description: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(description)]
    assert len(ids) == len(set(ids))
    for _, path, operation in operations(description):
        assert operation["summary"] and operation["description"], path


def test_every_reference_leads_to_a_model_and_every_model_is_referred_to(description: dict[str, Any]) -> None:
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(description)))
    models = description["components"]["schemas"]
    assert named <= models.keys()
    # Bodies in lines are strings for the description; the text around them names their models.
    assert models.keys() - named <= {"LineVerdict", "StreamEnd"}


def test_no_description_names_a_folder_of_this_machine(description: dict[str, Any]) -> None:
    assert str(Path.home()) not in json.dumps(description)


def test_each_route_is_described(description: dict[str, Any]) -> None:
    app = create_app(ServeSettings(), tokens=TokenStore(Path("none.json")))
    described = {(method.upper(), path) for method, path, _ in operations(description)}
    routed = {
        (method, route.path_format)
        for route in app.routes
        if isinstance(route, APIRoute) and route.include_in_schema
        for method in route.methods
    }
    assert routed <= described
