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
from showtell.photos.metadata.container import read_layout
from showtell.photos.metadata.exif import read_facts
from showtell.photos.metadata.image_hash import file_hash, image_hash
from showtell.photos.metadata.iptc import CAPTION_BYTES, fitting
from support.odd_photos import encoded
from support.photo_library import dated, photo, picture

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
def test_parts_tile_the_file_and_hold_its_xmp(kind: str) -> None:
    for words in ("even", "odd"):
        data = with_xmp(picture(1), kind, words) + b"trailer"
        layout = read_layout(data)
        assert layout is not None
        assert layout.format == kind
        assert [part.start for part in layout.parts[1:]] == [p.end for p in layout.parts[:-1]]
        assert (layout.parts[0].start, layout.parts[-1].end) == (0, len(data))
        packet = layout.xmp(data)
        assert packet is not None
        assert packet.startswith(b"<x:xmpmeta")
        assert words.encode() in packet
        assert packet.endswith(b"</x:xmpmeta>")


@pytest.mark.parametrize("kind", FORMATS)
def test_identity_is_the_image_datas_alone(kind: str) -> None:
    bare = encoded(picture(1), kind, **({"lossless": True} if kind == "WEBP" else {}))
    if kind == "JPEG":
        bare = encoded(picture(1), kind, quality=80)
    hashes = {
        image_hash(data, read_layout(data))
        for data in (
            bare,
            with_xmp(picture(1), kind, "one"),
            with_xmp(picture(1), kind, "three"),
            bare + b"what a phone puts behind",
        )
    }
    assert len(hashes) == 1
    other = encoded(picture(2), kind)
    assert image_hash(other, read_layout(other)) not in hashes


def test_progressive_and_cmyk_jpegs_are_taken_apart_whole() -> None:
    for options in ({"progressive": True}, {"restart_marker_blocks": 2}, {"quality": 100}):
        data = encoded(picture(3, (400, 300)), "JPEG", **options)
        layout = read_layout(data)
        assert layout is not None
        assert layout.size == (400, 300)
        assert sum(p.end - p.start for p in layout.parts if p.kind == "image") > len(data) - 40
    cmyk = encoded(picture(3).convert("CMYK"), "JPEG")
    layout = read_layout(cmyk)
    assert layout is not None
    # the Adobe segment says how colours are coded: another one is another picture
    changed = bytearray(cmyk)
    changed[cmyk.index(b"Adobe") + 11] ^= 2
    assert image_hash(bytes(changed), read_layout(bytes(changed))) != image_hash(cmyk, layout)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(FORMATS), st.data())
def test_damaged_photos_are_refused_or_taken_apart_whole(kind: str, data: st.DataObject) -> None:
    whole = with_xmp(picture(1), kind, "words")
    cut = data.draw(st.integers(0, len(whole)))
    broken = bytearray(whole[:cut])
    for place in data.draw(st.lists(st.integers(0, max(cut - 1, 0)), max_size=5)):
        if place < len(broken):
            broken[place] = data.draw(st.integers(0, 255))
    try:
        layout = read_layout(bytes(broken))
    except PhotoError:
        return
    if layout is not None:
        assert sum(part.end - part.start for part in layout.parts) == len(broken)
        layout.xmp(bytes(broken))


@pytest.mark.parametrize("kind", FORMATS)
def test_patch_brings_the_old_file_back_and_is_small(kind: str) -> None:
    old = with_xmp(picture(5, (600, 400)), kind, "old words")
    new = with_xmp(picture(5, (600, 400)), kind, "new words, and more of them") + b"tail"
    patch = make_patch(old, new)
    assert apply_patch(patch, new) == old
    assert len(patch) < 700 < len(old)
    bare = encoded(picture(5, (600, 400)), kind)
    assert apply_patch(make_patch(bare, new), new) == bare


def test_facts_are_read_and_nonsense_is_left_out(tmp_path: Path) -> None:
    data = dated(tmp_path / "a.jpg", 1, "2024:05:31 18:30:00", place=True).read_bytes()
    layout = read_layout(data)
    assert layout is not None
    facts = read_facts(next(layout.payloads("exif", data)))
    assert facts.taken == "2024-05-31T18:30:00"
    assert facts.latitude == pytest.approx(-33.858333)
    assert facts.longitude == pytest.approx(151.21)
    never_set = dated(tmp_path / "b.jpg", 1, "0000:00:00 00:00:00").read_bytes()
    layout = read_layout(never_set)
    assert layout is not None
    assert read_facts(next(layout.payloads("exif", never_set))).taken is None
    assert read_facts(b"Exif\0\0MM\0*\xff\xff\xff\xff") == read_facts(None)


def test_raw_photo_is_known_by_its_suffix_and_captioned_from_its_largest_preview() -> None:
    small, large = (encoded(picture(7, size), "JPEG") for size in ((200, 150), (320, 240)))
    sensor = b"\xff\xd8\xff\xc3" + bytes(range(256)) * 40
    data = b"II*\0" + os.urandom(999) + small + sensor + large + os.urandom(999) + small
    assert raw_preview.preview(data) == large
    assert raw_preview.is_raw("IMG_1.CR2")
    assert not raw_preview.is_raw("IMG_1.jpg")
    with pytest.raises(PhotoError, match="without a preview"):
        raw_preview.preview(b"II*\0" + sensor)


def test_caption_fits_into_iptc_in_whole_words() -> None:
    assert fitting("short") == "short"
    for text in ("été " * 800, "é" * 3000):
        cut = fitting(text)
        assert len(cut.encode()) <= CAPTION_BYTES
        assert cut.endswith("…")
        assert text.startswith(cut.removesuffix("…"))


def test_file_hash_tells_files_apart(tmp_path: Path) -> None:
    data = photo(tmp_path / "a.png", 1).read_bytes()
    assert file_hash(data) != file_hash(data + b"\0")
