"""Fits a bundle's `confidence` on dev: how likely a caption is a good one, for users to filter by.

Good means that the caption's own CIDEr against its photo's references reaches `GOOD`, half of
what references of one photo score among themselves here. Fitted on dev's first half, reported on
its second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

from showtell.bundle import Bundle
from showtell.bundle.onnx_runtime import OnnxModel
from showtell.data import CaptionedPhoto, Dataset
from showtell.decoding.beam_search import Hypothesis, beam_search
from showtell.decoding.confidence import (
    Calibration,
    CalibrationCheck,
    expected_calibration_error,
    features_of,
    fit,
    predict,
    reliability,
)
from showtell.pipeline import pixel_batches
from showtell.scoring import coco
from showtell.scoring.tokenized import showtell_tokens

GOOD = 40.0  # CIDEr, in hundredths, of a caption that counts as good
BATCH = 16


def fit_confidence(bundle: Bundle, dataset: Dataset) -> Calibration:
    """Return what `manifest.confidence` holds: the fit, and how well it holds on dev's second half.

    Photos that cannot be read are left out.
    """
    photos, found = _hypotheses(bundle, dataset.split("dev"))
    said = [showtell_tokens(bundle.vocabulary.decode(own[0].tokens)) for own in found]
    references = [[showtell_tokens(text) for text in photo.captions] for photo in photos]
    good: NDArray[np.bool_] = np.asarray(coco.cider_per_photo(said, references)) >= GOOD
    half = (len(photos) + 1) // 2
    fitted = fit(
        [features_of(own) for own in found[:half]],
        good[:half],
        measure=f"CIDEr of the caption at least {GOOD:.0f} (coco-caption, showtell tokens)",
    )
    second = [predict(own, fitted) or 0.0 for own in found[half:]]
    if second:
        check = CalibrationCheck(
            photos=len(second),
            good=round(float(good[half:].mean()), 4),
            expected_calibration_error=round(expected_calibration_error(second, good[half:]), 4),
            reliability=tuple(
                replace(item, confidence=round(item.confidence, 3), good=round(item.good, 3))
                for item in reliability(second, good[half:])
            ),
        )
        return replace(fitted, dev_second_half=check)
    return fitted


def _hypotheses(
    bundle: Bundle, photos: Sequence[CaptionedPhoto]
) -> tuple[list[CaptionedPhoto], list[list[Hypothesis]]]:
    """Return the photos that can be read and their captions, best first, as the bundle decodes."""
    model, settings = OnnxModel(bundle), bundle.manifest.decoding
    kept: list[CaptionedPhoto] = []
    found: list[list[Hypothesis]] = []
    paths = (photo.path for photo in photos)
    for batch in pixel_batches(paths, bundle.manifest.preprocessing, batch_size=BATCH):
        kept += (photos[photo.index] for photo in batch.readable)
        if batch.pixels is not None:
            encoded = model.encode(batch.pixels)
            nbest = min(2, settings.beam)
            found += beam_search(model, encoded, nbest=nbest, **asdict(settings))
    return kept, found
