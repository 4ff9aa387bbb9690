"""Embed words by exiftool, which is never shown a photo's own name.

Photos are copied under names of ours into a folder of ours, where exiftool is started; words
reach it in files too. So nothing that a name, a folder or a caption holds can become an option.
One process serves a batch and ends by itself: none is left behind where showtell is killed.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from showtell.errors import MetadataError

HOW_TO_GET = "apt install libimage-exiftool-perl, brew install exiftool, or exiftool.org"
_SECONDS = 60  # for each photo, before exiftool counts as stuck
_TAGS = {
    "description": "XMP-dc:Description",
    "alt": "XMP-iptcCore:AltTextAccessibility",
    "iptc": "IPTC:Caption-Abstract",
}


@dataclass(frozen=True, slots=True)
class Job:
    """A photo's bytes, the words to put into it, and whether it has IPTC that is not UTF-8."""

    data: bytes
    suffix: str
    words: dict[str, str]
    old_iptc: bool = False


def find_exiftool() -> str:
    """Return the path of exiftool.

    Raises MetadataError, which says how to get it, where it is missing.
    """
    found = shutil.which("exiftool")
    if found is None:
        raise MetadataError(f"words are embedded by exiftool, which is not installed: {HOW_TO_GET}")
    return found


def embed(program: str, folder: Path, jobs: Sequence[Job]) -> list[bytes | str]:
    """Return each photo's new bytes, or in one line why there are none.

    What comes back is as exiftool wrote it: whoever takes it verifies it.
    """
    results = _run(program, folder, jobs)
    # one that was killed takes its whole batch along: those that are left get a second chance
    left = [place for place, result in enumerate(results) if isinstance(result, str)]
    if left and any("by signal" in str(results[place]) for place in left):
        again = _run(program, folder, [jobs[place] for place in left])
        for place, result in zip(left, again, strict=True):
            results[place] = result
    return results


def _run(program: str, folder: Path, jobs: Sequence[Job]) -> list[bytes | str]:
    """Run exiftool once over a batch."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    lines: list[str] = []
    for number, job in enumerate(jobs):
        name = f"{number}{job.suffix}"
        (folder / name).write_bytes(job.data)
        lines += [*_arguments(folder, number, job), "-overwrite_original", name, "-execute"]
    (folder / "arguments").write_text("\n".join(lines) + "\n", "ascii")
    common, failures = _call(program, folder, _SECONDS * len(jobs))
    results: list[bytes | str] = []
    for number, job in enumerate(jobs):
        data = (folder / f"{number}{job.suffix}").read_bytes()
        reason = failures.get(number) or common or "exiftool changed nothing"
        results.append(reason if data == job.data else data)
    return results


def _call(program: str, folder: Path, seconds: int) -> tuple[str, dict[int, str]]:
    """Start exiftool and wait; returns why all failed, if so, and why single photos did."""
    # -config "": a person's own settings of exiftool are for their own calls
    command = [program, "-config", "", "-@", "arguments"]
    try:
        done = subprocess.run(
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
        return f"exiftool does not run ({error.strerror or error})", {}
    failures = _failures(done.stderr.decode("utf-8", "replace"))
    ended = f"exiftool was ended by signal {-done.returncode}" if done.returncode < 0 else ""
    return ended, failures


def _arguments(folder: Path, number: int, job: Job) -> list[str]:
    lines = []
    if "iptc" in job.words:
        if job.old_iptc:  # read by the old character set, written by the new
            lines += ["-tagsFromFile", "@", "-IPTC:all"]
        lines += ["-IPTC:CodedCharacterSet=UTF8", "-IPTCDigest=new"]
    for key, text in job.words.items():
        source = f"{number}.{key}"
        (folder / source).write_bytes(text.encode())
        lines.append(f"-{_TAGS[key]}<={source}")
    return lines


def _failures(text: str) -> dict[int, str]:
    """Read lines like `Error: Not a valid PNG - 3.png`."""
    failures = {}
    for line in text.splitlines():
        message, _, name = line.rpartition(" - ")
        number = name.strip().removeprefix("./").split(".")[0]
        if line.startswith("Error") and number.isdecimal():
            failures[int(number)] = "exiftool: " + message.removeprefix("Error: ")
    return failures
