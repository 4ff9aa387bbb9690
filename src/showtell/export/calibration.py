"""The fit of a bundle's `confidence` on dev photos, by which users filter captions.

A caption is good if its own CIDEr against its photo's references reaches `GOOD_CIDER`: half of
what the references of a Flickr8k photo score against each other. The calibration is fitted on the
first half of dev and checked on the second, or fitted on all of a small dev split.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from showtell.bundle import Bundle
from showtell.bundle.onnx_runtime import OnnxModel
from showtell.data import CaptionedPhoto, Dataset
from showtell.decoding.beam_search import Arrays, Hypothesis
from showtell.decoding.confidence import (
    Calibration,
    CalibrationCheck,
    expected_calibration_error,
    features_of,
    fit,
    predict,
    reliability,
)
from showtell.decoding.options import Decoding
from showtell.decoding.self_joins import SelfJoins
from showtell.errors import ExportError
from showtell.pipeline import pixel_batches
from showtell.scoring import coco
from showtell.scoring.evaluate import MIN_PHOTOS_FOR_HALVES
from showtell.scoring.tokenized import showtell_tokens

GOOD_CIDER = 40.0  # times 100
BATCH_SIZE = 16


@dataclass(frozen=True)
class _Captions:
    """The captions of a dev split, best first for each photo, and which of the best are good."""

    hypotheses: list[list[Hypothesis]]
    good: NDArray[np.bool_]

    @property
    def half(self) -> int:
        """The number of photos to fit on; all of a small split."""
        count = len(self.hypotheses)
        return (count + 1) // 2 if count >= MIN_PHOTOS_FOR_HALVES else count


def fit_confidence(bundle: Bundle, *datasets: Dataset) -> Calibration:
    """Return the calibration of a bundle, fitted on the first half of each dataset's dev split.

    A dev split of fewer than `MIN_PHOTOS_FOR_HALVES` photos is fitted on as a whole and not
    checked. Photos that cannot be read or captioned are left out. Raises ExportError if none of a
    dataset is left.
    """
    splits = [_caption_split(bundle, dataset) for dataset in datasets]
    fitted = [split.hypotheses[: split.half] for split in splits]
    calibration = fit(
        [features_of(candidates) for hypotheses in fitted for candidates in hypotheses],
        np.concatenate([split.good[: split.half] for split in splits]),
        measure=f"CIDEr of the caption at least {GOOD_CIDER:.0f} (coco-caption, showtell tokens)",
    )
    checked = [split.hypotheses[split.half :] for split in splits]
    confidences = [
        predict(candidates, calibration) or 0.0
        for hypotheses in checked
        for candidates in hypotheses
    ]
    if not confidences:
        return calibration
    good = np.concatenate([split.good[split.half :] for split in splits])
    return replace(calibration, dev_second_half=_check(confidences, good))


def _caption_split(bundle: Bundle, dataset: Dataset) -> _Captions:
    photos, hypotheses = _caption_photos(bundle, dataset.split("dev"))
    if not photos:
        raise ExportError(f"{dataset.root}: no dev photo can be captioned: cannot fit confidence")
    vocabulary, language = bundle.vocabulary, bundle.vocabulary.rules
    captions = [
        showtell_tokens(vocabulary.decode(best.tokens), language) for best, *_ in hypotheses
    ]
    references = [[showtell_tokens(text, language) for text in photo.captions] for photo in photos]
    return _Captions(
        hypotheses, np.asarray(coco.cider_per_photo(captions, references)) >= GOOD_CIDER
    )


def _check(confidences: Sequence[float], good: NDArray[np.bool_]) -> CalibrationCheck:
    return CalibrationCheck(
        photos=len(confidences),
        good=round(float(good.mean()), 4),
        expected_calibration_error=round(expected_calibration_error(confidences, good), 4),
        reliability=tuple(
            replace(item, confidence=round(item.confidence, 3), good=round(item.good, 3))
            for item in reliability(confidences, good)
        ),
    )


def caption_batches(
    bundle: Bundle, photos: Sequence[CaptionedPhoto], threads: int | None = None
) -> Iterator[tuple[list[CaptionedPhoto], Arrays, list[list[Hypothesis]]]]:
    """Caption photos by the bundle's own decoding, in batches; unreadable photos are left out.

    Yields the photos of a batch, the encoder's output with a row for each, and their hypotheses,
    best first. A photo without any has an empty list.
    """
    model, search = OnnxModel(bundle, threads=threads), Decoding.of(bundle.manifest.decoding)
    self_joins = SelfJoins(bundle.vocabulary)
    paths = (photo.path for photo in photos)
    for batch in pixel_batches(paths, bundle.manifest.preprocessing, batch_size=BATCH_SIZE):
        if batch.pixels is None:
            continue
        features = model.encode(batch.pixels)
        hypotheses = search.run(model, features, range(len(batch.readable)), self_joins)
        yield [photos[photo.index] for photo in batch.readable], features, hypotheses


def _caption_photos(
    bundle: Bundle, photos: Sequence[CaptionedPhoto]
) -> tuple[list[CaptionedPhoto], list[list[Hypothesis]]]:
    """Return the photos that can be captioned, and their hypotheses."""
    captioned: list[CaptionedPhoto] = []
    hypotheses: list[list[Hypothesis]] = []
    for readable, _, results in caption_batches(bundle, photos):
        for photo, candidates in zip(readable, results, strict=True):
            if candidates:
                captioned.append(photo)
                hypotheses.append(candidates)
    return captioned, hypotheses
