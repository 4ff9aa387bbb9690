"""A training run: recipe and data to a folder that can be resumed, exported and used."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from showtell.data import open_dataset
from showtell.data.dataset import CaptionedPhoto, Dataset
from showtell.data.feature_cache import FeatureArrays, extract_features, find_unreadable
from showtell.data.shards.index import OnBroken
from showtell.errors import RecipeError, TrainingError
from showtell.files.folders import cache_dir
from showtell.files.progress import progress_bar
from showtell.nets.concepts import base_decoder
from showtell.nets.decoder import Decoder
from showtell.nets.model import CaptionModel, reinit_decoder
from showtell.training.batches import CachedFeatures, CaptionBatches, Pixels, step_seed
from showtell.training.checkpoint import Checkpoints, Progress, trained_tensors
from showtell.training.concept_training import ConceptPrediction, concept_targets
from showtell.training.dev_captions import write_said
from showtell.training.dev_scores import DevScores
from showtell.training.distributed import Ranks, joined
from showtell.training.interrupts import asked_to_stop
from showtell.training.log import NoLog, TrainingLog
from showtell.training.loop import InterruptedTrainingError, StageLoop, load_weights
from showtell.training.malloc import keep_large_blocks
from showtell.training.objectives import CrossEntropy, Objective, SelfCritical
from showtell.training.recipe import Recipe
from showtell.training.rehearsal import open_rehearsal
from showtell.training.rewards import BleuReward, CiderReward, MixedReward, RecallReward, Reward
from showtell.training.run_setup import Beginning
from showtell.training.sync_batch_norm import share_batch_norm
from showtell.training.warm_start import load_initial
from showtell.vocabulary import END

logger = logging.getLogger(__name__)


def train(
    recipe: Recipe,
    data: Path | str,
    output: Path,
    *,
    resume: str | None = None,
    on_broken: OnBroken = "fail",
) -> Path:
    """Train a captioner by `recipe` on the dataset at `data` into the run folder `output`.

    `resume="auto"` goes on with what is in `output`, if anything is. Returns `output`. `data` may
    be shards at an address; `on_broken` says what becomes of a broken one. Under torchrun, this is
    one of several ranks.
    Raises TrainingError where `output` holds a run and `resume` is not asked for, the data has no
    training photos, or the loss is not finite; RecipeError where the run has another recipe.
    """
    keep_large_blocks()
    with (
        joined(recipe.device) as (ranks, device),
        asked_to_stop(patient=ranks.count > 1) as stop,
    ):
        dataset = open_dataset(data, on_broken=on_broken)
        ranks.check_alike([photo.name for photo in dataset.photos], f"{dataset.root}: the photos")
        return _Run(recipe, dataset, output, resume, stop, ranks, device).train()


class _Run:
    """Everything that the stages of one run share."""

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        output: Path,
        resume: str | None,
        stop: Callable[[], bool],
        ranks: Ranks,
        device: torch.device,
    ) -> None:
        if resume not in (None, "auto"):
            raise RecipeError(f"resume: '{resume}' is not known; the one value is auto")
        if max(ranks.gather(ranks.restarts)):  # by torchrun, of a run that this command has begun
            resume = "auto"
        self.output, self.stop, self.ranks, self.device = output, stop, ranks, device
        self.dataset = dataset
        self.checkpoints = Checkpoints(output, ranks)
        self.train_photos = dataset.split("train")
        if not self.train_photos:
            raise TrainingError(
                f"{dataset.root}: no photo of the split train: nothing to learn from"
            )
        new = len(self.train_photos)
        self.rehearsal = None
        if recipe.rehearsal:
            self.rehearsal = open_rehearsal(
                recipe.rehearsal, recipe.rehearsal_share, new, recipe.seed
            )
        self.train_photos += self.rehearsal.train if self.rehearsal else ()
        self.dev_photos: list[CaptionedPhoto] = []
        self.dev_features: FeatureArrays | None = None
        begun = Beginning(recipe, dataset, self.rehearsal, self.train_photos, output).on_all(
            ranks, resume
        )
        self.recipe = recipe = begun.recipe
        self.vocabulary, self.encoder, self.resumed = begun.vocabulary, begun.encoder, begun.resumed
        torch.manual_seed(recipe.seed)  # however the run began, new weights are drawn alike
        self.model = CaptionModel(
            self.encoder, recipe.decoder, len(self.vocabulary), concept_head=recipe.learns_concepts
        )
        if ranks.first:  # whose weights every stage begins with
            load_initial(output, self.model)
        if ranks.count > 1:
            share_batch_norm(self.encoder)
        self.model.to(self.device)
        self.model.encoder.to(memory_format=torch.channels_last)
        if recipe.compile:
            self.model.encoder.compile()

    def train(self) -> Path:
        progress = Progress()
        resumed = self.resumed and self.checkpoints.has("last")
        if resumed:
            progress = self.checkpoints.progress("last")
            logger.info("going on at stage %d, epoch %d, step %d", *_place(progress))
        self._read_photos()
        done = _place(progress) if resumed else None
        self.log = TrainingLog(self.output, done) if self.ranks.first else NoLog()
        try:
            first = progress.stage
            for number in range(first, len(self.recipe.stages)):
                if number != first:
                    # words are scored otherwise than captions, so their best is no mark to pass
                    words = [
                        self.recipe.stages[n].objective == "concepts" for n in (number - 1, number)
                    ]
                    best = progress.best_score if words[0] == words[1] else -1.0
                    progress = Progress(stage=number, best_score=best, seconds=progress.seconds)
                if progress.epoch < self.recipe.stages[number].epochs:
                    progress = self._train_stage(number, progress, resumed and number == first)
        finally:
            self.log.close()
        return self.output

    def _train_stage(self, number: int, progress: Progress, resumed: bool) -> Progress:
        stage = self.recipe.stages[number]
        if resumed:
            load_weights(self.model, self.checkpoints.tensors("last", "model"))
        elif number and self.checkpoints.has(stage.init_checkpoint):
            load_weights(self.model, self._weights(stage.init_checkpoint))
        objective = self._objective(number, resumed)
        if stage.reinit_decoder and not resumed:
            torch.manual_seed(step_seed(self.recipe.seed, number))
            reinit_decoder(self.model)
        if isinstance(objective, ConceptPrediction) and not resumed:
            objective.start(self.model)
        loop = StageLoop(
            self.recipe,
            stage,
            number,
            self.model,
            objective,
            self.batches,
            self._source(number),
            self.checkpoints,
            self.log,
            self._score,
            self.device,
            self.stop,
            self.ranks,
        )
        if resumed:
            loop.restore()
        return loop.run(progress)

    def _teacher(self, number: int, resumed: bool) -> Decoder:
        """Return the decoder as the stage found it, frozen, for the stage to learn from."""
        teacher = copy.deepcopy(base_decoder(self.model.decoder)).requires_grad_(False).eval()
        kept = Checkpoints(self.output / "teacher", self.ranks)
        if resumed:
            load_weights(teacher, kept.tensors("last", "model"))
        else:
            kept.save("last", str(number), Progress(number), model=trained_tensors(teacher))
        return teacher

    def _weights(self, name: str) -> dict[str, Tensor]:
        """Return a checkpoint's weights as dev judged them; see `Average`."""
        weights = self.checkpoints.tensors(name, "model")
        if name == "last" and self.checkpoints.has_group(name, "kept"):
            weights |= self.checkpoints.tensors(name, "kept")
        elif name == "last" and self.checkpoints.has_group(name, "average"):
            average = self.checkpoints.tensors(name, "average")
            average.pop("steps")
            weights |= average
        return weights

    def _objective(self, number: int, resumed: bool) -> Objective:
        stage = self.recipe.stages[number]
        if stage.objective == "cross_entropy":
            teacher = self._teacher(number, resumed) if stage.distill else None
            return CrossEntropy(stage.label_smoothing, teacher, stage.distill)
        if stage.objective == "concepts":
            return ConceptPrediction(concept_targets(self.train_photos, self.vocabulary))
        references = [
            [[*self.vocabulary.encode(text), END] for text in photo.captions]
            for photo in self.train_photos
        ]
        parts: list[tuple[float, Reward]] = [(1.0, CiderReward(references))]
        parts += [(stage.bleu, BleuReward(references))] if stage.bleu else []
        parts += [(stage.recall, RecallReward(references))] if stage.recall else []
        return SelfCritical(
            MixedReward(parts),
            stage.samples,
            max_length=self.recipe.decoding.max_length,
            temperature=stage.temperature,
            cross_entropy=stage.cross_entropy,
            ranks=self.ranks,
        )

    def _source(self, number: int) -> CachedFeatures | Pixels:
        """Return where a stage's photos come from; frozen encoders' features are cached.

        An encoder that an earlier stage has trained has features of its own, in the run folder.
        """
        stage = self.recipe.stages[number]
        if stage.train_encoder != "none":
            self.dev_features = None
            return Pixels(
                self.train_photos,
                self.encoder.spec.preprocessing,
                stage.min_crop_area,
                stage.color_jitter,
            )
        tuned = any(before.train_encoder != "none" for before in self.recipe.stages[:number])
        self.dev_features = self._features(self.dev_photos, "plain", tuned)
        views = self.recipe.views
        return CachedFeatures({v: self._features(self.train_photos, v, tuned) for v in views})

    def _read_photos(self) -> None:
        """Find the photos that can be read, those of train for batches and those of dev."""
        frozen = self.recipe.stages[0].train_encoder == "none" and not self.resumed
        bad = (
            self._features(self.train_photos, "plain", tuned=False).bad
            if frozen
            else self._unreadable(self.train_photos)
        )
        _warn(self.train_photos, bad)
        usable = [row for row in range(len(self.train_photos)) if row not in bad]
        mixed = len(self.rehearsal.train) if self.rehearsal else 0
        self.batches = CaptionBatches(
            self.train_photos,
            usable,
            self.vocabulary,
            self.recipe,
            mixed,
            ranks=self.ranks,
            workers=self._workers(),
            pin=self.device.type == "cuda",
        )
        if not len(self.batches):
            raise TrainingError(
                f"{self.dataset.root}: no training photo that can be read has captions"
            )
        photos = [photo for photo in self.dataset.split("dev") if photo.captions]
        photos = photos[: self.recipe.dev_photos or None] or self.train_photos[:100]
        photos += self.rehearsal.dev if self.rehearsal else ()
        bad = self._unreadable(photos)
        _warn(photos, bad)
        if len(bad) == len(photos):
            raise TrainingError(
                f"{self.dataset.root}: no dev photo can be read: nothing to judge by"
            )
        self.dev_photos = [photo for row, photo in enumerate(photos) if row not in bad]

    def _unreadable(self, photos: Sequence[CaptionedPhoto]) -> dict[int, str]:
        """Return the row of each photo that cannot be read; every rank looks at its share."""
        rows = self.ranks.mine(range(len(photos)))
        found = find_unreadable(
            [photos[row] for row in rows], self.encoder.spec.preprocessing, max(2, self._workers())
        )
        own = {rows[place]: reason for place, reason in found.items()}
        return dict(sorted(item for some in self.ranks.gather(own) for item in some.items()))

    def _workers(self) -> int:
        """Return how many processes make batches ready: on a GPU, this rank's share of cores."""
        if self.recipe.workers or self.device.type == "cpu":
            return self.recipe.workers
        return max(1, min(16, (os.cpu_count() or 1) // self.ranks.local_count - 1))

    def _features(self, photos: Sequence[CaptionedPhoto], view: str, tuned: bool) -> FeatureArrays:
        encoder = self.encoder.eval()
        regions = encoder.grid[0] * encoder.grid[1]
        shapes = {"regions": (regions, encoder.channels), "pooled": (encoder.channels,)}
        needs = self.model.decoder.needs
        chosen = self.recipe.feature_cache
        cache = Path(chosen).expanduser() if chosen else cache_dir() / "features"
        cache = self.output / "features" if tuned else cache
        with progress_bar(len(photos), description=f"features ({view})") as bar:

            def progress(done: int) -> None:
                bar.update(done - bar.n)
                if self.stop():
                    raise InterruptedTrainingError("stopped: go on with --resume auto")

            return extract_features(
                photos,
                self._encode,
                encoder.fingerprint(),
                {name: shapes[name] for name in needs},
                encoder.spec.preprocessing,
                cache,
                view=view,
                threads=max(2, self._workers()),
                progress=progress,
            )

    def _encode(self, pixels: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        with torch.inference_mode():
            batch = torch.from_numpy(pixels).to(self.device, memory_format=torch.channels_last)
            return {k: v.float().cpu().numpy() for k, v in self.encoder(batch).items()}

    def _score(self, number: int, epoch: int) -> float:
        """Judge the present weights on dev; see `DevScores`."""
        self.model.eval()
        dev = DevScores(
            self.model,
            self.vocabulary,
            self.dev_photos,
            self.dev_features,
            self._encode,
            self.ranks,
        )
        if self.recipe.stages[number].objective == "concepts":
            return dev.concept_precision()
        captions = dev.captions(self.recipe.decoding)

        def judge() -> float:
            write_said(self.output, number, epoch, self.dev_photos, captions)
            return (
                self.rehearsal.score(captions, self.dev_photos)
                if self.rehearsal
                else dev.cider(captions)
            )

        return self.ranks.by_first(judge)


def _warn(photos: Sequence[CaptionedPhoto], bad: Mapping[int, str]) -> None:
    """Name photos that are left out, the first twenty of many."""
    for row, reason in list(bad.items())[:20]:
        logger.warning("left out: %s", reason or photos[row].name)
    if len(bad) > 20:
        logger.warning("… and %d more", len(bad) - 20)


def _place(progress: Progress) -> tuple[int, int, int]:
    return progress.stage, progress.epoch, progress.step
