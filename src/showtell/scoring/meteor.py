"""METEOR's alignments from the METEOR 1.5 jar of pycocoevalcap.

pycocoevalcap's own wrapper keeps a process and a lock: an exception while it holds the lock hangs
the interpreter at exit, and nothing reads the process's standard error. Here, one run of the jar
aligns all captions. The scores are the same (tested).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from showtell.scoring import ScoringError
from showtell.scoring.java import run_java
from showtell.scoring.statistics import ENGLISH_METEOR, MeteorSettings, meteor_counts


def align(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    java: Path,
    package: Path,
    settings: MeteorSettings = ENGLISH_METEOR,
) -> list[tuple[float, ...]]:
    """Align each tokenised caption with its references and return the counts for METEOR.

    `package` is the folder of pycocoevalcap. `statistics.meteor` computes scores from the counts,
    with the same `settings`.
    Raises ScoringError if the jar fails.
    """
    arguments: list[str | Path] = ["-jar", "-Xmx2G", package / "meteor" / "meteor-1.5.jar"]
    arguments += ["-", "-", "-stdio", "-l", settings.language, "-norm"]
    if settings != ENGLISH_METEOR:
        arguments += ["-m", settings.modules]
    text = "".join(
        _request(candidate, photo_references)
        for candidate, photo_references in zip(candidates, references, strict=True)
    )
    lines = run_java(java, arguments, text, "METEOR").splitlines()
    if len(lines) != len(candidates):
        raise ScoringError(f"METEOR returned {len(lines)} lines for {len(candidates)} captions")
    try:
        return [meteor_counts(line) for line in lines]
    except ValueError as error:
        raise ScoringError(f"METEOR did not return numbers ({error})") from None


def _request(candidate: str, references: Sequence[str]) -> str:
    # Three bars separate the fields; the other replacement is the one of pycocoevalcap.
    candidate = candidate.replace("|||", "").replace("  ", " ")
    fields = [reference.replace("|||", "") for reference in references]
    return " ||| ".join(["SCORE", *fields, candidate]) + "\n"
