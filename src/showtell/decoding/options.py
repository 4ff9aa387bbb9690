"""How captions are found: the options of `Captioner.caption`, checked, and the search they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from showtell.bundle import DecodingDefaults
from showtell.decoding.beam_search import (
    Arrays,
    Decoder,
    Hypothesis,
    beam_search,
    diverse_beam_search,
)

Strategy = Literal["beam", "diverse", "sample", "mbr"]
STRATEGIES: tuple[Strategy, ...] = ("beam", "diverse", "sample", "mbr")
CANDIDATES = 10  # captions that minimum-Bayes-risk choice looks at, from a beam as wide
# how much their probability counts; found on Flickr8k's dev photos with an earlier model, where
# anything from 0.2 to 0.3 beat both plain probability and none
SHARPNESS = 0.25


@dataclass(frozen=True)
class Decoding:
    """How captions are found; checked before the first photo is read."""

    strategy: Strategy
    beam: int
    nbest: int
    length_penalty: float
    max_length: int
    no_repeat_ngram: int
    groups: int | None
    diversity: float
    seed: int
    temperature: float
    top_k: int
    top_p: float

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise ValueError(f"strategy={self.strategy!r} is none of {', '.join(STRATEGIES)}")
        for name in ("beam", "nbest", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is less than 1")
        if self.strategy in ("beam", "diverse") and self.nbest > self.beam:
            raise ValueError(f"nbest={self.nbest} is more than beam={self.beam} can find")
        if self.groups is not None and (self.groups < 1 or self.beam % self.groups):
            raise ValueError(f"groups={self.groups} does not divide beam={self.beam}")
        for name in ("length_penalty", "no_repeat_ngram", "diversity", "top_k", "seed"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)} is negative")
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature} is not above 0")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p} is not above 0 and at most 1")

    @classmethod
    def of(
        cls,
        defaults: DecodingDefaults,
        *,
        strategy: Strategy = "beam",
        beam: int | None = None,
        nbest: int = 1,
        length_penalty: float | None = None,
        max_length: int | None = None,
        no_repeat_ngram: int | None = None,
        groups: int | None = None,
        diversity: float = 0.5,
        seed: int = 0,
        temperature: float = 0.5,
        top_k: int = 0,
        top_p: float = 1.0,
    ) -> Decoding:
        """Return the options of `Captioner.caption`, those not given as the model has them.

        Raises ValueError where one is out of range.
        """
        return cls(
            strategy=strategy,
            beam=max(defaults.beam, nbest) if beam is None else beam,
            nbest=nbest,
            length_penalty=defaults.length_penalty if length_penalty is None else length_penalty,
            max_length=defaults.max_length if max_length is None else max_length,
            no_repeat_ngram=(
                defaults.no_repeat_ngram if no_repeat_ngram is None else no_repeat_ngram
            ),
            groups=groups,
            diversity=diversity,
            seed=seed,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        )

    def run(self, model: Decoder, features: Arrays, indices: list[int]) -> list[list[Hypothesis]]:
        """Find each photo's captions, best first, at least `nbest` where there are so many."""
        if self.strategy == "sample":
            from showtell.decoding.sampling import sample

            return sample(
                model,
                features,
                samples=self.nbest,
                temperature=self.temperature,
                top_k=self.top_k,
                top_p=self.top_p,
                seed=self.seed,
                indices=indices,
                length_penalty=self.length_penalty,
                max_length=self.max_length,
            )
        consensus = self.strategy == "mbr"
        beam = max(self.beam, self.nbest, CANDIDATES) if consensus else self.beam
        shared: dict[str, Any] = {
            "beam": beam,
            # the second best says how sure the first is, and costs next to nothing
            "nbest": beam if consensus else max(self.nbest, min(2, beam)),
            "length_penalty": self.length_penalty,
            "max_length": self.max_length,
            "no_repeat_ngram": self.no_repeat_ngram,
        }
        if self.strategy == "diverse":
            return diverse_beam_search(
                model, features, groups=self.groups, diversity=self.diversity, **shared
            )
        found = beam_search(model, features, **shared)
        if consensus:
            from showtell.decoding.minimum_bayes_risk import minimum_bayes_risk

            return [minimum_bayes_risk(own, sharpness=SHARPNESS) for own in found]
        return found
