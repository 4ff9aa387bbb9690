"""Drives the web page like a user, and mocks the service's responses where a test needs it."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect

CAPTIONS_URL = re.compile(r"/v1/captions")
KEYWORDS = {"dog": 0.92, "grass": 0.61, "ball": 0.34, "man": 0.12}
PROBLEM_MEDIA_TYPE = "application/problem+json"


def caption(
    text: str = "a dog runs on the grass",
    *,
    confidence: float | None = 0.71,
    others: Sequence[str] = ("a brown dog runs", "a dog jumps"),
    attention: list[list[float]] | None = None,
    probability: float = 0.5,
    has_attention: bool = True,
    keywords: Mapping[str, float] = KEYWORDS,
) -> dict[str, Any]:
    """A caption record as the service sends it; `attention` is the map of every word."""
    grid = attention or [[1 / 49] * 7 for _ in range(7)]
    return {
        "path": "photo.jpg",
        "text": text,
        "log_probability": -7.25,
        "confidence": confidence,
        "alternatives": [
            {"text": other, "log_probability": -8.5 - index} for index, other in enumerate(others)
        ],
        "error": None,
        "keywords": [
            {"word": word, "probability": probability} for word, probability in keywords.items()
        ],
        "words": [
            {
                "word": word,
                "log_probability": math.log(probability),
                "attention": grid if has_attention else None,
            }
            for word in text.split()
        ],
    }


class MockResponses:
    """Responds to the page's requests with `next` in turn, and then always with its last one.

    A response is a caption, a tuple (status, headers, detail of the problem), or None for a
    connection that fails. While `held` is a list, it collects the requests until `release`.
    """

    def __init__(self, page: Page, *responses: Any) -> None:
        self.next: list[Any] = list(responses) or [caption()]
        self.requests: list[dict[str, str]] = []
        self.held: list[Route] | None = None
        self._page = page
        page.route(CAPTIONS_URL, self._respond)

    def _respond(self, route: Route) -> None:
        self.requests.append(route.request.headers)
        if self.held is not None:
            self.held.append(route)
            return
        self._send(route, self._next_response())

    def _next_response(self) -> Any:
        return self.next.pop(0) if len(self.next) > 1 else self.next[0]

    def _send(self, route: Route, response: Any) -> None:
        if response is None:
            route.abort("connectionrefused")
        elif isinstance(response, dict):
            route.fulfill(json={"captions": [response]})
        else:
            status, headers, detail = response
            body = json.dumps({"title": "problem", "status": status, "detail": detail})
            route.fulfill(
                status=status, headers=headers, content_type=PROBLEM_MEDIA_TYPE, body=body
            )

    def wait_for(self, count: int) -> None:
        """Wait until the page has sent this many requests in total."""
        while len(self.requests) < count:
            self._page.wait_for_timeout(20)

    def release(self, count: int | None = None) -> None:
        """Respond to the first `count` held requests, or to all of them and all future ones."""
        while count is not None and len(self.held or []) < count:
            self._page.wait_for_timeout(20)
        held = self.held or []
        self.held = None if count is None else held[count:]
        # Assign all responses before the first is sent: it makes the page send the next request.
        responses = [(route, self._next_response()) for route in held[:count]]
        for route, response in responses:
            self._send(route, response)


def photo(size: tuple[int, int] = (120, 80), kind: str = "PNG", colour: str = "#7a9") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


def choose(page: Page, *names: str, content: bytes | None = None) -> None:
    """Choose photos with these names in the browser's file dialog."""
    files = [
        {"name": name, "mimeType": "image/png", "buffer": content or photo()} for name in names
    ]
    page.set_input_files("#files", files)


def drop(page: Page, paths: Iterable[Path]) -> None:
    """Drop files or folders on the page like the operating system."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})


def cards(page: Page) -> Locator:
    return page.locator(".card")


def working(page: Page) -> Locator:
    """The cards whose photos are being captioned."""
    return page.locator('.card[data-state="working"]').filter(has_text="Looking at the photo")


def done(page: Page, count: int) -> Locator:
    """Wait until all `count` cards have a caption or an error; return them."""
    expect(page.locator('.card:is([data-state="done"], [data-state="failed"])')).to_have_count(
        count
    )
    expect(cards(page)).to_have_count(count)
    return cards(page)


def text_of(card: Locator) -> str:
    """The caption on a card."""
    if card.locator(".words").is_visible():
        return " ".join(card.locator(".words button").all_inner_texts())
    return card.locator(".text").inner_text()


def copied(page: Page) -> str:
    return page.evaluate("navigator.clipboard.readText()")
