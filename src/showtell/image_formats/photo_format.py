"""Recognise the format of a photo by its first bytes."""

from __future__ import annotations

from showtell.errors import PhotoError

HEAD_BYTES = 64  # enough to recognise a format

# first bytes of a file -> Pillow's name of the format; other formats are never decoded
_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
_READABLE = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC"


def photo_format(head: bytes) -> str:
    """Return the format of a file from its first `HEAD_BYTES`, as Pillow names it.

    Raises PhotoError if it is unknown.
    """
    if not head:
        raise PhotoError("empty: the file holds no bytes")
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        size = int.from_bytes(head[:4], "big")
        brands = {head[8:12], *(head[i : i + 4] for i in range(16, min(size, len(head)), 4))}
        if brands & _AVIF_BRANDS:
            return "AVIF"
        if brands & _HEIF_BRANDS:
            return "HEIF"
    raise PhotoError(f"not a photo in a format that showtell reads ({_READABLE})")
