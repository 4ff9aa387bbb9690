"""Work on any number of photos in order: opened ahead in threads, finished in batches by others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

Item = TypeVar("Item")
Opened = TypeVar("Opened")
Result = TypeVar("Result")


def pipeline(
    items: Iterable[Item],
    *,
    open_item: Callable[[int, Item], Opened],
    finish: Callable[[list[Opened]], list[Result]],
    batch_size: int,
    threads: int,
) -> Iterator[Result]:
    """Yield `finish`'s results in the order of `items`, which may be endless.

    `open_item` is given an item's place and the item. Batches are finished on `threads` threads,
    one core each, which keeps cores busier than sharing out every operation of a single batch.
    At most threads + 2 batches are read ahead. Closing the iterator ends the threads. An error of
    `items` itself is raised once all before it is done.
    """
    # imported here: one photo needs no threads, and start-up counts
    from concurrent.futures import ThreadPoolExecutor

    ahead: deque[Future[Opened]] = deque()
    running: deque[Future[list[Result]]] = deque()
    stopped: Exception | None = None
    exhausted = False
    count = 0

    def finished(batch: list[Future[Opened]]) -> list[Result]:
        return finish([item.result() for item in batch])

    source = iter(items)
    openers = ThreadPoolExecutor(max(2, threads), "showtell-open")
    finishers = ThreadPoolExecutor(threads, "showtell-finish")
    try:
        while True:
            while not exhausted and len(ahead) < batch_size:
                try:
                    item = next(source)
                except StopIteration:
                    exhausted = True
                except Exception as error:
                    exhausted, stopped = True, error
                else:
                    ahead.append(openers.submit(open_item, count, item))
                    count += 1
            if ahead and len(running) <= threads:
                size = min(batch_size, len(ahead))
                if exhausted and not running:  # few items in all: some for each thread
                    size = -(-size // threads)
                while ahead:
                    batch = [ahead.popleft() for _ in range(min(size, len(ahead)))]
                    running.append(finishers.submit(finished, batch))
            elif running:
                yield from running.popleft().result()
            else:
                break
    finally:
        for pool in (finishers, openers):
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in (finishers, openers):
            pool.shutdown(wait=True)
    if stopped is not None:
        raise stopped
