"""What all commands share: help, logging."""

from __future__ import annotations

import subprocess
import sys

LOG = """
import logging
from showtell.cli import configure_logging
configure_logging(debug={debug})
logging.getLogger("showtell.training.loop").info("epoch 1")
logging.getLogger("third.party").info("chatter")
logging.getLogger("third.party").warning("trouble")
logging.getLogger("showtell.x").debug("detail")
"""


def logged(debug: bool) -> list[str]:
    code = LOG.format(debug=debug)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_other_libraries_show_warnings_only() -> None:
    assert logged(debug=False) == ["epoch 1", "trouble"]
    assert logged(debug=True) == ["epoch 1", "chatter", "trouble", "detail"]


def test_help_imports_no_command() -> None:
    code = (
        "import sys; from click.testing import CliRunner\n"
        "from showtell.cli import COMMANDS, showtell\n"
        "output = CliRunner().invoke(showtell, ['--help']).output\n"
        "assert all(name in output for name in COMMANDS), output\n"
        "print(sorted({'numpy', 'onnxruntime', 'torch', 'tqdm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
