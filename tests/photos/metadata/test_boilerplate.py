from __future__ import annotations

import pytest

from showtell.photos.metadata.boilerplate import is_boilerplate

BY_CAMERAS_AND_PROGRAMS = (
    "OLYMPUS DIGITAL CAMERA         ",
    "SONY DSC",
    "MINOLTA DIGITAL CAMERA",
    "KONICA MINOLTA DIGITAL CAMERA",
    "KODAK Digital Still Camera",
    "Exif_JPEG_PICTURE",
    "Exif_JPEG_420",
    "Exif JPEG",
    "DCF 1.0",
    "SAMSUNG",
    "<KENOX S760  / Samsung S760>",
    "<Digimax i5, Samsung #1>",
    "DCIM\\100MEDIA\\DJI_0040.JPG",
    "DSC_0042.JPG",
    "Default",
    "charset=Ascii",
    "Screenshot",
    "filter: 0; fileterIntensity: 0.0; filterMask: 0; captureOrientation: 0;",
    "oplus_1048864",
    '{"mirror":false,"sensor_type":"rear"}',
    "CREATOR: gd-jpeg v1.0 (using IJG JPEG v62), quality = 90\n",
    "Created with GIMP",
    "LEAD Technologies Inc. V1.01",
    "File written by Adobe Photoshop\xa8 4.0",
    "Optimized by JPEGmini 3.9.8.5L Internal 0x5c1f4f2d",
    "AppleMark\n",
    "Lavc58.54.100",
    "Processed By eBay with ImageMagick, z1.1.0. ||B2",
    "Intel(R) JPEG Library, version 1,5,4,36",
    "Processed with VSCO with a6 preset",
    "Adobe ImageReady",
    "*",
    " \0\0 ",
    "---",
    "",
)
BY_PERSONS = (
    "Grandmother Olga at the lake, 1987",
    "1987",
    "Olympus, seen from Litochoro",
    "My new Sony DSC camera",
    "A digital camera on a table",
    "Processed film from 1962",
    "Created by Anna for the exhibition",
    "Samsung headquarters in Seoul",
    "Canon in D",
    "祖母",
    "Бабушка",
    "\u2764\ufe0f",
    "Default settings of the oven",
    "Screenshot of the bug",
    "Image of the harbour",
)


@pytest.mark.parametrize("text", BY_CAMERAS_AND_PROGRAMS)
def test_texts_by_cameras_and_programs_are_recognised(text: str) -> None:
    assert is_boilerplate(text)


@pytest.mark.parametrize("text", BY_PERSONS)
def test_texts_by_persons_are_not_boilerplate(text: str) -> None:
    assert not is_boilerplate(text)
