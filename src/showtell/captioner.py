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
from typing import Any, Literal, TypeVar, cast, overload

import numpy as np
from PIL import Image

from showtell.bundle import Bundle, load_bundle
from showtell.captions import Alternative, Caption, Word
from showtell.confidence import predict
from showtell.decode import Arrays, Floats, Hypothesis, beam_search, diverse_beam_search
from showtell.errors import PhotoError
from showtell.image import Photo, name_of, open_photo, prepare
from showtell.onnx_model import OnnxModel
from showtell.pipeline import pipeline

__all__ = ["Alternative", "Caption", "Captioner", "Features", "Strategy", "Word"]

Strategy = Literal["beam", "diverse", "sample", "mbr"]
STRATEGIES: tuple[Strategy, ...] = ("beam", "diverse", "sample", "mbr")
BATCH_SIZE = 16  # more costs memory and gains nothing on a CPU
CANDIDATES = 10  # captions that minimum-Bayes-risk choice looks at, from a beam as wide
# how much their probability counts; found on Flickr8k's dev photos, where anything from 0.2 to 0.3
# beats both plain probability and none
SHARPNESS = 0.25
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Features:
    """A photo's features: `pooled` [channels], `regions` [regions, channels]; or an error."""

    path: Path | None = None
    pooled: Floats | None = None
    regions: Floats | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A photo on its way to the model: its place in the input, and pixels or an error."""

    index: int
    path: Path | None
    name: str
    pixels: Floats | None
    error: str | None


@dataclass(frozen=True)
class _Decoding:
    """How captions are found; checked before the first photo is read."""

    strategy: Strategy
    beam: int
    nbest: int
    length_penalty: float
    max_length: int
    no_repeat_ngram: int
    groups: int | None
    diversity: float
    seed: int
    temperature: float
    top_k: int
    top_p: float

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise ValueError(f"strategy={self.strategy!r} is none of {', '.join(STRATEGIES)}")
        for name in ("beam", "nbest", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is less than 1")
        if self.strategy in ("beam", "diverse") and self.nbest > self.beam:
            raise ValueError(f"nbest={self.nbest} is more than beam={self.beam} can find")
        if self.groups is not None and (self.groups < 1 or self.beam % self.groups):
            raise ValueError(f"groups={self.groups} does not divide beam={self.beam}")
        for name in ("length_penalty", "no_repeat_ngram", "diversity", "top_k", "seed"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)} is negative")
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature} is not above 0")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p} is not above 0 and at most 1")

    def run(self, model: OnnxModel, features: Arrays, indices: list[int]) -> list[list[Hypothesis]]:
        """Find each photo's captions, best first, at least `nbest` where there are so many."""
        if self.strategy == "sample":
            from showtell.sampling import sample

            return sample(
                model, features, samples=self.nbest, temperature=self.temperature,
                top_k=self.top_k, top_p=self.top_p, seed=self.seed, indices=indices,
                length_penalty=self.length_penalty, max_length=self.max_length,
            )  # fmt: skip
        consensus = self.strategy == "mbr"
        beam = max(self.beam, self.nbest, CANDIDATES) if consensus else self.beam
        shared: dict[str, Any] = {
            "beam": beam,
            # the second best says how sure the first is, and costs next to nothing
            "nbest": beam if consensus else max(self.nbest, min(2, beam)),
            "length_penalty": self.length_penalty,
            "max_length": self.max_length,
            "no_repeat_ngram": self.no_repeat_ngram,
        }
        if self.strategy == "diverse":
            return diverse_beam_search(
                model, features, groups=self.groups, diversity=self.diversity, **shared
            )
        found = beam_search(model, features, **shared)
        if consensus:
            from showtell.consensus import minimum_bayes_risk

            return [minimum_bayes_risk(own, sharpness=SHARPNESS) for own in found]
        return found


class Captioner:
    """Captions photos with one model; make it with `Captioner.load`.

    It holds no state between calls, so several threads may share one.
    """

    def __init__(self, bundle: Bundle, *, threads: int | None = None) -> None:
        self.bundle = bundle
        self._model = OnnxModel(bundle, threads=threads)
        self._parallel: OnnxModel | None = None
        self._lock = threading.Lock()
        self._grid: tuple[int, int] = tuple(bundle.manifest.encoder["grid"])

    @classmethod
    def load(cls, model: str | Path | None = None, *, threads: int | None = None) -> Captioner:
        """Load a model: the shipped one (None), one by name, a bundle folder, or a training run.

        `threads` is how many the networks use, by default one for each physical core.
        Raises BundleError where there is no such model or it is damaged.
        """
        from showtell.models import find_bundle

        return cls(load_bundle(find_bundle(model)), threads=threads)

    @overload
    def caption(  # type: ignore[overload-overlap]
        self, photos: Photo, *, strategy: Strategy = ..., beam: int | None = ..., nbest: int = ...,
        length_penalty: float | None = ..., max_length: int | None = ...,
        no_repeat_ngram: int = ..., groups: int | None = ..., diversity: float = ...,
        seed: int = ..., temperature: float = ..., top_k: int = ..., top_p: float = ...,
        batch_size: int = ...,
    ) -> Caption: ...  # fmt: skip

    @overload
    def caption(
        self, photos: Iterable[Photo], *, strategy: Strategy = ..., beam: int | None = ...,
        nbest: int = ..., length_penalty: float | None = ..., max_length: int | None = ...,
        no_repeat_ngram: int = ..., groups: int | None = ..., diversity: float = ...,
        seed: int = ..., temperature: float = ..., top_k: int = ..., top_p: float = ...,
        batch_size: int = ...,
    ) -> Iterator[Caption]: ...  # fmt: skip

    def caption(
        self,
        photos: Photo | Iterable[Photo],
        *,
        strategy: Strategy = "beam",
        beam: int | None = None,
        nbest: int = 1,
        length_penalty: float | None = None,
        max_length: int | None = None,
        no_repeat_ngram: int = 0,
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
        of a beam, the one that agrees most with the others (minimum Bayes risk; better captions
        for two to three times the work). `beam`, `length_penalty` and `max_length` are the
        model's own by default; a beam not given is at least as wide as `nbest`. `nbest` - 1
        alternatives come with each caption. `groups` and `diversity` are for `diverse`; `seed`,
        `temperature` (1 is the model's own distribution, whose tail is junk), `top_k` (0: all
        words) and `top_p` for `sample`, by which a photo at the same place of the input always
        draws the same.

        Raises ValueError where an option is out of range.
        """
        defaults = self.bundle.manifest.decoding
        decoding = _Decoding(
            strategy=strategy,
            beam=max(defaults.beam, nbest) if beam is None else beam,
            nbest=nbest,
            length_penalty=defaults.length_penalty if length_penalty is None else length_penalty,
            max_length=defaults.max_length if max_length is None else max_length,
            no_repeat_ngram=no_repeat_ngram, groups=groups, diversity=diversity,
            seed=seed, temperature=temperature, top_k=top_k, top_p=top_p,
        )  # fmt: skip

        def run(model: OnnxModel, photos: list[_Prepared], pixels: Floats) -> list[Caption]:
            indices = [photo.index for photo in photos]
            found = decoding.run(model, model.encode(pixels), indices)
            return [
                self._caption_of(photo, hypotheses, decoding)
                for photo, hypotheses in zip(photos, found, strict=True)
            ]

        def fail(photo: _Prepared) -> Caption:
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

        def run(model: OnnxModel, photos: list[_Prepared], pixels: Floats) -> list[Features]:
            found = model.encode(pixels)
            return [
                Features(photo.path, pooled, regions)
                for photo, pooled, regions in zip(
                    photos, found["pooled"], found["regions"], strict=True
                )
            ]

        def fail(photo: _Prepared) -> Features:
            return Features(photo.path, error=photo.error)

        return self._each(photos, batch_size, run, fail)

    def caption_pixels(self, pixels: Floats, paths: Sequence[Path]) -> list[tuple[Caption, Floats]]:
        """Caption a batch of prepared photos; with each caption the encoder's `pooled` features.

        For those who open photos themselves: `pixels` [photos, 3, height, width] are what
        `image.prepare` makes with the bundle's preprocessing. Decoding is the model's default.
        Batches may run on several threads at once, and each takes one core.
        """
        settings = self.bundle.manifest.decoding
        decoding = _Decoding(
            strategy="beam", beam=settings.beam, nbest=1, length_penalty=settings.length_penalty,
            max_length=settings.max_length, no_repeat_ngram=0, groups=None, diversity=0.0, seed=0,
            temperature=1.0, top_k=0, top_p=1.0,
        )  # fmt: skip
        model = self._model_for(len(paths))
        features = model.encode(pixels)
        found = decoding.run(model, features, list(range(len(paths))))
        return [
            (self._caption_of(_Prepared(place, path, name_of(path), None, None), own, decoding),
             pooled)
            for place, (path, own, pooled) in enumerate(
                zip(paths, found, features["pooled"], strict=True)
            )
        ]  # fmt: skip

    @property
    def threads(self) -> int:
        """How many threads the networks use."""
        return self._model.threads

    def _each(
        self,
        photos: Photo | Iterable[Photo],
        batch_size: int,
        run: Callable[[OnnxModel, list[_Prepared], Floats], list[Result]],
        fail: Callable[[_Prepared], Result],
    ) -> Result | Iterator[Result]:
        """Run one photo at once, raising its error, or start an iterator over many."""
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} is less than 1")
        if _is_one(photos):
            photo = self._prepared(0, cast("Photo", photos))
            if photo.pixels is None:
                raise PhotoError(photo.error)
            [result] = run(self._model, [photo], photo.pixels[None])
            error = getattr(result, "error", None)
            if error is not None:
                raise PhotoError(error)
            return result

        def finish(batch: list[_Prepared]) -> list[Result]:
            good = [photo for photo in batch if photo.pixels is not None]
            found: Iterator[Result] = iter(())
            if good:
                pixels = np.stack([photo.pixels for photo in good if photo.pixels is not None])
                found = iter(run(self._model_for(len(good)), good, pixels))
            return [fail(photo) if photo.pixels is None else next(found) for photo in batch]

        return pipeline(
            cast("Iterable[Photo]", photos),
            open_item=self._prepared,
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

    def _prepared(self, index: int, photo: Photo) -> _Prepared:
        path, name = _path_of(photo), name_of(photo)
        try:
            return _Prepared(index, path, name, self._pixels(photo), None)
        except PhotoError as error:
            return _Prepared(index, path, name, None, str(error))
        except MemoryError:
            return _Prepared(index, path, name, None, f"{name}: not enough memory to prepare it")

    def _pixels(self, photo: Photo) -> Floats:
        preprocessing = self.bundle.manifest.preprocessing
        return prepare(open_photo(photo, preprocessing=preprocessing), preprocessing)

    def _caption_of(
        self, photo: _Prepared, found: list[Hypothesis], decoding: _Decoding
    ) -> Caption:
        if not found:
            return Caption(
                photo.path,
                error=f"{photo.name}: the model found no words for it: its numbers overflowed",
            )
        best, *others = found[: decoding.nbest]
        words = self.bundle.vocabulary
        fitted = self.bundle.manifest.confidence
        confidence = predict(found, fitted) if fitted and decoding.strategy == "beam" else None
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


def _path_of(photo: object) -> Path | None:
    return Path(photo) if isinstance(photo, str | os.PathLike) else None
