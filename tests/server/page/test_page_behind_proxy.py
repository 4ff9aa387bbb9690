"""The page in a browser, below the path prefix of a reverse proxy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from support.page_driver import choose, done, text_of
from support.reverse_proxy import reverse_proxy
from support.running_service import running_service


@pytest.mark.parametrize("options", [[], ["--root-path", "/photos"]])
def test_page_below_a_prefix_captions_a_photo(
    open_page: Callable[..., Page], tiny_model: Path, options: list[str]
) -> None:
    with (
        running_service("--model", tiny_model, "--workers", "1", *options) as service,
        reverse_proxy(service.url, "/photos", strip=not options) as url,
    ):
        page = open_page(f"{url}/")
        choose(page, "photo.png")
        assert text_of(done(page, 1).first)
