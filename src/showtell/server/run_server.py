"""Runs the service: binds its address, serves until a signal, finishes what was accepted."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from showtell.errors import ShowtellError
from showtell.server.app import create_app
from showtell.server.settings import ServerSettings

HEAD_TIMEOUT = 15.0  # seconds in which a request's head must have come, at most
_BACKLOG = 1024

logger = logging.getLogger(__name__)


class ServeError(ShowtellError):
    """The service cannot start."""


class _Protocol(H11Protocol):
    """Ends connections that ask for nothing: each holds a socket, and there are only so many."""

    def __init__(self, *arguments: Any, head_timeout: float, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_timeout = head_timeout
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle: Any = self.cycle  # none until the first request's head has come
        if cycle is None or cycle.response_complete:
            self._expect_head()
        else:
            self._expect_nothing()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._expect_nothing()

    def _expect_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self._head_timeout, self.transport.abort)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _Server(uvicorn.Server):
    """Says where it listens once it does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            for bound in sockets or []:
                logger.info("Listening on http://%s", _address(bound))


def listen(settings: ServerSettings, *, debug: bool = False) -> None:
    """Serve until SIGINT or SIGTERM, then finish what was accepted and return.

    Raises ServeError where the address cannot be had, BundleError where the model cannot.
    """
    if os.name == "nt":
        raise ServeError("the service runs on Linux and macOS: on Windows, in WSL or a container")
    app = create_app(settings)
    logging.getLogger("uvicorn").setLevel(logging.DEBUG if debug else logging.WARNING)
    logging.getLogger("uvicorn.access").setLevel(logging.INFO)
    with _bound(settings) as sockets, _signals_end_it():
        protocol: Any = functools.partial(
            _Protocol, head_timeout=min(HEAD_TIMEOUT, settings.upload_timeout)
        )
        config = uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            log_config=None,
            access_log=settings.access_log,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            server_header=False,
            timeout_keep_alive=15,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=round(settings.shutdown_timeout),
        )
        server = _Server(config)
        # What cannot be started is said in one line, below, not in uvicorn's fifty; and who ends
        # it a second time wants no explanation of what was given up.
        logging.getLogger("uvicorn.error").addFilter(
            lambda record: not (app.state.failure or server.force_exit)
        )
        try:
            server.run(sockets)
        except SystemExit:
            raise (app.state.failure or ServeError("the service ended at its start")) from None


@contextlib.contextmanager
def _bound(settings: ServerSettings) -> Iterator[list[socket.socket]]:
    """Bind every address of the host's name."""
    place = f"{settings.host}:{settings.port}"
    with contextlib.ExitStack() as stack:
        sockets: list[socket.socket] = []
        try:
            found = socket.getaddrinfo(
                settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            for family, kind, protocol, _, address in dict.fromkeys(found):
                bound = stack.enter_context(socket.socket(family, kind, protocol))
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                port = sockets[0].getsockname()[1] if sockets else address[1]
                bound.bind((address[0], port, *address[2:]))
                sockets.append(bound)
        except OSError as error:
            raise ServeError(f"{place}: {_reason(error)}") from None
        yield sockets


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "in use already: end what listens there, or give another --port (0: any)"
    if error.errno == errno.EACCES:
        return "not allowed: give a --port of 1024 or more"
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return "no address of this machine: give --host one, or 127.0.0.1"
    return f"cannot listen there ({error.strerror})"


@contextlib.contextmanager
def _signals_end_it() -> Iterator[None]:
    """Take a signal that ended the service for an end as good as any: no traceback, status 0."""

    def done(number: int, frame: Any) -> None:
        pass

    before = {number: signal.signal(number, done) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _address(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
