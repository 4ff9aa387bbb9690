"""What a stage minimises: the cross-entropy of references, or minus the expected CIDEr.

An objective turns a batch into a loss. Model, data and optimizer are the same for all objectives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from showtell.nets.decoder import DecoderNetwork
from showtell.nets.model import CaptionModel
from showtell.training.batches import Batch, BatchShare, collate
from showtell.training.distributed import SINGLE, Ranks
from showtell.training.rewards import Reward
from showtell.vocabulary import END, PAD, START, UNKNOWN

NEVER_EMITTED = (PAD, START, UNKNOWN)  # ids that decoding never emits


class Objective(Protocol):
    """A loss over a batch; `values` holds measurements of the last batch, for the log."""

    values: dict[str, float]

    def loss(self, model: CaptionModel, batch: Batch) -> Tensor:
        """Return the loss, a scalar with gradient; for a share of a step, its share of the loss."""
        ...


def batch_features(model: CaptionModel, batch: Batch) -> dict[str, Tensor]:
    """Return a batch's features: cached ones, or those that the encoder computes from pixels."""
    if "pixels" not in batch.features:
        return batch.features
    pixels = batch.features["pixels"].contiguous(memory_format=torch.channels_last)
    # on a CPU convolutions stay in float32; on a GPU they follow the recipe
    kind = pixels.device.type
    with torch.autocast(kind, enabled=kind == "cuda" and torch.is_autocast_enabled(kind)):
        features: dict[str, Tensor] = model.encoder(pixels)
    return features


class CrossEntropy:
    """Teacher forcing: the mean cross-entropy of the references' tokens, END included.

    With label smoothing (Szegedy et al., Rethinking the Inception Architecture, 2016). With a
    `teacher`, the share `distill` of each target is the teacher's distribution of the next word
    (Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015; Furlanello et
    al., Born-Again Neural Networks, 2018).

    A teacher that knows only the first `known_words` of the vocabulary reads captions without the
    other words, which would confuse it, and teaches nothing where one of them is the target. So
    the decoder learns new words from the references, and forgets little of what it knew.
    """

    def __init__(
        self,
        smoothing: float,
        teacher: DecoderNetwork | None = None,
        distill: float = 0.0,
        known_words: int | None = None,
    ) -> None:
        self.smoothing = smoothing
        self.teacher = teacher
        self.distill = distill
        self.known_words = known_words
        self.values: dict[str, float] = {}

    def loss(self, model: CaptionModel, batch: Batch) -> Tensor:
        """Return the cross-entropy in nats per token."""
        features = batch_features(model, batch)
        targets = batch.packing.pack(batch.targets)  # [tokens]
        teacher = self._teacher_probabilities(features, batch)  # [tokens, words] or None
        distill = self._distill_share(targets)  # [tokens]
        losses = []
        for logits in model.decoder.member_logits(features, batch.inputs, batch.packing):
            scores = logits.float().log_softmax(-1)  # [tokens, words]
            token_losses = functional.nll_loss(scores, targets, reduction="none")  # [tokens]
            if self.smoothing:
                token_losses = token_losses.lerp(-scores.mean(-1), self.smoothing)
            if teacher is not None:
                token_losses = token_losses.lerp(-(teacher * scores).sum(-1), distill)
            losses.append(token_losses.mean())
        loss = torch.stack(losses).mean()
        return loss * batch.share.of_tokens if batch.share else loss

    def _teacher_probabilities(self, features: dict[str, Tensor], batch: Batch) -> Tensor | None:
        """Return the teacher's probabilities of the next word, [tokens, words]."""
        if self.teacher is None:
            return None
        known = batch if self.known_words is None else without_new_words(batch, self.known_words)
        with torch.no_grad():
            logits: Tensor = self.teacher(features, known.inputs, known.packing)
        probabilities = logits.float().softmax(-1)
        if self.known_words is None:
            return probabilities
        # the teacher's step at a token: the number of known words before it
        is_known = batch.inputs < self.known_words  # [rows, steps], START included
        steps = (is_known.cumsum(1) - 1).clamp(max=known.inputs.shape[1] - 1)  # [rows, steps]
        rows = torch.arange(len(steps), device=steps.device)[:, None].expand_as(steps)
        padded = known.packing.unpack(probabilities)  # [rows, steps of the teacher, words]
        return padded[batch.packing.pack(rows), batch.packing.pack(steps)]

    def _distill_share(self, targets: Tensor) -> Tensor:
        """Return the teacher's share of the target of each token, [tokens]."""
        share = torch.full(targets.shape, self.distill, device=targets.device)
        return share if self.known_words is None else share * (targets < self.known_words)


def without_new_words(batch: Batch, known_words: int) -> Batch:
    """Return a batch whose captions have only words with an id below `known_words`."""
    captions = [
        [word for word in row if END < word < known_words] for row in batch.targets.tolist()
    ]
    return collate(batch.features, captions).to(batch.targets.device)


class SelfCritical:
    """Policy gradient on CIDEr; the baseline of a sample is the mean of the photo's other samples.

    Self-Critical Sequence Training for Image Captioning (Rennie et al., 2017) with the baseline of
    Luo, A Better Variant of Self-Critical Sequence Training, 2020. The model samples captions word
    by word, without dropout. One teacher-forced pass over the samples then gives all
    log-probabilities and the gradient. END is part of the reward's n-grams, so that an incomplete
    sentence scores less.
    """

    def __init__(
        self,
        reward: Reward,
        samples: int,
        *,
        max_length: int,
        temperature: float = 1.0,
        cross_entropy: float = 0.0,
        ranks: Ranks = SINGLE,
    ) -> None:
        self.reward = reward
        self.ranks = ranks
        self.samples = samples
        self.max_length = max_length
        self.temperature = temperature
        self.cross_entropy = cross_entropy
        self.values: dict[str, float] = {}

    def loss(self, model: CaptionModel, batch: Batch) -> Tensor:
        """Return minus the samples' log-probability weighted by their advantage, per token."""
        features = batch_features(model, batch)
        references = CrossEntropy(0.0).loss(model, batch) if self.cross_entropy else None
        model.decoder.eval()
        with torch.no_grad():
            sampled = sample_captions(
                model.decoder,
                features,
                self.samples,
                self.max_length,
                self.temperature,
                _sampler(batch.share, self.samples),
            )
        rewards = torch.tensor(
            [
                self.reward.score(batch.photos[row // self.samples], words)
                for row, words in enumerate(sampled)
            ]
        ).view(-1, self.samples)  # [photos, samples]
        total = rewards.sum(1, keepdim=True)  # [photos, 1]
        advantage = rewards - (total - rewards) / (self.samples - 1)  # [photos, samples]
        captions = collate({}, [words[:-1] if words[-1] == END else words for words in sampled])
        captions = captions.to(next(iter(features.values())).device)
        packing = captions.packing
        logits = model.decoder(features, captions.inputs, packing).float()  # [tokens, words]
        logits[:, list(NEVER_EMITTED)] = -torch.inf
        targets = packing.pack(captions.targets)  # [tokens]
        log_probabilities = -functional.cross_entropy(
            logits / self.temperature, targets, reduction="none"
        )  # [tokens]
        row = packing.index // packing.steps  # the caption of each token
        weight = advantage.flatten().to(targets.device)[row]  # [tokens]
        # a sample that reached the maximum length did not choose END
        ended = torch.tensor([words[-1] == END for words in sampled], device=targets.device)
        is_sampled = (targets != END) | ended[row]  # [tokens]
        loss = -(weight * log_probabilities * is_sampled).sum()
        loss = loss / self._count_tokens(is_sampled, batch.share)
        if batch.share:
            loss = loss * (batch.share.of_turn if batch.share.of_photos else 0.0)
        self.values = {
            "reward": float(rewards.mean()),
            "sampled_words": sum(len(words) for words in sampled) / len(sampled),
        }
        return loss if references is None else loss + self.cross_entropy * references

    def _count_tokens(self, is_sampled: Tensor, share: BatchShare | None) -> Tensor | float:
        """Return the number of sampled tokens, of all ranks where the step is divided."""
        if share is None:
            return is_sampled.sum()
        [tokens] = self.ranks.all_reduce_sum([float(is_sampled.sum()) if share.of_photos else 0.0])
        return tokens


Sampler = Callable[[Tensor], Tensor]  # probabilities [rows, words] to a word for each row


def _sample(probabilities: Tensor) -> Tensor:
    return torch.multinomial(probabilities, 1).squeeze(1)


def _sampler(share: BatchShare | None, samples: int) -> Sampler:
    """Return a sampler that gives a share of a step the words that the whole step would sample.

    It computes what torch.multinomial does, from random numbers for all rows of the step, which
    every rank generates with the same seed.
    """
    if share is None:
        return _sample
    rows, first = share.photos * samples, share.first * samples
    generators: dict[torch.device, torch.Generator] = {}

    def sample(probabilities: Tensor) -> Tensor:
        device = probabilities.device
        if device not in generators:
            generators[device] = torch.Generator(device).manual_seed(share.seed)
        noise = probabilities.new_empty(rows, probabilities.shape[1])  # [rows of the step, words]
        noise.exponential_(generator=generators[device])
        noise = noise[first : first + len(probabilities)] if share.of_photos else noise[:samples]
        return (probabilities / noise).argmax(1)

    return sample


def sample_captions(
    decoder: DecoderNetwork,
    features: dict[str, Tensor],
    samples: int,
    max_length: int,
    temperature: float = 1.0,
    sampler: Sampler = _sample,
) -> list[list[int]]:
    """Sample `samples` captions per photo, word by word, grouped by photo; END included.

    A caption that does not end within `max_length` words has no END. No caption is empty.
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
        scores[:, list(NEVER_EMITTED) if step else [*NEVER_EMITTED, END]] = -torch.inf
        sampled = sampler((scores / temperature).softmax(-1))  # [rows]
        tokens = torch.where(ended, torch.full_like(sampled, END), sampled)
        steps.append(tokens)
        ended |= tokens == END
        if bool(ended.all()):
            break
    return [_until_end(words) for words in torch.stack(steps, 1).tolist()]


def _until_end(words: Sequence[int]) -> list[int]:
    words = list(words)
    return words[: words.index(END) + 1] if END in words else words
