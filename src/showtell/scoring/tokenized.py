"""Tokenised captions, with the results of the Java programs, which run once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from showtell.language.languages import ENGLISH, Language
from showtell.scoring import ScoringError
from showtell.scoring.coco import scorer_package
from showtell.scoring.java import JAVA_HINT, find_java
from showtell.scoring.meteor import align
from showtell.scoring.ptb import ptb_tokenize
from showtell.scoring.spice import SPICE_HINT, find_models, spice_scores
from showtell.scoring.statistics import meteor_settings

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
    language: Language = ENGLISH


def tokenize_captions(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    language: Language = ENGLISH,
    java: bool = True,
    spice: bool | None = None,
) -> TokenizedCaptions:
    """Tokenise captions and run the Java programs: the slow half of `metrics.score_captions`.

    Takes the same arguments and raises the same errors.
    """
    package = scorer_package()
    check_captions(candidates, references, language)
    if language.base != ENGLISH.base:
        return _in_other_language(candidates, references, language, package, java=java)
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
    scorer = NO_JAVA_SCORER if java else TOKENS_SCORER
    return _with_showtell_tokens(candidates, references, scorer, language, missing=missing)


def tokens_scorer(language: Language) -> str:
    """Return the name of the scorer on showtell's tokens of a language other than English."""
    unit = "words" if language.spaced else "characters"
    scorer = f"coco-caption, showtell's {language.name} {unit} (rule {language.rule})"
    settings = meteor_settings(language.code)
    if settings is None:
        return scorer
    return f"{scorer}, METEOR {settings.language} with Snowball stems, without paraphrases"


def showtell_tokens(text: str, language: Language = ENGLISH) -> str:
    """Return a caption as showtell's tokens, joined by spaces."""
    return " ".join(language.words(text))


def _in_other_language(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    language: Language,
    package: Path,
    *,
    java: bool,
) -> TokenizedCaptions:
    """Return showtell's tokens, with METEOR's alignments if it has settings for the language."""
    captions = _with_showtell_tokens(
        candidates, references, tokens_scorer(language), language, missing=()
    )
    settings = meteor_settings(language.code)
    if settings is None:
        return replace(captions, missing=(f"no METEOR: it has no settings for {language.name}",))
    program = find_java() if java else None
    if program is None:
        return replace(captions, missing=(f"METEOR needs Java: {JAVA_HINT}",) if java else ())
    try:
        aligned = align(captions.candidates, captions.references, program, package, settings)
    except ScoringError as error:
        return replace(captions, missing=(f"no METEOR: {error}",))
    return replace(captions, alignments=tuple(aligned))


def _with_showtell_tokens(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    scorer: str,
    language: Language,
    *,
    missing: Sequence[str],
) -> TokenizedCaptions:
    return TokenizedCaptions(
        tuple(candidates),
        tuple(showtell_tokens(text, language) for text in candidates),
        tuple(tuple(showtell_tokens(text, language) for text in texts) for texts in references),
        scorer,
        missing=tuple(missing),
        language=language,
    )


def check_captions(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    language: Language = ENGLISH,
) -> None:
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
    if not any(language.words(text) for texts in references for text in texts):
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
