"""The settings of the service: its address, who may use it, and its limits."""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass, field

from showtell.bundle.cpu_cores import usable_cores
from showtell.server.host_names import is_loopback, normalized_host

MEGABYTE = 1_000_000
DEFAULT_RATE = 600  # requests per minute of one client, if other machines can reach the service
MIN_KEY_LENGTH = 8


@dataclass(frozen=True)
class ServerSettings:
    """The options of `showtell serve` under the same names, validated.

    Raises ValueError with a one-line message, which names the options, if a value is out of range
    or two contradict.
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
    queue_wait: float = 30.0
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
    max_request_pixels: int = 400_000_000
    """Maximum pixels of all photos of a request; of a JPEG, a quarter counts."""
    rate: int | None = None
    """Requests per minute of one client, 0 for no limit; None: 600, no limit on loopback."""

    api_key: str | None = field(default=None, repr=False)
    no_api_key: bool = False
    """Allow other machines to use the service without a key."""
    allowed_hosts: tuple[str, ...] = ()
    """Additional host names that requests may use (`Host` header)."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto headers are
    trusted; `*` for any."""
    root_path: str = ""
    """Path prefix under which a proxy serves the service, such as /captions; empty for none."""
    access_log: bool = False
    """Log one line per request."""

    def __post_init__(self) -> None:
        for name, minimum in _MINIMUMS.items():
            value = getattr(self, name)
            if value is not None and not minimum <= value < math.inf:
                raise ValueError(
                    f"--{name.replace('_', '-')} {value}: must be a number of at least {minimum}"
                )
        if self.port > 65535:
            raise ValueError(f"--port {self.port}: must be at most 65535")
        if self.max_photos > self.queue_size:
            raise ValueError(
                f"--max-photos {self.max_photos} is more than --queue-size {self.queue_size}:"
                " raise --queue-size"
            )
        if self.max_body > self.max_uploads:
            raise ValueError(
                f"--max-body {self.max_body} is more than --max-uploads {self.max_uploads}:"
                " raise --max-uploads"
            )
        if self.max_pixels > self.max_request_pixels:
            raise ValueError(
                f"--max-pixels {self.max_pixels} is more than --max-request-pixels"
                f" {self.max_request_pixels}: raise --max-request-pixels"
            )
        if self.root_path and not _is_root_path(self.root_path):
            raise ValueError(
                f"--root-path {self.root_path}: must begin with / and not end with it, and not be"
                " an address of the service itself, such as /v1"
            )
        for name in self.allowed_hosts:
            if name != "*" and normalized_host(name) is None:
                raise ValueError(
                    f"--allowed-host {name}: not a host name: give it without http:// and port"
                )
        for proxy in self.trusted_proxies:
            if proxy != "*" and not _is_network(proxy):
                raise ValueError(
                    f"--trusted-proxy {proxy}: must be an IP address or a network, such as"
                    " 127.0.0.1 or 172.16.0.0/12"
                )
        if self.api_key is not None and not _is_valid_key(self.api_key):
            raise ValueError(
                f"the API key must have at least {MIN_KEY_LENGTH} printable ASCII characters and no"
                " spaces"
            )
        if not (self.api_key or self.no_api_key or self.is_local):
            raise ValueError(
                f"--host {self.host}: other machines can reach this address: set an API key"
                " ($SHOWTELL_API_KEY or --api-key-file), or --no-api-key if a proxy checks access"
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
    "max_request_pixels": 1,
    "rate": 0,
}


# first parts of the service's own addresses
_OWN_PATHS = {"/health", "/metrics", "/openapi.json", "/ready", "/static", "/v1"}


def _is_root_path(path: str) -> bool:
    parts = path.split("/")[1:]
    return (
        path.startswith("/")
        and all(re.fullmatch(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*", part) for part in parts)
        and f"/{parts[0]}" not in _OWN_PATHS
    )


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _is_valid_key(key: str) -> bool:
    return len(key) >= MIN_KEY_LENGTH and key.isascii() and key.isprintable() and " " not in key
