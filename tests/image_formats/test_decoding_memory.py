from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from showtell.errors import PhotoError
from showtell.image_formats.decoding_memory import (
    BYTES_PER_PIXEL,
    decoding_memory,
    refuse_too_large,
)

SIZE = (2000, 1500)
# file name, mode, format, options of Image.save
FILES = [
    ("baseline.jpg", "RGB", "JPEG", {}),
    ("progressive.jpg", "RGB", "JPEG", {"progressive": True, "subsampling": 0}),
    ("cmyk.jpg", "CMYK", "JPEG", {"progressive": True, "subsampling": 0}),
    ("grey.jpg", "L", "JPEG", {"progressive": True}),
    ("rgb.png", "RGB", "PNG", {"compress_level": 1}),
    ("rgba.png", "RGBA", "PNG", {"compress_level": 1}),
    ("grey_alpha.png", "LA", "PNG", {"compress_level": 1}),
    ("deep.png", "I;16", "PNG", {"compress_level": 1}),
    ("transparent.png", "RGBA", "PNG", {"compress_level": 1, "transparency": (1, 2, 3)}),
    ("palette.gif", "P", "GIF", {}),
    ("rgb.bmp", "RGB", "BMP", {}),
    ("rgb.tif", "RGB", "TIFF", {"compression": "tiff_lzw"}),
    ("float.tif", "F", "TIFF", {}),
    ("lossy.webp", "RGB", "WEBP", {"method": 0}),
    ("lossless.webp", "RGBA", "WEBP", {"method": 0, "quality": 0, "lossless": True}),
    ("rgb.avif", "RGB", "AVIF", {"speed": 10, "subsampling": "4:4:4"}),
    ("rgba.avif", "RGBA", "AVIF", {"speed": 10, "subsampling": "4:4:4"}),
    ("rgb.heic", "RGB", "HEIF", {"chroma": 444}),
]
# prints the peak memory of opening each file, in bytes above the memory before
MEASURE = """
import json, re, sys
from pathlib import Path
import numpy
from showtell.image import open_photo
from showtell.files.peak_memory import peak_memory

def resident():
    return 1024 * int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

peaks = {}
for path in sys.argv[1:]:
    data = Path(path).read_bytes()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins at the present memory
    before = resident()
    open_photo(data)
    peaks[Path(path).name] = peak_memory() - before
print(json.dumps(peaks))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures peaks as Linux does")
def test_no_format_takes_more_memory_than_the_table_says(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    ramp = np.add.outer(np.arange(SIZE[1]), np.arange(SIZE[0])) // 16
    colours = Image.fromarray(np.stack([ramp, ramp * 2, ramp * 3], 2).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # the photo is turned
    paths = []
    for name, mode, form, options in FILES:
        image = (
            Image.fromarray((ramp * 7).astype(np.uint16))
            if mode == "I;16"
            else colours.convert("L").convert(mode)
            if mode in ("F", "LA")
            else colours
            if "transparency" in options
            else colours.convert(mode)
        )
        paths.append(tmp_path / name)
        turned = {} if form in ("GIF", "BMP") else {"exif": exif.tobytes()}
        image.save(paths[-1], form, **options, **turned)
    script = [sys.executable, "-c", MEASURE, *map(str, paths)]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    peaks = json.loads(done.stdout)
    for name, mode, form, options in FILES:
        limit = decoding_memory(form, mode, SIZE, multi_scan="progressive" in options)
        # the decoders' own buffers, and the file: a few megabytes whatever the size
        assert peaks[name] <= limit + 6_000_000, (name, peaks[name] / 3e6)


def test_memory_of_a_reduced_jpeg_is_that_of_the_smaller_picture() -> None:
    full = decoding_memory("JPEG", "RGB", (16_000, 12_000))
    reduced = decoding_memory("JPEG", "RGB", (16_000, 12_000), reduced_size=(2000, 1500))
    assert reduced * 64 == full
    progressive = decoding_memory(
        "JPEG", "RGB", (16_000, 12_000), reduced_size=(2000, 1500), multi_scan=True
    )
    assert progressive > 16_000 * 12_000 * 6


def test_photo_over_the_limits_is_refused_with_the_option_that_raises_them() -> None:
    refuse_too_large("PNG", "RGB", (1000, 1000), 1_000_000)
    with pytest.raises(PhotoError, match=r"1001 x 1000 pixels are more than 1,000,000.*--max-pix"):
        refuse_too_large("PNG", "RGB", (1001, 1000), 1_000_000)
    with pytest.raises(PhotoError, match=r"20 MB to decode, more than 16 MB.*--max-pixels"):
        refuse_too_large("WEBP", "RGBA", (1000, 1000), 1_000_000)


def test_rgb_photos_of_every_format_may_have_all_pixels() -> None:
    for form in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "HEIF"):
        assert decoding_memory(form, "RGB", (10, 10)) <= BYTES_PER_PIXEL * 100, form


def test_webp_larger_than_memory_allows_is_not_decoded() -> None:
    from showtell.image import open_photo

    buffer = io.BytesIO()
    Image.new("RGBA", (400, 300), (9, 9, 9, 99)).save(buffer, "WEBP")
    with pytest.raises(PhotoError, match="to decode, more than"):
        open_photo(buffer.getvalue(), max_pixels=400 * 300)
