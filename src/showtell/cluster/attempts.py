"""Photos that end their worker, as by using up the memory: found, and made rows with an error.

Ray starts a lost worker and its part again, for ever if it must. So a worker notes in the job's
folder that it tries a part. The third try captions photo by photo and notes which one it is at: the
photo at which two such tries ended is left out.
"""

from __future__ import annotations

import json
from collections import Counter

from showtell.cluster.storage import Storage
from showtell.errors import DatasetError

PATIENCE = 2  # tries before photos are captioned one by one
GUILTY = 2  # tries that end at a photo, until it is left out: one may be chance
GIVE_UP = 50
DEADLY = "its worker ended at it twice"


class Tries:
    """What is noted of the tries of one part."""

    def __init__(self, storage: Storage, number: int) -> None:
        self._storage, self._name = storage, f"_trying-{number:06d}.json"
        self._count = 0
        self._ended_at: Counter[int] = Counter()
        self._at: int | None = None

    def begin(self) -> None:
        """Note one more try. Raises DatasetError where the part has ended far too many workers."""
        try:
            noted = json.loads(self._storage.read(self._name))
        except (DatasetError, ValueError):
            noted = {"tries": 0, "ended_at": [], "at": None}
        self._count = noted["tries"] + 1
        self._ended_at = Counter(noted["ended_at"])
        if noted["at"] is not None:
            self._ended_at[noted["at"]] += 1
        if self._count > GIVE_UP:
            raise DatasetError(
                f"{self._storage.address}: a part ended its worker {GIVE_UP} times: has it enough"
                f" memory? Delete {self._name} to try it again"
            )
        self._note()

    @property
    def one_by_one(self) -> bool:
        """Whether photos are to be captioned one by one, each noted by `at` before."""
        return self._count > PATIENCE

    def is_deadly(self, place: int) -> bool:
        """Say whether the photo at a place is to be left out."""
        return self._ended_at[place] >= GUILTY

    def at(self, place: int) -> None:
        """Note which photo is next."""
        self._at = place
        self._note()

    def end(self) -> None:
        """Forget about it: the part is written."""
        self._storage.remove(self._name)

    def _note(self) -> None:
        noted = {
            "tries": self._count,
            "ended_at": list(self._ended_at.elements()),
            "at": self._at,
        }
        self._storage.write(self._name, json.dumps(noted).encode())
