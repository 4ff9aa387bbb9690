"""Attempts to caption a part, counted so that a photo that crashes its worker is left out.

Ray restarts a lost worker and its part without limit. A worker therefore counts its attempts at a
part in a file of the job's folder. From the third attempt on it captions one photo at a time and
records the photo first; a photo at which two attempts ended is left out.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter

from showtell.cluster.storage import Storage
from showtell.errors import DatasetError

BATCH_ATTEMPTS = 2  # before photos are captioned one by one
MAX_CRASHES = 2  # at a photo before it is left out: one may be chance
MAX_ATTEMPTS = 50
CRASHING = "its worker crashed twice at it"


class PartAttempts:
    """The recorded attempts at one part."""

    def __init__(self, storage: Storage, number: int) -> None:
        self._storage, self._name = storage.job_files, f"attempts-{number:06d}.json"
        self._count = 0
        self._crashes: Counter[int] = Counter()
        self._current: int | None = None

    def begin(self) -> None:
        """Record one more attempt; a damaged record counts as none.

        Raises DatasetError after `MAX_ATTEMPTS`.
        """
        with contextlib.suppress(
            DatasetError, ValueError, KeyError, TypeError, OverflowError, RecursionError
        ):
            record = json.loads(self._storage.read(self._name))
            crashes = Counter([int(index) for index in record["crashes"]])
            if record["current"] is not None:
                crashes[int(record["current"])] += 1
            self._count, self._crashes = int(record["attempts"]), crashes
        self._count += 1
        if self._count > MAX_ATTEMPTS:
            raise DatasetError(
                f"{self._storage.address}: a part crashed its worker {MAX_ATTEMPTS} times: does"
                f" the machine have enough memory? Delete {self._name} to try the part again"
            )
        self._save()

    @property
    def one_by_one(self) -> bool:
        """Whether each photo must be captioned alone and recorded with `start_photo` first."""
        return self._count > BATCH_ATTEMPTS

    def is_crashing(self, index: int) -> bool:
        """Return whether the photo with an index in the part must be left out."""
        return self._crashes[index] >= MAX_CRASHES

    def start_photo(self, index: int) -> None:
        """Record which photo is captioned next."""
        self._current = index
        self._save()

    def end(self) -> None:
        """Delete the record, because the part is written."""
        self._storage.remove(self._name)

    def _save(self) -> None:
        record = {
            "attempts": self._count,
            "crashes": list(self._crashes.elements()),
            "current": self._current,
        }
        self._storage.write(self._name, json.dumps(record).encode())
