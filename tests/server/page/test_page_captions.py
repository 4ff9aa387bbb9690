"""A caption's card: confidence, words, suggestions, editing, copying."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest
from markdown_it import MarkdownIt
from playwright.sync_api import Locator, Page, expect

from showtell.image import Preprocessing, visible_box
from support.page_driver import MockResponses, caption, choose, copied, done, photo, text_of
from support.running_service import RunningService, example_photos

CORNER = [[0.0] * 7 for _ in range(7)]
CORNER[0][6] = CORNER[1][5] = 0.4
AWKWARD = 'a "dog" & <cat> [on] a *red* `mat` \\ it\'s ~5~ _high_ | ![x](y) &amp; {z}'

BRIGHTEST_POINT = """async ([grid, [width, height], preprocessing]) => {
  const { drawAttention } = await import("/static/attention.js");
  const canvas = document.createElement("canvas");
  drawAttention(canvas, grid, { width, height }, preprocessing);
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const alpha = Array.from(data).filter((_, index) => index % 4 === 3);
  const least = Math.min(...alpha); // several pixels may be the brightest
  const best = alpha.keys().filter((pixel) => alpha[pixel] === least).toArray();
  const mean = (values) => values.reduce((sum, value) => sum + value + 0.5, 0) / best.length;
  return [mean(best.map((pixel) => pixel % canvas.width)) / canvas.width,
          mean(best.map((pixel) => Math.floor(pixel / canvas.width))) / canvas.height];
}"""  # center of the least opaque pixels of the overlay, as fractions of width and height


def card_of(
    page: Page, responses: MockResponses, *captions: object, name: str = "dog.png"
) -> Locator:
    responses.next = list(captions)
    choose(page, name)
    return done(page, 1)


def lightness(canvas: Locator) -> np.ndarray:
    """The transparency of each pixel of the overlay (0 to 255), as an array [height, width]."""
    width, height, values = canvas.evaluate(
        """(canvas) => {
          const { width, height } = canvas;
          const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
          return [width, height, Array.from(data).filter((_, index) => index % 4 === 3)];
        }"""
    )
    return 255 - np.array(values).reshape(height, width)


def test_confidence_is_described_in_words(page: Page, responses: MockResponses) -> None:
    examples = [
        (0.71, "Fairly sure", "About 7 in 10 captions like this one are good.", 7),
        (0.6, "Fairly sure", "About 6 in 10 captions like this one are good.", 6),
        (0.59, "Unsure: check it", "About 6 in 10 captions like this one are good.", 6),
        (0.29, "A guess: probably wrong", "About 3 in 10 captions like this one are good.", 3),
        (0.04, "A guess: probably wrong", "Fewer than 1 in 10 captions like this one are good.", 0),
        (0.97, "Fairly sure", "Nearly all captions like this one are good.", 10),
    ]
    for count, (confidence, level, meaning, dots) in enumerate(examples, 1):
        responses.next = [caption(confidence=confidence)]
        choose(page, "dog.png")
        card = done(page, count).last
        expect(card.locator(".level")).to_have_text(level)
        expect(card.locator(".meaning")).to_have_text(meaning)
        expect(card.locator(".confidence-dots .good")).to_have_count(dots)


def test_the_dots_of_confidence_are_filled_from_the_left_in_one_colour(
    page: Page, responses: MockResponses
) -> None:
    card = card_of(page, responses, caption(confidence=0.71))
    expect(card.locator(".confidence-dots .good")).to_have_count(7)
    dots = card.locator(".confidence-dots i").evaluate_all(
        """(dots) => dots.map((dot) => {
          const { backgroundColor, borderColor } = getComputedStyle(dot);
          return [dot.getBoundingClientRect().left, backgroundColor, borderColor];
        })"""
    )
    fills = [fill for _, fill, _ in sorted(dots)]
    borders = {border for _, _, border in dots}
    assert fills == [fills[0]] * 7 + [fills[-1]] * 3
    assert borders == {fills[0]} != {fills[-1]}


def test_what_a_good_caption_is_can_be_read_beside_the_sentence(
    page: Page, responses: MockResponses
) -> None:
    card = card_of(page, responses, caption(confidence=0.71))
    explanation = card.locator(".good-caption p")
    expect(explanation).to_be_hidden()
    card.get_by_text("What is a good caption?").click()
    expect(explanation).to_be_visible()
    expect(explanation).to_contain_text("agrees in most of what it says with captions that people")


def test_no_confidence_is_shown_if_the_model_has_none(page: Page, responses: MockResponses) -> None:
    card = card_of(page, responses, caption(confidence=None))
    expect(card.locator(".words")).to_be_visible()
    expect(card.locator(".confidence")).to_be_hidden()


def test_hovering_over_a_word_shows_where_the_model_looked(
    page: Page, responses: MockResponses
) -> None:
    card = card_of(page, responses, caption("a dog", attention=CORNER, probability=0.83))
    canvas = card.locator("canvas")
    expect(canvas).to_have_css("opacity", "0")
    card.get_by_role("button", name="dog", exact=False).first.hover()
    expect(canvas).to_have_css("opacity", "1")
    light = lightness(canvas)
    height, width = light.shape
    row, column = np.unravel_index(light.argmax(), light.shape)
    assert row < height / 3
    assert column > width * 2 / 3
    assert light[height // 2 :, : width // 2].max() < light.max() / 2
    expect(card.locator(".attention-note")).to_have_text(
        "“dog”: looked mostly at the top right · 83 % sure of the word"
    )
    frame, image = canvas.bounding_box(), card.locator("img").bounding_box()
    assert frame == pytest.approx(image, abs=1)
    page.mouse.move(5, 5)
    expect(canvas).to_have_css("opacity", "0")


def test_word_with_uniform_attention_highlights_nothing(
    page: Page, responses: MockResponses
) -> None:
    card = card_of(page, responses, caption("a dog"))
    card.get_by_role("button", name="dog, looked all over the photo").hover()
    expect(card.locator("canvas.visible")).to_be_visible()
    light = lightness(card.locator("canvas"))
    assert light.max() - light.min() < 5


def test_uncertain_words_are_marked(page: Page, responses: MockResponses) -> None:
    card = card_of(page, responses, caption("a dog", probability=0.04))
    expect(card.locator(".words .uncertain")).to_have_count(2)
    expect(card.locator(".attention-note")).to_contain_text(
        "Dotted: the model was unsure of the word."
    )
    card.locator(".words button").first.hover()
    expect(card.locator(".attention-note")).to_contain_text("4 % sure of the word")


def test_attention_is_drawn_at_the_right_part_of_the_photo(page: Page) -> None:
    for resize, size in itertools.product(("squash", "crop", "pad"), ((300, 100), (100, 240))):
        preprocessing = Preprocessing(resize=resize, crop_fraction=0.9)
        grid = np.zeros((7, 7))
        row, column = 3, 3 if resize == "pad" else 5
        grid[row, column] = 1.0
        brightest = page.evaluate(BRIGHTEST_POINT, [grid.tolist(), size, preprocessing.to_dict()])
        left, top, right, bottom = visible_box(size, preprocessing)
        across = (left + (column + 0.5) / 7 * (right - left)) / size[0]
        down = (top + (row + 0.5) / 7 * (bottom - top)) / size[1]
        assert brightest == pytest.approx([across, down], abs=0.01), (resize, size)


def test_arrow_keys_move_between_words_and_show_where_the_model_looked(
    page: Page, responses: MockResponses
) -> None:
    card = card_of(page, responses, caption("a dog runs", attention=CORNER, keywords={}))
    words = card.locator(".words button")
    card.locator(".name").focus()
    page.keyboard.press("Tab")
    expect(words.nth(0)).to_be_focused()
    expect(card.locator("canvas.visible")).to_be_visible()
    for key, index in (
        ("ArrowRight", 1),
        ("End", 2),
        ("ArrowRight", 0),
        ("ArrowLeft", 2),
        ("Home", 0),
    ):
        page.keyboard.press(key)
        expect(words.nth(index)).to_be_focused()
        expect(card.locator(".words .highlighted")).to_have_text(words.nth(index).inner_text())
    expect(words.nth(0)).to_have_accessible_name("a, looked mostly at the top right")
    page.keyboard.press("Escape")
    expect(card.locator("canvas.visible")).to_have_count(0)
    page.keyboard.press("ArrowRight")
    expect(card.locator("canvas.visible")).to_be_visible()
    page.keyboard.press("Tab")  # leaves the whole toolbar
    expect(card.locator("summary")).to_be_focused()
    page.keyboard.press("Tab")
    expect(card.locator(".suggestions button").first).to_be_focused()
    expect(card.locator("canvas.visible")).to_have_count(0)


def test_tap_shows_where_the_model_looked_until_the_next_tap(
    open_page: Callable[..., Page],
) -> None:
    page = open_page(has_touch=True, is_mobile=True, viewport={"width": 360, "height": 740})
    card = card_of(page, MockResponses(page), caption("a dog", attention=CORNER))
    word = card.locator(".words button").nth(1)
    word.tap()
    expect(card.locator("canvas.visible")).to_be_visible()
    expect(card.locator(".attention-note")).to_contain_text("“dog”: looked mostly at the top right")
    word.tap()
    expect(card.locator("canvas.visible")).to_have_count(0)


def test_shipped_model_has_different_attention_for_each_word(
    page: Page, service: RunningService
) -> None:
    dog = next(path for path in example_photos() if path.stem == "german-shepherd")
    page.set_input_files("#files", dog)
    card = done(page, 1)
    maps = []
    for word in card.locator(".words button").all():
        word.hover()
        expect(card.locator("canvas.visible")).to_be_visible()
        maps.append(lightness(card.locator("canvas")))
    assert max(light.max() - light.min() for light in maps) > 100
    assert all((first != second).any() for first, second in itertools.pairwise(maps))


def test_caption_without_attention_is_plain_text(page: Page, responses: MockResponses) -> None:
    card = card_of(page, responses, caption("a dog", has_attention=False))
    expect(card.locator(".text")).to_have_text("a dog")
    expect(card.locator(".words")).to_be_hidden()
    assert card.locator("img").get_attribute("alt") == ""  # the visible text is enough


def test_suggestion_can_be_chosen_and_changed_back(page: Page, responses: MockResponses) -> None:
    card = card_of(page, responses, caption("a dog runs", others=("a cat runs", "a dog")))
    suggestions = card.locator(".suggestions button")
    assert suggestions.all_inner_texts() == ["a cat runs", "a dog"]
    suggestions.first.focus()
    page.keyboard.press("Enter")
    assert text_of(card) == "a cat runs"
    expect(card.locator(".level")).to_have_text("Your choice")
    expect(card.locator(".confidence-dots")).to_be_hidden()
    assert suggestions.all_inner_texts() == ["a dog runs", "a dog"]
    expect(suggestions.first).to_be_focused()
    # Whole and last; an earlier message may be read out with it.
    announcement = re.compile(r"^(.+\. )?Caption is now: a cat runs$")
    expect(page.locator("#live-region")).to_have_text(announcement)
    page.keyboard.press("Enter")
    assert text_of(card) == "a dog runs"
    expect(card.locator(".words")).to_be_visible()
    expect(card.locator(".level")).to_have_text("Fairly sure")


def test_caption_can_be_edited(page: Page, responses: MockResponses) -> None:
    card = card_of(page, responses, caption("a dog runs"))
    card.get_by_role("button", name="Edit").click()
    area = card.get_by_role("textbox", name="Caption of dog.png")
    expect(area).to_be_focused()
    expect(area).to_have_value("a dog runs")
    area.fill("  My dog\nBella   runs ")
    card.get_by_role("button", name="Save").click()
    assert text_of(card) == "My dog Bella runs"
    expect(card.locator(".level")).to_have_text("Your words")
    expect(card.get_by_role("button", name="Edit")).to_be_focused()
    assert "a dog runs" in card.locator(".suggestions button").all_inner_texts()


def test_enter_saves_an_edit_and_escape_discards_it(page: Page, responses: MockResponses) -> None:
    card = card_of(page, responses, caption("a dog runs"))
    edit = card.get_by_role("button", name="Edit")
    edit.click()
    page.keyboard.type(" fast")
    page.keyboard.press("Enter")
    assert text_of(card) == "a dog runs fast"
    edit.click()
    page.keyboard.type(" and barks")
    page.keyboard.press("Escape")
    assert text_of(card) == "a dog runs fast"
    expect(edit).to_be_focused()


def test_empty_caption_explains_its_effect(page: Page, responses: MockResponses) -> None:
    card = card_of(page, responses, caption("a dog runs"))
    card.get_by_role("button", name="Edit").click()
    card.get_by_role("textbox").fill("")
    page.keyboard.press("Enter")
    expect(card.locator(".text")).to_have_text("No caption: screen readers will skip this photo.")
    card.get_by_role("button", name="Copy as HTML").click()
    expect(card.get_by_role("button", name="Copy as HTML")).to_have_text("Copied")
    assert copied(page) == '<img src="dog.png" alt="">'


def test_caption_and_file_name_are_never_parsed_as_html(
    page: Page, responses: MockResponses
) -> None:
    markup = "<img src=x onerror=alert(1)>"
    card = card_of(
        page, responses, caption(markup, others=(markup + " too",)), name=f"{markup}.png"
    )
    assert text_of(card) == markup
    expect(card.locator(".name")).to_have_text(f"{markup}.png")
    assert page.locator("img").count() == 1


class ImageParser(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag == "img"
        self.images.append(dict(attrs))


@pytest.mark.parametrize("name", ["dog.png", 'my "best" (dog) & 100% of Ümit\'s #1?.png'])
def test_caption_is_copied_as_text_html_and_markdown(
    page: Page, responses: MockResponses, name: str
) -> None:
    card = card_of(page, responses, caption(AWKWARD), name=name)

    def copy(label: str) -> str:
        page.evaluate("navigator.clipboard.writeText('')")
        button = card.get_by_role("button", name=label)
        button.click()
        expect(button).to_have_text("Copied")
        return copied(page)

    assert copy("Copy as text") == AWKWARD
    [image] = ImageParser(copy("Copy as HTML")).images
    assert (unquote(image["src"] or ""), image["alt"]) == (name, AWKWARD)
    [paragraph] = [
        token for token in MarkdownIt().parse(copy("Copy as Markdown")) if token.type == "inline"
    ]
    [picture] = paragraph.children or []
    assert picture.type == "image"
    assert unquote(str(picture.attrs["src"])) == name
    assert "".join(child.content for child in picture.children or []) == AWKWARD
    expect(card.get_by_role("button", name="Copy as Markdown")).to_have_text("Markdown")


def test_copying_works_without_the_clipboard_api(
    open_page: Callable[..., Page],
) -> None:
    page = open_page()
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    card = card_of(page, MockResponses(page), caption("a dog runs"))
    button = card.get_by_role("button", name="Copy as text")
    button.click()
    expect(button).to_have_text("Copied")
    expect(button).to_be_focused()
    card.get_by_role("button", name="Edit").click()
    page.keyboard.press("Control+A")
    page.keyboard.press("Control+V")
    expect(card.get_by_role("textbox")).to_have_value("a dog runs")


def test_attention_has_the_shape_of_the_photo(page: Page, responses: MockResponses) -> None:
    responses.next = [caption("a dog", attention=CORNER)]
    choose(page, "tall.png", content=photo((60, 200)))
    card = done(page, 1)
    card.locator(".words button").first.hover()
    expect(card.locator("canvas.visible")).to_be_visible()
    assert lightness(card.locator("canvas")).shape == (160, 48)


def pressed(card: Locator) -> dict[str, bool]:
    """The chips of a card by their name, and which are on."""
    chips = card.locator(".keywords ul button").all()
    return {
        chip.get_attribute("aria-label") or "": chip.get_attribute("aria-pressed") == "true"
        for chip in chips
    }


def test_keywords_are_chips_of_which_the_sure_ones_are_on(
    page: Page, responses: MockResponses
) -> None:
    card = card_of(page, responses, caption())
    assert pressed(card) == {
        "dog, 92\u00a0% likely": True,
        "grass, 61\u00a0% likely": True,
        "ball, 34\u00a0% likely": False,
    }
    card.get_by_role("button", name="Copy keywords").click()
    expect(page.locator("#live-region")).to_contain_text("Copied")
    assert copied(page) == "dog, grass"


def test_only_keywords_that_are_on_are_copied(page: Page, responses: MockResponses) -> None:
    card = card_of(page, responses, caption())
    chip = card.get_by_role("button", name="ball, 34")
    chip.focus()
    page.keyboard.press("Space")
    expect(chip).to_be_focused()
    expect(chip).to_have_attribute("aria-pressed", "true")
    card.get_by_role("button", name="dog, 92").click()
    copy = card.get_by_role("button", name="Copy keywords")
    copy.click()
    expect(copy).to_have_text("Copied")
    assert copied(page) == "grass, ball"
    card.get_by_role("button", name="grass, 61").click()
    chip.click()
    expect(copy).to_be_disabled()


def test_keywords_stay_as_chosen_when_the_caption_changes(
    page: Page, responses: MockResponses
) -> None:
    card = card_of(page, responses, caption())
    card.get_by_role("button", name="grass, 61").click()
    before = pressed(card)
    card.get_by_role("button", name="Use: a dog jumps").click()
    assert pressed(card) == before


def test_caption_without_keywords_has_no_chips(page: Page, responses: MockResponses) -> None:
    card = card_of(page, responses, caption(keywords={"man": 0.19}))
    expect(card.locator(".keywords")).to_be_hidden()
