"""Two tenants on one memory, through agents: whatever both do, each has only what it stored itself."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serve.mcp.agents import Agent
from tests.serve.running import Running

TENANTS = ("acme", "umbrella")
TEXTS = ("the train is late", "Treni imechelewa", "电车晚点了", "القطار متأخر", "Anna drinks tea")
_ROUNDS = itertools.count(1)

actions = st.tuples(
    st.sampled_from(TENANTS),
    st.sampled_from(["memory_add", "memory_update", "memory_forget", "memory_erase", "steal", "search"]),
    st.sampled_from(TEXTS),
    st.integers(0, 20),
)


class Tenant:
    """An agent of a tenant, and what it must find: id -> text of what is active, and the ids that it ever stored."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.active: dict[str, str] = {}
        self.stored: list[str] = []

    def found(self, query: str) -> dict[str, str]:
        hits = self.agent.call("memory_search", query=query, k=100)["hits"]
        return {hit["memory"]["id"]: hit["memory"]["text"] for hit in hits}


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(actions, min_size=4, max_size=16))
def test_no_tenant_finds_reads_or_changes_what_another_stored(
    server: Running, steps: list[tuple[str, str, str, int]]
) -> None:
    number = next(_ROUNDS)
    clients = {
        name: server.client_of(f"{name} {number}", "write", scope={"tenant": f"{name} {number}", "user": "u"})
        for name in TENANTS
    }
    tenants = {name: Tenant(Agent(client)) for name, client in clients.items()}
    try:
        for name, action, text, place in steps:
            other = tenants[next(one for one in TENANTS if one != name)]
            act(tenants[name], other, action, f"{text} {place}", place)
        for tenant in tenants.values():
            assert tenant.found("where is the train?").items() <= tenant.active.items()
            listed = tenant.agent.client.get("/v1/memories", params={"limit": 1000}).json()["memories"]
            assert {one["id"]: one["text"] for one in listed} == tenant.active
    finally:
        for client in clients.values():
            client.close()


def act(tenant: Tenant, other: Tenant, action: str, text: str, place: int) -> None:
    """Do one step, and check its outcome."""
    agent = tenant.agent
    own = sorted(tenant.active)
    if action == "memory_add":
        [added] = agent.call("memory_add", memories=[{"text": text}])["results"]
        # Another tenant's text is no duplicate, whatever it says.
        assert added["id"] not in other.stored
        tenant.stored.append(added["id"])
        if added["verdict"] != "duplicate":
            tenant.active[added["id"]] = text
    elif action == "steal":
        steal(agent, other, place)
    elif action == "search":
        found = agent.call("memory_search", query=text, k=100)["hits"]
        assert not {hit["memory"]["id"] for hit in found} & set(other.stored)
    elif own:
        id = own[place % len(own)]
        arguments: dict[str, Any] = {"ids": [id]} if action != "memory_update" else {"id": id, "text": f"{text}, now"}
        agent.call(action, **arguments)
        if action == "memory_update":
            tenant.active[id] = f"{text}, now"
        else:
            del tenant.active[id]


def steal(agent: Agent, other: Tenant, place: int) -> None:
    """Try to reach a record of the other tenant by its id, which must look as if it did not exist."""
    if not other.stored:
        return
    id = other.stored[place % len(other.stored)]
    for tool, arguments in [
        ("memory_history", {"id": id}),
        ("memory_update", {"id": id, "text": "stolen"}),
        ("memory_forget", {"ids": [id]}),
        ("memory_erase", {"ids": [id]}),
    ]:
        answers = [
            agent.refused(tool, **{key: _replaced(value, id, one) for key, value in arguments.items()}).replace(
                one, "ID"
            )
            for one in (id, "missing")
        ]
        assert answers[0] == answers[1]
    for scope in ({"user": "another"}, {"user": "u", "agent": "spy"}):
        result = agent.ask("tools/call", name="memory_history", arguments={"id": id, "scope": scope})
        assert result["isError"]


def _replaced(value: Any, old: str, new: str) -> Any:
    return [new] if isinstance(value, list) else new if value == old else value
