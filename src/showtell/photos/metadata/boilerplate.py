"""Recognise texts that cameras and programs write into photos by themselves.

A text that is not recognised counts as a person's, so the patterns are narrow: each one matches a
whole text, and contains a name or a form that nobody would write as a caption.
"""

from __future__ import annotations

import re

# ImageDescription and UserComment of cameras and phones, in lower case.
_CAMERA_TEXTS = frozenset(
    {"olympus digital camera", "minolta digital camera", "konica minolta digital camera"}
    | {"kodak digital still camera", "pentax digital camera", "ricoh digital camera"}
    | {"samsung digital camera", "digital camera", "digital still camera", "sony dsc", "sony"}
    | {"samsung", "samsung techwin", "casio", "nikon", "canon", "fujifilm", "panasonic", "dcf 1.0"}
    | {"ascii", "unicode", "jis", "charset=ascii", 'charset="ascii"', "charset=unicode"}
    | {"default", "binary comment", "screenshot", "maker:", "jpeg", "exif", "untitled"}
    # shooting modes of Huawei and Honor phones
    | {"bty", "burst", "cof", "dav", "edf", "fbt", "fptbty", "hdr", "hdrpl", "mde", "nfd", "nor"}
    | {"oznor", "oznorco", "oznorcob", "ozedf", "ptr", "rbt", "rhdr", "rpt", "sdr", "vhdr"}
)
_CAMERA_PATTERNS = (
    r"exif[ _-]?jpeg([ _-].*)?",
    r"<[^<>]*(samsung|digimax|kenox)[^<>]*>",
    r"(dcim[\\/].*[\\/])?(dsc[fn]?|img|pict|dji|gopr|p)[_-]?\d{3,}(\.jpe?g)?",  # its file name
    r"\W*filter: ?-?\d+;.*",  # phones of Xiaomi, Vivo and Realme
    r"oplus_\d+",  # phones of Oppo and OnePlus
    r"\{\s*\"[\w-]+\"\s*:.*\}",  # settings as JSON
)
# Comments of encoders and editors.
_PROGRAM_PATTERNS = (
    r"creator: ?(gd-jpeg|xv)\b.*",
    r"(created|made|edited|saved) (with|by|using) (the )?(gimp|inkscape|imagemagick|irfanview"
    r"|xnview|paint\.net|paint shop pro|photoscape|picasa|krita|canva|fotor|pixlr|snapseed"
    r"|google ai)\b.*",
    r"(optimi[sz]ed|compressed|resized|converted|processed|generated|encoded) (by|with|using) "
    r"(jpegmini|ebay|vsco|tinypng|tinyjpg|ezgif|imagemagick|ffmpeg|libjpeg|mozjpeg|google"
    r"|photobucket|kraken|shortpixel|photoscape|matlab|acdsee)\b.*",
    r"lead technologies\b.*",
    r"file (written|produced|saved) by (adobe )?photoshop\b.*",
    r"adobe (imageready|photoshop)[\w. ]*",
    r"applemark",
    r"lav[cf][\d.]+",
    r"(imagemagick|libjpeg|mozjpeg|cjpeg|jpegmini|imageready|picasa|photoscape|irfanview|acdsee)"
    r"[ v\d.]*",
    r"intel\(r\) (jpeg|ipp)\b.*",
    r"handmade software,? inc\b.*",
    r"(u-?lead systems|acd systems|accusoft)\b.*",
    r"xv version\b.*",
    r"jpeg (image )?(encoder|compressor|optimi[sz]er)\b.*",
    r"\*+ ?intel.*",
    r"software: .*",
    r"www\.inkscape\.org",
    r"quality ?= ?\d+.*",
    r"version:? ?[\d.]+",
    r"<ms:.*>",
)
_PATTERN = re.compile("|".join((*_CAMERA_PATTERNS, *_PROGRAM_PATTERNS)), re.DOTALL)
_NO_WORDS = re.compile(r"[\x00-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f\ufffd\ufeff\s]*")


def is_boilerplate(text: str) -> bool:
    """Return whether a camera or a program wrote a text by itself, or the text has no words."""
    words = " ".join(text.replace("\0", " ").split()).lower()
    if _NO_WORDS.fullmatch(words) or words in _CAMERA_TEXTS:
        return True
    return _PATTERN.fullmatch(words) is not None
