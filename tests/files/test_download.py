"""Downloads from a real server that stalls, cuts off, ignores ranges and sends wrong bytes."""

from __future__ import annotations

import hashlib
import os
import stat
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
QUICK = {"timeout": 60, "pause": 0.01}
STALLING = QUICK | {"timeout": 1}  # a stalled connection sends nothing for this long


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve({"/file": BODY}) as running:
        yield running


def leftovers(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir() if path != target)


def test_download_leaves_the_complete_file_and_nothing_else(
    server: FileServer, tmp_path: Path
) -> None:
    target = download(f"{server.url}/file", tmp_path / "new" / "file", sha256=RIGHT)
    assert target.read_bytes() == BODY
    assert leftovers(target) == []


@pytest.mark.parametrize("fault", ["cut", "stall"])
def test_broken_connection_is_resumed(server: FileServer, tmp_path: Path, fault: str) -> None:
    server.faults["/file"] = [(fault, 100_000), (fault, 50_000)]
    options = STALLING if fault == "stall" else QUICK
    target = download(f"{server.url}/file", tmp_path / "file", **options)
    assert target.read_bytes() == BODY
    assert [byte_range for _, byte_range in server.requests] == [
        None,
        "bytes=100000-",
        "bytes=150000-",
    ]


def test_stalled_connection_ends_after_the_timeout(server: FileServer, tmp_path: Path) -> None:
    server.faults["/file"] = [("stall", 10)]
    target = download(f"{server.url}/file", tmp_path / "file", **STALLING)
    assert target.read_bytes() == BODY  # the server never ends the first response
    assert len(server.requests) == 2


def test_server_without_ranges_is_read_from_the_start(server: FileServer, tmp_path: Path) -> None:
    server.ignores_range = True
    server.faults["/file"] = [("cut", 100_000)]
    target = download(f"{server.url}/file", tmp_path / "file", sha256=RIGHT, **QUICK)
    assert target.read_bytes() == BODY


def test_server_without_ranges_that_always_breaks_is_given_up(
    server: FileServer, tmp_path: Path
) -> None:
    server.ignores_range = True
    server.faults["/file"] = [("cut", 100_000)] * 20
    with pytest.raises(DownloadError, match=r"given up after 3 .* closed at 100000 of 300000"):
        download(f"{server.url}/file", tmp_path / "file", attempts=3, **QUICK)
    assert not (tmp_path / "file").exists()


def test_download_that_makes_progress_is_not_given_up(server: FileServer, tmp_path: Path) -> None:
    server.faults["/file"] = [("cut", 20_000)] * 12
    target = download(f"{server.url}/file", tmp_path / "file", attempts=2, **QUICK)
    assert target.read_bytes() == BODY


def test_wrong_bytes_do_not_replace_the_target(server: FileServer, tmp_path: Path) -> None:
    server.faults["/file"] = [("wrong", b"x" + BODY[1:])]
    (tmp_path / "file").write_bytes(b"the old one")
    with pytest.raises(DownloadError, match="wrong bytes"):
        download(f"{server.url}/file", tmp_path / "file", sha256=RIGHT)
    assert (tmp_path / "file").read_bytes() == b"the old one"
    assert leftovers(tmp_path / "file") == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_private_file_is_replaced_by_one_that_was_never_readable_by_others(
    server: FileServer, tmp_path: Path
) -> None:
    target, part = tmp_path / "file", tmp_path / "file.part"
    target.write_bytes(b"old")
    target.chmod(0o600)
    part.write_bytes(b"left by an earlier run")
    server.faults["/file"] = [("cut", 100_000), ("status", 500)]
    with pytest.raises(DownloadError, match="given up"):
        download(f"{server.url}/file", target, attempts=1, **QUICK)
    assert stat.S_IMODE(part.stat().st_mode) == 0o600
    download(f"{server.url}/file", target, sha256=RIGHT, **QUICK)
    assert target.read_bytes() == BODY
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_missing_file_is_reported_without_retries(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"/nothing: HTTP 404 Not Found: check the address"):
        download(f"{server.url}/nothing", tmp_path / "file", **QUICK)
    assert len(server.requests) == 1


def test_busy_server_is_retried(server: FileServer, tmp_path: Path) -> None:
    server.faults["/file"] = [("status", 503), ("status", 429)]
    assert download(f"{server.url}/file", tmp_path / "file", **QUICK).read_bytes() == BODY


def test_unreachable_server_is_given_up(tmp_path: Path) -> None:
    with serve() as server:
        url = server.url
    with pytest.raises(DownloadError, match="given up after 2"):
        download(f"{url}/file", tmp_path / "file", attempts=2, **QUICK)


def test_next_call_resumes_an_unfinished_download(server: FileServer, tmp_path: Path) -> None:
    server.faults["/file"] = [("cut", 100_000), ("status", 500)]
    with pytest.raises(DownloadError):
        download(f"{server.url}/file", tmp_path / "file", attempts=1, **QUICK)
    server.requests.clear()
    server.faults["/file"] = []
    assert download(f"{server.url}/file", tmp_path / "file").read_bytes() == BODY
    assert server.requests == [("/file", "bytes=100000-")]


def test_changed_file_is_downloaded_again(server: FileServer, tmp_path: Path) -> None:
    server.faults["/file"] = [("cut", 100_000)]
    with pytest.raises(DownloadError):
        download(f"{server.url}/file", tmp_path / "file", attempts=1, **QUICK)
    server.files["/file"] = BODY[::-1]
    assert download(f"{server.url}/file", tmp_path / "file").read_bytes() == BODY[::-1]


def test_part_without_version_and_hash_is_not_continued(server: FileServer, tmp_path: Path) -> None:
    server.tells_version = False
    server.faults["/file"] = [("cut", 100_000)]
    with pytest.raises(DownloadError):
        download(f"{server.url}/file", tmp_path / "file", attempts=1, **QUICK)
    server.requests.clear()
    assert download(f"{server.url}/file", tmp_path / "file").read_bytes() == BODY
    assert server.requests == [("/file", None)]


def test_part_with_a_wrong_hash_is_downloaded_again(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(b"x" * 100_000)
    target = download(f"{server.url}/file", tmp_path / "file", sha256=RIGHT, **QUICK)
    assert target.read_bytes() == BODY
    assert [byte_range for _, byte_range in server.requests] == ["bytes=100000-", None]


def test_complete_part_is_only_verified(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(BODY)
    assert download(f"{server.url}/file", tmp_path / "file", sha256=RIGHT).read_bytes() == BODY
    assert server.requests == [("/file", f"bytes={len(BODY)}-")]


def test_part_that_is_too_long_is_downloaded_again(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(BODY + b"more")
    target = download(f"{server.url}/file", tmp_path / "file", sha256=RIGHT, **QUICK)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("tells_length", [True, False])
def test_file_larger_than_the_limit_is_refused(
    server: FileServer, tmp_path: Path, tells_length: bool
) -> None:
    server.tells_length = tells_length
    with pytest.raises(DownloadError, match="larger than 200000 bytes"):
        download(f"{server.url}/file", tmp_path / "file", limit=200_000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [299_999, 300_001])
def test_file_of_another_size_is_refused(server: FileServer, tmp_path: Path, size: int) -> None:
    with pytest.raises(DownloadError, match=f"has 300000 bytes, not {size}"):
        download(f"{server.url}/file", tmp_path / "file", size=size)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://host/file", "name", "http://["])
def test_only_http_addresses_are_accepted(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="not an http or https address"):
        download(url, tmp_path / "file")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(min_value=1, max_value=4000), max_size=6),
    body=st.binary(max_size=9000),
)
def test_bytes_are_right_however_often_the_connection_breaks(
    server: FileServer, tmp_path: Path, cuts: list[int], body: bytes
) -> None:
    server.files["/any"] = body
    server.faults["/any"] = [("cut", cut) for cut in cuts]
    target = download(f"{server.url}/any", tmp_path / "any", timeout=60, pause=0, attempts=9)
    assert target.read_bytes() == body


def test_killed_download_is_resumed_by_the_next_process(server: FileServer, tmp_path: Path) -> None:
    server.faults["/file"] = [("stall", 120_000)]
    code = (
        "import sys; from pathlib import Path; from showtell.files.download import download;"
        "download(sys.argv[1], Path(sys.argv[2]))"
    )
    target = tmp_path / "file"
    with subprocess.Popen([sys.executable, "-c", code, f"{server.url}/file", target]) as process:
        deadline = time.monotonic() + 300
        part = tmp_path / "file.part"
        while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    size = part.stat().st_size
    assert 0 < size <= 120_000
    assert download(f"{server.url}/file", target).read_bytes() == BODY
    assert server.requests[-1] == ("/file", f"bytes={size}-")


@pytest.mark.parametrize(("progress", "drawn"), [(True, True), (False, False), (None, False)])
def test_progress_is_shown_on_standard_error_on_request(
    server: FileServer,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    progress: bool | None,
    drawn: bool,
) -> None:
    download(f"{server.url}/file", tmp_path / "file", progress=progress)
    output = capfd.readouterr()
    assert output.out == ""
    assert ("file:" in output.err) == drawn


def test_md5_detects_wrong_bytes(server: FileServer, tmp_path: Path) -> None:
    right = hashlib.md5(BODY).hexdigest()
    download(f"{server.url}/file", tmp_path / "file", md5=right.upper(), **QUICK)
    server.faults["/file"] = [("wrong", os.urandom(1000))] * 2
    with pytest.raises(DownloadError, match=f"their md5 is [0-9a-f]{{32}}, not {right}"):
        download(f"{server.url}/file", tmp_path / "other", md5=right, **QUICK)
    assert not (tmp_path / "other").exists()


def test_part_from_another_address_is_continued_with_a_hash(
    server: FileServer, tmp_path: Path
) -> None:
    server.files["/mirror"] = BODY
    server.faults["/file"] = [("cut", 200_000)]
    with pytest.raises(DownloadError):
        download(f"{server.url}/file", tmp_path / "file", sha256=RIGHT, attempts=1, **QUICK)
    target = download(f"{server.url}/mirror", tmp_path / "file", sha256=RIGHT, **QUICK)
    assert target.read_bytes() == BODY
    assert server.requests[-1] == ("/mirror", "bytes=200000-")
