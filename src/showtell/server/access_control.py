"""Who may use the service: its own names and pages, the API key, requests per minute."""

from __future__ import annotations

import hmac
import ipaddress
import math
import socket
import time
from collections import OrderedDict
from dataclasses import dataclass
from http import HTTPStatus

from starlette.datastructures import Headers

from showtell.server.host_names import (
    Authority,
    is_loopback,
    normalized_host,
    parse_authority,
    parse_origin,
)
from showtell.server.problem_details import ProblemError
from showtell.server.settings import ServerSettings

_MAX_CLIENTS = 10_000  # past this number the least recently seen client is forgotten


class HostPolicy:
    """Accepts requests that are addressed to the service itself and come from its own pages.

    This blocks DNS rebinding and cross-site requests, which would let any web page use the
    service through a visitor's browser.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._is_local = settings.is_local
        self._allows_any_name = "*" in settings.allowed_hosts
        names = (settings.host, *settings.allowed_hosts)
        self._names = {normalized_host(name) for name in names if name != "*"}
        if not self._is_local:  # clients on the network know this machine by its name
            self._names.add(normalized_host(socket.gethostname()))

    def check(self, headers: Headers, method: str) -> None:
        """Raise ProblemError if Host is not the service's own, or another site sent the request.

        A request without Host is of HTTP/1.0, as health checks send it: browsers never do.
        """
        hosts = headers.getlist("host")
        authority = parse_authority(hosts[0]) if len(hosts) == 1 else None
        if hosts and authority is None:
            raise ProblemError(
                HTTPStatus.BAD_REQUEST,
                "malformed-host",
                "the Host header is malformed: send one host name or address, and its port",
            )
        if authority is not None and not self._accepts(authority.host):
            raise ProblemError(
                HTTPStatus.FORBIDDEN,
                "wrong-host",
                "the service does not accept this host name: use its address, or start it with"
                " --allowed-host NAME",
            )
        if _is_cross_site(headers, authority, method):
            raise ProblemError(
                HTTPStatus.FORBIDDEN,
                "wrong-origin",
                "a page of another site cannot use this service: open the service's own page;"
                " a proxy must pass on the Host that the browser sends, with its port",
            )

    def _accepts(self, host: str) -> bool:
        if self._allows_any_name or is_loopback(host) or host in self._names:
            return True
        if self._is_local:
            return False
        try:
            # Attackers can point a name of theirs at the service (DNS rebinding), not an address.
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True


@dataclass
class _TokenBucket:
    """The requests that a client has left, and when that was computed."""

    tokens: float
    updated: float


class RateLimit:
    """A token bucket per client: `per_minute` requests, a quarter of them in one burst.

    A limit of 0 accepts any number of requests.
    """

    def __init__(self, per_minute: int) -> None:
        self.per_second = per_minute / 60
        self.burst = max(1.0, per_minute / 4)
        self._buckets: OrderedDict[str, _TokenBucket] = OrderedDict()

    def check(self, address: str) -> None:
        """Count a request of a client; raises ProblemError if it exceeds the limit."""
        if not self.per_second:
            return
        client, now = client_network(address), time.monotonic()
        bucket = self._buckets.pop(client, _TokenBucket(self.burst, now))
        refill = (now - bucket.updated) * self.per_second
        bucket.tokens, bucket.updated = min(self.burst, bucket.tokens + refill), now
        allowed = bucket.tokens >= 1
        if allowed:
            bucket.tokens -= 1
        self._buckets[client] = bucket  # at the end: the most recently seen
        if len(self._buckets) > _MAX_CLIENTS:
            self._buckets.popitem(last=False)
        if not allowed:
            seconds = math.ceil((1 - bucket.tokens) / self.per_second)
            raise ProblemError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too-many-requests",
                f"more than {self.per_second * 60:g} requests per minute: try again in {seconds} s",
                headers={"Retry-After": str(seconds)},
            )


def check_key(key: str | None, required_key: str | None) -> None:
    """Raise ProblemError if a key is required and the request's key differs."""
    if required_key is None:
        return
    if key is not None and hmac.compare_digest(key.encode(), required_key.encode()):
        return
    kind, detail = (
        ("wrong-key", "the API key is wrong: send the key that the service was started with")
        if key
        else ("no-key", "the API key is missing: send the header Authorization: Bearer KEY")
    )
    raise ProblemError(
        HTTPStatus.UNAUTHORIZED, kind, detail, headers={"WWW-Authenticate": "Bearer"}
    )


def _is_cross_site(headers: Headers, authority: Authority | None, method: str) -> bool:
    """Return whether a browser sent the request for a page of another site."""
    origin = headers.get("origin")
    if origin is not None and not _is_same_origin(origin, authority):
        return True
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        # A link on another site may lead to the page, but nothing else is allowed.
        return not (method in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate")
    return False


def _is_same_origin(origin: str, authority: Authority | None) -> bool:
    parsed = parse_origin(origin)
    if parsed is None or authority is None:
        return False
    # Behind a proxy, only the origin says whether the browser uses http or https.
    scheme, sender = parsed
    return sender.host == authority.host and sender.port_for(scheme) == authority.port_for(scheme)


def client_network(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or an IPv6 /64 (one customer's)."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if ip.version == 6:
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return address
