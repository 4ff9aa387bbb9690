"""Caption a split with a model, the way users do, and score the captions."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tqdm import tqdm

from showtell.bundle import Bundle, Manifest
from showtell.data import CaptionedPhoto, Dataset, open_dataset
from showtell.data.dataset import SPLITS
from showtell.data.overlap import NAMES_KEY, cannot_tell, count_seen, more_than_chance
from showtell.data.shards.index import OnBroken
from showtell.errors import DatasetError
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


class CaptionsPhotos(Protocol):
    """What an evaluation needs of a `Captioner`."""

    @property
    def bundle(self) -> Bundle:
        """The model."""

    def caption(self, photos: Iterable[Photo], *, beam: int) -> Iterator[Caption]:
        """Caption photos in their order; one that cannot be read has an `error`."""


def evaluate(
    model: str | Path | CaptionsPhotos | None,
    data: Path | str | Dataset,
    split: str = "dev",
    beam: int = 3,
    *,
    on_broken: OnBroken = "fail",
    spice: bool | None = None,
    progress: bool = False,
) -> Evaluation:
    """Caption every photo of a split through `Captioner` and score the captions.

    `model` is what `Captioner.load` takes, or a captioner; `data` and `on_broken` are what
    `open_dataset` takes, or a dataset. Photos that cannot be read are named in
    `failed` and left out. Of dev, the first and the second half of the split's list are scored
    too, since models are chosen on the first: their CIDEr keeps the word frequencies of all of
    dev, so that the halves average to the whole.

    Raises DatasetError where the split is empty, ScoringError where no photo can be captioned,
    MissingExtraError without pycocoevalcap, and what `Captioner.load` and `open_dataset` raise.
    """
    scorer_package()  # before minutes of captioning, not after
    dataset = data if isinstance(data, Dataset) else open_dataset(data, on_broken=on_broken)
    photos = _photos_of(dataset, split)
    captioner, name = _loaded(model)
    seen = seen_photos(captioner.bundle.manifest, photos)
    _warn_of_seen(captioner.bundle.manifest, seen, [photo.name for photo in photos], name)

    start = time.perf_counter()
    captions, failed, places = [], [], []
    told = captioner.caption((photo.path for photo in photos), beam=beam)
    bar = tqdm(told, f"caption {split}", len(photos), unit="photo", disable=_disabled(progress))
    for place, (photo, caption) in enumerate(zip(photos, bar, strict=True)):
        if caption.error is None:
            captions.append(caption)
            places.append(place)
        else:
            failed.append(FailedPhoto(photo.name, str(photo.path), str(caption.error)))
    seconds = time.perf_counter() - start
    if not captions:
        raise ScoringError(f"{dataset.root}: no photo of {split} could be read: {failed[0].error}")

    kept = [photos[place] for place in places]
    texts = [caption.text for caption in captions]
    tokenized = tokenize_captions(texts, [photo.captions for photo in kept], spice=spice)
    scores = score_tokenized(tokenized, captioner.bundle.vocabulary)
    parts = {ALL: scores}
    if split == "dev":
        parts |= _halves(scores, texts, places, len(photos), captioner.bundle.vocabulary)
    return Evaluation(
        model=name,
        dataset=str(dataset.root),
        split=split,
        beam=beam,
        parts=parts,
        photos=tuple(_evaluated(kept, captions, tokenized, scores)),
        failed=tuple(failed),
        seen=seen,
        seconds=seconds,
    )


def seen_photos(manifest: Manifest, photos: Sequence[CaptionedPhoto]) -> int | None:
    """Return how many of these photos have the name of one that the model was trained on.

    `manifest.training["name_hashes"]` holds what `showtell.data.overlap.pack_names` made of the
    training photos' names; without it the answer is None. The names that other datasets have for
    the same photos count. Raises BundleError where it is damaged.
    """
    packed = manifest.training.get(NAMES_KEY)
    if packed is None:
        return None
    return count_seen(str(packed), (photo.name for photo in photos))


def _photos_of(dataset: Dataset, split: str) -> list[CaptionedPhoto]:
    photos = dataset.split(split)
    if not photos:
        sizes = ", ".join(f"{name} {len(dataset.split(name)):,}" for name in SPLITS)
        raise DatasetError(f"{dataset.root}: no photos in split {split!r} (it has {sizes})")
    return photos


def _loaded(model: str | Path | CaptionsPhotos | None) -> tuple[CaptionsPhotos, str]:
    """Return a captioner and what to call its model."""
    if model is None or isinstance(model, str | Path):
        from showtell.captioner import Captioner

        loaded: CaptionsPhotos = Captioner.load(model)
        return loaded, str(model) if model is not None else loaded.bundle.manifest.name
    return model, model.bundle.manifest.name


def _warn_of_seen(manifest: Manifest, seen: int | None, photos: Sequence[str], name: str) -> None:
    if seen and more_than_chance(str(manifest.training[NAMES_KEY]), photos, seen):
        logger.warning(
            "%d of these %d photos have names of photos that %s was trained on:"
            " if they are the same, the scores say nothing of new photos",
            seen,
            len(photos),
            name,
        )
    elif cannot_tell(str(manifest.training.get("dataset", "")), photos):
        logger.warning(
            "%s was trained on Flickr8k, and these look like photos of Flickr30k, which"
            " holds Flickr8k's under other names: the scores may say nothing of new photos",
            name,
        )


def _halves(
    scores: Scores, texts: Sequence[str], places: Sequence[int], size: int, vocabulary: Vocabulary
) -> dict[str, Scores]:
    """Score the two halves of the split's list; a half of which nothing could be read is absent."""
    halves: dict[str, Scores] = {}
    for name, within in (
        ("first half", range(size // 2)),
        ("second half", range(size // 2, size)),
    ):
        chosen = [number for number, place in enumerate(places) if place in within]
        if chosen:
            halves[name] = summarise(
                [scores.per_photo[number] for number in chosen],
                [texts[number] for number in chosen],
                scorer=scores.scorer,
                vocabulary=vocabulary,
                missing=scores.missing,
            )
    return halves


def _evaluated(
    photos: Sequence[CaptionedPhoto],
    captions: Sequence[Caption],
    tokenized: TokenizedCaptions,
    scores: Scores,
) -> Iterator[EvaluatedPhoto]:
    for place, (photo, caption) in enumerate(zip(photos, captions, strict=True)):
        yield EvaluatedPhoto(
            name=photo.name,
            path=str(photo.path),
            text=caption.text,
            log_probability=float(caption.log_probability or 0.0),
            confidence=None if caption.confidence is None else float(caption.confidence),
            references=photo.captions,
            tokens=tokenized.candidates[place],
            reference_tokens=tokenized.references[place],
            scores=scores.per_photo[place],
        )


def _disabled(progress: bool) -> bool | None:
    """Return tqdm's `disable`: None draws a bar on a terminal only."""
    return None if progress else True
