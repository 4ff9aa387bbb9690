"""Archives are unpacked inside the folder, or refused."""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from showtell.files.archives import ArchiveError, unpack
from support.archive_files import make_odd_tar, make_tar, make_zip

LIMIT = 1_000_000


MAKERS = pytest.mark.parametrize("make", [make_zip, make_tar], ids=["zip", "tar.gz"])


@MAKERS
def test_files_are_unpacked_unchanged(tmp_path: Path, make) -> None:
    files = {"a.txt": b"one", "deep/er/b.bin": os.urandom(200_000), "deep/empty": b""}
    unpack(make(tmp_path / "archive", files), tmp_path / "out", limit=LIMIT)
    for name, content in files.items():
        assert (tmp_path / "out" / name).read_bytes() == content


def test_plain_tar_is_recognised_by_its_bytes(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "model.zip", {"a": b"1"}, mode="w")
    unpack(archive, tmp_path / "out", limit=LIMIT)
    assert (tmp_path / "out" / "a").read_bytes() == b"1"


@MAKERS
@pytest.mark.parametrize("name", ["../out.txt", "/etc/out.txt", "a/../../out.txt", ".."])
def test_name_that_leaves_the_folder_is_refused(tmp_path: Path, make, name: str) -> None:
    archive = make(tmp_path / "archive", {"good": b"1", name: b"bad"})
    with pytest.raises(ArchiveError, match="leaves the folder"):
        unpack(archive, tmp_path / "out", limit=LIMIT)
    assert not list(tmp_path.rglob("out.txt"))


@MAKERS
@pytest.mark.parametrize("name", ["..\\out.txt", "C:out.txt"])
def test_name_that_is_unsafe_on_windows_is_refused(tmp_path: Path, make, name: str) -> None:
    archive = make(tmp_path / "archive", {"good": b"1", name: b"bad"})
    with pytest.raises(ArchiveError, match="':' or NUL: refused"):
        unpack(archive, tmp_path / "out", limit=LIMIT)
    assert not list(tmp_path.rglob("*out.txt"))


def test_name_of_a_file_and_a_folder_is_refused(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "archive", {"a/b": b"1", "a": b"2"})
    with pytest.raises(ArchiveError, match="'a' is both a file and a folder"):
        unpack(archive, tmp_path / "out", limit=LIMIT)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = make_odd_tar(tmp_path / "archive", kind, "/etc/passwd")
    with pytest.raises(ArchiveError, match="link or device"):
        unpack(archive, tmp_path / "out", limit=LIMIT)
    assert not os.path.lexists(tmp_path / "out" / "odd")


def test_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
        info = zipfile.ZipInfo("odd")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ArchiveError, match="link or device"):
        unpack(tmp_path / "archive", tmp_path / "out", limit=LIMIT)


@MAKERS
def test_bomb_stops_at_the_limit(tmp_path: Path, make) -> None:
    archive = make(tmp_path / "archive", {"zeros": b"\0" * 20_000_000})
    assert archive.stat().st_size < 100_000
    with pytest.raises(ArchiveError, match="too large when unpacked"):
        unpack(archive, tmp_path / "out", limit=LIMIT)
    assert (tmp_path / "out" / "zeros").stat().st_size <= LIMIT


@MAKERS
def test_archive_with_a_high_compression_ratio_is_refused(tmp_path: Path, make) -> None:
    archive = make(tmp_path / "archive", {"zeros": b"\0" * 40_000_000})
    with pytest.raises(ArchiveError, match="too large when unpacked"):
        unpack(archive, tmp_path / "out", limit=1 << 40)
    assert (tmp_path / "out" / "zeros").stat().st_size <= 16 << 20
    unpack(archive, tmp_path / "allowed", limit=1 << 40, max_ratio=10_000)


@MAKERS
def test_files_can_be_renamed_or_left_out(tmp_path: Path, make) -> None:
    archive = make(tmp_path / "archive", {"a/1.jpg": b"1", "b/2.txt": b"2", "c/3.jpg": b"3"})
    unpack(
        archive,
        tmp_path / "out",
        limit=LIMIT,
        rename=lambda name: f"photos/{name[2:]}" if name.endswith(".jpg") else None,
    )
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")}
    assert found == {"photos/1.jpg", "photos/3.jpg"}


@MAKERS
def test_unsafe_name_is_refused_even_if_it_is_left_out(tmp_path: Path, make) -> None:
    archive = make(tmp_path / "archive", {"../out.txt": b"bad"})
    with pytest.raises(ArchiveError, match="leaves the folder"):
        unpack(archive, tmp_path / "out", limit=LIMIT, rename=lambda name: None)


def test_bomb_in_a_tar_header_stops_at_the_limit(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "archive", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("a"))
        info = tarfile.TarInfo("b")
        info.pax_headers = {"comment": "x" * 20_000_000}
        archive.addfile(info)
    with pytest.raises(ArchiveError, match="too large when unpacked"):
        unpack(tmp_path / "archive", tmp_path / "out", limit=LIMIT)


@MAKERS
def test_too_many_files_are_refused(tmp_path: Path, make) -> None:
    archive = make(tmp_path / "archive", {str(number): b"" for number in range(11)})
    with pytest.raises(ArchiveError, match="more than 10 files"):
        unpack(archive, tmp_path / "out", limit=LIMIT, max_files=10)


def test_duplicate_file_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "archive", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("same"))
        archive.addfile(tarfile.TarInfo("same"))
    with pytest.raises(ArchiveError, match="'same' twice"):
        unpack(tmp_path / "archive", tmp_path / "out", limit=LIMIT)


@MAKERS
def test_damage_anywhere_is_a_clear_error(tmp_path: Path, make) -> None:
    whole = make(tmp_path / "whole", {"a": b"text " * 9, "b/c": bytes(range(64))}).read_bytes()
    damaged = [whole[:length] for length in range(0, len(whole), 5)]
    for place in range(len(whole)):
        damaged.append(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    archive, out = tmp_path / "archive", tmp_path / "out"
    refused = 0
    for content in damaged:
        archive.write_bytes(content)
        try:
            unpack(archive, out, limit=LIMIT)
        except ArchiveError:
            refused += 1
        shutil.rmtree(out, ignore_errors=True)
    assert refused > len(damaged) / 2
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "archive"}


def test_file_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "archive", {"a": b"", "a/b": b""})
    with pytest.raises(ArchiveError, match="a folder of 'a/b' is also a file"):
        unpack(archive, tmp_path / "out", limit=LIMIT)


def test_something_else_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(b"<html>not found</html>" * 100)
    with pytest.raises(ArchiveError, match="damaged or unreadable"):
        unpack(tmp_path / "archive", tmp_path / "out", limit=LIMIT)
