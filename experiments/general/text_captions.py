"""Captions without their photos: simulated detection, exchanged nouns, photos with similar words.

Input: the stacked logits of step 3, Flickr30k's text.

Output in the work folder: `nearest.npy`, int32 [photos of the text, 5]: the training photos
(0 to 5,999) and COCO photos (6,000 and on) whose detected words are nearest to the text's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from places import Places
from showtell.training.simulated_detection import (
    CAPTION_AND_OBJECT_WORDS,
    CAPTION_WORDS,
    OBJECT_WORDS,
)
from stack_logits import Detection
from train_concept_heads import TRAIN_PHOTOS
from words import Floats, Words, ids_of

NEAREST = 5
_CROWDING = 0.002  # lowers the similarity of a photo for each text that has it already
# nouns of a kind: one of them may stand for another in a caption
KINDS = (
    "dog cat horse cow sheep elephant zebra giraffe bear bird monkey tiger lion fox rabbit pig goat"
    " raccoon panda deer wolf squirrel duck camel kangaroo leopard penguin turtle owl parrot otter",
    "car truck bus train motorcycle bicycle bike van taxi scooter tractor boat ambulance jeep"
    " firetruck airplane plane jet sailboat canoe ship",
    "pizza sandwich cake burger broccoli hotdog soup salad bread pasta pie burrito bagel donut"
    " pretzel banana apple strawberries oranges meat rice vegetables lemon pineapple corn ice",
    "table desk bed couch chair bench toilet sink bathtub refrigerator stove microwave oven lamp"
    " television tv laptop computer keyboard mouse phone clock vase umbrella mirror toaster piano"
    " printer cabinet dresser bookshelf",
    "guitar violin trumpet saxophone drum drums piano accordion flute cello harmonica banjo harp"
    " trombone",
    "frisbee kite ball skateboard surfboard snowboard racket bat umbrella balloon",
    "cup mug bottle glass bowl plate teapot pitcher vase basket bucket",
    "hat helmet cap scarf mask sombrero bonnet wig",
    "church temple castle tower bridge lighthouse dome barn palace monument statue fountain",
)


def separations(words: Words) -> Floats:
    """Return how well each concept is detected, by its origin, [concepts]."""
    captions, objects = (np.zeros(len(words.concepts), bool) for _ in range(2))
    captions[words.caption_columns] = True
    objects[words.object_columns] = True
    of_captions = np.where(objects, CAPTION_AND_OBJECT_WORDS, CAPTION_WORDS)
    return np.where(captions, of_captions, OBJECT_WORDS).astype(np.float32)


class NounExchange:
    """Exchanges one noun of a photo's captions for another of its kind."""

    def __init__(self, words: Words, random: np.random.Generator) -> None:
        self.random = random
        self.words = words.vocabulary.words
        ids = ids_of(words.vocabulary)
        self.concept = {word_id: i for i, word_id in enumerate(words.concept_ids.tolist())}
        self.a, self.an = ids["a"], ids["an"]
        self.kind: dict[int, list[int]] = {}
        for kind in KINDS:
            members = [ids[word] for word in kind.split() if word in ids]
            self.kind |= dict.fromkeys(members, members)

    def exchange(self, captions: list[list[int]], shares: Floats) -> tuple[list[list[int]], Floats]:
        """Return captions as ids, and the shares [concepts], with one noun exchanged in all.

        A noun may be exchanged for itself; it is not detected then.
        """
        nouns = [w for w in {w for ids in captions for w in ids} if w in self.kind]
        if not nouns:
            return captions, shares
        old = nouns[self.random.integers(len(nouns))]
        new = self.kind[old][self.random.integers(len(self.kind[old]))]
        shares = shares.copy()
        if new in self.concept and old in self.concept:
            to, source = self.concept[new], self.concept[old]
            shares[to] = max(shares[to], shares[source])
            shares[source] = 0
        elif new in self.concept:
            shares[self.concept[new]] = np.mean([old in ids for ids in captions])
        return [self._exchanged(ids, old, new) for ids in captions], shares

    def _exchanged(self, ids: list[int], old: int, new: int) -> list[int]:
        ids = [new if word == old else word for word in ids]
        article = self.an if self.words[new][0] in "aeiou" else self.a
        for i, word in enumerate(ids[:-1]):
            if ids[i + 1] == new and word in (self.a, self.an):
                ids[i] = article
        return ids


def nearest_photos(places: Places, detection: Detection) -> NDArray[np.int32]:
    """Return the photos with the words nearest to each text's, computed once, [texts, 5]."""
    stored = places.work / "nearest.npy"
    if not stored.exists():
        np.save(stored, _nearest(detection))
    nearest: NDArray[np.int32] = np.load(stored)
    print("nearest: share of COCO", (nearest >= TRAIN_PHOTOS).mean(), len(np.unique(nearest)))
    return nearest


def _nearest(detection: Detection) -> NDArray[np.int32]:
    logits = np.concatenate([detection.logits("train"), detection.logits("unlabelled")])
    probabilities = 1 / (1 + np.exp(-logits))
    log_prior = np.log(detection.frequency)
    ratios = np.clip(np.log(np.clip(probabilities, 1e-6, 1)) - log_prior, -2, 6)
    ratios = (ratios - ratios.mean(1, keepdims=True)).astype(np.float32)
    ratios /= np.linalg.norm(ratios, axis=1, keepdims=True)
    shares = detection.text_shares
    texts = shares / np.maximum(shares.sum(1, keepdims=True), 1e-6)
    nearest = np.zeros((len(texts), NEAREST), np.int32)
    uses = np.zeros(len(ratios), np.float32)
    for i in range(0, len(texts), 1000):
        distance = -(texts[i : i + 1000] @ ratios.T - _CROWDING * uses)
        nearest[i : i + 1000] = np.argpartition(distance, NEAREST, 1)[:, :NEAREST]
        np.add.at(uses, nearest[i : i + 1000].ravel(), 1)
    return nearest
