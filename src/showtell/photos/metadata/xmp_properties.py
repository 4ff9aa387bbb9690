"""Read the texts and dates of an XMP packet that showtell does not write."""

from __future__ import annotations

from collections.abc import Iterator

from showtell.errors import MetadataError
from showtell.photos.metadata.xmp_tree import Element, parse_packet, rdf_name

_EXIF, _TIFF = "http://ns.adobe.com/exif/1.0/", "http://ns.adobe.com/tiff/1.0/"
_ACDSEE = "http://ns.acdsee.com/iptc/1.0/"
_IPTC_CORE = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
_PROPERTIES = {  # namespace and name -> the usual name
    f"{_TIFF} ImageDescription": "tiff:ImageDescription",
    f"{_EXIF} UserComment": "exif:UserComment",
    f"{_IPTC_CORE} ExtDescrAccessibility": "Iptc4xmpCore:ExtDescrAccessibility",
    f"{_ACDSEE} notes": "acdsee:notes",
    f"{_ACDSEE} caption": "acdsee:caption",
    f"{_EXIF} DateTimeOriginal": "exif:DateTimeOriginal",
    f"{_EXIF} DateTimeDigitized": "exif:DateTimeDigitized",
    "http://ns.adobe.com/photoshop/1.0/ DateCreated": "photoshop:DateCreated",
    "http://ns.adobe.com/xap/1.0/ CreateDate": "xmp:CreateDate",
}
_VALUE = rdf_name("value")

XmpProperties = dict[str, tuple[str, ...]]


def read_properties(packet: bytes) -> XmpProperties:
    """Return the known properties by name, each with its texts in all languages.

    A damaged packet has none.
    """
    try:
        descriptions = parse_packet(packet).rdf.children
    except MetadataError:
        return {}
    properties: dict[str, list[str]] = {}
    for name, text in (pair for node in descriptions for pair in _named_texts(node)):
        if name in _PROPERTIES and text.strip():
            properties.setdefault(_PROPERTIES[name], []).append(text.strip())
    return {name: tuple(texts) for name, texts in properties.items()}


def _named_texts(description: Element) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of a description's properties: attributes, text and lists."""
    yield from description.attributes.items()
    for element in description.children:
        for _, inner in element.walk():
            yield element.name, inner.text
            yield element.name, inner.attributes.get(_VALUE, "")
