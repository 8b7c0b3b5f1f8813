"""More requests than the server can work on wait, and more than can wait are sent away; none is lost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from mlret.serve.limits.capacity import CapacityLimits
from tests.serve.serving import Served, serving

LIMITS = CapacityLimits(working=4, waiting=8, per_token=10, patience=5.0)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("capacity"), capacity=LIMITS) as one:
        yield one


def statuses(served: Served, path: str, tokens: list[str]) -> list[httpx2.Response]:
    """Return the answers to one request for each token, sent at the same time."""

    def ask(token: str) -> httpx2.Response:
        return served.client.get(path, headers={"authorization": f"Bearer {token}"})

    with ThreadPoolExecutor(len(tokens)) as pool:
        return list(pool.map(ask, tokens))


def test_requests_wait_for_their_turn(served: Served) -> None:
    began = time.monotonic()
    answers = statuses(served, "/v1/slow?seconds=0.2", [served.token] * 8)
    assert [answer.status_code for answer in answers] == [200] * 8
    # Three at once, so three rounds.
    assert time.monotonic() - began >= 0.6


def test_more_than_can_wait_are_sent_away_and_told_when_to_come_back(served: Served) -> None:
    other = served.guards.tokens.add("other", "read")
    answers = statuses(served, "/v1/slow?seconds=1.5", [served.token] * 8 + [other] * 8)
    counts = Counter(answer.status_code for answer in answers)
    assert counts == {200: 12, 429: 4}
    for answer in answers:
        if answer.status_code == 429:
            assert 1 <= int(answer.headers["retry-after"]) <= 30
            assert answer.json()["type"] == "/problems/too-many-requests"
    assert served.client.get("/v1/things/a").status_code == 200


def test_one_token_leaves_room_for_others(served: Served) -> None:
    another = served.guards.tokens.add("another", "read")
    answers = statuses(served, "/v1/slow?seconds=1", [served.token] * 16 + [another] * 2)
    assert Counter(answer.status_code for answer in answers[:16])[429] >= 6
    assert [answer.status_code for answer in answers[16:]] == [200, 200]


def test_a_token_with_many_requests_does_not_delay_the_others(served: Served) -> None:
    headers = {"authorization": f"Bearer {served.guards.tokens.add('quick', 'read')}"}
    with ThreadPoolExecutor(9) as pool:
        busy = [pool.submit(served.client.get, "/v1/slow?seconds=1") for _ in range(9)]
        time.sleep(0.2)
        began = time.monotonic()
        assert served.client.get("/v1/slow?seconds=0", headers=headers).status_code == 200
        assert time.monotonic() - began < 0.7
        assert [one.result().status_code for one in busy] == [200] * 9


def test_a_turn_that_does_not_come_ends_in_429(tmp_path: Path) -> None:
    with serving(tmp_path, capacity=replace(LIMITS, patience=0.3)) as served:
        answers = statuses(served, "/v1/slow?seconds=2", [served.token] * 6)
    assert Counter(answer.status_code for answer in answers) == {200: 3, 429: 3}


def test_health_is_answered_under_load(served: Served) -> None:
    with ThreadPoolExecutor(12) as pool:
        busy = [pool.submit(served.client.get, "/v1/slow?seconds=1.5") for _ in range(6)]
        time.sleep(0.2)
        began = time.monotonic()
        assert httpx2.get(f"http://localhost:{served.port}/healthz").status_code == 200
        assert time.monotonic() - began < 1.2
        assert [one.result().status_code for one in busy] == [200] * 6


def test_requests_that_fail_give_their_turn_back(served: Served) -> None:
    for _ in range(3 * (LIMITS.working + LIMITS.waiting)):
        assert served.client.get("/v1/errors/unexpected").status_code == 500
        with served.connect() as connection:
            connection.sendall(served.head("POST", "/v1/size", "Content-Length: 10"))
    assert served.client.get("/v1/things/a").status_code == 200


@pytest.mark.thorough
def test_of_ten_thousand_requests_none_is_lost(served: Served) -> None:
    def ask(number: int) -> int:
        while (response := client.get(f"/v1/things/{number}")).status_code == 429:
            time.sleep(0.01)
        assert response.json()["name"] == str(number)
        return response.status_code

    headers = {"authorization": f"Bearer {served.token}"}
    with (
        httpx2.Client(base_url=f"http://localhost:{served.port}", headers=headers, timeout=60) as client,
        ThreadPoolExecutor(16) as pool,
    ):
        assert Counter(pool.map(ask, range(10_000))) == {200: 10_000}
