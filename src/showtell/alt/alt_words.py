"""Texts that describe no image: file names, placeholders, and "image of" in front."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from showtell.alt.html_sources import IMAGE_SUFFIXES

UNREVIEWED = "unreviewed: "  # in front of a suggestion that a person has to check
_SUFFIXES = "|".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
_IMAGE_FILE = re.compile(rf"\S+\.(?:{_SUFFIXES})", re.I)
# Names that cameras, phones and programs give: IMG_1234, DSC00012, PXL_20210101_123456789.
_CAMERA_NAME = re.compile(
    r"(?:img|imgp|dsc|dscn|dscf|pxl|mvimg|gopr|cimg|sam|wp|p|pict|screen ?shot|image|photo)"
    r"[ _-]?\d{4,}[\d_ .-]*(?:at \d[\d. ]*)?(?:edit(?:ed)?|copy|cropped|\(\d+\))?",
    re.I,
)
_HASH_NAME = re.compile(
    r"(?=.*\d)(?=.*[a-f])(?:[0-9a-f]{16,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.I
)
_PLACEHOLDERS = frozenset(
    {"image", "images", "img", "photo", "photograph", "picture", "pic", "graphic", "alt", "spacer"}
    | {"alt text", "alternative text", "alternate text", "alt-text", "placeholder", "untitled"}
    | {"todo", "tbd", "fixme", "xxx", "null", "undefined", "image description", "image alt text"}
    | {"insert alt text here", "your alt text", "alt text here", "blank", "image here", "an image"}
    | {"this is an image", "image not found"}
)
_NUMBERED = re.compile(r"(?:image|img|photo|picture|pic)[ _-]?\d{1,3}", re.I)
_EDGES = " \t\r\n.,:;!?-_*#()[]{}<>\"'"
_IMAGE_OF = re.compile(
    r"(?:this is )?(?:an? |the )?(?:image|picture|photo|photograph|pic|graphic)"
    r" (?:of|showing|depicting) ",
    re.I,
)


def is_file_name(text: str, sources: Iterable[str]) -> bool:
    """Return whether an alternative text is the name of an image file, or its address."""
    text = text.strip()
    if _IMAGE_FILE.fullmatch(text) or _CAMERA_NAME.fullmatch(text) or _HASH_NAME.fullmatch(text):
        return True
    for source in sources:
        name = _file_name(source)
        stem = PurePosixPath(name).stem
        if name and (text in (name, source) or (text == stem and "_" in stem)):
            return True
    return False


def is_placeholder(text: str) -> bool:
    """Return whether an alternative text is a placeholder such as "image" or "photo 3"."""
    words = " ".join(text.strip(_EDGES).lower().split())
    return words in _PLACEHOLDERS or _NUMBERED.fullmatch(words) is not None


def image_of(text: str) -> str | None:
    """Return the beginning of an alternative text if it is "image of" or similar, or None."""
    match = _IMAGE_OF.match(text.strip())
    return None if match is None else match[0].strip()


def _file_name(source: str) -> str:
    try:
        path = urlsplit(source).path
    except ValueError:
        return ""
    name = unquote(path.rpartition("/")[2])
    return name if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES else ""
