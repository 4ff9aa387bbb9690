"""Batches of captions with their photos' features, the same for the same seed and step."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ImageEnhance
from torch import Tensor

from showtell.data.features import Features, see
from showtell.data.table import CaptionedPhoto
from showtell.image import Preprocessing, open_photo, prepare
from showtell.nets.recurrent import Packing
from showtell.training.mixing import drawn_in_epoch
from showtell.training.recipe import Recipe, Stage
from showtell.vocabulary import END, PAD, START, Vocabulary

_SIDED = re.compile(r"\b(left|right)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Batch:
    """Captions of some photos, `captions_per_photo` rows each, grouped by photo.

    `features` or `pixels` have one row a photo; `inputs` and `targets` are [rows, steps] padded
    ids, the caption after START and the caption before END; `packing` says which are real;
    `photos` are the photos' numbers in the training split.
    """

    features: dict[str, Tensor]
    inputs: Tensor
    targets: Tensor
    packing: Packing
    photos: tuple[int, ...] = ()

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        if device.type == "cpu":
            return self
        packing = Packing(
            self.packing.order.to(device), self.packing.sizes, self.packing.index.to(device),
            self.packing.rows, self.packing.steps,
        )  # fmt: skip
        moved = {k: v.to(device, non_blocking=True) for k, v in self.features.items()}
        inputs, targets = self.inputs.to(device), self.targets.to(device)
        return Batch(moved, inputs, targets, packing, self.photos)


class Source(Protocol):
    """Where a batch's photos come from: cached features or pixels."""

    def take(
        self, photos: Sequence[int], flips: Sequence[bool], seed: Sequence[int]
    ) -> dict[str, Tensor]:
        """Return the features or pixels of some photos, mirrored where `flips` says so."""
        ...


class CachedFeatures:
    """Features of the frozen encoder, read from the cache."""

    def __init__(self, views: dict[str, Features]) -> None:
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
        self, photos: Sequence[CaptionedPhoto], preprocessing: Preprocessing, crop: float,
        color: float = 0.0,
    ) -> None:  # fmt: skip
        self.photos = photos
        self.preprocessing = preprocessing
        self.crop = crop
        self.color = color
        self.pool = ThreadPoolExecutor(2)

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
        image = open_photo(self.photos[photo].path, preprocessing=self.preprocessing)
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
        return prepare(see(image, "flip" if flip else "plain"), self.preprocessing)


@dataclass(frozen=True)
class _Caption:
    ids: tuple[int, ...]
    sided: bool  # says left or right, so the photo must not be mirrored


class CaptionBatches:
    """Training captions in shuffled batches; each depends on seed, stage, epoch and step alone."""

    def __init__(
        self, photos: Sequence[CaptionedPhoto], usable: Sequence[int], vocabulary: Vocabulary,
        recipe: Recipe, mixed: int = 0,
    ) -> None:  # fmt: skip
        """Take photos, the last `mixed` of which are old: an epoch draws some of them."""
        self.recipe = recipe
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
        self.drawn = drawn_in_epoch(len(self.new), len(self.old), recipe.mix_share)

    def __len__(self) -> int:
        """Return the number of steps in an epoch."""
        return -(-(len(self.new) + self.drawn) // self.recipe.batch_photos)

    def epoch(
        self, source: Source, stage: Stage, stage_number: int, epoch: int, first: int = 0
    ) -> Iterator[Batch]:
        """Yield the batches of one epoch from step `first` on, the next made ready meanwhile."""
        seed = (self.recipe.seed, stage_number, epoch)
        order = self._order(seed)
        flip = stage.flip if stage.train_encoder != "none" else "flip" in self.recipe.views
        with ThreadPoolExecutor(1) as pool:
            ahead: Future[Batch] | None = None
            for step in range(first, len(self)):
                current = ahead or pool.submit(self._batch, source, order, seed, step, flip)
                if step + 1 < len(self):
                    ahead = pool.submit(self._batch, source, order, seed, step + 1, flip)
                yield current.result()

    def _order(self, seed: tuple[int, ...]) -> NDArray[np.int64]:
        random = np.random.default_rng(seed)
        if not len(self.old):
            return random.permutation(self.new)
        drawn = random.choice(self.old, self.drawn, replace=False)
        return random.permutation(np.concatenate([self.new, drawn]))

    def _batch(
        self, source: Source, order: NDArray[np.int64], seed: tuple[int, ...], step: int, flip: bool
    ) -> Batch:
        random = np.random.default_rng((*seed, step))
        size, width = self.recipe.batch_photos, self.recipe.captions_per_photo
        photos = order[step * size : (step + 1) * size].tolist()
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
        features = source.take(photos, flips, (*seed, step))
        return replace(collate(features, [c.ids for c in chosen]), photos=tuple(photos))


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
