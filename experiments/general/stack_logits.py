"""Step 3: one calibrated logit for each detected word, stacked from the three of step 2.

Input: `logits.npz` of step 2, Flickr8k's captions, Flickr30k's text.

Output in the work folder: `text_shares.npy` (the share of captions with each concept, [photos of
the text, concepts]) and `stack.json` (the coefficients). The later steps call `Detection`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from places import FIRST_HALF, Places, open_places, step_parser
from train_concept_heads import TRAIN_PHOTOS, halves_precision
from words import Floats, Integers, Words, caption_shares, count_words, split_shares

LEAST_FREQUENCY, MOST_FREQUENCY = 3e-4, 0.99
UNSEEN = -8.0  # logit of a concept that no source detects


@dataclass(frozen=True)
class Stack:
    """The coefficients of logits that are added up, one for each source, and a bias."""

    weights: tuple[float, ...]
    bias: float
    loss: float


@dataclass(frozen=True)
class Stacks:
    """The coefficients for content words that are object words and for the others."""

    objects: Stack
    others: Stack

    def of(self, is_object: bool) -> Stack:
        """Return the coefficients for one of the two kinds of words."""
        return self.objects if is_object else self.others


@torch.enable_grad()
def fit_stack(sources: list[Floats], shares: Floats) -> Stack:
    """Fit a logistic regression, common to all words, on arrays [photos, words]."""
    inputs, targets = torch.from_numpy(np.stack(sources, -1)), torch.from_numpy(shares)
    weights = torch.full((inputs.shape[-1],), 1 / inputs.shape[-1], requires_grad=True)
    bias = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=60)

    def loss_of_all() -> Tensor:
        optimizer.zero_grad()
        logits = (inputs * weights).sum(-1) + bias
        loss = functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        loss = loss / len(targets)
        loss.backward()
        return loss

    optimizer.step(loss_of_all)
    return Stack(tuple(weights.tolist()), bias.item(), float(loss_of_all().detach()))


class Detection:
    """The stacked logits of each set, and how often each concept is said.

    Of the dev and COCO photos the three sources are stacked, fitted on the first half of dev. Of
    the training photos, which the shipped head knows by heart, the other two.
    """

    def __init__(self, places: Places, words: Words) -> None:
        self.places, self.words = places, words
        self.sources = np.load(places.work / "logits.npz")

    @cached_property
    def train_shares(self) -> Floats:
        """The share of captions with each concept, [training photos, concepts]."""
        return split_shares(self.places, "train", self.words)

    @cached_property
    def dev_shares(self) -> Floats:
        """The same for the dev photos."""
        return split_shares(self.places, "dev", self.words)

    @cached_property
    def text_shares(self) -> Floats:
        """The same for the photos of the text."""
        stored = self.places.work / "text_shares.npy"
        if not stored.exists():
            np.save(stored, caption_shares(self.places.texts(), self.words.concepts))
        shares: Floats = np.load(stored)
        return shares

    @cached_property
    def frequency(self) -> Floats:
        """Each concept's frequency in captions: the mean of Flickr8k's and Flickr30k's."""
        mean = 0.5 * self.train_shares.mean(0) + 0.5 * self.text_shares.mean(0)
        return np.clip(mean, LEAST_FREQUENCY, MOST_FREQUENCY)

    @cached_property
    def stacks(self) -> Stacks:
        """The coefficients for photos that were not trained on."""
        half = np.arange(FIRST_HALF)
        return self._fit(self._three("dev"), self.dev_shares, half)

    @cached_property
    def train_stacks(self) -> Stacks:
        """The coefficients for the training photos."""
        return self._fit(self._three("train")[1:], self.train_shares, np.arange(TRAIN_PHOTOS))

    def logits(self, name: str) -> Floats:
        """Return the stacked logits of a set, [photos, concepts]."""
        stacks = self.train_stacks if name == "train" else self.stacks
        sources = self._three(name)[1:] if name == "train" else self._three(name)
        logits = np.full((len(sources[0]), len(self.words.concepts)), UNSEEN, np.float32)
        logits[:, self.words.object_columns] = self.sources[f"objects_{name}"]
        for is_object, columns in self._kinds():
            stack = stacks.of(is_object)
            # in float32, as the logits are
            weighted = [
                np.float32(w) * x[:, columns] for w, x in zip(stack.weights, sources, strict=True)
            ]
            logits[:, self.words.caption_columns[columns]] = sum(weighted) + stack.bias
        return logits

    def _three(self, name: str) -> list[Floats]:
        """Return the logits of the three sources, each [photos, content words]."""
        objects = self.sources[f"objects_{name}"][:, self.words.content_object]
        return [self.sources[f"first_{name}"], self.sources[f"second_{name}"], objects]

    def _kinds(self) -> list[tuple[bool, Integers]]:
        is_object = self.words.content_is_object
        return [(kind, np.flatnonzero(is_object == kind)) for kind in (False, True)]

    def _fit(self, sources: list[Floats], shares: Floats, photos: Integers) -> Stacks:
        fitted = {}
        for is_object, columns in self._kinds():
            chosen = [source[photos][:, columns] for source in sources]
            targets = shares[photos][:, self.words.caption_columns[columns]]
            fitted[is_object] = fit_stack(chosen, targets)
        return Stacks(fitted[True], fitted[False])


def main() -> None:
    """Fit the coefficients, write them and print the precision of each source."""
    places = open_places(step_parser(__doc__).parse_args())
    words = count_words(places)
    detection = Detection(places, words)
    stacks = {"photos": asdict(detection.stacks), "train": asdict(detection.train_stacks)}
    (places.work / "stack.json").write_text(json.dumps(stacks, indent=2) + "\n")
    shares = detection.dev_shares[:, words.caption_columns]
    first, second = (detection.sources[f"{source}_dev"] for source in ("first", "second"))
    stacked = detection.logits("dev")[:, words.caption_columns]
    print("text", detection.text_shares.shape, "mean share", detection.frequency.mean())
    for name, logits in (
        ("shipped head", first),
        ("second head", second),
        ("mean of both", 0.5 * first + 0.5 * second),
        ("stacked", stacked),
    ):
        print(name, *halves_precision(logits, shares))


if __name__ == "__main__":
    main()
