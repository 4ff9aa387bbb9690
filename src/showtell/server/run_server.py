"""Runs the service: binds the address, serves until a signal, and finishes accepted requests."""

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

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from showtell.errors import ShowtellError
from showtell.files.counts import count_of
from showtell.files.os_errors import error_reason
from showtell.server.app import create_app
from showtell.server.settings import ServerSettings

HEAD_TIMEOUT = 15.0  # seconds in which the head of a request must arrive
_KEEP_ALIVE_TIMEOUT = 15  # seconds
_BACKLOG = 1024

logger = logging.getLogger(__name__)


class ServeError(ShowtellError):
    """The service cannot start."""


class _Protocol(H11Protocol):
    """Closes connections that send no request, because each one occupies a socket.

    A request whose body is cut off gets status 400.
    """

    def __init__(self, *arguments: Any, head_timeout: float, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_timeout = head_timeout
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle: Any = self.cycle  # None until the head of the first request is complete
        if cycle is None or cycle.response_complete:
            self._start_timer()
        else:
            self._stop_timer()

    def eof_received(self) -> None:
        cycle: Any = self.cycle
        if self.conn.their_state is h11.SEND_BODY and not cycle.response_started:
            self.send_400_response("The body is shorter than the request says: send it again.")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_timer()

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self._head_timeout, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Server(uvicorn.Server):
    """Logs its addresses once it accepts connections, and its shutdown."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            for listener in sockets or []:
                logger.info("Listening on http://%s", _address(listener))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        logger.info("Stopping: finishing %s", count_of(len(self.server_state.tasks), "request"))
        await super().shutdown(sockets)
        logger.info("Stopped")


def run_server(settings: ServerSettings, *, debug: bool = False) -> None:
    """Serve until SIGINT or SIGTERM, then finish accepted requests and return.

    Raises ServeError if the service cannot listen on its address, and BundleError if the model
    does not exist or is damaged.
    """
    if os.name == "nt":
        raise ServeError(
            "the service needs Linux or macOS: on Windows, run it in WSL or a container"
        )
    app = create_app(settings)
    logging.getLogger("uvicorn").setLevel(logging.DEBUG if debug else logging.WARNING)
    with _bind(settings) as sockets, _exit_normally_on_signals():
        server = _Server(_uvicorn_config(settings, app))
        # Hide uvicorn's long report of a failed start (the error below has one line), and of the
        # requests that a second Ctrl-C cancels.
        logging.getLogger("uvicorn.error").addFilter(
            lambda record: not (app.state.failure or server.force_exit)
        )
        try:
            server.run(sockets)
        except SystemExit:
            raise (app.state.failure or ServeError("the service failed to start")) from None


def _uvicorn_config(settings: ServerSettings, app: Any) -> uvicorn.Config:
    protocol: Any = functools.partial(
        _Protocol, head_timeout=min(HEAD_TIMEOUT, settings.upload_timeout)
    )
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        log_config=None,
        access_log=False,  # the application's own has times
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips="*"
        if "*" in settings.trusted_proxies
        else list(settings.trusted_proxies),
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_TIMEOUT,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=round(settings.shutdown_timeout),
    )


@contextlib.contextmanager
def _bind(settings: ServerSettings) -> Iterator[list[socket.socket]]:
    """Bind a socket to every address of the host name."""
    with contextlib.ExitStack() as stack:
        sockets: list[socket.socket] = []
        try:
            addresses = socket.getaddrinfo(
                settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            for family, kind, protocol, _, address in dict.fromkeys(addresses):
                listener = stack.enter_context(socket.socket(family, kind, protocol))
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                # With port 0, all addresses share the free port of the first.
                port = sockets[0].getsockname()[1] if sockets else address[1]
                listener.bind((address[0], port, *address[2:]))
                sockets.append(listener)
        except OSError as error:
            raise ServeError(f"{settings.host}:{settings.port}: {_bind_failure(error)}") from None
        yield sockets


def _bind_failure(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "already in use: stop the program that listens there, or set another --port (0: any)"
    if error.errno == errno.EACCES:
        return "permission denied: set a --port of at least 1024"
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return "not an address of this machine: set another --host, such as 127.0.0.1"
    return f"cannot listen there ({error_reason(error)})"


@contextlib.contextmanager
def _exit_normally_on_signals() -> Iterator[None]:
    """Ignore the signal that uvicorn raises again after its shutdown: the exit status stays 0."""

    def ignore(number: int, frame: Any) -> None:
        pass

    handlers = {number: signal.signal(number, ignore) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
