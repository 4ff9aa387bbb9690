"""The fields that showtell writes into photos and sidecars, and their values.

`description` and `alt` are captions in XMP, `iptc` is the caption in IPTC. `keywords` are those
of XMP, `iptc_keywords` those of IPTC.
"""

from __future__ import annotations

from collections.abc import Mapping

KEYWORDS, IPTC, IPTC_KEYWORDS = "keywords", "iptc", "iptc_keywords"
IPTC_FIELDS = (IPTC, IPTC_KEYWORDS)

FieldValue = str | tuple[str, ...]  # a caption, or keywords
FieldValues = Mapping[str, FieldValue]


def xmp_values(values: FieldValues) -> dict[str, FieldValue]:
    """Return the values that belong into XMP."""
    return {field: value for field, value in values.items() if field not in IPTC_FIELDS}
