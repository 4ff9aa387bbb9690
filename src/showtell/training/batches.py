"""Batches of captions with features or pixels of their photos, determined by seed and step."""

from __future__ import annotations

import hashlib
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
from showtell.training.distributed import SINGLE, Ranks
from showtell.training.recipe import Recipe, Stage
from showtell.training.rehearsal import photos_per_epoch
from showtell.vocabulary import END, PAD, START, Vocabulary


@dataclass(frozen=True)
class BatchShare:
    """A batch's share of a step that is divided among ranks and accumulated parts.

    The whole step has `photos` and `tokens`; `first` is the position of this batch's first photo
    among them. `of_photos` and `of_tokens` are this batch's shares, or 0 for a batch that only
    keeps a rank in step. `of_turn` is the share of the step's photos that all ranks together have
    in this accumulated part.
    """

    first: int
    photos: int
    tokens: int
    of_photos: float
    of_tokens: float
    of_turn: float
    seed: int


@dataclass(frozen=True)
class Batch:
    """Captions of some photos: the same number of rows for each, grouped by photo.

    `features` or `pixels` have one row per photo. `inputs` and `targets` [rows, steps] are padded
    ids: the caption after START, and the caption before END. `packing` tells tokens from padding.
    `photos` are indices in the training split. `share` is set for a batch that is not a whole
    step.
    """

    features: dict[str, Tensor]
    inputs: Tensor
    targets: Tensor
    packing: Packing
    photos: tuple[int, ...] = ()
    share: BatchShare | None = None

    @property
    def step_size(self) -> tuple[int, int]:
        """Photos and tokens of the whole step."""
        if self.share:
            return self.share.photos, self.share.tokens
        return len(self.photos), sum(self.packing.sizes)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        if device.type == "cpu":
            return self
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Return the batch in pinned memory, from which a GPU copies while it computes."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        packing = replace(
            self.packing, order=change(self.packing.order), index=change(self.packing.index)
        )
        features = {name: change(values) for name, values in self.features.items()}
        inputs, targets = change(self.inputs), change(self.targets)
        return replace(self, features=features, inputs=inputs, targets=targets, packing=packing)


class PhotoSource(Protocol):
    """Gives the model input of photos: cached features or pixels."""

    def take(
        self, photos: Sequence[int], flips: Sequence[bool], seed: Sequence[int]
    ) -> dict[str, Tensor]:
        """Return the features or pixels of photos, mirrored where `flips` is true."""
        ...


class CachedFeatures:
    """Cached features of the frozen encoder."""

    def __init__(self, views: dict[str, FeatureArrays]) -> None:
        self.views = views

    def take(
        self, photos: Sequence[int], flips: Sequence[bool], seed: Sequence[int]
    ) -> dict[str, Tensor]:
        """Return float32 features [photos, ...] by name."""
        features: dict[str, NDArray[np.float32]] = {}
        for view, flipped in (("plain", False), ("flip", True)):
            rows = [i for i, flip in enumerate(flips) if flip == flipped]
            if not rows:
                continue
            for name, values in self.views[view].rows([photos[i] for i in rows]).items():
                if name not in features:
                    features[name] = np.empty((len(photos), *values.shape[1:]), np.float32)
                features[name][rows] = values
        return {name: torch.from_numpy(values) for name, values in features.items()}


class Pixels:
    """Pixels of photos with random crop, colours and mirroring, for training the encoder."""

    def __init__(
        self,
        photos: Sequence[CaptionedPhoto],
        preprocessing: Preprocessing,
        min_crop_area: float,
        color_jitter: float = 0.0,
    ) -> None:
        self.photos = photos
        self.preprocessing = preprocessing
        self.min_crop_area = min_crop_area
        self.color_jitter = color_jitter

    @cached_property
    def pool(self) -> ThreadPoolExecutor:
        """Threads that read photos; created in the process that uses them."""
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
        """Return a random crop of an image, with random colours."""
        if self.min_crop_area < 1:
            area = random.uniform(self.min_crop_area, 1)
            ratio = np.exp(random.uniform(-0.15, 0.15))
            width = min(1.0, (area * ratio) ** 0.5) * image.width
            height = min(1.0, (area / ratio) ** 0.5) * image.height
            left = random.uniform(0, image.width - width)
            top = random.uniform(0, image.height - height)
            box = (round(left), round(top), round(left + width), round(top + height))
            image = image.crop((box[0], box[1], max(box[2], box[0] + 1), max(box[3], box[1] + 1)))
        if self.color_jitter:
            for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
                factor = random.uniform(1 - self.color_jitter, 1 + self.color_jitter)
                image = kind(image).enhance(factor)
        return image


@dataclass(frozen=True)
class _Caption:
    ids: tuple[int, ...]
    names_side: bool  # left or right: the photo must not be mirrored


class CaptionBatches:
    """Training captions in shuffled batches, each determined by seed, stage, epoch and step."""

    def __init__(
        self,
        photos: Sequence[CaptionedPhoto],
        usable: Sequence[int],
        vocabulary: Vocabulary,
        recipe: Recipe,
        rehearsed: int = 0,
        *,
        ranks: Ranks = SINGLE,
        workers: int = 0,
        pin: bool = False,
    ) -> None:
        """Prepare the captions of the `usable` photos.

        The last `rehearsed` photos belong to an earlier dataset; an epoch takes a sample of them.
        `workers` processes prepare batches; with 0, a thread does. `pin` puts batches into pinned
        memory for a GPU.
        """
        self.photos, self.recipe, self.ranks = photos, recipe, ranks
        self.workers, self.pin = workers, pin
        self.captions = [_encode_captions(photo, vocabulary, recipe.max_words) for photo in photos]
        # more than any photo has would only be copies
        most = max((len(captions) for captions in self.captions), default=1)
        self.captions_per_photo = max(1, min(recipe.captions_per_photo, most))
        with_captions = [row for row in usable if self.captions[row]]
        self.usable = np.asarray(with_captions, np.int64)
        is_new = self.usable < len(photos) - rehearsed
        self.new, self.earlier = self.usable[is_new], self.usable[~is_new]
        self.sampled = photos_per_epoch(len(self.new), len(self.earlier), recipe.rehearsal_share)

    def __len__(self) -> int:
        """Return the number of steps in an epoch."""
        return -(-self.repeats * (len(self.new) + self.sampled) // self.recipe.batch_photos)

    @property
    def repeats(self) -> int:
        """How often an epoch takes each photo, so that it has `min_epoch_steps`."""
        photos = max(1, len(self.new) + self.sampled)
        return max(1, -(-self.recipe.min_epoch_steps * self.recipe.batch_photos // photos))

    def epoch(
        self, source: PhotoSource, stage: Stage, stage_number: int, epoch: int, first: int = 0
    ) -> Iterator[Batch]:
        """Yield this rank's batches of one epoch from step `first` on; prepares one ahead.

        Each step has as many batches as the recipe's `accumulate` says.
        """
        position = (self.recipe.seed, stage_number, epoch)
        flip = stage.flip if stage.train_encoder != "none" else "flip" in self.recipe.views
        batches = _RankBatches(self, source, self._order(position), position, flip, first)
        if self.workers:
            yield from DataLoader(
                batches, batch_size=None, num_workers=self.workers, pin_memory=self.pin
            )
            return
        with ThreadPoolExecutor(1) as pool:
            ahead: Future[Batch] | None = None
            for number in range(len(batches)):
                current = ahead or pool.submit(batches.__getitem__, number)
                if number + 1 < len(batches):
                    ahead = pool.submit(batches.__getitem__, number + 1)
                batch = current.result()
                yield batch.pin_memory() if self.pin else batch

    def _order(self, position: tuple[int, ...]) -> NDArray[np.int64]:
        """Return the photos of an epoch in the order in which batches take them."""
        random = np.random.default_rng(position)
        return np.concatenate([self._one_pass(random) for _ in range(self.repeats)])

    def _one_pass(self, random: np.random.Generator) -> NDArray[np.int64]:
        local = local_order([self.photos[row] for row in self.new], random)
        if local is not None and not len(self.earlier):
            return self.new[local]
        if not len(self.earlier):
            return random.permutation(self.new)
        sample = random.choice(self.earlier, self.sampled, replace=False)
        return random.permutation(np.concatenate([self.new, sample]))

    def choose(
        self, order: NDArray[np.int64], position: tuple[int, ...], step: int, flip: bool
    ) -> tuple[list[int], list[_Caption], list[bool]]:
        """Return the photos of a whole step, their captions, and which photos are mirrored."""
        random = np.random.default_rng((*position, step))
        size, width = self.recipe.batch_photos, self.captions_per_photo
        photos: list[int] = order[step * size : (step + 1) * size].tolist()
        chosen: list[_Caption] = []
        flips: list[bool] = []
        for photo in photos:
            captions = self.captions[photo]
            # a photo with too few captions repeats them
            picks = np.concatenate(
                [random.permutation(len(captions)) for _ in range(-(-width // len(captions)))]
            )[:width]
            of_photo = [captions[i] for i in picks]
            names_side = any(caption.names_side for caption in of_photo)
            flips.append(bool(flip and random.random() < 0.5 and not names_side))
            chosen += of_photo
        return photos, chosen, flips


def _encode_captions(
    photo: CaptionedPhoto, vocabulary: Vocabulary, max_words: int
) -> list[_Caption]:
    """Return a photo's captions as ids, without empty ones."""
    captions = []
    for text in photo.captions:
        ids = tuple(vocabulary.encode(text)[:max_words])
        if ids:
            captions.append(_Caption(ids, vocabulary.rules.names_side(text)))
    return captions


@dataclass(frozen=True)
class _RankBatches(Dataset[Batch]):
    """One rank's batches of an epoch, each computed from its number alone."""

    batches: CaptionBatches
    source: PhotoSource
    order: NDArray[np.int64]
    position: tuple[int, ...]
    flip: bool
    first: int

    def __len__(self) -> int:
        return (len(self.batches) - self.first) * self.batches.recipe.accumulate

    def __getitem__(self, number: int) -> Batch:
        recipe, ranks = self.batches.recipe, self.batches.ranks
        step, turn = divmod(number, recipe.accumulate)
        step += self.first
        width = self.batches.captions_per_photo
        photos, captions, flips = self.batches.choose(self.order, self.position, step, self.flip)
        parts = ranks.count * recipe.accumulate
        bounds = [len(photos) * n // parts for n in range(parts + 1)]
        part = ranks.rank * recipe.accumulate + turn
        first, last = bounds[part], bounds[part + 1]
        turn_parts = range(turn, parts, recipe.accumulate)
        turn_photos = sum(bounds[n + 1] - bounds[n] for n in turn_parts)
        tokens = _count_tokens(captions)
        share = BatchShare(
            first=first,
            photos=len(photos),
            tokens=tokens,
            of_photos=(last - first) / len(photos),
            of_tokens=_count_tokens(captions[first * width : last * width]) / tokens,
            of_turn=turn_photos / len(photos),
            seed=step_seed(*self.position, step),
        )
        if first == last:  # more ranks than photos: this rank repeats one, with a share of 0
            first, last = 0, 1
        photos, flips = photos[first:last], flips[first:last]
        features = self.source.take(photos, flips, (*self.position, step))
        batch = collate(features, [c.ids for c in captions[first * width : last * width]])
        return replace(batch, photos=tuple(photos), share=share if parts > 1 else None)


def _count_tokens(captions: Sequence[_Caption]) -> int:
    return sum(len(caption.ids) + 1 for caption in captions)  # with END


def step_seed(*position: int) -> int:
    """Return the seed for the randomness at a position: (seed, stage, epoch, step, ...).

    A digest, because Python's `hash` of a tuple is not the same in every version.
    """
    digest = hashlib.blake2b(repr(position).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") & 0x7FFFFFFF


def collate(features: dict[str, Tensor], captions: Sequence[Sequence[int]]) -> Batch:
    """Make a batch of features [photos, ...] and captions as ids, grouped by photo."""
    lengths = torch.tensor([len(ids) + 1 for ids in captions])  # with START or END
    steps = int(lengths.max())
    inputs = torch.full((len(captions), steps), PAD)  # [rows, steps]
    targets = torch.full((len(captions), steps), PAD)  # [rows, steps]
    for row, ids in enumerate(captions):
        words = torch.tensor(ids, dtype=torch.long)
        inputs[row, 0] = START
        inputs[row, 1 : len(ids) + 1] = words
        targets[row, : len(ids)] = words
        targets[row, len(ids)] = END
    return Batch(features, inputs, targets, Packing.plan(lengths, steps))
