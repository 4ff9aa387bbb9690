"""How the service delivers the page: its files, policy and caching."""

from __future__ import annotations

import re

import httpx
import pytest

from showtell import __version__
from support.running_service import RunningService


def test_page_has_no_inline_code_and_no_other_host(service: RunningService) -> None:
    response = httpx.get(service.url, timeout=300)
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = response.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|https?://|//cdn", response.text)
    assert re.findall(r"<script[^>]*>", response.text) == [
        '<script type="module" src="static/app.js">'
    ]
    assert "Model general" in response.text
    assert f"showtell {__version__}" in response.text


def test_every_file_of_the_page_exists_with_the_right_media_type(service: RunningService) -> None:
    media_types = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    queue = re.findall(r'"(static/[^"]+)"', httpx.get(service.url, timeout=300).text)
    visited = set()
    while queue:
        url = queue.pop()
        if url in visited:
            continue
        visited.add(url)
        response = httpx.get(f"{service.url}/{url}", timeout=300)
        assert response.status_code == 200, url
        assert response.headers["content-type"].startswith(media_types[url.rpartition(".")[2]])
        assert "http" not in response.text.replace("http://www.w3.org/2000/svg", "")
        queue += [f"static/{name}" for name in re.findall(r'from "\./([^"]+)"', response.text)]
    assert len(visited) > 10


def test_unchanged_file_is_not_sent_again(service: RunningService) -> None:
    first = httpx.get(f"{service.url}/static/app.js", timeout=300)
    assert first.headers["cache-control"] == "no-cache"
    second = httpx.get(
        f"{service.url}/static/app.js", headers={"If-None-Match": first.headers["etag"]}
    )
    assert (second.status_code, second.content) == (304, b"")


@pytest.mark.parametrize("name", ["nothing.js", "..%2fpage.py", "%2e%2e%2fapp.py", "..\\page.py"])
def test_no_other_file_is_served(service: RunningService, name: str) -> None:
    response = httpx.get(f"{service.url}/static/{name}", timeout=300)
    assert response.status_code == 404
    assert response.headers["content-type"].startswith("application/problem+json")


def test_page_and_its_files_need_no_key(keyed_service: RunningService) -> None:
    assert httpx.get(keyed_service.url, timeout=300).status_code == 200
    assert httpx.get(f"{keyed_service.url}/static/app.js", timeout=300).status_code == 200
