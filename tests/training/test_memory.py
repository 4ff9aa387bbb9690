"""What keeps training's memory small is set before torch reads it."""

from __future__ import annotations

import os
import subprocess
import sys

VARIABLE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


def capacity(**environment: str) -> str:
    code = "import os, sys, showtell.training; assert 'torch' not in sys.modules;"
    code += f"print(os.environ['{VARIABLE}'])"
    clean = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_plans_of_matrix_products_are_not_kept_by_the_thousand():
    assert capacity() == "64"


def test_a_persons_own_setting_stays():
    assert capacity(**{VARIABLE: "512"}) == "512"
