"""Tokenised captions, with the results of the Java programs, which run once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from showtell.scoring import ScoringError
from showtell.scoring.coco import scorer_package
from showtell.scoring.java import JAVA_HINT, find_java
from showtell.scoring.meteor import align
from showtell.scoring.ptb import ptb_tokenize
from showtell.scoring.spice import SPICE_HINT, find_models, spice_scores
from showtell.vocabulary import tokenize

PTB_SCORER = "coco-caption, PTB tokenizer"
TOKENS_SCORER = "coco-caption, showtell tokens"
NO_JAVA_SCORER = "coco-caption, showtell tokens (no Java)"


@dataclass(frozen=True)
class TokenizedCaptions:
    """Captions and references as input of the scorers: tokens joined by spaces.

    `alignments` are METEOR's counts and `spice` is multiplied by 100, both per photo. `missing` has
    a line for each score that could not be computed.
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
    """Tokenise captions and run the Java programs: the slow half of `metrics.score_captions`.

    Takes the same arguments and raises the same errors.
    """
    package = scorer_package()
    check_captions(candidates, references)
    missing: list[str] = []
    java_program = find_java() if java else None
    if java and java_program is None:
        missing.append(f"METEOR and the PTB tokenizer need Java: {JAVA_HINT}")
    if java_program is not None:
        try:
            return _with_java(candidates, references, java_program, package, spice)
        except ScoringError as error:  # Java starts, but the tokenizer fails
            missing.append(f"{error}: scored without METEOR and the PTB tokenizer")
    if spice and not java:
        missing.append("SPICE needs Java, which is switched off")
    return TokenizedCaptions(
        tuple(candidates),
        tuple(map(showtell_tokens, candidates)),
        tuple(tuple(map(showtell_tokens, texts)) for texts in references),
        NO_JAVA_SCORER if java else TOKENS_SCORER,
        missing=tuple(missing),
    )


def showtell_tokens(text: str) -> str:
    """Return a caption as showtell's tokens, joined by spaces."""
    return " ".join(tokenize(text))


def check_captions(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Raise ScoringError, with the photo's number, if captions or references cannot be scored."""
    if not candidates:
        raise ScoringError("nothing to score: there are no captions")
    if len(candidates) != len(references):
        raise ScoringError(f"{len(candidates)} captions but references of {len(references)} photos")
    for number, texts in enumerate(references, start=1):
        if isinstance(texts, str):
            raise ScoringError(f"the references of photo {number} must be a list of captions")
        if not texts:
            raise ScoringError(f"photo {number} has no reference captions: leave it out")
    if not any(tokenize(text) for texts in references for text in texts):
        raise ScoringError("nothing to score against: no reference caption contains a word")


def _with_java(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    java: Path,
    package: Path,
    spice: bool | None,
) -> TokenizedCaptions:
    flat = [*candidates, *(text for texts in references for text in texts)]
    tokens = ptb_tokenize(flat, java, package)
    candidate_tokens = tuple(tokens[: len(candidates)])
    rest = iter(tokens[len(candidates) :])
    reference_tokens = tuple(tuple(next(rest) for _ in texts) for texts in references)
    missing: list[str] = []
    alignments = spices = None
    try:
        alignments = tuple(align(candidate_tokens, reference_tokens, java, package))
    except ScoringError as error:
        missing.append(f"no METEOR: {error}")
    models = None if spice is False else find_models(package)
    if models is not None:
        try:
            spices = tuple(spice_scores(candidate_tokens, reference_tokens, java, package, models))
        except ScoringError as error:
            missing.append(f"no SPICE: {error}")
    elif spice:
        missing.append(f"SPICE needs the models of Stanford CoreNLP: {SPICE_HINT}")
    return TokenizedCaptions(
        texts=tuple(candidates),
        candidates=candidate_tokens,
        references=reference_tokens,
        scorer=PTB_SCORER,
        alignments=alignments,
        spice=spices,
        missing=tuple(missing),
    )
