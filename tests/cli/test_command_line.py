"""What all commands share: help, logging."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import SOURCE

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


def test_ctrl_c_while_the_command_line_is_imported_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    script = "from showtell.__main__ import main; main()"  # as the installed script does
    variables = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{SOURCE.parent}"}
    for command in (["-m", "showtell", "--help"], ["-c", script, "--help"]):
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, env=variables
        )
        assert (done.returncode, done.stderr) == (130, "showtell: interrupted\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("showtell caption --model g", "plain,general"),
        ("showtell models show ge", "plain,general"),
        ("showtell evaluate flickr8k-", "plain,flickr8k-de"),
        ("showtell train se", "plain,seed"),
        ("showtell train my-recipe", "file,my-recipe"),
    ],
)
def test_the_shell_completes_models_and_recipes(words: str, expected: str) -> None:
    variables = os.environ | {
        "_SHOWTELL_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", "from showtell.cli import showtell; showtell(prog_name='showtell')"],
        capture_output=True,
        text=True,
        env=variables,
    )
    assert done.stdout.splitlines() == [expected]
