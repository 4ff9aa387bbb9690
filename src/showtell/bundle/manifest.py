"""The manifest of a bundle: `manifest.json`, typed and checked.

Two numbers version the format. A bundle of a newer `format_version` is refused. A newer
`format_minor` means that keys were added which older versions can do without: then unknown keys
are ignored. Otherwise an unknown key is an error, so that typos are caught.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from showtell.decoding.confidence import Calibration
from showtell.decoding.keywords import KeywordCalibration
from showtell.decoding.options import DecodingDefaults
from showtell.errors import BundleError
from showtell.files.plain_data import parse_json
from showtell.files.typed_settings import load_settings
from showtell.image import Preprocessing

FORMAT_VERSION = 2  # 2: bundles with a word detector; others are still written as 1
FORMAT_MINOR = 2  # 1: the key `language`; 2: the key `encoder.shared_with`
Precision = Literal["float32", "float16", "int8"]
_NAME = {"longest": 200}  # of a text that is shown on one line
_SCORE = {"ge": -1000, "le": 10_000}
_COUNT = {"ge": 0, "le": 10**12}
_SHARE = {"ge": 0, "le": 1}
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class DetectorInfo:
    """The word detector: timm's name of its object network, and the size of that one's input.

    It detects the first `words` real words of the vocabulary, and the first `caption_words` of
    them also with heads that were trained on captions.
    """

    network: str = field(metadata=_NAME)
    size: int = field(metadata={"ge": 32, "le": 4096})
    words: int = field(metadata={"ge": 1, "le": 1_000_000})
    caption_words: int = field(metadata={"ge": 1, "le": 1_000_000})


@dataclass(frozen=True)
class EncoderInfo:
    """The encoder: `network` is timm's name, `grid` the height and width of its regions.

    `channels` is the number of features of a region. `options` are timm's options of the network.
    `weights` says where the weights came from before training, and `fine_tuned` which parts of the
    network were trained ("last", "all"). `detector` describes the word detector, whose logits the
    encoder's graph returns too; None without one. `shared_with` names the model whose
    `encoder.onnx` is this bundle's, which can then lack the file; "" for a bundle with its own.
    """

    network: str = field(metadata=_NAME)
    grid: tuple[int, int] = field(metadata={"ge": 1, "le": 4096})
    channels: int = field(metadata={"ge": 1, "le": 1_000_000})
    weights: str = field(default="unknown", metadata={"longest": 1000})
    options: dict[str, str] = field(default_factory=dict, metadata={"longest": 100})
    batch_norm_epsilon: float | None = field(default=None, metadata={"gt": 0, "le": 1})
    fine_tuned: tuple[str, ...] = field(default=(), metadata={"longest": 100})
    detector: DetectorInfo | None = None
    shared_with: str = field(default="", metadata=_NAME)

    def __post_init__(self) -> None:
        if self.shared_with and not _FILE_NAME.fullmatch(self.shared_with):
            raise BundleError(f"shared_with: {self.shared_with[:60]!r} is not a model's name")


@dataclass(frozen=True)
class DecoderInfo:
    """The decoder: its kind, the names of its arrays, and whether it has attention.

    `decoder_begin.onnx` returns the arrays `memory` and `state`; `decoder_step.onnx` takes them
    and returns the next `state`.
    """

    kind: str = field(metadata=_NAME)
    memory: tuple[str, ...] = field(metadata={"longest": 100})
    state: tuple[str, ...] = field(metadata={"longest": 100})
    attention: bool

    def __post_init__(self) -> None:
        names = [*self.memory, *self.state]
        if len(set(names)) != len(names) or "tokens" in names:
            raise BundleError("state: the names of memory and state must differ, and not be tokens")


@dataclass(frozen=True)
class SplitInfo:
    """The photos of one split: how many, how many captions, and a hash of the photos' names."""

    count: int = field(metadata=_COUNT)
    captions: int = field(metadata=_COUNT)
    fingerprint: str = field(default="", metadata=_NAME)


@dataclass(frozen=True)
class TrainingInfo:
    """What a model was trained on, and how.

    `photos` maps each split to its size, `name_hashes` packs hashes of the training photos'
    names (see `showtell.data.overlap`; None where they are unknown), `init_from` names the model
    that training started from, `recipe` is the recipe as plain data.
    """

    dataset: str = field(default="unknown", metadata={"longest": 1000})
    photos: dict[str, SplitInfo] = field(default_factory=dict, metadata={"longest": 100})
    name_hashes: str | None = None
    init_from: str = field(default="", metadata={"longest": 1000})
    recipe: dict[str, Any] = field(default_factory=dict, metadata={"longest": 1000})
    seconds: float = field(default=0, metadata=_COUNT)


@dataclass(frozen=True)
class ScoreInfo:
    """Scores of a part of one split, times 100 as papers print them.

    A metric that was not computed is None. `distinct_captions` and `vocabulary_used` are shares
    from 0 to 1.
    """

    split: str = field(metadata=_NAME)
    beam: int = field(metadata={"ge": 1, "le": 1000})
    scorer: str = field(metadata=_NAME)
    length_penalty: float | None = field(default=None, metadata={"ge": 0, "le": 100})
    limited: bool = False  # scored on the first photos of the split only
    part: str = field(default="all", metadata=_NAME)
    photos: int | None = field(default=None, metadata=_COUNT)
    bleu_1: float | None = field(default=None, metadata=_SCORE)
    bleu_2: float | None = field(default=None, metadata=_SCORE)
    bleu_3: float | None = field(default=None, metadata=_SCORE)
    bleu_4: float | None = field(default=None, metadata=_SCORE)
    meteor: float | None = field(default=None, metadata=_SCORE)
    rouge_l: float | None = field(default=None, metadata=_SCORE)
    cider: float | None = field(default=None, metadata=_SCORE)
    spice: float | None = field(default=None, metadata=_SCORE)
    mean_length: float | None = field(default=None, metadata=_COUNT)
    distinct_captions: float | None = field(default=None, metadata=_SHARE)
    distinct_words: int | None = field(default=None, metadata=_COUNT)
    vocabulary_used: float | None = field(default=None, metadata=_SHARE)


@dataclass(frozen=True)
class PrecisionInfo:
    """In which precision the weights of each part are stored."""

    encoder: Precision = "float32"
    decoder: Precision = "float32"


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` holds.

    `language` is the BCP 47 tag of the language that the model writes, that of its vocabulary.
    `confidence` is the calibration that was fitted on dev photos, `keywords` that of keywords
    (None where the model has none), `files` maps the name of each
    file of the bundle to its sha256, `terms` says under which terms the training data may be used.
    """

    name: str = field(metadata=_NAME)
    encoder: EncoderInfo
    decoder: DecoderInfo
    preprocessing: Preprocessing = field(metadata={"complete": True})
    language: str = field(default="en", metadata=_NAME)
    decoding: DecodingDefaults = field(default_factory=DecodingDefaults)
    training: TrainingInfo = field(default_factory=TrainingInfo)
    scores: tuple[ScoreInfo, ...] = field(default=(), metadata={"longest": 1000})
    confidence: Calibration | None = None
    keywords: KeywordCalibration | None = None
    precision: PrecisionInfo = field(default_factory=PrecisionInfo)
    terms: str = field(default="", metadata={"longest": 10_000})
    files: dict[str, str] = field(default_factory=dict, metadata={"longest": 100})
    format_version: int = 1
    format_minor: int = field(default=FORMAT_MINOR, metadata={"ge": 0, "le": 1_000_000})
    written_by: str = field(default="", metadata=_NAME)

    def __post_init__(self) -> None:
        if self.keywords is not None and self.encoder.detector is None:
            raise BundleError("keywords: need an encoder with a detector")
        for name, sha256 in self.files.items():
            if not _FILE_NAME.fullmatch(name):
                raise BundleError(f"files: {name[:60]!r} is not a plain file name")
            if not _SHA256.fullmatch(sha256):
                raise BundleError(f"files.{name}: must be a sha256 of 64 hexadecimal digits")

    def to_json(self) -> str:
        """Return the manifest as indented JSON text."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, source: Path | str) -> Manifest:
        """Read a manifest from JSON text; `source` is the file that errors name.

        Raises BundleError, naming file and key, where a key or value is wrong, the text is not
        JSON, or the format is newer than this version reads.
        """
        data = parse_json(text, error=BundleError, source=source)
        version = data.get("format_version") if isinstance(data, dict) else None
        if version is None:
            raise BundleError(f"{source}: not a showtell manifest (format_version is missing)")
        if type(version) is not int or version < 1:
            raise BundleError(
                f"{source}: not a showtell manifest (format_version must be a positive integer,"
                f" not {repr(version)[:60]})"
            )
        if version > FORMAT_VERSION:
            raise BundleError(
                f"{source}: bundle format {str(version)[:60]} is newer than this showtell reads"
                f" ({FORMAT_VERSION}): upgrade showtell"
            )
        minor = data.get("format_minor", 0)
        newer = type(minor) is int and minor > FORMAT_MINOR
        return load_settings(cls, data, error=BundleError, source=source, ignore_unknown=newer)
