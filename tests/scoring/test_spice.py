"""SPICE's models are 440 MB and never downloaded, so what surrounds the jar is tested here."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from showtell.scoring import ScoringError
from showtell.scoring.metrics import score_captions
from showtell.scoring.spice import JARS, MODELS_VARIABLE, find_models, spice_scores


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    for jar in JARS:
        (folder / jar).touch()
    return folder


@pytest.fixture
def scorer(tmp_path: Path) -> Path:
    """A stand-in for Java that answers as the SPICE jar does, with the n-th caption at 0.n."""
    program = tmp_path / "java"
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        "given = json.load(open(sys.argv[sys.argv.index('edu.anu.spice.SpiceScorer') + 1]))\n"
        "scores = [{'image_id': g['image_id'], 'scores': {'All': {'f': g['image_id'] / 10"
        " if g['test'] else None}}} for g in reversed(given)]\n"
        "json.dump(scores, open(sys.argv[sys.argv.index('-out') + 1], 'w'))\n"
    )
    program.chmod(0o755)
    return program


def test_models_are_found_by_the_variable_or_beside_the_jar(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(MODELS_VARIABLE, raising=False)
    assert find_models(tmp_path) is None
    monkeypatch.setenv(MODELS_VARIABLE, str(models))
    assert find_models(tmp_path) == models
    (models / JARS[1]).unlink()
    assert find_models(tmp_path) is None


def test_scores_come_back_in_the_order_of_the_captions(
    scorer: Path, models: Path, package: Path
) -> None:
    scores = spice_scores(["a", "b", ""], [["a"], ["b"], ["c"]], scorer, package, models)
    assert scores == [0.0, 10.0, None]


def test_a_jar_that_writes_no_result_is_an_error(
    models: Path, package: Path, tmp_path: Path
) -> None:
    program = tmp_path / "silent"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    with pytest.raises(ScoringError, match="Java 8 to 14"):
        spice_scores(["a"], [["a"]], program, package, models)


def test_real_java_accepts_the_command(java: Path, models: Path, package: Path) -> None:
    """With empty jars for models the real scorer starts, and misses its parser's classes."""
    with pytest.raises(ScoringError, match=r"SPICE failed: .*edu[./]stanford[./]nlp"):
        spice_scores(["a dog"], [["a dog"]], java, package, models)


def test_without_models_a_hint_says_how_to_get_them(
    scorer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(MODELS_VARIABLE, raising=False)
    scores = score_captions(["a dog"] * 2, [["a dog"], ["a cat"]], java=False, spice=True)
    assert scores.spice is None
    assert "SPICE" in scores.missing[0]
    assert json.dumps(scores.to_dict())
