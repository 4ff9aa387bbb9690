"""Jobs of older versions, whose own files were beside the parts. They resume after migration."""

from __future__ import annotations

import re
from collections.abc import Sequence

from showtell.cluster.folder_listing import LISTING
from showtell.cluster.storage import Storage

_JOB_FILE, _LISTING = "_job.json", "_input.parquet"
_ATTEMPTS = re.compile(r"_(attempts-\d+\.json)")


def migrate_job(storage: Storage, names: Sequence[str]) -> None:
    """Move the job's own files of an older version to their subfolder.

    `names` are those in the folder. `_job.json` is moved last: while it is there, the migration is
    not complete and is done again, so that it may be interrupted at any time.

    Raises DatasetError if a file cannot be moved.
    """
    if _JOB_FILE not in names:
        return
    for name in names:
        if name == _LISTING:
            storage.move(name, storage.job_files, LISTING)
        elif attempts := _ATTEMPTS.fullmatch(name):
            storage.move(name, storage.job_files, attempts[1])
    storage.move(_JOB_FILE, storage.job_files, _JOB_FILE.removeprefix("_"))


def current_source(source: str) -> str:
    """Return the source of a part, which older versions wrote with the listing's old name."""
    return LISTING if source == _LISTING else source
