"""A real HTTP server that answers as a test tells it to, whatever it is asked."""

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
class Answer:
    """One answer; without a status the connection is closed instead."""

    status: int | None = 200
    body: Any = field(default_factory=lambda: CAPTION)
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class ScriptedServer:
    """`answers` are given one after the other, the last one for ever; requests are kept."""

    answers: list[Answer]
    url: str = ""
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def scripted(*answers: Answer) -> Iterator[ScriptedServer]:
    state = ScriptedServer(list(answers))

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            state.requests.append((self.path, headers, self.rfile.read(length)))
            answer = state.answers.pop(0) if len(state.answers) > 1 else state.answers[0]
            if answer.status is None:
                self.close_connection = True
                return
            raw = isinstance(answer.body, bytes)
            body = answer.body if raw else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815

    with listening(Handler) as state.url:
        yield state
