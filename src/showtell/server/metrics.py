"""What a service tells Prometheus of itself."""

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

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30)
_BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 32)


class Metrics:
    """The counters of one service; nothing in them tells one client or photo from another."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.requests = Counter(
            "showtell_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "showtell_request_seconds",
            "From a request's head to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.open_requests = Gauge(
            "showtell_open_requests", "Requests that are not answered yet.", registry=registry
        )
        self.photos = Counter(
            "showtell_photos", "Photos captioned or failed.", ["outcome"], registry=registry
        )
        self.refused = Counter(
            "showtell_refused_requests",
            "Requests for which there was no room or no time.",
            registry=registry,
        )
        self.queue_photos = Gauge(
            "showtell_queue_photos", "Photos that wait for a worker.", registry=registry
        )
        self.queue_size = Gauge(
            "showtell_queue_size", "Photos that may wait for a worker.", registry=registry
        )
        self.queue_seconds = Histogram(
            "showtell_queue_seconds",
            "How long a photo waited for a worker.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_photos = Histogram(
            "showtell_batch_photos",
            "Photos captioned together.",
            buckets=_BATCHES,
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "showtell_batch_seconds",
            "How long a worker took for a batch.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.workers = Gauge("showtell_workers", "Workers that run.", registry=registry)
        self.worker_deaths = Counter(
            "showtell_worker_deaths",
            "Workers that died or were stopped over a photo.",
            registry=registry,
        )
        self.upload_bytes = Gauge(
            "showtell_upload_bytes", "Bytes of uploads that are held.", registry=registry
        )

    def batch(self, photos: int, seconds: float) -> None:
        """Note a batch that a worker has done."""
        self.batch_photos.observe(photos)
        self.batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """Return everything as Prometheus reads it."""
        return generate_latest(self.registry)
