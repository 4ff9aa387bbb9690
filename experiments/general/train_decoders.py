"""Steps 4, 5a, 5d: decoders with gates, trained on Flickr8k's photos and Flickr30k's text.

Input: the features of step 1, the logits of steps 2 and 3, the captions, GloVe, the shipped model;
with `--start`, weights to go on from in its place; with `--pseudo`, the captions of step 5c.

Output in the work folder: `nearest.npy` (see `text_captions.py`) and NAME.safetensors, the averaged
weights of all decoders after the last epoch, with the vocabulary in the file's description.

Random, from the option `--seed`: the embeddings of new words, order, dropout, mirrored photos,
missing regions, simulated detection, exchanged nouns. bfloat16 products of another processor, or
another version of PyTorch, round differently: the weights are not the same there.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from dev_scores import DevSets, all_words
from first_decoders import first_decoders, member_weights, set_strength
from places import FIRST_HALF, Places, open_places, step_parser
from pseudo_captions import PSEUDO_CAPTIONS
from showtell.decoding.keywords import DETECTED
from showtell.nets.gated_decoder import GatedDecoder
from showtell.training.batches import Batch, collate
from showtell.training.simulated_detection import simulate_detection
from showtell.training.weight_average import WeightAverage
from showtell.vocabulary import UNKNOWN
from stack_logits import Detection
from text_captions import NEAREST, NounExchange, nearest_photos, separations
from train_concept_heads import TRAIN_PHOTOS
from words import Floats, Integers, Words, count_words

CAPTION_PHOTOS, TEXT_PHOTOS = 32, 64  # photos of a batch
TEXT_CAPTIONS = 2  # of each photo of the text
PSEUDO_PER_PHOTO = 2
MAX_WORDS = 24
WARM_UP, WEIGHT_DECAY, BETAS, MAX_NORM = 80, 0.02, (0.9, 0.98), 5.0
LABEL_SMOOTHING, AVERAGE = 0.1, 0.998


@dataclass(frozen=True)
class Settings:
    """What `--help` describes; the defaults are those of step 4."""

    name: str = field(default="decoders", metadata={"help": "of the weights file"})
    members: str = field(default="0,1,2", metadata={"help": "shipped decoders to start from"})
    epochs: int = field(default=4, metadata={"help": "through Flickr8k"})
    text: float = field(default=1.2, metadata={"help": "batches of text for one of photos"})
    learning_rate: float = field(default=8e-4, metadata={"help": "largest; cosine schedule"})
    without_regions: float = field(default=0.2, metadata={"help": "share of Flickr8k's photos"})
    without_photo: float = field(default=0.4, metadata={"help": "share of the texts"})
    exchanged: float = field(default=0.3, metadata={"help": "share of texts with another noun"})
    start: str = field(default="", metadata={"help": "weights file to go on from"})
    pseudo: float = field(default=0.0, metadata={"help": "batches of COCO for one of photos"})
    seed: int = field(default=0, metadata={"help": "of all that is random"})


class Batches:
    """Makes batches of photos, and of texts as if their words had been detected."""

    def __init__(
        self,
        places: Places,
        words: Words,
        detection: Detection,
        settings: Settings,
        random: np.random.Generator,
    ) -> None:
        self.words, self.settings, self.random = words, settings, random

        def encode(texts: tuple[str, ...] | list[str]) -> list[list[int]]:
            return [words.vocabulary.encode(text)[:MAX_WORDS] for text in texts]

        self.captions = [encode(photo.captions) for photo in places.flickr8k.split("train")]
        self.texts = [encode(texts) for texts in places.texts()]
        names = ("train", "train_mirrored", "unlabelled")
        loaded = [np.load(places.regions(name), mmap_mode="r") for name in names]
        self.regions, self.mirrored, self.unlabelled = loaded
        self.logits = detection.logits("train")
        self.shares = detection.text_shares
        self.frequency = detection.frequency
        self.separations = separations(words)
        self.nearest = nearest_photos(places, detection)
        self.pseudo: list[list[list[int]]] = []
        if settings.pseudo:
            texts = json.loads((places.work / PSEUDO_CAPTIONS).read_text("utf-8"))
            self.pseudo = [encode(captions) for captions in texts]
            self.unlabelled_logits = detection.logits("unlabelled")
        self.nouns = NounExchange(words, random)

    def of_photos(self, photos: Integers) -> tuple[dict[str, Tensor], Batch]:
        """Return features and captions of training photos, all mirrored or none."""
        stored = self.mirrored if self.random.random() < 0.5 else self.regions
        photos = np.sort(photos)
        regions = self._regions(stored, photos)
        captions = [ids for photo in photos for ids in self.captions[photo][:5]]
        return self._features(regions, self.logits[photos]), collate({}, captions)

    def of_unlabelled(self, photos: Integers) -> tuple[dict[str, Tensor], Batch]:
        """Return features of unlabelled photos, and the captions of their teacher."""
        photos = np.sort(photos)
        regions = self._regions(self.unlabelled, photos)
        captions = [ids for photo in photos for ids in self._padded(self.pseudo[photo])]
        return self._features(regions, self.unlabelled_logits[photos]), collate({}, captions)

    def _regions(self, stored: NDArray[np.float16], photos: Integers) -> Floats:
        """Return the regions of photos, with zeros for a random share of them."""
        regions = stored[photos].astype(np.float32)
        if self.settings.without_regions:
            regions[self.random.random(len(regions)) < self.settings.without_regions] = 0
        return regions

    @staticmethod
    def _padded(captions: list[list[int]]) -> list[list[int]]:
        """Return exactly `PSEUDO_PER_PHOTO` captions, the first ones again where some lack."""
        return [captions[i % len(captions)] for i in range(PSEUDO_PER_PHOTO)]

    def of_texts(self, texts: Integers) -> tuple[dict[str, Tensor], Batch]:
        """Return simulated features, and captions, of photos of the text."""
        random, settings = self.random, self.settings
        regions = np.zeros((len(texts), *self.regions.shape[1:]), np.float32)
        shares, captions = [], []
        for row, text in enumerate(texts):
            ids, share = self.texts[text], self.shares[text]
            if random.random() < settings.exchanged:
                ids, share = self.nouns.exchange(ids, share)
            shares.append(share)
            chosen = random.choice(len(ids), TEXT_CAPTIONS, replace=False)
            captions += [ids[i] for i in chosen]
            if random.random() >= settings.without_photo:
                regions[row] = self._photo(self.nearest[text][random.integers(NEAREST)])
        logits = simulate_detection(np.stack(shares), self.frequency, self.separations, random)
        return self._features(regions, logits), collate({}, captions)

    def _photo(self, number: int) -> NDArray[np.float16]:
        """Return the regions of a training photo or, from 6,000 on, of a COCO photo."""
        if number < TRAIN_PHOTOS:
            regions: NDArray[np.float16] = self.regions[number]
            return regions
        regions = self.unlabelled[number - TRAIN_PHOTOS]
        return regions

    def _features(self, regions: Floats, logits: Floats) -> dict[str, Tensor]:
        wide = torch.from_numpy(all_words(logits, self.words))
        return {"regions": torch.from_numpy(regions), DETECTED: wide}


class Training:
    """The training loop: both kinds of batches mixed, each decoder with its own loss."""

    def __init__(self, decoder: GatedDecoder, batches: Batches, settings: Settings) -> None:
        self.decoder, self.batches, self.settings = decoder, batches, settings
        self.parameters = [p for p in decoder.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, settings.learning_rate, weight_decay=WEIGHT_DECAY, betas=BETAS
        )
        self.average = WeightAverage(decoder, AVERAGE)
        self.average.steps = 1  # as trained: the average slows down one step earlier
        self.photo_steps = TRAIN_PHOTOS // CAPTION_PHOTOS
        self.text_steps = int(settings.text * self.photo_steps)
        self.pseudo_steps = int(settings.pseudo * self.photo_steps)
        self.step = 0

    def epoch(self, number: int) -> None:
        """Train one epoch and print the cross-entropy of photos and of texts."""
        started, random = time.monotonic(), self.batches.random
        order = random.permutation(TRAIN_PHOTOS)[: self.photo_steps * CAPTION_PHOTOS]
        photos = order.reshape(self.photo_steps, CAPTION_PHOTOS)
        texts = np.zeros((0, TEXT_PHOTOS), int)
        if self.text_steps:
            order = random.permutation(len(self.batches.texts))[: self.text_steps * TEXT_PHOTOS]
            texts = order.reshape(self.text_steps, TEXT_PHOTOS)
        counts = (self.photo_steps, self.text_steps, self.pseudo_steps)
        plan = [(kind, i) for kind, count in enumerate(counts) for i in range(count)]
        random.shuffle(plan)
        count = self.pseudo_steps * CAPTION_PHOTOS
        unlabelled = random.permutation(max(count, len(self.batches.pseudo)))[:count]
        losses: tuple[list[float], ...] = ([], [], [])
        for kind, i in plan:
            if kind == 1:
                features, batch = self.batches.of_texts(texts[i])
            elif kind == 2:
                chosen = unlabelled[i * CAPTION_PHOTOS : (i + 1) * CAPTION_PHOTOS]
                features, batch = self.batches.of_unlabelled(chosen % len(self.batches.pseudo))
            else:
                features, batch = self.batches.of_photos(photos[i])
            losses[kind].extend(self._step(features, batch))
            if self.step % 50 == 0:
                recent = [round(float(np.mean(x[-50:])), 3) if x else 0 for x in losses]
                print(self.step, recent, round(time.monotonic() - started), flush=True)
        means = [round(float(np.mean(x)), 3) if x else 0 for x in losses]
        print("epoch", number, means, round(time.monotonic() - started), flush=True)

    def _step(self, features: dict[str, Tensor], batch: Batch) -> list[float]:
        """Take one step; return each decoder's cross-entropy."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        self.step += 1
        targets = batch.packing.pack(batch.targets)  # [tokens]
        known = targets != UNKNOWN
        losses: list[Tensor] = []
        entropies: list[float] = []
        with torch.autocast("cpu", torch.bfloat16):
            for logits in self.decoder.member_logits(features, batch.inputs, batch.packing):
                scores = logits.float().log_softmax(-1)
                entropy = functional.nll_loss(scores, targets, reduction="none")
                entropies.append(float(entropy.detach()[known].mean()))
                smoothed = entropy.lerp(-scores.mean(-1), LABEL_SMOOTHING)
                losses.append((smoothed * known).sum() / known.sum())
        self.optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, MAX_NORM)
        self.optimizer.step()
        self.average.update(self.decoder)
        return entropies

    def _rate(self) -> float:
        total = self.settings.epochs * (self.photo_steps + self.text_steps + self.pseudo_steps)
        cosine = 0.5 * (1 + np.cos(np.pi * self.step / total))
        return float(self.settings.learning_rate * min(1, self.step / WARM_UP) * cosine)


def evaluate(decoder: GatedDecoder, dev: DevSets, strengths: tuple[float, ...] = (1, 1.5)) -> None:
    """Print scores on COCO and on the first half of dev, with log-ratios times each strength."""
    decoder.eval()
    for strength in strengths:
        set_strength(decoder, dev.words, strength, strength)
        coco = dev.captions(decoder, "coco_dev")
        flickr8k = dev.captions(decoder, "dev", FIRST_HALF)
        print("strength", strength, dev.coco_scores(coco), dev.flickr8k_scores(flickr8k))
    dev.print_examples(dev.captions(decoder, "examples"))
    set_strength(decoder, dev.words, 1.0, 1.0)
    decoder.train()


def parse() -> tuple[Places, Settings]:
    """Return the places and the settings of the command line."""
    parser = step_parser(__doc__)
    for name, setting in Settings.__dataclass_fields__.items():
        default = setting.default
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type(default), default=default, **setting.metadata)
    options = parser.parse_args()
    chosen = {name: getattr(options, name) for name in Settings.__dataclass_fields__}
    return open_places(options), Settings(**chosen)


def main() -> None:
    """Train the decoders, and keep the averaged weights after each epoch."""
    places, settings = parse()
    words = count_words(places)
    detection = Detection(places, words)
    members = [int(number) for number in settings.members.split(",")]
    decoder = first_decoders(words, detection, places.glove, members, settings.seed)
    random = np.random.default_rng(settings.seed)
    if settings.start:
        stored = load_file(places.work / f"{settings.start}.safetensors")
        for member, number in zip(decoder.members, members, strict=True):
            member.load_state_dict(member_weights(stored, number))
    training = Training(decoder, Batches(places, words, detection, settings, random), settings)
    dev = DevSets(places, words, detection)
    description = {"vocabulary": json.dumps(words.vocabulary.words)}
    decoder.train()
    for epoch in range(settings.epochs):
        training.epoch(epoch)
        with training.average.applied(decoder):
            # tied weights are stored twice
            weights = {name: weight.clone() for name, weight in decoder.state_dict().items()}
            save_file(weights, places.work / f"{settings.name}.safetensors", description)
            if epoch in (0, settings.epochs - 1):
                evaluate(decoder, dev)


if __name__ == "__main__":
    main()
