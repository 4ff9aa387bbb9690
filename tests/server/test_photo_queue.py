"""The queue before the workers: batches of equal options, turns, bounds, and a second try."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from showtell.server.photo_queue import Answer, Job, PhotoQueue, QueueFullError, Request


def request(*photos: str, **options: Any) -> Request:
    return Request([photo.encode() for photo in photos], list(photos), options)


def photos_of(batch: list[Job]) -> list[str | None]:
    return [job.name for job in batch]


def captioned(batch: list[Job]) -> list[Answer]:
    return [Answer(False, job.photo.upper()) for job in batch]


async def waiting(queue: PhotoQueue, *requests: Request) -> list[asyncio.Task[list[Answer]]]:
    """Put requests into the queue, one after the other."""
    tasks = []
    for item in requests:
        tasks.append(asyncio.create_task(queue.answer(item)))
        await asyncio.sleep(0)
    return tasks


def test_requests_take_turns_photo_by_photo_and_get_their_own_answers() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=9, wait=60, workers=1)
        many, one, other = await waiting(queue, request(*"abc"), request("x"), request("y"))
        first = await queue.take(3)
        assert photos_of(first) == ["a", "x", "y"]
        second = await queue.take(3)
        assert photos_of(second) == ["b", "c"]
        queue.finish(second, captioned(second), 0.1)
        queue.finish(first, captioned(first), 0.1)
        assert [answer.json for answer in await many] == [b"A", b"B", b"C"]
        assert [answer.json for answer in [*await one, *await other]] == [b"X", b"Y"]

    asyncio.run(run())


def test_only_photos_of_equal_options_share_a_batch_and_none_loses_its_place() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=9, wait=60, workers=1)
        await waiting(
            queue,
            request("a", beam=3),
            request("b", beam=5),
            request("c", beam=3),
            request("d", beam=3, seed=0),
        )
        batches = [photos_of(await queue.take(8)) for _ in range(3)]
        assert batches == [["a", "c"], ["b"], ["d"]]

    asyncio.run(run())


def test_a_sample_is_drawn_alone_so_that_its_place_is_always_the_same() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=9, wait=60, workers=1)
        drawn = [request(name, strategy="sample", seed=1) for name in "ab"]
        await waiting(queue, *drawn)
        assert [photos_of(await queue.take(8)) for _ in range(2)] == [["a"], ["b"]]

    asyncio.run(run())


def test_past_its_end_the_queue_refuses_and_says_when_to_come_again() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=3, wait=60, workers=2)
        await waiting(queue, request(*"abc"))
        queue.finish(batch := await queue.take(1), captioned(batch), 60.0)  # so slow is a photo
        queue.check_room(1)
        with pytest.raises(QueueFullError) as refused:
            await queue.answer(request(*"xy"))
        assert 1 < refused.value.retry_after <= 60
        assert queue.waiting == 2

    asyncio.run(run())


def test_a_request_whose_turn_does_not_come_is_refused_and_one_that_has_begun_is_not() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=9, wait=0.01, workers=1)
        [begun] = await waiting(queue, request(*"ab"))
        first = await queue.take(1)
        [late] = await waiting(queue, request("x"))
        with pytest.raises(QueueFullError):
            await late
        queue.finish(first, captioned(first), 0.1)
        second = await queue.take(8)
        assert photos_of(second) == ["b"]
        queue.finish(second, captioned(second), 0.1)
        assert len(await begun) == 2

    asyncio.run(run())


def test_who_leaves_frees_the_place_and_an_answer_that_comes_later_hurts_nobody() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=3, wait=60, workers=1)
        gone, stays = await waiting(queue, request(*"ab"), request("x"))
        first = await queue.take(1)
        gone.cancel()
        await asyncio.wait([gone])
        assert queue.waiting == 1
        queue.finish(first, captioned(first), 0.1)
        second = await queue.take(8)
        assert photos_of(second) == ["x"]
        queue.finish(second, captioned(second), 0.1)
        assert await stays == [Answer(False, b"X")]

    asyncio.run(run())


def test_photos_of_a_batch_that_killed_its_worker_are_tried_singly_and_once() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=9, wait=60, workers=1)
        [task] = await waiting(queue, request(*"abc"))
        batch = await queue.take(8)
        queue.put_back(batch, lambda job: Answer(True, b"never yet"))
        for _ in range(3):
            single = await queue.take(8)
            assert len(single) == 1
            if photos_of(single) == ["b"]:
                queue.put_back(single, lambda job: Answer(True, b"killed"))
            else:
                queue.finish(single, captioned(single), 0.1)
        assert [answer.json for answer in await task] == [b"A", b"killed", b"C"]

    asyncio.run(run())


def test_a_photo_that_hung_alone_is_not_tried_again() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=9, wait=60, workers=1)
        [task] = await waiting(queue, request("a"))
        queue.put_back(await queue.take(8), lambda job: Answer(True, b"hung"), hung=True)
        assert await task == [Answer(True, b"hung")]

    asyncio.run(run())


def test_batches_become_smaller_where_photos_take_long_and_larger_again() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=99, wait=60, workers=1)
        await waiting(queue, request(*map(str, range(99))))

        async def size_after(seconds: float) -> int:
            for _ in range(30):
                queue.finish(batch := await queue.take(1), captioned(batch), seconds)
            return len(await queue.take(8))

        assert [await size_after(seconds) for seconds in (0.2, 0.9, 0.001)] == [4, 1, 4]

    asyncio.run(run())


def test_a_delay_lets_a_batch_fill() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=9, wait=60, workers=1)
        taking = asyncio.create_task(queue.take(8, delay=0.2))
        await waiting(queue, request("a"))
        await asyncio.sleep(0.02)
        await waiting(queue, request("b"))
        assert photos_of(await taking) == ["a", "b"]

    asyncio.run(run())


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_whatever_comes_each_request_is_answered_whole_refused_or_left(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=12))
    leaving = data.draw(st.sets(st.integers(0, 11)))
    deaths = data.draw(st.lists(st.booleans(), max_size=10))

    async def run() -> None:
        queue = PhotoQueue(size=12, wait=60, workers=2)

        async def work() -> None:
            while True:
                batch = await queue.take(data.draw(st.integers(1, 4)))
                await asyncio.sleep(0)
                if deaths and deaths.pop():
                    queue.put_back(batch, lambda job: Answer(True, job.photo.upper()))
                else:
                    queue.finish(batch, captioned(batch), 0.1)

        workers = [asyncio.create_task(work()) for _ in range(2)]
        tasks = []
        for number, size in enumerate(sizes):
            item = request(*(f"{number}.{place}" for place in range(size)), beam=number % 3)
            tasks += await waiting(queue, item)
            if number in leaving:
                tasks[-1].cancel()
        found = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
        for number, answers in enumerate(found):
            if isinstance(answers, list):
                expected = [f"{number}.{place}".encode() for place in range(sizes[number])]
                assert [answer.json for answer in answers] == expected
            else:
                assert isinstance(answers, QueueFullError | asyncio.CancelledError)
        assert queue.waiting == 0
        for worker in workers:
            worker.cancel()

    asyncio.run(run())
