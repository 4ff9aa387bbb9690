"""showtell's wheel, installed into an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from support.paths import ROOT

_BUILD = "import hatchling.build, sys; hatchling.build.build_wheel(sys.argv[1])"


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this repository in `folder`, as pip does, and return its path."""
    command = [sys.executable, "-c", _BUILD, folder]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    return wheel


@dataclass(frozen=True)
class WheelInstall:
    """A virtual environment with the wheel, and with the other packages of the running Python."""

    wheel: Path
    bin: Path

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables of a shell in which the environment is active."""
        parent = Path(sys.executable).parent
        path = os.pathsep.join([str(self.bin), str(parent), os.environ["PATH"]])
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return kept | {"PATH": path, "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def install_wheel(folder: Path) -> WheelInstall:
    """Build the wheel and install it, without a network, into a new environment in `folder`.

    The packages that showtell needs are links to those of the running Python.
    """
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True, capture_output=True)
    [packages] = (environment / "lib").glob("python*/site-packages")
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        link = packages / package.name
        if "showtell" not in package.name and not link.exists():
            link.symlink_to(package)
    installed = WheelInstall(build_wheel(folder), environment / "bin")
    command = [installed.bin / "pip", "install", "-q", installed.wheel]
    subprocess.run(command, check=True, capture_output=True, env=installed.variables)
    return installed
