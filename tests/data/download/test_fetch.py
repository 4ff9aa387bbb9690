"""Datasets fetched from a real server: broken off, exchanged, hostile; unpacked or refused."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from showtell.data import open_dataset
from showtell.data.check import check_dataset
from showtell.data.download.fetch import RECORD, WORK, plan_fetch
from showtell.data.download.first_use import first_seen_file
from showtell.data.download.sources import COCO, FLICKR30K, SOURCES, Archive
from showtell.errors import DatasetError
from showtell.files.download import DownloadError
from support.archive_files import make_tar, make_zip
from support.dataset_downloads import (
    CAPTIONS,
    SPLITS,
    asked,
    coco_files,
    fetch,
    flickr30k_photos,
    karpathy_files,
    names_in,
    pointed_at,
)
from support.dataset_folders import captions_of, splits_of
from support.file_server import FileServer, serve


def test_fetched_flickr8k_is_complete_and_no_other_file_remains(
    server: FileServer, tmp_path: Path
) -> None:
    fetch(pointed_at(server), tmp_path / "f")
    dataset = open_dataset(tmp_path / "f")
    assert (dataset.layout, captions_of(dataset)) == ("Flickr8k", CAPTIONS)
    assert [photo.name for photo in dataset.split("dev")] == SPLITS["dev"]
    assert check_dataset(tmp_path / "f").findings == ()
    assert names_in(tmp_path / "f") == {
        RECORD,
        "Flickr8k_text/readme.txt",
        "Flickr8k_text/Flickr8k.token.txt",
        *(f"Flickr8k_text/Flickr_8k.{split}Images.txt" for split in SPLITS),
        *(f"Flicker8k_Dataset/{name}" for name in CAPTIONS),
    }
    assert asked(server) == ["/a/Flickr8k_text.zip", "/a/Flickr8k_Dataset.zip"]


def test_the_record_names_archives_and_addresses(
    server: FileServer, archives: dict[str, bytes], tmp_path: Path
) -> None:
    fetch(pointed_at(server), tmp_path)
    record = json.loads((tmp_path / RECORD).read_text())
    assert record["dataset"] == "flickr8k"
    assert record["archives"]["Flickr8k_text.zip"] == {
        "source": f"{server.url}/a/Flickr8k_text.zip",
        "bytes": len(archives["Flickr8k_text.zip"]),
        "sha256": hashlib.sha256(archives["Flickr8k_text.zip"]).hexdigest(),
    }


def test_only_missing_archives_are_fetched_again(server: FileServer, tmp_path: Path) -> None:
    source = pointed_at(server)
    fetch(source, tmp_path)
    server.requests.clear()
    assert plan_fetch(source, tmp_path).todo == ()
    shutil.rmtree(tmp_path / "Flicker8k_Dataset")
    fetch(source, tmp_path)
    assert asked(server) == ["/a/Flickr8k_Dataset.zip"]
    assert len(open_dataset(tmp_path).photos) == len(CAPTIONS)


def test_a_broken_download_resumes(
    server: FileServer, archives: dict[str, bytes], tmp_path: Path
) -> None:
    path = "/a/Flickr8k_Dataset.zip"
    server.faults[path] = [("cut", 3_000), ("cut", 0), ("cut", 0)]
    source = pointed_at(server, places="a")
    with pytest.raises(DownloadError, match="run it again to continue where it stopped"):
        fetch(source, tmp_path)
    assert (tmp_path / "Flickr8k_text" / "readme.txt").is_file()
    server.faults[path] = []
    server.requests.clear()
    fetch(source, tmp_path)
    assert server.requests == [(path, "bytes=3000-")]
    assert len(open_dataset(tmp_path).photos) == len(CAPTIONS)


def test_the_second_address_resumes_the_download_of_the_first(
    server: FileServer, tmp_path: Path
) -> None:
    server.faults["/a/Flickr8k_Dataset.zip"] = [("cut", 3_000), ("cut", 0), ("cut", 0)]
    fetch(pointed_at(server), tmp_path)
    assert server.requests[-1] == ("/b/Flickr8k_Dataset.zip", "bytes=3000-")
    assert len(open_dataset(tmp_path).photos) == len(CAPTIONS)


def test_server_that_ignores_ranges_is_read_from_the_start(
    server: FileServer, tmp_path: Path
) -> None:
    server.ignores_range = True
    server.faults["/a/Flickr8k_Dataset.zip"] = [("cut", 3_000)]
    fetch(pointed_at(server), tmp_path)
    assert len(open_dataset(tmp_path).photos) == len(CAPTIONS)


@pytest.mark.parametrize("fault", [("status", 404), ("status", 403), ("wrong", b"not the file")])
def test_the_next_address_is_tried_if_one_has_the_wrong_file(
    server: FileServer, tmp_path: Path, fault: tuple[str, int | bytes]
) -> None:
    server.faults["/a/Flickr8k_text.zip"] = [fault] * 2
    fetch(pointed_at(server), tmp_path)
    assert len(open_dataset(tmp_path).photos) == len(CAPTIONS)
    assert "/b/Flickr8k_text.zip" in asked(server)
    assert "/b/Flickr8k_Dataset.zip" not in asked(server)


def test_if_all_addresses_fail_the_error_names_each_with_its_reason(
    server: FileServer, tmp_path: Path
) -> None:
    server.faults["/a/Flickr8k_text.zip"] = [("status", 404)]
    server.faults["/b/Flickr8k_text.zip"] = [("wrong", b"another file")]
    with pytest.raises(DownloadError) as caught:
        fetch(pointed_at(server), tmp_path)
    assert "/a/Flickr8k_text.zip: HTTP 404" in str(caught.value)
    assert "/b/Flickr8k_text.zip: wrong bytes: their md5 is" in str(caught.value)
    assert not (tmp_path / "Flickr8k_text").exists()


def test_the_mirror_comes_first_and_its_bytes_are_checked(
    server: FileServer, archives: dict[str, bytes], tmp_path: Path
) -> None:
    server.files["/m/Flickr8k_text.zip"] = b"something else"
    server.files["/m/Flickr8k_Dataset.zip"] = archives["Flickr8k_Dataset.zip"]
    fetch(pointed_at(server), tmp_path, mirror=f"{server.url}/m/")
    assert asked(server) == [
        "/m/Flickr8k_text.zip",
        "/a/Flickr8k_text.zip",
        "/m/Flickr8k_Dataset.zip",
    ]


def test_a_download_stops_at_the_largest_possible_size(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="larger than"):
        fetch(pointed_at(server, limit=100), tmp_path)


def test_a_fetch_without_enough_disk_space_is_refused_at_once(
    server: FileServer, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=r"needs [0-9.]+ GB while unpacking, and .* are free"):
        plan_fetch(pointed_at(server, limit=1 << 60), tmp_path / "new")
    assert not server.requests
    assert not (tmp_path / "new").exists()


def test_a_second_process_is_refused_while_the_first_fetches(
    server: FileServer, tmp_path: Path
) -> None:
    (tmp_path / WORK).mkdir()
    code = (
        "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX);"
        "print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / WORK / "lock")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(DatasetError, match="another process is fetching into it"):
            fetch(pointed_at(server), tmp_path)
        assert not server.requests
        other.communicate()
    fetch(pointed_at(server), tmp_path)
    assert not (tmp_path / WORK).exists()


def test_killed_unpacking_is_repeated_without_a_download(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = pointed_at(server)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("showtell.data.download.fetch._move", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch(source, tmp_path)
    assert not (tmp_path / "Flickr8k_text").exists()
    fetch(source, tmp_path)
    assert asked(server).count("/a/Flickr8k_text.zip") == 1
    assert len(open_dataset(tmp_path).photos) == len(CAPTIONS)


# archives that a person has


def test_given_files_need_no_server(archives: dict[str, bytes], tmp_path: Path) -> None:
    for name, data in archives.items():
        (tmp_path / name).write_bytes(data)
    with serve({f"/a/{name}": data for name, data in archives.items()}) as server:
        source = pointed_at(server)
    fetch(source, tmp_path / "f", *(str(tmp_path / name) for name in archives))
    assert len(open_dataset(tmp_path / "f").photos) == len(CAPTIONS)
    assert all((tmp_path / name).is_file() for name in archives)  # a person's own files stay


def test_a_given_file_with_a_wrong_hash_is_refused_and_kept(
    server: FileServer, tmp_path: Path
) -> None:
    own = tmp_path / "Flickr8k_text.zip"
    own.write_bytes(b"PK\3\4 not the file")
    with pytest.raises(DownloadError, match=r"Flickr8k_text\.zip: wrong bytes: its md5 is"):
        fetch(pointed_at(server), tmp_path / "f", str(own))
    assert own.is_file()


@pytest.mark.parametrize("given", ["gone.zip", "https://example.org/photos.zip"])
def test_an_unknown_archive_is_an_error_before_any_download(
    given: str, server: FileServer, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=r"there is no such file|which archive of flickr8k"):
        plan_fetch(pointed_at(server), tmp_path, [given])


@pytest.fixture
def karpathy_server(tmp_path: Path) -> Iterator[FileServer]:
    """Karpathy's archive for four photos of Flickr30k."""
    body = make_zip(tmp_path / "k.zip", karpathy_files()).read_bytes()
    with serve({f"/{place}/caption_datasets.zip": body for place in "ab"}) as made:
        yield made


@pytest.mark.parametrize("make", [make_zip, make_tar], ids=["zip", "tar.gz"])
def test_flickr30k_needs_the_given_archive_and_karpathys_captions(
    make: Callable[[Path, dict[str, bytes]], Path],
    karpathy_server: FileServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    own = flickr30k_photos(make, tmp_path / "archive (1)")
    with caplog.at_level(logging.WARNING):
        fetch(pointed_at(karpathy_server, FLICKR30K), tmp_path / "f", str(own))
    dataset = open_dataset(tmp_path / "f")
    assert splits_of(dataset) == {
        "36979.jpg": "train",
        "36980.jpg": "dev",
        "36981.jpg": "test",
        "36982.jpg": "train",
    }
    assert check_dataset(tmp_path / "f").findings == ()
    assert "archive (1): no hash of it is published" in caplog.text
    assert not (tmp_path / "f" / "dataset_coco.json").exists()


def test_flickr30k_without_its_archive_is_an_error_that_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"fill in the form at https://.*--from flickr30k-im"):
        plan_fetch(FLICKR30K, tmp_path)


def test_a_file_without_a_published_hash_must_not_change(
    karpathy_server: FileServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    body = flickr30k_photos(make_tar, tmp_path / "photos").read_bytes()
    karpathy_server.files["/sent"] = body
    url = f"{karpathy_server.url}/sent"
    source = pointed_at(karpathy_server, FLICKR30K)
    with caplog.at_level(logging.WARNING):
        fetch(source, tmp_path / "one", url)
    assert f"{url}: no hash of it is published" in caplog.text
    assert hashlib.sha256(body).hexdigest() in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        fetch(source, tmp_path / "two", url)
    assert "nobody" not in caplog.text
    karpathy_server.files["/sent"] = flickr30k_photos(make_zip, tmp_path / "other").read_bytes()
    with pytest.raises(DownloadError, match=r"not the file of 2\d\d\d-.*remove its entry from"):
        fetch(source, tmp_path / "three", url)
    assert not (tmp_path / "three" / "flickr30k-images").exists()
    assert url in json.loads(first_seen_file().read_text())


# what ships


def test_coco_is_fetched_with_karpathys_splits(tmp_path: Path) -> None:
    files = coco_files()
    bodies = {f"/a/{n}": make_zip(tmp_path / "made", f).read_bytes() for n, f in files.items()}
    with serve(bodies) as server:
        fetch(pointed_at(server, COCO), tmp_path / "c")
    assert splits_of(open_dataset(tmp_path / "c")) == {
        "000000000001.jpg": "train",
        "000000000002.jpg": "dev",
        "000000000003.jpg": "test",
    }
    assert (tmp_path / "c" / "annotations" / "captions_val2017.json").is_file()
    assert not (tmp_path / "c" / "annotations" / "instances_val2017.json").exists()


@pytest.mark.parametrize(
    "archive", [archive for source in SOURCES.values() for archive in source.archives]
)
def test_shipped_archives_have_a_hash_and_two_addresses_or_are_on_request(archive: Archive) -> None:
    if not archive.urls:
        return
    assert len(archive.urls) >= 2
    digest, length = (archive.sha256, 64) if archive.sha256 else (archive.md5, 32)
    assert digest is not None
    assert len(digest) == length
    assert set(digest) <= set("0123456789abcdef")
    assert all(url.rpartition("/")[2] == archive.name for url in archive.urls)
    assert os.path.basename(archive.name) == archive.name  # noqa: PTH119
