"""Caption scores as papers report them, from the coco-caption scorers of pycocoevalcap.

All scores are multiplied by 100, as in papers: BLEU-4 24.4, CIDEr 58.9. `Scores` names its scorer,
because scores with another tokenizer or another METEOR are not comparable.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from showtell.language.languages import ENGLISH, Language
from showtell.scoring import coco
from showtell.scoring.statistics import ENGLISH_METEOR, as_counts, bleu, meteor, meteor_settings
from showtell.scoring.tokenized import (
    TokenizedCaptions,
    check_captions,
    showtell_tokens,
    tokenize_captions,
)
from showtell.vocabulary import SPECIAL_WORDS, Vocabulary

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
    """One photo's scores, and its counts for the corpus scores BLEU and METEOR.

    `bleu_counts` has 9 numbers and `meteor_counts` 23: see `showtell.scoring.statistics`.
    """

    bleu_4: float
    meteor: float | None
    rouge_l: float
    cider: float
    spice: float | None
    bleu_counts: tuple[float, ...]
    meteor_counts: tuple[float, ...] | None


@dataclass(frozen=True)
class Scores:
    """Scores of many captions; None if a scorer could not run (see `missing`).

    `mean_length` is in words. `distinct_captions` and `vocabulary_used` are shares from 0 to 1;
    `vocabulary_used` is the share of the model's vocabulary that its captions use, None without a
    vocabulary.
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
        """Return the available scores by key, in the order of `METRICS`."""
        values = {key: getattr(self, key) for key in METRICS}
        return {key: value for key, value in values.items() if value is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return the corpus scores as plain JSON data, without `missing` and `per_photo`."""
        names = [item.name for item in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in names if name not in ("missing", "per_photo")}


def score_captions(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    vocabulary: Vocabulary | None = None,
    language: Language = ENGLISH,
    java: bool = True,
    spice: bool | None = None,
) -> Scores:
    """Score one caption per photo against the photo's references.

    With Java: BLEU-1 to 4, METEOR, ROUGE-L and CIDEr on PTB tokens, and SPICE if its models are
    installed. `spice` True reports missing models in `missing`; False never runs SPICE. Without
    Java, or with `java` False: BLEU, ROUGE-L and CIDEr on showtell's tokens; the scorer's name says
    so. In a `language` other than English the tokens are showtell's, and METEOR has no paraphrases,
    or is missing. An empty caption scores 0. CIDEr weights words by how few photos have them, so it
    is 0 for a single photo.

    Raises ScoringError if there are no captions or a photo has no references, and
    MissingExtraError without pycocoevalcap.
    """
    tokenized = tokenize_captions(candidates, references, language=language, java=java, spice=spice)
    return score_tokenized(tokenized, vocabulary)


def cider(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    language: Language = ENGLISH,
) -> float:
    """Return corpus CIDEr, multiplied by 100, on showtell's tokens, without Java.

    Training uses it to choose an epoch. Raises the errors of `score_captions`.
    """
    coco.scorer_package()
    check_captions(candidates, references, language)
    candidate_tokens = [showtell_tokens(text, language) for text in candidates]
    reference_tokens = [[showtell_tokens(text, language) for text in texts] for texts in references]
    return float(np.mean(coco.cider_per_photo(candidate_tokens, reference_tokens)))


def score_tokenized(captions: TokenizedCaptions, vocabulary: Vocabulary | None = None) -> Scores:
    """Score the captions that `tokenize_captions` returned, as `score_captions` does."""
    bleu_counts = coco.bleu_counts(captions.candidates, captions.references)
    bleus = 100 * bleu(as_counts(bleu_counts))[:, 3]
    rouges = coco.rouge_l_per_photo(captions.candidates, captions.references)
    ciders = coco.cider_per_photo(captions.candidates, captions.references)
    alignments = captions.alignments
    settings = meteor_settings(captions.language.code) or ENGLISH_METEOR
    meteors = None if alignments is None else 100 * meteor(as_counts(alignments), settings)
    per_photo = tuple(
        PhotoScores(
            bleu_4=float(bleus[row]),
            meteor=None if meteors is None else float(meteors[row]),
            rouge_l=rouges[row],
            cider=ciders[row],
            spice=None if captions.spice is None else captions.spice[row],
            bleu_counts=bleu_counts[row],
            meteor_counts=None if alignments is None else alignments[row],
        )
        for row in range(len(bleu_counts))
    )
    return summarise(
        per_photo,
        captions.texts,
        scorer=captions.scorer,
        vocabulary=vocabulary,
        language=captions.language,
        missing=captions.missing,
    )


def summarise(
    per_photo: Sequence[PhotoScores],
    texts: Sequence[str],
    *,
    scorer: str,
    vocabulary: Vocabulary | None = None,
    language: Language = ENGLISH,
    missing: tuple[str, ...] = (),
) -> Scores:
    """Return corpus scores from the scores of photos, all photos of a set or a part of them.

    BLEU and METEOR are computed from summed counts; the other scores are means. A part's CIDEr uses
    the word frequencies of the whole set, so that the parts average to the whole. Scored alone,
    half of Flickr8k's dev split has a CIDEr that is about 6 % higher.
    """
    bleus = 100 * bleu(as_counts([photo.bleu_counts for photo in per_photo]).sum(axis=0))
    alignments = [photo.meteor_counts for photo in per_photo if photo.meteor_counts is not None]
    spices = [photo.spice for photo in per_photo if photo.spice is not None]
    settings = meteor_settings(language.code) or ENGLISH_METEOR
    words = [language.words(text) for text in texts]
    used = {word for caption in words for word in caption}
    return Scores(
        scorer=scorer,
        photos=len(per_photo),
        bleu_1=float(bleus[0]),
        bleu_2=float(bleus[1]),
        bleu_3=float(bleus[2]),
        bleu_4=float(bleus[3]),
        meteor=float(100 * meteor(as_counts(alignments).sum(axis=0), settings))
        if alignments
        else None,
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
    """Return the share of a vocabulary, without its special words, that is used."""
    if vocabulary is None or len(vocabulary) == len(SPECIAL_WORDS):
        return None
    return sum(word in vocabulary for word in used) / (len(vocabulary) - len(SPECIAL_WORDS))
