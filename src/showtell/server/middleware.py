"""Who may ask, and how much: Host and Origin, API key, requests a minute, sizes, safe headers."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import math
import time
from collections import OrderedDict
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from showtell.server.metrics import Metrics
from showtell.server.problem_details import ProblemError
from showtell.server.settings import MEGABYTE, ServerSettings, is_loopback

logger = logging.getLogger(__name__)

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:;"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_DIGITS = 18  # of a length that is a number still; that it is one the server has seen to
_GONE = 499  # there is no answer, or nobody to take it
_MOST_CLIENTS = 10_000  # whose requests are counted; the one not heard of for longest is forgotten


class Guard:
    """The outermost layer: what it refuses reaches nothing of the service.

    It refuses what is called by a name that is not the service's (DNS rebinding), what a page of
    another site sent, and a body that says itself that it is too large; it adds the headers that
    every answer carries, counts, and ends an answer that is not taken in time.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings, metrics: Metrics) -> None:
        self.app = app
        self.settings = settings
        self.metrics = metrics
        self._hosts = {name.lower() for name in (settings.host, *settings.allowed_hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        status = _GONE

        async def guarded_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            # A client that does not read its answer may not keep it in memory forever.
            async with asyncio.timeout(self.settings.upload_timeout):
                await send(message)

        self.metrics.open_requests.inc()
        problem = self._refusal(Headers(scope=scope), scope["method"])
        try:
            if problem is None:
                await self.app(scope, receive, guarded_send)
        except asyncio.CancelledError:  # the time to finish before the end is over
            problem = _ending()
        except Exception:
            logger.exception("a request failed")
            problem = _failed()
        try:
            if problem is not None and status == _GONE:
                await problem.response()(scope, receive, guarded_send)
        finally:
            self.metrics.open_requests.dec()
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(method, route, status).inc()
            self.metrics.request_seconds.labels(route).observe(time.perf_counter() - start)

    def _refusal(self, headers: Headers, method: str) -> ProblemError | None:
        host = headers.get("host", "")
        if not self._is_own(host):
            return ProblemError(
                HTTPStatus.FORBIDDEN,
                "wrong-host",
                "this service is not called by that name: use its address, or start it with"
                " --allowed-host NAME",
            )
        if _is_foreign(headers, host, method):
            return ProblemError(
                HTTPStatus.FORBIDDEN,
                "wrong-origin",
                "a page of another site may not use this service: open the service's own page",
            )
        length = headers.get("content-length", "")
        if len(length) > _DIGITS or int(length or 0) > self.settings.max_body * MEGABYTE:
            return too_large(self.settings)
        return None

    def _is_own(self, host: str) -> bool:
        """Tell whether the service answers to a Host header.

        An address is no name that a foreign site could have pointed here.
        """
        name = _hostname(host)
        if name is None:
            return False
        if is_loopback(name) or name in self._hosts or "*" in self._hosts:
            return True
        if self.settings.is_local:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _failed() -> ProblemError:
    return ProblemError(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal-error",
        "the service failed: its log says how; try again, and report it if it stays",
    )


def _ending() -> ProblemError:
    return ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "ending",
        "the service is being ended: try again later",
        headers={"Retry-After": "10", "Connection": "close"},
    )


_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"}


def too_large(settings: ServerSettings) -> ProblemError:
    """Return the problem of a body that is too large."""
    return ProblemError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "body-too-large",
        f"more than {settings.max_body} MB: send smaller photos, or fewer in a request",
        max_body=settings.max_body * MEGABYTE,
    )


class RateLimit:
    """Lets each client send so many requests a minute, a quarter of them at once."""

    def __init__(self, a_minute: int) -> None:
        self.rate = a_minute / 60
        self.most = max(1.0, a_minute / 4)
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()  # left, and when

    def check(self, client: str) -> None:
        """Count a request of a client; raises ProblemError where it is one too many."""
        if not self.rate:
            return
        name, now = _network(client), time.monotonic()
        left, before = self._clients.pop(name, (self.most, now))
        left = min(self.most, left + (now - before) * self.rate)
        self._clients[name] = (left - 1 if left >= 1 else left, now)
        if len(self._clients) > _MOST_CLIENTS:
            self._clients.popitem(last=False)
        if left < 1:
            seconds = math.ceil((1 - left) / self.rate)
            raise ProblemError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too-many-requests",
                f"more than {self.rate * 60:g} requests a minute: try again in {seconds} s",
                headers={"Retry-After": str(seconds)},
            )


def check_key(given: str | None, key: str | None) -> None:
    """Raise ProblemError where there is a key and it is not the one given."""
    if key is None or (given is not None and hmac.compare_digest(given.encode(), key.encode())):
        return
    raise ProblemError(
        HTTPStatus.UNAUTHORIZED,
        "wrong-key" if given else "no-key",
        "send the service's API key in the header  Authorization: Bearer KEY",
        headers={"WWW-Authenticate": "Bearer"},
    )


def _hostname(host: str) -> str | None:
    """Return the name or address in a Host header, without its port; None where it is none."""
    try:
        return urlsplit(f"//{host}").hostname if "@" not in host and "/" not in host else None
    except ValueError:
        return None


def _is_foreign(headers: Headers, host: str, method: str) -> bool:
    """Tell whether a browser sent a request for a page that is not the service's own."""
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2].lower() != host.lower():
        return True
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        # a link on another site may lead to the page, and nothing else
        return not (method == "GET" and headers.get("sec-fetch-mode") == "navigate")
    return False


def _network(client: str) -> str:
    """Return what counts as one client: an address, of IPv6 the network that a customer gets."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if address.version == 6:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return client
