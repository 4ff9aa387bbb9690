"""The line that says before a run that it is too short to learn sentences."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from showtell.data.dataset import CaptionedPhoto
from showtell.language.languages import language_of
from showtell.training.expected_captions import (
    SENTENCE_STEPS,
    warn_of_cut_captions,
    warn_of_few_steps,
)
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


def test_captions_that_are_cut_are_named_with_the_way_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    photo = CaptionedPhoto("1.jpg", Path("1.jpg"), ("一只狗在雪地里", "一只狗"), "train")
    warn_of_cut_captions([photo], language_of("zh"), 7)
    assert not caplog.messages
    warn_of_cut_captions([photo], language_of("zh"), 5)
    assert caplog.messages == [
        "50 % of the training captions are longer than 5 characters and are cut: raise max_words"
        " and decoding.max_length"
    ]
