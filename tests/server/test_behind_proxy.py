"""The service behind a reverse proxy: on another port, and below a path prefix."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from showtell.client import Client
from support.paths import ROOT
from support.reverse_proxy import reverse_proxy
from support.running_service import RunningService, example_photos, running_service

PHOTO = example_photos()[0]


@pytest.fixture(scope="module")
def prefixed_service(tiny_model: Path) -> Iterator[RunningService]:
    """A service that knows the path prefix of its proxy."""
    with running_service(
        "--model", tiny_model, "--workers", "1", "--root-path", "/photos/captions"
    ) as service:
        yield service


def check_page(url: str) -> None:
    """Check that the page at `url`, its files, its API and the client work."""
    page = httpx.get(url, follow_redirects=True)
    assert page.status_code == 200
    links = re.findall(r'(?:src|href)="([^#"]+)"', page.text)
    assert len(links) > 4
    for link in links:
        response = httpx.get(page.url.join(link))
        assert response.status_code == 200, link
    origin = f"{page.url.scheme}://{page.url.netloc.decode()}"
    captions = page.url.join("v1/captions") if page.url.path.endswith("/") else f"{url}/v1/captions"
    response = httpx.post(
        captions, content=PHOTO.read_bytes(), headers={"Origin": origin}, timeout=60
    )
    assert response.status_code == 200, response.text
    with Client(url) as client:
        assert client.caption(PHOTO).text
        assert client.ready()


def test_page_works_behind_a_proxy_on_another_port(tiny_model: Path) -> None:
    with (
        running_service("--model", tiny_model, "--workers", "1") as service,
        reverse_proxy(service.url) as url,
    ):
        check_page(url)


def test_page_works_below_a_prefix_that_the_proxy_strips(tiny_model: Path) -> None:
    with (
        running_service("--model", tiny_model, "--workers", "1") as service,
        reverse_proxy(service.url, "/photos/captions") as url,
    ):
        check_page(f"{url}/")


@pytest.mark.parametrize("strip", [True, False])
@pytest.mark.parametrize("slash", ["", "/"])
def test_service_that_knows_its_prefix_works_below_it(
    prefixed_service: RunningService, strip: bool, slash: str
) -> None:
    with reverse_proxy(prefixed_service.url, "/photos/captions", strip=strip) as url:
        check_page(url + slash)
        description = httpx.get(f"{url}/openapi.json", timeout=300).json()
        assert description["servers"] == [{"url": "/photos/captions"}]
        assert "/v1/captions" in description["paths"]
        assert httpx.get(f"{url}/nothing", timeout=300).status_code == 404
    assert "Warning" not in "".join(prefixed_service.log)


def test_health_check_needs_no_prefix(prefixed_service: RunningService) -> None:
    assert httpx.get(f"{prefixed_service.url}/health", timeout=300).status_code == 200
    metrics = httpx.get(f"{prefixed_service.url}/photos/captions/metrics", timeout=300).text
    assert 'route="/health"' in metrics
    assert 'route="/photos' not in metrics


def test_documented_proxy_passes_on_the_port_of_the_host() -> None:
    text = (ROOT / "docs" / "serving.md").read_text("utf-8")
    assert set(re.findall(r"proxy_set_header Host (\S+);", text)) == {"$http_host"}
