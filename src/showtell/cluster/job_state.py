"""What a job is and which of its parts are done: both told by the files in its folder.

Ray Data's checkpoints (2.5x, beta) were not taken: they keep an id of every row, read the whole
input again to leave out the rows that are done, and do not notice another input, model or option.
A part that has its name is done; nothing else needs to be kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from showtell.cluster.inputs import Part
from showtell.cluster.output import PartResult, read_result
from showtell.cluster.storage import Storage
from showtell.errors import DatasetError
from showtell.files.printable_names import printable
from showtell.files.remote import TEMPORARY

JOB = "_job.json"
_FORMAT = 1
_AT_A_TIME = 32  # parts whose footers are read
_SAID = {"digest": "its photos", "model_sha256": "the model's files", "part_size": "part size"}


@dataclass(frozen=True)
class Job:
    """What must be the same for a job to go on: input, model and options."""

    input: str
    kind: str
    columns: dict[str, Any] | None
    root: str
    digest: str
    batch_size: int
    part_size: int
    parts: int
    limit: int | None
    sample: float | None
    model: str
    model_sha256: str
    decoding: dict[str, Any]
    format: int = _FORMAT

    @property
    def id(self) -> str:
        """A hash of all of it, by which a part knows its job."""
        return hashlib.sha256(self._json().encode()).hexdigest()[:32]

    def keep(self, storage: Storage) -> None:
        """Write it into the job's folder."""
        storage.write(JOB, self._json().encode())

    def _json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    def differences(self, other: Job) -> list[str]:
        """Say what another job has another way, as `beam 3, not 5` for what it has and this not."""
        ours, theirs = asdict(self), asdict(other)
        ours |= ours.pop("decoding")
        theirs |= theirs.pop("decoding")
        return [
            f"{name.replace('_', ' ')} {theirs.get(name)}, not {ours.get(name)}"
            if name not in _SAID
            else f"{_SAID[name]} changed"
            for name in dict.fromkeys([*ours, *theirs])
            if ours.get(name) != theirs.get(name) and name != "parts"
        ]


def kept_job(storage: Storage) -> Job | None:
    """Return the job that a folder holds, None where it is empty or not there.

    Raises DatasetError where it holds something else, or a newer showtell's job.
    """
    names = storage.names()
    shown = printable(storage.address)
    if JOB not in names:
        if any(not name.startswith(("_", ".")) for name in names):
            raise DatasetError(f"{shown}: holds files, and no job of showtell: choose a new folder")
        return None
    try:
        kept = json.loads(storage.read(JOB))
        if kept["format"] > _FORMAT:
            raise DatasetError(f"{shown}: a newer showtell's job: pip install -U showtell")
        return Job(**kept)
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{shown}/{JOB}: damaged ({error}): choose a new folder") from None


def check_same(storage: Storage, kept: Job, wanted: Job) -> None:
    """Raise DatasetError where a folder's job is another one, saying in what."""
    different = wanted.differences(kept)
    if different:
        raise DatasetError(
            f"{printable(storage.address)}: holds another job ({'; '.join(different)}): to go on"
            " with it give what it began with, or choose a new folder"
        )


def finished(storage: Storage, job: Job, parts: Sequence[Part]) -> dict[int, PartResult]:
    """Return the parts that are done by number; a damaged file is no part, and is written anew.

    Raises DatasetError where there are files that are none of the job's parts.
    """
    names = {name for name in storage.names() if name.endswith(".parquet") and name[0] not in "_."}
    foreign = names - {part.name for part in parts}
    if foreign:
        raise DatasetError(
            f"{printable(storage.address)}: {printable(min(foreign))} is no part of this job:"
            " choose a new folder"
        )
    there = [part for part in parts if part.name in names]
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        results = pool.map(lambda part: read_result(storage, part.name, job.id), there)
        return {
            part.number: result
            for part, result in zip(there, results, strict=True)
            if result is not None
        }


def sweep(storage: Storage) -> None:
    """Delete what a killed job left half written."""
    for name in storage.names():
        if name.startswith(TEMPORARY):
            storage.remove(name)
