"""Find when a photo was taken: in its EXIF, XMP, IPTC or PNG texts, or in its sidecars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from showtell.photos.metadata.blocks import MetadataBlocks
from showtell.photos.metadata.dates import iso_date
from showtell.photos.metadata.exif import exif_dates
from showtell.photos.metadata.iptc import read_date_created
from showtell.photos.metadata.xmp_properties import read_properties

_XMP_TAKEN = ("exif:DateTimeOriginal", "photoshop:DateCreated")
_XMP_DIGITIZED = ("exif:DateTimeDigitized", "xmp:CreateDate")


def date_taken(blocks: MetadataBlocks, sidecars: Sequence[bytes] = ()) -> str | None:
    """Return when a photo was taken as ISO 8601, or None.

    The time is that of the camera's clock: a time zone is left out. A date may be a year or a
    month only. The order of precedence is that of the docs (docs/photos.md).
    """
    return next(filter(None, map(iso_date, _candidates(blocks, sidecars))), None)


def _candidates(blocks: MetadataBlocks, sidecars: Sequence[bytes]) -> Iterator[str]:
    original, digitized, changed = exif_dates(blocks.exif)
    yield original
    yield from _in_xmp(blocks.xmp, _XMP_TAKEN)
    yield read_date_created(blocks.iptc)
    yield digitized
    yield from _in_xmp(blocks.xmp, _XMP_DIGITIZED)
    yield blocks.created
    yield from _in_xmp(sidecars, _XMP_TAKEN)
    yield from _in_xmp(sidecars, _XMP_DIGITIZED)
    yield changed


def _in_xmp(packets: Sequence[bytes], names: Sequence[str]) -> Iterator[str]:
    for packet in packets:
        properties = read_properties(packet)
        for name in names:
            yield from properties.get(name, ())
