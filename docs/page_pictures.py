"""Make the pictures of the docs from example photos: `python docs/page_pictures.py`.

Writes screenshots of the web page, `docs/images/page.png`, `page-dark.png` and `page-phone.png`,
and `explain.png`. Look at them: the captions must be right. Needs the extras `serve` and `dev`,
and Chromium.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

DOCS = Path(__file__).resolve().parent
PHOTOS = [
    DOCS.parent / path
    for path in (
        "examples/mountain-top.jpg",
        "tests/sample_photos/tiger-in-snow.jpg",
        "examples/bicycle-trick.jpg",
        "examples/palace.jpg",
    )
]
PAGE_COLOURS = 48  # colours of the palette that are kept for the page itself
DESKTOP: dict[str, Any] = {"viewport": {"width": 1120, "height": 1045}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 360, "height": 780},
    "device_scale_factor": 1.5,
    "is_mobile": True,
    "has_touch": True,
}


@dataclass(frozen=True)
class Screenshot:
    """A screenshot: the browser window, the photos, and the word that is selected."""

    name: str
    window: dict[str, Any]
    photos: list[Path]
    word: str


SCREENSHOTS = [
    Screenshot("page.png", DESKTOP, PHOTOS, "man"),
    Screenshot("page-dark.png", {**DESKTOP, "color_scheme": "dark"}, PHOTOS[2:], "bicycle"),
    Screenshot("page-phone.png", PHONE, PHOTOS[:1], "mountain"),
]


@contextmanager
def service() -> Iterator[str]:
    """Run `showtell serve` on a free port and yield its address."""
    command = [sys.executable, "-m", "showtell", "serve", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith("Listening on "):
                    yield line.removeprefix("Listening on ").strip()
                    break
        finally:
            process.terminate()


def take(browser: Browser, address: str, screenshot: Screenshot) -> None:
    """Caption photos on the page, select a word, and save a screenshot."""
    context = browser.new_context(reduced_motion="reduce", **screenshot.window)
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(address)
    page.set_input_files("#files", screenshot.photos)
    done = page.locator('.card[data-state="done"]')
    expect(done).to_have_count(len(screenshot.photos), timeout=120_000)
    for image in page.locator(".card img").all():
        image.evaluate("(image) => image.decode()")
    if "is_mobile" in screenshot.window:
        done.first.evaluate("(card) => card.scrollIntoView()")
    done.first.locator(".words button", has_text=screenshot.word).first.click()
    expect(done.first.locator("canvas.visible")).to_be_visible()
    with Image.open(io.BytesIO(page.screenshot())) as image:
        reduced = reduce_colours(image.convert("RGB"))
    reduced.save(DOCS / "images" / screenshot.name, optimize=True)
    context.close()


def reduce_colours(image: Image.Image) -> Image.Image:
    """Return the image with 256 colours, of which the most common, those of the page, are exact."""
    counts = sorted(image.getcolors(image.width * image.height) or [], reverse=True)
    page_colours = [colour for _, colour in counts[:PAGE_COLOURS]]
    photo_palette = image.quantize(256 - len(page_colours)).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*(value for colour in page_colours for value in colour), *photo_palette])
    return image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)


def draw_explanation() -> None:
    """Draw where the model looked for each word of the first photo's caption."""
    picture = DOCS / "images" / "explain.png"
    command = [sys.executable, "-m", "showtell", "explain", PHOTOS[0], "--output", picture]
    subprocess.run(command, check=True)
    with Image.open(picture) as image:
        reduced = reduce_colours(image.convert("RGB"))
    reduced.save(picture, optimize=True)


def main() -> None:
    """Make all pictures."""
    draw_explanation()
    with service() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for screenshot in SCREENSHOTS:
            take(browser, address, screenshot)


if __name__ == "__main__":
    main()
