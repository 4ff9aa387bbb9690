"""The photo queue: batches, fairness, limits, timeouts and retries."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from showtell.server.photo_pixels import LIGHT_PIXELS
from showtell.server.photo_queue import PhotoQueue
from showtell.server.queued_requests import (
    BusyError,
    CaptionRequest,
    PhotoResult,
    QueuedPhoto,
    TooManyPixelsError,
)


def request(*photos: str, **options: Any) -> CaptionRequest:
    return CaptionRequest([photo.encode() for photo in photos], list(photos), options)


def names_of(batch: list[QueuedPhoto]) -> list[str | None]:
    return [photo.name for photo in batch]


def results_of(batch: list[QueuedPhoto]) -> list[PhotoResult]:
    return [PhotoResult(False, photo.data.upper()) for photo in batch]


async def submit(
    queue: PhotoQueue, *requests: CaptionRequest
) -> list[asyncio.Task[list[PhotoResult]]]:
    """Submit requests to the queue one after the other."""
    tasks = []
    for item in requests:
        tasks.append(asyncio.create_task(queue.submit(item)))
        await asyncio.sleep(0)
    return tasks


def test_requests_take_turns_photo_by_photo_and_get_their_own_results() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=9, wait=60, workers=4)
        three, first, second = await submit(queue, request(*"abc"), request("x"), request("y"))
        mixed_batch = await queue.take_batch(3)
        assert names_of(mixed_batch) == ["a", "x", "y"]
        rest = await queue.take_batch(3)
        assert names_of(rest) == ["b", "c"]
        queue.finish(rest, results_of(rest), 0.1)
        queue.finish(mixed_batch, results_of(mixed_batch), 0.1)
        assert [result.json for result in await three] == [b"A", b"B", b"C"]
        assert [result.json for result in [*await first, *await second]] == [b"X", b"Y"]

    asyncio.run(run())


def test_only_photos_with_equal_options_share_a_batch_and_the_order_stays() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=9, wait=60, workers=1)
        await submit(
            queue,
            request("a", beam=3),
            request("b", beam=5),
            request("c", beam=3),
            request("d", beam=3, seed=0),
        )
        batches = [names_of(await queue.take_batch(8)) for _ in range(3)]
        assert batches == [["a", "c"], ["b"], ["d"]]

    asyncio.run(run())


def test_each_sampled_photo_gets_a_batch_of_its_own() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=9, wait=60, workers=1)
        sampled = [request(name, strategy="sample", seed=1) for name in "ab"]
        await submit(queue, *sampled)
        assert [names_of(await queue.take_batch(8)) for _ in range(2)] == [["a"], ["b"]]

    asyncio.run(run())


def test_full_queue_refuses_a_request_and_says_when_to_retry() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=3, wait=60, workers=2)
        await submit(queue, request(*"abc"))
        queue.finish(batch := await queue.take_batch(1), results_of(batch), 60.0)
        queue.check_capacity(1)
        with pytest.raises(BusyError) as refused:
            await queue.submit(request(*"xy"))
        assert 1 < refused.value.retry_after <= 60
        assert queue.waiting == 2

    asyncio.run(run())


def test_waiting_request_times_out_but_a_started_one_does_not() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=9, wait=0.05, workers=1)
        [started] = await submit(queue, request(*"ab"))
        first = await queue.take_batch(1)
        [late] = await submit(queue, request("x"))
        with pytest.raises(BusyError, match="no worker was free in time"):
            await late
        queue.finish(first, results_of(first), 0.1)
        second = await queue.take_batch(8)
        assert names_of(second) == ["b"]
        queue.finish(second, results_of(second), 0.1)
        assert len(await started) == 2

    asyncio.run(run())


def test_cancelled_request_frees_its_room_and_its_late_result_is_ignored() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=3, wait=60, workers=1)
        cancelled, other = await submit(queue, request(*"ab"), request("x"))
        first = await queue.take_batch(1)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        assert queue.waiting == 1
        queue.finish(first, results_of(first), 0.1)
        second = await queue.take_batch(8)
        assert names_of(second) == ["x"]
        queue.finish(second, results_of(second), 0.1)
        assert await other == [PhotoResult(False, b"X")]

    asyncio.run(run())


def test_photos_of_a_crashed_batch_are_retried_once_and_alone() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=9, wait=60, workers=1)
        [task] = await submit(queue, request(*"abc"))
        batch = await queue.take_batch(8)
        queue.retry(batch, lambda photo: PhotoResult(True, b"not yet"))
        for _ in range(3):
            single = await queue.take_batch(8)
            assert len(single) == 1
            if names_of(single) == ["b"]:
                queue.retry(single, lambda photo: PhotoResult(True, b"killed"))
            else:
                queue.finish(single, results_of(single), 0.1)
        assert [result.json for result in await task] == [b"A", b"killed", b"C"]

    asyncio.run(run())


def test_photo_that_hung_alone_is_not_retried() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=9, wait=60, workers=1)
        [task] = await submit(queue, request("a"))
        queue.retry(await queue.take_batch(8), lambda photo: PhotoResult(True, b"hung"), hung=True)
        assert await task == [PhotoResult(True, b"hung")]

    asyncio.run(run())


def test_batches_shrink_when_photos_are_slow_and_grow_again() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=99, wait=60, workers=1)
        await submit(queue, request(*map(str, range(99))))

        async def size_after(seconds: float) -> int:
            for _ in range(30):
                queue.finish(batch := await queue.take_batch(1), results_of(batch), seconds)
            last = await queue.take_batch(8)
            queue.finish(last, results_of(last), seconds)
            return len(last)

        assert [await size_after(seconds) for seconds in (0.2, 0.9, 0.001)] == [4, 1, 4]

    asyncio.run(run())


def test_delay_lets_a_batch_fill(monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = asyncio.sleep

    async def run() -> None:
        passed = asyncio.Event()

        async def sleep_until_passed(seconds: float) -> None:
            await (passed.wait() if seconds else sleep(0))

        monkeypatch.setattr(asyncio, "sleep", sleep_until_passed)
        queue = PhotoQueue(size=9, wait=60, workers=1)
        taking = asyncio.create_task(queue.take_batch(8, delay=0.2))
        await submit(queue, request("a"))
        await submit(queue, request("b"))
        passed.set()
        assert names_of(await taking) == ["a", "b"]

    asyncio.run(run())


def undone(batch: list[QueuedPhoto]) -> list[PhotoResult | None]:
    return [None] * len(batch)


def test_request_holds_at_most_half_of_the_workers() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=99, wait=60, workers=4)
        large, small = await submit(queue, request(*"abcdef"), request(*"xy", beam=2))
        assert [names_of(await queue.take_batch(2)) for _ in range(3)] == [
            ["a", "b"],
            ["x", "y"],
            ["c", "d"],
        ]
        blocked = asyncio.create_task(queue.take_batch(2))
        await asyncio.sleep(0.01)
        assert not blocked.done()
        [other] = await submit(queue, request("z"))
        assert names_of(await blocked) == ["z"]
        for task in (large, small, other):
            task.cancel()

    asyncio.run(run())


def test_photos_with_many_pixels_wait_apart_and_take_turns_with_the_others() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=99, wait=60, workers=1)
        [slow] = await submit(queue, request(*"ABC"))
        batch = await queue.take_batch(8)
        queue.finish(batch, undone(batch), 0.01, [LIGHT_PIXELS + 1] * 3)
        assert (queue.waiting, queue.waiting_slow) == (0, 3)
        [light] = await submit(queue, request(*"uvwxyz"))
        order = []
        for _ in range(6):
            batch = await queue.take_batch(2)
            order.append("".join(str(name) for name in names_of(batch)))
            queue.finish(batch, results_of(batch), 0.1, [LIGHT_PIXELS + 1] * len(batch))
        assert order == ["A", "uv", "B", "wx", "C", "yz"]
        assert len(await slow) == 3
        assert len(await light) == 6

    asyncio.run(run())


def test_at_most_half_of_the_workers_have_slow_photos() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=99, wait=60, workers=2)
        tasks = await submit(queue, *(request(name) for name in "ABC"))
        batch = await queue.take_batch(8)
        queue.finish(batch, undone(batch), 0.01, [LIGHT_PIXELS + 1] * 3)
        first = await queue.take_batch(8)
        assert names_of(first) == ["A"]
        blocked = asyncio.create_task(queue.take_batch(8))
        await asyncio.sleep(0.01)
        assert not blocked.done()
        tasks += await submit(queue, request("x"))
        assert names_of(await blocked) == ["x"]
        queue.finish(first, results_of(first), 0.1)
        assert names_of(await queue.take_batch(8)) == ["B"]
        for task in tasks:
            task.cancel()

    asyncio.run(run())


def test_photos_beyond_the_pixels_of_a_batch_come_next() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=99, wait=60, workers=1)
        task, other = await submit(queue, request(*"abc"), request("x"))
        batch = await queue.take_batch(3)
        assert names_of(batch) == ["a", "x", "b"]
        queue.finish(batch, [*results_of(batch)[:1], None, None], 0.1, [9, 9, 9])
        batch = await queue.take_batch(3)
        assert names_of(batch) == ["x", "b", "c"]
        queue.finish(batch, results_of(batch), 0.1, [9, 9, 9])
        assert [result.json for result in [*await task, *await other]] == [b"A", b"B", b"C", b"X"]

    asyncio.run(run())


def test_request_with_too_many_pixels_is_refused() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=99, wait=60, workers=1, max_pixels=100)
        large, small = await submit(queue, request(*"abc"), request("x"))
        batch = await queue.take_batch(8)
        assert names_of(batch) == ["a", "x", "b", "c"]
        queue.finish(batch, undone(batch), 0.1, [40, 40, 40, 40])
        with pytest.raises(TooManyPixelsError):
            await large
        batch = await queue.take_batch(8)
        assert names_of(batch) == ["x"]
        queue.finish(batch, results_of(batch), 0.1, [40])
        assert len(await small) == 1
        assert (queue.waiting, queue.waiting_slow) == (0, 0)

    asyncio.run(run())


def test_slow_photos_are_refused_when_too_many_wait() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=99, wait=2, workers=2)
        requests = [request(f"{number}", f"{number}") for number in range(8)]
        tasks = await submit(queue, *requests)
        for _ in range(2):
            batch = await queue.take_batch(8)
            queue.finish(batch, undone(batch), 0.01, [LIGHT_PIXELS + 1] * len(batch))
        await asyncio.sleep(0)
        refused = [task for task in tasks if task.done()]
        assert 0 < len(refused) < len(tasks)
        assert all(isinstance(task.exception(), BusyError) for task in refused)
        for task in tasks:
            task.cancel()

    asyncio.run(run())


def test_client_may_fill_half_of_the_queue() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=8, wait=60, workers=1)
        mine, yours = (
            CaptionRequest([b"photo"] * 3, ["a"] * 3, {}, client=client) for client in ("me", "you")
        )
        tasks = await submit(queue, mine)
        with pytest.raises(BusyError, match="your other photos"):
            await queue.submit(mine)
        tasks += await submit(queue, yours)
        for task in tasks:
            task.cancel()

    asyncio.run(run())


def test_forms_leave_a_quarter_of_the_queue_to_single_photos() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=8, wait=60, workers=2)
        tasks = await submit(queue, request(*"abcd"))
        with pytest.raises(BusyError, match="the queue is full"):
            await queue.submit(request(*"efgh"))
        tasks += await submit(queue, request(*"ij"), *[request(photo) for photo in "kl"])
        assert queue.waiting == 8
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        [whole] = await submit(queue, request(*"abcdefgh"))
        assert queue.waiting == 8
        whole.cancel()

    asyncio.run(run())


def test_large_photos_of_a_client_leave_room_for_those_of_others() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=99, wait=4, workers=2)

        def photo_of(client: str) -> CaptionRequest:
            return CaptionRequest([b"photo"], ["photo"], {}, client=client)

        mine = await submit(queue, *[photo_of("me") for _ in range(12)])
        yours = await submit(queue, photo_of("you"))
        while queue.waiting:
            batch = await queue.take_batch(8)
            queue.finish(batch, undone(batch), 0.01, [LIGHT_PIXELS + 1] * len(batch))
        await asyncio.sleep(0)
        refused = [task for task in mine if task.done()]
        assert 0 < len(refused) < len(mine)
        assert "your other large photos" in str(refused[0].exception())
        assert not yours[0].done()
        for task in [*mine, *yours]:
            task.cancel()

    asyncio.run(run())


def test_queue_takes_what_its_workers_can_do_in_time() -> None:
    async def run() -> None:
        queue = PhotoQueue(size=99, wait=10, workers=1)
        tasks = await submit(queue, request(*"abcde"))
        for _ in range(60):
            queue.finish(batch := await queue.take_batch(1), undone(batch), 0.1, [1])
        queue.check_capacity()
        queue.finish(batch := await queue.take_batch(1), results_of(batch), 300.0, [1])
        with pytest.raises(BusyError, match="too slow"):
            queue.check_capacity()
        for task in tasks:
            task.cancel()

    asyncio.run(run())


@settings(max_examples=60)
@given(data=st.data())
def test_every_request_is_answered_completely_refused_or_cancelled(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=12))
    cancelled = data.draw(st.sets(st.integers(0, 11)))
    crashes = data.draw(st.lists(st.booleans(), max_size=10))
    pixels = itertools.cycle(
        data.draw(st.lists(st.sampled_from([1, LIGHT_PIXELS + 1]), min_size=1, max_size=5))
    )
    # Drawn here: in a worker's task, an exception of Hypothesis would only end the worker.
    batch_sizes = itertools.cycle(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=10)))

    async def run() -> None:
        queue = PhotoQueue(size=12, wait=60, workers=2)

        async def work() -> None:
            while True:
                batch = await queue.take_batch(next(batch_sizes))
                await asyncio.sleep(0)
                if crashes and crashes.pop():
                    queue.retry(batch, lambda photo: PhotoResult(True, photo.data.upper()))
                else:
                    sizes = [next(pixels) for _ in batch]
                    is_done = [
                        size == 1 or photo.is_slow for size, photo in zip(sizes, batch, strict=True)
                    ]
                    results = zip(results_of(batch), is_done, strict=True)
                    queue.finish(
                        batch, [each if done else None for each, done in results], 0.1, sizes
                    )

        workers = [asyncio.create_task(work()) for _ in range(2)]
        tasks = []
        for number, size in enumerate(sizes):
            item = request(*(f"{number}.{index}" for index in range(size)), beam=number % 3)
            tasks += await submit(queue, item)
            if number in cancelled:
                tasks[-1].cancel()
        outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
        for number, results in enumerate(outcomes):
            if isinstance(results, list):
                expected = [f"{number}.{index}".encode() for index in range(sizes[number])]
                assert [result.json for result in results] == expected
            else:
                assert isinstance(results, BusyError | asyncio.CancelledError)
        assert (queue.waiting, queue.waiting_slow) == (0, 0)
        for worker in workers:
            worker.cancel()

    asyncio.run(run())
