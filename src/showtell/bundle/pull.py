"""Install a model from an archive's address, a Hugging Face repository or a local archive.

A pulled model is a bundle. Its files are checked against its manifest, and its networks run once,
before it gets its name. An interrupted download resumes with the next pull of the same source.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

import numpy as np

from showtell.bundle import MANIFEST, Bundle, Manifest, load_bundle
from showtell.bundle import sha256 as file_sha256
from showtell.bundle.bundle import MAX_JSON_BYTES
from showtell.bundle.onnx_runtime import OnnxModel
from showtell.bundle.registry import MODEL_NAME, ORIGIN, InstalledModel, installed_models
from showtell.decoding.options import Decoding
from showtell.errors import BundleError
from showtell.files.archives import ArchiveError, unpack
from showtell.files.atomic_write import atomic_folder
from showtell.files.download import DownloadError, download
from showtell.files.folders import cache_dir, pulled_models_dir

HUB = "https://huggingface.co"
HUB_VARIABLE = "HF_ENDPOINT"  # the hub's own client reads it too
MAX_BYTES = 2 << 30  # of an archive, unpacked or not, and of one file
_HUB_SOURCE = re.compile(r"hf:([\w.-]+)/([\w.-]+)(?:@([\w./-]+))?")
Fetch = Callable[..., Path]  # `download` with this pull's limits and timeouts
_ARCHIVE_ENDING = re.compile(r"\.(tar\.gz|tgz|tar|zip)$", re.IGNORECASE)


@dataclass(frozen=True)
class HubSource:
    """A repository of the Hugging Face hub with a bundle's files at its root."""

    owner: str
    repository: str
    revision: str = "main"

    def address(self, file: str) -> str:
        """Return the address of a file of the repository."""
        hub = (os.environ.get(HUB_VARIABLE) or HUB).rstrip("/")
        revision = quote(self.revision, safe="")
        return f"{hub}/{self.owner}/{self.repository}/resolve/{revision}/{quote(file)}"


def pull_model(
    source: str,
    *,
    name: str | None = None,
    sha256: str | None = None,
    timeout: float = 30.0,
    pause: float = 1.0,
    progress: bool | None = None,
) -> InstalledModel:
    """Install the bundle at `source` among the pulled models and return it.

    `source` is the address or path of a .tar.gz, .tar or .zip, or hf:owner/repo[@revision]. The
    model's `name` is by default that of the archive or repository. `sha256` is the archive's, or
    that of the repository's manifest, which lists those of all other files. `timeout`, `pause`
    and `progress` are those of `download`.

    Raises BundleError, DownloadError or ArchiveError, and then installs nothing.
    """
    hub = _hub_source(source)
    name = _free_name(source, name or (hub.repository if hub else _archive_name(source)))
    fetch: Fetch = partial(
        download, limit=MAX_BYTES, timeout=timeout, pause=pause, progress=progress
    )
    downloads = cache_dir() / "downloads" / hashlib.sha256(source.encode()).hexdigest()[:16]
    models = pulled_models_dir()
    models.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".pulled.", dir=models) as unpacked:
            if hub is not None:
                downloaded = _fetch_repository(hub, downloads, sha256, fetch)
            else:
                archive = _archive(source, downloads, sha256, fetch)
                unpack(archive, Path(unpacked), limit=MAX_BYTES)
                downloaded = _bundle_inside(Path(unpacked), source)
            with atomic_folder(models / name, replace=False) as folder:
                _install(downloaded, folder, source)
    except (BundleError, ArchiveError):
        shutil.rmtree(downloads, ignore_errors=True)  # complete, but not a usable model
        raise
    except OSError as error:
        if (models / name).exists():  # another process has pulled it meanwhile
            raise BundleError(_taken(name)) from error
        raise
    shutil.rmtree(downloads, ignore_errors=True)
    return InstalledModel(name, models / name, shipped=False)


def _hub_source(source: str) -> HubSource | None:
    if not source.startswith("hf:"):
        return None
    match = _HUB_SOURCE.fullmatch(source)
    if match is None:
        raise BundleError(f"{source}: not hf:owner/repository or hf:owner/repository@revision")
    return HubSource(match[1], match[2], match[3] or "main")


def _archive_name(source: str) -> str:
    """Return the name that an archive's address or path suggests."""
    path = unquote(urlsplit(source).path) if "://" in source else source
    return _ARCHIVE_ENDING.sub("", PurePosixPath(path.replace("\\", "/")).name)


def _free_name(source: str, name: str) -> str:
    """Return `name` if it is a valid name that no other model has."""
    if not MODEL_NAME.fullmatch(name):
        raise BundleError(
            f"{source}: {name!r} cannot be a model's name (letters, digits, '.', '_', '-'):"
            " give one by --name"
        )
    for model in installed_models():
        if model.name == name:
            raise BundleError(
                f"{name}: ships with showtell: give another --name"
                if model.shipped
                else _taken(name)
            )
    return name


def _taken(name: str) -> str:
    return f"{name}: already installed: showtell models remove {name}, or give another --name"


def _archive(source: str, downloads: Path, expected: str | None, fetch: Fetch) -> Path:
    """Return the path of the archive, downloaded if `source` is an address."""
    if "://" in source:
        return fetch(source, downloads / "archive", sha256=expected)
    archive = Path(source)
    if not archive.is_file():
        raise BundleError(f"{source}: neither an archive nor an address (https://, hf:owner/repo)")
    if expected is not None and (actual := file_sha256(archive)) != expected.lower():
        raise DownloadError(
            f"{source}: wrong bytes: its sha256 is {actual}, not {expected.lower()}"
        )
    return archive


def _bundle_inside(folder: Path, source: str) -> Path:
    """Return the bundle's folder: the archive's root or the only folder in it."""
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    candidates = [folder, *inside] if len(inside) == 1 else [folder]
    for candidate in candidates:
        if (candidate / MANIFEST).is_file():
            return candidate
    raise BundleError(f"{source}: holds no {MANIFEST}: not the archive of a model bundle")


def _fetch_repository(hub: HubSource, target: Path, expected: str | None, fetch: Fetch) -> Path:
    """Download a repository's bundle to `target`; files with the right hash are kept."""
    address = hub.address(MANIFEST)
    # the manifest is always downloaded, so that files of an older one are not accepted
    path = fetch(address, target / MANIFEST, sha256=expected, limit=MAX_JSON_BYTES, progress=False)
    with _named(target, address):
        manifest = Manifest.from_json(path.read_bytes(), path)
    for name, promised in manifest.files.items():
        file = target / name
        if not (file.is_file() and file_sha256(file) == promised):
            fetch(hub.address(name), file, sha256=promised)
    return target


def _install(downloaded: Path, target: Path, source: str) -> None:
    """Check the bundle in `downloaded` and move its files, and no others, to `target`."""
    with _named(downloaded, source):
        bundle = load_bundle(downloaded)
        _try_out(bundle)
    for name in {MANIFEST, *bundle.manifest.files}:
        file = bundle.file(name)
        if file.parent == downloaded:
            shutil.move(file, target / name)
        else:  # shared with another model, which can be removed
            shutil.copyfile(file, target / name)
    if ORIGIN not in bundle.manifest.files:
        (target / ORIGIN).write_text(json.dumps({"source": source}) + "\n", "utf-8")


def _try_out(bundle: Bundle) -> None:
    """Run the bundle's networks once on a black photo, so that they are known to fit together.

    Raises BundleError, naming the file.
    """
    model = OnnxModel(bundle, threads=1)
    preprocessing = bundle.manifest.preprocessing
    pixels = np.zeros((1, 3, preprocessing.height, preprocessing.width), np.float32)
    decoding = Decoding.of(bundle.manifest.decoding, beam=1, max_length=2)
    decoding.run(model, model.encode(pixels), [0])


@contextmanager
def _named(folder: Path, source: str) -> Iterator[None]:
    """Let a bundle's errors name the source, not the temporary folder it was put in."""
    try:
        yield
    except BundleError as error:
        text = str(error).replace(f"{folder}{os.sep}{MANIFEST}", source)
        raise BundleError(text.replace(f"{folder}{os.sep}", f"{source}: ")) from None
