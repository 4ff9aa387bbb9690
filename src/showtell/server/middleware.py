"""The ASGI middleware around all routes: access checks, security headers, metrics, timeouts."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import datetime
from http import HTTPStatus
from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from showtell.server.access_control import HostPolicy
from showtell.server.host_names import parse_origin
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
access_logger = logging.getLogger("showtell.server.access")

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
    that is too large, before any route sees them. It answers HEAD wherever GET is answered, and
    targets in absolute form. It adds the security headers to every response, counts and logs
    requests, and aborts a response that the client does not read in time.
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
        # Uvicorn leaves out the body where its own scope says HEAD.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        inner: Scope = {**scope, "method": method, "root_path": self.settings.root_path}
        try:
            problem = await self._run(inner, receive, response)
            if problem is not None and response.status is None:
                await problem.response()(inner, receive, response.send)
        finally:
            self.metrics.open_requests.dec()
            status = response.status or CLIENT_CLOSED_REQUEST
            seconds = time.perf_counter() - start
            self._count(
                scope["method"], getattr(inner.get("route"), "path", "other"), status, seconds
            )
            if self.settings.access_log:
                access_logger.info(_access_line(scope, status, seconds))

    async def _run(
        self, scope: Scope, receive: Receive, response: _ResponseSender
    ) -> ProblemError | None:
        """Run the application; return the problem if it refused the request or failed."""
        try:
            _use_origin_form(scope)
            self._check(Headers(scope=scope), scope["method"])
            if self.settings.root_path and scope["path"] == self.settings.root_path:
                redirect = RedirectResponse(self.settings.root_path + "/", 308)
                await redirect(scope, receive, response.send)
            else:
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

    def _count(self, method: str, route: str, status: int, seconds: float) -> None:
        self.metrics.requests.labels(method if method in _METHODS else "other", route, status).inc()
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


def _use_origin_form(scope: Scope) -> None:
    """Replace a target in absolute form, whose host overrides the Host header (RFC 9112, 3.2.2).

    Raises ProblemError for a target that is neither a path nor an http or https address.
    """
    target = scope["raw_path"].decode("latin-1")
    if target.startswith("/") or target == "*":
        return
    scheme, _, rest = target.partition("://")
    host, _, path = rest.partition("/")
    if parse_origin(f"{scheme}://{host}") is None:
        raise ProblemError(
            HTTPStatus.BAD_REQUEST, "malformed-target", "request a path of this service, such as /"
        )
    scope["raw_path"] = f"/{path}".encode("latin-1")
    scope["path"] = unquote(f"/{path}")
    others = [(name, value) for name, value in scope["headers"] if name != b"host"]
    scope["headers"] = [(b"host", host.encode("latin-1")), *others]


def _access_line(scope: Scope, status: int, seconds: float) -> str:
    now = datetime.now().astimezone().isoformat(timespec="milliseconds")
    client = scope["client"][0] if scope["client"] else "-"
    target = scope["raw_path"].decode("latin-1")
    if scope["query_string"]:
        target += "?" + scope["query_string"].decode("latin-1")
    request = f"{scope['method']} {target} HTTP/{scope['http_version']}"
    return f'{now} {client} "{request}" {status} {seconds:.3f} s'
