"""The options of decoding, defined once, and the search that they select.

The fields of `Decoding` are the options of `Captioner.caption`, of the command line, of the REST
API and of its client. Their metadata holds the bounds (`ge`, `gt`, `le`; see
`showtell.files.typed_settings`), the help text, and the strategy that alone has the option (`only`;
another strategy refuses it). tests/decoding/test_options.py holds the other
places where the options are written out equal to this definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypedDict, Unpack, get_args

import numpy as np

from showtell.decoding.beam_search import (
    Arrays,
    Decoder,
    Hypothesis,
    beam_search,
    diverse_beam_search,
    take_rows,
)
from showtell.decoding.self_joins import SelfJoins, WithoutSelfJoins
from showtell.files.typed_settings import check_limits

Strategy = Literal["beam", "diverse", "sample", "mbr"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
MBR_CANDIDATES = 10  # least number of captions among which `mbr` chooses, and width of its beam
# Weight of the candidates' probability in `mbr`. Chosen on Flickr8k's dev photos with an earlier
# model: 0.2 to 0.3 was better than 0 (agreement only) and better than probability only.
MBR_SHARPNESS = 0.25


@dataclass(frozen=True)
class DecodingDefaults:
    """The decoding options that belong to a model: what it uses where a caller gives none."""

    beam: int = field(default=3, metadata={"ge": 1, "le": 1000, "help": "Width of the beam."})
    length_penalty: float = field(
        default=1.0,
        metadata={
            "ge": 0,
            "le": 100,
            "help": "0 favours short captions, 1 does not: divides a caption's log-probability by"
            " its length to this power.",
        },
    )
    max_length: int = field(
        default=24, metadata={"ge": 1, "le": 1000, "help": "Largest number of words."}
    )
    no_repeat_ngram: int = field(
        default=0,
        metadata={
            "ge": 0,
            "le": 1000,
            "help": "No sequence of N words occurs twice, and no word follows itself; 0: no limit.",
        },
    )

    def __post_init__(self) -> None:
        check_limits(self)


@dataclass(frozen=True)
class Decoding(DecodingDefaults):
    """All options of decoding, checked: `Decoding.of` fills in a model's defaults.

    Raises ValueError, naming the option, where one is out of range or does not fit another.
    """

    strategy: Strategy = field(
        default="beam",
        metadata={
            "help": "beam: beam search. diverse: groups of a beam that avoid each other's words."
            " sample: random draws. mbr: of the best of a beam (at least ten), the caption that"
            " agrees most with the others (minimum Bayes risk)."
        },
    )
    nbest: int = field(
        default=1,
        metadata={
            "ge": 1,
            "le": 1000,
            "help": "Captions for each photo, best first; for sample, as drawn.",
        },
    )
    groups: int | None = field(
        default=None,
        metadata={
            "ge": 1,
            "le": 1000,
            "help": "Groups of the beam, for diverse; by default one per beam.",
            "only": "diverse",
        },
    )
    diversity: float = field(
        default=0.5,
        metadata={
            "ge": 0,
            "le": 100,
            "help": "Penalty for a word that another group uses, for diverse.",
            "only": "diverse",
        },
    )
    seed: int = field(
        default=0,
        metadata={
            "ge": 0,
            "le": 2**64 - 1,
            "help": "The same seed draws the same captions, for sample.",
        },
    )
    temperature: float = field(
        default=0.5,
        metadata={
            "ge": 0.01,
            "le": 100,
            "help": "Below 1 favours likely words, 1 is the model's distribution, for sample.",
            "only": "sample",
        },
    )
    top_k: int = field(
        default=0,
        metadata={
            "ge": 0,
            "le": 1_000_000,
            "help": "Draw only from the K likeliest words, for sample; 0: all.",
            "only": "sample",
        },
    )
    top_p: float = field(
        default=1.0,
        metadata={
            "gt": 0,
            "le": 1,
            "help": "Draw only from the likeliest words that together have probability P,"
            " for sample.",
            "only": "sample",
        },
    )

    def __post_init__(self) -> None:
        if not isinstance(self.strategy, str) or self.strategy not in STRATEGIES:
            raise ValueError(f"strategy: {self.strategy!r} is not one of {', '.join(STRATEGIES)}")
        check_limits(self)
        for option in fields(self):
            strategy = option.metadata.get("only", self.strategy)
            if strategy != self.strategy and getattr(self, option.name) != option.default:
                raise ValueError(f"{option.name}: only for strategy={strategy}")
        if self.strategy in ("beam", "diverse") and self.nbest > self.beam:
            raise ValueError(f"nbest: {self.nbest} is more than beam={self.beam} can find")
        if self.groups is not None and self.beam % self.groups:
            raise ValueError(f"groups: {self.groups} does not divide beam={self.beam}")

    @classmethod
    def of(cls, defaults: DecodingDefaults, **options: Unpack[CaptionOptions]) -> Decoding:
        """Return the options of one call: those given, and a model's defaults for the others.

        A beam that is not given is at least `nbest` wide. Raises ValueError where an option is
        out of range.
        """
        values: dict[str, Any] = {**options}
        given = {name: value for name, value in values.items() if value is not None}
        nbest = given.get("nbest", 1)
        beam = max(defaults.beam, nbest) if isinstance(nbest, int) else defaults.beam
        return cls(**{**asdict(defaults), "beam": beam, **given})

    def run(
        self,
        model: Decoder,
        features: Arrays,
        indices: Sequence[int],
        self_joins: SelfJoins | None = None,
    ) -> list[list[Hypothesis]]:
        """Return each photo's captions, best first; those of `sample` in the order drawn.

        A photo for which one of its `nbest` captions has one of the `self_joins` is searched again
        without them.

        `features` are arrays with one row per photo (see `Decoder`); `indices` are the photos'
        positions in the input, which seed the draws of `sample`. A photo has `nbest` hypotheses
        or more; fewer only where the model gives no others any probability, or groups of
        `diverse` find the same caption.
        """
        results = self._search(model, features, indices)
        if self_joins is None:
            return results
        again = [
            photo
            for photo, found in enumerate(results)
            if any(self_joins.are_in(hypothesis.tokens) for hypothesis in found[: self.nbest])
        ]
        if again:
            decoder, rows = (
                WithoutSelfJoins(model, self_joins),
                take_rows(features, np.array(again)),
            )
            better = self._search(decoder, rows, [indices[photo] for photo in again])
            for photo, found in zip(again, better, strict=True):
                results[photo] = found
        return results

    def _search(
        self, model: Decoder, features: Arrays, indices: Sequence[int]
    ) -> list[list[Hypothesis]]:
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
        if self.strategy == "mbr":
            from showtell.decoding.minimum_bayes_risk import minimum_bayes_risk

            beam = max(self.beam, self.nbest, MBR_CANDIDATES)
            return [
                minimum_bayes_risk(candidates, sharpness=MBR_SHARPNESS)
                for candidates in self._beam_search(model, features, beam=beam, nbest=beam)
            ]
        # The score of the second best enters the confidence of the best, at next to no cost.
        nbest = max(self.nbest, min(2, self.beam))
        return self._beam_search(model, features, beam=self.beam, nbest=nbest)

    def _beam_search(
        self, model: Decoder, features: Arrays, *, beam: int, nbest: int
    ) -> list[list[Hypothesis]]:
        shared: dict[str, Any] = {
            "beam": beam,
            "nbest": nbest,
            "length_penalty": self.length_penalty,
            "max_length": self.max_length,
            "no_repeat_ngram": self.no_repeat_ngram,
        }
        if self.strategy == "diverse":
            return diverse_beam_search(
                model, features, groups=self.groups, diversity=self.diversity, **shared
            )
        return beam_search(model, features, **shared)


class CaptionOptions(TypedDict, total=False):
    """The fields of `Decoding` as keyword arguments; None stands for the model's default."""

    strategy: Strategy
    beam: int | None
    nbest: int
    length_penalty: float | None
    max_length: int | None
    no_repeat_ngram: int | None
    groups: int | None
    diversity: float
    seed: int
    temperature: float
    top_k: int
    top_p: float
