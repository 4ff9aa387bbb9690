from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from showtell.errors import MetadataError
from showtell.photos.binary_patch import apply_patch, make_patch
from showtell.photos.catalogue.caption_text import clean_text
from showtell.photos.metadata import embed as embed_module
from showtell.photos.metadata.container import parse_container
from showtell.photos.metadata.current_metadata import read_photo_metadata
from showtell.photos.metadata.embed import embed_fields
from showtell.photos.metadata.embedding_check import check_embedded
from showtell.photos.metadata.iptc import truncate_caption
from showtell.photos.metadata.xmp import set_fields
from support.jpeg_metadata import (
    MAKER_NOTES_WITH_PREVIEW,
    UTF8_MARKER,
    exif_with_maker_note,
    iptc_block,
    other_values,
    photoshop,
    resource,
    segment,
    trailing_preview,
    with_further_pictures,
    with_preview_in_maker_note,
    with_segments,
)
from support.odd_photos import encoded
from support.photo_library import picture

CAPTIONS = ("two otters", "Zwölf Otter", "東京湾の猫")
IPTC = 0x0404
XMP = b"http://ns.adobe.com/xap/1.0/\0"
sentences = st.text(min_size=1, max_size=80).map(clean_text).filter(bool)


def jpeg(seed: int = 1, **options: object) -> bytes:
    return encoded(picture(seed), "JPEG", **options)


def embed(data: bytes, caption: str) -> bytes:
    """Embed a caption in all fields of a photo, and check that nothing else changes."""
    container = parse_container(data)
    assert container is not None
    texts = {"description": caption, "alt": caption}
    if container.format == "JPEG":
        texts["iptc"] = truncate_caption(caption)
    result = embed_fields(data, texts)
    check_embedded(data, result, texts)
    return result


def decoded(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.tobytes()


def with_iptc(*datasets: tuple[tuple[int, int], bytes]) -> bytes:
    return with_segments(jpeg(), photoshop(resource(IPTC, iptc_block(*datasets))))


@pytest.mark.parametrize("caption", CAPTIONS)
@pytest.mark.parametrize(
    "photo",
    [
        with_iptc(((2, 90), "Zürich".encode())),
        with_iptc(UTF8_MARKER, ((2, 90), "Zürich".encode())),
        with_iptc(((2, 90), "Zürich".encode()), ((2, 120), b"old"), ((2, 105), b"head")),
        with_iptc(((1, 0), b"\0\4"), ((2, 0), b"\0\4"), *[((2, 25), b"k%d" % i) for i in range(9)]),
        with_iptc(
            ((1, 20), b"\0\1"),
            ((2, 199), b"\xff\x00unknown"),
            ((2, 202), bytes(range(256))),
            ((2, 202), bytes(40_000)),
            ((3, 20), b"\0\7"),
            ((7, 10), b"\0\xc3"),
            ((240, 1), b"\xfe\xff"),
        ),
        with_iptc(((2, 120), b"old"), ((2, 120), b"older"), ((2, 122), b"writer")),
        with_segments(jpeg(), photoshop(resource(0x03ED, bytes(15)), resource(0x0425, bytes(16)))),
        with_segments(
            jpeg(),
            photoshop(
                resource(0x03ED, bytes(16), name=b"name"),
                resource(IPTC, iptc_block(((2, 90), b"odd")), name=b"odd"),
                resource(0x0BB7, b"clip", name=b"path 1"),
            ),
        ),
        with_segments(
            jpeg(),
            photoshop(
                resource(0x040A, b"odd", padded=False),
                resource(IPTC, iptc_block(((2, 90), b"Bonn")), padded=False),
                resource(0x1000, b"x", signature=b"MeSa"),
            ),
        ),
        with_segments(jpeg(), photoshop(resource(0x0406, bytes(9)), resource(0x0409, b"second"))),
        with_segments(jpeg(), photoshop(resource(IPTC, iptc_block(((2, 90), b"Ulm"))) + bytes(3))),
    ],
)
def test_other_iptc_values_and_resources_stay(tmp_path: Path, photo: bytes, caption: str) -> None:
    result = embed(photo, caption)
    metadata = read_photo_metadata(result, parse_container(result))
    assert [metadata.value(key) for key in ("iptc", "description", "alt")] == [caption] * 3
    before = other_values(tmp_path / "before.jpg", photo)
    assert other_values(tmp_path / "after.jpg", result) == before
    assert decoded(result) == decoded(photo)
    assert embed(result, caption) == result


def test_an_ascii_caption_keeps_every_byte_of_other_fields() -> None:
    others = (((2, 90), b"Z\xfcrich"), ((2, 92), "Höhe".encode()))
    result = embed(with_iptc(*others), "two otters")
    assert iptc_block(*others, ((2, 120), b"two otters")) in result
    assert UTF8_MARKER[1] not in result


def test_fields_in_latin_1_keep_their_value_if_the_caption_needs_utf_8() -> None:
    photo = with_iptc(((2, 90), b"Z\xfcrich"), ((2, 92), "Höhe".encode()), ((2, 200), b"\xfc"))
    result = embed(photo, "東京")
    assert (
        iptc_block(
            UTF8_MARKER,
            ((2, 90), "Zürich".encode()),
            ((2, 92), "Höhe".encode()),
            ((2, 200), b"\xfc"),
            ((2, 120), "東京".encode()),
        )
        in result
    )


def test_marked_character_sets_are_kept_or_converted() -> None:
    latin_2 = ((1, 90), b"\x1b-B"), ((2, 90), "Łódź".encode("iso-8859-2"))
    kept = embed(with_iptc(*latin_2), "źródło")
    assert iptc_block(*latin_2, ((2, 120), "źródło".encode("iso-8859-2"))) in kept
    converted = embed(with_iptc(*latin_2), "東京")
    assert iptc_block(UTF8_MARKER, ((2, 90), "Łódź".encode())) in converted
    unknown = with_iptc(((1, 90), b"\x1b%@"), ((2, 90), b"\xa4\xe5"))
    assert b"two otters" in embed(unknown, "two otters")
    with pytest.raises(MetadataError, match="character set that is not read"):
        embed(unknown, "東京")


def test_photoshops_checksum_of_iptc_is_updated_only_if_it_was_right() -> None:
    block = iptc_block(((2, 90), b"Bern"))
    for checksum in (hashlib.md5(block).digest(), bytes(16)):
        photo = with_segments(jpeg(), photoshop(resource(IPTC, block), resource(0x0425, checksum)))
        new_block = iptc_block(((2, 90), b"Bern"), ((2, 120), b"two otters"))
        expected = hashlib.md5(new_block).digest() if any(checksum) else checksum
        assert resource(0x0425, expected) in embed(photo, "two otters")


def test_resources_in_several_segments_stay_also_if_one_goes_on_in_the_next() -> None:
    first = resource(0x03F3, b"flags") + resource(IPTC, iptc_block(((2, 90), b"Genf")))
    long = resource(0x040C, bytes(range(256)) * 300)
    split = photoshop(first + long[:40_000], long[40_000:])
    apart = photoshop(resource(0x03F3, b"flags!"), resource(IPTC, iptc_block(((2, 90), b"Genf"))))
    torn = photoshop(first[:-9], first[-9:], resource(0x0409, b"more"))
    for segments in (split, apart, torn):
        photo = with_segments(jpeg(), segments)
        result = embed(photo, "two otters")
        container = parse_container(result)
        assert container is not None
        assert read_photo_metadata(result, container).value("iptc") == "two otters"
    full = first + resource(0x040C, bytes(65_519 - 12 - len(first) - 1))
    grown = embed(with_segments(jpeg(), photoshop(full)), "two otters " * 90)
    assert grown.count(b"Photoshop 3.0\0") == 2


@pytest.mark.parametrize(
    "segments",
    [
        photoshop(resource(IPTC, b"\x1c\2\x5a\0\x20short")),
        photoshop(resource(IPTC, b"not iptc")),
        photoshop(resource(0x0409, b"")[:-4] + b"\0\0\xff\xff"),
        photoshop(b"garbage"),
    ],
)
def test_damaged_iptc_is_refused(segments: bytes) -> None:
    with pytest.raises(MetadataError, match=r"its (IPTC is|Photoshop resources are) damaged"):
        embed(with_segments(jpeg(), segments), "two otters")


TEXT_KEYS = st.sampled_from([(2, 5), (2, 25), (2, 80), (2, 90), (2, 105), (2, 116), (2, 122)])
TEXT_VALUES = st.text(max_size=20).map(str.encode) | st.text(
    st.characters(codec="latin-1"), max_size=20
).map(lambda text: text.encode("latin-1"))
BINARY_KEYS = st.tuples(st.sampled_from([1, 2, 3, 6, 9, 240]), st.sampled_from([33, 199, 202]))
DATASETS = st.lists(
    st.tuples(TEXT_KEYS, TEXT_VALUES) | st.tuples(BINARY_KEYS, st.binary(max_size=9)), max_size=8
)
RESOURCES = st.lists(
    st.builds(
        resource,
        st.sampled_from([0x03ED, 0x0409, 0x0BB7, 0x2710]),
        st.binary(max_size=9),
        st.binary(max_size=5),
    ),
    max_size=3,
)


@given(DATASETS, RESOURCES, RESOURCES, sentences, sentences, st.booleans(), st.integers(1, 999))
def test_any_iptc_keeps_its_other_values_and_takes_any_caption(
    datasets: list[tuple[tuple[int, int], bytes]],
    before: list[bytes],
    after: list[bytes],
    one: str,
    two: str,
    marked: bool,
    cut: int,
) -> None:
    block = iptc_block(*([UTF8_MARKER] if marked else []), *datasets)
    content = b"".join([*before, resource(IPTC, block), *after])
    photo = with_segments(
        jpeg(), photoshop(content[: cut % len(content)], content[cut % len(content) :])
    )
    texts = {"iptc": one, "description": two}
    changed = embed_fields(photo, texts)
    check_embedded(photo, changed, texts)
    again = embed_fields(changed, {"iptc": two})
    check_embedded(changed, again, {"iptc": two})
    check_embedded(photo, again, {"iptc": two, "description": two})


FURTHER = [jpeg(2), jpeg(3)]


EMPTY_XMP = segment(
    0xE1,
    XMP + b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf="
    b"'http://www.w3.org/1999/02/22-rdf-syntax-ns#'/></x:xmpmeta>",
)


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("following", [b"", EMPTY_XMP, photoshop(b""), EMPTY_XMP + photoshop(b"")])
def test_further_pictures_are_found_at_their_new_position(
    tmp_path: Path, byte_order: str, following: bytes
) -> None:
    photo = with_further_pictures(jpeg(), FURTHER, byte_order, following=following, gap=bytes(5))
    result = embed(photo, "two otters")
    values = other_values(tmp_path / "after.jpg", result)
    assert values == other_values(tmp_path / "before.jpg", photo)
    assert sum("MPImage" in name for name in values) >= 2
    assert result.endswith(bytes(5) + FURTHER[0] + FURTHER[1])
    with Image.open(io.BytesIO(result)) as image:
        assert image.n_frames == 3  # type: ignore[attr-defined]
        image.seek(2)
        assert image.tobytes() == decoded(FURTHER[1])
    assert embed(result, "two otters") == result


def test_a_list_of_further_pictures_that_no_longer_fits_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photo = with_further_pictures(jpeg(), FURTHER, following=EMPTY_XMP)
    monkeypatch.setattr(embed_module, "keep_further_pictures", lambda *_: None)
    with pytest.raises(MetadataError, match=r"would change its further pictures \(MPF\)"):
        embed(photo, "two otters")


def test_a_damaged_list_of_further_pictures_is_refused() -> None:
    photo = with_further_pictures(jpeg(), FURTHER)
    for damaged in (
        photo.replace(b"MM\0*", b"XX\0*"),
        photo.replace(b"MM\0*\0\0\0", b"MM\0*\xff\0\0"),
    ):
        with pytest.raises(MetadataError, match="list of further pictures"):
            embed(damaged, "two otters")


@pytest.mark.parametrize("camera", MAKER_NOTES_WITH_PREVIEW)
def test_preview_after_the_picture_is_found_at_its_new_position(
    tmp_path: Path, camera: str
) -> None:
    preview = trailing_preview(jpeg(2), camera)
    photo = with_preview_in_maker_note(jpeg(), preview, camera)
    result = embed(photo, "two otters")
    exif_start = result.index(b"Exif\0\0") + 6
    assert result.endswith(preview)
    offset = len(result) - len(preview) - exif_start
    assert exif_with_maker_note(camera, offset, len(preview)) in result
    values = other_values(tmp_path / "after.jpg", result)
    assert values == other_values(tmp_path / "before.jpg", photo)
    assert any("PreviewImage" in name for name in values)
    assert embed(result, "two otters") == result
    assert apply_patch(make_patch(photo, result), result) == photo


def test_pointer_to_a_preview_that_no_longer_fits_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photo = with_preview_in_maker_note(jpeg(), jpeg(2), "minolta")
    monkeypatch.setattr(embed_module, "keep_previews", lambda *_: None)
    with pytest.raises(MetadataError, match=r"would change its (EXIF|previews after the picture)"):
        embed(photo, "two otters")


def test_exif_that_points_elsewhere_keeps_every_byte() -> None:
    photo = with_preview_in_maker_note(jpeg(), b"no preview " * 9, "minolta")
    block = photo[photo.index(b"Exif") : photo.index(b"\xff\xdb")]
    for data in (photo, photo[: -len(b"no preview " * 9)]):
        assert block in embed(data, "two otters")


def with_extended_xmp(photo: bytes, properties: str) -> bytes:
    """Add XMP that continues in two further segments with some properties."""
    rest = (
        "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-"
        "syntax-ns#'><rdf:Description xmlns:dc='http://purl.org/dc/elements/1.1/'>"
        f"{properties}</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()
    guid = hashlib.md5(rest).hexdigest().upper()
    main = (
        f"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-"
        f"syntax-ns#'><rdf:Description xmlns:n='http://ns.adobe.com/xmp/note/' "
        f"n:HasExtendedXMP='{guid}'/></rdf:RDF></x:xmpmeta>"
    ).encode()
    header = b"http://ns.adobe.com/xmp/extension/\0" + guid.encode() + len(rest).to_bytes(4)
    half = len(rest) // 2
    parts = ((half, rest[half:]), (0, rest[:half]))  # in any order
    chunks = b"".join(segment(0xE1, header + at.to_bytes(4) + part) for at, part in parts)
    return with_segments(photo, segment(0xE1, XMP + main) + chunks)


def test_extended_xmp_stays_and_a_caption_in_it_is_refused(tmp_path: Path) -> None:
    photo = with_extended_xmp(jpeg(), "<dc:source>elsewhere</dc:source>")
    result = embed(photo, "two otters")
    values = other_values(tmp_path / "after.jpg", result)
    assert values == other_values(tmp_path / "before.jpg", photo)
    assert values["XMP-dc:Source"] == "elsewhere"
    with pytest.raises(MetadataError, match="extended XMP"):
        embed(with_extended_xmp(jpeg(), "<dc:description>x</dc:description>"), "two otters")


EXIF = Image.Exif()
EXIF[0x010F] = "camera"


@pytest.mark.parametrize(
    "photo",
    [
        jpeg(exif=EXIF, icc_profile=bytes(70_000), comment=b"a comment"),
        jpeg(progressive=True),
        jpeg(restart_marker_blocks=2),
        jpeg(exif=EXIF) + b"\0\0SEFHe\0\0SEFT" + bytes(99),
        jpeg() + b"\0\0\0\x18ftypmp42" + bytes(999),
        jpeg()[:-2],
        jpeg()[:-2] + b"\xff\xdc\0\4\0\x24\xff\xd9",  # a number of lines (DNL)
        # fill bytes before every kind of segment
        jpeg(exif=EXIF).replace(b"\xff\xdb", b"\xff\xff\xff\xdb"),
        with_segments(jpeg(), b"\xff\xff\xff" + EMPTY_XMP + b"\xff\xff" + photoshop(b"")),
        jpeg().replace(b"\xff\xd9", b"\xff\xff\xff\xd9"),
        # EXIF before JFIF, and neither
        jpeg()[:2] + jpeg(exif=EXIF)[20:],
        jpeg()[:2] + jpeg()[20:],
        with_segments(jpeg(), segment(0xEE, b"Adobe\0\x64\0\0\0\0\1") + segment(0xFE, b"made")),
        with_segments(jpeg(), segment(0xEB, b"JP" + bytes(30)) + EMPTY_XMP),
    ],
)
def test_any_jpeg_takes_captions_and_keeps_the_rest(tmp_path: Path, photo: bytes) -> None:
    result = embed(photo, "Zwölf Otter")
    values = other_values(tmp_path / "after.jpg", result)
    assert values == other_values(tmp_path / "before.jpg", photo)
    assert apply_patch(make_patch(photo, result), result) == photo
    if photo.endswith(b"\xff\xd9"):
        assert decoded(result) == decoded(photo)


def test_xmp_that_is_padded_gives_up_padding_and_full_xmp_is_refused() -> None:
    def with_packet(filler: int, padding: int) -> bytes:
        packet = set_fields(None, {"alt": "x" * filler})
        begin, _ = packet.split(b"<?xpacket end")
        packet = begin + b" " * padding + b'\n<?xpacket end="r"?>'
        return with_segments(jpeg(), segment(0xE1, XMP + packet))

    texts = {"description": "two otters " * 40}
    padded = with_packet(60_000, 4_800)
    check_embedded(padded, embed_fields(padded, texts), texts)
    with pytest.raises(MetadataError, match="too long for a caption"):
        embed_fields(with_packet(64_900, 0), texts)


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (picture(1), {}),
        (picture(1), {"lossless": True}),
        (picture(1).convert("RGBA"), {"lossless": True}),
        (picture(1).convert("RGBA"), {}),
        (picture(1, (47, 1)), {"exif": EXIF, "icc_profile": bytes(33)}),
        (picture(1), {"save_all": True, "append_images": [picture(2)]}),
    ],
)
def test_any_webp_takes_captions_and_keeps_the_rest(
    tmp_path: Path, image: Image.Image, options: dict[str, object]
) -> None:
    if image.mode == "RGBA":
        image.putalpha(99)
    photo = encoded(image, "WEBP", **options)
    for data in (photo, photo + b"after the end"):
        result = embed(data, "Zwölf Otter")
        values = other_values(tmp_path / "after.webp", result)
        before = other_values(tmp_path / "before.webp", data)
        computed = {name for name in values if name.startswith("RIFF:")} | {"File:FileType"}
        assert {**values, **dict.fromkeys(computed)} == {**before, **dict.fromkeys(computed)}
        with Image.open(io.BytesIO(data)) as old, Image.open(io.BytesIO(result)) as new:
            assert (new.size, new.mode, new.tobytes()) == (old.size, old.mode, old.tobytes())
        assert embed(result, "Zwölf Otter") == result
        assert apply_patch(make_patch(data, result), result) == data


def test_any_png_takes_captions_and_keeps_the_rest(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("Author", "Ada")
    info.add_itxt("Title", "Otter", "de", "Titel")
    photos = [
        encoded(picture(1), "PNG", pnginfo=info, exif=EXIF, icc_profile=bytes(99)),
        encoded(picture(1).quantize(7), "PNG"),
        encoded(picture(1), "PNG", save_all=True, append_images=[picture(2)]),
        encoded(picture(1), "PNG") + b"after the end",
    ]
    for compressed in (True, False):
        info = PngInfo()
        packet = set_fields(None, {"description": "old"}).decode()
        info.add_itxt("XML:com.adobe.xmp", packet, zip=compressed)
        photos.append(encoded(picture(1), "PNG", pnginfo=info))
    for photo in photos:
        result = embed(photo, "Zwölf Otter")
        values = other_values(tmp_path / "after.png", result)
        assert values == other_values(tmp_path / "before.png", photo)
        assert decoded(result) == decoded(photo)
        assert embed(result, "Zwölf Otter") == result
        assert result.count(b"XML:com.adobe.xmp") == 1
        assert apply_patch(make_patch(photo, result), result) == photo


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_without_a_picture_size_is_refused(lossless: bool) -> None:
    photo = encoded(picture(1), "WEBP", lossless=lossless)
    for damaged in (photo[:20] + bytes(len(photo) - 20), b"RIFF\x0c\0\0\0WEBPVP8 \0\0\0\0"):
        with pytest.raises(MetadataError, match="no image where a WebP file begins"):
            embed_fields(damaged, {"alt": "two otters"})


def test_other_formats_are_refused() -> None:
    with pytest.raises(MetadataError, match="not a JPEG, PNG or WebP"):
        embed_fields(b"GIF89a", {"alt": "two otters"})
