"""What a service is told: where it listens, whom it answers, and how much it takes on."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, field

from showtell.bundle.onnx_runtime import usable_cores

MEGABYTE = 1_000_000
DEFAULT_RATE = 600  # requests a minute of one client, where strangers may be among them


@dataclass(frozen=True)
class ServerSettings:
    """The options of `showtell serve`, each of the same name; checked when made.

    Raises ValueError, one line, where one is out of range or two do not fit together.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    model: str | None = None
    """A model's name, a bundle or a run; None for the shipped one."""

    workers: int | None = None
    """Processes that caption; None for one on each core."""
    threads: int = 1
    """Threads of each worker's networks."""
    batch_size: int = 8
    """Photos that a worker captions at once, at most."""
    batch_delay: float = 0.0
    """Seconds that a free worker waits for a batch to fill."""

    queue_size: int = 64
    """Photos that may wait for a worker."""
    queue_wait: float = 1.0
    """Seconds that a request may wait for its first photo's turn."""
    photo_timeout: float = 20.0
    """Seconds after which a worker that is still at a photo, or a batch, is stopped."""
    upload_timeout: float = 60.0
    """Seconds in which a request's body must arrive, and an answer be taken."""
    shutdown_timeout: float = 30.0
    """Seconds that requests accepted before a SIGTERM have to end."""

    max_body: int = 32
    """MB of a request's body."""
    max_uploads: int = 512
    """MB of all bodies that are held at once."""
    max_photos: int = 32
    """Photos of one request."""
    max_pixels: int = 50_000_000
    """Pixels of one photo."""
    rate: int | None = None
    """Requests a minute of one client, 0 for any number; None: 600, any on a loopback address."""

    api_key: str | None = field(default=None, repr=False)
    no_api_key: bool = False
    """Listen where other machines reach it although there is no key."""
    allowed_hosts: tuple[str, ...] = ()
    """Names beside its own by which clients may call it (`Host`)."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses whose X-Forwarded-For and -Proto are believed."""
    access_log: bool = False
    """Log a line for each request."""

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                raise ValueError(f"{name}={value} is less than {least}, or no number")
        if self.port > 65535:
            raise ValueError(f"port={self.port} is more than 65535")
        if self.max_photos > self.queue_size:
            raise ValueError(
                f"max_photos={self.max_photos} of a request do not fit into a queue of"
                f" {self.queue_size}: raise queue_size"
            )
        if self.max_body > self.max_uploads:
            raise ValueError(
                f"max_body={self.max_body} is more than max_uploads={self.max_uploads}"
            )
        if self.api_key is not None and (
            len(self.api_key) < 8
            or not self.api_key.isascii()
            or not self.api_key.isprintable()
            or " " in self.api_key
        ):
            raise ValueError("api_key: at least 8 letters, digits and signs of ASCII, no spaces")
        if not (self.api_key or self.no_api_key or self.is_local):
            raise ValueError(
                f"host={self.host} can be reached from other machines: give an API key"
                " ($SHOWTELL_API_KEY or api_key_file), or no_api_key where a proxy asks for one"
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(self.host)

    @property
    def worker_count(self) -> int:
        """How many workers there are."""
        return usable_cores() if self.workers is None else self.workers

    @property
    def requests_a_minute(self) -> int:
        """How many requests a client may send in a minute; 0 for any number."""
        if self.rate is None:
            return 0 if self.is_local else DEFAULT_RATE
        return self.rate


_LEAST: dict[str, float] = {
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


def is_loopback(host: str) -> bool:
    """Tell whether a name or address is this machine's own, which no other can reach."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
