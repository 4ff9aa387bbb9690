"""Check that a photo with embedded captions and keywords has no other change."""

from __future__ import annotations

from showtell.errors import MetadataError, PhotoError
from showtell.photos.metadata.container import Container, parse_container
from showtell.photos.metadata.current_metadata import read_photo_metadata
from showtell.photos.metadata.field_values import IPTC_FIELDS, FieldValues, xmp_values
from showtell.photos.metadata.further_pictures import further_pictures, is_picture_list
from showtell.photos.metadata.image_hash import hash_image
from showtell.photos.metadata.iptc import same_other_values
from showtell.photos.metadata.trailing_previews import preview_pointers, without_pointers
from showtell.photos.metadata.xmp import other_content

_NAMES = {"image": "image data", "exif": "EXIF", "icc": "colour profile", "other": "other data"}


def check_embedded(old: bytes, new: bytes, values: FieldValues) -> None:
    """Raise MetadataError, naming the difference, unless `new` is `old` with `values` only.

    Compared are the image data, EXIF, colour profile and all other segments with what follows the
    picture, byte for byte; all other values of XMP and IPTC; and further pictures and previews, to
    which the list (MPF) or EXIF may point elsewhere.
    """
    before = parse_container(old)
    try:
        after = parse_container(new)
    except PhotoError as error:
        raise MetadataError(f"embedding would damage it ({error}): left alone") from None
    if before is None or after is None or before.format != after.format:
        raise MetadataError("embedding would change its format: left alone")
    changed = _changed_part(before, old, after, new, values)
    if changed is not None:
        raise MetadataError(f"embedding would change its {changed}: left alone")
    metadata = read_photo_metadata(new, after)
    for key, value in values.items():
        if metadata.value(key) != value:
            raise MetadataError(f"its {key} does not read back: left alone")


def _changed_part(
    before: Container, old: bytes, after: Container, new: bytes, values: FieldValues
) -> str | None:
    """Return the name of a part that has changed, or None."""
    if hash_image(old, before) != hash_image(new, after):
        return _NAMES["image"]
    old_parts, new_parts = _unchanged_parts(before, old), _unchanged_parts(after, new)
    for (kind, data), (_, new_data) in zip(old_parts, new_parts, strict=False):
        if data != new_data:
            return _NAMES[kind]
    if len(old_parts) != len(new_parts):
        return _NAMES["other"]
    if further_pictures(before, old) != further_pictures(after, new):
        return "further pictures (MPF)"
    if _previews(before, old) != _previews(after, new):
        return "previews after the picture"
    in_xmp = xmp_values(values)
    old_packet, new_packet = before.xmp(old), after.xmp(new)
    if old_packet != new_packet and (
        other_content(old_packet, in_xmp) != other_content(new_packet, in_xmp)
    ):
        return "XMP"
    in_iptc = [field for field in values if field in IPTC_FIELDS]
    if not same_other_values(_resources(before, old), _resources(after, new), in_iptc):
        return "IPTC"
    return None


def _unchanged_parts(container: Container, data: bytes) -> list[tuple[str, bytes]]:
    """Return kind and bytes of the segments that embedding does not touch, in their order."""
    parts: list[tuple[str, bytes]] = []
    pointers = preview_pointers(container, data)
    for segment in container.segments:
        content = data[segment.start : segment.end]
        if segment.kind in ("image", "xmp", "iptc") or is_picture_list(segment, data):
            continue
        if container.format == "WEBP" and content.startswith((b"RIFF", b"VP8X")):
            continue  # sizes, and which kinds of segments follow
        if segment.kind == "exif":
            content = without_pointers(segment, pointers, data)
        parts.append((segment.kind, content))
    return parts


def _previews(container: Container, data: bytes) -> list[tuple[int, int]]:
    """Return where pointers to previews are in their segment, and the previews in the trailer."""
    trailer = container.segments[-1].start
    return [
        (pointer.position - pointer.exif.start, pointer.target - trailer)
        for pointer in preview_pointers(container, data)
    ]


def _resources(container: Container, data: bytes) -> bytes:
    return b"".join(container.payloads("iptc", data)) if container.format == "JPEG" else b""
