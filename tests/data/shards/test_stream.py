"""Photos streamed out of shards: equal work for each rank, a seed's order, bounded."""

from __future__ import annotations

import logging
import os
import pickle
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from showtell.data import open_dataset
from showtell.data.shards.index import ShardError, ShardIndex
from showtell.data.shards.stream import ShardStream
from showtell.data.shards.write import write_shards
from showtell.errors import DatasetError
from support.shard_folders import change, made_dataset, uneven_shards

BIG, SMALL = [100, 50, 50], [3, 1, 4, 1, 5, 9, 2, 6]


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> list[ShardIndex]:
    """Shards of 100, 50 and 50 photos, of all kinds of small numbers, and one of a single photo."""
    folder = tmp_path_factory.mktemp("shards")
    return [uneven_shards(folder / str(n), counts) for n, counts in enumerate([BIG, SMALL, [1]])]


def numbers(stream: ShardStream) -> list[int]:
    return [sample.number for sample in stream]


def of_all(stream: ShardStream, ranks: int, workers: int = 1) -> list[list[int]]:
    """What each rank yields, its workers one after the other."""
    return [
        [
            number
            for worker in range(workers)
            for number in numbers(
                replace(stream, rank=rank, ranks=ranks, worker=worker, workers=workers)
            )
        ]
        for rank in range(ranks)
    ]


any_stream = {
    "which": st.integers(0, 2),
    "ranks": st.integers(1, 9),
    "workers": st.integers(1, 4),
    "seed": st.integers(0, 3),
    "epoch": st.integers(0, 3),
    "buffer": st.integers(1, 300),
    "shuffle": st.booleans(),
}
SETTINGS = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def stream_of(
    indexes: list[ShardIndex], which: int, ranks: int, workers: int, **more: object
) -> tuple[ShardStream, int]:
    return ShardStream(indexes[which], "train", **more), indexes[which].photos("train")  # type: ignore[arg-type]


@SETTINGS
@given(**any_stream)
def test_with_wrap_ranks_yield_equally_and_fewer_than_ranks_photos_twice(
    indexes: list[ShardIndex], which: int, ranks: int, workers: int, **more: object
) -> None:
    stream, total = stream_of(indexes, which, ranks, workers, **more)
    found = of_all(stream, ranks, workers)
    share = -(-total // ranks)
    assert [len(own) for own in found] == [share] * ranks
    counted = Counter(number for own in found for number in own)
    assert set(counted) == set(range(total))
    if total >= ranks:
        assert max(counted.values()) <= 2
        assert sum(count == 2 for count in counted.values()) == share * ranks - total < ranks


@SETTINGS
@given(**any_stream)
def test_with_drop_ranks_yield_equally_and_no_photo_twice(
    indexes: list[ShardIndex], which: int, ranks: int, workers: int, **more: object
) -> None:
    stream, total = stream_of(indexes, which, ranks, workers, tail="drop", **more)
    found = of_all(stream, ranks, workers)
    assert [len(own) for own in found] == [total // ranks] * ranks
    counted = Counter(number for own in found for number in own)
    assert set(counted.values()) <= {1}
    assert total - len(counted) < ranks


@SETTINGS
@given(**any_stream)
def test_with_each_every_photo_comes_once_over_all_ranks(
    indexes: list[ShardIndex], which: int, ranks: int, workers: int, **more: object
) -> None:
    stream, total = stream_of(indexes, which, ranks, workers, tail="each", **more)
    found = of_all(stream, ranks, workers)
    assert sorted(number for own in found for number in own) == list(range(total))
    sizes = [len(own) for own in found]
    assert max(sizes) - min(sizes) <= 1


@SETTINGS
@given(first=st.integers(0, 250), **any_stream)
def test_lengths_are_told_beforehand_and_resuming_gives_the_rest(
    indexes: list[ShardIndex], which: int, ranks: int, workers: int, first: int, **more: object
) -> None:
    stream, _ = stream_of(indexes, which, ranks, workers, **more)
    stream = replace(stream, rank=ranks - 1, ranks=ranks, worker=workers // 2, workers=workers)
    whole = list(stream)
    assert len(stream) == len(whole)
    assert list(stream) == whole  # the same again
    assert list(pickle.loads(pickle.dumps(stream)).samples(first)) == whole[first:]
    parts = [replace(stream, worker=worker) for worker in range(workers)]
    assert stream.rank_photos == sum(map(len, parts))


@SETTINGS
@given(**any_stream)
def test_no_more_photos_are_held_than_the_buffer_has_room_for(
    indexes: list[ShardIndex], which: int, ranks: int, workers: int, **more: object
) -> None:
    stream, _ = stream_of(indexes, which, ranks, workers, **more)
    came = {number: place for place, number in enumerate(numbers(replace(stream, buffer=1)))}
    for place, number in enumerate(numbers(stream)):
        # what comes at this place was read at most so far ahead
        assert came[number] - place < stream.buffer


def test_samples_are_the_photos_of_the_table(indexes: list[ShardIndex]) -> None:
    photos = open_dataset(indexes[1].address).split("train")
    for sample in ShardStream(indexes[1], "train", seed=5, ranks=2, rank=1):
        photo = photos[sample.number]
        assert (sample.name, sample.captions) == (photo.name, photo.captions)
        assert sample.data == photo.path.read_bytes()


def test_each_seed_and_each_epoch_has_its_order(indexes: list[ShardIndex]) -> None:
    stream = ShardStream(indexes[0], "train")
    orders = [
        numbers(replace(stream, seed=seed, epoch=epoch)) for seed in (0, 1) for epoch in (0, 1)
    ]
    assert len({tuple(order) for order in orders}) == 4
    assert numbers(replace(stream, shuffle=False)) == list(range(200))


def test_shards_are_shuffled_too_not_only_what_lies_in_the_buffer(
    indexes: list[ShardIndex],
) -> None:
    stream = ShardStream(indexes[1], "train", buffer=1)
    firsts = {numbers(replace(stream, epoch=epoch))[0] for epoch in range(40)}
    assert firsts == {0, 3, 4, 8, 9, 14, 23, 25}  # the first photo of each shard


def test_a_buffer_mixes_shards(indexes: list[ShardIndex]) -> None:
    found = numbers(ShardStream(indexes[0], "train", buffer=200))
    neighbours = sum(abs(one - two) == 1 for one, two in pairwise(found))
    assert neighbours < 20


def test_three_ranks_over_shards_of_100_50_and_50_photos_take_the_same_number_of_steps(
    indexes: list[ShardIndex],
) -> None:
    batch = 8
    for epoch in range(3):
        stream = ShardStream(indexes[0], "train", epoch=epoch)
        steps = [-(-len(own) // batch) for own in of_all(stream, 3)]
        assert steps == [9, 9, 9]  # 67 photos each


@pytest.fixture
def index(tmp_path: Path) -> ShardIndex:
    loose = made_dataset(tmp_path / "loose", {"train": 40, "dev": 20})
    return write_shards(loose, tmp_path / "shards", photos_per_shard=10)


def cut_off(folder: Path) -> str:
    os.truncate(folder / "train-000001.tar", 5 * 1024)
    return "train-000001.tar: cut off: it ends before byte "


def gone(folder: Path) -> str:
    (folder / "train-000001.tar").unlink()
    return "train-000001.tar: gone: there is no such file"


def table_gone(folder: Path) -> str:
    (folder / "train-000001.jsonl").unlink()
    return "train-000001.jsonl: gone: there is no such file"


def table_damaged(folder: Path) -> str:
    change(folder, "train-000001.jsonl", 200)
    return "train-000001.jsonl: damaged: its checksum is not the one in index.json"


BROKEN = {"cut off": cut_off, "gone": gone, "table gone": table_gone, "table": table_damaged}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_shard_is_named_and_fatal(kind: str, index: ShardIndex) -> None:
    assert isinstance(index.address, Path)
    said = BROKEN[kind](index.address)
    with pytest.raises(ShardError) as error:
        list(ShardStream(index, "train"))
    assert str(error.value).startswith(f"{index.address}/{said}")
    assert str(error.value).endswith(": repair it, or leave it out with on_broken=skip")
    with pytest.raises(ShardError, match=r"train-000001\."):
        open_dataset(index.address)
    assert len(list(ShardStream(index, "dev"))) == 20  # the others are as they were


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_shard_is_left_out_and_ranks_still_yield_equally(
    kind: str, index: ShardIndex, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(index.address, Path)
    said = BROKEN[kind](index.address)
    whole = set(range(40)) - set(range(10, 20))
    caplog.set_level(logging.WARNING)
    for tail, sizes in (("wrap", [14, 14, 14]), ("drop", [13, 13, 13])):
        stream = ShardStream(index, "train", tail=tail, on_broken="skip", buffer=6)
        found = of_all(stream, 3)
        assert [len(own) for own in found] == sizes
        read = {number for own in found for number in own}
        assert read - set(range(10, 20)) == whole or tail == "drop"
        assert of_all(stream, 3) == found
    caplog.clear()
    each = ShardStream(index, "train", tail="each", on_broken="skip")
    found = numbers(each)
    assert set(found) >= whole
    assert len(found) == len(set(found)) < 40
    [message] = caplog.messages
    assert message.startswith(f"left out: {index.address}/{said}")

    caplog.clear()
    left = open_dataset(index.address, on_broken="skip")
    assert len(left.split("train")) == 30
    assert [message.partition(".")[0] for message in caplog.messages] == [
        f"left out: {index.address}/train-000001"
    ]


def test_a_photo_with_another_checksum_is_named(
    index: ShardIndex, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(index.address, Path)
    photo = open_dataset(index.address).split("train")[13].path
    change(index.address, "train-000001.tar", photo.offset + 3)
    said = f"{index.address}/train-000001.tar/train-13.jpg: damaged: its checksum is another"
    with pytest.raises(ShardError) as error:
        list(ShardStream(index, "train"))
    assert str(error.value).startswith(said)
    found = numbers(ShardStream(index, "train", on_broken="skip", tail="each"))
    assert sorted(found) == [number for number in range(40) if number != 13]
    assert [message.startswith(f"left out: {said}") for message in caplog.messages] == [True]
    assert len(list(ShardStream(index, "train", on_broken="skip"))) == 40


def test_where_nothing_is_left_it_says_so_and_does_not_go_round_for_ever(index: ShardIndex) -> None:
    assert isinstance(index.address, Path)
    for path in index.address.glob("train-*.tar"):
        path.unlink()
    with pytest.raises(ShardError, match="no photo of train is left to read"):
        list(ShardStream(index, "train", on_broken="skip"))


def test_a_rank_opens_no_shards_but_its_own(index: ShardIndex) -> None:
    assert isinstance(index.address, Path)
    stream = ShardStream(index, "train", shuffle=False)
    for shard in ("train-000002.tar", "train-000003.tar"):
        (index.address / shard).unlink()
    assert numbers(replace(stream, ranks=2)) == list(range(20))
    assert numbers(replace(stream, ranks=4, rank=1)) == list(range(10, 20))


def test_resuming_opens_no_shards_that_are_done(index: ShardIndex) -> None:
    assert isinstance(index.address, Path)
    stream = ShardStream(index, "train", buffer=3)
    whole = list(stream)
    begun = whole[0].number // 10
    assert begun not in {sample.number // 10 for sample in whole[25:]}
    (index.address / f"train-{begun:06d}.tar").unlink()
    assert list(stream.samples(25)) == whole[25:]


def test_wrong_arguments_are_refused(index: ShardIndex) -> None:
    for wrong in ({"rank": 2, "ranks": 2}, {"worker": -1}, {"buffer": 0}):
        with pytest.raises(ValueError, match=r"count from 0|less than 1"):
            ShardStream(index, "train", **wrong)
    with pytest.raises(DatasetError, match="no shards of the split test"):
        ShardStream(index, "test")
