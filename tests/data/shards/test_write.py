"""Datasets packed into shards: what is in them, always the same bytes, resumed after a kill."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from showtell.data import open_dataset
from showtell.data.dataset import CaptionedPhoto, Dataset
from showtell.data.shards.index import open_index
from showtell.data.shards.write import write_shards
from showtell.data.synthetic.shapes import draw_shapes
from showtell.errors import DatasetError
from support.paths import TESTS
from support.shard_folders import change, contents, made_dataset

COUNTS = {"train": 23, "dev": 5, "test": 4, None: 3}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return draw_shapes(tmp_path_factory.mktemp("shapes") / "loose", 30, size=32)


def seen(dataset: Dataset, split: str | None) -> list[tuple[str, tuple[str, ...], bytes]]:
    return [
        (photo.name, photo.captions, photo.path.read_bytes())
        for photo in dataset.photos
        if photo.split == split
    ]


def test_shards_open_as_the_original_dataset(tmp_path: Path) -> None:
    loose = made_dataset(tmp_path / "loose", COUNTS)
    index = write_shards(loose, tmp_path / "shards", photos_per_shard=10)
    assert [(shard.split, shard.photos) for shard in index.shards] == [
        ("train", 10),
        ("train", 10),
        ("train", 3),
        ("dev", 5),
        ("test", 4),
        (None, 3),
    ]
    packed = open_dataset(tmp_path / "shards")
    assert packed.layout == "made"
    for split in COUNTS:
        assert seen(packed, split) == seen(loose, split)


def test_index_and_tables_contain_sizes_and_checksums(tmp_path: Path) -> None:
    loose = made_dataset(tmp_path / "loose", COUNTS)
    index = write_shards(loose, tmp_path / "shards", photos_per_shard=10)
    for shard in index.shards:
        data = (tmp_path / "shards" / shard.name).read_bytes()
        assert len(data) == shard.bytes
        assert hashlib.sha256(data).hexdigest() == shard.sha256
    kept = json.loads((tmp_path / "shards" / "index.json").read_text())
    assert kept["splits"]["train"] == {"shards": 3, "photos": 23, "captions": 45}
    assert kept["splits"]["none"]["photos"] == 3


def test_shards_are_what_readers_of_webdataset_expect(shapes: Dataset, tmp_path: Path) -> None:
    write_shards(shapes, tmp_path / "shards", photos_per_shard=7)
    names = []
    for shard in sorted((tmp_path / "shards").glob("train-*.tar")):
        with tarfile.open(shard, "r:") as tar:
            members = tar.getmembers()
            assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {
                (946_684_800, 0, 0, "", "", 0o644)
            }
            for photo, about in zip(members[::2], members[1::2], strict=True):
                key, _, suffix = photo.name.partition(".")
                assert (suffix, about.name) == ("png", f"{key}.json")
                said = json.load(tar.extractfile(about))
                digest = hashlib.sha256(tar.extractfile(photo).read()).hexdigest()
                assert said["sha256"] == digest
                assert said["split"] == "train"
                assert len(said["captions"]) == 5
                names.append(said["name"])
    assert names == [photo.name for photo in shapes.split("train")]


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(
    photos=st.lists(
        st.tuples(
            st.text(st.characters(blacklist_characters="\0"), min_size=1, max_size=30),
            st.binary(max_size=1500),
            st.lists(st.text(max_size=20), min_size=1, max_size=3),
        ),
        min_size=1,
        max_size=8,
        unique_by=lambda photo: photo[0],
    ),
    per_shard=st.integers(1, 5),
)
def test_any_name_caption_and_bytes_are_preserved(
    photos: list[tuple[str, bytes, list[str]]],
    per_shard: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("any")
    made = []
    for number, (name, data, captions) in enumerate(photos):
        (folder / str(number)).write_bytes(data)
        made.append(CaptionedPhoto(name, folder / str(number), tuple(captions), "train"))
    loose = Dataset(folder, "made", tuple(made))
    write_shards(loose, folder / "shards", photos_per_shard=per_shard, workers=1)
    assert seen(open_dataset(folder / "shards"), "train") == seen(loose, "train")


def test_names_that_are_not_utf8_are_preserved(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    (tmp_path / "photo").write_bytes(b"1")
    loose = Dataset(tmp_path, "made", (CaptionedPhoto(name, tmp_path / "photo", ("a",), "dev"),))
    write_shards(loose, tmp_path / "shards")
    assert [photo.name for photo in open_dataset(tmp_path / "shards").photos] == [name]


def test_the_same_dataset_gives_the_same_bytes(tmp_path: Path) -> None:
    made_dataset(tmp_path / "a" / "loose", COUNTS)
    shutil.copytree(tmp_path / "a" / "loose", tmp_path / "b" / "elsewhere")
    for path in (tmp_path / "b" / "elsewhere").iterdir():
        os.utime(path, (1, 1))
    moved = Dataset(
        tmp_path,
        "made",
        tuple(
            CaptionedPhoto(p.name, tmp_path / "b" / "elsewhere" / p.name, p.captions, p.split)
            for p in made_dataset(tmp_path / "a" / "loose", COUNTS).photos
        ),
    )
    write_shards(
        made_dataset(tmp_path / "a" / "loose", COUNTS),
        tmp_path / "one",
        photos_per_shard=4,
        workers=1,
    )
    write_shards(moved, tmp_path / "two", photos_per_shard=4, workers=5)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_packing_shards_gives_the_same_shards(tmp_path: Path) -> None:
    loose = made_dataset(tmp_path / "loose", COUNTS)
    write_shards(loose, tmp_path / "ten", photos_per_shard=10)
    write_shards(loose, tmp_path / "four", photos_per_shard=4)
    write_shards(open_dataset(tmp_path / "ten"), tmp_path / "again", photos_per_shard=4)
    assert contents(tmp_path / "again") == contents(tmp_path / "four")


def test_only_the_given_splits_are_written(tmp_path: Path) -> None:
    loose = made_dataset(tmp_path / "loose", COUNTS)
    index = write_shards(loose, tmp_path / "shards", splits=["dev", "test"])
    assert {shard.split for shard in index.shards} == {"dev", "test"}
    only_dev = Dataset(loose.root, "made", tuple(loose.split("dev")))
    with pytest.raises(DatasetError, match="the split test has no photos"):
        write_shards(only_dev, tmp_path / "other", splits=["dev", "test"])


WRITER = """
import os, sys, threading
from pathlib import Path
import showtell.data.shards.write as writing
sys.path[:0] = [sys.argv[1]]
from support.shard_folders import made_dataset

read, last = writing._read_photo, threading.Semaphore(int(sys.argv[4]))
def until_it_hangs(photo):
    if not last.acquire(blocking=False):
        os.write(1, b"hangs\\n")
        threading.Event().wait()
    return read(photo)
writing._read_photo = until_it_hangs
loose = made_dataset(Path(sys.argv[2]), {"train": 120, "dev": 20})
writing.write_shards(loose, Path(sys.argv[3]), photos_per_shard=10, workers=2)
"""


@pytest.mark.parametrize("photos_read", [0, 7, 61, 139])
def test_a_killed_writer_resumes_with_the_same_bytes(photos_read: int, tmp_path: Path) -> None:
    loose = made_dataset(tmp_path / "loose", {"train": 120, "dev": 20})
    output = tmp_path / "shards"
    path = str(TESTS)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, path, tmp_path / "loose", output, str(photos_read)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert writer.stdout
    assert writer.stdout.readline() == b"hangs\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert not (output / "index.json").exists()
    with pytest.raises(DatasetError):
        open_dataset(output)  # half a dataset is none
    done = {p.name: p.stat().st_ino for p in output.glob("*.jsonl")}
    assert photos_read // 10 - 2 <= len(done) <= photos_read // 10

    write_shards(loose, output, photos_per_shard=10)
    write_shards(loose, tmp_path / "undisturbed", photos_per_shard=10)
    assert contents(output) == contents(tmp_path / "undisturbed")
    kept = {name: (output / name).stat().st_ino for name in done}
    assert kept == done  # not written once more


def test_a_truncated_shard_is_written_again(tmp_path: Path) -> None:
    loose = made_dataset(tmp_path / "loose", {"train": 30})
    write_shards(loose, tmp_path / "whole", photos_per_shard=10)
    shutil.copytree(tmp_path / "whole", tmp_path / "shards")
    (tmp_path / "shards" / "index.json").unlink()
    (tmp_path / "shards" / ".writing").mkdir()
    content_hash = open_index(tmp_path / "whole").content_hash
    (tmp_path / "shards" / ".writing" / "plan.json").write_text(content_hash)
    os.truncate(tmp_path / "shards" / "train-000001.tar", 100)
    write_shards(loose, tmp_path / "shards", photos_per_shard=10)
    assert contents(tmp_path / "shards") == contents(tmp_path / "whole")


def test_existing_shards_are_kept(tmp_path: Path) -> None:
    loose = made_dataset(tmp_path / "loose", COUNTS)
    write_shards(loose, tmp_path / "shards")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").iterdir()}
    assert write_shards(loose, tmp_path / "shards") == open_index(tmp_path / "shards")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").iterdir()} == before


def test_other_shards_are_not_overwritten(tmp_path: Path) -> None:
    loose = made_dataset(tmp_path / "loose", COUNTS)
    write_shards(loose, tmp_path / "shards", photos_per_shard=10)
    first = loose.photos[0]
    other = Dataset(
        loose.root,
        "made",
        (CaptionedPhoto(first.name, first.path, ("another",), first.split), *loose.photos[1:]),
    )
    before = contents(tmp_path / "shards")
    for dataset, per_shard in ((other, 10), (loose, 11)):
        with pytest.raises(DatasetError, match="contains shards of other photos or captions"):
            write_shards(dataset, tmp_path / "shards", photos_per_shard=per_shard)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(DatasetError, match="not empty"):
        write_shards(loose, tmp_path / "full")
    assert contents(tmp_path / "shards") == before
    assert (tmp_path / "full" / "letter.txt").read_text() == "dear"


def test_a_missing_photo_is_named_before_any_shard_is_written(tmp_path: Path) -> None:
    loose = made_dataset(tmp_path / "loose", COUNTS)
    gone = loose.split("train")[12].path
    gone.unlink()
    with pytest.raises(DatasetError, match=rf"{gone.name}: cannot be read \(no such file"):
        write_shards(loose, tmp_path / "shards", photos_per_shard=10)
    assert not (tmp_path / "shards").exists()


def test_writing_resumes_once_an_unreadable_photo_is_repaired(tmp_path: Path) -> None:
    loose = made_dataset(tmp_path / "loose", COUNTS)
    write_shards(loose, tmp_path / "undisturbed", photos_per_shard=10)
    write_shards(loose, tmp_path / "packed", photos_per_shard=10)
    packed = open_dataset(tmp_path / "packed")
    photo = packed.split("dev")[1].path
    change(tmp_path / "packed", "dev-000000.tar", photo.offset)
    with pytest.raises(DatasetError, match=rf"{photo.name}: cannot be read \(damaged"):
        write_shards(packed, tmp_path / "shards", photos_per_shard=10)
    with pytest.raises(DatasetError, match="no such file"):
        open_index(tmp_path / "shards")
    change(tmp_path / "packed", "dev-000000.tar", photo.offset)  # back
    write_shards(packed, tmp_path / "shards", photos_per_shard=10)
    assert contents(tmp_path / "shards") == contents(tmp_path / "undisturbed")


def test_a_full_disk_is_a_one_line_error_and_writing_resumes(tmp_path: Path) -> None:
    made_dataset(tmp_path / "loose", {"train": 100})
    script = (
        "import resource, signal, sys; sys.path[:0] = [sys.argv[1]]\n"
        "from pathlib import Path\n"
        "from support.shard_folders import made_dataset\n"
        "from showtell.data.shards.write import write_shards\n"
        "from showtell.errors import DatasetError\n"
        "loose = made_dataset(Path(sys.argv[2]), {'train': 100})\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))\n"
        "try: write_shards(loose, Path(sys.argv[3]))\n"
        "except DatasetError as error: sys.exit(str(error))\n"
    )
    path = str(TESTS)
    done = subprocess.run(
        [sys.executable, "-c", script, path, tmp_path / "loose", tmp_path / "shards"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.returncode == 1
    assert "shards cannot be written (file too large)" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    loose = made_dataset(tmp_path / "loose", {"train": 100})
    [shard] = write_shards(loose, tmp_path / "shards").shards
    assert shard.photos == 100


def test_two_writers_do_not_share_a_folder(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    loose = made_dataset(tmp_path / "loose", {"train": 3})
    (tmp_path / "shards" / ".writing").mkdir(parents=True)
    with (tmp_path / "shards" / ".writing" / "lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DatasetError, match="another process is writing"):
            write_shards(loose, tmp_path / "shards")
    [shard] = write_shards(loose, tmp_path / "shards").shards
    assert shard.photos == 3
