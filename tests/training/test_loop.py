"""Parts of the training loop: learning rate, average of weights, loss, log."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from showtell.errors import RecipeError, TrainingError
from showtell.nets.decoder import DecoderSettings
from showtell.nets.encoder import build_encoder
from showtell.nets.model import CaptionModel
from showtell.training.batches import collate
from showtell.training.checkpoint import trained_tensors
from showtell.training.log import TrainingLog
from showtell.training.loop import load_weights, use_bfloat16
from showtell.training.objectives import CrossEntropy
from showtell.training.optimizer import StageOptimizer, learning_rate_scale
from showtell.training.recipe import Recipe, Stage
from showtell.training.weight_average import WeightAverage

WORDS = 11


@pytest.fixture(scope="module")
def model() -> CaptionModel:
    torch.manual_seed(0)
    settings = DecoderSettings(embedding=8, hidden=8, heads=2, dropout=0.0, input_dropout=0.0)
    return CaptionModel(build_encoder("test_efficientnet", "none", 64), settings, WORDS)


@given(st.integers(1, 500), st.floats(0, 0.9), st.floats(0, 1))
def test_the_learning_rate_rises_then_falls_to_its_final_share(
    steps: int, warmup: float, final: float
) -> None:
    scales = [learning_rate_scale(step, steps, warmup, final) for step in range(steps)]
    top = scales.index(max(scales))
    assert all(0 < scale <= 1 for scale in scales[:-1])
    assert scales[: top + 1] == sorted(scales[: top + 1])
    assert scales[top:] == sorted(scales[top:], reverse=True)
    rise = max(1, round(warmup * steps)) if warmup else 0
    if rise < steps:
        assert max(scales) == pytest.approx(1)
        assert learning_rate_scale(steps, steps, warmup, final) == pytest.approx(final)


def test_without_warmup_the_first_step_has_the_full_learning_rate() -> None:
    assert learning_rate_scale(0, 100, 0.0, 0.0) == 1
    assert learning_rate_scale(0, 100, 0.1, 0.0) == pytest.approx(0.1)
    assert all(learning_rate_scale(step, 10, 0.0, 1.0) == 1 for step in range(10))  # constant


def test_the_stage_sets_adams_beta2(model: CaptionModel) -> None:
    for value in (0.98, 0.999):
        groups = StageOptimizer(model, Stage(epochs=1, adam_beta2=value)).adamw.param_groups
        assert [group["betas"] for group in groups] == [(0.9, value)] * 2  # weights and biases
    with pytest.raises(RecipeError, match="adam_beta2: must be above 0 and below 1"):
        Stage(epochs=1, adam_beta2=1.0)


def test_the_average_follows_the_weights_and_is_applied_temporarily() -> None:
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data.fill_(0)
    average = WeightAverage(layer, 0.5)
    for value in (1.0, 2.0, 3.0):
        layer.weight.data.fill_(value)
        average.update(layer)
    # decays 1/10, 2/11, 3/12: younger averages forget faster
    expected = 0.9
    expected = expected * 2 / 11 + 2 * 9 / 11
    expected = expected * 3 / 12 + 3 * 9 / 12
    assert average.weights["weight"][0, 0].item() == pytest.approx(expected)
    with contextlib.suppress(ZeroDivisionError), average.applied(layer):
        assert layer.weight[0, 0].item() == pytest.approx(expected)
        raise ZeroDivisionError
    assert layer.weight[0, 0].item() == 3


def test_kept_weights_are_interpolated_from_the_stage_s_first_weights() -> None:
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data.fill_(1)
    average = WeightAverage(layer, 0.0, interpolation=0.25)
    layer.weight.data.fill_(5)
    average.update(layer)
    with average.applied(layer):
        assert layer.weight[0, 0].item() == pytest.approx(2)
    assert layer.weight[0, 0].item() == 5
    assert average.tensors()["kept"]["weight"][0, 0].item() == pytest.approx(2)
    assert set(WeightAverage(layer, 0.5).tensors()) == {"average"}


def test_an_average_has_only_trained_weights(model: CaptionModel) -> None:
    model.encoder.set_trainable("last")
    names = set(WeightAverage(model, 0.9).weights)
    model.encoder.set_trainable("none")
    assert any(name.startswith("encoder.network.conv_head") for name in names)
    assert not any(name.startswith("encoder.network.conv_stem") for name in names)
    assert set(WeightAverage(model, 0.9).weights) < names


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_packed_loss_is_the_padded_one(model: CaptionModel, smoothing: float) -> None:
    captions = [[4, 5, 6], [7], [], [8, 9, 10, 4, 5]]
    features = {"regions": torch.randn(2, 4, model.encoder.channels)}
    batch = collate(features, captions)
    loss = CrossEntropy(smoothing).loss(model.eval(), batch)
    logits = batch.packing.unpack(model.decoder(features, batch.inputs, batch.packing))
    padded = functional.cross_entropy(
        logits.flatten(0, 1), batch.targets.flatten(), ignore_index=0, label_smoothing=smoothing
    )
    torch.testing.assert_close(loss, padded)


def test_a_batch_of_pixels_gives_gradients_only_to_trainable_parts(
    model: CaptionModel,
) -> None:
    batch = collate({"pixels": torch.randn(2, 3, 64, 64)}, [[4, 5], [6]])
    for part in ("none", "all"):
        model.encoder.set_trainable(part)  # type: ignore[arg-type]
        model.zero_grad()
        CrossEntropy(0.0).loss(model, batch).backward()
        grads = [p.grad is not None and bool(p.grad.any()) for p in model.encoder.parameters()]
        assert any(grads) == (part == "all")
        assert model.decoder.key.weight.grad is not None
    model.encoder.set_trainable("none")


def test_weights_of_another_model_are_refused_by_name(model: CaptionModel) -> None:
    tensors = trained_tensors(model)
    load_weights(model, tensors)
    with pytest.raises(TrainingError, match=r"checkpoint: 'extra' does not fit this model"):
        load_weights(model, tensors | {"extra": torch.zeros(1)})
    lacking = {k: v for k, v in tensors.items() if k != "decoder.key.weight"}
    with pytest.raises(TrainingError, match=r"'decoder\.key\.weight' does not fit"):
        load_weights(model, lacking)


def test_the_recipe_sets_the_precision() -> None:
    cpu = torch.device("cpu")
    assert use_bfloat16(Recipe(precision="bfloat16"), cpu)
    assert not use_bfloat16(Recipe(precision="float32"), cpu)
    assert isinstance(use_bfloat16(Recipe(), cpu), bool)


def step(log: TrainingLog, stage: int, epoch: int, number: int) -> None:
    values: dict[str, Any] = {"loss": 2.0, "learning_rate": 1.25e-7, "gradient_norm": 0.5}
    log.step(stage, epoch, number, number, captions=8, **values)


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_the_log_writes_the_first_and_every_twentieth_step_at_once(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path, None)
    log.bar(41, 0, "stage 1 epoch 1")
    for number in range(1, 42):
        step(log, 0, 0, number)
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 20, 40]  # before it is closed
    assert lines_of(tmp_path)[0]["learning_rate"] == 1.25e-7  # small ones are not rounded away
    log.epoch(0, 0, seconds=1.5, loss=2.0, cider=30.0)
    log.close()
    last = lines_of(tmp_path)[-1]
    assert (last["event"], last["cider"], last["seconds"]) == ("epoch", 30.0, 1.5)
    assert 0.01 < last["peak_memory_gib"] < 100
    assert math.isfinite(last["peak_memory_gib"])


def test_a_resumed_log_drops_repeated_steps_and_an_unfinished_line(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path, None)
    log.bar(40, 0, "first")
    for epoch in range(2):
        for number in range(1, 41):
            step(log, 0, epoch, number)
        log.epoch(0, epoch, seconds=1, loss=1, cider=1)
    step(log, 1, 0, 1)
    log.close()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"event": "step", "sta')
    TrainingLog(tmp_path, (0, 1, 25)).close()
    kept = [(line["event"], line["epoch"], line.get("step")) for line in lines_of(tmp_path)]
    assert kept == [
        ("step", 0, 1),
        ("step", 0, 20),
        ("step", 0, 40),
        ("epoch", 0, None),
        ("step", 1, 1),
        ("step", 1, 20),
    ]
    TrainingLog(tmp_path, None).close()
    assert lines_of(tmp_path) == []
