"""Captioning sends and stores nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.paths import SAMPLE_PHOTOS


def test_captioning_leaves_nothing_in_the_home_folder(tmp_path: Path) -> None:
    """ONNX Runtime stores an identifier there for its telemetry unless that is disabled."""
    kept = {"PATH", "OMP_NUM_THREADS", "VIRTUAL_ENV", "LANG"}
    environment = {name: value for name, value in os.environ.items() if name in kept}
    result = subprocess.run(
        [sys.executable, "-m", "showtell", "caption", SAMPLE_PHOTOS / "horses.jpg"],
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert list(tmp_path.rglob("*")) == []
