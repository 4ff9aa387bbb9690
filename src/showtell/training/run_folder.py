"""Opens a training run: the network with its best weights, the vocabulary and the recipe."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from showtell.errors import TrainingError
from showtell.nets.encoder import EncoderSpec, encoder_from_spec
from showtell.nets.model import CaptionModel
from showtell.training.checkpoint import Checkpoints, TrainingProgress, read_run_json, read_tensors
from showtell.training.loop import load_weights
from showtell.training.recipe import Recipe, recipe_from_dict
from showtell.vocabulary import Vocabulary

RUN, VOCABULARY, ENCODER = "run.json", "vocabulary.json", "encoder.safetensors"


@dataclass(frozen=True)
class TrainedRun:
    """The content of a run folder; `description` is its `run.json`."""

    path: Path
    model: CaptionModel
    vocabulary: Vocabulary
    recipe: Recipe
    description: dict[str, Any]
    progress: TrainingProgress


def spec_of(description: dict[str, Any], source: Path) -> EncoderSpec:
    """Return the encoder's spec from a run's description, which was read from `source`."""
    derived = ("channels", "grid")
    spec = {key: v for key, v in description["encoder"].items() if key not in derived}
    return EncoderSpec.from_dict(spec, f"{source}: encoder")


def open_run(path: Path) -> TrainedRun:
    """Open a run folder with its best weights, in evaluation mode on the CPU.

    Raises TrainingError, naming the file, where a file is missing or damaged or no epoch is done.
    """
    description = read_run_json(path / RUN)
    checkpoints = Checkpoints(path)
    if not checkpoints.has("best"):
        raise TrainingError(f"{path}: no epoch is finished yet: resume it with --resume auto")
    recipe = recipe_from_dict(description["recipe"], path / RUN)
    text = (path / VOCABULARY).read_text("utf-8")
    vocabulary = Vocabulary.from_json(text, path / VOCABULARY)
    encoder = encoder_from_spec(spec_of(description, path / RUN), read_tensors(path / ENCODER))
    model = CaptionModel(
        encoder, recipe.decoder, len(vocabulary), concept_head=recipe.learns_concepts
    )
    load_weights(model, checkpoints.tensors("best", "model"))
    progress = checkpoints.progress("best")
    return TrainedRun(path, model.eval(), vocabulary, recipe, description, progress)


def join_unique(texts: Iterable[str | None], separator: str) -> str:
    """Join the different texts: datasets or terms of a model's first and later training."""
    return separator.join(dict.fromkeys(text for text in texts if text))
