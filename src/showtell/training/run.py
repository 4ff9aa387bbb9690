"""A training run: recipe and data to a folder that can be resumed, exported and used."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from showtell import __version__
from showtell.data import open_dataset
from showtell.data.features import Features, extract_features, unreadable
from showtell.data.seen import NAMES_KEY, pack_names
from showtell.data.table import CaptionedPhoto, Dataset, fingerprint
from showtell.errors import RecipeError, TrainingError
from showtell.folders import cache_dir
from showtell.nets.encoder import SPEC_KEY, build_encoder, encoder_from_spec
from showtell.nets.model import CaptionModel
from showtell.training.batches import CachedFeatures, CaptionBatches, Pixels
from showtell.training.checkpoint import Checkpoints, Progress, read_json, read_tensors, write_json
from showtell.training.dev_scores import DevScores
from showtell.training.init_from import load_initial, open_start, with_networks
from showtell.training.log import TrainingLog
from showtell.training.loop import InterruptedTrainingError, StageLoop, load_weights
from showtell.training.mixing import open_mix
from showtell.training.objectives import CrossEntropy, Objective, SelfCritical
from showtell.training.recipe import Recipe, Stage, recipe_from_dict
from showtell.training.reward import BleuReward, CiderReward, MixedReward, RecallReward, Reward
from showtell.training.samples import write_said
from showtell.training.trained import ENCODER, RUN, VOCABULARY, spec_of
from showtell.training.words import WordPresence, word_shares
from showtell.vocabulary import END, SPECIAL_WORDS, Vocabulary

logger = logging.getLogger(__name__)

# keys that change how a run goes on but not what it computes
FREE_KEYS = ("save_minutes", "save_steps", "device", "feature_cache")


def train(recipe: Recipe, data: Path, output: Path, *, resume: str | None = None) -> Path:
    """Train a captioner by `recipe` on the dataset at `data` into the run folder `output`.

    `resume="auto"` goes on with what is in `output`, if anything is. Returns `output`.
    Raises TrainingError where `output` holds a run and `resume` is not asked for, the data has no
    training photos, or the loss is not finite; RecipeError where the run has another recipe.
    """
    dataset = open_dataset(data)
    with _asked_to_stop() as stop:
        return _Run(recipe, dataset, output, resume, stop).train()


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a saved stop after the present step."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        logger.info("stopping after this step; once more to stop at once")

    old = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


class _Run:
    """Everything that the stages of one run share."""

    def __init__(
        self, recipe: Recipe, dataset: Dataset, output: Path, resume: str | None,
        stop: Callable[[], bool],
    ) -> None:  # fmt: skip
        if resume not in (None, "auto"):
            raise RecipeError(f"resume: '{resume}' is not known; the one value is auto")
        self.recipe, self.output, self.stop = recipe, output, stop
        self.dataset = dataset
        self.checkpoints = Checkpoints(output)
        self.train_photos = dataset.split("train")
        if not self.train_photos:
            raise TrainingError(
                f"{dataset.root}: no photo of the split train: nothing to learn from"
            )
        new = len(self.train_photos)
        self.mix = None
        if recipe.mix:
            self.mix = open_mix(Path(recipe.mix), recipe.mix_share, new, recipe.seed)
        self.train_photos += self.mix.train if self.mix else ()
        self.device = _device(recipe.device)
        self.dev_photos: list[CaptionedPhoto] = []
        self.dev_features: Features | None = None
        self.resumed = (output / RUN).is_file()
        if self.resumed and resume is None:
            raise TrainingError(
                f"{output}: holds a run already: go on with --resume auto,"
                " or choose another --output"
            )
        if self.resumed:
            self._reopen()
        else:
            self._start()
        recipe = self.recipe
        self.model = CaptionModel(
            self.encoder, recipe.decoder, len(self.vocabulary), word_head=recipe.learns_words
        )
        load_initial(output, self.model)
        self.model.to(self.device)
        self.model.encoder.to(memory_format=torch.channels_last)

    def _start(self) -> None:
        recipe = self.recipe
        torch.manual_seed(recipe.seed)  # for an encoder that begins at random
        captions = [text for photo in self.train_photos for text in photo.captions]
        start = open_start(recipe.init_from) if recipe.init_from else None
        if start:
            self.recipe = recipe = start.fitted(recipe)
            self.encoder = start.model.encoder
            new = [text for photo in self.dataset.split("train") for text in photo.captions]
            self.vocabulary = start.grown_vocabulary(new, recipe.min_count)
        else:
            self.encoder = build_encoder(recipe.encoder, recipe.encoder_weights, recipe.image_size)
            self.vocabulary = Vocabulary.build(captions, recipe.min_count)
        if len(self.vocabulary) == len(SPECIAL_WORDS):
            raise TrainingError(
                f"{self.dataset.root}: no word occurs {recipe.min_count} times in the training"
                " captions: lower min_count"
            )
        self.output.mkdir(parents=True, exist_ok=True)
        (self.output / VOCABULARY).write_text(self.vocabulary.to_json(), "utf-8")
        spec = json.dumps(self.encoder.spec.to_dict())
        weights = {k: v.contiguous() for k, v in self.encoder.network.state_dict().items()}
        try:
            save_file(weights, self.output / ENCODER, {SPEC_KEY: spec})
        except SafetensorError as error:
            raise TrainingError(f"{self.output / ENCODER}: cannot be written ({error})") from None
        if start:
            start.write_decoder(self.output, len(self.vocabulary), recipe.seed)
        torch.manual_seed(recipe.seed)
        write_json(
            self.output / RUN,
            {
                "written_by": __version__,
                "recipe": recipe.to_dict(),
                "encoder": {
                    **self.encoder.spec.to_dict(),
                    "channels": self.encoder.channels,
                    "grid": list(self.encoder.grid),
                },
                "data": self._described_data(),
                **({"began": start.described()} if start else {}),
            },
        )

    def _reopen(self) -> None:
        kept = read_json(self.output / RUN)
        old = recipe_from_dict(kept["recipe"])
        if self.recipe.init_from:
            self.recipe = with_networks(self.recipe, old)
        free = {key: getattr(self.recipe, key) for key in FREE_KEYS}
        now, then = self.recipe.to_dict(), replace(old, **free).to_dict()
        more = len(now["stages"]) - len(then["stages"])
        if more > 0 and now["stages"][:-more] == then["stages"]:
            then["stages"] = now["stages"]  # a run may be given stages to come
        different = [key for key in now if now[key] != then[key]]
        if different:
            raise RecipeError(
                f"{self.output}: was begun with another '{different[0]}': resume with the recipe it"
                " had, or choose another --output"
            )
        if kept["data"] != self._described_data():
            raise TrainingError(
                f"{self.output}: was begun on other photos than {self.dataset.root} holds"
            )
        path = self.output / VOCABULARY
        self.vocabulary = Vocabulary.from_json(path.read_text("utf-8"), path)
        self.encoder = encoder_from_spec(spec_of(kept), read_tensors(self.output / ENCODER))
        torch.manual_seed(self.recipe.seed)  # as in _start: new weights are drawn alike
        write_json(self.output / RUN, kept | {"recipe": self.recipe.to_dict()})

    def _described_data(self) -> dict[str, Any]:
        return {
            "layout": ", ".join([self.dataset.layout, *([self.mix.layout] if self.mix else [])]),
            "photos": {
                split: {
                    "count": len(photos),
                    "captions": sum(len(photo.captions) for photo in photos),
                    "fingerprint": fingerprint([photo.name for photo in photos]),
                }
                for split in ("train", "dev")
                if (photos := self.dataset.split(split))
            },
            NAMES_KEY: pack_names(photo.name for photo in self.train_photos),
        }

    def train(self) -> Path:
        progress = Progress()
        resumed = self.resumed and self.checkpoints.has("last")
        if resumed:
            progress = self.checkpoints.progress("last")
            logger.info("going on at stage %d, epoch %d, step %d", *_place(progress))
        self._read_photos()
        self.log = TrainingLog(self.output, _place(progress) if resumed else None)
        try:
            first = progress.stage
            for number in range(first, len(self.recipe.stages)):
                if number != first:
                    # words are scored otherwise than captions, so their best is no mark to pass
                    words = [
                        self.recipe.stages[n].objective == "words" for n in (number - 1, number)
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
        elif number and self.checkpoints.has(stage.begin_with):
            load_weights(self.model, self._weights(stage.begin_with))
        objective = self._objective(stage)
        if isinstance(objective, WordPresence) and not resumed:
            objective.start(self.model)
        loop = StageLoop(
            self.recipe, stage, number, self.model, objective, self.batches,
            self._source(number), self.checkpoints, self.log, self._score, self.device, self.stop,
        )  # fmt: skip
        if resumed:
            loop.restore()
        return loop.run(progress)

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

    def _objective(self, stage: Stage) -> Objective:
        if stage.objective == "cross_entropy":
            return CrossEntropy(stage.label_smoothing)
        if stage.objective == "words":
            return WordPresence(word_shares(self.train_photos, self.vocabulary))
        references = [
            [[*self.vocabulary.encode(text), END] for text in photo.captions]
            for photo in self.train_photos
        ]
        parts: list[tuple[float, Reward]] = [(1.0, CiderReward(references))]
        parts += [(stage.bleu, BleuReward(references))] if stage.bleu else []
        parts += [(stage.recall, RecallReward(references))] if stage.recall else []
        return SelfCritical(
            MixedReward(parts), stage.samples, max_length=self.recipe.decoding.max_length,
            temperature=stage.temperature, cross_entropy=stage.cross_entropy,
        )  # fmt: skip

    def _source(self, number: int) -> CachedFeatures | Pixels:
        """Return where a stage's photos come from; frozen encoders' features are cached.

        An encoder that an earlier stage has trained has features of its own, in the run folder.
        """
        stage = self.recipe.stages[number]
        if stage.train_encoder != "none":
            self.dev_features = None
            return Pixels(
                self.train_photos, self.encoder.spec.preprocessing, stage.crop, stage.color
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
            else unreadable(self.train_photos, self.encoder.spec.preprocessing)
        )
        _warn(self.train_photos, bad)
        usable = [row for row in range(len(self.train_photos)) if row not in bad]
        mixed = len(self.mix.train) if self.mix else 0
        self.batches = CaptionBatches(
            self.train_photos, usable, self.vocabulary, self.recipe, mixed
        )
        if not len(self.batches):
            raise TrainingError(
                f"{self.dataset.root}: no training photo that can be read has captions"
            )
        photos = [photo for photo in self.dataset.split("dev") if photo.captions]
        photos = photos[: self.recipe.dev_photos or None] or self.train_photos[:100]
        photos += self.mix.dev if self.mix else ()
        bad = unreadable(photos, self.encoder.spec.preprocessing)
        _warn(photos, bad)
        if len(bad) == len(photos):
            raise TrainingError(
                f"{self.dataset.root}: no dev photo can be read: nothing to judge by"
            )
        self.dev_photos = [photo for row, photo in enumerate(photos) if row not in bad]

    def _features(self, photos: Sequence[CaptionedPhoto], view: str, tuned: bool) -> Features:
        encoder = self.encoder.eval()
        regions = encoder.grid[0] * encoder.grid[1]
        shapes = {"regions": (regions, encoder.channels), "pooled": (encoder.channels,)}
        needs = self.model.decoder.needs
        chosen = self.recipe.feature_cache
        cache = Path(chosen).expanduser() if chosen else cache_dir() / "features"
        cache = self.output / "features" if tuned else cache
        with _bar(len(photos), f"features ({view})") as bar:

            def progress(done: int) -> None:
                bar.update(done - bar.n)
                if self.stop():
                    raise InterruptedTrainingError("stopped: go on with --resume auto")

            return extract_features(
                photos, self._encode, encoder.fingerprint(),
                {name: shapes[name] for name in needs}, encoder.spec.preprocessing, cache,
                view=view, progress=progress,
            )  # fmt: skip

    def _encode(self, pixels: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        with torch.inference_mode():
            batch = torch.from_numpy(pixels).to(self.device, memory_format=torch.channels_last)
            return {k: v.float().cpu().numpy() for k, v in self.encoder(batch).items()}

    def _score(self, number: int, epoch: int) -> float:
        """Judge the present weights on dev; see `DevScores`."""
        self.model.eval()
        dev = DevScores(
            self.model, self.vocabulary, self.dev_photos, self.dev_features, self._encode
        )
        if self.recipe.stages[number].objective == "words":
            return dev.word_precision()
        captions = dev.captions(self.recipe.decoding)
        write_said(self.output, number, epoch, self.dev_photos, captions)
        return self.mix.score(captions, self.dev_photos) if self.mix else dev.cider(captions)


def _warn(photos: Sequence[CaptionedPhoto], bad: Mapping[int, str]) -> None:
    """Name photos that are left out, the first twenty of many."""
    for row, reason in list(bad.items())[:20]:
        logger.warning("left out: %s", reason or photos[row].name)
    if len(bad) > 20:
        logger.warning("… and %d more", len(bad) - 20)


def _place(progress: Progress) -> tuple[int, int, int]:
    return progress.stage, progress.epoch, progress.step


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RecipeError(
            f"device: '{name}' cannot be used ({str(error).splitlines()[0]})"
        ) from None
    return device


def _bar(total: int, description: str) -> Any:
    import sys

    from tqdm import tqdm

    return tqdm(
        total=total, desc=description, unit="photo", leave=False, dynamic_ncols=True,
        disable=not sys.stderr.isatty(),
    )  # fmt: skip
