"""Checks of the installation: what works, what is missing, and how to install it."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from showtell import __version__
from showtell.bundle.cpu_cores import usable_cores
from showtell.bundle.registry import DEFAULT_MODEL
from showtell.errors import ShowtellError, install_command
from showtell.files.folders import NoHomeError, cache_dir, shipped_models_dir

State = Literal["ok", "missing", "broken"]
CORE = ("onnxruntime", "numpy", "pillow", "click", "filelock", "platformdirs", "tqdm")
EXTRAS = {
    "train": "training, scores and export of models",
    "heif": "HEIC photos",
    "serve": "the web page and the REST API",
    "client": "the Python client of the service",
    "photos": "HEIC photos in a photo library",
    "alt": "alternative texts in Markdown, reStructuredText and notebooks",
    "cluster": "captioning on a Ray cluster",
}


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    The state `missing` means that something optional is not installed, `broken` that something
    does not work. `text` describes the result, `remedy` says how to install what is missing.
    """

    topic: str
    name: str
    state: State
    text: str
    remedy: str = ""


def examine() -> Iterator[Finding]:
    """Check everything that showtell can use, and yield the findings topic by topic.

    The captioner is checked by captioning a picture.
    """
    yield Finding("showtell", "showtell", "ok", f"{__version__} in {Path(__file__).parent}")
    python = f"{platform.python_version()} in {sys.prefix}, {platform.platform(terse=True)}"
    yield Finding("showtell", "python", "ok", python)
    yield from _core_packages()
    yield _default_model()
    yield _captions()
    yield from _extras()
    yield _java()
    yield from _photo_formats()
    yield _cores()
    yield _cache()


def can_caption(findings: list[Finding]) -> bool:
    """Whether the check captioned its picture; other findings do not matter."""
    return any(finding.name == "captions" and finding.state == "ok" for finding in findings)


def _core_packages() -> Iterator[Finding]:
    for name in CORE:
        version = _version(name)
        if version is None:
            remedy = f"pip install {name}"
            yield Finding("showtell", name, "broken", "not installed", remedy)
        else:
            yield Finding("showtell", name, "ok", version)


def _default_model() -> Finding:
    from showtell.bundle import load_bundle

    path = shipped_models_dir() / DEFAULT_MODEL
    try:
        bundle = load_bundle(path)
    except (ShowtellError, OSError) as error:
        remedy = "install showtell again"
        return Finding("captioning", "default model", "broken", str(error), remedy)
    size = sum(bundle.file(name).stat().st_size for name in bundle.manifest.files)
    text = f"{DEFAULT_MODEL}, {_size(size)}, {len(bundle.manifest.files)} files unchanged"
    return Finding("captioning", "default model", "ok", text)


def _captions() -> Finding:
    """Caption a generated picture with the model that $SHOWTELL_MODEL names, or the default one."""
    try:
        from PIL import Image

        from showtell.captioner import Captioner

        captioner = Captioner.load()
        picture = Image.linear_gradient("L").convert("RGB")
        captioner.caption(picture)  # the first call is slower
        start = time.perf_counter()
        captioner.caption(picture)
        milliseconds = (time.perf_counter() - start) * 1000
    except Exception as error:
        reason = str(error) if isinstance(error, ShowtellError) else repr(error)
        return Finding("captioning", "captions", "broken", reason, "showtell --debug caption PHOTO")
    text = f"a picture captioned in {milliseconds:.0f} ms by {captioner.bundle.path}"
    return Finding("captioning", "captions", "ok", text)


def _extras() -> Iterator[Finding]:
    try:
        requirements = metadata.requires("showtell") or []
    except metadata.PackageNotFoundError:
        text = "showtell is not installed as a package"
        yield Finding("extras", "all", "missing", text, "pip install . in a clone of showtell")
        return
    for extra, purpose in EXTRAS.items():
        packages = _packages_of(requirements, extra)
        if not packages:
            continue  # the installed version has no such extra
        missing = [name for name in packages if _version(name) is None]
        if missing:
            remedy = install_command(extra)
            text = f"for {purpose}: {', '.join(missing)} missing"
            yield Finding("extras", extra, "missing", text, remedy)
        else:
            yield Finding("extras", extra, "ok", f"for {purpose}: all installed")


def _packages_of(requirements: list[str], extra: str) -> list[str]:
    """Return the names of the packages that an extra requires."""
    marker = re.compile(rf"""extra\s*==\s*["']{extra}["']""")
    names = [re.match(r"[A-Za-z0-9._-]+", line) for line in requirements if marker.search(line)]
    return [name[0] for name in names if name is not None and name[0] != "showtell"]


def _java() -> Finding:
    from showtell.scoring.java import JAVA_HINT, find_java

    java = find_java()
    purpose = "METEOR and the PTB tokenizer"
    if java is None:
        return Finding("programs", "java", "missing", f"for {purpose}", JAVA_HINT)
    return Finding("programs", "java", "ok", f"for {purpose}: {java}")


def _photo_formats() -> Iterator[Finding]:
    try:
        from PIL import features
    except ImportError:
        return  # reported among the core packages
    always = ["PNG", "GIF", "BMP", "TIFF"]
    checked = {"JPEG": "jpg", "WebP": "webp", "AVIF": "avif"}
    readable = [name for name, feature in checked.items() if features.check(feature)]
    yield Finding("photos", "formats", "ok", ", ".join([*readable, *always]))
    for name in checked:
        if name not in readable:
            remedy = "pip install -U pillow"
            yield Finding("photos", name, "missing", "this Pillow cannot read it", remedy)
    heif = _version("pillow-heif")
    if heif is None:
        yield Finding("photos", "HEIC", "missing", "not readable", install_command("heif"))
    else:
        yield Finding("photos", "HEIC", "ok", f"pillow-heif {heif}")


def _cores() -> Finding:
    cores = usable_cores()
    return Finding("machine", "cores", "ok", f"{cores} usable ({os.cpu_count()} processors)")


def _cache() -> Finding:
    try:
        folder = cache_dir()
    except NoHomeError as error:
        return Finding("machine", "cache", "missing", "none", str(error))
    if not os.path.isdir(folder):  # noqa: PTH112 (Path raises without permission)
        return Finding("machine", "cache", "ok", f"empty: {folder}")
    size = sum(
        (Path(root) / name).lstat().st_size for root, _, names in os.walk(folder) for name in names
    )
    return Finding("machine", "cache", "ok", f"{_size(size)} in {folder}")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
