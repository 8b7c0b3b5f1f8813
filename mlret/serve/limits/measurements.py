"""Measurements of the server in Prometheus' format: ``GET /metrics``."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Measurements:
    """Counts and durations of requests, by method, route and status. No label holds a name, an id or a text.

    Attributes
    ----------
    registry
        Where other parts of the server register measurements of their own.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "mlret_http_requests", "Requests that were answered.", ("method", "route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "mlret_http_request_seconds",
            "Time from the headers of a request to the end of its answer.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._at_work = Gauge("mlret_http_requests_at_work", "Requests under way.", registry=self.registry)
        self._received = Counter("mlret_http_received_bytes", "Bytes of bodies received.", registry=self.registry)
        self._sent = Counter("mlret_http_sent_bytes", "Bytes of bodies sent.", registry=self.registry)

    def begin(self) -> None:
        """Count a request that begins."""
        self._at_work.inc()

    def end(self, method: str, route: str, status: int, seconds: float, received: int, sent: int) -> None:
        """Count a request that has ended.

        Parameters
        ----------
        method, route
            The method, and the pattern of the path.
        status
            Status of the answer; 0 if the client left before there was one.
        seconds
            How long it took.
        received, sent
            Bytes of the bodies of request and answer.
        """
        known = method if method in _METHODS else "OTHER"
        self._at_work.dec()
        key = known, route, status
        if key not in self._known:
            # To look the labels up each time takes longer than to count.
            self._known[key] = self._requests.labels(known, route, str(status)), self._seconds.labels(known, route)
        count, durations = self._known[key]
        count.inc()
        durations.observe(seconds)
        self._received.inc(received)
        self._sent.inc(sent)

    def exposition(self) -> tuple[bytes, str]:
        """Return the measurements as text, and its media type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
