"""The parts of a job: runs of photos that one worker captions into one output file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

MAX_PHOTOS = 4_096  # in a part
MIN_PHOTOS = 64
PARTS_PER_WORKER = 12  # so that all workers end at about the same time
MIN_SAMPLED_PARTS = 12  # in a sample of an input that has as many


@dataclass(frozen=True)
class JobPart:
    """The photos `start` to `start + count` of a source, or the fraction `keep` of them.

    `source` is a shard, a Parquet file, or the listing of a folder's photos. `count` is None for
    a whole shard. `digest` is a hash of the photos' paths in a listing.
    """

    number: int
    source: str
    start: int = 0
    count: int | None = None
    keep: float = 1.0
    digest: str = ""

    @property
    def photos(self) -> int | None:
        """How many photos are captioned; None if only reading the source would tell."""
        return None if self.count is None else int(self.count * self.keep + 1e-9)

    @property
    def name(self) -> str:
        """The name of the part's output file."""
        return f"part-{self.number:06d}.parquet"


def part_size(photos: int | None, workers: int, batch_size: int) -> int:
    """Return how many photos each part gets, so that there are enough parts for all workers.

    The size is a multiple of `batch_size`, so that no batch is cut short at the end of a part.
    """
    if photos is None:
        return MAX_PHOTOS
    size = min(max(photos // (workers * PARTS_PER_WORKER), MIN_PHOTOS), MAX_PHOTOS)
    return max(size // batch_size, 1) * batch_size


def sample_parts(parts: Sequence[JobPart], fraction: float) -> list[JobPart]:
    """Return parts, and photos in them, spread evenly over the input: `fraction` of all photos.

    A few parts are sampled rather than a few photos of every part, because a shard can only be
    read whole.
    """
    exact = fraction * len(parts)
    count = min(len(parts), max(math.ceil(exact), MIN_SAMPLED_PARTS))
    keep = exact / count
    sampled = (parts[index * len(parts) // count] for index in range(count))
    return [replace(part, number=number, keep=keep) for number, part in enumerate(sampled)]


def is_sampled(index: int, keep: float) -> bool:
    """Return whether the photo with an index in its part is in the sampled fraction `keep`."""
    return int((index + 1) * keep + 1e-9) > int(index * keep + 1e-9)
