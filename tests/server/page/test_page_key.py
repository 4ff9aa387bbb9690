"""The page of a service with an API key: it asks for the key once per tab."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from support.page_driver import choose, done
from support.running_service import RunningService, example_photos


@pytest.fixture
def keyed_page(open_page: Callable[..., Page], keyed_service: RunningService) -> Page:
    return open_page(keyed_service.url)


def test_page_asks_for_the_key_until_it_is_right_and_remembers_it(
    keyed_page: Page, keyed_service: RunningService
) -> None:
    page = keyed_page
    page.set_input_files("#files", example_photos()[:3])
    dialog = page.get_by_role("dialog", name="This service needs a key")
    field = dialog.get_by_label("API key")
    expect(field).to_be_focused()
    expect(dialog.get_by_text("The service did not accept this key.")).to_be_hidden()
    field.fill("a-wrong-key")
    page.keyboard.press("Enter")
    expect(dialog.get_by_text("The service did not accept this key.")).to_be_visible()
    expect(field).to_have_value("")
    field.fill(keyed_service.key or "")
    dialog.get_by_role("button", name="Continue").click()
    expect(dialog).to_be_hidden()
    expect(done(page, 3).locator(".words")).to_have_count(3)
    page.reload()
    page.set_input_files("#files", example_photos()[0])
    expect(done(page, 1).locator(".words")).to_be_visible()


def test_photo_can_be_retried_after_the_key_dialog_is_cancelled(
    keyed_page: Page, keyed_service: RunningService
) -> None:
    choose(keyed_page, "dog.png")
    keyed_page.get_by_role("button", name="Cancel").click()
    card = done(keyed_page, 1)
    expect(card.locator(".reason")).to_have_text("The service needs an API key.")
    card.get_by_role("button", name="Try again").click()
    keyed_page.get_by_label("API key").fill(keyed_service.key or "")
    keyed_page.keyboard.press("Enter")
    expect(card.locator(".words")).to_be_visible()


def test_key_is_in_no_url_and_not_stored_beyond_the_tab(
    keyed_page: Page, keyed_service: RunningService
) -> None:
    page = keyed_page
    urls = []
    page.on("request", lambda request: urls.append(request.url))
    choose(page, "dog.png")
    page.get_by_label("API key").fill(keyed_service.key or "")
    page.keyboard.press("Enter")
    done(page, 1)
    assert not any(str(keyed_service.key) in url for url in urls)
    assert page.evaluate("localStorage.length") == 0
    assert page.context.cookies() == []
