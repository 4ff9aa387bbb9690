"""A training run to a model bundle: ONNX graphs, checked against PyTorch, measured as they ship."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from showtell import __version__
from showtell.bundle import (
    CARD,
    DECODER_BEGIN,
    DECODER_STEP,
    ENCODER,
    MANIFEST,
    VOCABULARY,
    Bundle,
    DecoderInfo,
    EncoderInfo,
    Manifest,
    PhotosInfo,
    Precision,
    PrecisionInfo,
    ScoreInfo,
    TrainingInfo,
    save_bundle,
)
from showtell.bundle.model_card import model_card, terms_of
from showtell.bundle.onnx_runtime import OnnxModel
from showtell.captioner import Captioner
from showtell.data import Dataset, open_dataset
from showtell.data.overlap import NAMES_KEY, merge_packed_names
from showtell.decoding.beam_search import Hypothesis, beam_search
from showtell.errors import ShowtellError
from showtell.export.calibration import fit_confidence
from showtell.export.onnx_graphs import at_precision, decoder_graphs, encoder_graph
from showtell.files.folders import cache_dir
from showtell.nets.model import TorchDecoder
from showtell.pipeline import pixel_batches
from showtell.scoring.evaluate import evaluate
from showtell.scoring.evaluation import Evaluation
from showtell.training.run_folder import TrainedRun, join_unique, open_run
from showtell.vocabulary import END, START

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3  # largest difference of log-probabilities between PyTorch and float32 ONNX
LOSE_BLEU, LOSE_CIDER = 0.3, 1.0  # what a smaller precision may cost on dev
SAMPLE = 64  # dev photos of the parity check
BATCH = 16
TRIALS: tuple[tuple[str, Precision], ...] = (
    ("decoder", "float16"),
    ("decoder", "int8"),
    ("encoder", "float16"),
    ("encoder", "int8"),
)


class ExportError(ShowtellError):
    """A run cannot be exported, or what was exported differs from PyTorch."""


@dataclass(frozen=True)
class Parity:
    """How ONNX compares with PyTorch on some photos."""

    photos: int
    same_captions: int
    largest_difference: float  # of log-probabilities, along PyTorch's captions


@dataclass(frozen=True)
class Candidate:
    """One choice of precisions, with its size and, where data was given, its scores on dev."""

    encoder: Precision
    decoder: Precision
    bytes: int
    evaluation: Evaluation | None = field(default=None, repr=False)
    kept: bool = True


@dataclass(frozen=True)
class Exported:
    """What `export` made and measured."""

    bundle: Bundle
    parity: Parity
    candidates: tuple[Candidate, ...]


def export(
    run: Path,
    output: Path,
    data: Path | str | None = None,
    *,
    precision: Precision | tuple[Precision, Precision] | Literal["auto"] = "float32",
    name: str | None = None,
    dev_photos: int = 0,
    notes: Path | None = None,
) -> Exported:
    """Export the best checkpoint of `run` to the bundle folder `output`, whole or not at all.

    ONNX is checked against PyTorch on dev photos of `data` (on noise without it). With `data`, the
    bundle is scored on dev as it ships and its `confidence` fitted on dev's first half.
    `precision` is that of encoder and decoder, or of each; `auto` picks the smallest for each that
    stays within 0.3 BLEU-4 and 1 CIDEr of float32 on dev. `dev_photos` limits dev, for a quick
    look. `notes` is a file of Markdown for the model's card: where it fails, what it guesses.

    Raises ExportError where `notes` cannot be read, ONNX and PyTorch differ, or `auto` has no data
    to measure on.
    """
    found_out = _read_notes(notes)
    trained = open_run(run)
    dataset = open_dataset(data) if data else None
    if dataset and dev_photos:
        kept = {photo.name for photo in dataset.split("dev")[:dev_photos]}
        photos = tuple(p for p in dataset.photos if p.split != "dev" or p.name in kept)
        dataset = Dataset(dataset.root, dataset.layout, photos)
    measured = dataset if dataset and dataset.split("dev") else None
    if precision == "auto" and measured is None:
        raise ExportError("precision auto is measured on dev: give a dataset with --data")
    graphs = _Graphs(trained)
    name = name or output.name
    with tempfile.TemporaryDirectory(prefix="showtell-export-") as scratch:
        make = _Maker(trained, graphs, name, Path(scratch))
        parity = check_parity(trained, make("float32", "float32"), measured)
        if precision == "auto":
            assert measured is not None
            candidates = _choose(make, measured)
        else:
            both = (precision, precision) if isinstance(precision, str) else precision
            candidates = (Candidate(*both, 0),)
        chosen = next(item for item in reversed(candidates) if item.kept)
        bundle = make(chosen.encoder, chosen.decoder)
        manifest = bundle.manifest
        if measured:
            final = chosen.evaluation or evaluate(Captioner(bundle), measured)
            manifest = replace(
                manifest,
                confidence=fit_confidence(bundle, measured),
                scores=tuple(ScoreInfo(**line) for line in final.summary()),
            )
        files = {n: bundle.file(n).read_bytes() for n in manifest.files if n != CARD}
        files[CARD] = model_card(manifest, bundle.vocabulary, found_out).encode()
        return Exported(save_bundle(output, manifest, files), parity, candidates)


def _read_notes(path: Path | None) -> str:
    try:
        return path.read_text("utf-8") if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"{path}: the notes cannot be read ({error})") from None


def cached_bundle(run: Path) -> Path:
    """Return a float32 bundle of a run's best checkpoint, exported once and kept in the cache."""
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


class _Graphs:
    """The float32 graphs of a run, exported once for all precisions."""

    def __init__(self, trained: TrainedRun) -> None:
        begin, step = decoder_graphs(trained.model)
        self.graphs = {
            ENCODER: encoder_graph(trained.model),
            DECODER_BEGIN: begin,
            DECODER_STEP: step,
        }
        self._made: dict[tuple[str, Precision], bytes] = {}

    def file(self, name: str, precision: Precision) -> bytes:
        key = (name, precision)
        if key not in self._made:
            self._made[key] = at_precision(self.graphs[name], precision)
            onnx.checker.check_model(self._made[key])
        return self._made[key]


@dataclass
class _Maker:
    """Makes bundles of one run at different precisions, in a scratch folder."""

    trained: TrainedRun
    graphs: _Graphs
    name: str
    scratch: Path

    def __call__(self, encoder: Precision, decoder: Precision) -> Bundle:
        manifest = manifest_of(self.trained, self.name)
        manifest = replace(manifest, precision=PrecisionInfo(encoder, decoder))
        files = {
            VOCABULARY: self.trained.vocabulary.to_json().encode(),
            ENCODER: self.graphs.file(ENCODER, encoder),
            DECODER_BEGIN: self.graphs.file(DECODER_BEGIN, decoder),
            DECODER_STEP: self.graphs.file(DECODER_STEP, decoder),
            CARD: model_card(manifest, self.trained.vocabulary).encode(),
        }
        return save_bundle(self.scratch / f"{encoder}-{decoder}", manifest, files)


def manifest_of(trained: TrainedRun, name: str) -> Manifest:
    """Return a run's manifest, without files, scores and confidence."""
    encoder, decoder = trained.model.encoder, trained.model.decoder
    data, began = trained.description["data"], trained.description.get("began", {})
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
        ),
        decoder=DecoderInfo(
            kind=trained.recipe.decoder.kind,
            memory=tuple(decoder.memory_names),
            state=tuple(decoder.state_names),
            attention=decoder.has_attention,
        ),
        preprocessing=encoder.spec.preprocessing,
        decoding=trained.recipe.decoding,
        training=TrainingInfo(
            dataset=join_unique([began.get("dataset"), data["layout"]], ", then "),
            photos={split: PhotosInfo(**photos) for split, photos in data["photos"].items()},
            name_hashes=merge_packed_names([began.get(NAMES_KEY, ""), data[NAMES_KEY]]),
            init_from=began.get("model", ""),
            recipe=trained.recipe.to_dict() | {"encoder_weights": encoder.spec.source},
            seconds=round(trained.progress.seconds),
        ),
        terms=join_unique([began.get("terms"), terms_of(data["layout"])], " "),
        written_by=f"showtell {__version__}",
    )


def check_parity(
    trained: TrainedRun, bundle: Bundle, dataset: Dataset | None, photos: int = SAMPLE
) -> Parity:
    """Compare ONNX with PyTorch, captions and log-probabilities, on the first `photos` of dev.

    On noise without a dataset. Raises ExportError where a log-probability differs by more than
    the tolerance.
    """
    onnx_model = OnnxModel(bundle)
    torch_decoder = TorchDecoder(trained.model.decoder)
    search = asdict(bundle.manifest.decoding)
    count = same = 0
    difference = 0.0
    for pixels in _pixels_of(bundle, dataset, photos):
        with torch.inference_mode():
            encoded = trained.model.encoder(torch.from_numpy(pixels))
        features = {name: array.numpy() for name, array in encoded.items()}
        ours = beam_search(torch_decoder, features, **search)
        theirs = beam_search(onnx_model, onnx_model.encode(pixels), **search)
        found = _difference(torch_decoder, onnx_model, features, pixels, [own[0] for own in ours])
        difference = max(difference, found)
        count += len(pixels)
        same += sum(a[0].tokens == b[0].tokens for a, b in zip(ours, theirs, strict=True))
    if not difference <= TOLERANCE:
        raise ExportError(
            f"{trained.path}: ONNX differs from PyTorch by {difference:.2g} in log-probability"
            f" (at most {TOLERANCE:g}): not exported"
        )
    return Parity(count, same, difference)


def _pixels_of(
    bundle: Bundle, dataset: Dataset | None, photos: int
) -> Iterator[NDArray[np.float32]]:
    """Yield batches of model input: of dev photos that can be read, or of noise."""
    preprocessing = bundle.manifest.preprocessing
    if dataset is None:
        shape = (8, 3, preprocessing.height, preprocessing.width)
        yield np.random.default_rng(0).normal(size=shape).astype(np.float32)
        return
    paths = (photo.path for photo in dataset.split("dev")[:photos])
    for batch in pixel_batches(paths, preprocessing, batch_size=BATCH):
        for photo in batch.unreadable:
            logger.warning("left out: %s", photo.error)
        if batch.pixels is not None:
            yield batch.pixels


def _difference(
    ours: TorchDecoder,
    theirs: OnnxModel,
    features: Mapping[str, NDArray[Any]],
    pixels: NDArray[np.float32],
    captions: Sequence[Hypothesis],
) -> float:
    """Return the largest difference of log-probabilities along `captions`."""
    steps = max(len(caption.tokens) for caption in captions) + 1
    tokens = np.full((len(captions), steps), END)
    tokens[:, 0] = START
    for row, caption in enumerate(captions):
        tokens[row, 1 : len(caption.tokens) + 1] = caption.tokens
    memory, state = ours.init_state(features)
    memory2, state2 = theirs.init_state(theirs.encode(pixels))
    largest = 0.0
    for step in range(steps):
        scores, _, state = ours.step(tokens[:, step], memory, state)
        scores2, _, state2 = theirs.step(tokens[:, step], memory2, state2)
        likely = scores > -12  # a word of one in 160,000 is never chosen
        largest = max(largest, float(np.abs(scores - scores2)[likely].max(initial=0.0)))
    return largest


def _choose(
    make: Callable[[Precision, Precision], Bundle], dataset: Dataset
) -> tuple[Candidate, ...]:
    """Measure smaller precisions one part at a time; the last that is kept is the choice."""
    current: dict[str, Precision] = {"encoder": "float32", "decoder": "float32"}
    found = [_measured(make, current, dataset)]
    for part, precision in TRIALS:
        trial = _measured(make, {**current, part: precision}, dataset)
        kept = _worth_it(trial, found)
        if kept:
            current[part] = precision
        found.append(replace(trial, kept=kept))
    return tuple(found)


def _worth_it(trial: Candidate, before: Sequence[Candidate]) -> bool:
    """Say whether a smaller precision is kept: as good as float32 within bounds, and smaller."""
    assert trial.evaluation is not None
    assert before[0].evaluation is not None
    scores, base = trial.evaluation.scores, before[0].evaluation.scores
    good = scores.bleu_4 >= base.bleu_4 - LOSE_BLEU and scores.cider >= base.cider - LOSE_CIDER
    last = next(item for item in reversed(before) if item.kept)
    return good and trial.bytes < last.bytes


def _measured(
    make: Callable[[Precision, Precision], Bundle],
    precision: Mapping[str, Precision],
    dataset: Dataset,
) -> Candidate:
    bundle = make(precision["encoder"], precision["decoder"])
    evaluation = evaluate(Captioner(bundle), dataset)
    size = sum(bundle.file(name).stat().st_size for name in bundle.manifest.files)
    logger.info(
        "encoder %s, decoder %s: %.1f MB, BLEU-4 %.1f, CIDEr %.1f",
        precision["encoder"],
        precision["decoder"],
        size / 1e6,
        evaluation.scores.bleu_4,
        evaluation.scores.cider,
    )
    return Candidate(precision["encoder"], precision["decoder"], size, evaluation)
