from __future__ import annotations

import base64
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

from showtell import Captioner
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.search import search_photos
from showtell.photos.corrections import edit_caption
from showtell.photos.gallery import render_gallery
from support.photo_library import library, photo, scan_fully

HOSTILE_TEXT = "\"><script>alert(1)</script><img src=x onerror=alert(2)> &amp; '--"


class Page(HTMLParser):
    """The elements and text of a page, as a browser would parse them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_page_is_self_contained_and_escapes_captions_and_paths(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b'/lib/"><b>#?%41\n\xff'))
    paths = [
        photo(folder / f"{name}.jpg", seed)
        for seed, name in enumerate(["a", "<script>alert(3)<", "'onclick='x"])
    ]
    scan_fully(catalogue, tmp_path / "lib", captioner)
    for path in paths:
        edit_caption(catalogue, path, HOSTILE_TEXT)
    (folder / "a.jpg").write_bytes(b"damaged")
    page = Page("".join(render_gallery(HOSTILE_TEXT, search_photos(catalogue, ""))))
    assert not page.named("script")
    assert not page.named("b")
    assert {tag for tag, _ in page.elements} == {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "main",
        "figure",
        "a",
        "img",
        "span",
        "figcaption",
        "small",
        "p",
    }
    assert all(not name.startswith("on") for _, attributes in page.elements for name in attributes)
    urls = [str(link["href"]) for link in page.named("a")]
    links = [unquote_to_bytes(url.removeprefix("file://")) for url in urls]
    assert sorted(links) == sorted(os.fsencode(path) for path in paths)
    images = page.named("img")
    assert [image["alt"] for image in images] == [HOSTILE_TEXT] * 2
    for image in images:
        data = re.fullmatch(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", str(image["src"]))
        assert data is not None
        assert base64.b64decode(data[1]).startswith(b"\xff\xd8\xff")
    assert page.text.count(HOSTILE_TEXT) == 5  # three captions, a title, a heading
    assert "cannot be read" in page.text
    assert "default-src 'none'" in str(page.named("meta"))
    assert "3 photos" in page.text


def test_page_of_no_photos_and_page_of_many(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    assert "0 photos" in Page("".join(render_gallery("", []))).text
    library(tmp_path / "lib", 30, (".jpg", ".png", ".cr2"))
    scan_fully(catalogue, tmp_path / "lib", captioner)
    results = list(search_photos(catalogue, ""))
    page = Page("".join(render_gallery("all", results)))
    assert [image["alt"] for image in page.named("img")] == [item.caption for item in results]


def test_page_is_produced_as_results_arrive(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    library(tmp_path / "lib", 1)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    [record] = search_photos(catalogue, "")
    produced = 0

    def endless():  # type: ignore[no-untyped-def]
        nonlocal produced
        while True:
            produced += 1
            yield record

    pieces = render_gallery("endless", endless())
    assert sum("<figure" in next(pieces) for _ in range(20)) == 19
    assert produced < 100
    pieces.close()  # type: ignore[attr-defined]
    assert list(pieces) == []
