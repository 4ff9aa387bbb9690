"""Step 8: keywords of a photo, with calibrated probabilities (experiment 76).

A keyword is a noun of `keywords.csv`, a table that was reviewed by hand. Its probability is that of
its detected words together, corrected by a logistic regression (`showtell.decoding.keywords`) with
a bias for each keyword. Both are fitted on the first halves of Flickr8k's and COCO's dev photos.

Input: a bundle with a word detector; Flickr8k's and COCO's dev photos with captions.

Output: the bundle with `keywords` in its manifest and its card; figures on the screen.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from math import comb
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from places import COCO_FIRST_HALF, FIRST_HALF, Places, open_places, step_parser
from showtell.bundle import CARD, Bundle, load_bundle, save_bundle
from showtell.bundle.model_card import model_card
from showtell.data import CaptionedPhoto
from showtell.decoding.confidence import expected_calibration_error
from showtell.decoding.keywords import (
    DETECTED,
    FEATURES,
    LEAST_PROBABILITY,
    SURE,
    KeywordCalibration,
    KeywordCheck,
    KeywordModel,
)
from showtell.export.calibration import caption_batches
from showtell.scoring.main_nouns import names_main_noun, nouns
from showtell.vocabulary import tokenize

PEOPLE = 4
MEASURE = "one of four people names it, in singular or plural or by a synonym"
FOLDS = 4
PENALTY, BIAS_PENALTY = 0.01, 0.005  # of weights, and of each keyword's bias
FLICKR8K_WEIGHT = 0.5  # of a set of Flickr8k's photos against one of COCO's
FIRST_KEYWORDS = 5

Doubles = NDArray[np.float64]
Marks = NDArray[np.bool_]


@dataclass(frozen=True)
class KeywordPhotos:
    """Photos with what the regression sees of them: `features` is [photos, keywords, features].

    `right` tells which keywords a caption has, [photos, keywords]; `right_with_kinds` counts kinds
    of a keyword, too ("man" for "person"). `chance` is the probability that one of `PEOPLE` of the
    captions has the keyword.
    """

    features: Doubles
    right: Marks
    right_with_kinds: Marks
    chance: Doubles
    references: list[tuple[str, ...]]
    captions: list[str]

    def part(self, rows: slice | NDArray[np.int64]) -> KeywordPhotos:
        """Return some of the photos."""
        numbers = np.arange(len(self.references))[rows]
        return KeywordPhotos(
            self.features[rows],
            self.right[rows],
            self.right_with_kinds[rows],
            self.chance[rows],
            [self.references[i] for i in numbers],
            [self.captions[i] for i in numbers],
        )


@dataclass(frozen=True)
class Fit:
    """The coefficients of a regression: a weight for each of `FEATURES`, biases of keywords."""

    weights: Doubles
    biases: Doubles

    def logits(self, photos: KeywordPhotos) -> Doubles:
        """Return the logit of each keyword, [photos, keywords]."""
        logits: Doubles = photos.features @ self.weights + self.biases
        return logits


def keyword_table(detected: Sequence[str]) -> dict[str, str]:
    """Return the words of each keyword that has detected ones."""
    known = set(detected)
    with Path(__file__).with_name("keywords.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["keyword"]: row["words"].split() for row in csv.DictReader(file)}
    words = {keyword: [w for w in words if w in known] for keyword, words in rows.items()}
    return {keyword: " ".join(own) for keyword, own in words.items() if own}


def narrower_keywords(keywords: Collection[str]) -> dict[str, str]:
    """Return the kinds of each keyword that are keywords too."""
    kinds = {
        noun.name: sorted(noun.kinds.intersection(keywords) - {noun.name})
        for noun in nouns()
        if noun.name in keywords
    }
    return {keyword: " ".join(own) for keyword, own in kinds.items() if own}


def measured_photos(
    bundle: Bundle, model: KeywordModel, photos: Sequence[CaptionedPhoto]
) -> KeywordPhotos:
    """Caption photos with the bundle, and return what the regression needs."""
    logits, captions, references = [], [], []
    for readable, features, hypotheses in caption_batches(bundle, photos, threads=1):
        logits.append(features[DETECTED])
        captions += [bundle.vocabulary.decode(best.tokens) for best, *_ in hypotheses]
        references += [photo.captions for photo in readable]
    counts = captions_with(model.names, references, kinds=False)
    inputs = model.features(np.concatenate(logits), [tokenize(caption) for caption in captions])
    return KeywordPhotos(
        np.stack([inputs[name] for name in FEATURES], -1),
        counts > 0,
        captions_with(model.names, references, kinds=True) > 0,
        chances(counts, references),
        references,
        captions,
    )


def captions_with(
    keywords: Sequence[str], references: Sequence[Sequence[str]], *, kinds: bool
) -> NDArray[np.int64]:
    """Return how many captions of each photo have each keyword, [photos, keywords]."""
    accepted = [accepted_words(keyword, kinds=kinds) for keyword in keywords]
    words_of_photos = [[set(tokenize(text)) for text in texts] for texts in references]
    return np.array(
        [
            [sum(not own.isdisjoint(words) for words in of_captions) for own in accepted]
            for of_captions in words_of_photos
        ]
    )


def chances(counts: NDArray[np.int64], references: Sequence[Sequence[str]]) -> Doubles:
    """Return the probability that one of `PEOPLE` captions drawn from a photo's has a keyword."""
    return np.array(
        [
            [1 - comb(len(texts) - count, PEOPLE) / comb(len(texts), PEOPLE) for count in row]
            for row, texts in zip(counts.tolist(), references, strict=True)
        ]
    )


def accepted_words(keyword: str, *, kinds: bool) -> set[str]:
    """Return the words of captions that make a keyword right."""
    accepted = {keyword, keyword + "s", keyword.removesuffix("s")}
    for noun in nouns():
        if keyword in noun.synonyms:
            accepted |= noun.synonyms
            accepted |= noun.kinds if kinds and keyword == noun.name else set()
    return accepted


def fit(sets: Sequence[tuple[KeywordPhotos, float]]) -> Fit:
    """Fit a regression on sets of photos, each with its weight."""
    inputs = [torch.from_numpy(photos.features) for photos, _ in sets]
    labels = [torch.from_numpy(photos.chance) for photos, _ in sets]
    importance = [weight / len(photos.references) for photos, weight in sets]
    weights, bias, biases = (torch.zeros(n).double() for n in (len(FEATURES), 1, len(labels[0].T)))

    def loss() -> Tensor:
        total = PENALTY * (weights**2).sum() + BIAS_PENALTY * (biases**2).sum()
        for x, y, each in zip(inputs, labels, importance, strict=True):
            total = total + each * _entropy(x @ weights + bias + biases, y)
        return total

    minimise(loss, [weights, bias, biases])
    return Fit(weights.detach().numpy(), (bias + biases).detach().numpy())


def fit_scaled(sets: Sequence[tuple[KeywordPhotos, float]]) -> Fit:
    """Fit a regression, and scale its logits so that they hold for photos that it did not see.

    A bias for each keyword makes the regression too sure. The scale is fitted on logits of photos
    that were left out, of keywords that are probable enough to be shown.
    """
    left_out, labels, importance = [], [], []
    for fold in range(FOLDS):
        kept, others = [], []
        for photos, weight in sets:
            rows = np.arange(len(photos.references))
            kept.append((photos.part(rows[rows % FOLDS != fold]), weight))
            others.append((photos.part(rows[rows % FOLDS == fold]), weight / len(rows)))
        fitted = fit(kept)
        for photos, weight in others:
            logits = fitted.logits(photos)
            shown = logits > np.log(LEAST_PROBABILITY / (1 - LEAST_PROBABILITY))
            left_out.append(torch.from_numpy(logits[shown]))
            labels.append(torch.from_numpy(photos.chance[shown]))
            importance.append(weight)
    scale, shift = torch.ones(1).double(), torch.zeros(1).double()

    def loss() -> Tensor:
        parts = zip(left_out, labels, importance, strict=True)
        return torch.stack([each * _entropy(scale * x + shift, y) for x, y, each in parts]).sum()

    minimise(loss, [scale, shift])
    print(f"scale {scale.item():.3f}, shift {shift.item():.3f}")
    whole = fit(sets)
    return Fit(scale.item() * whole.weights, scale.item() * whole.biases + shift.item())


def _entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum")


def minimise(loss: Callable[[], Tensor], parameters: list[Tensor]) -> None:
    """Minimise a convex function of parameters, in place."""
    for parameter in parameters:
        parameter.requires_grad_()
    optimizer = torch.optim.LBFGS(parameters, max_iter=200, line_search_fn="strong_wolfe")

    def loss_and_gradients() -> Tensor:
        optimizer.zero_grad()
        total = loss()
        total.backward()
        return total

    optimizer.step(loss_and_gradients)  # type: ignore[no-untyped-call]


def report(title: str, model: KeywordModel, photos: KeywordPhotos) -> KeywordCheck:
    """Print and return how many keywords are sure, and how many of them right.

    Also prints their share at 1.5 keywords a photo, and how many main nouns are named.
    """
    features = np.moveaxis(photos.features, -1, 0)
    probabilities = model.probabilities(dict(zip(FEATURES, features, strict=True)))
    count = len(photos.references)
    sure, shown = probabilities > SURE, probabilities >= LEAST_PROBABILITY
    first = np.argsort(-probabilities, axis=None)[: round(1.5 * count)]
    order = np.argsort(-probabilities, kind="stable")[:, :FIRST_KEYWORDS]
    named = [
        names_main_noun(texts, caption, [model.names[i] for i in order[row] if shown[row, i]])
        for row, (texts, caption) in enumerate(zip(photos.references, photos.captions, strict=True))
    ]
    main = [one for one in named if one is not None]
    error = expected_calibration_error(probabilities[shown], photos.chance[shown])
    right, with_kinds = photos.right, photos.right_with_kinds
    print(
        f"{title}: {sure.sum() / count:.2f} a photo, {right[sure].mean():.1%} right"
        f" ({with_kinds[sure].mean():.1%} with kinds); at 1.5 a photo"
        f" {right.ravel()[first].mean():.1%} ({with_kinds.ravel()[first].mean():.1%});"
        f" calibration error {error:.3f}; {shown.sum() / count:.1f} shown;"
        f" main noun {sum(main)}/{len(main)} = {sum(main) / len(main):.1%}",
        flush=True,
    )
    return KeywordCheck(
        dataset=title,
        photos=count,
        per_photo=round(float(sure.sum()) / count, 3),
        right=round(float(right[sure].mean()), 4),
        expected_calibration_error=round(error, 4),
    )


def fit_keywords(bundle: Bundle, places: Places) -> KeywordCalibration:
    """Return the calibration of a bundle's keywords, and print how right they are."""
    detected = bundle.detected_words
    words = keyword_table(detected)
    unfitted = KeywordCalibration(
        measure=MEASURE,
        features=tuple(FEATURES),
        weights=(0.0,) * len(FEATURES),
        words=words,
        biases=dict.fromkeys(words, 0.0),
        kinds=narrower_keywords(words.keys()),
        photos=COCO_FIRST_HALF + FIRST_HALF,
    )
    model = KeywordModel(unfitted, detected)
    coco = measured_photos(bundle, model, places.coco_dev)
    flickr8k = measured_photos(bundle, model, places.flickr8k.split("dev"))
    coco_half, half = coco.part(slice(COCO_FIRST_HALF)), flickr8k.part(slice(FIRST_HALF))
    fitted = fit_scaled([(coco_half, 1.0), (half, FLICKR8K_WEIGHT)])
    calibration = replace(
        unfitted,
        weights=tuple(fitted.weights.round(4).tolist()),
        biases=dict(zip(model.names, fitted.biases.round(3).tolist(), strict=True)),
    )
    model = KeywordModel(calibration, detected)
    report("COCO, all", model, coco)
    report("COCO, first half", model, coco_half)
    checks = (
        report("Flickr8k", model, flickr8k.part(slice(FIRST_HALF, None))),
        report("COCO", model, coco.part(slice(COCO_FIRST_HALF, None))),
    )
    return replace(calibration, checks=checks)


def main() -> None:
    """Fit the keywords of a bundle, and write it with them."""
    parser = step_parser(__doc__)
    parser.add_argument("bundle", type=Path, help="folder of step 7, or the shipped model's")
    parser.add_argument("out", type=Path, help="folder to write; may be the same")
    options = parser.parse_args()
    bundle = load_bundle(options.bundle)
    keywords = fit_keywords(bundle, open_places(options))
    manifest = replace(bundle.manifest, keywords=keywords)
    files = {name: bundle.file(name).read_bytes() for name in manifest.files}
    notes = notes_of(files[CARD].decode("utf-8"))
    files[CARD] = model_card(manifest, bundle.vocabulary, notes).encode("utf-8")
    save_bundle(options.out, manifest, files)


def notes_of(card: str) -> str:
    """Return what a person wrote on a model card."""
    return card.partition("## Strengths and limits\n")[2].partition("## Terms\n")[0].strip()


if __name__ == "__main__":
    main()
