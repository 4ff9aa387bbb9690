"""Scores of captions as papers report them: the coco-caption scorers, by pycocoevalcap.

All scores are in hundredths, as papers print them: BLEU-4 24.4, CIDEr 58.9. Every `Scores` names
its scorer, because figures of another tokenizer or another METEOR are not comparable.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from showtell.scoring import coco
from showtell.scoring.statistics import as_counts, bleu, meteor
from showtell.scoring.tokenized import (
    TokenizedCaptions,
    check_captions,
    showtell_tokens,
    tokenize_captions,
)
from showtell.vocabulary import SPECIAL_WORDS, Vocabulary, tokenize

METRICS = {
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "bleu_4": "BLEU-4",
    "meteor": "METEOR",
    "rouge_l": "ROUGE-L",
    "cider": "CIDEr",
    "spice": "SPICE",
}


@dataclass(frozen=True, slots=True)
class PhotoScores:
    """One photo's scores in hundredths, and the counts that corpus BLEU and METEOR sum."""

    bleu_4: float
    meteor: float | None
    rouge_l: float
    cider: float
    spice: float | None
    bleu_counts: tuple[float, ...]
    meteor_counts: tuple[float, ...] | None


@dataclass(frozen=True)
class Scores:
    """Scores of many captions in hundredths; None where a scorer could not run (see `missing`).

    `mean_length` counts words, `distinct_captions` and `vocabulary_used` are shares from 0 to 1,
    `vocabulary_used` the part of the model's vocabulary that its captions use (None without one).
    """

    scorer: str
    photos: int
    bleu_1: float
    bleu_2: float
    bleu_3: float
    bleu_4: float
    meteor: float | None
    rouge_l: float
    cider: float
    spice: float | None
    mean_length: float
    distinct_captions: float
    distinct_words: int
    vocabulary_used: float | None
    missing: tuple[str, ...] = ()
    per_photo: tuple[PhotoScores, ...] = dataclasses.field(default=(), repr=False)

    def metrics(self) -> dict[str, float]:
        """Return the scores there are by key, in the order of `METRICS`."""
        values = {key: getattr(self, key) for key in METRICS}
        return {key: value for key, value in values.items() if value is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return the figures of the whole as plain JSON data, without those of each photo."""
        names = [item.name for item in dataclasses.fields(self)]
        kept = [name for name in names if name not in ("missing", "per_photo")]
        return {name: getattr(self, name) for name in kept}


def score_captions(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    vocabulary: Vocabulary | None = None,
    java: bool = True,
    spice: bool | None = None,
) -> Scores:
    """Score one caption a photo against that photo's references.

    With Java: BLEU-1 to 4, METEOR, ROUGE-L and CIDEr on PTB tokens, and SPICE where its models are
    found (`spice` True complains without them, False never runs it). Without Java, or with `java`
    False: BLEU, ROUGE-L and CIDEr on showtell's own tokens, under another scorer's name.
    An empty caption scores 0. CIDEr weighs words by how few photos have them: of one photo it is 0.

    Raises ScoringError where there are no captions or a photo has no references, and
    MissingExtraError without pycocoevalcap.
    """
    tokenized = tokenize_captions(candidates, references, java=java, spice=spice)
    return score_tokenized(tokenized, vocabulary)


def cider(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return CIDEr in hundredths on showtell's tokens: no Java, for choosing an epoch on dev.

    Raises as `score_captions`.
    """
    coco.scorer_package()
    check_captions(candidates, references)
    said = [showtell_tokens(text) for text in candidates]
    grouped = [[showtell_tokens(reference) for reference in own] for own in references]
    return float(np.mean(coco.cider(said, grouped)))


def score_tokenized(captions: TokenizedCaptions, vocabulary: Vocabulary | None = None) -> Scores:
    """Score captions that `tokenize_captions` has made ready; as `score_captions`."""
    bleu_counts = coco.bleu_counts(captions.candidates, captions.references)
    bleus = 100 * bleu(as_counts(bleu_counts))[:, 3]
    rouges = coco.rouge_l(captions.candidates, captions.references)
    ciders = coco.cider(captions.candidates, captions.references)
    aligned = captions.alignments
    meteors = None if aligned is None else 100 * meteor(as_counts(aligned))
    per_photo = tuple(
        PhotoScores(
            bleu_4=float(bleus[place]),
            meteor=None if meteors is None else float(meteors[place]),
            rouge_l=rouges[place],
            cider=ciders[place],
            spice=None if captions.spice is None else captions.spice[place],
            bleu_counts=bleu_counts[place],
            meteor_counts=None if aligned is None else aligned[place],
        )
        for place in range(len(bleu_counts))
    )
    return summarise(
        per_photo,
        captions.texts,
        scorer=captions.scorer,
        vocabulary=vocabulary,
        missing=captions.missing,
    )


def summarise(
    per_photo: Sequence[PhotoScores],
    texts: Sequence[str],
    *,
    scorer: str,
    vocabulary: Vocabulary | None = None,
    missing: tuple[str, ...] = (),
) -> Scores:
    """Turn the scores of each photo, all of a set or a part of it, into those of the whole.

    BLEU and METEOR are computed from summed counts, the others are means. A part's CIDEr keeps the
    word frequencies of the set it was scored in, so that parts average to the whole; scored alone,
    half of Flickr8k's dev split comes out some 6 % higher.
    """
    bleus = 100 * bleu(as_counts([photo.bleu_counts for photo in per_photo]).sum(axis=0))
    aligned = [photo.meteor_counts for photo in per_photo if photo.meteor_counts is not None]
    spices = [photo.spice for photo in per_photo if photo.spice is not None]
    words = [tokenize(text) for text in texts]
    used = {word for caption in words for word in caption}
    return Scores(
        scorer=scorer,
        photos=len(per_photo),
        bleu_1=float(bleus[0]),
        bleu_2=float(bleus[1]),
        bleu_3=float(bleus[2]),
        bleu_4=float(bleus[3]),
        meteor=float(100 * meteor(as_counts(aligned).sum(axis=0))) if aligned else None,
        rouge_l=float(np.mean([photo.rouge_l for photo in per_photo])),
        cider=float(np.mean([photo.cider for photo in per_photo])),
        spice=float(np.mean(spices)) if spices else None,
        mean_length=float(np.mean([len(caption) for caption in words])),
        distinct_captions=len({tuple(caption) for caption in words}) / len(words),
        distinct_words=len(used),
        vocabulary_used=_share_used(used, vocabulary),
        missing=missing,
        per_photo=tuple(per_photo),
    )


def _share_used(used: set[str], vocabulary: Vocabulary | None) -> float | None:
    """Return which part of a vocabulary, its special words aside, is in use."""
    if vocabulary is None or len(vocabulary) == len(SPECIAL_WORDS):
        return None
    return sum(word in vocabulary for word in used) / (len(vocabulary) - len(SPECIAL_WORDS))
