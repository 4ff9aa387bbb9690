"""Caption a split with a model, as users do, and score the captions."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from showtell.bundle import Bundle, Manifest
from showtell.data import CaptionedPhoto, Dataset, open_dataset
from showtell.data.dataset import SPLITS
from showtell.data.overlap import count_seen, may_contain_flickr8k, more_than_chance
from showtell.data.shards.index import OnBroken
from showtell.decoding.options import DecodingDefaults
from showtell.errors import DatasetError
from showtell.files.progress import progress_bar
from showtell.language.languages import Language, language_of
from showtell.scoring import ScoringError
from showtell.scoring.coco import scorer_package
from showtell.scoring.evaluation import ALL, EvaluatedPhoto, Evaluation, FailedPhoto
from showtell.scoring.metrics import Scores, score_tokenized, summarise
from showtell.scoring.tokenized import TokenizedCaptions, tokenize_captions
from showtell.vocabulary import Vocabulary

if TYPE_CHECKING:
    from showtell.captioner import Caption
    from showtell.image import Photo

logger = logging.getLogger(__name__)

MIN_PHOTOS_FOR_HALVES = 100  # the halves of fewer photos differ by chance


class PhotoCaptioner(Protocol):
    """The part of a `Captioner` that an evaluation uses."""

    @property
    def bundle(self) -> Bundle:
        """The model."""

    def caption(
        self, photos: Iterable[Photo], *, beam: int, length_penalty: float
    ) -> Iterator[Caption]:
        """Caption photos in input order; a photo that cannot be read has an `error`."""


def evaluate(
    model: str | Path | PhotoCaptioner | None,
    data: Path | str | Dataset,
    split: str = "dev",
    beam: int | None = None,
    *,
    limit: int = 0,
    length_penalty: float | None = None,
    on_broken: OnBroken = "fail",
    spice: bool | None = None,
    progress: bool = False,
) -> Evaluation:
    """Caption every photo of a split with `Captioner` and score the captions.

    `model` is a captioner or an argument of `Captioner.load`; `data` is a dataset or an argument of
    `open_dataset`; `on_broken` is passed to `open_dataset`. `limit` takes only the first photos of
    the split, for a quick look; 0: all. `beam` and `length_penalty` are the
    model's own by default. `spice` is that of `score_captions`. `progress` shows a progress bar.
    Photos that cannot be read are listed in `failed` and are not scored. The halves of a whole dev
    split of at least `MIN_PHOTOS_FOR_HALVES` photos are scored too, because models are chosen on
    the first one.

    Raises DatasetError if the split is empty, ScoringError if no photo can be captioned,
    MissingExtraError without pycocoevalcap, ValueError if `beam`, `length_penalty` or `limit` is
    out of range, and the errors of `Captioner.load` and `open_dataset`.
    """
    scorer_package()  # fail before minutes of captioning, not after
    dataset = data if isinstance(data, Dataset) else open_dataset(data, on_broken=on_broken)
    dataset = dataset.first(limit)
    photos = _photos_of_split(dataset, split)
    captioner, name = _load(model)
    bundle = captioner.bundle
    seen = count_training_photos(bundle.manifest, photos)
    _warn_of_training_photos(bundle.manifest, seen, [photo.name for photo in photos], name)
    _warn_of_other_language(bundle.vocabulary.rules, dataset, name)

    decoding = _decoding(bundle.manifest.decoding, beam, length_penalty)
    captioned = _caption_photos(captioner, photos, decoding, split if progress else None)
    if not captioned.captions:
        first_error = captioned.failed[0].error
        raise ScoringError(f"{dataset.root}: no photo of {split} could be read: {first_error}")
    tokenized = tokenize_captions(
        captioned.texts,
        [photo.captions for photo in captioned.photos],
        language=bundle.vocabulary.rules,
        spice=spice,
    )
    scores = score_tokenized(tokenized, bundle.vocabulary)
    limited = split in dataset.shortened
    has_halves = split == "dev" and not limited and len(photos) >= MIN_PHOTOS_FOR_HALVES
    halves = _halves(scores, captioned, len(photos), bundle.vocabulary) if has_halves else {}
    return Evaluation(
        model=name,
        dataset=str(dataset.root),
        split=split,
        limited=limited,
        language=bundle.vocabulary.language,
        beam=decoding.beam,
        length_penalty=decoding.length_penalty,
        parts={ALL: scores, **halves},
        photos=tuple(_evaluated_photos(captioned, tokenized, scores)),
        failed=tuple(captioned.failed),
        seen=seen,
        seconds=captioned.seconds,
    )


def count_training_photos(manifest: Manifest, photos: Sequence[CaptionedPhoto]) -> int | None:
    """Return how many of these photos have the name of a photo that the model was trained on.

    The names under which other datasets know the same photos count too. Returns None if the
    manifest does not list the training photos. Raises BundleError if that list is damaged.
    """
    packed = manifest.training.name_hashes
    if packed is None:
        return None
    return count_seen(packed, (photo.name for photo in photos))


@dataclass(frozen=True)
class _CaptionedSplit:
    """The photos of a split that were captioned, and those that could not be."""

    photos: list[CaptionedPhoto]
    captions: list[Caption]
    indices: list[int]  # of the captioned photos in the split's list
    failed: list[FailedPhoto]
    seconds: float

    @property
    def texts(self) -> list[str]:
        return [caption.text or "" for caption in self.captions]


def _photos_of_split(dataset: Dataset, split: str) -> list[CaptionedPhoto]:
    photos = dataset.split(split)
    if not photos:
        sizes = ", ".join(f"{name} {len(dataset.split(name)):,}" for name in SPLITS)
        raise DatasetError(f"{dataset.root}: no photos in split {split!r} (it has {sizes})")
    return photos


def _load(model: str | Path | PhotoCaptioner | None) -> tuple[PhotoCaptioner, str]:
    """Return a captioner and the name of its model."""
    if model is None or isinstance(model, str | Path):
        from showtell.captioner import Captioner

        captioner: PhotoCaptioner = Captioner.load(model)
        return captioner, str(model) if model is not None else captioner.bundle.manifest.name
    return model, model.bundle.manifest.name


def _decoding(
    defaults: DecodingDefaults, beam: int | None, length_penalty: float | None
) -> DecodingDefaults:
    """Return the model's decoding with the options that are given explicitly."""
    return replace(
        defaults,
        beam=defaults.beam if beam is None else beam,
        length_penalty=defaults.length_penalty if length_penalty is None else length_penalty,
    )


def _caption_photos(
    captioner: PhotoCaptioner,
    photos: Sequence[CaptionedPhoto],
    decoding: DecodingDefaults,
    bar_label: str | None,
) -> _CaptionedSplit:
    """Caption photos, with a progress bar if it has a label."""
    start = time.perf_counter()
    captioned = _CaptionedSplit([], [], [], [], 0.0)
    captions = captioner.caption(
        (photo.path for photo in photos),
        beam=decoding.beam,
        length_penalty=decoding.length_penalty,
    )
    bar = progress_bar(
        len(photos),
        description=f"caption {bar_label}",
        shown=None if bar_label else False,
        leave=True,
    )
    with bar:
        for index, (photo, caption) in enumerate(zip(photos, captions, strict=True)):
            bar.update()
            if caption.error is None:
                captioned.photos.append(photo)
                captioned.captions.append(caption)
                captioned.indices.append(index)
            else:
                failure = FailedPhoto(photo.name, str(photo.path), str(caption.error))
                captioned.failed.append(failure)
    return replace(captioned, seconds=time.perf_counter() - start)


def _warn_of_training_photos(
    manifest: Manifest, seen: int | None, photos: Sequence[str], name: str
) -> None:
    if seen and more_than_chance(manifest.training.name_hashes or "", photos, seen):
        logger.warning(
            "%d of these %d photos have names of photos that %s was trained on:"
            " if they are the same photos, the scores do not hold for new ones",
            seen,
            len(photos),
            name,
        )
    elif may_contain_flickr8k(manifest.training.dataset, photos):
        logger.warning(
            "%s was trained on Flickr8k, and these look like photos of Flickr30k, which"
            " contains Flickr8k's under other names: the scores may not hold for new photos",
            name,
        )


def _warn_of_other_language(language: Language, dataset: Dataset, name: str) -> None:
    if dataset.language and language_of(dataset.language).base != language.base:
        logger.warning(
            "%s writes %s, the captions of %s are in %s: the scores say nothing about the model",
            name,
            language.name,
            dataset.root,
            language_of(dataset.language).name,
        )


def _halves(
    scores: Scores, captioned: _CaptionedSplit, size: int, vocabulary: Vocabulary
) -> dict[str, Scores]:
    """Score the halves of a split of `size` photos; a half without captions is absent.

    Their CIDEr uses the word frequencies of the whole split, so that the halves average to it.
    """
    halves: dict[str, Scores] = {}
    texts = captioned.texts
    for name, half in (
        ("first half", range(size // 2)),
        ("second half", range(size // 2, size)),
    ):
        rows = [row for row, index in enumerate(captioned.indices) if index in half]
        if rows:
            halves[name] = summarise(
                [scores.per_photo[row] for row in rows],
                [texts[row] for row in rows],
                scorer=scores.scorer,
                vocabulary=vocabulary,
                language=vocabulary.rules,
                missing=scores.missing,
            )
    return halves


def _evaluated_photos(
    captioned: _CaptionedSplit, tokenized: TokenizedCaptions, scores: Scores
) -> Iterator[EvaluatedPhoto]:
    pairs = zip(captioned.photos, captioned.captions, strict=True)
    for row, (photo, caption) in enumerate(pairs):
        yield EvaluatedPhoto(
            name=photo.name,
            path=str(photo.path),
            text=caption.text or "",
            log_probability=float(caption.log_probability or 0.0),
            confidence=None if caption.confidence is None else float(caption.confidence),
            references=photo.captions,
            tokens=tokenized.candidates[row],
            reference_tokens=tokenized.references[row],
            scores=scores.per_photo[row],
        )
