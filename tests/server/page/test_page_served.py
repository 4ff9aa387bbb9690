"""The page as it is served: everything from the service itself, under a strict policy."""

from __future__ import annotations

import re

import httpx
import pytest

from showtell import __version__
from support.running_service import RunningService


def test_the_page_needs_nothing_inline_and_no_other_host(service: RunningService) -> None:
    answer = httpx.get(service.url)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|https?://|//cdn", answer.text)
    assert re.findall(r"<script[^>]*>", answer.text) == [
        '<script type="module" src="/static/app.js">'
    ]
    assert "Model flickr8k" in answer.text
    assert f"showtell {__version__}" in answer.text


def test_every_file_that_the_page_names_is_there_and_of_its_kind(service: RunningService) -> None:
    kinds = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    waiting = re.findall(r'"(/static/[^"]+)"', httpx.get(service.url).text)
    seen = set()
    while waiting:
        address = waiting.pop()
        if address in seen:
            continue
        seen.add(address)
        answer = httpx.get(service.url + address)
        assert answer.status_code == 200, address
        assert answer.headers["content-type"].startswith(kinds[address.rpartition(".")[2]])
        assert "http" not in answer.text.replace("http://www.w3.org/2000/svg", "")
        waiting += [f"/static/{name}" for name in re.findall(r'from "\./([^"]+)"', answer.text)]
    assert len(seen) > 10


def test_a_file_that_the_browser_has_is_not_sent_again(service: RunningService) -> None:
    first = httpx.get(f"{service.url}/static/app.js")
    assert first.headers["cache-control"] == "no-cache"
    again = httpx.get(
        f"{service.url}/static/app.js", headers={"If-None-Match": first.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["nothing.js", "..%2fpage.py", "%2e%2e%2fapp.py", "..\\page.py"])
def test_no_other_file_is_served(service: RunningService, name: str) -> None:
    answer = httpx.get(f"{service.url}/static/{name}")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("application/problem+json")


def test_the_page_and_its_files_need_no_key(keyed_service: RunningService) -> None:
    assert httpx.get(keyed_service.url).status_code == 200
    assert httpx.get(f"{keyed_service.url}/static/app.js").status_code == 200
