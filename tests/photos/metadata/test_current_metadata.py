from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

from showtell.photos.metadata.blocks import find_blocks
from showtell.photos.metadata.current_metadata import read_file_metadata, read_sidecar_metadata
from showtell.photos.metadata.exif_text import decode_user_comment
from showtell.photos.metadata.xmp import set_fields
from support.odd_photos import encoded, with_xmp
from support.paths import ROOT
from support.photo_library import exiftool, picture

WORDS = "Grandmother Olga am Königssee, 1987 – 東京"
LATIN_WORDS = "Grandmother Olga am Königssee, 1987"
ASCII_WORDS = "Grandmother Olga, 1987"
DESCRIPTION = ("description", "iptc")
# format, tag, text: where exiftool can write a person's text
PLACES = (
    *[("JPEG", f"{group}:ImageDescription", WORDS) for group in ("EXIF", "XMP-tiff")],
    ("JPEG", "EXIF:UserComment", WORDS),
    ("JPEG", "EXIF:UserComment", "in ASCII"),
    ("JPEG", "XMP-exif:UserComment", WORDS),
    ("JPEG", "EXIF:XPComment", WORDS),
    ("JPEG", "EXIF:XPSubject", WORDS),
    ("JPEG", "File:Comment", WORDS),
    ("JPEG", "IPTC:Caption-Abstract", ASCII_WORDS),
    ("JPEG", "XMP-dc:Description-de", WORDS),
    ("PNG", "PNG:Description", LATIN_WORDS),
    ("PNG", "PNG:Comment", WORDS),
    ("PNG", "EXIF:UserComment", WORDS),
    ("PNG", "XMP-dc:Description", WORDS),
    ("WEBP", "EXIF:ImageDescription", WORDS),
    ("WEBP", "XMP-dc:Description", WORDS),
    ("TIFF", "EXIF:ImageDescription", WORDS),
    ("TIFF", "EXIF:UserComment", WORDS),
    ("TIFF", "EXIF:XPComment", WORDS),
    ("TIFF", "XMP-dc:Description", WORDS),
    ("TIFF", "IPTC:Caption-Abstract", ASCII_WORDS),
    ("GIF", "File:Comment", "in ASCII"),
    ("GIF", "XMP-dc:Description", WORDS),
    ("AVIF", "EXIF:ImageDescription", WORDS),
    ("HEIF", "EXIF:UserComment", WORDS),
    ("HEIF", "XMP-dc:Description", WORDS),
)


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a photo for each of PLACES that can be written here."""
    folder = tmp_path_factory.mktemp("described")
    arguments: list[str] = []
    for index, (kind, tag, text) in enumerate(PLACES):
        path = folder / f"{index}.{kind.lower()}"
        if data := _photo(kind):
            path.write_bytes(data)
            (folder / f"{index}.txt").write_text(text)
            arguments += [f"-{tag}<={folder / f'{index}.txt'}", "-charset", "iptc=UTF8"]
            arguments += ["-overwrite_original", str(path), "-execute"]
    exiftool(*arguments[:-1])
    return folder


def _photo(kind: str) -> bytes | None:
    if kind == "AVIF" and not features.check("avif"):
        return None
    if kind == "HEIF":
        try:
            import pillow_heif
        except ImportError:
            return None
        pillow_heif.register_heif_opener()
    return encoded(picture(1), kind)


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize("index", range(len(PLACES)), ids=[f"{k} {t}" for k, t, _ in PLACES])
def test_text_by_a_person_is_seen_wherever_it_stands(described: Path, index: int) -> None:
    kind, _, text = PLACES[index]
    path = described / f"{index}.{kind.lower()}"
    if not path.exists():
        pytest.skip(f"{kind} cannot be written here")
    metadata, _ = read_file_metadata(path)
    assert metadata.texts(DESCRIPTION) == {text}
    assert metadata.texts(("alt",)) == set()


def raw_profile(kind: str, profile: bytes) -> tuple[str, str]:
    """Return the keyword and text with which ImageMagick stores metadata in a PNG."""
    lines = "\n".join(profile.hex()[start : start + 72] for start in range(0, len(profile) * 2, 72))
    return f"Raw profile type {kind}", f"\n{kind}\n{len(profile):8}\n{lines}\n"


def exif_block(tag: int = 0x010E) -> bytes:
    exif = Image.Exif()
    exif[tag] = ASCII_WORDS
    return exif.tobytes()


def iptc_datasets() -> bytes:
    return struct.pack(">BBBH", 0x1C, 2, 120, len(WORDS.encode())) + WORDS.encode()


def image_resource() -> bytes:
    datasets = struct.pack(">BBBH", 0x1C, 2, 120, len(ASCII_WORDS)) + ASCII_WORDS.encode()
    return b"8BIM\4\4\0\0" + struct.pack(">I", len(datasets)) + datasets


def raw_profiles() -> Iterator[tuple[str, bytes]]:
    packet = set_fields(None, {"description": ASCII_WORDS})
    yield "xmp", packet
    yield "APP1", b"http://ns.adobe.com/xap/1.0/\0" + packet
    yield "exif", exif_block()
    yield "APP1", exif_block()
    yield "exif", exif_block().removeprefix(b"Exif\0\0")
    yield "8bim", image_resource()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("kind", "profile"), list(raw_profiles()))
def test_raw_profiles_of_a_png_are_read(
    tmp_path: Path, kind: str, profile: bytes, compressed: bool
) -> None:
    info = PngInfo()
    info.add_text(*raw_profile(kind, profile), zip=compressed)
    path = tmp_path / "a.png"
    path.write_bytes(encoded(picture(1), "PNG", pnginfo=info))
    assert read_file_metadata(path)[0].texts(DESCRIPTION) == {ASCII_WORDS}


def test_iptc_in_a_raw_profile_is_read_with_and_without_image_resources(tmp_path: Path) -> None:
    datasets = iptc_datasets() + b"\x1c\x01\x5a\0\3\x1b%G"
    resources = b"8BIM\4\4\0\0" + struct.pack(">I", len(datasets)) + datasets
    for profile in (datasets, resources):
        info = PngInfo()
        info.add_text(*raw_profile("iptc", profile))
        path = tmp_path / "a.png"
        path.write_bytes(encoded(picture(1), "PNG", pnginfo=info))
        assert len(read_file_metadata(path)[0].texts(DESCRIPTION)) == 1


@pytest.mark.parametrize("width", [71, 72, 10_000])
@pytest.mark.parametrize("start", ["", "\n"])
def test_raw_profile_in_lines_of_any_length_is_read(tmp_path: Path, width: int, start: str) -> None:
    digits = set_fields(None, {"description": ASCII_WORDS}).hex().upper()
    lines = "\n".join(digits[i : i + width] for i in range(0, len(digits), width))
    info = PngInfo()
    info.add_text("raw profile type XMP", f"{start}xmp\n  {len(digits) // 2}\n{lines}")
    path = tmp_path / "a.png"
    path.write_bytes(encoded(picture(1), "PNG", pnginfo=info))
    assert read_file_metadata(path)[0].texts(DESCRIPTION) == {ASCII_WORDS}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("keyword", ["XML:com.adobe.xmp", "exif:ImageDescription"])
def test_words_in_a_png_text_of_an_unusual_kind_are_seen(
    tmp_path: Path, keyword: str, compressed: bool
) -> None:
    is_xmp = keyword.startswith("XML")
    packet = set_fields(None, {"description": ASCII_WORDS}).decode().replace("\ufeff", "")
    info = PngInfo()
    info.add_text(keyword, packet if is_xmp else ASCII_WORDS, zip=compressed)
    path = tmp_path / "a.png"
    path.write_bytes(encoded(picture(1), "PNG", pnginfo=info))
    assert read_file_metadata(path)[0].texts(DESCRIPTION) == {ASCII_WORDS}


def jpeg_with_segments(*contents: bytes) -> bytes:
    """Return a JPEG with application segments 1."""
    segments = b"".join(struct.pack(">HH", 0xFFE1, len(c) + 2) + c for c in contents)
    data = encoded(picture(1), "JPEG")
    return data[:2] + segments + data[2:]


def test_words_in_a_second_packet_of_xmp_are_seen(tmp_path: Path) -> None:
    header = b"http://ns.adobe.com/xap/1.0/\0"
    packets = [set_fields(None, {"alt": "x"}), set_fields(None, {"description": WORDS})]
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg_with_segments(*[header + packet for packet in packets]))
    assert read_file_metadata(path)[0].texts(DESCRIPTION) == {WORDS}


def test_words_in_xmp_whose_segment_lacks_the_nul_after_its_name_are_seen(tmp_path: Path) -> None:
    packet = set_fields(None, {"description": WORDS})
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg_with_segments(b"http://ns.adobe.com/xap/1.0/" + packet))
    assert read_file_metadata(path)[0].texts(DESCRIPTION) == {WORDS}


def test_words_in_a_second_exif_segment_are_seen(tmp_path: Path) -> None:
    camera = exif_block(0x010F)
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg_with_segments(camera, exif_block(), camera[:9], b"Exif\0\0\xff\xd8"))
    assert read_file_metadata(path)[0].texts(DESCRIPTION) == {ASCII_WORDS}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_words_in_the_utf_8_of_exif_3_are_seen(tmp_path: Path, kind: str, order: str) -> None:
    if _photo(kind) is None:
        pytest.skip("this Pillow does not write AVIF")
    text = WORDS.encode()
    entry = struct.pack(f"{order}HHHII4x", 1, 0x010E, 129, len(text), 26)
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    path = tmp_path / f"a.{kind.lower()}"
    exif = b"Exif\0\0" + header + entry + text
    path.write_bytes(encoded(picture(1), kind, exif=exif))
    assert read_file_metadata(path)[0].texts(DESCRIPTION) == {WORDS}


def test_words_in_extended_xmp_are_seen_beside_those_of_an_earlier_version(tmp_path: Path) -> None:
    header = b"http://ns.adobe.com/xmp/extension/\0"
    earlier, now = set_fields(None, {"alt": "x"}), set_fields(None, {"description": WORDS})
    parts = [
        (b"0" * 32, earlier, 0, len(earlier)),
        (b"A" * 32, now, 300, len(now)),
        (b"A" * 32, now, 0, 300),
    ]
    path = tmp_path / "a.jpg"
    path.write_bytes(
        jpeg_with_segments(
            *[
                header + guid + struct.pack(">II", len(packet), start) + packet[start:end]
                for guid, packet, start, end in parts
            ]
        )
    )
    assert read_file_metadata(path)[0].texts(DESCRIPTION) == {WORDS}


def test_iptc_in_a_raw_photo_is_read(tmp_path: Path) -> None:
    info = {33723: iptc_datasets()}
    path = tmp_path / "a.nef"
    path.write_bytes(encoded(picture(1), "TIFF", tiffinfo=info))
    assert read_file_metadata(path)[0].texts(DESCRIPTION) == {WORDS}


@pytest.mark.parametrize("name", ["notes", "caption"])
def test_words_written_by_acdsee_are_seen(tmp_path: Path, name: str) -> None:
    packet = set_fields(None, {}).replace(
        b"</rdf:RDF>",
        b'<rdf:Description xmlns:acdsee="http://ns.acdsee.com/iptc/1.0/">'
        b"<acdsee:%b>by hand</acdsee:%b></rdf:Description></rdf:RDF>"
        % (name.encode(), name.encode()),
    )
    path = tmp_path / "a.xmp"
    path.write_bytes(packet)
    assert read_sidecar_metadata(path).texts(DESCRIPTION) == {"by hand"}


def test_damaged_png_texts_are_ignored_and_the_others_read(tmp_path: Path) -> None:
    info = PngInfo()
    info.add(b"zTXt", b"Comment\0\0not deflated")
    info.add(b"tEXt", b"no separator")
    info.add(b"iTXt", b"Comment\0")
    info.add_text("Raw profile type xmp", "\nxmp\n  4\nnot hexadecimal")
    info.add_text("DESCRIPTION", "by hand")
    path = tmp_path / "a.png"
    path.write_bytes(encoded(picture(1), "PNG", pnginfo=info))
    assert read_file_metadata(path)[0].texts(DESCRIPTION) == {"by hand"}


def test_description_that_repeats_the_camera_is_not_by_a_person(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E], exif[0x0110] = "EASYSHARE C613", "EasyShare C613"
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(picture(1), "JPEG", exif=exif, comment="CREATOR: gd-jpeg v1.0"))
    assert read_file_metadata(path)[0].texts(DESCRIPTION) == set()


def test_titles_and_keywords_are_not_captions(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x9C9B] = "A title".encode("utf-16-le")  # XPTitle
    content = '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" dc:title="A title"/>'
    path = tmp_path / "a.jpg"
    path.write_bytes(with_xmp(picture(1), "JPEG", content, exif=exif))
    assert read_file_metadata(path)[0].texts(DESCRIPTION) == set()


def test_extended_alt_text_is_an_alt_text(tmp_path: Path) -> None:
    content = (
        '<rdf:Description xmlns:i="http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/">'
        "<i:ExtDescrAccessibility><rdf:Alt><rdf:li>by hand</rdf:li></rdf:Alt>"
        "</i:ExtDescrAccessibility></rdf:Description>"
    )
    path = tmp_path / "a.jpg"
    path.write_bytes(with_xmp(picture(1), "JPEG", content))
    metadata, _ = read_file_metadata(path)
    assert (metadata.texts(("alt",)), metadata.texts(DESCRIPTION)) == ({"by hand"}, set())
    sidecar = tmp_path / "a.xmp"
    sidecar.write_bytes(next(iter(find_blocks(path.read_bytes(), None, is_raw=True).xmp)))
    assert read_sidecar_metadata(sidecar).texts(("alt",)) == {"by hand"}


@pytest.mark.parametrize(
    ("comment", "endian", "text"),
    [
        (b"ASCII\0\0\0in ASCII\0\0", "<", "in ASCII"),
        (b"ASCII\0\0\0", "<", ""),
        (b"ASCII\0\0\0" + WORDS.encode(), "<", WORDS),
        (b"UNICODE\0" + WORDS.encode("utf-16-le"), ">", WORDS),
        (b"UNICODE\0" + WORDS.encode("utf-16-be"), "<", WORDS),
        (b"UNICODE\0\xfe\xff" + WORDS.encode("utf-16-be"), "<", WORDS),
        (b"Unicode\0" + "東京".encode("utf-16-be"), ">", "東京"),
        (b"JIS\0\0\0\0\0" + "東京".encode("iso2022_jp"), "<", "東京"),
        (b"JIS\0\0\0\0\0" + "東京".encode("euc_jp"), "<", "東京"),
        (bytes(8) + WORDS.encode(), "<", WORDS),
        (bytes(8) + b"caf\xe9", "<", "café"),
        (b"without a code", "<", "without a code"),
        (b"", "<", ""),
    ],
)
def test_user_comment_is_decoded_by_its_code(comment: bytes, endian: str, text: str) -> None:
    assert decode_user_comment(comment, endian).strip("\0") == text


@pytest.mark.parametrize("name", ["person_exif_description.jpg", "xmp_raw_profile.png"])
def test_shared_cases_have_a_text_by_a_person(name: str) -> None:
    path = ROOT.parent / "shared" / "cases" / name
    if not path.exists():
        pytest.skip("shared cases are missing")
    assert len(read_file_metadata(path)[0].texts(DESCRIPTION)) == 1
