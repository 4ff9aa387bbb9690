"""A trained model on disk: one folder of JSON, ONNX and a card, checked file by file by hash.

Nothing in a bundle is executed on load and nothing is pickled. A bundle is written whole or not
at all: files go to a folder beside the target, which is renamed when complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from showtell.decoding.options import DecodingDefaults
from showtell.errors import BundleError
from showtell.files.typed_settings import load_settings
from showtell.image import Preprocessing
from showtell.vocabulary import Vocabulary

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
CARD = "MODEL_CARD.md"
VOCABULARY = "vocabulary.json"
ENCODER = "encoder.onnx"  # pixels -> regions, pooled
DECODER_BEGIN = "decoder_begin.onnx"  # features -> memory, state
DECODER_STEP = "decoder_step.onnx"  # tokens, memory, state -> log-probabilities, attention, state
REQUIRED = (VOCABULARY, ENCODER, DECODER_BEGIN, DECODER_STEP, CARD)


@dataclass
class Manifest:
    """What a bundle says of itself (`manifest.json`).

    `encoder` holds `network`, `grid` (height, width), `channels` and where the weights came from;
    `decoder` holds `kind`, `memory` and `state` (names of the arrays that `decoder_begin.onnx`
    returns and `decoder_step.onnx` takes), `attention` (whether words come with attention).
    `scores` is a list of dicts with metric values, `split`, `beam` and `scorer`;
    `confidence` is what `showtell.decoding.confidence` fitted on dev, or None.
    `training` names the data, its terms and the fingerprint of the photos that the model has seen.
    """

    name: str
    encoder: dict[str, Any]
    decoder: dict[str, Any]
    preprocessing: Preprocessing
    decoding: DecodingDefaults = field(default_factory=DecodingDefaults)
    training: dict[str, Any] = field(default_factory=dict)
    scores: list[dict[str, Any]] = field(default_factory=list)
    confidence: dict[str, Any] | None = None
    precision: dict[str, str] = field(default_factory=dict)
    terms: str = ""
    files: dict[str, str] = field(default_factory=dict)  # name -> sha256
    format_version: int = FORMAT_VERSION
    written_by: str = ""

    def to_json(self) -> str:
        """Return the manifest as indented JSON text."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, source: Path) -> Manifest:
        """Read a manifest; unknown keys are ignored so that minor additions stay readable.

        Raises BundleError where the text is damaged or the format is newer than this version.
        """
        try:
            data = json.loads(text)
            version = int(data["format_version"])
        except (ValueError, KeyError, TypeError):
            raise BundleError(f"{source}: damaged, or not a showtell manifest") from None
        if version > FORMAT_VERSION:
            raise BundleError(
                f"{source}: bundle format {version} is newer than this showtell reads"
                f" ({FORMAT_VERSION}): upgrade with pip install -U showtell"
            )
        known = {item.name for item in fields(cls)}
        try:
            data = {key: value for key, value in data.items() if key in known}
            data["preprocessing"] = load_settings(
                Preprocessing, data["preprocessing"], error=BundleError, source=source
            )
            data["decoding"] = DecodingDefaults(**data["decoding"])
            manifest = cls(**data)
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{source}: damaged manifest ({error})") from None
        for name in ("encoder", "decoder", "training", "precision", "files"):
            if not isinstance(getattr(manifest, name), dict):
                raise BundleError(f"{source}: damaged manifest ('{name}' holds no keys)")
        return manifest


@dataclass(frozen=True)
class Bundle:
    """A checked bundle: its folder, manifest and vocabulary."""

    path: Path
    manifest: Manifest
    vocabulary: Vocabulary

    def file(self, name: str) -> Path:
        """Return the path of one of the bundle's files."""
        return self.path / name


def sha256(path: Path) -> str:
    """Return a file's sha256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_bundle(path: Path, *, verify: bool = True) -> Bundle:
    """Read and check the bundle in the folder `path`.

    Raises BundleError, naming the file, where one is missing, changed, or of a newer format.
    """
    manifest_path = path / MANIFEST
    try:
        text = manifest_path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BundleError(f"{path}: no {MANIFEST}: not a model bundle") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{manifest_path}: cannot be read ({error})") from None
    manifest = Manifest.from_json(text, manifest_path)
    for name in REQUIRED:
        if name not in manifest.files:
            raise BundleError(f"{manifest_path}: lists no {name}: not a complete bundle")
    for name, expected in manifest.files.items():
        file = path / name
        if Path(name).name != name:
            raise BundleError(f"{manifest_path}: '{name}' is no plain file name")
        if not file.is_file():
            raise BundleError(f"{file}: missing from the bundle: export or pull the model again")
        if verify and sha256(file) != expected:
            raise BundleError(
                f"{file}: changed since it was written (sha256 differs from the manifest's):"
                " export or pull the model again"
            )
    vocabulary_path = path / VOCABULARY
    vocabulary = Vocabulary.from_json(vocabulary_path.read_text("utf-8"), vocabulary_path)
    return Bundle(path, manifest, vocabulary)


def save_bundle(target: Path, manifest: Manifest, files: Mapping[str, bytes | Path]) -> Bundle:
    """Write a bundle to `target`, replacing an older bundle there; whole or not at all.

    `files` maps each file's name in the bundle to its bytes or to a file to copy.
    Raises BundleError where `target` exists and is no bundle, or a required file is not given.
    """
    missing = [name for name in REQUIRED if name not in files]
    if missing:
        raise BundleError(f"{target}: cannot write a bundle without {', '.join(missing)}")
    if (
        target.exists()
        and not (target / MANIFEST).is_file()
        and (not target.is_dir() or any(target.iterdir()))
    ):
        raise BundleError(f"{target}: exists and is no bundle: choose another --output")
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        for name, content in files.items():
            if isinstance(content, Path):
                shutil.copyfile(content, work / name)
            else:
                (work / name).write_bytes(content)
        manifest.files = {name: sha256(work / name) for name in sorted(files)}
        (work / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        work.chmod(0o755)
        load_bundle(work)
        _swap(work, target)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return load_bundle(target, verify=False)


def _swap(work: Path, target: Path) -> None:
    """Put the finished folder `work` in the place of `target`."""
    old: Path | None = None
    if target.exists():
        old = work.with_name(work.name + ".old")
        target.replace(old)
    try:
        work.replace(target)
    except OSError:
        if old is not None:
            with contextlib.suppress(OSError):
                old.replace(target)
        raise
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
