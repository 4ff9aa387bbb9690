"""The state of a job, kept as files in its folder: what the job is, and which parts are done.

A part is done if its file exists; nothing else is recorded. Ray Data's checkpoints (2.5x, beta)
are not used: they keep an id for every row, read the whole input again to skip finished rows, and
do not notice a changed input, model or option.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from showtell.cluster.older_jobs import current_source, migrate_job
from showtell.cluster.output import PartResult, read_result
from showtell.cluster.parts import JobPart
from showtell.cluster.storage import Storage
from showtell.errors import DatasetError, ShowtellError
from showtell.files.printable_names import printable
from showtell.files.remote import TEMPORARY_PREFIX
from showtell.files.typed_settings import load_settings

JOB_FILE = "job.json"
_FORMAT = 1
_REQUESTS = 32  # footers that are read at the same time
_DESCRIPTIONS = {"digest": "its photos", "model_sha256": "the model's files"}


class _DamagedJobError(ShowtellError):
    """A value of the job's file is missing or wrong."""


@dataclass(frozen=True)
class JobSpec:
    """What must stay the same for a job to resume: input, model and options."""

    input: str
    kind: str
    columns: dict[str, Any] | None
    root: str
    digest: str
    batch_size: int
    part_size: int = field(metadata={"ge": 1})
    parts: int
    limit: int | None
    sample: float | None
    model: str
    model_sha256: str
    decoding: dict[str, Any]
    format: int = _FORMAT

    @property
    def id(self) -> str:
        """A hash of all fields, which the job's parts record."""
        return hashlib.sha256(self._json().encode()).hexdigest()[:32]

    def save(self, storage: Storage) -> None:
        """Write the job into its folder."""
        storage.job_files.write(JOB_FILE, self._json().encode())

    def _json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    def differences(self, other: JobSpec) -> list[str]:
        """Describe how this job differs from another, such as `beam 3, not 5`.

        The other job's value comes first.
        """
        ours, theirs = asdict(self), asdict(other)
        ours |= ours.pop("decoding")
        theirs |= theirs.pop("decoding")
        return [
            f"{_DESCRIPTIONS[name]} changed"
            if name in _DESCRIPTIONS
            else f"{name.replace('_', ' ')} {theirs.get(name)}, not {ours.get(name)}"
            for name in dict.fromkeys([*ours, *theirs])
            if ours.get(name) != theirs.get(name) and name != "parts"
        ]


def load_job(storage: Storage) -> JobSpec | None:
    """Return the job in a folder; None if the folder is empty or does not exist.

    A job of an older showtell is migrated (`showtell.cluster.older_jobs`).

    Raises DatasetError if the folder holds other files or the job of a newer showtell.
    """
    names = storage.names()
    migrate_job(storage, names)
    shown = printable(storage.address)
    if JOB_FILE not in storage.job_files.names():
        if any(not name.startswith(("_", ".")) for name in names):
            raise DatasetError(f"{shown}: holds files but no showtell job: choose a new folder")
        return None
    try:
        fields = json.loads(storage.job_files.read(JOB_FILE))
        if fields["format"] > _FORMAT:
            raise DatasetError(f"{shown}: the job of a newer showtell: upgrade showtell")
        spec = load_settings(JobSpec, fields, error=_DamagedJobError)
    except (ValueError, KeyError, TypeError, RecursionError, _DamagedJobError) as error:
        shown = printable(storage.job_files.address)
        raise DatasetError(f"{shown}/{JOB_FILE}: damaged ({error}): choose a new folder") from None
    return spec


def check_same_job(storage: Storage, saved: JobSpec, requested: JobSpec) -> None:
    """Raise DatasetError, with the differences, if a folder holds another job."""
    differences = requested.differences(saved)
    if differences:
        raise DatasetError(
            f"{printable(storage.address)}: holds another job ({'; '.join(differences)}): to"
            " resume it use its options, or choose a new folder"
        )


def finished_parts(
    storage: Storage, job: JobSpec, parts: Sequence[JobPart]
) -> dict[int, PartResult]:
    """Return the results of the finished parts by number.

    Damaged files, files of other parts and parts without all of their photos are unfinished.

    Raises DatasetError if the folder holds Parquet files that are not parts of the job.
    """
    names = {name for name in storage.names() if name.endswith(".parquet") and name[0] not in "_."}
    foreign = names - {part.name for part in parts}
    if foreign:
        raise DatasetError(
            f"{printable(storage.address)}: {printable(min(foreign))} is not a part of this job:"
            " choose a new folder"
        )
    present = [part for part in parts if part.name in names]
    with ThreadPoolExecutor(_REQUESTS) as pool:
        results = list(pool.map(lambda part: read_result(storage, part.name, job.id), present))
    return {
        part.number: result
        for part, result in zip(present, results, strict=True)
        if result is not None and _belongs(result, part, job.kind)
    }


def _belongs(result: PartResult, part: JobPart, kind: str) -> bool:
    """Return whether a result is that of a part, with all of its photos.

    Parts of a folder whose listing was unreadable had one row and counted as finished before.
    """
    source = current_source(result.source)
    if (result.number, source, result.start) != (part.number, part.source, part.start):
        return False
    return kind == "shards" or part.count is None or (result.seen or result.photos) == part.count


def clean_partial(storage: Storage) -> None:
    """Delete the unfinished files of a killed job."""
    for folder in (storage, storage.job_files):
        for name in folder.names():
            if name.startswith(TEMPORARY_PREFIX):
                folder.remove(name)
