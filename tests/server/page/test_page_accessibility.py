"""Accessibility of the page: axe-core in each state, keyboard, screen readers, phones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT, AxeResults
from playwright.sync_api import FileChooser, FilePayload, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from support.page_driver import MockResponses, caption, choose, done, photo, text_of, working

PHONE: dict[str, Any] = {
    "viewport": {"width": 360, "height": 740},
    "is_mobile": True,
    "has_touch": True,
    "device_scale_factor": 2,
}
SETTINGS = {"light": {}, "dark": {"color_scheme": "dark"}, "phone": PHONE}
# One more rule than axe-core applies by default.
OPTIONS = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}


def check(page: Page, state: str) -> None:
    """Check the page with axe-core, and that it needs no horizontal scrolling."""
    results = AxeResults(page.evaluate("(options) => axe.run(options)", OPTIONS))
    assert results.violations_count == 0, f"{state}: {results.generate_report()}"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), state


@pytest.mark.parametrize("setting", SETTINGS)
def test_axe_finds_no_violation_in_any_state(open_page: Callable[..., Page], setting: str) -> None:
    page = open_page(**SETTINGS[setting], reduced_motion="reduce")
    page.evaluate(AXE_SCRIPT)
    responses = MockResponses(page)
    check(page, "empty")
    responses.held = []
    choose(page, *(f"{number}.png" for number in range(6)))
    expect(working(page)).to_have_count(4)
    check(page, "working")
    responses.next = [
        caption(confidence=0.8),
        caption("a dog", confidence=0.45, probability=0.01),
        caption(confidence=0.1),
        caption(has_attention=False),
        {**caption(), "text": None, "error": "4.png: not a photo in a format that showtell reads"},
        (500, {}, "the service failed"),
    ]
    responses.wait_for(4)
    responses.release()
    cards = done(page, 6)
    check(page, "done, and with errors")
    cards.nth(0).locator(".words button").nth(1).focus()
    cards.nth(1).locator(".words button").nth(1).click()
    check(page, "a word highlighted")
    cards.nth(0).locator(".keywords button").first.click()
    cards.nth(0).locator(".keywords button").last.focus()
    check(page, "a keyword dropped")
    cards.nth(0).locator(".suggestions button").first.click()
    check(page, "a suggestion chosen")
    cards.nth(0).get_by_role("button", name="Edit").click()
    check(page, "editing")
    page.keyboard.type(", in my words")
    page.keyboard.press("Enter")
    check(page, "edited")
    page.get_by_role("button", name="Remove 3.png").click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    check(page, "removed")
    responses.next = [(401, {}, "a key is needed")]
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    check(page, "key dialog")


def test_narrow_window_with_long_words_needs_no_horizontal_scrolling(
    open_page: Callable[..., Page],
) -> None:
    page = open_page(viewport={"width": 320, "height": 256})  # WCAG 1.4.10: 1280 pixels at 400 %
    MockResponses(page, caption("a dog in an extraordinarily-long-hyphenated-neighbourhood"))
    choose(page, f"{'long' * 30}.png")
    card = done(page, 1)
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    card.get_by_role("button", name="Edit").click()
    assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_all_actions_work_with_the_keyboard(page: Page, responses: MockResponses) -> None:
    responses.next = [caption("a dog runs"), caption("a cat sits")]
    visited: list[str] = []

    def press(key: str) -> None:
        page.keyboard.press(key)

    def go_to(name: str) -> None:
        """Press Tab until the control with this name has a visible focus."""
        for _ in range(30):
            press("Tab")
            focused = page.locator(":focus")
            if not focused.count():
                continue
            visited.append(
                focused.evaluate("(item) => item.ariaLabel || item.innerText || item.id")
            )
            ring = focused.evaluate(
                """(item) => {
                  const rings = [item, item.closest("label")].filter(Boolean)
                    .map((element) => getComputedStyle(element).outlineStyle);
                  return rings.some((style) => style !== "none");
                }"""
            )
            assert ring, f"no visible focus on {visited[-1]}"
            if visited[-1] == name:
                return
        raise AssertionError(f"Tab does not reach {name!r}: {visited}")

    def open_file_chooser() -> FileChooser:
        """Press Space on the field for photos, and wait for the browser's file chooser.

        The browser ignores the key if a busy machine takes more than five seconds between key down
        and key up, and says so on its console; only then press it again.
        """
        console: list[str] = []
        page.on("console", lambda line: console.append(line.text))
        try:
            with page.expect_file_chooser() as chooser:
                press("Space")
        except PlaywrightTimeoutError:
            if not any("with a user activation" in text for text in console):
                raise
            with page.expect_file_chooser() as chooser:
                press("Space")
        return chooser.value

    go_to("files")
    photos: list[FilePayload] = [
        {"name": f"{name}.png", "mimeType": "image/png", "buffer": photo()} for name in "12"
    ]
    open_file_chooser().set_files(photos)
    dog, cat = (done(page, 2).filter(has_text=f"{name}.png") for name in "12")
    go_to("a, looked all over the photo")
    press("ArrowRight")
    expect(dog.locator("canvas.visible")).to_be_visible()
    go_to("ball, 34\u00a0% likely")
    press("Space")
    expect(page.locator(":focus")).to_have_attribute("aria-pressed", "true")
    go_to("Use: a dog jumps")
    press("Enter")
    assert text_of(dog) == "a dog jumps"
    go_to("Copy as Markdown")
    press("Enter")
    expect(page.locator("#live-region")).to_contain_text("Copied as Markdown")
    go_to("Edit")
    press("Enter")
    page.keyboard.type(" high")
    go_to("Save")
    press("Space")
    assert text_of(dog) == "a dog jumps high"
    go_to("Remove 1.png")
    press("Enter")
    expect(cat.locator(".name")).to_be_focused()
    go_to("Remove 2.png")
    press("Enter")
    expect(page.locator("#files")).to_be_focused()
    go_to("Undo")
    press("Enter")
    expect(cat.locator(".name")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("button", name="Download JSON")).to_be_focused()
    with page.expect_download():
        press("Enter")


def test_first_tab_stop_skips_to_the_photos(page: Page, responses: MockResponses) -> None:
    choose(page, "1.png")
    done(page, 1)
    page.reload()
    choose(page, "1.png")
    done(page, 1)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the photos")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Download CSV")).to_be_focused()


def test_screen_readers_hear_each_caption_of_a_few_photos(
    page: Page, responses: MockResponses
) -> None:
    live_region = page.locator("#live-region")
    assert live_region.get_attribute("role") == "status"
    responses.held = []
    choose(page, "dog.png")
    expect(live_region).to_have_text("1 photo added")
    responses.release()
    expect(live_region).to_have_text("dog.png: a dog runs on the grass. Fairly sure")
    responses.next = [{**caption(), "text": None, "error": "odd.png: not a photo"}]
    choose(page, "odd.png")
    expect(live_region).to_contain_text("odd.png: not a photo")


def test_screen_readers_hear_of_many_photos_when_all_are_done(
    page: Page, responses: MockResponses
) -> None:
    responses.held = []
    choose(page, *(f"{number}.png" for number in range(5)))
    expect(page.locator("#live-region")).to_have_text("5 photos added")
    responses.release(3)
    expect(page.locator("#summary")).to_have_text("3 of 5 captioned")
    page.wait_for_timeout(400)
    assert page.locator("#live-region").inner_text() in ("", "5 photos added")
    responses.release()
    expect(page.locator("#live-region")).to_have_text("All done: 5 captioned")


def test_card_reads_as_name_caption_and_actions(page: Page, responses: MockResponses) -> None:
    responses.next = [caption("a dog runs")]
    choose(page, "dog.png")
    tree = done(page, 1).aria_snapshot()
    parts = [
        'heading "dog.png"',
        'img "a dog runs"',
        "toolbar",
        "Fairly sure",
        "Other suggestions",
        "Copy as HTML with alt text",
        'button "Edit"',
        'button "Remove dog.png"',
    ]
    positions = [tree.find(part) for part in parts]
    assert min(positions) >= 0, tree
    assert positions == sorted(positions), tree
    assert tree.count('a dog runs"') == 1, tree  # read once


def test_reduced_motion_stops_all_animations(open_page: Callable[..., Page]) -> None:
    for motion, animated in (("no-preference", True), ("reduce", False)):
        page = open_page(reduced_motion=motion)
        responses = MockResponses(page)
        responses.held = []
        choose(page, "dog.png")
        expect(working(page)).to_be_visible()
        assert (page.evaluate("document.getAnimations().length") > 0) is animated
        responses.release()
        done(page, 1)
