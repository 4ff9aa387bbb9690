from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from PIL import Image, ImageCms

from showtell import Captioner
from showtell.errors import PhotoError
from showtell.files.regular_files import open_regular
from showtell.photos import scan as scan_module
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.pictures import count_by_model, count_encoders
from showtell.photos.catalogue.records import photo_records
from showtell.photos.corrections import edit_caption
from showtell.photos.reading import read_stable_file
from showtell.photos.scan import ScanOptions, scan_library
from showtell.photos.write_plan import WriteOptions
from support.odd_photos import encoded, write_broken, write_odd
from support.photo_library import (
    dated_photo,
    library,
    photo,
    picture,
    record_of,
    scan_fully,
    write_fully,
)
from support.tiny_bundles import write_bundle


def test_scan_stores_the_captioners_captions_and_a_second_scan_opens_no_photo(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    photos = library(tmp_path / "lib", 21, (".jpg", ".png", ".webp", ".tif"))
    counts = scan_fully(catalogue, tmp_path / "lib", captioner)
    assert (counts.found, counts.captioned, counts.to_read) == (21, 21, 21)
    stored = list(photo_records(catalogue))
    assert [item.path for item in stored] == photos
    for item, caption in zip(stored, captioner.caption(photos), strict=True):
        assert (item.caption, item.source) == (caption.text, "model")
        assert item.confidence == pytest.approx(caption.confidence)
        assert (item.width, item.height) == (48, 36) or item.path.suffix == ".webp"

    def fail_to_load() -> Captioner:
        raise AssertionError("no model is needed")

    for path in photos:
        path.chmod(0o400)
    *_, rescan = scan_library(
        catalogue, [tmp_path / "lib"], load_captioner=fail_to_load, report=pytest.fail
    )
    assert (rescan.unchanged, rescan.to_read) == (21, 0)


def test_moved_copied_and_retagged_photos_keep_their_captions(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    a, b, c, *_ = library(tmp_path / "lib", 4)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    edit_caption(catalogue, a, "two otters")
    before = record_of(catalogue, a)
    moved = tmp_path / "lib" / "other" / "name.jpg"
    moved.parent.mkdir()
    a.rename(moved)
    shutil.copy(b, tmp_path / "lib" / "copy of b.jpg")
    dated_photo(c, 2, "2020:01:02 03:04:05")  # the same picture, now with a date
    counts = scan_fully(catalogue, tmp_path / "lib", captioner)
    assert (counts.moved, counts.already_captioned, counts.captioned) == (1, 2, 0)
    after = record_of(catalogue, moved)
    assert (after.file_id, after.caption, after.source) == (before.file_id, "two otters", "person")
    assert record_of(catalogue, c).taken == "2020-01-02T03:04:05"
    assert len(list(photo_records(catalogue))) == 5


def test_renamed_folder_is_recognised_and_deleted_photo_is_missing_until_it_reappears(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    photos = library(tmp_path / "lib", 12)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    (tmp_path / "lib" / "000").rename(tmp_path / "lib" / "renamed")
    content = photos[-1].read_bytes()
    status = photos[-1].stat()
    photos[-1].unlink()
    counts = scan_fully(catalogue, tmp_path / "lib", captioner)
    assert (counts.moved, counts.missing, counts.captioned, counts.unchanged) == (8, 1, 0, 3)
    assert len(list(photo_records(catalogue))) == 11
    photos[-1].write_bytes(content)
    os.utime(photos[-1], ns=(status.st_atime_ns, status.st_mtime_ns))
    counts = scan_fully(catalogue, tmp_path / "lib", captioner)
    assert (counts.unchanged, counts.to_read) == (12, 0)
    assert len(list(photo_records(catalogue))) == 12


def test_photo_replaced_by_another_gets_its_own_caption(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    [path] = library(tmp_path / "lib", 1)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    edit_caption(catalogue, path, "two otters")
    photo(path, 99)
    os.utime(path, (1, 1))
    scan_fully(catalogue, tmp_path / "lib", captioner)
    assert record_of(catalogue, path).caption == captioner.caption(path).text
    photo(path, 0)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    assert record_of(catalogue, path).caption == "two otters"


def test_another_model_recaptions_only_on_request(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    library(tmp_path / "lib", 6)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    other = Captioner(write_bundle(tmp_path / "other", seed=9, name="other"), threads=1)
    assert scan_fully(catalogue, tmp_path / "lib", other).to_read == 0
    assert scan_fully(catalogue, tmp_path / "lib", other, recaption=True).captioned == 6
    assert {item.model.split("@")[0] for item in photo_records(catalogue) if item.model} == {
        "other"
    }
    assert scan_fully(catalogue, tmp_path / "lib", other, recaption=True).to_read == 0
    assert catalogue.value("SELECT count(*) FROM captions") == 12


def test_photos_are_counted_by_the_model_of_their_caption(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    photos = library(tmp_path / "lib", 6)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    photo(tmp_path / "lib" / "new.png", 77)
    other = Captioner(write_bundle(tmp_path / "other", seed=9, name="other"), threads=1)
    assert scan_fully(catalogue, tmp_path / "lib", other).captioned == 1
    edit_caption(catalogue, photos[0], "two otters")
    counts = count_by_model(catalogue, [tmp_path / "lib"])
    assert [(model.split("@")[0], count) for model, count in counts.items()] == [
        ("tiny", 5),
        ("other", 1),
    ]
    assert count_by_model(catalogue, [tmp_path / "elsewhere"]) == {}
    assert count_encoders(catalogue) == 2


def test_unreadable_photos_are_reported_and_retried_and_the_others_captioned(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    lib = tmp_path / "lib"
    lib.mkdir()
    broken, odd = write_broken(lib), write_odd(lib)
    (lib / "loop").symlink_to(lib)
    os.mkfifo(lib / "pipe.jpg")
    for _ in range(2):
        errors: list[PhotoError] = []
        scan_fully(catalogue, lib, captioner, errors)
        named = {str(error).split(": ")[0].split("/")[-1] for error in errors}
        assert named == {*broken, "pipe.jpg"}
        assert len(errors) == len(named)
        assert not any("\n" in str(error) for error in errors)
    assert sorted(item.path.name for item in photo_records(catalogue)) == odd
    photo(lib / "empty.jpg", 5)
    errors = []
    assert scan_fully(catalogue, lib, captioner, errors).captioned == 1
    assert "empty.jpg" not in str(errors)


def test_photos_in_an_unlistable_folder_are_not_missing(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    library(tmp_path / "lib", 10)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    real = os.scandir

    def scandir_or_refuse(folder: bytes) -> object:  # root may list any folder
        if folder.endswith(b"001"):
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr("showtell.photos.walk.os.scandir", scandir_or_refuse)
    errors: list[PhotoError] = []
    counts = scan_fully(catalogue, tmp_path / "lib", captioner, errors)
    assert [str(error) for error in errors] == [
        f"{tmp_path}/lib/001: the folder cannot be listed (permission denied)"
    ]
    assert counts.missing == 0
    assert len(list(photo_records(catalogue))) == 10


def test_hidden_folders_and_links_to_folders_are_skipped(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    library(tmp_path / "outside", 2)
    [inside] = library(tmp_path / "lib", 1)
    photo(tmp_path / "lib" / ".trash" / "a.jpg", 50)
    photo(tmp_path / "lib" / "._a.jpg", 51)
    photo(tmp_path / "lib" / "@eaDir" / "thumb.jpg", 52)
    (tmp_path / "lib" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "alias").symlink_to(tmp_path / "lib")
    assert scan_fully(catalogue, tmp_path / "lib", captioner).found == 1
    # the same library under another name
    assert scan_fully(catalogue, tmp_path / "alias", captioner).unchanged == 1
    assert [item.path for item in photo_records(catalogue)] == [inside]


def test_photo_that_changes_while_it_is_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "busy.jpg"
    path.write_bytes(b"\xff\xd8\xff")
    changes = iter(range(1, 6))

    @contextlib.contextmanager
    def changing(opened: Path) -> Iterator[BinaryIO]:
        with open_regular(opened) as file:
            yield file
        if (second := next(changes, None)) is not None:
            os.utime(path, (second, second))

    monkeypatch.setattr("showtell.photos.reading.open_regular", changing)
    with pytest.raises(PhotoError, match=r"busy\.jpg: another program is changing it"):
        read_stable_file(path)  # three attempts
    assert read_stable_file(path)[0] == path.read_bytes()  # it changes twice more
    assert next(changes, None) is None


def test_raw_photos_are_captioned_from_their_preview_or_stored_without_caption(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    lib = tmp_path / "lib"
    lib.mkdir()
    preview = encoded(picture(3, (320, 240)), "JPEG")
    (lib / "a.nef").write_bytes(b"MM\0*" + bytes(500) + preview + bytes(500))
    photo(lib / "b.cr2", 4)
    (lib / "c.arw").write_bytes(b"II*\0" + bytes(5000))
    errors: list[PhotoError] = []
    assert scan_fully(catalogue, lib, captioner, errors).captioned == 2
    assert [str(error).split(": ")[0] for error in errors] == [os.fspath(lib / "c.arw")]
    assert record_of(catalogue, lib / "a.nef").caption == captioner.caption(preview).text
    edit_caption(catalogue, lib / "c.arw", "two otters")
    assert scan_fully(catalogue, lib, captioner).already_captioned == 1


def test_two_scans_at_once_share_the_work(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    photos = library(tmp_path / "lib", 120)
    read: list[int] = []

    def scan_once() -> None:
        with Catalogue(catalogue.path) as connection:
            *_, counts = scan_library(
                connection,
                [tmp_path / "lib"],
                ScanOptions(batch_size=4),
                load_captioner=lambda: captioner,
                report=pytest.fail,
            )
            read.append(counts.read)

    threads = [threading.Thread(target=scan_once) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read) == 2
    assert 120 <= sum(read) <= 170  # both may read the same batch or two
    assert [item.path for item in photo_records(catalogue)] == photos
    assert catalogue.value("SELECT count(*) FROM files WHERE pending OR claim IS NOT NULL") == 0


def test_stopped_scan_keeps_its_batches_and_the_next_scan_continues(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    library(tmp_path / "lib", 40)
    steps = scan_library(
        catalogue,
        [tmp_path / "lib"],
        ScanOptions(batch_size=4),
        load_captioner=lambda: captioner,
        report=pytest.fail,
    )
    for counts in steps:
        if counts.captioned >= 8:
            break
    steps.close()  # type: ignore[attr-defined]
    saved = catalogue.value("SELECT count(*) FROM captions")
    assert 8 <= saved < 40
    assert scan_fully(catalogue, tmp_path / "lib", captioner).captioned == 40 - saved


def test_dates_beyond_64_bits_do_not_stop_a_scan(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    lib = tmp_path / "lib"
    late, _ = library(lib, 2)
    os.utime(late, ns=(10**19, 10**19))  # in the year 2286
    if late.stat().st_mtime_ns != 10**19:
        pytest.skip("the file system has no such dates")
    assert scan_fully(catalogue, lib, captioner).captioned == 2
    assert scan_fully(catalogue, lib, captioner).unchanged == 2
    assert write_fully(catalogue, WriteOptions(to="embed")).embedded == 2
    assert late.stat().st_mtime_ns == 10**19
    assert scan_fully(catalogue, lib, captioner).unchanged == 2


def turned_photo(path: Path, orientation: int, seed: int = 3) -> Path:
    """Write a photo with an orientation in EXIF; the image data is the same for each one."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return photo(path, seed, exif=exif)


def replace_captions_by_stale_ones(catalogue: Catalogue) -> None:
    """The tiny model says the same of a turned picture, so a new caption must differ from these."""
    catalogue.execute("UPDATE captions SET text = 'stale'")
    catalogue.execute("UPDATE pictures SET caption = 'stale' WHERE source = 'model'")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_photo_that_was_turned_is_captioned_again_and_keeps_the_users_caption(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner, suffix: str
) -> None:
    path = turned_photo(tmp_path / "lib" / f"a{suffix}", 1)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    upright = record_of(catalogue, path)
    for orientation in (6, 3, 1):
        replace_captions_by_stale_ones(catalogue)
        turned_photo(path, orientation)
        os.utime(path, (orientation, orientation))
        counts = scan_fully(catalogue, tmp_path / "lib", captioner)
        assert (counts.captioned, counts.already_captioned) == (1, 0)
        turned = record_of(catalogue, path)
        assert turned.caption == captioner.caption(path).text
        if suffix != ".webp":
            assert (turned.width, turned.height) == ((36, 48) if orientation == 6 else (48, 36))
    assert turned.file_id == upright.file_id
    edit_caption(catalogue, path, "two otters")
    turned_photo(path, 8)
    os.utime(path, (8, 8))
    scan_fully(catalogue, tmp_path / "lib", captioner)
    assert record_of(catalogue, path).caption == "two otters"
    edit_caption(catalogue, path, None)
    assert record_of(catalogue, path).caption == captioner.caption(path).text


def test_copies_that_are_turned_differently_have_their_own_captions(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    upright, turned = (turned_photo(tmp_path / "lib" / name, 1) for name in ("a.jpg", "b.jpg"))
    scan_fully(catalogue, tmp_path / "lib", captioner)
    replace_captions_by_stale_ones(catalogue)
    turned_photo(turned, 6)
    os.utime(turned, (1, 1))
    scan_fully(catalogue, tmp_path / "lib", captioner)
    assert record_of(catalogue, upright).caption == "stale"
    assert record_of(catalogue, turned).caption == captioner.caption(turned).text
    edit_caption(catalogue, upright, "two otters")
    turned_photo(turned, 3)  # a new picture, with the words of the other one
    os.utime(turned, (2, 2))
    scan_fully(catalogue, tmp_path / "lib", captioner)
    assert record_of(catalogue, turned).caption == "two otters"


def test_photo_that_is_turned_and_moved_keeps_its_id_and_the_users_caption(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    path = turned_photo(tmp_path / "lib" / "a.jpg", 1)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    edit_caption(catalogue, path, "two otters")
    before = record_of(catalogue, path)
    path.unlink()
    path = turned_photo(tmp_path / "lib" / "b.jpg", 6)
    assert scan_fully(catalogue, tmp_path / "lib", captioner).moved == 1
    after = record_of(catalogue, path)
    assert (after.caption, after.file_id) == ("two otters", before.file_id)


def test_changes_that_keep_size_and_date_are_noticed(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    lib = tmp_path / "lib"
    turned, other = turned_photo(lib / "a.jpg", 1), photo(lib / "b.tif", 1)
    scan_fully(catalogue, lib, captioner)
    replace_captions_by_stale_ones(catalogue)
    changes = (lambda: turned_photo(turned, 6), lambda: photo(other, 9))
    for path, change in zip((turned, other), changes, strict=True):
        status = path.stat()
        change()
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert path.stat().st_size == status.st_size
    assert scan_fully(catalogue, lib, captioner).captioned == 2
    for path in (turned, other):
        assert record_of(catalogue, path).caption == captioner.caption(path).text
    assert scan_fully(catalogue, lib, captioner).to_read == 0


def test_photo_with_another_colour_profile_is_captioned_again(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    path = photo(tmp_path / "lib" / "a.jpg", 1)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    edit_caption(catalogue, path, "two otters")
    photo(path, 1, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert scan_fully(catalogue, tmp_path / "lib", captioner).captioned == 1
    assert record_of(catalogue, path).caption == "two otters"


def test_recaption_corrects_photos_that_an_older_version_did_not_notice_were_turned(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    lib = tmp_path / "lib"
    path, edited = turned_photo(lib / "a.jpg", 6), turned_photo(lib / "b.tif", 6, seed=1)
    scan_fully(catalogue, lib, captioner)
    edit_caption(catalogue, edited, "two otters")
    # the hashes and columns of a version that knew image data only
    catalogue.execute("UPDATE pictures SET hash = substr(hash, 1, 20)")
    catalogue.execute("UPDATE pictures SET hash = x'01' WHERE source = 'person'")
    replace_captions_by_stale_ones(catalogue)
    catalogue.execute("UPDATE files SET ctime_ns = NULL, access = NULL")
    assert scan_fully(catalogue, lib, captioner).to_read == 0
    assert scan_fully(catalogue, lib, captioner, recaption=True).captioned == 2
    assert record_of(catalogue, path).caption == captioner.caption(path).text
    assert record_of(catalogue, edited).caption == "two otters"
    assert scan_fully(catalogue, lib, captioner, recaption=True).to_read == 0


def test_a_photo_whose_values_cannot_be_stored_fails_alone(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = library(tmp_path / "lib", 6)
    original = scan_module.save_results

    def fail_for_one(catalogue: Catalogue, results: Any, ids: Any) -> Any:
        if any(result.file.path == photos[1] and result.content for result in results):
            raise OverflowError("too large")
        return original(catalogue, results, ids)

    monkeypatch.setattr(scan_module, "save_results", fail_for_one)
    errors: list[PhotoError] = []
    counts = scan_fully(catalogue, tmp_path / "lib", captioner, errors)
    assert (counts.captioned, counts.failed) == (5, 1)
    assert str(errors[0]).startswith(f"{photos[1]}: cannot be stored (OverflowError")
    monkeypatch.undo()
    assert scan_fully(catalogue, tmp_path / "lib", captioner).captioned == 1


def test_photos_of_a_renamed_folder_are_moved_and_not_missing(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    lib = tmp_path / "lib"
    photos = library(lib, 10)
    scan_fully(catalogue, lib, captioner)
    (lib / "000").rename(lib / "renamed")
    photos[9].unlink()
    counts = scan_fully(catalogue, lib, captioner)
    assert (counts.moved, counts.missing, counts.unchanged) == (8, 1, 1)
    photos[8].rename(lib / "renamed" / "again.jpg")  # moved between folders that stay
    counts = scan_fully(catalogue, lib, captioner)
    assert (counts.moved, counts.missing) == (1, 0)
