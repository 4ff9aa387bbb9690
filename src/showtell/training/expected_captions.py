"""Says before a run whether it is long enough to learn sentences."""

from __future__ import annotations

import logging

from showtell.training.recipe import Recipe

logger = logging.getLogger(__name__)

# Steps of the recipe flickr8k, from new weights; see "How long until it writes sentences" in the
# docs' page on training.
SENTENCE_STEPS = 190
GOOD_SENTENCE_STEPS = 1900


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
