"""Says before a run whether it is long enough to learn sentences."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from showtell.data.dataset import CaptionedPhoto
from showtell.language.languages import Language
from showtell.training.recipe import Recipe

logger = logging.getLogger(__name__)

# Steps of the recipe flickr8k, from new weights; see "How long until it writes sentences" in the
# docs' page on training.
SENTENCE_STEPS = 190
GOOD_SENTENCE_STEPS = 1900
MOST_CUT = 0.1  # share of captions
_SAMPLE = 1000  # photos whose captions are measured


def warn_of_cut_captions(
    photos: Sequence[CaptionedPhoto], language: Language, max_words: int
) -> None:
    """Warn where more than a tenth of the training captions are longer than the recipe allows."""
    lengths = [len(language.words(text)) for photo in photos[:_SAMPLE] for text in photo.captions]
    cut = sum(length > max_words for length in lengths)
    if cut > MOST_CUT * len(lengths):
        unit = "words" if language.spaced else "characters"
        logger.warning(
            "%d %% of the training captions are longer than %d %s and are cut: raise max_words and"
            " decoding.max_length",
            round(100 * cut / len(lengths)),
            max_words,
            unit,
        )


def warn_of_few_steps(recipe: Recipe, steps_per_epoch: int) -> None:
    """Warn of a run from new weights with too few steps to learn sentences."""
    steps = sum(
        stage.epochs * steps_per_epoch for stage in recipe.stages if stage.objective != "concepts"
    )
    if recipe.init_from or not 0 < steps < SENTENCE_STEPS:
        return
    logger.warning(
        "%d training steps: expect a few frequent words; sentences take about %d steps, good ones"
        " %s: train for more epochs, or start from a trained model (init_from=flickr8k)",
        steps,
        SENTENCE_STEPS,
        f"{GOOD_SENTENCE_STEPS:,}",
    )
