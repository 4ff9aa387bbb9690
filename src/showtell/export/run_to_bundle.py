"""A training run becomes a model bundle: ONNX graphs, checked against PyTorch and scored on dev."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import onnx

from showtell import __version__
from showtell.bundle import (
    CARD,
    DECODER_BEGIN,
    DECODER_STEP,
    ENCODER,
    FORMAT_VERSION,
    MANIFEST,
    VOCABULARY,
    Bundle,
    DecoderInfo,
    DetectorInfo,
    EncoderInfo,
    Manifest,
    Precision,
    PrecisionInfo,
    ScoreInfo,
    SplitInfo,
    TrainingInfo,
    save_bundle,
)
from showtell.bundle.model_card import model_card
from showtell.captioner import Captioner
from showtell.data import Dataset, open_dataset
from showtell.errors import ExportError
from showtell.export.calibration import fit_confidence
from showtell.export.choose_precision import Candidate, choose_precision
from showtell.export.onnx_graphs import decoder_graphs, encoder_graph
from showtell.export.parity import Parity, check_parity
from showtell.export.quantize import at_precision
from showtell.files.folders import cache_dir
from showtell.files.os_errors import error_reason
from showtell.files.regular_files import read_regular
from showtell.scoring.evaluate import evaluate
from showtell.training.run_folder import TrainedRun, open_run

logger = logging.getLogger(__name__)

_MAX_NOTES_BYTES = 1 << 20

PrecisionChoice = Precision | tuple[Precision, Precision] | Literal["auto"]


@dataclass(frozen=True)
class Exported:
    """The result of an export: the bundle, the parity check, and the precisions that were tried."""

    bundle: Bundle
    parity: Parity
    candidates: tuple[Candidate, ...]


def export(
    run: Path,
    output: Path,
    data: Path | str | None = None,
    *,
    precision: PrecisionChoice = "float32",
    name: str | None = None,
    dev_photos: int = 0,
    notes: Path | None = None,
) -> Exported:
    """Export the best checkpoint of `run` to the bundle folder `output`, whole or not at all.

    ONNX is compared with PyTorch on dev photos of the dataset `data`, or on noise without one.
    With `data`, the bundle is scored on dev as exported, and its confidence is fitted on the first
    half of dev. `precision` is that of encoder and decoder, or one for each; `auto` picks the
    smallest that stays within 0.3 BLEU-4 and 1 CIDEr of float32 on dev. `dev_photos` limits dev,
    for a quick look. `notes` is a Markdown file for the model card, about limits and bias.

    Raises ExportError where `notes` cannot be read, ONNX and PyTorch differ, no dev photo can be
    captioned, or `auto` has no dev photos to measure on.
    """
    notes_text = _read_notes(notes)
    trained = open_run(run)
    dev = _dev_dataset(data, dev_photos)
    if precision == "auto" and dev is None:
        raise ExportError("precision auto is measured on dev: give a dataset with --data")
    with tempfile.TemporaryDirectory(prefix="showtell-export-") as scratch:
        make_bundle = _BundleMaker(trained, name or output.name, Path(scratch))
        parity = check_parity(trained, make_bundle("float32", "float32"), dev)
        if precision == "auto":
            assert dev is not None
            candidates = choose_precision(make_bundle, dev)
        else:
            both = (precision, precision) if isinstance(precision, str) else precision
            candidates = (Candidate(*both, 0),)
        chosen = next(candidate for candidate in reversed(candidates) if candidate.kept)
        bundle = make_bundle(chosen.encoder, chosen.decoder)
        manifest = bundle.manifest
        if dev is not None:
            evaluation = chosen.evaluation or evaluate(Captioner(bundle), dev)
            manifest = replace(
                manifest,
                scores=tuple(ScoreInfo(**line) for line in evaluation.summary()),
                confidence=fit_confidence(bundle, dev),
            )
        files = {file: bundle.file(file).read_bytes() for file in manifest.files if file != CARD}
        files[CARD] = model_card(manifest, bundle.vocabulary, notes_text).encode()
        return Exported(save_bundle(output, manifest, files), parity, candidates)


def cached_bundle(run: Path) -> Path:
    """Return a float32 bundle of a run's best checkpoint, exported once and kept in the cache.

    Raises the errors of `export`.
    """
    best = run / "checkpoints" / "best.json"
    digest = hashlib.sha256()
    folder = run / "checkpoints"
    if best.is_file():
        folder = folder / Path(json.loads(best.read_text("utf-8"))["folder"]).name
    for file in (run / "run.json", folder / "model.safetensors"):
        if file.is_file():
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    digest.update(__version__.encode())
    target = cache_dir() / "exports" / f"{run.resolve().name}-{digest.hexdigest()[:16]}"
    if not (target / MANIFEST).is_file():
        logger.info("exporting %s", run)
        export(run, target, name=run.resolve().name)
    return target


def _read_notes(path: Path | None) -> str:
    try:
        return read_regular(path, _MAX_NOTES_BYTES, or_pipe=True).decode("utf-8") if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"{path}: the notes cannot be read ({error_reason(error)})") from None


def _dev_dataset(data: Path | str | None, dev_photos: int) -> Dataset | None:
    """Open a dataset, with only its first `dev_photos` (0: all); None if it has no dev."""
    if not data:
        return None
    dataset = open_dataset(data).first(dev_photos)
    return dataset if dataset.split("dev") else None


@dataclass
class _BundleMaker:
    """Writes bundles of one run at different precisions, to a scratch folder."""

    trained: TrainedRun
    name: str
    scratch: Path
    _graphs: dict[str, onnx.ModelProto] = field(init=False)  # in float32, by file name
    _files: dict[tuple[str, Precision], bytes] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        init_state, step = decoder_graphs(self.trained.model)
        encoder = encoder_graph(self.trained.model)
        self._graphs = {ENCODER: encoder, DECODER_BEGIN: init_state, DECODER_STEP: step}

    def __call__(self, encoder: Precision, decoder: Precision) -> Bundle:
        manifest = manifest_of(self.trained, self.name)
        manifest = replace(manifest, precision=PrecisionInfo(encoder, decoder))
        files = {
            VOCABULARY: self.trained.vocabulary.to_json().encode(),
            ENCODER: self._file(ENCODER, encoder),
            DECODER_BEGIN: self._file(DECODER_BEGIN, decoder),
            DECODER_STEP: self._file(DECODER_STEP, decoder),
            CARD: model_card(manifest, self.trained.vocabulary).encode(),
        }
        return save_bundle(self.scratch / f"{encoder}-{decoder}", manifest, files)

    def _file(self, name: str, precision: Precision) -> bytes:
        key = (name, precision)
        if key not in self._files:
            self._files[key] = at_precision(self._graphs[name], precision)
            onnx.checker.check_model(self._files[key])
        return self._files[key]


def manifest_of(trained: TrainedRun, name: str) -> Manifest:
    """Return the manifest of a run, without files, scores and confidence."""
    encoder, decoder = trained.model.encoder, trained.model.decoder
    data, origin = trained.description["data"], trained.origin
    stages = trained.recipe.stages[: trained.progress.stage + 1]
    return Manifest(
        name=name,
        encoder=EncoderInfo(
            network=encoder.spec.network,
            grid=encoder.grid,
            channels=encoder.channels,
            weights=encoder.spec.source,
            options=encoder.spec.options,
            batch_norm_epsilon=encoder.spec.batch_norm_epsilon,
            fine_tuned=tuple(
                dict.fromkeys(s.train_encoder for s in stages if s.train_encoder != "none")
            ),
            detector=DetectorInfo(**asdict(encoder.spec.detector))
            if encoder.spec.detector
            else None,
        ),
        decoder=DecoderInfo(
            kind=trained.recipe.decoder.kind,
            memory=tuple(decoder.memory_names),
            state=tuple(decoder.state_names),
            attention=decoder.has_attention,
        ),
        preprocessing=encoder.spec.preprocessing,
        language=trained.vocabulary.language,
        decoding=trained.recipe.decoding,
        training=TrainingInfo(
            dataset=origin.dataset,
            photos={split: SplitInfo(**photos) for split, photos in data["photos"].items()},
            name_hashes=origin.names,
            init_from=trained.initial.get("model", ""),
            recipe=trained.recipe.to_dict() | {"encoder_weights": encoder.spec.source},
            seconds=round(trained.progress.seconds),
        ),
        terms=origin.terms,
        format_version=FORMAT_VERSION if encoder.spec.detector else 1,
        written_by=f"showtell {__version__}",
    )
