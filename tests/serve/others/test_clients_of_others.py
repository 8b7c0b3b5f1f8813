"""The clients of OpenAI and Cohere, as these publish them, against the server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlret
from tests.serve.others.programs import program
from tests.serve.running import Running, running

pytestmark = pytest.mark.others
TEXTS = ["Der Zug nach Berlin hat Verspätung.", "Bei ya mahindi imepanda sokoni.", "駅前に新しい図書館が開館した。"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("models")) as one:
        yield one


def called(script: str, served: Running) -> Any:
    """Run a script of this folder in the environment of others, and return what it prints."""
    path = Path(__file__).with_name(script)
    command = [program("python"), str(path), f"http://127.0.0.1:{served.port}", served.token]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_client_of_openai_gets_the_vectors_of_the_library(served: Running) -> None:
    found = called("call_openai.py", served)
    encoder = mlret.load_encoder(device="cpu")
    expected = encoder.encode_document(TEXTS, language=["de", "sw", "ja"])
    assert found["one"] == found["models"][0]
    np.testing.assert_allclose(found["vectors"], expected, atol=1e-4)
    np.testing.assert_allclose(found["single"], expected[0], atol=1e-4)
    shortened = expected[:, :64] / np.linalg.norm(expected[:, :64], axis=1, keepdims=True)
    np.testing.assert_allclose(found["floats"], shortened, atol=1e-4)
    assert found["tokens"] > len(TEXTS)
    assert {name: error[:2] for name, error in found["errors"].items()} == {
        "blank": ["UnprocessableEntityError", 422],
        "tokens": ["UnprocessableEntityError", 422],
        "model": ["NotFoundError", 404],
        "token": ["AuthenticationError", 401],
    }
    assert "send texts" in found["errors"]["tokens"][2]


def test_the_client_of_cohere_ranks_documents(served: Running) -> None:
    found = called("call_cohere.py", served)
    assert found["v1"] == found["v2"]
    assert found["v2"][0][0] == 1
    assert len(found["v2"]) == 2 and found["v2"][0][1] > found["v2"][1][1]
    assert found["error"] == 422
