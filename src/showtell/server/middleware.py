"""The ASGI middleware around all routes: access checks, security headers, metrics, timeouts."""

from __future__ import annotations

import asyncio
import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from showtell.server.access_control import HostPolicy
from showtell.server.metrics import Metrics
from showtell.server.problem_details import (
    CLIENT_CLOSED_REQUEST,
    ProblemError,
    body_too_large,
    internal_error,
    shutting_down,
)
from showtell.server.settings import MEGABYTE, ServerSettings

logger = logging.getLogger(__name__)

SECURITY_HEADERS = {
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
_MAX_LENGTH_DIGITS = 18  # of Content-Length: more is too large, without parsing it
_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"}


class RequestMiddleware:
    """The outermost layer of the application.

    It rejects requests for a foreign Host, from pages of other sites, or with a Content-Length
    that is too large, before any route sees them. It adds the security headers to every response,
    counts requests, and aborts a response that the client does not read in time.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings, metrics: Metrics) -> None:
        self.app = app
        self.settings = settings
        self.metrics = metrics
        self._host_policy = HostPolicy(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an HTTP request; other connections go to the application as they are."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        response = _ResponseSender(send, timeout=self.settings.upload_timeout)
        self.metrics.open_requests.inc()
        try:
            problem = await self._run(scope, receive, response)
            if problem is not None and response.status is None:
                await problem.response()(scope, receive, response.send)
        finally:
            self.metrics.open_requests.dec()
            status = response.status or CLIENT_CLOSED_REQUEST
            self._count(scope, status, time.perf_counter() - start)

    async def _run(
        self, scope: Scope, receive: Receive, response: _ResponseSender
    ) -> ProblemError | None:
        """Run the application; return the problem if it refused the request or failed."""
        try:
            self._check(Headers(scope=scope), scope["method"])
            await self.app(scope, receive, response.send)
        except ProblemError as problem:
            return problem
        except asyncio.CancelledError:  # the shutdown timeout has passed
            return shutting_down()
        except Exception:
            logger.exception("a request failed")
            return internal_error()
        return None

    def _check(self, headers: Headers, method: str) -> None:
        self._host_policy.check(headers, method)
        length = headers.get("content-length", "")
        if len(length) > _MAX_LENGTH_DIGITS or int(length or 0) > self.settings.max_body * MEGABYTE:
            raise body_too_large(self.settings)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = getattr(scope.get("route"), "path", "other")
        self.metrics.requests.labels(method, route, status).inc()
        self.metrics.request_seconds.labels(route).observe(seconds)


class _ResponseSender:
    """Sends a response with the security headers; `status` is None until it has started."""

    def __init__(self, send: Send, timeout: float) -> None:
        self.status: int | None = None
        self._send = send
        self._timeout = timeout

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
        # A client that does not read its response must not keep it in memory forever.
        async with asyncio.timeout(self._timeout):
            await self._send(message)
