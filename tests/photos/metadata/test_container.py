from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from showtell.errors import PhotoError
from showtell.photos.binary_patch import apply_patch, make_patch
from showtell.photos.metadata import raw_preview
from showtell.photos.metadata.container import parse_container
from showtell.photos.metadata.exif import read_exif
from showtell.photos.metadata.image_hash import file_hash, image_hash
from showtell.photos.metadata.iptc import CAPTION_BYTES, truncate_caption
from showtell.photos.photo_names import is_raw_name
from support.odd_photos import encoded
from support.photo_library import dated_photo, photo, picture

FORMATS = ("JPEG", "PNG", "WEBP")


def with_xmp(image: Image.Image, kind: str, words: str) -> bytes:
    packet = f"<x:xmpmeta xmlns:x='adobe:ns:meta/'>{words}</x:xmpmeta>".encode()
    if kind == "PNG":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode(), zip=len(words) % 2 == 0)
        return encoded(image, kind, pnginfo=info)
    exif = Image.Exif()
    exif[0x010E] = words
    options = {"quality": 80} if kind == "JPEG" else {"lossless": True}
    return encoded(image, kind, xmp=packet, exif=exif, **options)


@pytest.mark.parametrize("kind", FORMATS)
def test_segments_cover_the_file_and_contain_its_xmp(kind: str) -> None:
    for words in ("even", "odd"):
        data = with_xmp(picture(1), kind, words) + b"trailer"
        container = parse_container(data)
        assert container is not None
        assert container.format == kind
        assert [part.start for part in container.segments[1:]] == [
            p.end for p in container.segments[:-1]
        ]
        assert (container.segments[0].start, container.segments[-1].end) == (0, len(data))
        packet = container.xmp(data)
        assert packet is not None
        assert packet.startswith(b"<x:xmpmeta")
        assert words.encode() in packet
        assert packet.endswith(b"</x:xmpmeta>")


@pytest.mark.parametrize("kind", FORMATS)
def test_image_hash_depends_on_image_data_only(kind: str) -> None:
    bare = encoded(picture(1), kind, **({"lossless": True} if kind == "WEBP" else {}))
    if kind == "JPEG":
        bare = encoded(picture(1), kind, quality=80)
    hashes = {
        image_hash(data, parse_container(data))
        for data in (
            bare,
            with_xmp(picture(1), kind, "one"),
            with_xmp(picture(1), kind, "three"),
            bare + b"what a phone puts behind",
        )
    }
    assert len(hashes) == 1
    other = encoded(picture(2), kind)
    assert image_hash(other, parse_container(other)) not in hashes


def test_progressive_and_cmyk_jpegs_are_parsed() -> None:
    for options in ({"progressive": True}, {"restart_marker_blocks": 2}, {"quality": 100}):
        data = encoded(picture(3, (400, 300)), "JPEG", **options)
        container = parse_container(data)
        assert container is not None
        assert container.size == (400, 300)
        assert (
            sum(p.end - p.start for p in container.segments if p.kind == "image") > len(data) - 40
        )
    cmyk = encoded(picture(3).convert("CMYK"), "JPEG")
    container = parse_container(cmyk)
    assert container is not None
    # the Adobe segment says how colours are coded: another one is another picture
    changed = bytearray(cmyk)
    changed[cmyk.index(b"Adobe") + 11] ^= 2
    assert image_hash(bytes(changed), parse_container(bytes(changed))) != image_hash(
        cmyk, container
    )


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(FORMATS), st.data())
def test_damaged_photos_are_rejected_or_parsed_completely(kind: str, data: st.DataObject) -> None:
    whole = with_xmp(picture(1), kind, "words")
    cut = data.draw(st.integers(0, len(whole)))
    broken = bytearray(whole[:cut])
    for place in data.draw(st.lists(st.integers(0, max(cut - 1, 0)), max_size=5)):
        if place < len(broken):
            broken[place] = data.draw(st.integers(0, 255))
    try:
        container = parse_container(bytes(broken))
    except PhotoError:
        return
    if container is not None:
        assert sum(part.end - part.start for part in container.segments) == len(broken)
        container.xmp(bytes(broken))


@pytest.mark.parametrize("kind", FORMATS)
def test_patch_restores_the_old_file_and_is_small(kind: str) -> None:
    old = with_xmp(picture(5, (600, 400)), kind, "old words")
    new = with_xmp(picture(5, (600, 400)), kind, "new words, and more of them") + b"tail"
    patch = make_patch(old, new)
    assert apply_patch(patch, new) == old
    assert len(patch) < 700 < len(old)
    bare = encoded(picture(5, (600, 400)), kind)
    assert apply_patch(make_patch(bare, new), new) == bare


def test_exif_is_read_and_invalid_values_are_ignored(tmp_path: Path) -> None:
    data = dated_photo(tmp_path / "a.jpg", 1, "2024:05:31 18:30:00", position=True).read_bytes()
    container = parse_container(data)
    assert container is not None
    info = read_exif(next(container.payloads("exif", data)))
    assert info.taken == "2024-05-31T18:30:00"
    assert info.latitude == pytest.approx(-33.858333)
    assert info.longitude == pytest.approx(151.21)
    never_set = dated_photo(tmp_path / "b.jpg", 1, "0000:00:00 00:00:00").read_bytes()
    container = parse_container(never_set)
    assert container is not None
    assert read_exif(next(container.payloads("exif", never_set))).taken is None
    assert read_exif(b"Exif\0\0MM\0*\xff\xff\xff\xff") == read_exif(None)


def test_largest_preview_of_a_raw_photo_is_extracted() -> None:
    small, large = (encoded(picture(7, size), "JPEG") for size in ((200, 150), (320, 240)))
    sensor = b"\xff\xd8\xff\xc3" + bytes(range(256)) * 40
    data = b"II*\0" + os.urandom(999) + small + sensor + large + os.urandom(999) + small
    assert raw_preview.extract_preview(data) == large
    assert is_raw_name("IMG_1.CR2")
    assert not is_raw_name("IMG_1.jpg")
    with pytest.raises(PhotoError, match="no readable preview"):
        raw_preview.extract_preview(b"II*\0" + sensor)


def test_caption_is_truncated_for_iptc_at_a_word_boundary() -> None:
    assert truncate_caption("short") == "short"
    for text in ("été " * 800, "é" * 3000):
        cut = truncate_caption(text)
        assert len(cut.encode()) <= CAPTION_BYTES
        assert cut.endswith("…")
        assert text.startswith(cut.removesuffix("…"))


def test_file_hash_differs_for_different_files(tmp_path: Path) -> None:
    data = photo(tmp_path / "a.png", 1).read_bytes()
    assert file_hash(data) != file_hash(data + b"\0")
