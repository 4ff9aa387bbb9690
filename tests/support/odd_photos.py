"""Photos that are hard to read or cannot be read, as found in real folders."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

RED, GREEN, BLUE, WHITE = (220, 20, 30), (10, 200, 40), (20, 30, 210), (255, 255, 255)


def corners(width: int = 60, height: int = 40) -> Image.Image:
    """Return red, green, blue and white quarters: every rotation looks different."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    image.paste(WHITE, (width // 2, height // 2, width, height))
    return image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def with_orientation(image: Image.Image, orientation: int, kind: str = "JPEG") -> bytes:
    """Return an upright image as a camera that was turned stores it, with its EXIF orientation."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    if orientation in undo:
        image = image.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if kind == "JPEG" else {}
    return encoded(image, kind, exif=exif, **options)


def with_xmp(image: Image.Image, kind: str, content: str, **options: object) -> bytes:
    """Return an encoded image whose XMP packet has `content` in its rdf:RDF."""
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f"{content}</rdf:RDF></x:xmpmeta>"
    )
    if kind == "PNG":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet)
        return encoded(image, kind, pnginfo=info, **options)
    if kind == "TIFF":
        return encoded(image, kind, tiffinfo={700: packet.encode()}, **options)
    return encoded(image, kind, xmp=packet.encode(), **options)


def _png(header: bytes, *chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [_png_chunk(b"IHDR", header), *chunks, _png_chunk(b"IEND", b"")]
    )


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of_size(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes whose header has a huge size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return _png(header, _png_chunk(b"IDAT", zlib.compress(bytes(1_000_000))))


def jpeg_of_size(width: int, height: int, *, progressive: bool = False) -> bytes:
    """Return a JPEG of a few bytes whose header has another size; all decoders make it grey."""
    data = bytearray(encoded(Image.new("RGB", (64, 64)), "JPEG", progressive=progressive))
    frame = data.find(b"\xff\xc2" if progressive else b"\xff\xc0")
    struct.pack_into(">HH", data, frame + 5, height, width)
    return bytes(data)


def deep_png(colour_type: int, samples: list[int], transparent: list[int] | None) -> bytes:
    """Return a PNG of 4 x 4 equal pixels with 16 bits a sample and perhaps a transparent colour."""
    header = struct.pack(">IIBBBBB", 4, 4, 16, colour_type, 0, 0, 0)
    row = b"\0" + struct.pack(f">{len(samples)}H", *samples) * 4
    chunks = [_png_chunk(b"IDAT", zlib.compress(row * 4))]
    if transparent is not None:
        colour = struct.pack(f">{len(transparent)}H", *transparent)
        chunks.insert(0, _png_chunk(b"tRNS", colour))
    return _png(header, *chunks)


def write_broken(folder: Path) -> dict[str, str]:
    """Write photos that cannot be captioned; return what each one's error says."""
    good = encoded(corners(300, 200), "JPEG")
    files = {
        "truncated.jpg": good[: len(good) // 2],
        "empty.jpg": b"",
        "text.jpg": b"Dear diary, this is no photo.\n",
        "bomb.png": png_of_size(20_000, 20_000),
        "huge.png": png_of_size(50_000, 50_000),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "dangling.jpg").symlink_to(folder / "gone.jpg")
    return {
        "truncated.jpg": "truncated",
        "empty.jpg": "empty",
        "text.jpg": "not a photo",
        "bomb.png": "too large",
        "huge.png": "too large",
        "dangling.jpg": "link to",
    }


def write_odd(folder: Path) -> list[str]:
    """Write photos that are odd but good; return their names, sorted."""
    image = corners()
    grey = np.linspace(0, 65535, 64 * 48).astype(np.uint16).reshape(48, 64)
    transparent = image.convert("RGBA")
    transparent.putalpha(Image.linear_gradient("L").resize(image.size))
    frames = [image, image.rotate(180)]
    files = {
        "alpha.png": encoded(transparent, "PNG"),
        "animated.gif": encoded(image, "GIF", save_all=True, append_images=frames[1:]),
        "cmyk.jpg": encoded(image.convert("CMYK"), "JPEG"),
        "deep.png": encoded(Image.fromarray(grey), "PNG"),
        "line\nbreak.jpg": encoded(image, "JPEG"),
        "palette.png": encoded(image.quantize(8), "PNG"),
        "pixel.png": encoded(Image.new("RGB", (1, 1), RED), "PNG"),
        "turned.jpg": with_orientation(image, 6),
        os.fsdecode(b"no-utf8-\xff\xfe.jpg"): encoded(image, "JPEG"),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "folder.jpg").mkdir()
    (folder / "notes.txt").write_text("not a photo, and not meant to be one")
    return sorted(files)
