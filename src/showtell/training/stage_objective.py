"""Builds the objective of a stage from its settings."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from showtell.data.dataset import CaptionedPhoto
from showtell.nets.concepts import base_decoder
from showtell.nets.decoder import DecoderNetwork
from showtell.nets.model import CaptionModel
from showtell.training.checkpoint import Checkpoints, TrainingProgress, trained_tensors
from showtell.training.concept_training import ConceptPrediction, concept_targets
from showtell.training.distributed import Ranks
from showtell.training.loop import load_weights
from showtell.training.objectives import CrossEntropy, Objective, SelfCritical
from showtell.training.recipe import Recipe, Stage
from showtell.training.rewards import BleuReward, CiderReward, MixedReward, RecallReward, Reward
from showtell.vocabulary import END, Vocabulary


@dataclass(frozen=True)
class ObjectiveBuilder:
    """Builds objectives for the stages of a run; `photos` are its training photos."""

    recipe: Recipe
    model: CaptionModel
    vocabulary: Vocabulary
    photos: Sequence[CaptionedPhoto]
    output: Path
    ranks: Ranks
    known_words: int | None = None  # words that the run's initial model knows

    def build(self, number: int, *, resumed: bool) -> Objective:
        """Build the objective of stage `number`, for the weights that the stage starts from."""
        stage = self.recipe.stages[number]
        if stage.objective == "concepts":
            return ConceptPrediction(concept_targets(self.photos, self.vocabulary))
        if stage.objective == "self_critical":
            return self._self_critical(stage)
        teacher = self._teacher(number, resumed) if stage.distill else None
        # the teacher of a later stage has been trained on the new words
        known_words = self.known_words if number == 0 else None
        return CrossEntropy(stage.label_smoothing, teacher, stage.distill, known_words)

    def _self_critical(self, stage: Stage) -> SelfCritical:
        # with END, n-grams count how a caption ends
        references = [
            [[*self.vocabulary.encode(text), END] for text in photo.captions]
            for photo in self.photos
        ]
        rewards: list[tuple[float, Reward]] = [(1.0, CiderReward(references))]
        if stage.bleu:
            rewards.append((stage.bleu, BleuReward(references)))
        if stage.recall:
            rewards.append((stage.recall, RecallReward(references)))
        return SelfCritical(
            MixedReward(rewards),
            stage.samples,
            max_length=self.recipe.decoding.max_length,
            temperature=stage.temperature,
            cross_entropy=stage.cross_entropy,
            ranks=self.ranks,
        )

    def _teacher(self, number: int, resumed: bool) -> DecoderNetwork:
        """Return a frozen copy of the decoder as it was when the stage started.

        It is saved, because a resumed stage has trained the decoder since.
        """
        teacher = copy.deepcopy(base_decoder(self.model.decoder)).requires_grad_(False).eval()
        checkpoints = Checkpoints(self.output / "teacher", self.ranks)
        if resumed:
            load_weights(teacher, checkpoints.tensors("last", "model"))
        else:
            progress = TrainingProgress(number)
            checkpoints.save("last", str(number), progress, model=trained_tensors(teacher))
        return teacher
