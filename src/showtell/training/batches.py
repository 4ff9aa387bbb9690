"""Batches of captions with their photos' features, the same for the same seed and step."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from showtell.data.dataset import CaptionedPhoto
from showtell.data.feature_cache import FeatureArrays, apply_view
from showtell.data.shards.order import local_order
from showtell.image import Preprocessing, load_pixels
from showtell.nets.packed_lstm import Packing
from showtell.training.distributed import ALONE, Ranks
from showtell.training.recipe import Recipe, Stage
from showtell.training.rehearsal import photos_per_epoch
from showtell.vocabulary import END, PAD, START, Vocabulary

_SIDED = re.compile(r"\b(left|right)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Part:
    """What one batch is of a step whose photos are parted among ranks and, perhaps, in time.

    The step has `photos` and `tokens`; `first` photos of it come before this batch's. `of_photos`
    and `of_tokens` are this batch's shares of them, 0 where it only keeps a rank in step;
    `of_time` is the share of photos that all ranks have in this one of a step's accumulated parts.
    """

    first: int
    photos: int
    tokens: int
    of_photos: float
    of_tokens: float
    of_time: float
    seed: int


@dataclass(frozen=True)
class Batch:
    """Captions of some photos, `captions_per_photo` rows each, grouped by photo.

    `features` or `pixels` have one row a photo; `inputs` and `targets` are [rows, steps] padded
    ids, the caption after START and the caption before END; `packing` says which are real;
    `photos` are the photos' numbers in the training split; `part` says of which step they are how
    much.
    """

    features: dict[str, Tensor]
    inputs: Tensor
    targets: Tensor
    packing: Packing
    photos: tuple[int, ...] = ()
    part: Part | None = None

    @property
    def step_size(self) -> tuple[int, int]:
        """The photos and tokens of the whole step that this is, or is a part of."""
        if self.part:
            return self.part.photos, self.part.tokens
        return len(self.photos), sum(self.packing.sizes)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        if device.type == "cpu":
            return self
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Return the batch in memory from which a GPU takes it while it computes."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        packing = replace(
            self.packing, order=change(self.packing.order), index=change(self.packing.index)
        )
        features = {name: change(values) for name, values in self.features.items()}
        inputs, targets = change(self.inputs), change(self.targets)
        return replace(self, features=features, inputs=inputs, targets=targets, packing=packing)


class Source(Protocol):
    """Where a batch's photos come from: cached features or pixels."""

    def take(
        self, photos: Sequence[int], flips: Sequence[bool], seed: Sequence[int]
    ) -> dict[str, Tensor]:
        """Return the features or pixels of some photos, mirrored where `flips` says so."""
        ...


class CachedFeatures:
    """Features of the frozen encoder, read from the cache."""

    def __init__(self, views: dict[str, FeatureArrays]) -> None:
        self.views = views

    def take(
        self, photos: Sequence[int], flips: Sequence[bool], seed: Sequence[int]
    ) -> dict[str, Tensor]:
        """Return float32 features [photos, ...] by name."""
        out: dict[str, NDArray[np.float32]] = {}
        for view, flipped in (("plain", False), ("flip", True)):
            rows = [i for i, flip in enumerate(flips) if flip == flipped]
            if not rows:
                continue
            for name, values in self.views[view].rows([photos[i] for i in rows]).items():
                if name not in out:
                    out[name] = np.empty((len(photos), *values.shape[1:]), np.float32)
                out[name][rows] = values
        return {name: torch.from_numpy(values) for name, values in out.items()}


class Pixels:
    """Photos as pixels, cropped, tinted and mirrored at random, for training the encoder."""

    def __init__(
        self,
        photos: Sequence[CaptionedPhoto],
        preprocessing: Preprocessing,
        crop: float,
        color: float = 0.0,
    ) -> None:
        self.photos = photos
        self.preprocessing = preprocessing
        self.crop = crop
        self.color = color

    @cached_property
    def pool(self) -> ThreadPoolExecutor:
        """Threads that read photos, of the process that first asks for some."""
        return ThreadPoolExecutor(2)

    def take(
        self, photos: Sequence[int], flips: Sequence[bool], seed: Sequence[int]
    ) -> dict[str, Tensor]:
        """Return `pixels`, float32 [photos, 3, H, W]."""
        pixels = self.pool.map(
            lambda item: self._one(item[0], item[1], np.random.default_rng([*seed, item[0]])),
            zip(photos, flips, strict=True),
        )
        return {"pixels": torch.from_numpy(np.stack(list(pixels)))}

    def _one(self, photo: int, flip: bool, random: np.random.Generator) -> NDArray[np.float32]:
        def augment(image: Image.Image) -> Image.Image:
            return apply_view(self._augment(image, random), "flip" if flip else "plain")

        return load_pixels(self.photos[photo].path, self.preprocessing, transform=augment)

    def _augment(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        if self.crop < 1:
            area = random.uniform(self.crop, 1)
            ratio = np.exp(random.uniform(-0.15, 0.15))
            width = min(1.0, (area * ratio) ** 0.5) * image.width
            height = min(1.0, (area / ratio) ** 0.5) * image.height
            left = random.uniform(0, image.width - width)
            top = random.uniform(0, image.height - height)
            box = (round(left), round(top), round(left + width), round(top + height))
            image = image.crop((box[0], box[1], max(box[2], box[0] + 1), max(box[3], box[1] + 1)))
        if self.color:
            for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
                image = kind(image).enhance(random.uniform(1 - self.color, 1 + self.color))
        return image


@dataclass(frozen=True)
class _Caption:
    ids: tuple[int, ...]
    sided: bool  # says left or right, so the photo must not be mirrored


class CaptionBatches:
    """Training captions in shuffled batches; each depends on seed, stage, epoch and step alone."""

    def __init__(
        self,
        photos: Sequence[CaptionedPhoto],
        usable: Sequence[int],
        vocabulary: Vocabulary,
        recipe: Recipe,
        mixed: int = 0,
        *,
        ranks: Ranks = ALONE,
        workers: int = 0,
        pin: bool = False,
    ) -> None:
        """Take photos, the last `mixed` of which are old: an epoch draws some of them.

        `workers` processes make batches ready, or without any a thread; `pin` them for a GPU.
        """
        self.photos, self.recipe, self.ranks = photos, recipe, ranks
        self.workers, self.pin = workers, pin
        self.usable = np.asarray(usable, np.int64)
        self.captions: list[list[_Caption]] = []
        for photo in photos:
            said = [(vocabulary.encode(text)[: recipe.max_words], text) for text in photo.captions]
            self.captions.append(
                [_Caption(tuple(ids), bool(_SIDED.search(text))) for ids, text in said if ids]
            )
        self.usable = self.usable[[bool(self.captions[i]) for i in usable]]
        new = self.usable < len(photos) - mixed
        self.new, self.old = self.usable[new], self.usable[~new]
        self.drawn = photos_per_epoch(len(self.new), len(self.old), recipe.rehearsal_share)

    def __len__(self) -> int:
        """Return the number of steps in an epoch."""
        return -(-(len(self.new) + self.drawn) // self.recipe.batch_photos)

    def epoch(
        self, source: Source, stage: Stage, stage_number: int, epoch: int, first: int = 0
    ) -> Iterator[Batch]:
        """Yield this rank's batches of one epoch from step `first` on, the next ready meanwhile.

        There are `accumulate` batches for each step, as the recipe says.
        """
        place = (self.recipe.seed, stage_number, epoch)
        flip = stage.flip if stage.train_encoder != "none" else "flip" in self.recipe.views
        todo = _Todo(self, source, self._order(place), place, flip, first)
        if self.workers:
            yield from DataLoader(
                todo, batch_size=None, num_workers=self.workers, pin_memory=self.pin
            )
            return
        with ThreadPoolExecutor(1) as pool:
            ahead: Future[Batch] | None = None
            for number in range(len(todo)):
                current = ahead or pool.submit(todo.__getitem__, number)
                if number + 1 < len(todo):
                    ahead = pool.submit(todo.__getitem__, number + 1)
                batch = current.result()
                yield batch.pin_memory() if self.pin else batch

    def _order(self, seed: tuple[int, ...]) -> NDArray[np.int64]:
        random = np.random.default_rng(seed)
        near = local_order([self.photos[row] for row in self.new], random)
        if near is not None and not len(self.old):
            return self.new[near]
        if not len(self.old):
            return random.permutation(self.new)
        drawn = random.choice(self.old, self.drawn, replace=False)
        return random.permutation(np.concatenate([self.new, drawn]))

    def choose(
        self, order: NDArray[np.int64], place: tuple[int, ...], step: int, flip: bool
    ) -> tuple[list[int], list[_Caption], list[bool]]:
        """Return a whole step's photos, their captions, and which photos are mirrored."""
        random = np.random.default_rng((*place, step))
        size, width = self.recipe.batch_photos, self.recipe.captions_per_photo
        photos: list[int] = order[step * size : (step + 1) * size].tolist()
        chosen: list[_Caption] = []
        flips: list[bool] = []
        for photo in photos:
            captions = self.captions[photo]
            picks = np.concatenate(
                [random.permutation(len(captions)) for _ in range(-(-width // len(captions)))]
            )[:width]
            mine = [captions[i] for i in picks]
            flips.append(bool(flip and random.random() < 0.5 and not any(c.sided for c in mine)))
            chosen += mine
        return photos, chosen, flips


@dataclass(frozen=True)
class _Todo(Dataset[Batch]):
    """One rank's batches of an epoch by number, each made from its number alone."""

    batches: CaptionBatches
    source: Source
    order: NDArray[np.int64]
    place: tuple[int, ...]
    flip: bool
    first: int

    def __len__(self) -> int:
        return (len(self.batches) - self.first) * self.batches.recipe.accumulate

    def __getitem__(self, number: int) -> Batch:
        recipe, ranks = self.batches.recipe, self.batches.ranks
        step, turn = divmod(number, recipe.accumulate)
        step += self.first
        width = recipe.captions_per_photo
        photos, captions, flips = self.batches.choose(self.order, self.place, step, self.flip)
        parts = ranks.count * recipe.accumulate
        bounds = [len(photos) * n // parts for n in range(parts + 1)]
        mine = ranks.rank * recipe.accumulate + turn
        first, last = bounds[mine], bounds[mine + 1]
        tokens = sum(len(caption.ids) + 1 for caption in captions)
        own = sum(len(caption.ids) + 1 for caption in captions[first * width : last * width])
        turns = range(turn, parts, recipe.accumulate)
        now = sum(bounds[n + 1] - bounds[n] for n in turns)
        part = Part(
            first,
            len(photos),
            tokens,
            (last - first) / len(photos),
            own / tokens,
            now / len(photos),
            step_seed(*self.place, step),
        )
        if first == last:  # more ranks than photos: one of them again, which counts nothing
            first, last = 0, 1
        photos, flips = photos[first:last], flips[first:last]
        features = self.source.take(photos, flips, (*self.place, step))
        batch = collate(features, [c.ids for c in captions[first * width : last * width]])
        return replace(batch, photos=tuple(photos), part=part if parts > 1 else None)


def step_seed(*place: int) -> int:
    """Return the seed of a step's own randomness, from (seed, stage, epoch, step, ...)."""
    return hash(place) & 0x7FFFFFFF


def collate(features: dict[str, Tensor], captions: Sequence[Sequence[int]]) -> Batch:
    """Make a batch of features [photos, ...] and captions, grouped by photo."""
    lengths = torch.tensor([len(ids) + 1 for ids in captions])
    steps = int(lengths.max())
    inputs = torch.full((len(captions), steps), PAD)
    targets = torch.full((len(captions), steps), PAD)
    for row, ids in enumerate(captions):
        words = torch.tensor(ids, dtype=torch.long)
        inputs[row, 0] = START
        inputs[row, 1 : len(ids) + 1] = words
        targets[row, : len(ids)] = words
        targets[row, len(ids)] = END
    return Batch(features, inputs, targets, Packing.plan(lengths, steps))
