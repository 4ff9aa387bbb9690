"""The settings of the service: its address, who may use it, and its limits."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, field

from showtell.bundle.cpu_cores import usable_cores

MEGABYTE = 1_000_000
DEFAULT_RATE = 600  # requests per minute of one client, if other machines can reach the service
MIN_KEY_LENGTH = 8


@dataclass(frozen=True)
class ServerSettings:
    """The options of `showtell serve` under the same names, validated.

    Raises ValueError with a one-line message if a value is out of range or two contradict.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    model: str | None = None
    """Name of a model, or path of a bundle; None for the default model."""

    workers: int | None = None
    """Number of worker processes; None for one per core."""
    threads: int = 1
    """Threads per worker for its networks."""
    batch_size: int = 8
    """Maximum photos that a worker captions at once."""
    batch_delay: float = 0.0
    """Seconds that an idle worker waits for a batch to fill."""

    queue_size: int = 64
    """Photos that may wait for a worker."""
    queue_wait: float = 1.0
    """Seconds that a request may wait until a worker takes its first photo."""
    photo_timeout: float = 20.0
    """Seconds after which a worker that has not finished its photo or batch is stopped."""
    upload_timeout: float = 60.0
    """Seconds in which a request's body must arrive, and its response must be read."""
    shutdown_timeout: float = 30.0
    """Seconds that accepted requests have to finish after a SIGTERM."""

    max_body: int = 32
    """Maximum size of a request's body, in MB."""
    max_uploads: int = 512
    """Maximum size of all bodies in memory together, in MB."""
    max_photos: int = 32
    """Maximum photos per request."""
    max_pixels: int = 50_000_000
    """Maximum pixels per photo."""
    rate: int | None = None
    """Requests per minute of one client, 0 for no limit; None: 600, no limit on loopback."""

    api_key: str | None = field(default=None, repr=False)
    no_api_key: bool = False
    """Allow other machines to use the service without a key."""
    allowed_hosts: tuple[str, ...] = ()
    """Additional host names that requests may use (`Host` header)."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses of proxies whose X-Forwarded-For and X-Forwarded-Proto headers are trusted."""
    access_log: bool = False
    """Log one line per request."""

    def __post_init__(self) -> None:
        for name, minimum in _MINIMUMS.items():
            value = getattr(self, name)
            if value is not None and not minimum <= value < math.inf:
                raise ValueError(f"{name}={value}: must be a number of at least {minimum}")
        if self.port > 65535:
            raise ValueError(f"port={self.port}: must be at most 65535")
        if self.max_photos > self.queue_size:
            raise ValueError(
                f"max_photos={self.max_photos} is more than queue_size={self.queue_size}:"
                " raise queue_size"
            )
        if self.max_body > self.max_uploads:
            raise ValueError(
                f"max_body={self.max_body} is more than max_uploads={self.max_uploads}:"
                " raise max_uploads"
            )
        if self.api_key is not None and not _is_valid_key(self.api_key):
            raise ValueError(
                f"api_key: must have at least {MIN_KEY_LENGTH} printable ASCII characters and no"
                " spaces"
            )
        if not (self.api_key or self.no_api_key or self.is_local):
            raise ValueError(
                f"host={self.host}: other machines can reach this address: set an API key"
                " ($SHOWTELL_API_KEY or api_key_file), or no_api_key if a proxy checks access"
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the service."""
        return is_loopback(self.host)

    @property
    def worker_count(self) -> int:
        """The number of worker processes."""
        return usable_cores() if self.workers is None else self.workers

    @property
    def requests_per_minute(self) -> int:
        """The requests that one client may send per minute; 0 for no limit."""
        if self.rate is None:
            return 0 if self.is_local else DEFAULT_RATE
        return self.rate


_MINIMUMS: dict[str, float] = {
    "port": 0,
    "workers": 1,
    "threads": 1,
    "batch_size": 1,
    "batch_delay": 0,
    "queue_size": 1,
    "queue_wait": 0.01,
    "photo_timeout": 0.1,
    "upload_timeout": 0.1,
    "shutdown_timeout": 0,
    "max_body": 1,
    "max_uploads": 1,
    "max_photos": 1,
    "max_pixels": 1,
    "rate": 0,
}


def _is_valid_key(key: str) -> bool:
    return len(key) >= MIN_KEY_LENGTH and key.isascii() and key.isprintable() and " " not in key


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is a loopback address of this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
