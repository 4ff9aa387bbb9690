"""Scores of people and of one caption for all photos, to compare a model's scores with.

    python experiments/german/reference_scores.py DIR [--language de]

- `one caption`: the training caption that occurs most often is given to each dev photo.
- `people`: caption k of each photo is scored against its other captions, for each k; the mean.
  A model has one reference more: with fewer references, scores are lower.
- `model`, with `--evaluation`: the captions in the JSON file of `showtell evaluate --json`, scored
  against the same references as `people`, so that the two can be compared.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from showtell.data import CaptionedPhoto, open_dataset
from showtell.language.languages import Language, language_of
from showtell.scoring.evaluation import read_evaluation
from showtell.scoring.metrics import METRICS, Scores, score_captions


def main() -> None:
    """Print the scores of a dataset's dev split."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--language", default="de")
    parser.add_argument("--evaluation", type=Path)
    arguments = parser.parse_args()
    language = language_of(arguments.language)
    dataset = open_dataset(arguments.data)
    dev = dataset.split("dev")
    caption = most_frequent_caption(dataset.split("train"), language)
    references = [photo.captions for photo in dev]
    one = score_captions([caption] * len(dev), references, language=language)
    print("scorer:", one.scorer)
    print_scores(f"one caption ({caption})", [one])
    print_scores("people", rotated(references, language))
    if arguments.evaluation:
        evaluated = {p.name: p.text for p in read_evaluation(arguments.evaluation).photos}
        said = [evaluated[photo.name] for photo in dev]
        print_scores("model", rotated(references, language, said))


def most_frequent_caption(photos: Sequence[CaptionedPhoto], language: Language) -> str:
    """Return the caption, as normalised words, that most photos have."""
    counts = Counter(
        caption
        for photo in photos
        for caption in {language.write(language.words(text)) for text in photo.captions}
    )
    return max(sorted(counts), key=counts.__getitem__)


def rotated(
    references: Sequence[Sequence[str]], language: Language, said: Sequence[str] | None = None
) -> list[Scores]:
    """Score caption k, or `said`, against the references without caption k, for each k."""
    scores = []
    for k in range(min(map(len, references))):
        others = [[*texts[:k], *texts[k + 1 :]] for texts in references]
        captions = said or [texts[k] for texts in references]
        scores.append(score_captions(captions, others, language=language))
    return scores


def print_scores(name: str, scores: Sequence[Scores]) -> None:
    """Print the mean of each score, and the lowest and highest CIDEr."""
    means = {key: fmean(item.metrics()[key] for item in scores) for key in scores[0].metrics()}
    ciders = [item.cider for item in scores]
    print(f"{name}:", ", ".join(f"{METRICS[key]} {value:.1f}" for key, value in means.items()))
    print(f"  CIDEr from {min(ciders):.1f} to {max(ciders):.1f}, {len(scores)} scored")


if __name__ == "__main__":
    main()
