"""Photos of a split streamed out of shards: shuffled, in bounded memory, the same work per rank."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import numpy as np

from showtell.data.shards.index import DAMAGED, OnBroken, Shard, ShardError, ShardIndex, leave_out
from showtell.data.shards.remote_files import Forward, UnreadableFileError, join, opened
from showtell.errors import DatasetError

Tail = Literal["wrap", "drop", "each"]

_DRAWS = 4096  # random numbers that are drawn at a time


@dataclass(frozen=True, slots=True)
class ShardSample:
    """One photo out of a shard: its bytes as they were packed, its captions, its name.

    `number` is its place in the split's list, that of `read_shards(...).split(split)`.
    """

    number: int
    name: str
    captions: tuple[str, ...]
    data: bytes


@dataclass(frozen=True)
class ShardStream:
    """One epoch of a split, as one reader worker of one rank reads it.

    The epoch's order is the split's shards, shuffled by `seed` and `epoch` and laid end to end.
    Each rank takes a run of photos of that, whole shards but for the first and the last, and each
    of a rank's `workers` a part of the rank's. So the number of shards need not fit the number
    of ranks. What a reader takes in passes through a shuffling buffer of `buffer` photos, which is
    all that it holds. Equal arguments give equal photos in equal order.

    `tail` says what becomes of photos that ranks cannot share equally:
    `wrap` (for training): every rank yields ceil(photos / ranks); the last ones go on at the
    epoch's beginning, so fewer than `ranks` photos come twice.
    `drop`: every rank yields floor(photos / ranks); fewer than `ranks` photos, other ones in each
    epoch, are left out.
    `each` (for scores): every photo comes once over all ranks, whose counts differ by at most one.

    `shuffle=False` is the split's own order. A shard that is gone, cut off or damaged, or a photo
    that has another checksum, is named, and raises ShardError (`on_broken="fail"`) or is left out
    (`"skip"`). With `skip`, `wrap` and `drop` yield as many photos as ever, so that no rank waits
    for another: the next photos of the epoch, which are another rank's, stand in; `each` yields
    fewer.
    """

    index: ShardIndex
    split: str
    rank: int = 0
    ranks: int = 1
    worker: int = 0
    workers: int = 1
    seed: int = 0
    epoch: int = 0
    shuffle: bool = True
    buffer: int = 1000
    tail: Tail = "wrap"
    on_broken: OnBroken = "fail"
    _named: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.ranks or not 0 <= self.worker < self.workers:
            raise ValueError(
                f"rank {self.rank} of {self.ranks}, worker {self.worker} of {self.workers}:"
                " they count from 0"
            )
        if self.buffer < 1:
            raise ValueError(f"buffer={self.buffer} is less than 1")
        if not self.index.photos(self.split):
            raise DatasetError(f"{self.index.address}: no shards of the split {self.split}")

    @property
    def rank_photos(self) -> int:
        """How many photos this rank yields in an epoch, all its workers together.

        With `wrap` and `drop` the same for each rank, with `each` this rank's own.
        """
        start, stop = self._rank_run()
        return stop - start

    def __len__(self) -> int:
        """Return how many photos this reader yields in an epoch."""
        start, stop = self._run()
        return stop - start

    def __iter__(self) -> Iterator[ShardSample]:
        """Yield the epoch's photos."""
        return self.samples()

    def samples(self, first: int = 0) -> Iterator[ShardSample]:
        """Yield the epoch's photos from the one of place `first` on, as resuming needs them.

        What only came before is not read again. (Where photos stand in for broken ones, what
        stands in may be others after resuming.) Raises ShardError.
        """
        start, stop = self._run()
        order = self._mixed(stop - start)
        done: set[int] = set()
        begin = 0
        for place in islice(order, first):
            done.add(place)
            while begin in done:
                done.remove(begin)
                begin += 1
        reader = self._read(start + begin, stop)
        standing_in = self._standing_in(start, stop)
        held: dict[int, ShardSample | None] = {}
        ahead = begin  # the place that the reader comes to next
        for place in order:
            while ahead <= place:
                sample = next(reader)
                if ahead not in done:
                    held[ahead] = sample
                ahead += 1
            chosen = held.pop(place)
            if chosen is None and self.tail != "each":
                chosen = next(standing_in)
            if chosen is not None:
                yield chosen

    def _rank_run(self) -> tuple[int, int]:
        total, ranks = self.index.photos(self.split), self.ranks
        if self.tail == "each":
            return self.rank * total // ranks, (self.rank + 1) * total // ranks
        share = -(-total // ranks) if self.tail == "wrap" else total // ranks
        return self.rank * share, (self.rank + 1) * share

    def _run(self) -> tuple[int, int]:
        """Return the places of the epoch that this reader takes; past the end it begins anew."""
        start, stop = self._rank_run()
        count = stop - start
        return (
            start + self.worker * count // self.workers,
            start + (self.worker + 1) * count // self.workers,
        )

    def _mixed(self, count: int) -> Iterator[int]:
        """Yield the places 0 .. count - 1, each at random of the `buffer` that were read last."""
        if not self.shuffle:
            yield from range(count)
            return
        random = np.random.default_rng([self.seed, self.epoch, self.rank, self.worker])
        waiting: list[int] = []
        draws: list[float] = []
        for place in range(count + self.buffer):
            if place < count:
                waiting.append(place)
                if len(waiting) < self.buffer:
                    continue
            if not waiting:
                return
            if not draws:
                draws = random.random(_DRAWS).tolist()
            chosen = int(draws.pop() * len(waiting))
            waiting[chosen], waiting[-1] = waiting[-1], waiting[chosen]
            yield waiting.pop()

    def _shards(self) -> list[tuple[int, Shard]]:
        """Return the split's shards in the epoch's order, with the number of each one's first."""
        shards: list[tuple[int, Shard]] = []
        number = 0
        for shard in self.index.of(self.split):
            shards.append((number, shard))
            number += shard.photos
        if not self.shuffle:
            return shards
        # Not a rank's own numbers: all ranks must agree.
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(shards))
        return [shards[place] for place in order]

    def _read(self, start: int, stop: int) -> Iterator[ShardSample | None]:
        """Yield the photos of the epoch's places `start` to `stop`, None for one left out."""
        total = self.index.photos(self.split)
        shards = self._shards()
        while start < stop:
            # where the epoch's round, which begins anew at its end, is now
            place, left = start % total, stop - start
            for number, shard in shards:
                if place < shard.photos:
                    end = min(shard.photos, place + left)
                    yield from self._read_shard(shard, number, place, end)
                    start += end - place
                    left -= end - place
                    place = shard.photos
                place -= shard.photos
                if not left:
                    return

    def _read_shard(
        self, shard: Shard, start: int, first: int, end: int
    ) -> Iterator[ShardSample | None]:
        """Yield the photos `first` to `end` of one shard, None for each that is left out."""
        reached = first
        address = join(self.index.address, shard.name)
        try:
            rows = self.index.rows(shard)[first:end]
            with opened(address) as file:
                forward = Forward(address, file)
                for row in rows:
                    data = forward.read(row.photo.offset, row.photo.size)
                    number, reached = start + reached, reached + 1
                    if row.photo.is_whole(data):
                        yield ShardSample(number, row.photo.name, row.captions, data)
                    else:
                        self._leave_out(row.photo.name, f"{row.photo}: {DAMAGED}")
                        yield None
        except UnreadableFileError as error:
            self._leave_out(shard.name, str(error))
        for _ in range(reached, end):
            yield None

    def _leave_out(self, what: str, fault: str) -> None:
        """Raise what is wrong with a shard or photo, or warn of it, once, as asked."""
        if what not in self._named:
            self._named.add(what)
            leave_out(fault, self.on_broken)

    def _standing_in(self, start: int, stop: int) -> Iterator[ShardSample]:
        """Yield photos to stand in for those left out: those that follow this reader's own.

        Round the epoch again and again, until a whole round brings nothing.
        """
        total = self.index.photos(self.split)
        while True:
            found = False
            for sample in self._read(stop, stop + total):
                if sample is not None:
                    found = True
                    yield sample
            if not found:
                raise ShardError(f"{self.index.address}: no photo of {self.split} is left to read")
