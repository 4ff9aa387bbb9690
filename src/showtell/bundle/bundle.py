"""A trained model on disk: one folder of JSON, ONNX files and a model card.

Each file is checked by its hash. Nothing in a bundle is executed on load and nothing is pickled.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from showtell.bundle.manifest import Manifest
from showtell.errors import BundleError
from showtell.files.atomic_write import atomic_folder
from showtell.files.folders import shipped_models_dir
from showtell.files.os_errors import error_reason
from showtell.files.regular_files import open_regular
from showtell.vocabulary import FIRST_WORD, Vocabulary

MANIFEST = "manifest.json"
CARD = "MODEL_CARD.md"
VOCABULARY = "vocabulary.json"
ENCODER = "encoder.onnx"  # pixels -> regions, pooled
DECODER_BEGIN = "decoder_begin.onnx"  # features -> memory, state
DECODER_STEP = "decoder_step.onnx"  # tokens, memory, state -> log-probabilities, attention, state
MAX_JSON_BYTES = 16 << 20  # of the manifest and of the vocabulary
MAX_CARD_BYTES = 1 << 20
NETWORKS = (ENCODER, DECODER_BEGIN, DECODER_STEP)
REQUIRED = (VOCABULARY, *NETWORKS, CARD)


@dataclass(frozen=True)
class Bundle:
    """A checked bundle: its folder, manifest and vocabulary."""

    path: Path
    manifest: Manifest
    vocabulary: Vocabulary

    def file(self, name: str) -> Path:
        """Return the path of one of the bundle's files; a shared one is in another bundle."""
        return _file_of(self.path, self.manifest, name)

    @property
    def detected_words(self) -> tuple[str, ...]:
        """The words that the word detector detects, in the order of its logits."""
        detector = self.manifest.encoder.detector
        return self.vocabulary.words[FIRST_WORD:][: detector.words if detector else 0]


def sha256(path: Path) -> str:
    """Return a file's sha256 in hexadecimal. Raises BundleError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error_reason(error)})") from None


def check_hash(file: Path, digest: str, folder: Path, manifest: Manifest) -> None:
    """Raise BundleError if the sha256 of a file of the bundle in `folder` is not the manifest's."""
    if digest != manifest.files[file.name]:
        if file.parent != folder:
            raise BundleError(
                f"{file}: not the file that the bundle {folder} shares with"
                f" {manifest.encoder.shared_with} (another sha256): pull both models again, or copy"
                f" the right {file.name} into the bundle"
            )
        raise BundleError(
            f"{file}: changed since it was written (its sha256 is not the manifest's):"
            " export or pull the model again"
        )


def load_bundle(path: Path, *, verify: bool = True, networks: bool = True) -> Bundle:
    """Read and check the bundle in the folder `path`; `verify` compares the hash of each file.

    Without `networks` it leaves those out: `OnnxModel` compares their hashes when it reads them.

    Raises BundleError, naming the file, where one is missing, changed, or of a newer format.
    """
    manifest_path = path / MANIFEST
    if not manifest_path.is_file():
        raise BundleError(
            f"{path}: not a model bundle (it has no {MANIFEST}):"
            " give a folder that showtell export wrote"
        )
    manifest = Manifest.from_json(_read(manifest_path), manifest_path)
    for name in REQUIRED:
        if name not in manifest.files:
            raise BundleError(
                f"{manifest_path}: incomplete bundle: 'files' lacks {name}:"
                " export or pull the model again"
            )
    for name in manifest.files:
        file = _file_of(path, manifest, name)
        if not file.is_file():
            raise BundleError(_why_missing(path, manifest, name))
        if verify and (networks or name not in NETWORKS):
            check_hash(file, sha256(file), path, manifest)
    vocabulary_path = path / VOCABULARY
    vocabulary = Vocabulary.from_json(_read(vocabulary_path), vocabulary_path)
    if manifest.language != vocabulary.language:
        raise BundleError(
            f"{manifest_path}: language: {manifest.language}, but {VOCABULARY} has words of"
            f" {vocabulary.language}: export or pull the model again"
        )
    read_card(path)
    return Bundle(path, manifest, vocabulary)


def _file_of(folder: Path, manifest: Manifest, name: str) -> Path:
    """Return the path of a file of the bundle in `folder`.

    An encoder that the folder lacks is that of the model `encoder.shared_with`: in the folder
    beside this one, or shipped.
    """
    shared_with = manifest.encoder.shared_with
    if name == ENCODER and shared_with:
        for models in (folder.absolute().parent, shipped_models_dir()):
            shared = models / shared_with / name
            if not (folder / name).is_file() and shared.is_file():
                return shared
    return folder / name


def _why_missing(folder: Path, manifest: Manifest, name: str) -> str:
    shared_with = manifest.encoder.shared_with
    if name == ENCODER and shared_with:
        return (
            f"{folder}: its {name} is that of the model {shared_with}, which is neither beside it"
            f" nor shipped: put {shared_with} beside it, or copy {shared_with}'s {name} into it"
        )
    return f"{folder / name}: missing from the bundle: export or pull the model again"


def read_card(folder: Path) -> str:
    """Return the model card of the bundle in `folder`.

    Raises BundleError if it cannot be read, is not UTF-8 text, or is longer than a card can be.
    """
    path = folder / CARD
    try:
        return _read(path, MAX_CARD_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleError(f"{path}: not UTF-8 text (byte {error.start})") from None


def save_bundle(target: Path, manifest: Manifest, files: Mapping[str, bytes | Path]) -> Bundle:
    """Write a bundle to the folder `target`, whole or not at all; an older bundle is replaced.

    `files` maps each file's name in the bundle to its bytes or to a file to copy. The hashes in
    the manifest are computed here.

    Raises BundleError where `target` exists and is not a bundle, or a required file is missing.
    """
    missing = [name for name in REQUIRED if name not in files]
    if missing:
        raise BundleError(f"{target}: cannot write a bundle without {', '.join(missing)}")
    if not _may_replace(target):
        raise BundleError(f"{target}: exists and is not a bundle: choose another --output")
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(target) as folder:
        for name, content in files.items():
            if isinstance(content, Path):
                shutil.copyfile(content, folder / name)
            else:
                (folder / name).write_bytes(content)
        hashes = {name: sha256(folder / name) for name in sorted(files)}
        text = replace(manifest, files=hashes).to_json()
        (folder / MANIFEST).write_text(text, encoding="utf-8")
        load_bundle(folder)
    return load_bundle(target, verify=False)


def _may_replace(target: Path) -> bool:
    """Whether `target` does not exist, is an empty folder, or is a bundle."""
    if not target.exists() or (target / MANIFEST).is_file():
        return True
    return target.is_dir() and not any(target.iterdir())


def _read(path: Path, limit: int = MAX_JSON_BYTES) -> bytes:
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size  # a larger buffer would be allocated whole
            data = file.read(min(size, limit) + 1)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error_reason(error)})") from None
    if len(data) > limit:
        raise BundleError(f"{path}: larger than {limit:,} bytes: not read")
    return data
