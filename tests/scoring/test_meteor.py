from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from showtell.scoring import ScoringError
from showtell.scoring.meteor import align
from showtell.scoring.statistics import meteor, meteor_counts, meteor_settings


def test_a_failing_jar_is_an_error_and_does_not_hang(package: Path, tmp_path: Path) -> None:
    program = tmp_path / "java"
    program.write_text("#!/bin/sh\necho 'java.lang.OutOfMemoryError: heap' >&2; exit 3\n")
    program.chmod(0o755)
    with pytest.raises(ScoringError, match=r"METEOR failed: java\.lang\.OutOfMemoryError"):
        align(["a dog"] * 20000, [["a dog that runs over a field"] * 5] * 20000, program, package)


def test_output_other_than_counts_is_an_error(package: Path, tmp_path: Path) -> None:
    program = tmp_path / "java"
    program.write_text("#!/bin/sh\ncat > /dev/null; echo 0,5 0,3\n")
    program.chmod(0o755)
    with pytest.raises(ScoringError, match="did not return numbers"):
        align(["a dog"], [["a dog"]], program, package)


def test_an_exact_match_scores_one_and_adds_no_chunk_to_a_sum() -> None:
    # METEOR 1.5's own line for "a man runs" against itself.
    line = "3.0 3.0 1.0 1.0 2.0 2.0 1.0 1.0" + " 0.0" * 12 + " 1.0 3.0 3.0"
    counts = np.array(meteor_counts(line))
    assert meteor(counts) == pytest.approx(1.0)
    assert meteor(counts * 5) == pytest.approx(1.0)


def test_a_caption_without_matches_scores_zero() -> None:
    assert meteor(np.zeros((2, 23))).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("code", "candidate", "reference", "expected"),
    [
        # the jar's own "Final score" with -l and -m "exact stem"
        (
            "de",
            "ein hunde rennt im schnee",
            "ein hund rennt durch den schnee",
            0.46302521008403363,
        ),
        ("fr", "un chien court", "des chiens courent dans la neige", 0.014035087719298246),
        ("es", "un perro corre", "los perros corren por la nieve", 0.2575957659510113),
    ],
)
def test_meteor_in_other_languages_equals_that_of_the_jar(
    java: Path, package: Path, code: str, candidate: str, reference: str, expected: float
) -> None:
    settings = meteor_settings(code)
    assert settings is not None
    counts = np.array(align([candidate], [[reference]], java, package, settings))
    assert meteor(counts, settings)[0] == pytest.approx(expected, abs=1e-12)


def test_a_language_without_settings_has_no_meteor() -> None:
    assert meteor_settings("zh-Hant") is None
    assert meteor_settings("de-AT") == meteor_settings("de")
