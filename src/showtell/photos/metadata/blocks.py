"""Find the blocks of metadata in a photo of any format: EXIF, XMP, IPTC and comments."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from PIL import Image

from showtell.image_formats.jpeg_markers import COMMENT
from showtell.image_formats.photo_header import open_header
from showtell.image_formats.upright_rgb import ORIENTATION_TAG
from showtell.photos.metadata.container import Container
from showtell.photos.metadata.embed import extended_xmp
from showtell.photos.metadata.exif import exif_of_raw, parse_exif
from showtell.photos.metadata.image_resources import encode_resource
from showtell.photos.metadata.png_text import decode_text, png_texts, raw_profiles
from showtell.photos.metadata.tiff_tags import read_tag
from showtell.photos.metadata.xmp import find_packet

# ImageMagick also writes the values of EXIF as texts
_PNG_DESCRIPTIONS = (
    *("description", "comment", "caption", "exif:imagedescription", "exif:usercomment"),
)
_PNG_XMP = "xml:com.adobe.xmp"
_PNG_CREATION_TIME = "creation time"
_EXIF_MARK, _XMP_MARK = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_TIFF_IPTC, _TIFF_IMAGE_RESOURCES = 33723, 34377  # tags


@dataclass(frozen=True, slots=True)
class MetadataBlocks:
    """A photo's metadata, undecoded: `iptc` is in Photoshop's image resources.

    `further_exif` are blocks after the first, which count for texts only. `comments` are those of
    the file format, `created` is the creation time of a PNG.
    """

    exif: Image.Exif = field(default_factory=Image.Exif)
    xmp: tuple[bytes, ...] = ()
    iptc: bytes = b""
    comments: tuple[str, ...] = ()
    created: str = ""
    further_exif: tuple[Image.Exif, ...] = ()


def find_blocks(data: bytes, container: Container | None, *, is_raw: bool) -> MetadataBlocks:
    """Return the metadata in a photo's bytes; what is damaged is left out."""
    if is_raw:
        packet, tiff = find_packet(data), exif_of_raw(data) or b""
        packets = [] if packet is None else [packet]
        return MetadataBlocks(parse_exif(tiff or None), tuple(packets), _tiff_iptc(tiff))
    if container is None:
        return _blocks_by_pillow(data)
    if container.format == "PNG":
        return _png_blocks(data, container)
    iptc, packets = b"", list(filter(None, container.xmp_packets(data)))
    if container.format == "JPEG":
        iptc = b"".join(container.payloads("iptc", data))
        packets += extended_xmp(container, data)
    exif, *further_exif = [*map(parse_exif, container.payloads("exif", data))] or [Image.Exif()]
    return MetadataBlocks(
        exif,
        tuple(packets),
        iptc,
        tuple(_jpeg_comments(data, container)),
        further_exif=tuple(further_exif),
    )


def _jpeg_comments(data: bytes, container: Container) -> Iterator[str]:
    if container.format == "JPEG":
        for segment in container.segments:
            # the marker is before the length, after any number of fill bytes
            if segment.kind == "other" and data[segment.payload - 3] == COMMENT:
                yield decode_text(data[segment.payload : segment.end])


def _png_blocks(data: bytes, container: Container) -> MetadataBlocks:
    texts = list(png_texts(data, container))
    exif = parse_exif(next(container.payloads("exif", data), None))
    packets, iptc = list(filter(None, container.xmp_packets(data))), b""
    # in a chunk of another kind than XMP asks for
    packets += [text.encode() for keyword, text in texts if keyword == _PNG_XMP]
    for kind, profile in raw_profiles(texts):
        if kind == "xmp":
            packets.append(profile)
        elif kind == "app1" and profile.startswith(_XMP_MARK):
            packets.append(profile.removeprefix(_XMP_MARK))
        elif kind in ("iptc", "8bim"):
            iptc += profile if profile.startswith(b"8BIM") else _image_resource(profile)
        elif kind == "exif" or (kind == "app1" and profile.startswith(_EXIF_MARK)):
            if len(exif):
                continue
            exif = parse_exif(profile)
            if kind == "app1" and ORIENTATION_TAG in exif:  # no program turns the picture by it
                del exif[ORIENTATION_TAG]
    return MetadataBlocks(
        exif,
        tuple(packets),
        iptc,
        tuple(text for keyword, text in texts if keyword in _PNG_DESCRIPTIONS),
        next((text for keyword, text in texts if keyword == _PNG_CREATION_TIME), ""),
    )


def _blocks_by_pillow(data: bytes) -> MetadataBlocks:
    """Return the metadata of a format that is not split into segments, such as TIFF or HEIC."""
    packet = find_packet(data)
    exif, iptc, comments = Image.Exif(), b"", list[str]()
    # Pillow raises many exception types for damaged files, and HEIC may need an extra
    with contextlib.suppress(Exception), open_header(data) as image:
        xmp = image.info.pop("xmp", None)  # Pillow would read the orientation in it
        packet = xmp if isinstance(xmp, bytes) else packet
        comment = image.info.get("comment")
        if comment:
            comments.append(decode_text(comment) if isinstance(comment, bytes) else str(comment))
        if image.format == "TIFF":
            iptc = _tiff_iptc(data)
        block = image.info.get("exif")
        exif = parse_exif(block) if block else image.getexif()
    return MetadataBlocks(exif, () if packet is None else (packet,), iptc, tuple(comments))


def _tiff_iptc(data: bytes) -> bytes:
    """Return the IPTC of a TIFF, or of a raw photo that is one, as image resources."""
    return _image_resource(read_tag(data, _TIFF_IPTC)) + read_tag(data, _TIFF_IMAGE_RESOURCES)


def _image_resource(datasets: bytes) -> bytes:
    """Return IPTC datasets as Photoshop's image resource, in which a JPEG stores them."""
    return encode_resource(datasets) if datasets else b""
