"""A real HTTP server that sends the responses that a test prescribes, whatever the request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from support.local_server import QuietHandler, listening

CAPTION = {
    "path": None,
    "text": "a dog runs",
    "log_probability": -3.25,
    "confidence": 0.75,
    "alternatives": [],
    "error": None,
}


@dataclass
class ScriptedResponse:
    """A response to send; with status None the server closes the connection instead."""

    status: int | None = 200
    body: Any = field(default_factory=lambda: CAPTION)
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class ScriptedServer:
    """Sends `responses` one after the other and then repeats the last; records all requests.

    A request is its path, headers (lower-case names) and body.
    """

    responses: list[ScriptedResponse]
    url: str = ""
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def scripted_server(*responses: ScriptedResponse) -> Iterator[ScriptedServer]:
    """Run a scripted server on a free port until the block ends."""
    server = ScriptedServer(list(responses))

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.requests.append((self.path, headers, self.rfile.read(length)))
            script = server.responses
            response = script.pop(0) if len(script) > 1 else script[0]
            if response.status is None:
                self.close_connection = True
                return
            is_raw = isinstance(response.body, bytes)
            body = response.body if is_raw else json.dumps(response.body).encode()
            self.send_response(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = respond  # noqa: N815

    with listening(Handler) as server.url:
        yield server
