"""Whoever shares a server with others gets the answers that it would get alone, from every route of the memory."""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlret.serve.operations.cursors import cursor_after, row_of
from mlret.serve.problems import Problem
from tests.conftest import examples
from tests.serve.running import Running, running

TEXTS = ("The train is late.", "Treni imechelewa.", "Anna drinks tea.", "Anna trinkt Tee.", "电车晚点了。")
IDS = ("a", "b", "c/d", "e")
_ROUNDS = itertools.count(1)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Step(NamedTuple):
    """A request of one of the two users."""

    who: int
    verb: str
    text: str
    id: str
    other: str
    number: int


# What is stored at first: some ids are taken by both users, some by one of them.
FIRST = [
    Step(who, "add", TEXTS[(place + who) % len(TEXTS)], id, "", 0)
    for who, taken in enumerate((IDS[:3], IDS[2:]))
    for place, id in enumerate(taken)
]
ids = st.sampled_from(IDS)
VERBS = (
    "add", "add many", "list", "search", "context", "get", "history", "patch", "delete one", "delete", "restore",
    "merge", "link", "unlink", "undo", "feedback", "forget", "erase",
)  # fmt: skip
steps = st.lists(
    st.builds(
        Step, st.integers(0, 1), st.sampled_from(VERBS), st.sampled_from(TEXTS), ids, ids,
        st.integers(0, 6),
    ),
    min_size=4,
    max_size=14,
)  # fmt: skip


def of_own_names(step: Step) -> Step:
    """Return a step of one of two users of a tenant, within which an id can be taken only once.

    Each user stores records under ids of its own, and uses these and those of the other in all else.
    """
    second = step.who == 1 if step.verb.startswith("add") else step.number % 2 == 1
    return step._replace(id=f"{step.id}-2") if second else step


def request_of(step: Step) -> tuple[str, str, dict[str, Any]]:
    """Return the method, the path and what else belongs to a request."""
    many = {"ids": [step.id]}
    path = f"/v1/memories/{quote(step.id, safe='')}"
    bodies: dict[str, dict[str, Any]] = {
        "delete": many,
        "restore": many,
        "erase": many,
        "merge": {"survivor": step.id, "others": [step.other]},
        "link": {"id": step.id, "type": "about", "target": step.other},
        "unlink": {"id": step.id, "type": "about", "target": step.other, "on": False},
        "undo": {"operation": step.number},
        "feedback": {"query": step.text, **many},
        "forget": {"importance_below": 0.5, "keep": step.number % 3, "dry_run": step.number < 3},
        "search": {"query": step.text, "k": 10, "conflicts": True, "current_only": step.number < 3},
        "context": {"query": step.text, "budget": 8 * step.number},
    }
    match step.verb:
        case "add":
            named = {"id": step.id} if step.number < 3 else {}
            return "POST", "/v1/memories", {"json": {"text": step.text, "session": "s", **named}}
        case "add many":
            texts = [
                {"text": f"{step.text} Once more.", "id": step.id},
                {"text": step.text, "derived_from": [step.other]},
            ]
            return "POST", "/v1/memories", {"json": {"memories": texts, "dedupe": step.number < 3}}
        case "list":
            state = ("active", "archived", "merged")[step.number % 3]
            return "GET", "/v1/memories", {"params": {"state": state, "limit": 2 + step.number}}
        case "get":
            return "GET", path, {}
        case "history":
            return "GET", f"{path}/history", {}
        case "patch":
            return "PATCH", path, {"json": {"text": step.text, "tags": ["changed"]}}
        case "delete one":
            return "DELETE", path, {}
    return "POST", f"/v1/memories:{'link' if step.verb == 'unlink' else step.verb}", {"json": bodies[step.verb]}


class User:
    """A client of a server, and the answers it got, without what differs between any two runs."""

    def __init__(self, client: httpx2.Client) -> None:
        self._client = client
        self._names: dict[str, str] = {}
        self.answers: list[Any] = []

    def do(self, step: Step) -> None:
        method, path, more = request_of(step)
        answer = self._client.request(method, path, **more)
        assert answer.status_code < 500, answer.text
        body = answer.json()
        body.pop("instance", None)
        self.answers.append((step.verb, answer.status_code, self._without_chance(body)))

    def close(self) -> None:
        self._client.close()

    def _without_chance(self, value: Any) -> Any:
        if isinstance(value, dict):
            # A cursor is of one folder alone; here it counts only whether there is one.
            return {
                self._named(key): bool(one) if key == "next" else self._without_chance(one)
                for key, one in value.items()
            }
        if isinstance(value, list):
            return [self._without_chance(one) for one in value]
        if isinstance(value, float):
            return round(value, 4)
        return self._named(value) if isinstance(value, str) else value

    def _named(self, text: str) -> str:
        text = _INSTANT.sub("<instant>", text)
        return _UUID.sub(lambda found: self._names.setdefault(found[0], f"<id {len(self._names)}>"), text)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Running, Running]]:
    """Run a server that both users share, and one for each."""
    folders = [tmp_path_factory.mktemp(name) for name in ("shared", "first", "second")]
    with (
        running(folders[0], memory=folders[0] / "memory") as shared,
        running(folders[1], memory=folders[1] / "memory") as first,
        running(folders[2], memory=folders[2] / "memory") as second,
    ):
        yield shared, first, second


def test_a_cursor_tells_nothing_about_the_number_of_rows() -> None:
    cursors = [cursor_after(row, "identity") for row in range(500)]
    assert [row_of(one, "identity") for one in cursors] == list(range(500))
    data = [base64.urlsafe_b64decode(one) for one in cursors]
    # Neighbours differ in half of their bits, as random numbers do, and sort in no order.
    bits = [(int.from_bytes(one) ^ int.from_bytes(other)).bit_count() for one, other in itertools.pairwise(data)]
    assert 60 < sum(bits) / len(bits) < 68
    ascending = sum(one < other for one, other in itertools.pairwise(data))
    assert 200 < ascending < 300
    with pytest.raises(Problem, match="not a cursor"):
        row_of(cursors[3], "another identity")


@pytest.mark.thorough
@pytest.mark.parametrize("apart", ["tenants", "users"])
def test_two_that_share_a_memory_get_the_answers_that_each_would_get_alone(
    servers: tuple[Running, Running, Running], apart: str
) -> None:
    @settings(
        max_examples=examples(40), deadline=None, derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )  # fmt: skip
    @given(steps=steps)
    def check(steps: list[Step]) -> None:
        number = f"{apart}-{next(_ROUNDS):05}"
        scopes = (
            [{"tenant": f"{number}-{one}", "user": "anna"} for one in "xy"]
            if apart == "tenants"
            else [{"tenant": number, "user": one} for one in ("anna", "bora")]
        )
        together, alone = (
            [User(server.client_of(f"{number} {place}", "admin", scope=scope)) for place, (server, scope) in pairs]
            for pairs in (
                enumerate(zip([servers[0]] * 2, scopes, strict=True)),
                enumerate(zip(servers[1:], scopes, strict=True)),
            )
        )
        try:
            for step in FIRST + steps if apart == "tenants" else map(of_own_names, FIRST + steps):
                together[step.who].do(step)
                alone[step.who].do(step)
                assert together[step.who].answers[-1] == alone[step.who].answers[-1]
        finally:
            for user in (*together, *alone):
                user.close()

    check()
