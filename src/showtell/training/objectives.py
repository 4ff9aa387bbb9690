"""What a stage minimises: cross-entropy of the references, or minus the expected CIDEr.

An objective takes a batch to a loss; model, data and optimizer know nothing of which one it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from showtell.nets.decoder import Decoder
from showtell.nets.model import CaptionModel
from showtell.training.batches import Batch, Part, collate
from showtell.training.distributed import ALONE, Ranks
from showtell.training.rewards import Reward
from showtell.vocabulary import END, PAD, START, UNKNOWN

NEVER = (PAD, START, UNKNOWN)  # ids that decoding never emits


class Objective(Protocol):
    """A loss over a batch; `values` holds what it measured on the way, for the log."""

    values: dict[str, float]

    def loss(self, model: CaptionModel, batch: Batch) -> Tensor:
        """Return the loss of a batch, a scalar with gradient; of a part, its share of the sum."""
        ...


def features_of(model: CaptionModel, batch: Batch) -> dict[str, Tensor]:
    """Return a batch's features: as cached, or from its pixels by the encoder."""
    if "pixels" not in batch.features:
        return batch.features
    pixels = batch.features["pixels"].contiguous(memory_format=torch.channels_last)
    # On a CPU convolutions stay in float32; on a GPU they run as the recipe says.
    kind = pixels.device.type
    with torch.autocast(kind, enabled=kind == "cuda" and torch.is_autocast_enabled(kind)):
        features: dict[str, Tensor] = model.encoder(pixels)
    return features


class CrossEntropy:
    """Teacher forcing: the mean over tokens, END included, of the references' cross-entropy.

    With label smoothing (Szegedy et al., Rethinking the Inception Architecture, 2016). With a
    `teacher`, the share `distill` of each word to learn is the teacher's distribution of the next
    word (Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015; Furlanello
    et al., Born-Again Neural Networks, 2018).
    """

    def __init__(
        self, smoothing: float, teacher: Decoder | None = None, distill: float = 0.0
    ) -> None:
        self.smoothing = smoothing
        self.teacher = teacher
        self.distill = distill
        self.values: dict[str, float] = {}

    def loss(self, model: CaptionModel, batch: Batch) -> Tensor:
        """Return the cross-entropy, in nats a token."""
        features = features_of(model, batch)
        targets = batch.packing.pack(batch.targets)  # (tokens,)
        taught = self._taught(features, batch)
        losses = []
        for logits in model.decoder.member_logits(features, batch.inputs, batch.packing):
            scores = logits.float().log_softmax(-1)  # (tokens, words)
            of_token = functional.nll_loss(scores, targets, reduction="none")
            if self.smoothing:
                of_token = of_token.lerp(-scores.mean(-1), self.smoothing)
            if taught is not None:
                of_token = of_token.lerp(-(taught * scores).sum(-1), self.distill)
            losses.append(of_token.mean())
        loss = torch.stack(losses).mean()
        return loss * batch.part.of_tokens if batch.part else loss

    def _taught(self, features: dict[str, Tensor], batch: Batch) -> Tensor | None:
        """Return the teacher's probabilities of each next word [tokens, words]."""
        if self.teacher is None:
            return None
        with torch.no_grad():
            told: Tensor = self.teacher(features, batch.inputs, batch.packing)
        return told.float().softmax(-1)


class SelfCritical:
    """Policy gradient on CIDEr, each sample judged against the others of its photo.

    Self-Critical Sequence Training for Image Captioning (Rennie et al., 2017) with the mean of a
    photo's other samples as baseline (Luo, A Better Variant of Self-Critical Sequence Training,
    2020). The model samples without dropout, in steps; one teacher-forced pass over the samples
    then gives all log-probabilities and the gradient. END is part of the reward's n-grams, so
    that a sentence that breaks off scores less.
    """

    def __init__(
        self,
        reward: Reward,
        samples: int,
        *,
        max_length: int,
        temperature: float = 1.0,
        cross_entropy: float = 0.0,
        ranks: Ranks = ALONE,
    ) -> None:
        self.reward = reward
        self.ranks = ranks
        self.samples = samples
        self.max_length = max_length
        self.temperature = temperature
        self.cross_entropy = cross_entropy
        self.values: dict[str, float] = {}

    def loss(self, model: CaptionModel, batch: Batch) -> Tensor:
        """Return minus the samples' log-probability weighted by their advantage, a token."""
        features = features_of(model, batch)
        references = CrossEntropy(0.0).loss(model, batch) if self.cross_entropy else None
        model.decoder.eval()
        with torch.no_grad():
            sampled = sample_captions(
                model.decoder,
                features,
                self.samples,
                self.max_length,
                self.temperature,
                _draw_of(batch.part, self.samples),
            )
        rewards = torch.tensor(
            [
                self.reward.score(batch.photos[row // self.samples], words)
                for row, words in enumerate(sampled)
            ]
        ).view(-1, self.samples)  # (photos, samples)
        total = rewards.sum(1, keepdim=True)
        advantage = rewards - (total - rewards) / (self.samples - 1)
        said = collate({}, [words[:-1] if words[-1] == END else words for words in sampled])
        said = said.to(next(iter(features.values())).device)
        logits = model.decoder(features, said.inputs, said.packing).float()
        logits[:, list(NEVER)] = -torch.inf
        targets = said.packing.pack(said.targets)
        chosen = -functional.cross_entropy(logits / self.temperature, targets, reduction="none")
        row = said.packing.index // said.packing.steps
        weight = advantage.flatten().to(chosen.device)[row]
        # a sample that was cut off never chose END
        ended = torch.tensor([words[-1] == END for words in sampled], device=chosen.device)
        real = (targets != END) | ended[row]
        loss = -(weight * chosen * real).sum() / self._tokens(real, batch.part)
        if batch.part:
            loss = loss * (batch.part.of_time if batch.part.of_photos else 0.0)
        self.values = {
            "reward": float(rewards.mean()),
            "sampled_words": sum(len(words) for words in sampled) / len(sampled),
        }
        return loss if references is None else loss + self.cross_entropy * references

    def _tokens(self, real: Tensor, part: Part | None) -> Tensor | float:
        """Return how many sampled tokens there are, all ranks' where each has a part."""
        if part is None:
            return real.sum()
        [tokens] = self.ranks.sums([float(real.sum()) if part.of_photos else 0.0])
        return tokens


Draw = Callable[[Tensor], Tensor]


def _draw_once(probabilities: Tensor) -> Tensor:
    return torch.multinomial(probabilities, 1).squeeze(1)


def _draw_of(part: Part | None, samples: int) -> Draw:
    """Return how a part of a step draws words: as the step would draw them if it were one batch.

    The draw is the one of torch.multinomial, with the chance of all rows drawn on every rank.
    """
    if part is None:
        return _draw_once
    rows, first = part.photos * samples, part.first * samples
    chance: dict[torch.device, torch.Generator] = {}

    def draw(probabilities: Tensor) -> Tensor:
        device = probabilities.device
        if device not in chance:
            chance[device] = torch.Generator(device).manual_seed(part.seed)
        every = probabilities.new_empty(rows, probabilities.shape[1])
        every.exponential_(generator=chance[device])
        own = every[first : first + len(probabilities)] if part.of_photos else every[:samples]
        return (probabilities / own).argmax(1)

    return draw


def sample_captions(
    decoder: Decoder,
    features: dict[str, Tensor],
    samples: int,
    max_length: int,
    temperature: float = 1.0,
    draw: Draw = _draw_once,
) -> list[list[int]]:
    """Sample captions word by word, `samples` a photo, grouped by photo; END included.

    A caption that does not end within `max_length` words has no END. None is empty. `draw` takes
    probabilities [rows, words] to a word for each row.
    """
    memory, state = decoder.init_state({name: features[name] for name in decoder.needs})
    state = {name: array.repeat_interleave(samples, 0) for name, array in state.items()}
    rows = len(next(iter(state.values())))
    device = next(iter(state.values())).device
    tokens = torch.full((rows,), START, device=device)
    ended = torch.zeros(rows, dtype=torch.bool, device=device)
    steps: list[Tensor] = []
    for step in range(max_length):
        scores, _, state = decoder.step(tokens, memory, state)
        scores[:, list(NEVER) if step else [*NEVER, END]] = -torch.inf
        drawn = draw((scores / temperature).softmax(-1))
        tokens = torch.where(ended, torch.full_like(drawn, END), drawn)
        steps.append(tokens)
        ended |= tokens == END
        if bool(ended.all()):
            break
    return [_until_end(words) for words in torch.stack(steps, 1).tolist()]


def _until_end(words: Sequence[int]) -> list[int]:
    words = list(words)
    return words[: words.index(END) + 1] if END in words else words
