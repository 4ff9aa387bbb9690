"""Metrics of the service for Prometheus."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

_SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30)
_BATCH_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 32)


class Metrics:
    """The metrics of one service; none of them identifies a client or a photo."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = self._counter("requests", "Answered requests.", "method", "route", "status")
        self.request_seconds = self._histogram(
            "request_seconds", "Time from a request's head to the end of its response.", "route"
        )
        self.open_requests = self._gauge("open_requests", "Requests not yet answered.")
        self.photos = self._counter("photos", "Captioned or failed photos.", "outcome")
        self.refused = self._counter(
            "refused_requests", "Requests refused because the queue was full or too slow."
        )
        self.queue_photos = self._gauge("queue_photos", "Photos waiting for a worker.")
        self.slow_photos = self._gauge(
            "slow_photos", "Waiting photos with many pixels, or that crashed a worker."
        )
        self.queue_size = self._gauge("queue_size", "Photos that may wait for a worker.")
        self.queue_seconds = self._histogram("queue_seconds", "Time a photo waits for a worker.")
        self.batch_photos = self._histogram(
            "batch_photos", "Photos in a batch.", buckets=_BATCH_BUCKETS
        )
        self.batch_seconds = self._histogram("batch_seconds", "Time a worker takes for a batch.")
        self.workers = self._gauge("workers", "Running workers.")
        self.worker_deaths = self._counter(
            "worker_deaths", "Workers that crashed or were stopped while they captioned."
        )
        self.upload_bytes = self._gauge("upload_bytes", "Bytes of uploads in memory.")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"showtell_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"showtell_{name}", text, registry=self.registry)

    def _histogram(
        self, name: str, text: str, *labels: str, buckets: tuple[float, ...] = _SECONDS_BUCKETS
    ) -> Histogram:
        return Histogram(f"showtell_{name}", text, labels, buckets=buckets, registry=self.registry)

    def observe_batch(self, photos: int, seconds: float) -> None:
        """Record a batch that a worker has captioned."""
        self.batch_photos.observe(photos)
        self.batch_seconds.observe(seconds)

    def render(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self.registry)
