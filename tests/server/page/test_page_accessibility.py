"""The page is for everyone: axe-core in each state, keyboard alone, screen readers, phones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT, AxeResults
from playwright.sync_api import FileChooser, FilePayload, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from support.page_driver import Answers, caption, choose, done, photo, text_of, working

PHONE: dict[str, Any] = {
    "viewport": {"width": 360, "height": 740},
    "is_mobile": True,
    "has_touch": True,
    "device_scale_factor": 2,
}
SETTINGS = {"light": {}, "dark": {"color_scheme": "dark"}, "phone": PHONE}
# what axe-core knows beyond its default
OPTIONS = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}


def check(page: Page, state: str) -> None:
    """Have axe-core look at the page as it is; nothing reaches past its sides either."""
    found = AxeResults(page.evaluate("(options) => axe.run(options)", OPTIONS))
    assert found.violations_count == 0, f"{state}: {found.generate_report()}"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), state


@pytest.mark.parametrize("setting", SETTINGS)
def test_axe_finds_nothing_in_any_state(open_page: Callable[..., Page], setting: str) -> None:
    page = open_page(**SETTINGS[setting], reduced_motion="reduce")
    page.evaluate(AXE_SCRIPT)
    answers = Answers(page)
    check(page, "empty")
    answers.held = []
    choose(page, *(f"{number}.png" for number in range(6)))
    expect(working(page)).to_have_count(4)
    check(page, "working")
    answers.next = [
        caption(confidence=0.8),
        caption("a dog", confidence=0.45, chance=0.01),
        caption(confidence=0.1),
        caption(looks=False),
        {**caption(), "text": None, "error": "4.png: not a photo in a format that showtell reads"},
        (500, {}, "the service failed"),
    ]
    answers.wait_for(4)
    answers.release()
    cards = done(page, 6)
    check(page, "done, and with errors")
    cards.nth(0).locator(".words button").nth(1).focus()
    cards.nth(1).locator(".words button").nth(1).click()
    check(page, "a word looked at")
    cards.nth(0).locator(".others button").first.click()
    check(page, "a suggestion chosen")
    cards.nth(0).get_by_role("button", name="Edit").click()
    check(page, "editing")
    page.keyboard.type(", in my words")
    page.keyboard.press("Enter")
    check(page, "edited")
    page.get_by_role("button", name="Remove 3.png").click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    check(page, "removed")
    answers.next = [(401, {}, "a key is needed")]
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    check(page, "asked for a key")


def test_a_narrow_window_with_large_words_needs_no_scrolling_sideways(
    open_page: Callable[..., Page],
) -> None:
    page = open_page(viewport={"width": 320, "height": 256})  # WCAG's reflow: 1280 pixels at 400 %
    Answers(page, caption("a dog in an extraordinarily-long-hyphenated-neighbourhood"))
    choose(page, f"{'long' * 30}.png")
    card = done(page, 1)
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    card.get_by_role("button", name="Edit").click()
    assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_everything_can_be_done_by_keyboard_alone(page: Page, answers: Answers) -> None:
    answers.next = [caption("a dog runs"), caption("a cat sits")]
    seen: list[str] = []

    def press(key: str) -> None:
        page.keyboard.press(key)

    def go_to(name: str) -> None:
        """Press Tab until the control of this name has the focus, which must be seen."""
        for _ in range(30):
            press("Tab")
            focused = page.locator(":focus")
            if not focused.count():
                continue
            seen.append(focused.evaluate("(item) => item.ariaLabel || item.innerText || item.id"))
            ring = focused.evaluate(
                """(item) => {
                  const rings = [item, item.closest("label")].filter(Boolean)
                    .map((one) => getComputedStyle(one).outlineStyle);
                  return rings.some((style) => style !== "none");
                }"""
            )
            assert ring, f"no visible focus on {seen[-1]}"
            if seen[-1] == name:
                return
        raise AssertionError(f"Tab does not reach {name!r}: {seen}")

    def opened() -> FileChooser:
        """Press Space on the field for photos, and wait for the browser's file chooser.

        Once more only where the browser says that the machine stood still between the key's going
        down and up: it lets a key open a chooser for five seconds.
        """
        late: list[str] = []
        page.on("console", lambda line: late.append(line.text))
        try:
            with page.expect_file_chooser() as choosing:
                press("Space")
        except PlaywrightTimeoutError:
            if not any("with a user activation" in text for text in late):
                raise
            with page.expect_file_chooser() as choosing:
                press("Space")
        return choosing.value

    go_to("files")
    photos: list[FilePayload] = [
        {"name": f"{name}.png", "mimeType": "image/png", "buffer": photo()} for name in "12"
    ]
    opened().set_files(photos)
    dog, cat = (done(page, 2).filter(has_text=f"{name}.png") for name in "12")
    go_to("a, looked all over the photo")
    press("ArrowRight")
    expect(dog.locator("canvas.on")).to_be_visible()
    go_to("Use: a dog jumps")
    press("Enter")
    assert text_of(dog) == "a dog jumps"
    go_to("Copy as Markdown")
    press("Enter")
    expect(page.locator("#spoken")).to_contain_text("Copied as Markdown")
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


def test_the_first_stop_of_a_full_page_leads_past_its_head(page: Page, answers: Answers) -> None:
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


def test_a_screen_reader_is_told_each_caption_of_a_few_photos(page: Page, answers: Answers) -> None:
    spoken = page.locator("#spoken")
    assert spoken.get_attribute("role") == "status"
    answers.held = []
    choose(page, "dog.png")
    expect(spoken).to_have_text("1 photo added")
    answers.release()
    expect(spoken).to_have_text("dog.png: a dog runs on the grass. Fairly sure")
    answers.next = [{**caption(), "text": None, "error": "odd.png: not a photo"}]
    choose(page, "odd.png")
    expect(spoken).to_contain_text("odd.png: not a photo")


def test_of_many_photos_a_screen_reader_is_told_when_all_are_done(
    page: Page, answers: Answers
) -> None:
    answers.held = []
    choose(page, *(f"{number}.png" for number in range(5)))
    expect(page.locator("#spoken")).to_have_text("5 photos added")
    answers.release(3)
    expect(page.locator("#summary")).to_have_text("3 of 5 captioned")
    page.wait_for_timeout(400)
    assert page.locator("#spoken").inner_text() in ("", "5 photos added")
    answers.release()
    expect(page.locator("#spoken")).to_have_text("All done: 5 captioned")


def test_a_card_reads_as_its_name_its_caption_and_what_can_be_done(
    page: Page, answers: Answers
) -> None:
    answers.next = [caption("a dog runs")]
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
    places = [tree.find(part) for part in parts]
    assert min(places) >= 0, tree
    assert places == sorted(places), tree
    assert tree.count('a dog runs"') == 1, tree  # said once


def test_those_who_want_no_motion_get_none(open_page: Callable[..., Page]) -> None:
    for motion, moving in (("no-preference", True), ("reduce", False)):
        page = open_page(reduced_motion=motion)
        answers = Answers(page)
        answers.held = []
        choose(page, "dog.png")
        expect(working(page)).to_be_visible()
        assert (page.evaluate("document.getAnimations().length") > 0) is moving
        answers.release()
        done(page, 1)
