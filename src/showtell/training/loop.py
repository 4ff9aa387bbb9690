"""Training one stage: a plain loop over epochs and steps that can resume at any step.

Every step seeds its own randomness from (seed, stage, epoch, step). A run that is killed and
resumed therefore takes the same steps as a run that is not, bit for bit on a CPU.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from showtell.errors import TrainingError
from showtell.nets.model import CaptionModel
from showtell.training.batches import Batch, CaptionBatches, PhotoSource, step_seed
from showtell.training.checkpoint import Checkpoints, TrainingProgress, trained_tensors
from showtell.training.distributed import SINGLE, AllRanksError, Ranks
from showtell.training.log import TrainingLog
from showtell.training.objectives import Objective
from showtell.training.optimizer import StageOptimizer
from showtell.training.recipe import Recipe, Stage
from showtell.training.weight_average import WeightAverage

logger = logging.getLogger(__name__)


class InterruptedTrainingError(AllRanksError):
    """Training was asked to stop and has saved its last step."""


@dataclass(frozen=True)
class Session:
    """What all stages of a run share."""

    recipe: Recipe
    model: CaptionModel
    checkpoints: Checkpoints
    log: TrainingLog
    device: torch.device
    stop_requested: Callable[[], bool]  # whether the user asked the run to stop
    ranks: Ranks = SINGLE


@dataclass(frozen=True)
class StagePlan:
    """What one stage trains on, what it minimises and how its epochs are scored."""

    number: int
    stage: Stage
    objective: Objective
    batches: CaptionBatches
    source: PhotoSource
    score: Callable[[int], float]  # the dev score of the model after an epoch, by its number
    keep_last: bool = False  # keep the last epoch's weights, because the dev photos are too few


class _Loss(nn.Module):
    """The loss of a batch as a module, because ranks sum the gradients of one module's call."""

    def __init__(self, model: CaptionModel, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: Batch) -> Tensor:
        return self.objective.loss(self.model, batch)


class SaveTimer:
    """Tells when the next checkpoint within an epoch is due, by time and by steps."""

    def __init__(self, recipe: Recipe) -> None:
        self.seconds = recipe.save_minutes * 60
        self.steps = recipe.save_steps
        self.restart()

    def restart(self) -> None:
        """Start counting the time to the next checkpoint."""
        self.last = time.monotonic()

    def due(self, step: int) -> bool:
        """Return whether to save after `step` steps of the epoch."""
        by_steps = bool(self.steps) and step % self.steps == 0
        return by_steps or time.monotonic() - self.last > self.seconds


class StageTrainer:
    """Trains one stage. Create it with the weights that the stage starts from in the model."""

    def __init__(self, session: Session, plan: StagePlan) -> None:
        self.session, self.plan, self.stage = session, plan, plan.stage
        self.model = session.model
        self.model.encoder.set_trainable(self.stage.train_encoder)
        # the concept head has weights that only a stage of concepts trains
        unused = self.model.concept_head is not None or (
            session.ranks.count > 1 and self.model.encoder.has_unused_parameters()
        )
        self.loss = session.ranks.wrap_ddp(_Loss(self.model, plan.objective), find_unused=unused)
        self.optimizer = StageOptimizer(self.model, self.stage)
        self.average = WeightAverage.of_stage(self.model, self.stage)
        self.save_timer = SaveTimer(session.recipe)

    def train(self, progress: TrainingProgress) -> TrainingProgress:
        """Train from `progress` to the end of the stage; return the progress at the end.

        Raises InterruptedTrainingError after a saved stop, and TrainingError where loss, gradient
        or weights are not finite.
        """
        patience = self.session.recipe.patience
        while progress.epoch < self.stage.epochs:
            if patience and progress.epoch - progress.best_epoch > patience:
                logger.info("no better dev score in %d epochs: the stage ends here", patience)
                break
            self.train_one_epoch(progress)
        return progress

    def train_one_epoch(self, progress: TrainingProgress) -> None:
        """Train the rest of the epoch that `progress` is in, evaluate it on dev and save it."""
        plan, session = self.plan, self.session
        started = time.perf_counter()
        batches = plan.batches.epoch(
            plan.source, self.stage, plan.number, progress.epoch, progress.step
        )
        title = f"stage {plan.number + 1} epoch {progress.epoch + 1}"
        with session.log.bar(len(plan.batches), progress.step, title) as bar:
            # a step takes `accumulate` batches of the same iterator
            for parts in zip(*[batches] * session.recipe.accumulate, strict=True):
                stop = self.train_step(parts, progress, waited=time.perf_counter() - started)
                bar.update()
                progress.seconds += time.perf_counter() - started
                started = time.perf_counter()
                epoch_continues = progress.step < len(plan.batches)
                if stop or (epoch_continues and self.save_timer.due(progress.step)):
                    self.save(progress)
                if stop:
                    self._interrupt(progress)
        self._check_weights(progress)
        score = self._evaluate_epoch(progress)
        progress.seconds += time.perf_counter() - started
        metric = "concept_precision" if self.stage.objective == "concepts" else "cider"
        values = {"loss": progress.loss_sum / max(1, progress.tokens), metric: score}
        session.log.epoch(plan.number, progress.epoch, seconds=progress.seconds, **values)
        progress.start_next_epoch()
        self.save(progress)

    def train_step(self, parts: Sequence[Batch], progress: TrainingProgress, waited: float) -> bool:
        """Update the weights once; return whether a rank was asked to stop.

        `parts` are this rank's batches of the step. Losses and gradients are summed over parts and
        ranks to those of the whole step. `waited` is the time in seconds since the last
        step, saving included.
        """
        plan, ranks = self.plan, self.session.ranks
        self._seed(progress)
        self.model.train()
        steps = len(plan.batches)
        steps_done = progress.epoch * steps + progress.step
        learning_rate = self.optimizer.set_learning_rate(steps_done, self.stage.epochs * steps)
        loss, measured = self._backward(parts)
        loss, stop, *values = ranks.all_reduce_sum(
            [loss, float(self.session.stop_requested()), *measured.values()]
        )
        self._check_finite("the loss", loss, progress)
        norm = self.optimizer.clip_gradients()
        self._check_finite("the gradient's norm", norm, progress)
        self.optimizer.step()
        if self.average:
            self.average.update(self.model)
        photos, tokens = parts[0].step_size
        progress.add_step(loss, tokens)
        self.session.log.step(
            plan.number,
            progress.epoch,
            progress.step,
            steps_done + 1,
            loss=loss,
            learning_rate=learning_rate,
            gradient_norm=norm,
            captions=photos * plan.batches.captions_per_photo,
            photos=photos,
            waited=waited,
            **dict(zip(measured, values, strict=True)),
        )
        return bool(stop)

    def _seed(self, progress: TrainingProgress) -> None:
        """Seed dropout and sampling from the position alone; ranks after the first differ."""
        recipe, ranks = self.session.recipe, self.session.ranks
        position = (recipe.seed, self.plan.number, progress.epoch, progress.step)
        torch.manual_seed(step_seed(*position, *([] if ranks.first else [ranks.rank])))

    def _backward(self, parts: Sequence[Batch]) -> tuple[float, dict[str, float]]:
        """Compute this rank's gradient of a step; return its loss and the objective's values."""
        device, ranks = self.session.device, self.session.ranks
        half = use_bfloat16(self.session.recipe, device)
        total = 0.0
        measured: dict[str, float] = {}
        for number, part in enumerate(parts, 1):
            batch = part.to(device)
            with ranks.accumulate(self.loss, last=number == len(parts)):
                with torch.autocast(device.type, torch.bfloat16, enabled=half):
                    loss = self.loss(batch)
                total += loss.item()
                (loss * ranks.count).backward()  # DistributedDataParallel takes the mean over ranks
            share = batch.share.of_photos if batch.share else 1.0
            for name, value in self.plan.objective.values.items():
                measured[name] = measured.get(name, 0.0) + value * share
        return total, measured

    def _evaluate_epoch(self, progress: TrainingProgress) -> float:
        """Return the epoch's dev score, and save the weights that reached it if it is the best."""
        with self.average.applied(self.model) if self.average else contextlib.nullcontext():
            score = self.plan.score(progress.epoch)
            if score > progress.best_score or self.plan.keep_last:
                progress.best_score, progress.best_epoch = score, progress.epoch
                tag = f"{self.plan.number}-{progress.epoch}"
                tensors = trained_tensors(self.model)
                self.session.checkpoints.save("best", tag, progress, model=tensors)
        return score

    def save(self, progress: TrainingProgress) -> None:
        """Write the checkpoint `last`; raises TrainingError on weights that are not finite."""
        self._check_weights(progress)
        groups = {"model": trained_tensors(self.model), "optimizer": self.optimizer.tensors()}
        if self.average:
            groups |= self.average.tensors()
        tag = f"{progress.stage}-{progress.epoch}-{progress.step}"
        self.session.checkpoints.save("last", tag, progress, **groups)
        self.save_timer.restart()

    def restore(self) -> None:
        """Load the checkpoint `last` of this stage: weights, optimizer and average."""
        checkpoints = self.session.checkpoints
        load_weights(self.model, checkpoints.tensors("last", "model"))
        self.optimizer.restore(checkpoints.tensors("last", "optimizer"))
        if self.average:
            self.average.restore(checkpoints, self.session.device)

    def _check_weights(self, progress: TrainingProgress) -> None:
        """Stop before weights that are not finite replace good ones."""
        norm = float(nn.utils.get_total_norm([p.detach() for p in self.model.parameters()]))
        self._check_finite("the weights' norm", norm, progress)

    def _check_finite(self, what: str, value: float, progress: TrainingProgress) -> None:
        if not math.isfinite(value):
            raise AllRanksError(
                f"{what} is {value} at stage {self.plan.number}, epoch {progress.epoch}, step"
                f" {progress.step}: the last checkpoint is intact; train again with a lower"
                " learning_rate or a longer warmup"
            )

    def _interrupt(self, progress: TrainingProgress) -> None:
        self.session.ranks.barrier()  # torchrun ends the other ranks as soon as one has ended
        raise InterruptedTrainingError(
            f"stopped at stage {self.plan.number}, epoch {progress.epoch}, step {progress.step},"
            " all saved: resume with --resume auto"
        )


def use_bfloat16(recipe: Recipe, device: torch.device) -> bool:
    """Return whether matrix products run in bfloat16: by the recipe, or where it is faster."""
    if recipe.precision != "auto":
        return recipe.precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    flags = torch.backends.cpu.get_cpu_capability()
    return flags.startswith("AVX512") and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def load_weights(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Load tensors that `trained_tensors` returned; raises TrainingError where they do not fit."""
    missing, unknown = model.load_state_dict(tensors, strict=False)
    # tied weights are stored once, so that the other name is missing
    lacking = set(missing) & set(trained_tensors(model))
    if lacking or unknown:
        name = sorted(lacking | set(unknown))[0]
        raise TrainingError(f"checkpoint: '{name}' does not fit this model")
