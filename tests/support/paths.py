"""Folders of the repository that tests read."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "examples"
SAMPLE_PHOTOS = ROOT / "tests" / "sample_photos"  # kinds that no model is trained on
SOURCE = ROOT / "src" / "showtell"
TESTS = ROOT / "tests"
