"""A training run: recipe and data to a run folder that can be resumed, exported and used."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from showtell.data import open_dataset
from showtell.data.dataset import CaptionedPhoto, Dataset
from showtell.data.feature_cache import FeatureArrays
from showtell.data.shards.index import OnBroken
from showtell.errors import RecipeError, TrainingError
from showtell.nets.model import CaptionModel, reinit_decoder
from showtell.training.batches import (
    CachedFeatures,
    CaptionBatches,
    PhotoSource,
    Pixels,
    step_seed,
)
from showtell.training.checkpoint import Checkpoints, TrainingProgress
from showtell.training.concept_training import ConceptPrediction
from showtell.training.dev_captions import write_dev_captions
from showtell.training.dev_scores import DevScores
from showtell.training.distributed import Ranks, join_ranks
from showtell.training.expected_captions import warn_of_cut_captions, warn_of_few_steps
from showtell.training.features import FeatureExtractor, warn_unreadable
from showtell.training.interrupts import catch_stop_signals
from showtell.training.log import NoLog, TrainingLog
from showtell.training.loop import Session, StagePlan, StageTrainer, load_weights
from showtell.training.malloc import keep_large_blocks
from showtell.training.recipe import Recipe
from showtell.training.rehearsal import Rehearsal, open_rehearsal
from showtell.training.run_setup import RunSetup, RunStart
from showtell.training.stage_objective import ObjectiveBuilder
from showtell.training.sync_batch_norm import share_batch_norm
from showtell.training.warm_start import load_initial
from showtell.training.weight_average import kept_weights
from showtell.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

FALLBACK_DEV_PHOTOS = 100  # training photos that choose the best epoch where there is no dev split


def train(
    recipe: Recipe,
    data: Path | str,
    output: Path,
    *,
    resume: str | None = None,
    on_broken: OnBroken = "fail",
) -> Path:
    """Train a captioner from a recipe on the dataset at `data` into the run folder `output`.

    `resume="auto"` resumes the run in `output`, if there is one. `data` is a folder or the address
    of shards; `on_broken` says what happens to a broken shard. Under torchrun, this process is one
    of several ranks. Returns `output`.

    Raises TrainingError where `output` holds a run and `resume` is not given, the data has no
    training photos, or the loss is not finite; RecipeError where the run has another recipe.
    """
    if resume not in (None, "auto"):
        raise RecipeError(f"resume: must be auto, not '{resume}'")
    keep_large_blocks()
    with (
        join_ranks(recipe.device) as (ranks, device),
        catch_stop_signals(patient=ranks.count > 1) as stop,
    ):
        dataset = open_dataset(data, on_broken=on_broken).first(recipe.limit)
        ranks.check_equal([photo.name for photo in dataset.photos], f"{dataset.root}: the photos")
        # torchrun restarted a run that this command started
        if max(ranks.all_gather(ranks.restarts)):
            resume = "auto"
        photos = _training_photos(dataset, recipe)
        setup = RunSetup(recipe, dataset, photos.rehearsal, photos.train, output)
        start = setup.on_all_ranks(ranks, resume)
        _train_run(start, photos, output, ranks, device, stop)
    return output


@dataclass(frozen=True)
class _Photos:
    """The photos of a run: `train` holds those of the dataset, then those of the rehearsal."""

    dataset: Dataset
    rehearsal: Rehearsal | None
    train: list[CaptionedPhoto]

    @property
    def rehearsed(self) -> int:
        return len(self.rehearsal.train) if self.rehearsal else 0


def _training_photos(dataset: Dataset, recipe: Recipe) -> _Photos:
    photos = dataset.split("train")
    if not photos:
        raise TrainingError(f"{dataset.root}: the split train has no photos to learn from")
    if not recipe.rehearsal:
        return _Photos(dataset, None, photos)
    rehearsal = open_rehearsal(recipe.rehearsal, recipe.rehearsal_share, len(photos), recipe.seed)
    return _Photos(dataset, rehearsal, [*photos, *rehearsal.train])


def _train_run(
    start: RunStart,
    photos: _Photos,
    output: Path,
    ranks: Ranks,
    device: torch.device,
    stop: Callable[[], bool],
) -> None:
    """Train the stages of a run that are not done."""
    recipe = start.recipe
    model = _build_model(start, output, ranks, device)
    checkpoints = Checkpoints(output, ranks)
    resumed = start.resumed and checkpoints.has("last")
    progress = checkpoints.progress("last") if resumed else TrainingProgress()
    if resumed:
        logger.info("resuming at stage %d, epoch %d, step %d", *progress.position)
    extractor = FeatureExtractor(model, recipe, output, device, stop, ranks)
    batches = _caption_batches(photos, start, extractor)
    warn_of_few_steps(recipe, len(batches))
    warn_of_cut_captions(photos.train, start.vocabulary.rules, recipe.max_words)
    dev = _dev_photos(photos, recipe, extractor)
    log = TrainingLog(output, progress.position if resumed else None) if ranks.first else NoLog()
    with contextlib.closing(log):
        session = Session(recipe, model, checkpoints, log, device, stop, ranks)
        stages = _Stages(
            session,
            start.vocabulary,
            photos,
            batches,
            dev,
            extractor,
            output,
            start.known_words,
        )
        first = progress.stage
        for number in range(first, len(recipe.stages)):
            if number != first:
                progress = _next_stage(recipe, number, progress)
            if progress.epoch < recipe.stages[number].epochs:
                trainer = stages.start(number, resumed=resumed and number == first)
                progress = trainer.train(progress)


def _build_model(start: RunStart, output: Path, ranks: Ranks, device: torch.device) -> CaptionModel:
    """Build the model with the weights that the run starts from, on the device."""
    recipe = start.recipe
    torch.manual_seed(recipe.seed)  # new weights are the same whether the run is new or resumed
    model = CaptionModel(
        start.encoder,
        recipe.decoder,
        len(start.vocabulary),
        concept_head=recipe.learns_concepts,
    )
    if ranks.first:  # every stage starts with the first rank's weights
        load_initial(output, model)
    if ranks.count > 1:
        share_batch_norm(model.encoder)
    model.to(device)
    model.encoder.to(memory_format=torch.channels_last)
    if recipe.compile:
        model.encoder.compile()
    return model


def _caption_batches(
    photos: _Photos, start: RunStart, extractor: FeatureExtractor
) -> CaptionBatches:
    """Return the training batches without photos that cannot be read."""
    recipe = start.recipe
    # a new run with a frozen encoder reads all photos anyway, to compute their features
    if recipe.stages[0].train_encoder == "none" and not start.resumed:
        unreadable = extractor.cached(photos.train, "plain", tuned=False).bad
    else:
        unreadable = extractor.unreadable(photos.train)
    warn_unreadable(photos.train, unreadable)
    batches = CaptionBatches(
        photos.train,
        [row for row in range(len(photos.train)) if row not in unreadable],
        start.vocabulary,
        recipe,
        photos.rehearsed,
        ranks=extractor.ranks,
        workers=extractor.workers,
        pin=extractor.device.type == "cuda",
    )
    if not len(batches):
        raise TrainingError(
            f"{photos.dataset.root}: no training photo that can be read has captions"
        )
    return batches


def _dev_photos(
    photos: _Photos, recipe: Recipe, extractor: FeatureExtractor
) -> list[CaptionedPhoto]:
    """Return the photos that epochs are evaluated on, without those that cannot be read."""
    dev = [photo for photo in photos.dataset.split("dev") if photo.captions]
    dev = dev[: recipe.dev_photos or None]
    if not dev:
        dev = photos.train[:FALLBACK_DEV_PHOTOS]
        logger.warning(
            "%s: no dev photos with captions: epochs are scored on %d training photos, which says"
            " nothing about new photos; give some photos the split dev",
            photos.dataset.root,
            len(dev),
        )
    dev += photos.rehearsal.dev if photos.rehearsal else ()
    if len(dev) < recipe.min_dev_photos:
        logger.warning(
            "%s: %d dev photos are too few to choose the best epoch: the last epoch is kept;"
            " %d would be enough (min_dev_photos)",
            photos.dataset.root,
            len(dev),
            recipe.min_dev_photos,
        )
    unreadable = extractor.unreadable(dev)
    warn_unreadable(dev, unreadable)
    if len(unreadable) == len(dev):
        raise TrainingError(f"{photos.dataset.root}: no dev photo can be read: cannot evaluate")
    return [photo for row, photo in enumerate(dev) if row not in unreadable]


def _next_stage(recipe: Recipe, number: int, progress: TrainingProgress) -> TrainingProgress:
    """Return the progress at the start of stage `number`, after the stage before."""
    # the precision of concepts and the CIDEr of captions cannot be compared
    of_concepts = [recipe.stages[n].objective == "concepts" for n in (number - 1, number)]
    best = progress.best_score if of_concepts[0] == of_concepts[1] else -1.0
    return TrainingProgress(stage=number, best_score=best, seconds=progress.seconds)


@dataclass(frozen=True)
class _Stages:
    """Prepares the stages of a run, one after the other."""

    session: Session
    vocabulary: Vocabulary
    photos: _Photos
    batches: CaptionBatches
    dev: list[CaptionedPhoto]
    extractor: FeatureExtractor
    output: Path
    known_words: int | None

    def start(self, number: int, *, resumed: bool) -> StageTrainer:
        """Return the trainer of stage `number`, with the weights it starts or resumes from."""
        session, recipe = self.session, self.session.recipe
        stage, model, checkpoints = recipe.stages[number], session.model, session.checkpoints
        if resumed:
            load_weights(model, checkpoints.tensors("last", "model"))
        elif number and checkpoints.has(stage.init_checkpoint):
            load_weights(model, kept_weights(checkpoints, stage.init_checkpoint))
        objective = ObjectiveBuilder(
            recipe,
            model,
            self.vocabulary,
            self.photos.train,
            self.output,
            session.ranks,
            self.known_words,
        ).build(number, resumed=resumed)
        if not resumed and stage.reinit_decoder:
            torch.manual_seed(step_seed(recipe.seed, number))
            reinit_decoder(model)
        if not resumed and isinstance(objective, ConceptPrediction):
            objective.set_prior(model)
        source, dev_features = self._inputs(number)
        score = _StageScore(self, number, dev_features)
        keep_last = len(self.dev) < recipe.min_dev_photos
        plan = StagePlan(number, stage, objective, self.batches, source, score, keep_last)
        trainer = StageTrainer(session, plan)
        if resumed:
            trainer.restore()
        return trainer

    def _inputs(self, number: int) -> tuple[PhotoSource, FeatureArrays | None]:
        """Return the source of training photos and, for a frozen encoder, dev features."""
        recipe = self.session.recipe
        stage = recipe.stages[number]
        if stage.train_encoder != "none":
            preprocessing = self.session.model.encoder.spec.preprocessing
            return (
                Pixels(self.photos.train, preprocessing, stage.min_crop_area, stage.color_jitter),
                None,
            )
        tuned = any(earlier.train_encoder != "none" for earlier in recipe.stages[:number])
        dev = self.extractor.cached(self.dev, "plain", tuned=tuned)
        views = {
            view: self.extractor.cached(self.photos.train, view, tuned=tuned)
            for view in recipe.views
        }
        return CachedFeatures(views), dev


@dataclass(frozen=True)
class _StageScore:
    """Scores the current weights of a stage on dev, and writes the captions of dev."""

    stages: _Stages
    number: int
    features: FeatureArrays | None

    def __call__(self, epoch: int) -> float:
        """Return the precision of concepts, or the CIDEr of captions."""
        stages, session = self.stages, self.stages.session
        session.model.eval()
        dev = DevScores(
            session.model,
            stages.vocabulary,
            stages.dev,
            self.features,
            stages.extractor.encode,
            session.ranks,
        )
        if session.recipe.stages[self.number].objective == "concepts":
            return dev.concept_precision()
        captions = dev.captions(session.recipe.decoding)

        def write_and_score() -> float:
            write_dev_captions(stages.output, self.number, epoch, stages.dev, captions)
            if stages.photos.rehearsal:
                return stages.photos.rehearsal.score(captions, stages.dev, stages.vocabulary.rules)
            return dev.cider(captions)

        return session.ranks.on_rank_zero(write_and_score)
