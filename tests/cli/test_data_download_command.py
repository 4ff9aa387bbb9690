"""`showtell data download`: what it says first, what it asks, how it ends."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from showtell.cli import main
from showtell.data.download import sources
from showtell.data.download.sources import Archive, DatasetSource
from support.archive_files import make_zip
from support.file_server import FileServer, serve


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server with one archive, and `tiny` among what can be fetched."""
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9)).save(buffer, "JPEG")
    body = make_zip(
        tmp_path / "tiny.zip", {"1.jpg": buffer.getvalue(), "1.txt": b"A dog runs\n"}
    ).read_bytes()
    with serve({"/tiny.zip": body}) as running:
        archive = Archive(
            "tiny.zip",
            (f"{running.url}/tiny.zip",),
            bytes=200_000_000,
            unpacked=1_000_000,
            file_pattern=r".*",
            folder=".",
            sha256=hashlib.sha256(body).hexdigest(),
        )
        tiny = DatasetSource(
            "tiny", "Tiny", "one photo", "Free for all.", "Nobody: Nothing", (archive,)
        )
        monkeypatch.setitem(sources.SOURCES, "tiny", tiny)
        monkeypatch.chdir(tmp_path)
        yield running


def run(*arguments: str, said: str | None = None, patch: pytest.MonkeyPatch) -> int:
    patch.setattr("sys.stdin", io.StringIO(said or ""))
    with pytest.raises(SystemExit) as ended:
        main(["data", "download", *arguments])
    return int(ended.value.code or 0)


def test_yes_fetches_and_checks_the_dataset(server, tmp_path, monkeypatch, capsys):
    assert run("tiny", "--yes", patch=monkeypatch) == 0
    told = capsys.readouterr()
    for part in ("Tiny: one photo", "tiny.zip: about 0.2 GB", "Free for all.", "paper: Nobody"):
        assert part in told.err
    assert str(tmp_path / "tiny") in told.err
    assert told.out.splitlines()[0] == "texts beside photos layout in tiny"
    assert told.out.splitlines()[-1] == "nothing wrong"


def test_a_second_run_only_checks(server, monkeypatch, capsys):
    run("tiny", "--yes", patch=monkeypatch)
    server.requests.clear()
    capsys.readouterr()
    assert run("tiny", patch=monkeypatch) == 0
    told = capsys.readouterr()
    assert "nothing wrong" in told.out
    assert "Download it?" not in told.err
    assert not server.requests


def test_the_answer_y_starts_the_download(server, tmp_path, monkeypatch, capsys):
    assert run("tiny", "elsewhere", said="y\n", patch=monkeypatch) == 0
    assert (tmp_path / "elsewhere" / "1.jpg").is_file()
    assert "Download it? [y/N]" in capsys.readouterr().err


@pytest.mark.parametrize("said", ["n\n", "\n", ""])
def test_without_agreement_nothing_is_fetched(said, server, tmp_path, monkeypatch, capsys):
    assert run("tiny", said=said, patch=monkeypatch) == 1
    assert "nothing downloaded: answer y, or use --yes" in capsys.readouterr().err
    assert not server.requests
    assert not (tmp_path / "tiny").exists()


def test_a_dataset_that_needs_repair_gives_exit_code_1(server, tmp_path, monkeypatch, capsys):
    run("tiny", "--yes", patch=monkeypatch)
    (tmp_path / "tiny" / "1.jpg").write_bytes(b"broken")
    assert run("tiny", patch=monkeypatch) == 1
    assert "unreadable: 1.jpg" in capsys.readouterr().out


def test_a_failed_fetch_is_one_line_that_names_the_address(server, monkeypatch, capsys):
    del server.files["/tiny.zip"]
    assert run("tiny", "--yes", patch=monkeypatch) == 1
    assert f"showtell: {server.url}/tiny.zip: HTTP 404" in capsys.readouterr().err


def test_unknown_dataset_is_wrong_usage(monkeypatch, capsys):
    assert run("imagenet", patch=monkeypatch) == 2
    assert "'imagenet' is not one of flickr8k, flickr30k, coco" in capsys.readouterr().err


def test_flickr30k_names_the_request_form(tmp_path, monkeypatch, capsys):
    assert run("flickr30k", str(tmp_path), "--yes", patch=monkeypatch) == 1
    assert "fill in the form at https://shannon.cs.illinois.edu" in capsys.readouterr().err
