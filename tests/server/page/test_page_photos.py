"""Adding photos to the page and captioning them, also when the service is busy or fails."""

from __future__ import annotations

from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Page, expect

from support.page_driver import (
    MockResponses,
    caption,
    cards,
    choose,
    done,
    drop,
    photo,
    text_of,
    working,
)
from support.running_service import RunningService, example_photos


def expected_caption(service: RunningService, path: Path) -> str:
    response = httpx.post(
        f"{service.url}/v1/captions?nbest=3", content=path.read_bytes(), timeout=60
    )
    return response.json()["text"]


def test_chosen_photos_get_the_captions_of_the_service(page: Page, service: RunningService) -> None:
    chosen = example_photos()[:3]
    page.set_input_files("#files", chosen)
    captioned = done(page, 3)
    assert captioned.locator(".name").all_inner_texts() == [path.name for path in chosen]
    assert [text_of(card) for card in captioned.all()] == [
        expected_caption(service, path) for path in chosen
    ]
    first = captioned.first.locator("img")
    assert first.get_attribute("alt") == expected_caption(service, chosen[0])
    assert first.get_attribute("src").startswith("blob:")
    expect(page.locator("#summary")).to_have_text("3 captioned")
    expect(page.locator("#progress")).to_be_hidden()


def test_same_photo_can_be_chosen_again(page: Page, responses: MockResponses) -> None:
    choose(page, "dog.png")
    choose(page, "dog.png")
    done(page, 2)


def test_dropped_photos_and_photos_in_dropped_folders_are_captioned(
    page: Page, responses: MockResponses, tmp_path: Path
) -> None:
    folder = tmp_path / "holiday"
    (folder / "beach").mkdir(parents=True)
    for name in ("2.png", "1.JPG", "beach/3.png", ".hidden.png", "notes.txt"):
        (folder / name).write_bytes(photo())
    alone = tmp_path / "alone.data"
    alone.write_bytes(photo())
    drop(page, [folder, alone])
    names = done(page, 4).locator(".name").all_inner_texts()
    assert names == ["1.JPG", "2.png", "3.png", "alone.data"]
    drop(page, [alone])
    done(page, 5)


def test_dragging_files_over_the_page_shows_the_drop_overlay(page: Page) -> None:
    drag = """(kind) => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File(["x"], "x.png"));
      document.body.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true }));
    }"""
    page.evaluate(drag, "dragenter")
    expect(page.get_by_text("Drop to caption")).to_be_visible()
    page.evaluate(drag, "dragleave")
    expect(page.get_by_text("Drop to caption")).to_be_hidden()


def test_dropped_link_is_refused_with_a_hint(page: Page) -> None:
    page.evaluate(
        """() => {
          const data = new DataTransfer();
          data.setData("text/uri-list", "https://example.org/dog.jpg");
          document.body.dispatchEvent(new DragEvent("drop",
            { dataTransfer: data, bubbles: true, cancelable: true }));
        }"""
    )
    expect(page.locator("#notice-text")).to_have_text(
        "That was a link. Save the photo first, then drop the file."
    )
    expect(cards(page)).to_have_count(0)


def test_text_dragged_into_a_text_field_is_left_to_the_browser(
    page: Page, responses: MockResponses
) -> None:
    choose(page, "dog.png")
    done(page, 1).get_by_role("button", name="Edit").click()
    not_prevented = page.get_by_role("textbox").evaluate(
        """(area) => {
          const dataTransfer = new DataTransfer();
          dataTransfer.setData("text/plain", "brown");
          return ["dragover", "drop"].map((kind) => area.dispatchEvent(
            new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true })));
        }"""
    )
    assert not_prevented == [True, True]
    expect(page.locator("#notice")).to_be_hidden()


def test_pasted_photo_is_captioned(page: Page, responses: MockResponses) -> None:
    page.evaluate(
        """async () => {
          const canvas = document.createElement("canvas");
          canvas.getContext("2d").fillRect(0, 0, 9, 9);
          const blob = await new Promise((resolve) => canvas.toBlob(resolve));
          await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
        }"""
    )
    page.keyboard.press("Control+V")
    assert done(page, 1).locator(".name").inner_text() == "pasted-image.png"


def test_pasting_text_says_that_there_is_no_photo(page: Page) -> None:
    page.evaluate("navigator.clipboard.writeText('dog')")
    page.keyboard.press("Control+V")
    expect(page.locator("#notice-text")).to_have_text("There is no photo in the clipboard.")


def test_captions_appear_one_by_one_with_at_most_four_parallel_requests(
    page: Page, responses: MockResponses
) -> None:
    responses.held = []
    choose(page, *(f"{number}.png" for number in range(7)))
    expect(working(page)).to_have_count(4)
    expect(page.get_by_text("Waiting its turn")).to_have_count(3)
    responses.wait_for(4)
    responses.release(1)
    expect(page.locator("#summary")).to_have_text("1 of 7 captioned")
    expect(cards(page).first.locator(".words")).to_be_visible()
    expect(working(page)).to_have_count(4)
    responses.wait_for(5)
    page.wait_for_timeout(200)
    assert len(responses.requests) == 5
    responses.release()
    done(page, 7)
    assert len(responses.requests) == 7


def test_busy_service_is_retried_after_the_requested_delay(
    page: Page, responses: MockResponses
) -> None:
    responses.next = [
        (503, {"Retry-After": "1"}, "the service is busy"),
        (429, {"Retry-After": "1"}, "too many requests"),
        caption("a cat sits"),
    ]
    page.evaluate("window.startTime = performance.now()")
    choose(page, "cat.png")
    expect(page.get_by_text("The service is busy: waiting")).to_be_visible()
    assert text_of(done(page, 1)) == "a cat sits"
    assert len(responses.requests) == 3
    assert page.evaluate("performance.now() - window.startTime") >= 2000


def test_unreadable_photo_shows_its_error(page: Page) -> None:
    good = example_photos()[0]
    files = [
        {"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"shopping list"},
        {"name": good.name, "mimeType": "image/jpeg", "buffer": good.read_bytes()},
    ]
    page.set_input_files("#files", files)
    unreadable, readable = done(page, 2).all()
    expect(unreadable.locator(".reason")).to_contain_text("notes.jpg: not a photo")
    expect(unreadable.get_by_role("button", name="Try again")).to_be_hidden()
    expect(unreadable.get_by_role("button", name="Remove notes.jpg")).to_be_visible()
    expect(readable.locator(".words")).to_be_visible()
    expect(page.locator("#summary")).to_have_text("1 captioned, 1 without a caption")


def test_photo_can_be_retried_when_the_service_does_not_respond(
    page: Page, responses: MockResponses
) -> None:
    responses.next = [None, None, None, caption("a bird flies")]
    choose(page, "bird.png")
    card = done(page, 1)
    expect(card.locator(".reason")).to_have_text(
        "The service does not respond. Is it still running?"
    )
    card.get_by_role("button", name="Try again").click()
    expect(card.locator(".words")).to_be_visible()
    assert text_of(card) == "a bird flies"


def test_error_of_the_service_is_shown(page: Page, responses: MockResponses) -> None:
    responses.next = [(500, {}, "the service failed: try again")]
    choose(page, "bird.png")
    expect(done(page, 1).locator(".reason")).to_have_text("the service failed: try again")


def test_too_large_photo_is_not_sent(page: Page, responses: MockResponses, tmp_path: Path) -> None:
    huge = tmp_path / "huge.png"
    with huge.open("wb") as file:
        file.truncate(32_000_001)
    page.set_input_files("#files", huge)
    expect(done(page, 1).locator(".reason")).to_have_text(
        "huge.png: the photo has 32 MB, this service accepts up to 32 MB"
    )
    assert responses.requests == []


def test_photo_that_the_browser_cannot_show_is_still_captioned(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "scan.tiff"
    with Image.open(example_photos()[0]) as image:
        image.save(path)
    page.set_input_files("#files", path)
    card = done(page, 1)
    expect(card.locator(".no-preview")).to_have_text("This browser cannot show TIFF files")
    expect(card.locator("img")).to_be_hidden()
    expect(card.locator(".words button").first).to_be_visible()
    card.locator(".words button").first.hover()
    expect(card.locator("canvas.visible")).to_have_count(0)


def test_removed_photo_can_be_restored_at_its_position(
    page: Page, responses: MockResponses
) -> None:
    choose(page, "1.png", "2.png", "3.png")
    done(page, 3)
    page.get_by_role("button", name="Remove 2.png").click()
    assert cards(page).locator(".name").all_inner_texts() == ["1.png", "3.png"]
    expect(cards(page).nth(1).locator(".name")).to_be_focused()
    expect(page.locator("#notice-text")).to_have_text("Removed 2.png.")
    page.get_by_role("button", name="Undo").click()
    assert cards(page).locator(".name").all_inner_texts() == ["1.png", "2.png", "3.png"]
    expect(cards(page).nth(1).locator(".name")).to_be_focused()
    image = cards(page).nth(1).locator("img")
    assert image.evaluate("async (image) => (await image.decode(), image.naturalWidth)") == 120


def test_all_photos_can_be_removed_and_restored(page: Page, responses: MockResponses) -> None:
    choose(page, "1.png", "2.png")
    done(page, 2)
    page.get_by_role("button", name="Remove all").click()
    expect(cards(page)).to_have_count(0)
    expect(page.locator("#photos")).to_be_hidden()
    expect(page.locator("#files")).to_be_focused()
    page.get_by_role("button", name="Undo").click()
    done(page, 2)
    assert len(responses.requests) == 2


def test_removing_a_photo_cancels_its_request(page: Page, responses: MockResponses) -> None:
    responses.held = []
    for count, name in enumerate(("1.png", "2.png"), 1):
        choose(page, name)
        responses.wait_for(count)
    with page.expect_event("requestfailed"):
        page.get_by_role("button", name="Remove 1.png").click()
    page.get_by_role("button", name="Undo").click()
    responses.wait_for(3)
    responses.held = responses.held[1:]
    responses.release()
    done(page, 2)
    assert len(responses.requests) == 3
