"""Shards gone through as tar files: ours, other people's, and some that nobody should make."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from showtell.data.shards.index import ShardError
from showtell.data.shards.webdataset import iterate_shard, list_shards
from showtell.data.shards.write import write_shards
from showtell.errors import DatasetError
from support.archive_files import make_tar
from support.shard_folders import change, contents, in_memory, made_dataset


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    loose = made_dataset(folder / "loose", {"train": 12, None: 3})
    write_shards(loose, folder / "shards", photos_per_shard=6)
    return folder / "shards"


def test_shards_that_showtell_wrote_give_names_and_bytes(shards: Path) -> None:
    listed = list_shards(shards)
    assert [path.name for path in listed] == [  # type: ignore[union-attr]
        "train-000000.tar",
        "train-000001.tar",
        "none-000000.tar",
    ]
    found = [pair for shard in listed for pair in iterate_shard(shard)]
    loose = shards.parent / "loose"
    assert [name for name, _ in found] == [
        *(f"train-{number}.jpg" for number in range(12)),
        *(f"None-{n}.jpg" for n in range(3)),
    ]
    assert all((loose / name).read_bytes() == data for name, data in found)


def test_other_shards_are_read_by_the_rules_of_webdataset(tmp_path: Path) -> None:
    members = {
        "./n01/0001.jpg": b"one",
        "./n01/0001.cls": b"7",
        "n01/0002.left.jpeg": b"two",
        "n01/0002.right.PNG": b"three",
        "n01/0002.json": b'{"name": "not for two photos", "sha256": "0"}',
        "n01/0003.json": b"no json",
        "n01/0003.webp": b"four",
        "n01/0004.json": b'["a list"]',
        "n01/0004.jpg": b"five",
        "n01/0005.json": b'{"name": "its own.jpg"}',
        "n01/0005.jpg": b"six",
        "n01/0006.txt": b"no photo",
    }
    make_tar(tmp_path / "b.tar", members, "w")
    make_tar(tmp_path / "a.tar", {"0.jpg": b"zero"}, "w")
    (tmp_path / "notes.txt").write_text("beside them")
    for address in (tmp_path, in_memory(tmp_path)):
        listed = list_shards(address)
        assert [str(shard).rpartition("/")[2] for shard in listed] == ["a.tar", "b.tar"]
        assert [pair for shard in listed for pair in iterate_shard(shard)] == [
            ("0.jpg", b"zero"),
            ("n01/0001.jpg", b"one"),
            ("n01/0002.left.jpeg", b"two"),
            ("n01/0002.right.PNG", b"three"),
            ("n01/0003.webp", b"four"),
            ("n01/0004.jpg", b"five"),
            ("its own.jpg", b"six"),
        ]
    assert list_shards(tmp_path / "b.tar") == [tmp_path / "b.tar"]
    assert list_shards("memory://x/b.tar") == ["memory://x/b.tar"]


def test_a_folder_without_shards_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no shards: it contains neither index.json nor tar"):
        list_shards(tmp_path)
    with pytest.raises(DatasetError, match="no such file"):
        list_shards(tmp_path / "nowhere")


def odd(kind: bytes, link: str = "") -> Callable[[tarfile.TarFile], None]:
    def add(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo("0002.jpg")
        info.type, info.linkname = kind, link
        tar.addfile(info)

    return add


def named(name: str) -> Callable[[tarfile.TarFile], None]:
    def add(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.size = 1
        tar.addfile(info, io.BytesIO(b"1"))

    return add


def claims(size: int) -> Callable[[tarfile.TarFile], None]:
    def add(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo("0002.jpg")
        info.size = size
        tar.addfile(info)

    return add


HOSTILE = {
    "traversal": (named("../../evil.jpg"), "leaves the folder"),
    "traversal inside": (named("a/../../evil.jpg"), "leaves the folder"),
    "absolute": (named("/etc/evil.jpg"), "leaves the folder"),
    "symlink": (odd(tarfile.SYMTYPE, "/etc/passwd"), "link or device"),
    "hard link": (odd(tarfile.LNKTYPE, "0001.jpg"), "link or device"),
    "device": (odd(tarfile.CHRTYPE), "link or device"),
    "pipe": (odd(tarfile.FIFOTYPE), "link or device"),
    "huge": (claims(1 << 40), "has 1,099,511,627,776 bytes: refused"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_shard_is_refused_and_named(kind: str, tmp_path: Path) -> None:
    add, said = HOSTILE[kind]
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        named("0001.jpg")(tar)
        add(tar)
    found = iterate_shard(tmp_path / "bad.tar")
    with pytest.raises(ShardError, match=said) as error:
        list(found)
    assert str(error.value).startswith(f"{tmp_path / 'bad.tar'}: ")


@pytest.mark.parametrize("name", ["/etc/passwd", "../up.jpg", "", 7, None])
def test_a_name_in_json_that_leaves_the_folder_is_ignored(name: object, tmp_path: Path) -> None:
    about = json.dumps({"name": name}).encode()
    make_tar(tmp_path / "a.tar", {"1.jpg": b"one", "1.json": about}, "w")
    assert list(iterate_shard(tmp_path / "a.tar")) == [("1.jpg", b"one")]


def until_it_breaks(shard: Path) -> tuple[list[tuple[str, bytes]], str]:
    found = []
    try:
        for pair in iterate_shard(shard):
            found.append(pair)
    except ShardError as error:
        return found, str(error)
    return found, ""


def test_a_shard_truncated_anywhere_is_an_error(shards: Path, tmp_path: Path) -> None:
    whole = (shards / "train-000000.tar").read_bytes()
    end = max(place for place in range(len(whole)) if whole[place]) + 1
    photos = list(iterate_shard(shards / "train-000000.tar"))
    for length in [*range(0, end + 512, 256), end]:
        (tmp_path / "cut.tar").write_bytes(whole[:length])
        found, fault = until_it_breaks(tmp_path / "cut.tar")
        if fault:
            assert fault.startswith(f"{tmp_path / 'cut.tar'}: ")
            assert found == photos[: len(found)]
        else:  # nothing but zeros is missing
            assert length >= end
            assert found == photos


def test_a_photo_with_another_checksum_is_named(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes((shards / "train-000000.tar").read_bytes())
    change(tmp_path, "a.tar", 513)
    with pytest.raises(ShardError, match=r"a.tar/000000000.jpg: damaged: its checksum is another"):
        list(iterate_shard(tmp_path / "a.tar"))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10_239), mask=st.integers(1, 255))
def test_damage_anywhere_gives_the_original_bytes_or_an_error(
    place: int, mask: int, shards: Path, tmp_path: Path
) -> None:
    shard = shards / "train-000000.tar"
    true = {data for _, data in iterate_shard(shard)}
    (tmp_path / shard.name).write_bytes(shard.read_bytes())
    change(tmp_path, shard.name, place % shard.stat().st_size, mask)
    found, fault = until_it_breaks(tmp_path / shard.name)
    assert not fault or shard.name in fault
    assert {data for _, data in found} <= true or json_was_hit(shard, place % shard.stat().st_size)


def json_was_hit(shard: Path, place: int) -> bool:
    """Whether the byte is one of a JSON member, or of the name of a member."""
    with tarfile.open(shard) as tar:
        return any(
            member.offset <= place < member.offset_data + member.size
            and (member.name.endswith(".json") or place < member.offset + 100)
            for member in tar
        )


def test_reading_shards_changes_nothing(shards: Path) -> None:
    before = contents(shards)
    for shard in list_shards(shards):
        list(iterate_shard(shard))
    assert contents(shards) == before
