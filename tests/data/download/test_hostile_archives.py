"""Archives of a dataset that are not what they should be: refused, and nothing of them left."""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from showtell.data.download.fetch import RECORD, WORK
from showtell.files.archives import ArchiveError
from support.archive_files import make_odd_tar, make_tar, make_zip
from support.dataset_downloads import fetch, names_in, pointed_at
from support.file_server import FileServer


def outside(tmp_path: Path) -> set[str]:
    return names_in(tmp_path) - {f"f/{name}" for name in names_in(tmp_path / "f")}


def linked_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("Flicker8k_Dataset/1.jpg")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return path


def through_a_link(path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("Flicker8k_Dataset")
        link.type, link.linkname = tarfile.SYMTYPE, "/tmp"
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("Flicker8k_Dataset/1.jpg"))
    return path


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "traversal": (lambda p: make_zip(p, {"../../evil.jpg": b"1"}), "leaves the folder"),
    "traversal in a tar": (lambda p: make_tar(p, {"a/../../evil.jpg": b"1"}), "leaves the folder"),
    "absolute": (lambda p: make_tar(p, {"/tmp/evil.jpg": b"1"}), "leaves the folder"),
    "backslash": (lambda p: make_zip(p, {"..\\evil.jpg": b"1"}), "or NUL: refused"),
    "drive": (lambda p: make_zip(p, {"C:evil.jpg": b"1"}), "or NUL: refused"),
    "symlink": (lambda p: make_odd_tar(p, tarfile.SYMTYPE, "/etc"), "link or device"),
    "symlink in a zip": (linked_zip, "link or device"),
    "file through a symlink": (through_a_link, "link or device"),
    "hard link": (lambda p: make_odd_tar(p, tarfile.LNKTYPE, "/etc/passwd"), "link or device"),
    "device": (lambda p: make_odd_tar(p, tarfile.CHRTYPE), "link or device"),
    "pipe": (lambda p: make_odd_tar(p, tarfile.FIFOTYPE), "link or device"),
    "bomb": (lambda p: make_zip(p, {"1.jpg": b"\0" * 30_000_000}), "too large when unpacked"),
    "bomb in a tar": (lambda p: make_tar(p, {"1.jpg": b"\0" * 30_000_000}), "too large"),
    "too many files": (
        lambda p: make_zip(p, {f"{number}.jpg": b"" for number in range(60)}),
        "more than 50 files",
    ),
    "not an archive": (lambda p: p.write_bytes(b"<html>" * 99) and p, "damaged or unreadable"),
    "no photos": (
        lambda p: make_zip(p, {"notes.txt": b"1"}),
        "contains no file with a name",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archive_is_refused_and_leaves_nothing(
    kind: str, server: FileServer, tmp_path: Path
) -> None:
    make, said = HOSTILE[kind]
    body = make(tmp_path / "made").read_bytes()
    (tmp_path / "made").unlink()
    for place in "ab":
        server.files[f"/{place}/Flickr8k_Dataset.zip"] = body
    source = pointed_at(server)  # whoever exchanged the archive may have exchanged its hash
    text, photos = source.archives
    source = replace(source, archives=(text, replace(photos, max_files=50)))
    with pytest.raises(ArchiveError, match=said):
        fetch(source, tmp_path / "f")
    assert not outside(tmp_path)
    assert not (tmp_path / "f" / "Flicker8k_Dataset").exists()
    assert names_in(tmp_path / "f" / WORK) == {"lock"}
    assert (
        "Flickr8k_Dataset.zip" not in json.loads((tmp_path / "f" / RECORD).read_text())["archives"]
    )


def test_truncated_archive_with_the_right_hash_is_refused(
    server: FileServer, archives: dict[str, bytes], tmp_path: Path
) -> None:
    for place in "ab":
        server.files[f"/{place}/Flickr8k_Dataset.zip"] = archives["Flickr8k_Dataset.zip"][:-500]
    with pytest.raises(ArchiveError, match="damaged or unreadable"):
        fetch(pointed_at(server), tmp_path)
    assert not (tmp_path / "Flicker8k_Dataset").exists()
