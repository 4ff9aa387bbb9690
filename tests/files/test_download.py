"""Downloads from a real server that stalls, cuts off, ignores ranges and sends wrong bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from showtell.files.download import DownloadError, download
from support.file_server import FileServer, serve

BODY = os.urandom(300_000)
RIGHT = hashlib.sha256(BODY).hexdigest()
QUICK = {"timeout": 0.3, "pause": 0.01}


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve({"/file": BODY}) as running:
        yield running


def leftovers(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir() if path != target)


def test_file_arrives_whole_and_nothing_else_stays(server: FileServer, tmp_path: Path) -> None:
    target = download(f"{server.url}/file", tmp_path / "new" / "file", sha256=RIGHT)
    assert target.read_bytes() == BODY
    assert leftovers(target) == []


@pytest.mark.parametrize("fault", ["cut", "stall"])
def test_broken_connection_is_resumed_where_it_broke(
    server: FileServer, tmp_path: Path, fault: str
) -> None:
    server.faults["/file"] = [(fault, 100_000), (fault, 50_000)]
    target = download(f"{server.url}/file", tmp_path / "file", **QUICK)
    assert target.read_bytes() == BODY
    assert [wanted for _, wanted in server.requests] == [None, "bytes=100000-", "bytes=150000-"]


def test_a_stall_costs_the_timeout_and_no_more(server: FileServer, tmp_path: Path) -> None:
    server.faults["/file"] = [("stall", 10)]
    began = time.monotonic()
    download(f"{server.url}/file", tmp_path / "file", **QUICK)
    assert 0.3 <= time.monotonic() - began < 5


def test_server_that_ignores_ranges_is_read_from_the_start(
    server: FileServer, tmp_path: Path
) -> None:
    server.ignores_range = True
    server.faults["/file"] = [("cut", 100_000)]
    target = download(f"{server.url}/file", tmp_path / "file", sha256=RIGHT, **QUICK)
    assert target.read_bytes() == BODY


def test_server_that_ignores_ranges_and_always_cuts_is_given_up(
    server: FileServer, tmp_path: Path
) -> None:
    server.ignores_range = True
    server.faults["/file"] = [("cut", 100_000)] * 20
    with pytest.raises(DownloadError, match=r"given up after 3 .* closed at 100000 of 300000"):
        download(f"{server.url}/file", tmp_path / "file", attempts=3, **QUICK)
    assert not (tmp_path / "file").exists()


def test_slow_progress_is_never_given_up(server: FileServer, tmp_path: Path) -> None:
    server.faults["/file"] = [("cut", 20_000)] * 12
    target = download(f"{server.url}/file", tmp_path / "file", attempts=2, **QUICK)
    assert target.read_bytes() == BODY


def test_wrong_bytes_never_become_the_file(server: FileServer, tmp_path: Path) -> None:
    server.faults["/file"] = [("wrong", b"x" + BODY[1:])]
    (tmp_path / "file").write_bytes(b"the old one")
    with pytest.raises(DownloadError, match="wrong bytes"):
        download(f"{server.url}/file", tmp_path / "file", sha256=RIGHT)
    assert (tmp_path / "file").read_bytes() == b"the old one"
    assert leftovers(tmp_path / "file") == []


def test_missing_file_fails_at_once_and_says_so(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"/nothing: HTTP 404 Not Found: check the address"):
        download(f"{server.url}/nothing", tmp_path / "file", **QUICK)
    assert len(server.requests) == 1


def test_busy_server_is_asked_again(server: FileServer, tmp_path: Path) -> None:
    server.faults["/file"] = [("status", 503), ("status", 429)]
    assert download(f"{server.url}/file", tmp_path / "file", **QUICK).read_bytes() == BODY


def test_server_that_is_gone_is_given_up(tmp_path: Path) -> None:
    with serve() as server:
        url = server.url
    with pytest.raises(DownloadError, match="given up after 2"):
        download(f"{url}/file", tmp_path / "file", attempts=2, **QUICK)


def test_next_call_goes_on_where_the_last_one_stopped(server: FileServer, tmp_path: Path) -> None:
    server.faults["/file"] = [("cut", 100_000), ("status", 500)]
    with pytest.raises(DownloadError):
        download(f"{server.url}/file", tmp_path / "file", attempts=1, **QUICK)
    server.requests.clear()
    server.faults["/file"] = []
    assert download(f"{server.url}/file", tmp_path / "file").read_bytes() == BODY
    assert server.requests == [("/file", "bytes=100000-")]


def test_file_changed_between_two_calls_is_fetched_anew(server: FileServer, tmp_path: Path) -> None:
    server.faults["/file"] = [("cut", 100_000)]
    with pytest.raises(DownloadError):
        download(f"{server.url}/file", tmp_path / "file", attempts=1, **QUICK)
    server.files["/file"] = BODY[::-1]
    assert download(f"{server.url}/file", tmp_path / "file").read_bytes() == BODY[::-1]


def test_without_version_and_hash_a_part_is_not_trusted(server: FileServer, tmp_path: Path) -> None:
    server.tells_version = False
    server.faults["/file"] = [("cut", 100_000)]
    with pytest.raises(DownloadError):
        download(f"{server.url}/file", tmp_path / "file", attempts=1, **QUICK)
    server.requests.clear()
    assert download(f"{server.url}/file", tmp_path / "file").read_bytes() == BODY
    assert server.requests == [("/file", None)]


def test_part_of_another_file_is_found_by_the_hash_and_fetched_anew(
    server: FileServer, tmp_path: Path
) -> None:
    (tmp_path / "file.part").write_bytes(b"x" * 100_000)
    target = download(f"{server.url}/file", tmp_path / "file", sha256=RIGHT, **QUICK)
    assert target.read_bytes() == BODY
    assert [wanted for _, wanted in server.requests] == ["bytes=100000-", None]


def test_part_that_is_already_whole_is_only_checked(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(BODY)
    assert download(f"{server.url}/file", tmp_path / "file", sha256=RIGHT).read_bytes() == BODY
    assert server.requests == [("/file", f"bytes={len(BODY)}-")]


def test_part_that_is_too_long_is_fetched_anew(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(BODY + b"more")
    target = download(f"{server.url}/file", tmp_path / "file", sha256=RIGHT, **QUICK)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("tells_length", [True, False])
def test_more_bytes_than_the_limit_are_not_taken(
    server: FileServer, tmp_path: Path, tells_length: bool
) -> None:
    server.tells_length = tells_length
    with pytest.raises(DownloadError, match="larger than 200000 bytes"):
        download(f"{server.url}/file", tmp_path / "file", limit=200_000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [299_999, 300_001])
def test_another_size_than_promised_is_refused(
    server: FileServer, tmp_path: Path, size: int
) -> None:
    with pytest.raises(DownloadError, match=f"has 300000 bytes, not {size}"):
        download(f"{server.url}/file", tmp_path / "file", size=size)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://host/file", "name", "http://["])
def test_only_web_addresses_are_taken(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="not an http or https address"):
        download(url, tmp_path / "file")


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    cuts=st.lists(st.integers(min_value=1, max_value=4000), max_size=6),
    body=st.binary(max_size=9000),
)
def test_however_often_it_breaks_the_bytes_are_the_same(
    server: FileServer, tmp_path: Path, cuts: list[int], body: bytes
) -> None:
    server.files["/any"] = body
    server.faults["/any"] = [("cut", cut) for cut in cuts]
    target = download(f"{server.url}/any", tmp_path / "any", timeout=5, pause=0, attempts=9)
    assert target.read_bytes() == body


def test_killed_download_goes_on_in_the_next_process(server: FileServer, tmp_path: Path) -> None:
    server.faults["/file"] = [("stall", 120_000)]
    code = (
        "import sys; from pathlib import Path; from showtell.files.download import download;"
        "download(sys.argv[1], Path(sys.argv[2]))"
    )
    target = tmp_path / "file"
    with subprocess.Popen([sys.executable, "-c", code, f"{server.url}/file", target]) as process:
        deadline = time.monotonic() + 20
        part = tmp_path / "file.part"
        while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    held = part.stat().st_size
    assert 0 < held <= 120_000
    assert download(f"{server.url}/file", target).read_bytes() == BODY
    assert server.requests[-1] == ("/file", f"bytes={held}-")


@pytest.mark.parametrize(("progress", "drawn"), [(True, True), (False, False), (None, False)])
def test_progress_is_drawn_on_standard_error_where_wanted(
    server: FileServer,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    progress: bool | None,
    drawn: bool,
) -> None:
    download(f"{server.url}/file", tmp_path / "file", progress=progress)
    said = capfd.readouterr()
    assert said.out == ""
    assert ("file:" in said.err) == drawn


def test_published_md5_is_enough_to_tell_wrong_bytes(server: FileServer, tmp_path: Path) -> None:
    right = hashlib.md5(BODY).hexdigest()
    download(f"{server.url}/file", tmp_path / "file", md5=right.upper(), **QUICK)
    server.faults["/file"] = [("wrong", os.urandom(1000))] * 2
    with pytest.raises(DownloadError, match=f"their md5 is [0-9a-f]{{32}}, not {right}"):
        download(f"{server.url}/file", tmp_path / "other", md5=right, **QUICK)
    assert not (tmp_path / "other").exists()


def test_part_from_another_address_is_continued_where_a_hash_tells(
    server: FileServer, tmp_path: Path
) -> None:
    server.files["/mirror"] = BODY
    server.faults["/file"] = [("cut", 200_000)]
    with pytest.raises(DownloadError):
        download(f"{server.url}/file", tmp_path / "file", sha256=RIGHT, attempts=1, **QUICK)
    target = download(f"{server.url}/mirror", tmp_path / "file", sha256=RIGHT, **QUICK)
    assert target.read_bytes() == BODY
    assert server.requests[-1] == ("/mirror", "bytes=200000-")
