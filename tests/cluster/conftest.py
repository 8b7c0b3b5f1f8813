"""What the tests of clusters share: one cluster at a time and always shut down."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# The small world in which tests of training train.
from tests.training.conftest import small_recipe, world  # noqa: F401

OBJECT_STORE = int(1e8)
CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Any]]:
    """Return a function that starts a cluster of some nodes with one processor each, and connects to it."""
    ray = pytest.importorskip("ray", reason="needs the extra ray: make test-cluster")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    clusters: list[Any] = []

    def start(count: int) -> Any:
        node = {"num_cpus": 1, "object_store_memory": OBJECT_STORE, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        clusters.append(cluster)
        for _ in range(count - 1):
            cluster.add_node(**node)
        ray.init(address=cluster.address, log_to_driver=False)
        return cluster

    try:
        yield start
    finally:
        ray.shutdown()
        for cluster in clusters:
            cluster.shutdown()
        os.environ.pop("RAY_ADDRESS", None)
