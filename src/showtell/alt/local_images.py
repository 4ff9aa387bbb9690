"""The local file that an address in a document refers to."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from showtell.alt.check import AltFinding
from showtell.files.photo_files import SUFFIXES

_SMALLEST_DATA = 500  # bytes: less is the placeholder of an image that a script loads


@dataclass(frozen=True, slots=True)
class LocalImage:
    """An image that can be read here: a file, or bytes in the document; or why there is none."""

    path: Path | None = None
    data: bytes | None = None
    reason: str = ""


def local_image(finding: AltFinding, site_root: Path | None = None) -> LocalImage:
    """Return the image of a finding.

    An address that begins with `/` is looked for in `site_root`, or, if that is None, in the
    folder that was checked and in those between it and the document. `*` at the end stands for
    any suffix, as in Sphinx.
    """
    reference = finding.reference
    if reference.embedded is not None:
        return LocalImage(data=reference.embedded)
    folder = finding.document.path.parent
    roots = _roots(folder, finding.root) if site_root is None else [site_root]
    reasons = []
    for source in reference.sources:
        if source.startswith("data:"):
            continue
        image = _file_of(source, folder, roots)
        if image.path is not None:
            return image
        reasons.append(image.reason)
    for source in reference.sources:
        data = _data_of(source)
        if data is not None:
            return LocalImage(data=data)
    return LocalImage(reason=reasons[0] if reasons else "no file is named")


def _roots(folder: Path, root: Path) -> list[Path]:
    """Return the folders from `root` down to `folder`."""
    roots = [root]
    try:
        parts = folder.relative_to(root).parts
    except ValueError:
        return roots
    for part in parts:
        roots.append(roots[-1] / part)
    return roots


def _file_of(source: str, folder: Path, roots: list[Path]) -> LocalImage:
    try:
        address = urlsplit(source)
    except ValueError:
        return LocalImage(reason="not an address")
    if address.scheme or address.netloc:
        return LocalImage(reason="not on this computer")
    name = unquote(address.path)
    if not name or "\0" in name:
        return LocalImage(reason="no file is named")
    folders = roots if name.startswith("/") else [folder]
    for candidate in (parent / name.lstrip("/") for parent in folders):
        for path in _matching(candidate):
            if path.suffix.lower() in (".svg", ".svgz"):
                return LocalImage(reason="SVG cannot be captioned")
            return LocalImage(path)
    return LocalImage(reason="no such file")


def _matching(path: Path) -> list[Path]:
    """Return the file of a path, or those that its `*` stands for, bitmaps only."""
    try:
        if path.name.endswith(".*"):
            stem = path.name.removesuffix("*")
            siblings = sorted(path.parent.iterdir())
            return [
                sibling
                for sibling in siblings
                if sibling.name.startswith(stem) and sibling.suffix.lower() in SUFFIXES
            ]
        return [path] if path.is_file() else []
    except (OSError, ValueError):
        return []


def _data_of(source: str) -> bytes | None:
    """Return the bytes of an image in a `data:` address."""
    head, _, content = source.partition(",")
    if not head.startswith("data:image/") or not head.endswith(";base64") or "svg" in head:
        return None
    try:
        data = base64.b64decode(unquote(content))
    except (binascii.Error, ValueError):
        return None
    return data if len(data) >= _SMALLEST_DATA else None
