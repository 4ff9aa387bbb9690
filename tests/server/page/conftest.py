"""A browser, and the page of a real service in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from support.page_driver import MockResponses
from support.running_service import RunningService

PAGE_TIMEOUT = 60_000  # milliseconds; generous, because the machine may be busy


# Not for the session: Playwright keeps an event loop running in the main thread, in which the
# asyncio.run of other tests fails.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The Chromium on the PATH."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        missing = "Chromium is not installed: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    expect.set_options(timeout=PAGE_TIMEOUT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, service: RunningService) -> Iterator[Callable[..., Page]]:
    """Opens the page in a new window; a script error or a blocked resource fails the test."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def opened(url: str = service.url, **options: object) -> Page:
        context = browser.new_context(
            **{"permissions": ["clipboard-read", "clipboard-write"], **options}
        )
        context.set_default_timeout(PAGE_TIMEOUT)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda line: (
                errors.append(line.text) if "Content Security Policy" in line.text else None
            ),
        )
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    """The page in a new window."""
    return open_page()


@pytest.fixture
def responses(page: Page) -> MockResponses:
    """The responses to the page's requests for captions, in place of the service's."""
    return MockResponses(page)
