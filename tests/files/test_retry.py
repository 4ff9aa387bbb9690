from __future__ import annotations

import time

import pytest

from showtell.files.retry import exponential_delay, fixed_delays, retry


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


class Flaky:
    """Fails as often as it is told, then returns "done"."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error, self.calls = failures, error, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return "done"


def test_result_is_returned_after_failures(slept: list[float]) -> None:
    operation = Flaky(2, TimeoutError())
    assert retry(operation, on=TimeoutError, delay=fixed_delays((0.5, 2.0, 5.0))) == "done"
    assert operation.calls == 3
    assert slept == [0.5, 2.0]


def test_last_error_is_raised_when_the_delays_are_used_up(slept: list[float]) -> None:
    operation = Flaky(9, TimeoutError("still"))
    with pytest.raises(TimeoutError, match="still"):
        retry(operation, on=(OSError, ValueError), delay=fixed_delays((1.0,)))
    assert operation.calls == 2
    assert slept == [1.0]


def test_other_errors_are_raised_at_once(slept: list[float]) -> None:
    operation = Flaky(1, KeyError("other"))
    with pytest.raises(KeyError):
        retry(operation, on=OSError, delay=fixed_delays((1.0,)))
    assert slept == []


def test_delay_sees_the_number_of_failures_and_the_error(slept: list[float]) -> None:
    seen: list[tuple[int, str]] = []

    def delay(failures: int, error: Exception) -> float:
        seen.append((failures, str(error)))
        return exponential_delay(failures, first=0.25)

    assert retry(Flaky(3, OSError("busy")), on=OSError, delay=delay) == "done"
    assert seen == [(1, "busy"), (2, "busy"), (3, "busy")]
    assert slept == [0.25, 0.5, 1.0]


def test_exponential_delay_stays_at_its_maximum_after_days_of_failures() -> None:
    assert exponential_delay(3, first=1.0, maximum=30.0) == 4.0
    assert exponential_delay(100_000, first=1.0, maximum=30.0) == 30.0
