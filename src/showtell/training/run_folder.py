"""A trained run, opened: its network with the best weights, its vocabulary and its recipe."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from showtell.errors import TrainingError
from showtell.nets.encoder import EncoderSpec, encoder_from_spec
from showtell.nets.model import CaptionModel
from showtell.training.checkpoint import Checkpoints, Progress, read_json, read_tensors
from showtell.training.loop import load_weights
from showtell.training.recipe import Recipe, recipe_from_dict
from showtell.vocabulary import Vocabulary

RUN, VOCABULARY, ENCODER = "run.json", "vocabulary.json", "encoder.safetensors"


@dataclass(frozen=True)
class TrainedRun:
    """What a run folder holds; `description` is its `run.json`."""

    path: Path
    model: CaptionModel
    vocabulary: Vocabulary
    recipe: Recipe
    description: dict[str, Any]
    progress: Progress


def spec_of(description: dict[str, Any]) -> EncoderSpec:
    """Return the encoder's spec from a run's description."""
    said = {k: v for k, v in description["encoder"].items() if k not in ("channels", "grid")}
    return EncoderSpec.from_dict(said)


def open_run(path: Path) -> TrainedRun:
    """Open a run folder with its best weights, in evaluation mode on the CPU.

    Raises TrainingError, naming the file, where one is missing or damaged, or no epoch is done.
    """
    description = read_json(path / RUN)
    checkpoints = Checkpoints(path)
    if not checkpoints.has("best"):
        raise TrainingError(f"{path}: no epoch is finished yet: go on with --resume auto")
    recipe = recipe_from_dict(description["recipe"])
    text = (path / VOCABULARY).read_text("utf-8")
    vocabulary = Vocabulary.from_json(text, path / VOCABULARY)
    encoder = encoder_from_spec(spec_of(description), read_tensors(path / ENCODER))
    model = CaptionModel(
        encoder, recipe.decoder, len(vocabulary), concept_head=recipe.learns_concepts
    )
    load_weights(model, checkpoints.tensors("best", "model"))
    progress = checkpoints.progress("best")
    return TrainedRun(path, model.eval(), vocabulary, recipe, description, progress)


def joined(parts: Iterable[str | None], mark: str) -> str:
    """Join what there is, each once: datasets and terms of a model's first and later training."""
    return mark.join(dict.fromkeys(part for part in parts if part))
