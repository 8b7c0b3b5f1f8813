"""A program for mem0, and what its answers look like; it runs with mem0 and with mlret.

``python mem0_program.py FOLDER`` in an environment with mem0ai==2.2.1 prints what ``mem0_answers.json`` holds. A
made-up embedder stands in for the one that mem0 would call; no text leaves the machine.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

CHAT = [
    {"role": "system", "content": "You are a cook."},
    {"role": "user", "content": "I like pizza", "name": "bob"},
    {"role": "assistant", "content": "Which one?"},
    {"role": "user"},
    {"role": "user", "content": [{"type": "text", "text": "With olives"}, {"type": "text", "text": "and basil"}]},
]
FILTERS: list[dict[str, Any]] = [
    {"topic": "food"},
    {"topic": {"eq": "food"}},
    {"topic": {"ne": "food"}},
    {"topic": ["food", "drink"]},
    {"topic": {"in": ["travel", "drink"]}},
    {"topic": {"nin": ["travel", "drink"]}},
    {"year": {"gte": 2020, "lt": 2025}},
    {"year": {"gt": 2024}},
    {"topic": {"contains": "food"}},
    {"role": "assistant"},
    {"actor_id": "bob"},
    {"OR": [{"topic": "food", "year": 2024}, {"role": "assistant"}]},
    {"AND": [{"topic": "food"}, {"year": {"gte": 2025}}]},
    {"NOT": [{"topic": "food"}, {"role": "assistant"}]},
    {"topic": "food", "NOT": [{"year": 2024}]},
]


def shape(value: Any) -> Any:
    """Return the form of an answer: its keys, and the type of each value, except of values from a fixed set."""
    if isinstance(value, dict):
        fixed = ("event", "role", "actor_id", "user_id", "agent_id", "run_id", "metadata", "expiration_date")
        return {name: one if name in fixed else shape(one) for name, one in sorted(value.items())}
    if isinstance(value, list):
        return [shape(one) for one in value]
    return type(value).__name__


def run(m: Any) -> dict[str, Any]:
    """Use a memory, and return what it answers."""
    answers: dict[str, Any] = {}

    def note(name: str, call: Callable[[], Any], form: Callable[[Any], Any] = shape) -> Any:
        try:
            found = call()
        except ValueError:
            answers[name] = "ValueError"
        except Exception as error:
            answers[name] = type(error).__name__
        else:
            answers[name] = form(found)
            return found
        return None

    def texts(found: dict[str, Any]) -> list[str]:
        return sorted(one["memory"] for one in found["results"])

    anna = {"user_id": "anna"}
    added = note(
        "add a text",
        lambda: m.add("I live in Rome", user_id="anna", infer=False, metadata={"topic": "travel", "year": 2024}),
    )
    note("add a chat", lambda: m.add(CHAT, user_id="anna", agent_id="cook", infer=False))
    note(
        "add a message",
        lambda: m.add(
            {"role": "user", "content": "Pasta on Monday"},
            user_id="anna",
            run_id="r1",
            metadata={"topic": "food", "year": 2024},
            infer=False,
        ),
    )
    m.add("Tea at five", user_id="anna", metadata={"topic": "drink", "year": 2019}, infer=False)
    m.add("Soup on Friday", user_id="anna", metadata={"topic": "food", "year": 2026}, infer=False)
    m.add("Gone by now", user_id="anna", run_id="r2", expiration_date="2020-01-01", infer=False)
    id = added["results"][0]["id"]
    note("get", lambda: m.get(id))
    note("get nothing", lambda: m.get("3e078832-4986-4867-bbcc-7148dddfaadc"))
    note("search", lambda: m.search("I live in Rome", filters={"user_id": "anna"}, top_k=1))
    note("search above a threshold", lambda: m.search("I live in Rome", filters=anna, threshold=0.99), texts)
    note("search another user", lambda: m.search("I live in Rome", filters={"user_id": "bob"}))
    for filters in FILTERS:
        listed = {"user_id": "anna", **filters}
        note(f"filter {json.dumps(filters)}", lambda listed=listed: m.search("x", filters=listed, threshold=0.0), texts)
    note(
        "get_all",
        lambda: m.get_all(filters={"user_id": "anna", "agent_id": "cook"}),
        lambda found: sorted((shape(one) for one in found["results"]), key=json.dumps),
    )
    note("get_all of a run", lambda: m.get_all(filters={"run_id": "r2"}))
    note("get_all with what expired", lambda: m.get_all(filters={"run_id": "r2"}, show_expired=True))
    note("update", lambda: m.update(id, text="I live in Oslo", metadata={"topic": "home", "user_id": "bob"}))
    note("get after an update", lambda: m.get(id))
    note("update the metadata", lambda: m.update(id, metadata={"year": 2026}))
    note("delete", lambda: m.delete(id))
    note("get after deleting", lambda: m.get(id))
    note("history", lambda: m.history(id))
    note("history texts", lambda: m.history(id), lambda found: [[o["old_memory"], o["new_memory"]] for o in found])
    note("history of nothing", lambda: m.history("3e078832-4986-4867-bbcc-7148dddfaadc"))
    for name, call in {
        "no owner": lambda: m.add("x", infer=False),
        "blank owner": lambda: m.add("x", user_id=" ", infer=False),
        "owner with blanks": lambda: m.add("x", user_id="a b", infer=False),
        "number as owner": lambda: m.add("x", user_id=7, infer=False),
        "no messages": lambda: m.add(5, user_id="anna", infer=False),
        "another memory type": lambda: m.add("x", user_id="anna", memory_type="other", infer=False),
        "a timestamp": lambda: m.add("x", user_id="anna", timestamp=1, infer=False),
        "no date": lambda: m.add("x", user_id="anna", expiration_date="soon", infer=False),
        "search nobody": lambda: m.search("x"),
        "blank query": lambda: m.search(" ", filters=anna),
        "no results": lambda: m.search("x", filters=anna, top_k=0),
        "negative top_k": lambda: m.search("x", filters=anna, top_k=-1),
        "threshold of 2": lambda: m.search("x", filters=anna, threshold=2),
        "unknown operator": lambda: m.search("x", filters={**anna, "topic": {"like": "x"}}),
        "OR without conditions": lambda: m.search("x", filters={**anna, "OR": []}),
        "change nothing": lambda: m.update(id),
        "change what is deleted": lambda: m.update(id, text="x"),
        "delete twice": lambda: m.delete(id),
        "delete nobody's": lambda: m.delete_all(),
        "chat": lambda: m.chat("x"),
    }.items():
        note(name, call)
    note("delete_all", lambda: m.delete_all(user_id="anna"))
    note("get_all after deleting", lambda: m.get_all(filters=anna))
    note("reset", m.reset)
    return answers


def main(folder: str) -> None:
    """Run the program with mem0, and print its answers."""
    import hashlib
    import os

    os.environ |= {"MEM0_TELEMETRY": "False", "OPENAI_API_KEY": "none", "MEM0_DIR": folder}
    from mem0 import Memory

    class Embedder:
        def embed(self, text: str, memory_action: str | None = None) -> list[float]:
            # All values are positive, so that every cosine is above the threshold 0.
            return [one / 255 for one in hashlib.sha512(text.encode()).digest()]

    config = {"provider": "qdrant", "config": {"path": f"{folder}/vectors", "embedding_model_dims": 64}}
    memory = Memory.from_config({"vector_store": config, "history_db_path": f"{folder}/history.db"})
    memory.embedding_model = Embedder()
    print(json.dumps(run(memory), indent=1))


if __name__ == "__main__":
    main(sys.argv[1])
