"""The captioner: one façade over a bundle, for one photo or any number of them.

Many photos are opened and prepared by worker threads ahead of the model, which runs on whole
batches, encoder and beam both. What is read ahead is bounded, so any number fits into memory.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, Unpack, cast, overload

import numpy as np
from PIL import Image

from showtell.bundle import Bundle, load_bundle
from showtell.bundle.onnx_runtime import OnnxModel
from showtell.bundle.registry import find_bundle
from showtell.caption import Alternative, Caption, Word
from showtell.decoding.beam_search import Floats, Hypothesis
from showtell.decoding.confidence import predict
from showtell.decoding.options import CaptionOptions, Decoding, Strategy
from showtell.errors import PhotoError
from showtell.image import MAX_PIXELS, Photo, name_of
from showtell.pipeline import PixelBatch, PreparedPhoto, pipeline, prepare_photo

__all__ = ["Alternative", "Caption", "Captioner", "Features", "Strategy", "Word"]

BATCH_SIZE = 16  # more costs memory and gains nothing on a CPU
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Features:
    """A photo's features: `pooled` [channels], `regions` [regions, channels]; or an error."""

    path: Path | None = None
    pooled: Floats | None = None
    regions: Floats | None = None
    error: str | None = None


class Captioner:
    """Captions photos with one model; make it with `Captioner.load`.

    It holds no state between calls, so several threads may share one.
    """

    def __init__(
        self, bundle: Bundle, *, threads: int | None = None, max_pixels: int = MAX_PIXELS
    ) -> None:
        self.bundle = bundle
        self.max_pixels = max_pixels
        self._model = OnnxModel(bundle, threads=threads)
        self._parallel: OnnxModel | None = None
        self._lock = threading.Lock()
        self._grid = bundle.manifest.encoder.grid

    @classmethod
    def load(
        cls,
        model: str | Path | None = None,
        *,
        threads: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> Captioner:
        """Load a model: the shipped one (None), one by name, or one in a bundle folder.

        `threads` is how many the networks use, by default one for each physical core. A photo of
        more than `max_pixels` is an error.
        Raises BundleError where there is no such model, it is damaged, or it is a training run:
        export that first with `showtell export` or `showtell.export.cached_bundle`.
        """
        return cls(load_bundle(find_bundle(model)), threads=threads, max_pixels=max_pixels)

    @overload
    def caption(  # type: ignore[overload-overlap]
        self, photos: Photo, *, batch_size: int = ..., **options: Unpack[CaptionOptions]
    ) -> Caption: ...

    @overload
    def caption(
        self, photos: Iterable[Photo], *, batch_size: int = ..., **options: Unpack[CaptionOptions]
    ) -> Iterator[Caption]: ...

    def caption(
        self,
        photos: Photo | Iterable[Photo],
        *,
        strategy: Strategy = "beam",
        beam: int | None = None,
        nbest: int = 1,
        length_penalty: float | None = None,
        max_length: int | None = None,
        no_repeat_ngram: int | None = None,
        groups: int | None = None,
        diversity: float = 0.5,
        seed: int = 0,
        temperature: float = 0.5,
        top_k: int = 0,
        top_p: float = 1.0,
        batch_size: int = BATCH_SIZE,
    ) -> Caption | Iterator[Caption]:
        """Caption one photo, or many.

        One photo (path, bytes, binary file, PIL image or array) gives its `Caption`, or raises
        PhotoError. An iterable of photos, which may be endless, gives an iterator of captions in
        input order, in which a bad photo has an `error` and the rest goes on; closing the
        iterator early stops the reading.

        `strategy` is `beam` (default), `diverse` beam search, `sample`, or `mbr`: of the ten best
        of a beam, the one that agrees most with the others (minimum Bayes risk), for two to three
        times the work. `beam`, `length_penalty`, `max_length` and
        `no_repeat_ngram` are the model's own by default; a beam not given is at least as wide as
        `nbest`. `nbest` - 1 alternatives come with each caption. `groups` and `diversity` are for
        `diverse`; `seed`, `temperature` (1 is the model's own distribution, whose tail is junk),
        `top_k` (0: all words) and `top_p` for `sample`, by which a photo at the same place of the
        input always draws the same.

        Raises ValueError where an option is out of range.
        """
        decoding = Decoding.of(
            self.bundle.manifest.decoding,
            strategy=strategy,
            beam=beam,
            nbest=nbest,
            length_penalty=length_penalty,
            max_length=max_length,
            no_repeat_ngram=no_repeat_ngram,
            groups=groups,
            diversity=diversity,
            seed=seed,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        )

        def run(model: OnnxModel, photos: list[PreparedPhoto], pixels: Floats) -> list[Caption]:
            indices = [photo.index for photo in photos]
            found = decoding.run(model, model.encode(pixels), indices)
            return [
                self._caption_of(photo, hypotheses, decoding)
                for photo, hypotheses in zip(photos, found, strict=True)
            ]

        def fail(photo: PreparedPhoto) -> Caption:
            return Caption(photo.path, error=photo.error)

        return self._each(photos, batch_size, run, fail)

    @overload
    def features(self, photos: Photo, *, batch_size: int = ...) -> Features: ...  # type: ignore[overload-overlap]

    @overload
    def features(self, photos: Iterable[Photo], *, batch_size: int = ...) -> Iterator[Features]: ...

    def features(
        self, photos: Photo | Iterable[Photo], *, batch_size: int = BATCH_SIZE
    ) -> Features | Iterator[Features]:
        """Return the encoder's features of one photo, or an iterator of many photos' features.

        Bad photos are treated as `caption` treats them.
        """

        def run(model: OnnxModel, photos: list[PreparedPhoto], pixels: Floats) -> list[Features]:
            found = model.encode(pixels)
            return [
                Features(photo.path, pooled, regions)
                for photo, pooled, regions in zip(
                    photos, found["pooled"], found["regions"], strict=True
                )
            ]

        def fail(photo: PreparedPhoto) -> Features:
            return Features(photo.path, error=photo.error)

        return self._each(photos, batch_size, run, fail)

    def caption_pixels(self, pixels: Floats, paths: Sequence[Path]) -> list[tuple[Caption, Floats]]:
        """Caption a batch of prepared photos; with each caption the encoder's `pooled` features.

        For those who open photos themselves: `pixels` [photos, 3, height, width] are what
        `image.prepare` makes with the bundle's preprocessing. Decoding is the model's default.
        Batches may run on several threads at once, and each takes one core.
        """
        decoding = Decoding.of(self.bundle.manifest.decoding)
        model = self._model_for(len(paths))
        features = model.encode(pixels)
        found = decoding.run(model, features, list(range(len(paths))))
        return [
            (
                self._caption_of(PreparedPhoto(place, path, name_of(path), None), own, decoding),
                pooled,
            )
            for place, (path, own, pooled) in enumerate(
                zip(paths, found, features["pooled"], strict=True)
            )
        ]

    @property
    def threads(self) -> int:
        """How many threads the networks use."""
        return self._model.threads

    def _each(
        self,
        photos: Photo | Iterable[Photo],
        batch_size: int,
        run: Callable[[OnnxModel, list[PreparedPhoto], Floats], list[Result]],
        fail: Callable[[PreparedPhoto], Result],
    ) -> Result | Iterator[Result]:
        """Run one photo at once, raising its error, or start an iterator over many."""
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} is less than 1")
        if _is_one(photos):
            photo = self._prepare_photo(0, cast("Photo", photos))
            if photo.pixels is None:
                raise PhotoError(photo.error)
            [result] = run(self._model, [photo], photo.pixels[None])
            error = getattr(result, "error", None)
            if error is not None:
                raise PhotoError(error)
            return result

        def finish(batch: list[PreparedPhoto]) -> list[Result]:
            stacked = PixelBatch.of(batch)
            results: Iterator[Result] = iter(())
            if stacked.pixels is not None:
                model = self._model_for(len(stacked.readable))
                results = iter(run(model, stacked.readable, stacked.pixels))
            return [fail(photo) if photo.pixels is None else next(results) for photo in batch]

        return pipeline(
            cast("Iterable[Photo]", photos),
            open_item=self._prepare_photo,
            finish=finish,
            batch_size=batch_size,
            threads=self._model.threads,
        )

    def _model_for(self, photos: int) -> OnnxModel:
        """Return the networks on one core each, for batches that run beside each other.

        They are loaded when first needed, which a single photo is not worth.
        """
        if self._model.threads == 1:
            return self._model
        with self._lock:
            if self._parallel is None and photos > 1:
                self._parallel = OnnxModel(self.bundle, threads=1)
            return self._parallel or self._model

    def _prepare_photo(self, index: int, photo: Photo) -> PreparedPhoto:
        preprocessing = self.bundle.manifest.preprocessing
        return prepare_photo(index, photo, preprocessing, max_pixels=self.max_pixels)

    def _caption_of(
        self, photo: PreparedPhoto, found: list[Hypothesis], decoding: Decoding
    ) -> Caption:
        if not found:
            return Caption(
                photo.path,
                error=f"{photo.name}: the model found no words for it: its numbers overflowed",
            )
        best, *others = found[: decoding.nbest]
        words = self.bundle.vocabulary
        calibration = self.bundle.manifest.confidence
        confidence = None
        if calibration is not None and decoding.strategy == "beam":
            confidence = predict(found, calibration)
        return Caption(
            path=photo.path,
            text=words.decode(best.tokens),
            log_probability=best.log_probability,
            confidence=confidence,
            alternatives=tuple(
                Alternative(words.decode(other.tokens), other.log_probability) for other in others
            ),
            words=tuple(
                Word(
                    words.words[token],
                    best.word_log_probabilities[place],
                    None if best.attention is None else best.attention[place].reshape(self._grid),
                )
                for place, token in enumerate(best.tokens)
            ),
        )


def _is_one(photos: object) -> bool:
    """Tell one photo from a collection of them; what is neither is treated as a (bad) photo."""
    if isinstance(photos, str | os.PathLike | bytes | bytearray | memoryview | Image.Image):
        return True
    if isinstance(photos, np.ndarray):
        return photos.ndim != 4
    return hasattr(photos, "read") or not isinstance(photos, Iterable)
