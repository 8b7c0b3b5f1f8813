"""Test that the scripts in ``examples/`` run as described, and that their output is right."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import runpy
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"


def run(name: str, folder: Path) -> str:
    """What a script prints, run in an empty folder, in this process, which has paid for importing torch."""
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as printed:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert not list(folder.iterdir()), "an example leaves nothing behind"
    return printed.getvalue()


def run_alone(name: str, folder: Path) -> str:
    """What a script prints, run in an empty folder in a process of its own, without access to the hub."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, EXAMPLES / name], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert not list(folder.iterdir()), "an example leaves nothing behind"
    return done.stdout


def numbers(pattern: str, output: str) -> list[float]:
    """Return the numbers that a pattern with one group matches, without separators of thousands."""
    return [float(found.replace(",", "")) for found in re.findall(pattern, output)]


def test_cross_lingual_search_answers_every_question(tmp_path: Path) -> None:
    output = run("cross_lingual_search.py", tmp_path)
    assert "5 documents in 5 languages" in output
    assert output.count("right") == 4
    assert "wrong" not in output


def test_agent_memory_separates_scopes_and_erases(tmp_path: Path) -> None:
    output = run("agent_memory.py", tmp_path)
    assert "found: Je suis allergique aux arachides." in output
    assert "visible to Anna: False" in output
    assert "versions: 2" in output
    assert "after undo: Je suis allergique aux arachides.\n" in output
    assert "erased 2 records, complete: True" in output
    assert "records that are left: 1" in output


def test_facts_come_from_messages_without_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["facts_from_messages.py"])
    output = run("facts_from_messages.py", tmp_path)
    assert "3 turns and 2 facts in operation 1" in output
    assert "I moved to Oslo in March.  <-  I moved to Oslo in March. It rains a lot!" in output


def test_facts_come_from_a_server_with_the_interface_of_openai(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server answers as a model does, with words around the list."""
    asked: list[dict[str, Any]] = []

    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))) | {"path": self.path})
            listed = json.dumps([{"text": "The user lives in Oslo.", "messages": [0]}])
            answer = {"choices": [{"message": {"role": "assistant", "content": f"Here:\n```json\n{listed}\n```"}}]}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/v1"
        monkeypatch.setattr(sys, "argv", ["facts_from_messages.py", address, "tiny"])
        output = run("facts_from_messages.py", tmp_path)
        server.shutdown()
    assert "3 turns and 1 facts in operation 1" in output
    assert "The user lives in Oslo.  <-  I moved to Oslo in March. It rains a lot!" in output
    assert asked[0]["path"] == "/v1/chat/completions" and asked[0]["model"] == "tiny"
    assert "0 (user): I moved to Oslo in March." in asked[0]["messages"][1]["content"]


def test_hybrid_search_finds_codes_and_filters_hold(tmp_path: Path) -> None:
    output = run("hybrid_search_and_filters.py", tmp_path)
    assert "hybrid, a product code: 2, channels: dense, lexical" in output
    assert "lexical, a product code: 1" in output
    assert "dense, across languages: 5" in output
    found = {line.split(": ")[0]: set(line.split(": ")[1].split(", ")) for line in output.splitlines()[-3:]}
    assert found == {"not in English": {"3", "4", "5"}, "since 2025": {"4", "5"}, "German or from 2023": {"1", "3"}}


@pytest.mark.thorough
def test_multi_vector_index_answers_most_questions(tmp_path: Path) -> None:
    output = run("multi_vector_index.py", tmp_path)
    assert "128 dimensions for each token, compared by maxsim" in output
    (tokens,) = numbers(r"the first one has (\d+) tokens of 128", output)
    assert tokens > 20
    (right,) = numbers(r"first three hits for (\d+) of 12 questions", output)
    assert right >= 9


@pytest.mark.thorough
def test_trimming_shrinks_the_encoder_and_keeps_covered_vectors(tmp_path: Path) -> None:
    output = run("trim_vocabulary.py", tmp_path)
    ((before, after),) = re.findall(r"parameters: ([\d,]+) -> ([\d,]+)", output)
    assert float(after.replace(",", "")) < float(before.replace(",", "")) / 2
    assert "covered texts: 0.0" in output
    cosines = dict(re.findall(r"vector, (\w+): (-?[\d.]+)", output))
    assert (cosines["en"], cosines["sw"]) == ("1.000", "1.000")
    assert float(cosines["ja"]) < 0.9
    assert "fingerprint changed: True" in output


@pytest.mark.thorough
def test_evaluation_finds_the_difference_significant(tmp_path: Path) -> None:
    output = run("evaluate_encoder.py", tmp_path)
    few, all_of_them = numbers(r"dimensions: mrr@10 ([\d.]+)", output)
    assert 0.4 < few < all_of_them <= 1
    lows, ps = numbers(r"interval \+?(-?[\d.]+) to", output), numbers(r"p ([\d.]+) after", output)
    assert len(lows) == len(ps) == 2
    assert min(lows) > 0
    assert max(ps) < 0.05


@pytest.mark.thorough
def test_pretraining_gives_a_calibrated_encoder(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="pretraining needs the extra train")
    output = run("pretrain_with_ccp.py", tmp_path)
    losses = numbers(r"loss ([\d.]+)", output)
    assert len(losses) >= 5
    assert losses[-1] < losses[0]
    assert "encoder of 32 dimensions, calibrated for de, en, sw" in output


def test_own_vectors_come_back_from_a_run(tmp_path: Path) -> None:
    output = run_alone("bring_your_own_vectors.py", tmp_path)
    assert re.search(r"^520 lines in the run, the first: \S+ Q0 \S+ 1 [\d.]+ trigrams$", output, re.M)
    (found,) = numbers(r"recall@5: ([\d.]+)", output)
    assert 0.5 < found <= 1


def test_every_example_is_listed_and_tested() -> None:
    scripts = {path.name for path in EXAMPLES.glob("*.py")}
    listed = set(re.findall(r"\]\((\w+\.py)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8")))
    tested = set(re.findall(r'run(?:_alone)?\("(\w+\.py)"', Path(__file__).read_text(encoding="utf-8")))
    assert scripts == listed == tested
