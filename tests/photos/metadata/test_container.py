from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from showtell.errors import PhotoError
from showtell.photos.metadata.container import parse_container, parse_jpeg
from showtell.photos.metadata.image_hash import hash_image
from support.odd_photos import encoded
from support.photo_library import photo_with_xmp, picture

FORMATS = ("JPEG", "PNG", "WEBP")


@pytest.mark.parametrize("kind", FORMATS)
def test_segments_cover_the_file_and_contain_its_xmp(kind: str) -> None:
    for words in ("even", "odd"):
        data = photo_with_xmp(picture(1), kind, words) + b"trailer"
        container = parse_container(data)
        assert container is not None
        assert container.format == kind
        assert [segment.start for segment in container.segments[1:]] == [
            segment.end for segment in container.segments[:-1]
        ]
        assert (container.segments[0].start, container.segments[-1].end) == (0, len(data))
        packet = container.xmp(data)
        assert packet is not None
        assert packet.startswith(b"<x:xmpmeta")
        assert words.encode() in packet
        assert packet.endswith(b"</x:xmpmeta>")


def test_progressive_and_cmyk_jpegs_are_parsed() -> None:
    for options in ({"progressive": True}, {"restart_marker_blocks": 2}, {"quality": 100}):
        data = encoded(picture(3, (400, 300)), "JPEG", **options)
        container = parse_container(data)
        assert container is not None
        assert container.size == (400, 300)
        image = [segment for segment in container.segments if segment.kind == "image"]
        assert sum(segment.end - segment.start for segment in image) > len(data) - 40
    cmyk = encoded(picture(3).convert("CMYK"), "JPEG")
    container = parse_container(cmyk)
    assert container is not None
    # the Adobe segment defines the colour transform: with another one it is another picture
    changed = bytearray(cmyk)
    changed[cmyk.index(b"Adobe") + 11] ^= 2
    assert hash_image(bytes(changed), parse_container(bytes(changed))) != hash_image(
        cmyk, container
    )


@pytest.mark.parametrize("data", [b"\xff\xd8\xff", b"\xff\xd8\xff\xc0", b"\xff\xd8\xff\xc0\0\x02"])
def test_truncated_jpeg_is_rejected(data: bytes) -> None:
    with pytest.raises(PhotoError, match="truncated: image data is missing at the end"):
        parse_jpeg(data)


@settings(suppress_health_check=list(HealthCheck))
@given(st.sampled_from(FORMATS), st.data())
def test_damaged_photos_are_rejected_or_parsed_completely(kind: str, data: st.DataObject) -> None:
    complete = photo_with_xmp(picture(1), kind, "words")
    cut = data.draw(st.integers(0, len(complete)))
    broken = bytearray(complete[:cut])
    for index in data.draw(st.lists(st.integers(0, max(cut - 1, 0)), max_size=5)):
        if index < len(broken):
            broken[index] = data.draw(st.integers(0, 255))
    try:
        container = parse_container(bytes(broken))
    except PhotoError:
        return
    if container is not None:
        assert sum(segment.end - segment.start for segment in container.segments) == len(broken)
        container.xmp(bytes(broken))
