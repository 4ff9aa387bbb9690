"""A real HTTP server on this machine that serves bytes well, or as badly as a test asks."""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from support.local_server import QuietHandler, listening


@dataclass
class FileServer:
    """What the server serves, how it misbehaves, and what it was asked.

    `faults` holds, for each path, what goes wrong with its next answers, one each:
    ("cut", n): closes after n bytes of the body; ("stall", n): sends n bytes, then nothing;
    ("status", code); ("wrong", bytes): another body.
    """

    url: str = ""
    redirects: dict[str, str] = field(default_factory=dict)  # path -> address
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[tuple[str, int | bytes]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    ignores_range: bool = False
    tells_version: bool = True
    tells_length: bool = True
    requests: list[tuple[str, str | None]] = field(default_factory=list)  # path, Range
    released: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serve(
    files: dict[str, bytes] | None = None, *, host: str = "127.0.0.1"
) -> Iterator[FileServer]:
    """Serve `files` (path -> bytes) on a free port of this machine until the block ends."""
    state = FileServer(files=dict(files or {}))

    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 (names are http.server's)
            answer(self, state)

        do_HEAD = do_GET  # noqa: N815

    with listening(Handler, host) as state.url:
        try:
            yield state
        finally:
            state.released.set()


def answer(handler: BaseHTTPRequestHandler, state: FileServer) -> None:
    path, wanted = handler.path, handler.headers.get("Range")
    state.requests.append((path, wanted))
    fault, amount = state.faults[path].pop(0) if state.faults[path] else ("", 0)
    if fault == "status":
        assert isinstance(amount, int)
        return handler.send_error(amount)
    if path in state.redirects:
        handler.send_response(302)
        handler.send_header("Location", state.redirects[path])
        handler.send_header("Content-Length", "9")  # which never come: nobody needs to read them
        return handler.end_headers()
    if path not in state.files:
        return handler.send_error(404)
    body = state.files[path]
    if isinstance(amount, bytes):
        body = amount
    version = '"' + hashlib.sha256(body).hexdigest()[:16] + '"'
    start, end = 0, len(body) - 1
    same = handler.headers.get("If-Range") in (None, version)
    if wanted is not None and same and not state.ignores_range:
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or end), end)
        if start >= len(body):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(body)}")
            handler.send_header("Content-Length", "0")
            return handler.end_headers()
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{end}/{len(body)}")
    else:
        handler.send_response(200)
    if state.tells_length:
        handler.send_header("Content-Length", str(end + 1 - start))
    if state.tells_version:
        handler.send_header("ETag", version)
    handler.end_headers()
    if handler.command == "HEAD":
        return None
    rest = body[start : end + 1]
    if isinstance(amount, int) and fault in ("cut", "stall"):
        rest = rest[:amount]
    handler.wfile.write(rest)
    handler.wfile.flush()
    if fault == "stall":
        state.released.wait()
