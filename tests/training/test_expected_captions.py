"""The line that says before a run that it is too short to learn sentences."""

from __future__ import annotations

import logging

import pytest

from showtell.training.expected_captions import SENTENCE_STEPS, warn_of_few_steps
from showtell.training.recipe import load_recipe

EPOCHS = ["stages.0.epochs=2", "stages.1.epochs=0"]


def test_a_run_of_few_steps_says_what_to_expect(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_few_steps(load_recipe("flickr8k", EPOCHS), 7)
    assert caplog.messages[0].startswith("14 training steps: expect a few frequent words;")
    assert f"about {SENTENCE_STEPS} steps" in caplog.messages[0]


def test_a_run_of_enough_steps_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_few_steps(load_recipe("flickr8k", EPOCHS), SENTENCE_STEPS // 2)
    assert not caplog.messages


def test_a_run_from_a_trained_model_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_few_steps(load_recipe("finetune", ["stages.0.epochs=1"]), 2)
    assert not caplog.messages
