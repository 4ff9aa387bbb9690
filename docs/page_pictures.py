"""Photograph the web page, as it is with example photos: `python docs/page_pictures.py`.

Writes `docs/images/page.png`, `page-dark.png` and `page-phone.png`. Needs the extras `serve` and
`dev`, and Chromium.
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
    DOCS.parent / "examples" / f"{name}.jpg"
    for name in ("two-dogs-at-a-window", "mariachi-band", "german-shepherd", "horses")
]
OWN_COLOURS = 48
DESKTOP: dict[str, Any] = {"viewport": {"width": 1120, "height": 1090}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 360, "height": 780},
    "device_scale_factor": 1.5,
    "is_mobile": True,
    "has_touch": True,
}


@dataclass(frozen=True)
class Picture:
    """A picture of the page: the browser's window, and the photo and word that are looked at."""

    name: str
    window: dict[str, Any]
    photos: list[Path]
    word: str


PICTURES = [
    Picture("page.png", DESKTOP, PHOTOS, "dog"),
    Picture("page-dark.png", {**DESKTOP, "color_scheme": "dark"}, PHOTOS[2:], "grass"),
    Picture("page-phone.png", PHONE, PHOTOS[1:], "men"),
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


def take(browser: Browser, address: str, picture: Picture) -> None:
    """Caption photos on the page, look at a word, and write what is seen then."""
    context = browser.new_context(reduced_motion="reduce", **picture.window)
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(address)
    page.set_input_files("#files", picture.photos)
    done = page.locator('.card[data-state="done"]')
    expect(done).to_have_count(len(picture.photos), timeout=120_000)
    for image in page.locator(".card img").all():
        image.evaluate("(image) => image.decode()")
    if "is_mobile" in picture.window:
        done.first.evaluate("(card) => card.scrollIntoView()")
    done.first.locator(".words button", has_text=picture.word).first.click()
    expect(done.first.locator("canvas.visible")).to_be_visible()
    with Image.open(io.BytesIO(page.screenshot())) as image:
        few = with_few_colours(image.convert("RGB"))
    few.save(DOCS / "images" / picture.name, optimize=True)
    context.close()


def with_few_colours(image: Image.Image) -> Image.Image:
    """Return an image of 256 colours: the commonest, which are the page's, as they are."""
    counts = sorted(image.getcolors(image.width * image.height) or [], reverse=True)
    own = [colour for _, colour in counts[:OWN_COLOURS]]
    photos = image.quantize(256 - len(own)).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*(value for colour in own for value in colour), *photos])
    return image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)


def main() -> None:
    """Take all pictures."""
    with service() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for picture in PICTURES:
            take(browser, address, picture)


if __name__ == "__main__":
    main()
