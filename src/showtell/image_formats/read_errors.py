"""Why a photo cannot be read, in a few words."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from showtell.files.os_errors import error_reason
from showtell.files.printable_names import printable

_LONGEST_REASON = 160  # characters


def read_error_reason(source: object, error: Exception) -> str:
    """Return why a photo cannot be read, in a few words."""
    if isinstance(error, FileNotFoundError):
        if isinstance(source, str | os.PathLike) and Path(source).is_symlink():
            return (
                f"a link to {printable(os.fspath(Path(source).readlink()))}, which does not exist"
            )
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "a folder, not a photo"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return "more pixels than Pillow opens in a file of this kind (PIL.Image.MAX_IMAGE_PIXELS)"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if isinstance(error, UnidentifiedImageError):  # its own text shows an address in memory
        return "damaged, cannot be decoded (no image data follows its header)"
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be read ({error_reason(error)})"
    text = " ".join(str(error).split())[:_LONGEST_REASON]
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return "truncated: image data is missing at the end"
    return f"damaged, cannot be decoded ({printable(text) or type(error).__name__})"
