"""Embed texts in photos with exiftool, without exposing file names or captions as options.

showtell copies the photos to its own folder under its own names, starts exiftool there, and passes
the texts in files. So nothing in a name, a folder or a caption can become an option. exiftool runs
once per batch and then exits: a killed showtell leaves no exiftool process that waits for input.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from showtell.errors import MetadataError
from showtell.files.os_errors import error_reason
from showtell.files.printable_names import printable

_INSTALL_HINT = "apt install libimage-exiftool-perl, brew install exiftool, or exiftool.org"
_TIMEOUT_PER_PHOTO = 60  # seconds
_ARGUMENT_FILE = "arguments"
_TAGS = {
    "description": "XMP-dc:Description",
    "alt": "XMP-iptcCore:AltTextAccessibility",
    "iptc": "IPTC:Caption-Abstract",
}


@dataclass(frozen=True, slots=True)
class EmbedJob:
    """A photo's bytes and suffix, and the texts to embed by field.

    `legacy_iptc` says whether the photo has IPTC that is not in UTF-8.
    """

    data: bytes
    suffix: str
    texts: dict[str, str]
    legacy_iptc: bool = False


@dataclass(frozen=True, slots=True)
class EmbedResult:
    """A photo's new bytes; None if it has none, and then `error` is one line that says why."""

    data: bytes | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class _ProcessOutcome:
    """How a run of exiftool ended.

    `batch_error` is about the whole batch (may be empty), `photo_errors` about photos by index.
    `killed` says whether a signal ended it.
    """

    batch_error: str = ""
    photo_errors: dict[int, str] = field(default_factory=dict)
    killed: bool = False


def find_exiftool() -> str:
    """Return the path of exiftool.

    Raises MetadataError, which says how to install it, if it is missing.
    """
    path = shutil.which("exiftool")
    if path is None:
        raise MetadataError(f"embedding needs exiftool, which is not installed: {_INSTALL_HINT}")
    return path


def embed_texts(program: str, folder: Path, jobs: Sequence[EmbedJob]) -> list[EmbedResult]:
    """Embed each job's texts in its photo, working in `folder`, which is replaced.

    exiftool's output is not verified here: the caller must do that.

    Raises MetadataError if `folder` cannot be written.
    """
    try:
        results, killed = _run_batch(program, folder, jobs)
        failed = [index for index, result in enumerate(results) if result.data is None]
        if killed and failed:  # retry the photos that exiftool did not reach
            retried, _ = _run_batch(program, folder, [jobs[index] for index in failed])
            for index, result in zip(failed, retried, strict=True):
                results[index] = result
    except OSError as error:
        raise MetadataError(
            f"{printable(os.fspath(folder))}: exiftool's work folder cannot be written"
            f" ({error_reason(error)}): set TMPDIR to a folder with enough space"
        ) from error
    return results


def _run_batch(
    program: str, folder: Path, jobs: Sequence[EmbedJob]
) -> tuple[list[EmbedResult], bool]:
    """Run exiftool once; return each photo's result, and whether a signal ended exiftool."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    arguments: list[str] = []
    for index, job in enumerate(jobs):
        name = f"{index}{job.suffix}"
        (folder / name).write_bytes(job.data)
        arguments += [*_arguments(folder, index, job), "-overwrite_original", name, "-execute"]
    (folder / _ARGUMENT_FILE).write_text("\n".join(arguments) + "\n", "ascii")
    outcome = _run_process(program, folder, _TIMEOUT_PER_PHOTO * len(jobs))
    results = [_read_result(folder, index, job, outcome) for index, job in enumerate(jobs)]
    return results, outcome.killed


def _read_result(folder: Path, index: int, job: EmbedJob, outcome: _ProcessOutcome) -> EmbedResult:
    try:
        data = (folder / f"{index}{job.suffix}").read_bytes()
    except FileNotFoundError:
        return EmbedResult(None, "exiftool removed its copy")
    if data != job.data:
        return EmbedResult(data)
    error = outcome.photo_errors.get(index) or outcome.batch_error or "exiftool changed nothing"
    return EmbedResult(None, error)


def _run_process(program: str, folder: Path, timeout: float) -> _ProcessOutcome:
    """Run exiftool to its end; it is stopped after `timeout` seconds."""
    # -config "": ignore the user's own exiftool settings
    command = [program, "-config", "", "-@", _ARGUMENT_FILE]
    try:
        process = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _ProcessOutcome(f"exiftool did not finish in {timeout} seconds")
    except OSError as error:
        return _ProcessOutcome(f"exiftool cannot be started ({error_reason(error)})")
    photo_errors = _parse_errors(process.stderr.decode("utf-8", "replace"))
    if process.returncode < 0:
        signal_error = f"exiftool was ended by signal {-process.returncode}"
        return _ProcessOutcome(signal_error, photo_errors, killed=True)
    return _ProcessOutcome("", photo_errors)


def _arguments(folder: Path, index: int, job: EmbedJob) -> list[str]:
    lines = []
    if "iptc" in job.texts:
        if job.legacy_iptc:  # read in the old character set, write in UTF-8
            lines += ["-tagsFromFile", "@", "-IPTC:all"]
        lines += ["-IPTC:CodedCharacterSet=UTF8", "-IPTCDigest=new"]
    for name, text in job.texts.items():
        text_file = f"{index}.{name}"
        (folder / text_file).write_bytes(text.encode())
        lines.append(f"-{_TAGS[name]}<={text_file}")
    return lines


def _parse_errors(text: str) -> dict[int, str]:
    """Read lines like `Error: Not a valid PNG - 3.png`; return messages by the photo's index."""
    errors = {}
    for line in text.splitlines():
        message, _, name = line.rpartition(" - ")
        index = name.strip().removeprefix("./").split(".")[0]
        if line.startswith("Error") and index.isdecimal():
            errors[int(index)] = "exiftool: " + message.removeprefix("Error: ")
    return errors
