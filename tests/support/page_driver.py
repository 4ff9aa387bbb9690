"""Put photos on the page as a person does; answer its requests where a test needs a certain one."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect

CAPTIONS = re.compile(r"/v1/captions")
PROBLEM = "application/problem+json"


def caption(
    text: str = "a dog runs on the grass",
    *,
    confidence: float | None = 0.71,
    others: Sequence[str] = ("a brown dog runs", "a dog jumps"),
    attention: list[list[float]] | None = None,
    chance: float = 0.5,
    looks: bool = True,
) -> dict[str, Any]:
    """A caption as the service sends it; every word looks where `attention` says, or nowhere."""
    grid = attention or [[1 / 49] * 7 for _ in range(7)]
    return {
        "path": "photo.jpg",
        "text": text,
        "log_probability": -7.25,
        "confidence": confidence,
        "alternatives": [
            {"text": other, "log_probability": -8.5 - place} for place, other in enumerate(others)
        ],
        "error": None,
        "words": [
            {
                "word": word,
                "log_probability": math.log(chance),
                "attention": grid if looks else None,
            }
            for word in text.split()
        ],
    }


class Answers:
    """Answers the page's requests with `next` in turn, and from then on with its last one.

    An answer is a caption, a (status, headers, problem) or None for a connection that fails.
    `held` requests wait for `release`.
    """

    def __init__(self, page: Page, *given: Any) -> None:
        self.next: list[Any] = list(given) or [caption()]
        self.requests: list[dict[str, str]] = []
        self.held: list[Route] | None = None
        self._page = page
        page.route(CAPTIONS, self._answer)

    def _answer(self, route: Route) -> None:
        self.requests.append(route.request.headers)
        if self.held is not None:
            self.held.append(route)
            return
        self._send(route, self._turn())

    def _turn(self) -> Any:
        return self.next.pop(0) if len(self.next) > 1 else self.next[0]

    def _send(self, route: Route, answer: Any) -> None:
        if answer is None:
            route.abort("connectionrefused")
        elif isinstance(answer, dict):
            route.fulfill(json={"captions": [answer]})
        else:
            status, headers, detail = answer
            body = json.dumps({"title": "problem", "status": status, "detail": detail})
            route.fulfill(status=status, headers=headers, content_type=PROBLEM, body=body)

    def wait_for(self, count: int) -> None:
        """Wait until so many requests have come in all."""
        while len(self.requests) < count:
            self._page.wait_for_timeout(20)

    def release(self, count: int | None = None) -> None:
        """Answer the requests that are held, the first `count` of them or all from now on."""
        while count is not None and len(self.held or []) < count:
            self._page.wait_for_timeout(20)
        held = self.held or []
        self.held = None if count is None else held[count:]
        # each has its answer before the first is sent, on which the page asks for the next photo
        answers = [(route, self._turn()) for route in held[:count]]
        for route, answer in answers:
            self._send(route, answer)


def photo(size: tuple[int, int] = (120, 80), kind: str = "PNG", colour: str = "#7a9") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


def choose(page: Page, *names: str, content: bytes | None = None) -> None:
    """Choose photos of these names through the browser's file dialog."""
    files = [
        {"name": name, "mimeType": "image/png", "buffer": content or photo()} for name in names
    ]
    page.set_input_files("#files", files)


def drop(page: Page, paths: Iterable[Path]) -> None:
    """Drop files or folders on the page as the operating system does."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})


def cards(page: Page) -> Locator:
    return page.locator(".card")


def working(page: Page) -> Locator:
    """The cards whose photos are looked at now."""
    return page.locator('.card[data-state="working"]').filter(has_text="Looking at it")


def done(page: Page, count: int) -> Locator:
    """The cards, once all `count` of them have a caption or an error."""
    expect(page.locator('.card:is([data-state="done"], [data-state="failed"])')).to_have_count(
        count
    )
    expect(cards(page)).to_have_count(count)
    return cards(page)


def text_of(card: Locator) -> str:
    """The caption that a card shows."""
    if card.locator(".words").is_visible():
        return " ".join(card.locator(".words button").all_inner_texts())
    return card.locator(".text").inner_text()


def copied(page: Page) -> str:
    return page.evaluate("navigator.clipboard.readText()")
