"""Embed texts in photos with exiftool, without exposing file names or captions as options.

showtell copies the photos to a folder of its own under its own names, starts exiftool there, and
passes the texts in files. So nothing in a name, a folder or a caption can become an option.
exiftool runs once per batch and exits, so no process is left behind when showtell is killed.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from showtell.errors import MetadataError
from showtell.files.os_errors import error_reason

_INSTALL_HINT = "apt install libimage-exiftool-perl, brew install exiftool, or exiftool.org"
_SECONDS = 60  # per photo, before exiftool counts as stuck
_ARGUMENT_FILE = "arguments"
_TAGS = {
    "description": "XMP-dc:Description",
    "alt": "XMP-iptcCore:AltTextAccessibility",
    "iptc": "IPTC:Caption-Abstract",
}


@dataclass(frozen=True, slots=True)
class EmbedJob:
    """A photo's bytes and suffix, the texts to embed by field, and if it has IPTC not in UTF-8."""

    data: bytes
    suffix: str
    texts: dict[str, str]
    legacy_iptc: bool = False


def find_exiftool() -> str:
    """Return the path of exiftool.

    Raises MetadataError, with a hint how to install it, if it is missing.
    """
    path = shutil.which("exiftool")
    if path is None:
        raise MetadataError(f"embedding needs exiftool, which is not installed: {_INSTALL_HINT}")
    return path


def embed_texts(program: str, folder: Path, jobs: Sequence[EmbedJob]) -> list[bytes | str]:
    """Return each photo's new bytes, or one line that says why it has none.

    exiftool's output is not verified here: the caller must do that.
    """
    results = _run(program, folder, jobs)
    # When exiftool is killed its whole batch fails: retry the photos that it did not reach.
    failed = [index for index, result in enumerate(results) if isinstance(result, str)]
    if any("by signal" in str(results[index]) for index in failed):
        retried = _run(program, folder, [jobs[index] for index in failed])
        for index, result in zip(failed, retried, strict=True):
            results[index] = result
    return results


def _run(program: str, folder: Path, jobs: Sequence[EmbedJob]) -> list[bytes | str]:
    """Run exiftool once over a batch."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    lines: list[str] = []
    for number, job in enumerate(jobs):
        name = f"{number}{job.suffix}"
        (folder / name).write_bytes(job.data)
        lines += [*_arguments(folder, number, job), "-overwrite_original", name, "-execute"]
    (folder / _ARGUMENT_FILE).write_text("\n".join(lines) + "\n", "ascii")
    batch_error, photo_errors = _call(program, folder, _SECONDS * len(jobs))
    results: list[bytes | str] = []
    for number, job in enumerate(jobs):
        data = (folder / f"{number}{job.suffix}").read_bytes()
        reason = photo_errors.get(number) or batch_error or "exiftool changed nothing"
        results.append(reason if data == job.data else data)
    return results


def _call(program: str, folder: Path, seconds: int) -> tuple[str, dict[int, str]]:
    """Run exiftool to its end; return an error of the whole batch (or "") and errors by photo."""
    # -config "": ignore the user's own exiftool settings
    command = [program, "-config", "", "-@", _ARGUMENT_FILE]
    try:
        process = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"exiftool did not finish in {seconds} seconds", {}
    except OSError as error:
        return f"exiftool cannot be started ({error_reason(error)})", {}
    photo_errors = _parse_errors(process.stderr.decode("utf-8", "replace"))
    if process.returncode < 0:
        return f"exiftool was ended by signal {-process.returncode}", photo_errors
    return "", photo_errors


def _arguments(folder: Path, number: int, job: EmbedJob) -> list[str]:
    lines = []
    if "iptc" in job.texts:
        if job.legacy_iptc:  # read in the old character set, write in UTF-8
            lines += ["-tagsFromFile", "@", "-IPTC:all"]
        lines += ["-IPTC:CodedCharacterSet=UTF8", "-IPTCDigest=new"]
    for field, text in job.texts.items():
        text_file = f"{number}.{field}"
        (folder / text_file).write_bytes(text.encode())
        lines.append(f"-{_TAGS[field]}<={text_file}")
    return lines


def _parse_errors(text: str) -> dict[int, str]:
    """Read lines like `Error: Not a valid PNG - 3.png`; return messages by photo number."""
    errors = {}
    for line in text.splitlines():
        message, _, name = line.rpartition(" - ")
        number = name.strip().removeprefix("./").split(".")[0]
        if line.startswith("Error") and number.isdecimal():
            errors[int(number)] = "exiftool: " + message.removeprefix("Error: ")
    return errors
