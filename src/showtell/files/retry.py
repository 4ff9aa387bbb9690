"""Repeat an operation that can fail for a moment."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

Result = TypeVar("Result")
Failure = TypeVar("Failure", bound=Exception)


def retry(
    operation: Callable[[], Result],
    *,
    on: type[Failure] | tuple[type[Failure], ...],
    delay: Callable[[int, Failure], float | None],
) -> Result:
    """Return the result of `operation`, which is called again after errors of the types `on`.

    `delay` gets the number of failures so far and the last error. It returns the seconds until
    the next attempt, or None to give up: then the error is raised.
    """
    for failures in itertools.count(1):
        try:
            return operation()
        except on as error:
            seconds = delay(failures, error)
            if seconds is None:
                raise
        time.sleep(seconds)
    raise AssertionError  # itertools.count never ends


def fixed_delays(seconds: Sequence[float]) -> Callable[[int, Exception], float | None]:
    """Return a `delay` for `retry` that waits the given seconds in turn, then gives up."""

    def delay(failures: int, error: Exception) -> float | None:
        return seconds[failures - 1] if failures <= len(seconds) else None

    return delay


def delays_until_timeout(
    interval: float, timeout: float
) -> Callable[[int, Exception], float | None]:
    """Return a `delay` for `retry` that waits `interval` seconds each time, for `timeout` in all.

    The time counts from this call on.
    """
    deadline = time.monotonic() + timeout

    def delay(failures: int, error: Exception) -> float | None:
        return None if time.monotonic() > deadline else interval

    return delay


def exponential_delay(failures: int, first: float, maximum: float = 3600.0) -> float:
    """Return the seconds to wait after a failure: `first`, doubled after each further one.

    The delay never exceeds `maximum`.
    """
    doublings = min(failures - 1, 64)  # more would overflow a float after days of failures
    return min(maximum, first * 2.0**doublings)
