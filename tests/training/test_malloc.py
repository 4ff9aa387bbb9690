"""Settings that keep training's memory small and fast are made before torch reads them."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

VARIABLE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


def capacity(**environment: str) -> str:
    code = "import os, sys, showtell.training; assert 'torch' not in sys.modules;"
    code += f"print(os.environ['{VARIABLE}'])"
    clean = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_cache_of_matrix_product_plans_is_limited():
    assert capacity() == "64"


def test_a_user_s_own_setting_stays():
    assert capacity(**{VARIABLE: "512"}) == "512"


def page_faults(kept: bool) -> int:
    code = "import resource, numpy, showtell.training.malloc as memory;"
    code += f"kept = {kept} and memory.keep_large_blocks(); assert kept == {kept};"
    code += "write = lambda: numpy.empty(64 << 20, numpy.uint8).fill(1);"
    code += "write(); faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt;"
    code += "first = faults(); [write() for _ in range(20)]; print(faults() - first)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc's malloc that is told")
def test_large_blocks_are_reused_without_page_faults() -> None:
    assert page_faults(kept=True) * 10 < page_faults(kept=False)
