"""Captions made ready for the scorers: tokenised, and with Java's work on them done once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from showtell.scoring import ScoringError
from showtell.scoring.coco import scorer_package
from showtell.scoring.java import HOW_TO_GET, find_java
from showtell.scoring.meteor import align
from showtell.scoring.ptb import ptb_tokenize
from showtell.scoring.spice import HOW_TO_GET as HOW_TO_GET_SPICE
from showtell.scoring.spice import find_models, spice_scores
from showtell.vocabulary import tokenize

PTB_SCORER = "coco-caption, PTB tokenizer"
TOKENS_SCORER = "coco-caption, showtell tokens"
NO_JAVA_SCORER = "coco-caption, showtell tokens (no Java)"


@dataclass(frozen=True)
class TokenizedCaptions:
    """Captions and references as the scorers see them: words joined by spaces.

    What Java computes is in here too: `alignments` are METEOR's counts, `spice` is in hundredths.
    `missing` says what could not be computed, a line each.
    """

    texts: tuple[str, ...]
    candidates: tuple[str, ...]
    references: tuple[tuple[str, ...], ...]
    scorer: str
    alignments: tuple[tuple[float, ...], ...] | None = None
    spice: tuple[float | None, ...] | None = None
    missing: tuple[str, ...] = ()


def tokenize_captions(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    java: bool = True,
    spice: bool | None = None,
) -> TokenizedCaptions:
    """Tokenise for the scorers, and do all that needs Java: the slow half of `score_captions`.

    Takes the same arguments as `metrics.score_captions` and raises the same errors.
    """
    package = scorer_package()
    check_captions(candidates, references)
    missing: list[str] = []
    program = find_java() if java else None
    if java and program is None:
        missing.append(f"METEOR and the PTB tokenizer need Java: {HOW_TO_GET}")
    if program is not None:
        try:
            return _with_java(candidates, references, program, package, spice)
        except ScoringError as error:  # a Java that starts and then fails: score what can be
            missing.append(f"{error}: scored without METEOR and the PTB tokenizer")
    if spice and not java:
        missing.append("SPICE needs Java, which was not asked for")
    return TokenizedCaptions(
        tuple(candidates),
        tuple(map(showtell_tokens, candidates)),
        tuple(tuple(map(showtell_tokens, own)) for own in references),
        NO_JAVA_SCORER if java else TOKENS_SCORER,
        missing=tuple(missing),
    )


def showtell_tokens(text: str) -> str:
    """Return a caption in showtell's own tokens, joined by spaces."""
    return " ".join(tokenize(text))


def check_captions(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Raise ScoringError where captions and references cannot be scored, saying which photo."""
    if not candidates:
        raise ScoringError("nothing to score: there are no captions")
    if len(candidates) != len(references):
        raise ScoringError(f"{len(candidates)} captions but references of {len(references)} photos")
    for place, own in enumerate(references, start=1):
        if isinstance(own, str):
            raise ScoringError(f"the references of photo {place} must be a list of captions")
        if not own:
            raise ScoringError(f"photo {place} has no reference captions: leave it out")
    if not any(tokenize(reference) for own in references for reference in own):
        raise ScoringError("nothing to score against: no reference caption holds a word")


def _with_java(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    java: Path,
    package: Path,
    spice: bool | None,
) -> TokenizedCaptions:
    flat = [*candidates, *(reference for own in references for reference in own)]
    tokens = ptb_tokenize(flat, java, package)
    said, rest = tuple(tokens[: len(candidates)]), iter(tokens[len(candidates) :])
    grouped = tuple(tuple(next(rest) for _ in own) for own in references)
    missing: list[str] = []
    alignments = spices = None
    try:
        alignments = tuple(align(said, grouped, java, package))
    except ScoringError as error:
        missing.append(f"no METEOR: {error}")
    models = None if spice is False else find_models(package)
    if models is not None:
        try:
            spices = tuple(spice_scores(said, grouped, java, package, models))
        except ScoringError as error:
            missing.append(f"no SPICE: {error}")
    elif spice:
        missing.append(f"SPICE needs the models of Stanford CoreNLP: {HOW_TO_GET_SPICE}")
    return TokenizedCaptions(
        tuple(candidates), said, grouped, PTB_SCORER, alignments, spices, tuple(missing)
    )
