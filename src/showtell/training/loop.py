"""One stage of training: a plain loop over epochs and steps, resumable at any step.

Every step seeds its own randomness from (seed, stage, epoch, step), so a run that was killed and
resumed makes the same steps as one that never was, bit for bit on the CPU.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from showtell.errors import TrainingError
from showtell.nets.model import CaptionModel
from showtell.training.batches import Batch, CaptionBatches, Source, step_seed
from showtell.training.checkpoint import (
    Checkpoints,
    Progress,
    load_optimizer,
    optimizer_tensors,
    trained_tensors,
)
from showtell.training.distributed import ALONE, AllRanksError, Ranks
from showtell.training.log import TrainingLog
from showtell.training.objectives import Objective
from showtell.training.recipe import Recipe, Stage

logger = logging.getLogger(__name__)

Score = Callable[[int, int], float]  # (stage, epoch) -> CIDEr, or precision of words, on dev


class InterruptedTrainingError(AllRanksError):
    """Training stopped because it was asked to; its last step is saved."""


def learning_rate_scale(step: int, steps: int, warmup: float, final: float) -> float:
    """Return the factor of the learning rate at `step` of `steps`: linear warm-up, then cosine.

    Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017.
    """
    rise = max(1, round(warmup * steps)) if warmup else 0
    if step < rise:
        return (step + 1) / rise
    turn = (step - rise) / max(1, steps - rise)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, turn)))


class Average:
    """The weights that a stage is judged by and keeps: averaged, and drawn back to its beginning.

    A moving average of trained weights (Polyak and Juditsky, 1992), slower once it has run; of the
    way from where the stage began to that average, the share `interpolation` is gone (Wortsman et
    al., Robust Fine-Tuning of Zero-Shot Models, 2022).
    """

    def __init__(self, model: nn.Module, decay: float, interpolation: float = 1.0) -> None:
        self.decay = decay
        self.interpolation = interpolation
        self.weights = {
            n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad
        }
        began = self.weights if interpolation < 1 else {}
        self.beginning = {name: weight.clone() for name, weight in began.items()}
        self.steps = 0

    def update(self, model: nn.Module) -> None:
        """Take the present weights into the average."""
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 9))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in self.weights:
                    self.weights[name].lerp_(parameter, 1 - decay)

    @property
    def kept(self) -> dict[str, Tensor]:
        """The weights to judge by and to keep."""
        if not self.beginning:
            return self.weights
        first, share = self.beginning, self.interpolation
        return {name: first[name].lerp(weight, share) for name, weight in self.weights.items()}

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Return what a checkpoint stores of this, by group."""
        stored = {"average": {**self.weights, "steps": torch.tensor(self.steps)}}
        return stored | ({"kept": self.kept, "beginning": self.beginning} if self.beginning else {})

    def restore(self, checkpoints: Checkpoints, device: torch.device) -> None:
        """Go back to what the checkpoint `last` stored."""
        stored = checkpoints.tensors("last", "average")
        self.steps = int(stored.pop("steps"))
        self.weights = {name: tensor.to(device) for name, tensor in stored.items()}
        if self.beginning:
            stored = checkpoints.tensors("last", "beginning")
            self.beginning = {name: tensor.to(device) for name, tensor in stored.items()}

    @contextlib.contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Put the weights to keep into the model for the length of a `with`."""
        parameters = dict(model.named_parameters())
        trained = {name: parameters[name].detach().clone() for name in self.weights}
        with torch.no_grad():
            for name, weight in self.kept.items():
                parameters[name].copy_(weight)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weight in trained.items():
                    parameters[name].copy_(weight)


class _Loss(nn.Module):
    """A batch to its loss: the one call through which ranks add up their gradients."""

    def __init__(self, model: CaptionModel, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: Batch) -> Tensor:
        return self.objective.loss(self.model, batch)


@dataclass
class StageLoop:
    """Trains one stage of a recipe; `score` judges an epoch by its captions of dev."""

    recipe: Recipe
    stage: Stage
    number: int
    model: CaptionModel
    objective: Objective
    batches: CaptionBatches
    source: Source
    checkpoints: Checkpoints
    log: TrainingLog
    score: Score
    device: torch.device
    stop: Callable[[], bool]
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        self.model.encoder.set_trainable(self.stage.train_encoder)
        # with a head for words, there are weights that only another stage trains
        unused = self.model.concept_head is not None or (
            self.ranks.count > 1 and self.model.encoder.has_idle_weights()
        )
        self.loss = self.ranks.parallel(_Loss(self.model, self.objective), unused=unused)
        named = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
        self.groups = self._groups(named)
        self.names = [name for group in self.groups for name in group.pop("names")]
        betas = (0.9, self.stage.adam_beta2)
        self.optimizer = torch.optim.AdamW(self.groups, betas=betas, fused=True)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        average, share = self.stage.average, self.stage.interpolation
        self.average = Average(self.model, average, share) if average or share < 1 else None
        self.saved = time.monotonic()

    def _groups(self, named: list[tuple[str, nn.Parameter]]) -> list[dict[str, Any]]:
        """Part the weights by learning rate and decay; biases do not decay.

        Convolutions with batch norm folded in differ a hundredfold in size, so one rate for all
        is too much for some and too little for others: a relative rate is a share of each weight's
        own root mean square (Shazeer and Stern, Adafactor, 2018).
        """
        relative = self.stage.encoder_step == "relative"
        groups: dict[tuple[bool, bool, str], list[tuple[str, nn.Parameter]]] = {}
        for name, parameter in named:
            encoder = name.startswith("encoder.")
            alone = name if encoder and relative else ""
            groups.setdefault((encoder, parameter.ndim > 1, alone), []).append((name, parameter))
        return [
            {
                "names": [name for name, _ in members],
                "params": [parameter for _, parameter in members],
                "lr": self.stage.encoder_learning_rate if encoder else self.stage.learning_rate,
                "weight_decay": self.stage.weight_decay if decays else 0.0,
                "relative": bool(alone),
            }
            for (encoder, decays, alone), members in groups.items()
        ]

    def restore(self) -> None:
        """Go back to the last checkpoint of this stage: weights, optimizer and average."""
        load_weights(self.model, self.checkpoints.tensors("last", "model"))
        load_optimizer(self.optimizer, self.names, self.checkpoints.tensors("last", "optimizer"))
        if self.average:
            self.average.restore(self.checkpoints, self.device)

    def save(self, progress: Progress) -> None:
        """Write the checkpoint `last`; raises TrainingError on weights that are not finite."""
        self._check_weights(progress)
        groups = {
            "model": trained_tensors(self.model),
            "optimizer": optimizer_tensors(self.optimizer, self.names),
        }
        if self.average:
            groups |= self.average.tensors()
        tag = f"{progress.stage}-{progress.epoch}-{progress.step}"
        self.checkpoints.save("last", tag, progress, **groups)
        self.saved = time.monotonic()

    def run(self, progress: Progress) -> Progress:
        """Train from `progress` to the end of the stage; returns where it stands then.

        Raises InterruptedTrainingError after a saved stop, TrainingError on a loss that is not
        finite.
        """
        while progress.epoch < self.stage.epochs:
            patience = self.recipe.patience
            if patience and progress.epoch - progress.best_epoch > patience:
                logger.info("no better dev score in %d epochs: the stage ends here", patience)
                break
            self._epoch(progress)
        return progress

    def _epoch(self, progress: Progress) -> None:
        epoch = progress.epoch
        steps = len(self.batches)
        started = time.perf_counter()
        first = progress.step
        batches = self.batches.epoch(self.source, self.stage, self.number, epoch, first)
        with self.log.bar(steps, first, f"stage {self.number + 1} epoch {epoch + 1}") as bar:
            for parts in zip(*[batches] * self.recipe.accumulate, strict=True):
                stop = self._step(parts, progress, steps, time.perf_counter() - started)
                bar.update()
                progress.seconds += time.perf_counter() - started
                started = time.perf_counter()
                self._maybe_save(progress, steps, stop)
        loss = progress.loss_sum / max(1, progress.tokens)
        self._check_weights(progress)
        with self.average.applied(self.model) if self.average else contextlib.nullcontext():
            score = self.score(self.number, epoch)
            if score > progress.best_score:
                progress.best_score, progress.best_epoch = score, epoch
                tag = f"{self.number}-{epoch}"
                self.checkpoints.save("best", tag, progress, model=trained_tensors(self.model))
        progress.seconds += time.perf_counter() - started
        metric = "concept_precision" if self.stage.objective == "concepts" else "cider"
        said = {"loss": loss, metric: score}
        self.log.epoch(self.number, epoch, seconds=progress.seconds, **said)
        progress.epoch, progress.step, progress.loss_sum, progress.tokens = epoch + 1, 0, 0.0, 0
        self.save(progress)

    def _step(self, parts: Sequence[Batch], progress: Progress, steps: int, waited: float) -> bool:
        """Take one step: the only place where weights change. Says whether a rank is to stop.

        `parts` are this rank's of the step's batch; their losses and gradients are added up, over
        ranks too, to those of the whole.
        """
        stage, epoch = self.stage, progress.epoch
        place = (self.recipe.seed, self.number, epoch, progress.step)
        torch.manual_seed(step_seed(*place, *([] if self.ranks.first else [self.ranks.rank])))
        self.model.train()
        scale = learning_rate_scale(
            epoch * steps + progress.step,
            stage.epochs * steps,
            stage.warmup,
            stage.final_learning_rate,
        )
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * scale * (_size(group["params"][0]) if group["relative"] else 1)
        value, measured = self._backward(parts)
        value, stop, *seen = self.ranks.sums([value, float(self.stop()), *measured.values()])
        if not math.isfinite(value):
            raise self._diverged(f"the loss is {value}", progress)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = float(nn.utils.clip_grad_norm_(parameters, stage.clip))
        if not math.isfinite(norm):
            raise self._diverged(f"the gradient's norm is {norm}", progress)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average:
            self.average.update(self.model)
        photos, tokens = parts[0].step_size
        progress.step += 1
        progress.loss_sum += value * tokens
        progress.tokens += tokens
        self.log.step(
            self.number,
            epoch,
            progress.step,
            epoch * steps + progress.step,
            loss=value,
            learning_rate=stage.learning_rate * scale,
            gradient_norm=norm,
            captions=photos * self.recipe.captions_per_photo,
            photos=photos,
            waited=waited,
            **dict(zip(measured, seen, strict=True)),
        )
        return bool(stop)

    def _backward(self, parts: Sequence[Batch]) -> tuple[float, dict[str, float]]:
        """Leave this rank's gradient of a step; return its loss and what was measured beside."""
        value, measured = 0.0, dict[str, float]()
        half = use_bfloat16(self.recipe, self.device)
        for number, part in enumerate(parts, 1):
            batch = part.to(self.device)
            with self.ranks.adding(self.loss, number == len(parts)):
                with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
                    loss = self.loss(batch)
                value += loss.item()
                (loss * self.ranks.count).backward()  # of which the ranks' mean is taken
            for name, of_part in self.objective.values.items():
                share = batch.part.of_photos if batch.part else 1.0
                measured[name] = measured.get(name, 0.0) + of_part * share
        return value, measured

    def _check_weights(self, progress: Progress) -> None:
        """Stop before weights that are not finite take the place of good ones."""
        norm = float(nn.utils.get_total_norm([p.detach() for p in self.model.parameters()]))
        if not math.isfinite(norm):
            raise self._diverged(f"the weights' norm is {norm}", progress)

    def _diverged(self, what: str, progress: Progress) -> TrainingError:
        return AllRanksError(
            f"{what} at stage {self.number}, epoch {progress.epoch}, step {progress.step}: the last"
            " checkpoint is whole; train anew with a lower learning_rate or a longer warmup"
        )

    def _maybe_save(self, progress: Progress, steps: int, stop: bool) -> None:
        every = self.recipe.save_steps
        due = time.monotonic() - self.saved > self.recipe.save_minutes * 60
        due = due or bool(every and progress.step % every == 0)
        if stop or (due and progress.step < steps):
            self.save(progress)
        if stop:
            self.ranks.wait()  # torchrun ends the others as soon as one has ended
            raise InterruptedTrainingError(
                f"stopped at stage {self.number}, epoch {progress.epoch}, step {progress.step},"
                " all saved: go on with --resume auto"
            )


def _size(parameter: nn.Parameter) -> float:
    """Return a weight's root mean square, at least a thousandth so that zeros can leave zero."""
    return max(1e-3, float(parameter.detach().square().mean().sqrt()))


def use_bfloat16(recipe: Recipe, device: torch.device) -> bool:
    """Say whether matrix products run in bfloat16: as the recipe says, or where that is faster."""
    if recipe.precision != "auto":
        return recipe.precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    flags = torch.backends.cpu.get_cpu_capability()
    return flags.startswith("AVX512") and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def load_weights(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Load what `trained_tensors` gave: tied weights stand in it once."""
    missing, unknown = model.load_state_dict(tensors, strict=False)
    lacking = set(missing) & set(trained_tensors(model))
    if lacking or unknown:
        wrong = sorted(lacking | set(unknown))[0]
        raise TrainingError(f"checkpoint: '{wrong}' does not fit this model")
