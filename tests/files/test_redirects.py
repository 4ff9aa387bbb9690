"""Redirects are followed only where a download may go."""

from __future__ import annotations

import io
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from showtell.bundle.pull import pull_model
from showtell.files import redirects
from showtell.files.download import DownloadError, download
from showtell.files.redirects import MAX_REDIRECTS, RedirectError, check_redirect, is_public
from support.file_server import FileServer, serve

INSIDE = "127.0.0.2"  # stands for a private network; 127.0.0.1 stands for the internet
QUICK = {"timeout": 2.0, "pause": 0.01, "progress": False, "attempts": 1}


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setattr(redirects, "is_public", lambda address: address != INSIDE)
    with serve({"/file": b"public"}) as server:
        yield server


@pytest.fixture
def inside() -> Iterator[FileServer]:
    with serve({"/file": b"private"}, host=INSIDE) as server:
        yield server


def test_redirects_between_public_servers_are_followed(
    internet: FileServer, tmp_path: Path
) -> None:
    internet.redirects = {"/a": "/b", "/b": f"{internet.url}/file"}
    assert download(f"{internet.url}/a", tmp_path / "f", **QUICK).read_bytes() == b"public"


@pytest.mark.parametrize("hops", [1, 3])
def test_redirect_into_a_private_network_is_not_followed(
    internet: FileServer, inside: FileServer, tmp_path: Path, hops: int
) -> None:
    internet.redirects = {f"/{n}": f"/{n + 1}" for n in range(hops)}
    internet.redirects[f"/{hops - 1}"] = f"{inside.url}/file"
    with pytest.raises(DownloadError, match=rf"private network \({INSIDE}\): not followed"):
        download(f"{internet.url}/0", tmp_path / "f", **QUICK)
    assert inside.requests == []
    assert list(tmp_path.iterdir()) == []


def test_server_in_a_private_network_may_redirect_to_itself_and_outwards(
    internet: FileServer, inside: FileServer, tmp_path: Path
) -> None:
    inside.redirects = {"/a": "/file", "/b": f"{internet.url}/file", "/c": f"{internet.url}/d"}
    internet.redirects = {"/d": f"{inside.url}/file"}
    assert download(f"{inside.url}/a", tmp_path / "a", **QUICK).read_bytes() == b"private"
    assert download(f"{inside.url}/b", tmp_path / "b", **QUICK).read_bytes() == b"public"
    with pytest.raises(DownloadError, match="private network"):
        download(f"{inside.url}/c", tmp_path / "c", **QUICK)


@pytest.mark.parametrize(
    "address",
    ["ftp://127.0.0.1/file", "file:///etc/passwd", "data:,x", "gopher://127.0.0.1/", "jar:x"],
)
def test_redirect_to_another_scheme_is_not_followed(
    internet: FileServer, tmp_path: Path, address: str
) -> None:
    internet.redirects = {"/a": address}
    with pytest.raises(DownloadError, match=r"/a: ") as caught:
        download(f"{internet.url}/a", tmp_path / "f", **QUICK)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_redirects_without_end_are_given_up(internet: FileServer, tmp_path: Path) -> None:
    internet.redirects = {f"/{n}": f"/{n + 1}" for n in range(99)}
    with pytest.raises(DownloadError, match="HTTP 302"):
        download(f"{internet.url}/0", tmp_path / "f", **QUICK)
    assert len(internet.requests) <= MAX_REDIRECTS + 2


def test_model_is_not_pulled_from_a_private_network(
    internet: FileServer, inside: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOWTELL_CACHE", str(tmp_path / "cache"))
    internet.redirects = {"/birds.zip": f"{inside.url}/file"}
    with pytest.raises(DownloadError, match="private network"):
        pull_model(f"{internet.url}/birds.zip", progress=False)
    assert inside.requests == []


@pytest.mark.parametrize("new", ["http://a/b", "HTTP://a/b", "ftp://a/b", "file:///a", "//a/b"])
def test_https_is_never_left(new: str) -> None:
    with pytest.raises(RedirectError, match="redirect"):
        check_redirect("https://a/b", new)
    check_redirect("https://a/b", "https://c/d")
    check_redirect("http://a/b", "https://c/d")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "::1",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
    ],
)
def test_private_addresses_are_known_in_every_form(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


def test_link_local_address_is_refused_even_without_a_public_one_before() -> None:
    hops = redirects._Hops()
    hops.reach("intranet", "10.0.0.1")
    hops.reach("other", "10.0.0.2")
    with pytest.raises(RedirectError, match="private network"):
        hops.reach("metadata", "169.254.169.254")


def test_password_is_not_sent_to_another_host() -> None:
    request = urllib.request.Request("https://a/b", headers={"Authorization": "x", "Range": "y"})
    handler = redirects._RedirectHandler()
    there = handler.redirect_request(request, io.BytesIO(), 302, "", {}, "https://c/d")  # type: ignore[arg-type]
    assert there is not None
    assert there.headers == {"Range": "y"}
