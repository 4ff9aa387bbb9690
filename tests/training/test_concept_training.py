"""Training on the words of captions, and the precision of the predicted words."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from showtell.data.dataset import CaptionedPhoto
from showtell.errors import RecipeError, TrainingError
from showtell.nets.concepts import ConceptHead
from showtell.nets.decoder import DecoderSettings
from showtell.training.batches import collate
from showtell.training.checkpoint import Checkpoints, trained_tensors
from showtell.training.concept_training import (
    ConceptPrediction,
    concept_head_of,
    concept_precision,
    concept_targets,
)
from showtell.training.recipe import Recipe, Stage
from showtell.training.run_folder import open_run
from showtell.vocabulary import Vocabulary
from support.training_runs import TINY, Training, assert_same_run, log_of

CONCEPTS_THEN_CAPTIONS = [
    {
        "epochs": 2,
        "objective": "concepts",
        "train_encoder": "all",
        "encoder_step": "relative",
        "encoder_learning_rate": 0.01,
        "learning_rate": 0.01,
        "min_crop_area": 0.7,
        "color_jitter": 0.2,
        "clip": 5.0,
    },
    {"epochs": 1, "average": 0.9},
]


def test_concept_targets_count_captions_not_occurrences() -> None:
    vocabulary = Vocabulary.build(["a dog and a dog", "a cat"], 1)
    photo = CaptionedPhoto("x.jpg", Path("x.jpg"), ("a dog and a dog", "a cat", "zebra"), "train")
    [shares] = concept_targets([photo], vocabulary)
    share_of = {word: shares[vocabulary.encode(word)[0]] for word in ("a", "dog", "cat")}
    assert share_of == pytest.approx({"a": 2 / 3, "dog": 1 / 3, "cat": 1 / 3})
    assert shares[:4].tolist() == [0, 0, 0, 0]  # of <unknown>, nothing


def average_precision(scores: np.ndarray, present: np.ndarray) -> float:
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    hits, total = 0, 0.0
    for rank, i in enumerate(order, 1):
        if present[i]:
            hits += 1
            total += hits / rank
    return total / hits


def test_concept_precision_is_the_mean_average_precision_without_rare_and_common_words() -> None:
    random = np.random.default_rng(0)
    shares = np.zeros((100, 8), np.float32)
    shares[:60, 4] = 1  # too common
    shares[0, 5] = 1  # too rare
    shares[random.permutation(100)[:10], 6] = 0.2
    shares[random.permutation(100)[:30], 7] = 1
    head = ConceptHead(3, 8)
    torch.nn.init.normal_(head.global_logits.weight)
    scores = head({"pooled": torch.randn(100, 3)}).detach()
    expected = [average_precision(scores.numpy()[:, j - 4], shares[:, j] > 0) for j in (6, 7)]
    assert concept_precision(head, scores, shares) == pytest.approx(np.mean(expected))


def test_the_head_starts_from_word_frequencies_and_the_loss_falls() -> None:
    torch.manual_seed(0)
    shares = np.zeros((4, 7), np.float32)
    shares[:2, 4], shares[2:, 5], shares[:, 6] = 1, 1, 0.5
    model = SimpleNamespace(concept_head=ConceptHead(4, 7))
    objective = ConceptPrediction(shares, dropout=0)
    objective.set_prior(model)
    features = torch.eye(4)
    batch = collate({"pooled": features}, [[4], [4], [5], [5]])
    batch = type(batch)(batch.features, batch.inputs, batch.targets, batch.packing, (0, 1, 2, 3))
    first = objective.loss(model, batch)
    assert first.item() == pytest.approx(3 * np.log(2), abs=1e-3)  # three words, each a coin
    optimizer = torch.optim.Adam(model.concept_head.global_logits.parameters(), 0.1)
    for _ in range(100):
        optimizer.zero_grad()
        loss = objective.loss(model, batch)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.8  # the third word stays a coin


def test_a_model_without_a_concept_head_is_refused() -> None:
    model = SimpleNamespace(concept_head=None)
    with pytest.raises(TrainingError, match="without a concept head"):
        concept_head_of(model)


def test_a_stage_of_concepts_must_train_the_encoder_or_the_concept_head() -> None:
    words = (Stage(epochs=1, objective="concepts"),)
    with pytest.raises(RecipeError, match=r"stages\.0\.objective: concepts train the encoder"):
        Recipe(stages=words)
    Recipe(stages=words, decoder=DecoderSettings(concept_weight=0.2))
    assert not Recipe().learns_concepts


@pytest.mark.parametrize("where", ["pooled", "regions"])
def test_a_stage_of_concepts_on_a_frozen_encoder_trains_only_the_head(
    train: Training, tmp_path: Path, where: str
) -> None:
    fit = {"epochs": 2, "objective": "concepts", "learning_rate": 0.01}
    recipe = {
        **TINY,
        "decoder": {**TINY["decoder"], "concept_weight": 0.5, "concepts_from": where},
        "views": ["plain", "flip"],
        "stages": [*CONCEPTS_THEN_CAPTIONS, fit],
    }
    assert train(tmp_path / "one", recipe={**recipe, "stages": CONCEPTS_THEN_CAPTIONS}).code == 0
    before = trained_tensors(open_run(tmp_path / "one").model)
    assert train(tmp_path / "one", recipe=recipe, resume=True).code == 0
    after = trained_tensors(open_run(tmp_path / "one").model)
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    more = {"decoder.head.region_logits.weight"} if where == "regions" else set()
    assert (
        changed == {"decoder.head.global_logits.weight", "decoder.head.global_logits.bias"} | more
    )


def test_a_run_learns_concepts_then_captions_and_resumes_after_a_kill(
    train: Training, tmp_path: Path
) -> None:
    recipe = {**TINY, "stages": CONCEPTS_THEN_CAPTIONS}
    assert train(tmp_path / "one", recipe=recipe).code == 0
    epochs = [line for line in log_of(tmp_path / "one") if line["event"] == "epoch"]
    assert ["concept_precision" in line for line in epochs] == [True, True, False]
    assert all(0 < line["concept_precision"] <= 1 for line in epochs[:2])
    assert epochs[1]["loss"] < epochs[0]["loss"]
    # the caption stage is judged anew, however well words were found
    assert Checkpoints(tmp_path / "one").progress("best").stage == 1
    assert open_run(tmp_path / "one").model.concept_head is not None
    train(tmp_path / "two", recipe=recipe, step=6)
    assert train(tmp_path / "two", recipe=recipe, resume=True).code == 0
    assert_same_run(tmp_path / "one", tmp_path / "two")
