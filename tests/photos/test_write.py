from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from showtell import Captioner
from showtell.errors import CatalogueError, MetadataError, PhotoError
from showtell.photos import replace as replace_module
from showtell.photos import write, write_plan
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.filters import PhotoFilter
from showtell.photos.catalogue.writer_lock import only_writer
from showtell.photos.corrections import edit_caption
from showtell.photos.metadata.current_metadata import read_file_metadata, read_sidecar_metadata
from showtell.photos.metadata.embed import embed_fields
from showtell.photos.metadata.sidecar import sidecar_path
from showtell.photos.metadata.xmp import read_fields, set_fields
from showtell.photos.metadata.xmp_occurrences import DEFAULT_LANGUAGE
from showtell.photos.reading import read_stable_file
from showtell.photos.replace import Replacement
from showtell.photos.write_plan import WriteOptions, count_plans, plan_writes
from support.odd_photos import encoded
from support.photo_library import (
    contents,
    exiftool,
    library,
    photo,
    picture,
    pixels,
    record_of,
    scan_fully,
    undo_fully,
    write_fully,
)

CAPTION = "Zwölf Otter am 東京湾 – „naß“ & <froh>"
TAGS = ("-XMP-dc:Description", "-XMP-iptcCore:AltTextAccessibility", "-IPTC:Caption-Abstract")


def tags(path: Path, *names: str) -> list[str]:
    # "--" ends the options, so exiftool takes a name that begins with "-" as a file
    return exiftool("-s3", "-charset", "utf8", *names, "--", path).splitlines()


def test_sidecars_contain_captions_leave_photos_intact_and_undo_removes_them(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    photos = library(tmp_path / "lib", 20, (".jpg", ".png", ".webp", ".tif", ".cr2"))
    before = contents(tmp_path / "lib")
    scan_fully(catalogue, tmp_path / "lib", captioner)
    edit_caption(catalogue, photos[0], CAPTION)
    assert count_plans(plan_writes(catalogue, WriteOptions())).verdicts == {"sidecar": 20}
    assert contents(tmp_path / "lib") == before
    assert write_fully(catalogue).sidecars == 20
    after = contents(tmp_path / "lib")
    assert {path: after[path] for path in before} == before
    for path in photos:
        caption = record_of(catalogue, path).caption
        expected = {"description": {DEFAULT_LANGUAGE: caption}, "alt": {DEFAULT_LANGUAGE: caption}}
        assert read_fields(sidecar_path(path).read_bytes()) == expected
    assert tags(sidecar_path(photos[0]), *TAGS[:2]) == [CAPTION, CAPTION]
    raw = next(path for path in photos if path.suffix == ".cr2")
    assert sidecar_path(raw) == raw.with_suffix(".xmp")
    assert tags(sidecar_path(raw), *TAGS[:2]) == [record_of(catalogue, raw).caption] * 2
    counts = write_fully(catalogue)
    assert (counts.up_to_date, counts.sidecars) == (20, 0)
    assert undo_fully(catalogue).restored == 20
    assert contents(tmp_path / "lib") == before


def test_embedded_captions_read_back_keep_pixels_dates_and_permissions_and_undo_is_exact(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    lib = tmp_path / "lib"
    photos = library(lib, 6, (".jpg", ".png", ".webp"))
    photo(lib / "a.cr2", 21)
    photo(lib / "b.tif", 22)
    shutil.copy(photos[0], lib / "big.jpg")
    exiftool(
        "-overwrite_original",
        "-IPTC:City=Zürich",
        "-Artist=Ansel",
        "-charset",
        "iptc=Latin",
        lib / "big.jpg",
    )
    scan_fully(catalogue, lib, captioner)
    for index, path in enumerate([*photos, lib / "big.jpg"]):
        os.utime(path, ns=(10**18 + index, 10**18 + 7 * index))
        path.chmod(0o640)
    edit_caption(catalogue, photos[0], CAPTION)  # big.jpg is the same picture
    edit_caption(catalogue, photos[1], CAPTION)
    edit_caption(catalogue, photos[2], CAPTION)
    before, status = contents(lib), {path: path.stat() for path in photos}
    decoded = {path: pixels(path) for path in photos}
    counts = write_fully(catalogue, WriteOptions(to="embed"))
    assert (counts.embedded, counts.sidecars) == (7, 2)
    for path in photos:
        text = record_of(catalogue, path).caption
        assert tags(path, *TAGS) == [text] * (3 if path.suffix == ".jpg" else 2)
        assert pixels(path) == decoded[path]
        now = path.stat()
        assert (now.st_mtime_ns, now.st_mode) == (status[path].st_mtime_ns, status[path].st_mode)
        assert path.read_bytes() != before[path]
    assert tags(lib / "big.jpg", "-IPTC:City", "-Artist", TAGS[2]) == ["Zürich", "Ansel", CAPTION]
    assert (lib / "a.cr2").read_bytes() == before[lib / "a.cr2"]
    assert tags(lib / "a.xmp", TAGS[0]) == [record_of(catalogue, lib / "a.cr2").caption]
    assert scan_fully(catalogue, lib, captioner).unchanged == 9
    counts = write_fully(catalogue, WriteOptions(to="embed"))
    assert (counts.up_to_date, counts.embedded) == (9, 0)
    assert undo_fully(catalogue).restored == 9
    assert contents(lib) == before
    assert photos[0].stat().st_mtime_ns == status[photos[0]].st_mtime_ns


def test_captions_by_a_person_are_kept_without_overwrite(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    lib = tmp_path / "lib"
    embedded, sidecar, alt, german = library(lib, 4)
    sidecar_path(sidecar).write_bytes(set_fields(None, {"description": "by hand"}))
    sidecar_path(alt).write_bytes(set_fields(None, {"alt": "by hand"}))
    exiftool("-overwrite_original", "-IPTC:Caption-Abstract=by hand", embedded)
    exiftool("-overwrite_original", "-XMP-dc:Description-de=von Hand", german)
    scan_fully(catalogue, lib, captioner)
    assert write_fully(catalogue).sidecars == 4  # three alt texts, one description
    for path in (embedded, sidecar, german):
        text = record_of(catalogue, path).caption
        fields = read_fields(sidecar_path(path).read_bytes())
        assert fields["alt"] == {DEFAULT_LANGUAGE: text}
        assert fields.get("description", {DEFAULT_LANGUAGE: "by hand"}) == {
            DEFAULT_LANGUAGE: "by hand"
        }
    assert read_fields(sidecar_path(alt).read_bytes()) == {
        "alt": {DEFAULT_LANGUAGE: "by hand"},
        "description": {DEFAULT_LANGUAGE: record_of(catalogue, alt).caption},
    }
    assert write_fully(catalogue).up_to_date + write_fully(catalogue).user_edited >= 4
    assert write_fully(catalogue, WriteOptions(overwrite=True)).sidecars == 4
    for path in (embedded, sidecar, alt, german):
        fields = read_fields(sidecar_path(path).read_bytes())
        assert {texts[DEFAULT_LANGUAGE] for texts in fields.values()} == {
            record_of(catalogue, path).caption
        }
    undo_fully(catalogue)
    assert read_fields(sidecar_path(sidecar).read_bytes())["description"] == {
        DEFAULT_LANGUAGE: "by hand"
    }


def test_captions_written_earlier_are_updated(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    lib = tmp_path / "lib"
    [path] = library(lib, 1)
    scan_fully(catalogue, lib, captioner)
    for text in ("one otter", "two otters", "three otters"):
        edit_caption(catalogue, path, text)
        assert write_fully(catalogue).sidecars == 1
        assert read_fields(sidecar_path(path).read_bytes())["alt"] == {DEFAULT_LANGUAGE: text}
    size = sidecar_path(path).stat().st_size
    edit_caption(catalogue, path, "four otters.")
    write_fully(catalogue)
    assert sidecar_path(path).stat().st_size == size  # no growth by rewriting
    for expected in ("three otters", "two otters", "one otter"):
        undo_fully(catalogue)
        assert read_fields(sidecar_path(path).read_bytes())["alt"] == {DEFAULT_LANGUAGE: expected}
    undo_fully(catalogue)
    assert not sidecar_path(path).exists()
    with pytest.raises(MetadataError, match="nothing to undo"):
        undo_fully(catalogue)


def test_fields_folders_and_confidence_select_what_is_written(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    lib = tmp_path / "lib"
    photos = library(lib, 10)
    scan_fully(catalogue, lib, captioner)
    alt_only = WriteOptions(fields=("alt",), filters=PhotoFilter([lib / "001"]))
    assert write_fully(catalogue, alt_only).sidecars == 2
    assert list(read_fields(sidecar_path(photos[8]).read_bytes())) == ["alt"]
    assert write_fully(catalogue, WriteOptions(fields=("iptc",))).sidecars == 0
    confidences = sorted((record_of(catalogue, path).confidence or 0) for path in photos)
    confident = WriteOptions(min_confidence=confidences[5])
    counts = write_fully(catalogue, confident)
    assert (counts.examined, counts.unsure) == (10, 5)


def test_captions_that_are_probably_wrong_are_counted_and_left_out(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    photos = library(tmp_path / "lib", 4)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    for path, confidence in zip(photos, (0.1, 0.29, 0.3, None), strict=True):
        catalogue.execute(
            "UPDATE pictures SET confidence = ? WHERE id = ?",
            (confidence, record_of(catalogue, path).picture_id),
        )
    edit_caption(catalogue, photos[0], "an otter")  # a person is sure
    everything = count_plans(plan_writes(catalogue, WriteOptions(min_confidence=0)))
    assert (everything.guesses, everything.guesses_to_write) == (1, 1)
    planned = count_plans(plan_writes(catalogue, WriteOptions()))
    assert (planned.guesses, planned.guesses_to_write) == (1, 0)
    assert planned.verdicts == {"sidecar": 3, "unsure": 1}
    counts = write_fully(catalogue)
    assert (counts.sidecars, counts.unsure) == (3, 1)
    assert [sidecar_path(path).exists() for path in photos] == [True, False, True, True]


def test_odd_file_names_and_captions_are_embedded(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/lib/-execute\n-delete_original!\n\xff"))
    names = ["-all=.jpg", "@.jpg", "-@.png", "a\n-all=\nb.webp", "'\"; rm *.jpg", "%d%f.jpg"]
    names += [os.fsdecode(b"\xfe.jpg"), "<script>.png", "x" * 251 + ".jpg"]
    for seed, name in enumerate(names):
        photo(folder / name, seed)
    before = {path: pixels(path) for path in folder.iterdir()}
    scan_fully(catalogue, tmp_path / "lib", captioner)
    for path in before:
        edit_caption(catalogue, path, "-all=\n-o\n@x " + CAPTION)
    assert write_fully(catalogue, WriteOptions(to="embed")).embedded == len(names)
    assert set(folder.iterdir()) == set(before)
    assert {path: pixels(path) for path in before} == before
    assert count_plans(plan_writes(catalogue, WriteOptions(to="embed"))).verdicts == {
        "up_to_date": len(names)
    }
    assert undo_fully(catalogue).restored == len(names)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:200], "would damage it"),
        (lambda data: data + b"\n", "would change its other data"),
        (lambda data: data.replace(b"Ansel", b"Edith"), "would change its EXIF"),
        (lambda data: data[:-200] + b"0" * 198 + data[-2:], "would change its image data"),
        (lambda data: data.replace(b"blue", b"grey"), "would change its XMP"),
        (lambda data: data.replace(b"Harz", b"Alps"), "would change its IPTC"),
        (lambda data: data.replace(b"scene", b"SCENE"), "does not read back"),
    ],
)
def test_embedding_that_changes_anything_else_is_refused_by_name(
    tmp_path: Path,
    catalogue: Catalogue,
    captioner: Captioner,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[bytes], bytes],
    reason: str,
) -> None:
    [path] = library(tmp_path / "lib", 1)
    values = ("-Artist=Ansel", "-XMP-dc:Subject=blue", "-IPTC:City=Harz")
    exiftool("-overwrite_original", *values, path)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    edit_caption(catalogue, path, "a scene")
    before = contents(tmp_path / "lib")
    monkeypatch.setattr(write, "embed_fields", lambda *args: damage(embed_fields(*args)))
    errors: list[PhotoError] = []
    counts = write_fully(catalogue, WriteOptions(to="embed"), errors)
    assert (counts.failed, counts.embedded) == (1, 0)
    assert reason in str(errors[0])
    assert str(errors[0]).startswith(f"{path}: ")
    assert contents(tmp_path / "lib") == before


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (errno.ENOSPC, "the disk is full. No data is lost: free some space"),
        (errno.EDQUOT, "your disk quota is used up. No data is lost: free some space or have"),
        (errno.EFBIG, r"larger than the file size limit \(ulimit -f\). No data is lost: raise"),
    ],
)
def test_write_without_space_ends_with_the_cause_and_loses_nothing(
    tmp_path: Path,
    catalogue: Catalogue,
    captioner: Captioner,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    problem: str,
) -> None:
    first, *_ = library(tmp_path / "lib", 3)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    before = contents(tmp_path / "lib")

    def fail_to_write(*_: object, **__: object) -> Replacement:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(write, "write_copy", fail_to_write)
    errors: list[PhotoError] = []
    with pytest.raises(MetadataError, match=f"^{sidecar_path(first)}: {problem}"):
        write_fully(catalogue, None, errors)
    assert (errors, contents(tmp_path / "lib")) == ([], before)
    monkeypatch.undo()
    assert write_fully(catalogue).sidecars == 3


def test_photo_damaged_after_the_plan_fails_and_the_others_are_written(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged, _ = library(tmp_path / "lib", 2)
    scan_fully(catalogue, tmp_path / "lib", captioner)

    def read_damaged(path: Path) -> tuple[bytes, os.stat_result]:
        data, status = read_stable_file(path)
        return (data[:50] if path == damaged else data), status

    monkeypatch.setattr(write, "read_stable_file", read_damaged)
    errors: list[PhotoError] = []
    counts = write_fully(catalogue, WriteOptions(to="embed"), errors)
    assert (counts.failed, counts.embedded) == (1, 1)
    assert str(errors[0]).startswith(f"{damaged}: truncated")


def test_damaged_sidecar_is_reported_and_left_unchanged(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    damaged, good = library(tmp_path / "lib", 2)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    sidecar_path(damaged).write_bytes(b"<x:xmpmeta>half a")
    errors: list[PhotoError] = []
    assert write_fully(catalogue, None, errors).sidecars == 1
    assert "its XMP is damaged" in str(errors[0])
    assert sidecar_path(damaged).read_bytes() == b"<x:xmpmeta>half a"
    assert sidecar_path(good).exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_sidecars_that_are_no_files_or_lead_out_of_the_library_are_left_alone(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    lib = tmp_path / "lib"
    photos = [photo(lib / f"{seed}.jpg", seed) for seed in range(7)]
    elsewhere = tmp_path / "elsewhere.xmp"
    elsewhere.write_bytes(set_fields(None, {"alt": "not of this library"}))
    before = elsewhere.read_bytes()
    pipe, zero, dangling, outside, inside, huge, plain = map(sidecar_path, photos)
    os.mkfifo(pipe)
    zero.symlink_to("/dev/zero")
    dangling.symlink_to(tmp_path / "new.xmp")
    outside.symlink_to(elsewhere)
    (lib / "of-6.xmp").write_bytes(set_fields(None, {}))
    inside.symlink_to("of-6.xmp")
    with huge.open("wb") as file:
        file.truncate(65 << 20)
    scan_fully(catalogue, lib, captioner)
    errors: list[PhotoError] = []
    counts = write_fully(catalogue, WriteOptions(fields=("description",)), errors)
    assert (counts.sidecars, counts.failed) == (2, 5)
    assert [str(error) for error in errors] == [
        f"{pipe}: cannot be read (a named pipe, not a file)",
        f"{zero}: cannot be read (a device, not a file)",
        f"{dangling}: a link to {tmp_path}/new.xmp, which does not exist",
        f"{outside}: a link to {elsewhere}, which is not in a scanned folder: left unchanged",
        f"{huge}: cannot be read (larger than 64 MB)",
    ]
    assert not (tmp_path / "new.xmp").exists()
    assert elsewhere.read_bytes() == before
    assert b"description" in (lib / "of-6.xmp").read_bytes()
    assert inside.is_symlink()
    plain.unlink()
    os.mkfifo(plain)
    assert undo_fully(catalogue, errors).skipped == 1
    assert str(errors[-1]) == f"{plain}: has changed since, so it is left alone"


def test_photo_in_a_very_deep_folder_is_scanned_written_and_undone(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    folders = [tmp_path / "lib"]
    for _ in range(1_500):  # Path.mkdir(parents=True) recurses
        folders.append(folders[-1] / "d")
    for folder in folders:
        folder.mkdir()
    deep = folders[-1] / "a.jpg"
    try:
        deep.write_bytes(photo(tmp_path / "a.jpg", 1).read_bytes())
        photo_bytes = deep.read_bytes()
        assert scan_fully(catalogue, folders[0], captioner).captioned == 1
        for to in ("sidecar", "embed"):
            assert write_fully(catalogue, WriteOptions(to=to)).failed == 0  # type: ignore[arg-type]
            assert undo_fully(catalogue).restored == 1
            assert (list(deep.parent.iterdir()), deep.read_bytes()) == ([deep], photo_bytes)
    finally:  # pytest cannot remove folders this deep
        for file in list(deep.parent.iterdir()):
            file.unlink()
        for folder in reversed(folders):
            folder.rmdir()


def test_link_to_a_photo_stays_a_link(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    target = photo(tmp_path / "store" / "blob.jpg", 5)
    link = tmp_path / "lib" / "a.jpg"
    link.parent.mkdir()
    link.symlink_to(target)
    before = target.read_bytes()
    scan_fully(catalogue, tmp_path / "lib", captioner)
    assert write_fully(catalogue, WriteOptions(to="embed")).embedded == 1
    assert link.is_symlink()
    assert target.read_bytes() != before
    assert scan_fully(catalogue, tmp_path / "lib", captioner).unchanged == 1
    undo_fully(catalogue)
    assert (link.is_symlink(), target.read_bytes()) == (True, before)


def test_second_writer_is_rejected(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    library(tmp_path / "lib", 1)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    with (
        only_writer(catalogue.path),
        Catalogue(catalogue.path) as other,
        pytest.raises(CatalogueError, match="another write or undo is running"),
    ):
        write_fully(other)
    assert write_fully(catalogue).sidecars == 1


def test_heic_gets_a_sidecar_that_exiftool_reads(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    path = tmp_path / "lib" / "a.heic"
    path.parent.mkdir()
    picture(5, (64, 48)).save(path)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    edit_caption(catalogue, path, CAPTION)
    counts = write_fully(catalogue, WriteOptions(to="embed"))
    assert (counts.sidecars, counts.embedded) == (1, 0)
    assert tags(sidecar_path(path), *TAGS[:2]) == [CAPTION, CAPTION]


def test_words_by_a_person_anywhere_in_a_photo_are_not_written_again_without_overwrite(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    lib = tmp_path / "lib"
    exif = Image.Exif()
    exif[0x010E] = "by hand"
    camera = Image.Exif()
    camera[0x010E] = "OLYMPUS DIGITAL CAMERA         "
    profile = PngInfo()
    packet = set_fields(None, {"description": "by hand"}).hex()
    profile.add_text("Raw profile type xmp", f"\nxmp\n{len(packet) // 2:8}\n{packet}\n")
    described = [
        photo(lib / "exif.jpg", 1, exif=exif),
        photo(lib / "comment.jpg", 2, comment="by hand"),
        photo(lib / "profile.png", 3, pnginfo=profile),
        photo(lib / "exif.webp", 4, exif=exif),
        photo(lib / "exif.tif", 5, exif=exif),
    ]
    photo(lib / "camera.jpg", 6, exif=camera)
    scan_fully(catalogue, lib, captioner)
    before = contents(lib)
    description = WriteOptions(to="embed", fields=("description", "iptc"))
    counts = write_fully(catalogue, description)
    assert (counts.user_edited, counts.embedded, counts.sidecars) == (len(described), 1, 0)
    undo_fully(catalogue)
    assert contents(lib) == before
    counts = write_fully(catalogue, replace(description, overwrite=True))
    assert (counts.embedded, counts.sidecars) == (5, 1)
    for path in described:
        text = record_of(catalogue, path).caption
        embedded = read_sidecar_metadata(sidecar_path(path)), read_file_metadata(path)[0]
        assert text in [metadata.value("description") for metadata in embedded]
        assert embedded[1].texts(("description", "iptc")) - {text} == {"by hand"}  # unchanged
    undo_fully(catalogue)
    assert contents(lib) == before


def test_words_in_a_sidecar_that_photos_share_count_for_all_of_them(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    lib = tmp_path / "lib"
    photos = [photo(lib / "46.jpg", 1), photo(lib / "46.png", 2)]
    (lib / "46.xmp").write_bytes(set_fields(None, {"description": "by hand"}))
    scan_fully(catalogue, lib, captioner)
    before = contents(lib)
    assert write_fully(catalogue, WriteOptions(fields=("description",))).user_edited == 2
    assert contents(lib) == before
    assert write_fully(catalogue, WriteOptions(overwrite=True)).sidecars == 2
    after = contents(lib)
    assert after.keys() - before.keys() == {sidecar_path(path) for path in photos}
    assert after[lib / "46.xmp"] == before[lib / "46.xmp"]


def test_captions_are_written_into_the_sidecar_that_is_there_whatever_its_case(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    lib = tmp_path / "lib"
    upper, mixed = photo(lib / "a.jpg", 1), photo(lib / "b.jpg", 2)
    both = photo(lib / "c.jpg", 3)
    for name in ("a.XMP", "c.XMP"):
        (lib / name).write_bytes(set_fields(None, {"description": "by hand"}))
    (lib / "b.jpg.Xmp").write_bytes(set_fields(None, {}))
    (lib / "c.jpg.xmp").write_bytes(set_fields(None, {}))
    scan_fully(catalogue, lib, captioner)
    before = contents(lib)
    assert write_fully(catalogue).sidecars == 3
    assert contents(lib).keys() == before.keys()
    texts = {path: read_fields(sidecar_path(path).read_bytes()) for path in (upper, mixed, both)}
    assert texts[upper]["description"] == {DEFAULT_LANGUAGE: "by hand"}
    assert list(texts[mixed]) == ["description", "alt"]
    assert list(texts[both]) == ["alt"]  # the description is in its other sidecar
    undo_fully(catalogue)
    assert contents(lib) == before


def xmp_in(encoding: str) -> bytes:
    """Return XMP that declares an encoding."""
    packet = set_fields(None, {"alt": "by hand"})
    return f"<?xml version='1.0' encoding='{encoding}'?>".encode() + packet


@pytest.mark.parametrize("encoding", ["utf-7", "big5", "idna", "base64", "no-such-encoding"])
@pytest.mark.parametrize("to", ["sidecar", "embed"])
def test_xmp_in_a_foreign_encoding_fails_by_name_and_the_other_photos_are_written(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner, encoding: str, to: Any
) -> None:
    lib = tmp_path / "lib"
    beside, inside, good = library(lib, 3)
    photo(inside, 1, xmp=xmp_in(encoding))
    scan_fully(catalogue, lib, captioner)
    sidecar_path(beside).write_bytes(xmp_in(encoding))
    before = contents(lib)
    errors: list[PhotoError] = []
    counts = write_fully(catalogue, WriteOptions(to=to), errors)
    assert f"encoding '{encoding}'" in str(errors[0])
    assert str(errors[0]).startswith(f"{sidecar_path(beside)}: ")
    assert counts.failed == len(errors)
    assert counts.failed + counts.sidecars + counts.embedded == 3
    assert sidecar_path(beside).read_bytes() == before[sidecar_path(beside)]
    if to == "embed":
        assert str(errors[1]).startswith(f"{inside}: its XMP is in the encoding")
        assert good.read_bytes() != before[good]
    assert inside.read_bytes() == before[inside]


STEPS = [
    (write_plan, "read_file_metadata"),
    (write, "file_stamp"),
    (write, "embed_fields"),
    (write, "make_patch"),
    (replace_module, "move_into_place"),
]


@pytest.mark.parametrize(("owner", "step"), STEPS, ids=[step for _, step in STEPS])
def test_any_exception_while_a_photo_is_written_is_that_photos_failure(
    tmp_path: Path,
    catalogue: Catalogue,
    captioner: Captioner,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    step: str,
) -> None:
    lib = tmp_path / "lib"
    library(lib, 3)
    scan_fully(catalogue, lib, captioner)
    before = contents(lib)
    original, calls = getattr(owner, step), []

    def fail_once(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:
            raise LookupError("a codec")
        return original(*arguments)

    monkeypatch.setattr(owner, step, fail_once)
    errors: list[PhotoError] = []
    counts = write_fully(catalogue, WriteOptions(to="embed"), errors)
    assert (counts.embedded, counts.failed) == (2, 1)
    assert "LookupError('a codec')" in str(errors[0])
    assert str(errors[0]).startswith(str(lib))
    assert undo_fully(catalogue).restored == 2
    assert contents(lib) == before


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
@pytest.mark.parametrize("to", ["sidecar", "embed"])
def test_copies_of_private_photos_are_never_readable_by_others(
    tmp_path: Path,
    catalogue: Catalogue,
    captioner: Captioner,
    monkeypatch: pytest.MonkeyPatch,
    to: Any,
) -> None:
    lib = tmp_path / "lib"
    private, public = library(lib, 2)
    sidecar_path(public).write_bytes(set_fields(None, {}))
    scan_fully(catalogue, lib, captioner)
    for path in (private, sidecar_path(public)):
        path.chmod(0o600)
    widest: dict[str, int] = {}
    original = replace_module.sync_file

    def record_mode(file: Any) -> None:
        widest[file.name] = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        original(file)

    monkeypatch.setattr(replace_module, "sync_file", record_mode)
    write_fully(catalogue, WriteOptions(to=to))
    undo_fully(catalogue)
    write_fully(catalogue, WriteOptions(to=to))
    assert len(widest) >= 4
    assert set(widest.values()) == {0o600}
    written = sidecar_path(private) if to == "sidecar" else private
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert stat.S_IMODE(catalogue.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("to", ["sidecar", "embed"])
def test_photo_whose_xmp_is_not_read_fails_by_name_as_it_may_have_a_caption(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner, to: write_plan.Destination
) -> None:
    lib = tmp_path / "lib"
    photo(lib / "a.jpg", 1)
    unread = photo(lib / "b.jpg", 2)
    packet = set_fields(None, {"description": "by hand"}).replace(b'"\xef\xbb\xbf"', b"''")
    unread.write_bytes(
        encoded(picture(2), "JPEG", xmp=b'<?xml version="1.0" encoding="utf-7"?>' + packet)
    )
    depth_map = photo(lib / "c.jpg", 3)
    depth_map.write_bytes(encoded(picture(3), "JPEG", xmp=b"<GDepth><"))  # has no caption
    scan_fully(catalogue, lib, captioner)
    before = unread.read_bytes()
    errors: list[PhotoError] = []
    counts = write_fully(catalogue, WriteOptions(to=to), errors)
    assert any(str(unread) in str(error) and "utf-7" in str(error) for error in errors)
    assert unread.read_bytes() == before
    assert not sidecar_path(unread).exists()
    assert counts.failed == (1 if to == "sidecar" else 2)
    assert write_fully(catalogue, WriteOptions(overwrite=True)).sidecars > 0
    assert sidecar_path(unread).exists()


def test_a_photo_and_a_link_to_it_are_one_file_to_write(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    lib = tmp_path / "lib"
    [path] = library(lib, 1)
    (lib / "link.jpg").symlink_to(path)
    scan_fully(catalogue, lib, captioner)
    options = WriteOptions(to="embed")
    verdicts = count_plans(plan_writes(catalogue, options)).verdicts
    assert (verdicts["embed"], verdicts["up_to_date"]) == (1, 1)
    counts = write_fully(catalogue, options)
    assert (counts.embedded, counts.up_to_date, counts.failed) == (1, 1, 0)
