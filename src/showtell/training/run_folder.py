"""Opens a training run: the network with its best weights, the vocabulary and the recipe."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from showtell.bundle.model_card import terms_of
from showtell.data.overlap import NAMES_KEY, merge_packed_names
from showtell.errors import TrainingError
from showtell.nets.encoder import EncoderSpec, encoder_from_spec
from showtell.nets.model import CaptionModel
from showtell.training.checkpoint import Checkpoints, TrainingProgress, read_run_json, read_tensors
from showtell.training.loop import load_weights
from showtell.training.recipe import Recipe, recipe_from_dict
from showtell.vocabulary import Vocabulary

RUN, VOCABULARY, ENCODER = "run.json", "vocabulary.json", "encoder.safetensors"


@dataclass(frozen=True)
class Origin:
    """Where the training data of a model comes from."""

    dataset: str
    terms: str
    names: str  # of the photos, packed by `pack_names`


@dataclass(frozen=True)
class TrainedRun:
    """The content of a run folder; `description` is its `run.json`."""

    path: Path
    model: CaptionModel
    vocabulary: Vocabulary
    recipe: Recipe
    description: dict[str, Any]
    progress: TrainingProgress

    @property
    def origin(self) -> Origin:
        """The origin and terms of all training data, including that of the initial model."""
        data, initial = self.description["data"], self.initial
        return Origin(
            join_unique([initial.get("dataset"), data["layout"]], ", then "),
            join_unique([initial.get("terms"), terms_of(data["layout"])], " "),
            merge_packed_names([initial.get(NAMES_KEY, ""), data[NAMES_KEY]]),
        )

    @property
    def initial(self) -> dict[str, Any]:
        """What the description holds of the model that the run started from; empty without one."""
        initial: dict[str, Any] = self.description.get("began", {})
        return initial


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
