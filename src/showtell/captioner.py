"""The captioner: photos in, captions out, with one model.

For many photos, threads open and prepare photos ahead of the model, which runs on batches. A
bounded number is read ahead, so that any number of photos fits into memory.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, Unpack, cast, overload

import numpy as np
from PIL import Image

from showtell.bundle import Bundle, load_bundle
from showtell.bundle.onnx_runtime import OnnxModel
from showtell.bundle.registry import find_bundle, model_of_language
from showtell.caption import Alternative, Caption, Keyword, Word
from showtell.decoding.beam_search import Floats, Hypothesis
from showtell.decoding.confidence import predict
from showtell.decoding.keywords import DETECTED, KeywordModel
from showtell.decoding.options import CaptionOptions, Decoding, Strategy
from showtell.decoding.self_joins import SelfJoins
from showtell.errors import PhotoError
from showtell.files.typed_settings import check_integer
from showtell.image import Photo, name_of
from showtell.image_formats.decoding_memory import MAX_PIXELS
from showtell.pipeline import PixelBatch, PreparedPhoto, pipeline, prepare_photo

__all__ = [
    "Alternative",
    "Caption",
    "Captioner",
    "Features",
    "Keyword",
    "Photo",
    "Strategy",
    "Word",
]

BATCH_SIZE = 16  # a larger one costs memory and is not faster on a CPU
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Features:
    """The encoder's features of a photo, float32, or an error.

    `pooled` is [channels]; `regions` is [regions, channels], row by row over the model's grid.
    """

    path: Path | None = None
    pooled: Floats | None = None
    regions: Floats | None = None
    error: str | None = None


class Captioner:
    """Captions photos with one model; `Captioner.load` makes one.

    Calls do not change it, so several threads may share one captioner. A pickled or deeply copied
    captioner is loaded again from the model's folder, which must be there.
    """

    def __init__(
        self, bundle: Bundle, *, threads: int | None = None, max_pixels: int = MAX_PIXELS
    ) -> None:
        self.bundle = bundle
        self.max_pixels = max_pixels
        self._threads = threads
        self._model = OnnxModel(bundle, threads=threads)
        self._parallel: OnnxModel | None = None
        self._lock = threading.Lock()
        self._grid = bundle.manifest.encoder.grid
        self._self_joins = SelfJoins(bundle.vocabulary)
        keywords = bundle.manifest.keywords
        self._keywords = None
        if keywords is not None:
            self._keywords = KeywordModel(keywords, bundle.detected_words)

    def __repr__(self) -> str:
        """Name the model and its folder."""
        return f"<Captioner {self.bundle.manifest.name}: {self.bundle.path}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy the captioner as its model's folder, which is then loaded again."""
        return _load_again, (self.bundle.path, self._threads, self.max_pixels)

    @classmethod
    def load(
        cls,
        model: str | Path | None = None,
        *,
        language: str | None = None,
        threads: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> Captioner:
        """Load a model by its name or from a bundle folder.

        None stands for the shipped model that writes `language`, a BCP 47 tag such as "de"; without
        a language, for $SHOWTELL_MODEL, or the model `general` without it. The networks use
        `threads` threads, by default one per usable physical core, at most 8. An encoded photo
        with more than `max_pixels` pixels is an error; a JPEG counts as it is decoded, at a
        fraction of its size. PIL images and arrays have no limit.

        Raises BundleError where there is no such model, it is damaged, it writes another language,
        or it is a training run: export that first with `showtell export` or
        `showtell.export.cached_bundle`. Raises ValueError if `language` is not a tag.
        """
        if language is not None:
            model = model_of_language(model, language)
        bundle = load_bundle(find_bundle(model), networks=False)  # OnnxModel checks them
        return cls(bundle, threads=threads, max_pixels=max_pixels)

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

        A photo is a path, encoded bytes, a binary file, a PIL image or an array: uint8 HWC RGB in
        [0, 255], or one of the types that `open_photo` takes. One photo returns its `Caption`, or
        raises PhotoError. An iterable of photos, which may be endless, returns an iterator of
        captions in input order, where a photo that cannot be read has an `error`; closing the
        iterator stops the reading. An array of four dimensions is a series of photos. The model
        runs on `batch_size` photos at a time.

        `strategy` is `beam` (the default), `diverse` beam search, `sample`, or `mbr`: of the best
        of a beam (`beam` or `nbest` of them, and at least ten), the caption that agrees most with
        the others (minimum Bayes risk), which takes two to three times as long. Only captions of
        `beam` have a `confidence`. `beam`, `length_penalty`, `max_length` and
        `no_repeat_ngram` have the model's own defaults; a beam that is not given is at least
        `nbest` wide. A caption comes with `nbest` - 1 alternatives. `groups` and `diversity` are
        for `diverse`. `seed`, `temperature` (1 is the model's own distribution, whose unlikely
        words are often wrong), `top_k` (0: all words) and `top_p` are for `sample`, which draws
        the same captions for the same seed and position of a photo in the input.

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
            return self._captions_of(model, model.encode(pixels), photos, decoding)

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
        """Return the encoder's features of one photo, or an iterator over those of many photos.

        Photos that cannot be read are treated as by `caption`.
        """

        def run(model: OnnxModel, photos: list[PreparedPhoto], pixels: Floats) -> list[Features]:
            features = model.encode(pixels)
            return [
                Features(photo.path, pooled, regions)
                for photo, pooled, regions in zip(
                    photos, features["pooled"], features["regions"], strict=True
                )
            ]

        def fail(photo: PreparedPhoto) -> Features:
            return Features(photo.path, error=photo.error)

        return self._each(photos, batch_size, run, fail)

    def caption_pixels(self, pixels: Floats, paths: Sequence[Path]) -> list[tuple[Caption, Floats]]:
        """Caption a batch of prepared photos; return captions with `pooled` features [channels].

        For callers that open photos themselves: `pixels` is float32 [photos, 3, height, width] as
        `image.prepare` returns it for the bundle's preprocessing. Decoding is the model's default.
        Several threads may run batches at the same time. A batch of several photos uses one core;
        a single photo uses all threads until the first such batch has run.
        """
        decoding = Decoding.of(self.bundle.manifest.decoding)
        model = self._model_for(len(paths))
        features = model.encode(pixels)
        photos = [
            PreparedPhoto(index, path, name_of(path), None) for index, path in enumerate(paths)
        ]
        captions = self._captions_of(model, features, photos, decoding)
        return list(zip(captions, features["pooled"], strict=True))

    @property
    def threads(self) -> int:
        """The number of threads that the networks use."""
        return self._model.threads

    def _each(
        self,
        photos: Photo | Iterable[Photo],
        batch_size: int,
        run: Callable[[OnnxModel, list[PreparedPhoto], Floats], list[Result]],
        fail: Callable[[PreparedPhoto], Result],
    ) -> Result | Iterator[Result]:
        """Return the result of one photo, raising its error, or an iterator over those of many."""
        check_integer("batch_size", batch_size)
        if _is_one_photo(photos):
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
            results: Iterator[Result] = iter(())  # of the photos that can be read
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

    def _model_for(self, count: int) -> OnnxModel:
        """Return the networks for a batch of `count` photos.

        Those on one core serve batches that run at the same time. They are loaded for the first
        batch of several photos; until then a single photo gets the networks on all threads.
        """
        if self._model.threads == 1:
            return self._model
        with self._lock:
            if self._parallel is None and count > 1:
                self._parallel = OnnxModel(self.bundle, threads=1)
            return self._parallel or self._model

    def _prepare_photo(self, index: int, photo: Photo) -> PreparedPhoto:
        preprocessing = self.bundle.manifest.preprocessing
        return prepare_photo(index, photo, preprocessing, max_pixels=self.max_pixels)

    def _captions_of(
        self,
        model: OnnxModel,
        features: dict[str, Floats],
        photos: Sequence[PreparedPhoto],
        decoding: Decoding,
    ) -> list[Caption]:
        """Return the captions of a batch of photos; `features` have one row per photo."""
        indices = [photo.index for photo in photos]
        results = decoding.run(model, features, indices, self._self_joins)
        detected: list[Floats | None] = [*features.get(DETECTED, [None] * len(photos))]
        return [
            self._caption_of(photo, hypotheses, decoding, logits)
            for photo, hypotheses, logits in zip(photos, results, detected, strict=True)
        ]

    def _caption_of(
        self,
        photo: PreparedPhoto,
        hypotheses: list[Hypothesis],
        decoding: Decoding,
        logits: Floats | None,
    ) -> Caption:
        if not hypotheses:
            return Caption(
                photo.path,
                error=f"{photo.name}: the model gives no word any probability: it is damaged",
            )
        best, *others = hypotheses[: decoding.nbest]
        vocabulary = self.bundle.vocabulary
        calibration = self.bundle.manifest.confidence
        confidence = None
        if calibration is not None and decoding.strategy == "beam":
            confidence = predict(hypotheses, calibration)
        return Caption(
            path=photo.path,
            text=vocabulary.decode(best.tokens),
            log_probability=best.log_probability,
            confidence=confidence,
            alternatives=tuple(
                Alternative(vocabulary.decode(other.tokens), other.log_probability)
                for other in others
            ),
            words=self._words_of(best),
            keywords=self._keywords_of(best, logits),
        )

    def _keywords_of(self, best: Hypothesis, logits: Floats | None) -> tuple[Keyword, ...]:
        if self._keywords is None or logits is None:
            return ()
        words = self.bundle.vocabulary.tokens(best.tokens)
        return tuple(Keyword(*pair) for pair in self._keywords.of_photo(logits, words))

    def _words_of(self, best: Hypothesis) -> tuple[Word, ...]:
        maps: Sequence[Floats | None] = [None] * len(best.tokens)
        if best.attention is not None:
            maps = list(best.attention.reshape(-1, *self._grid))  # (tokens, grid height, width)
        return tuple(
            Word(self.bundle.vocabulary.words[token], log_probability, attention)
            for token, log_probability, attention in zip(
                best.tokens, best.word_log_probabilities, maps, strict=True
            )
        )


def _load_again(path: Path, threads: int | None, max_pixels: int) -> Captioner:
    return Captioner.load(path, threads=threads, max_pixels=max_pixels)


def _is_one_photo(photos: object) -> bool:
    """Whether this is one photo; anything that is not a collection is treated as a photo."""
    if isinstance(photos, str | os.PathLike | bytes | bytearray | memoryview | Image.Image):
        return True
    if isinstance(photos, np.ndarray):
        return photos.ndim != 4
    return hasattr(photos, "read") or not isinstance(photos, Iterable)
