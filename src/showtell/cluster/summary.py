"""What a job says at its end: done, failed by reason, speed, cost; a rehearsal's estimate."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from showtell.cluster.output import PartResult

SUMMARY = "_summary.json"
_MILLION = 1_000_000


@dataclass(frozen=True)
class Estimate:
    """What the whole input would take at a rehearsal's speed, on as many cores."""

    photos: int
    counted: bool
    """Whether `photos` is exact; else it is reckoned from a part of the shards."""
    seconds: float
    core_hours: float
    cost: float | None


@dataclass(frozen=True)
class Summary:
    """A finished job. Speed and cost are of the run that ended it, or of the parts' own times.

    A run's seconds count from its first part's start to its last part's end: Ray's own start is
    apart, in `starting`.
    """

    input: str
    output: str
    model: str
    parts: int
    photos: int
    captioned: int
    failed: int
    failed_by_reason: dict[str, int]
    cores: int
    run_photos: int
    run_seconds: float
    starting: float
    photos_per_second: float
    core_hours_per_million: float
    price_per_core_hour: float | None
    cost_per_million: float | None
    busy_seconds: float
    cpu_seconds: float
    reading_seconds: float
    worker_memory: int
    estimate: Estimate | None = None

    def to_json(self) -> str:
        """Return it as JSON text."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def lines(self) -> list[str]:
        """Return it for a person."""
        lines = [f"{self.captioned:,} photos captioned, {self.failed:,} failed, in {self.output}"]
        lines += [f"  {count:,}: {reason}" for reason, count in self.failed_by_reason.items()]
        if self.photos_per_second:
            lines.append(
                f"{self.photos_per_second:,.1f} photos per second on {_cores(self.cores)}"
                f" ({self.run_photos:,} in {duration(self.run_seconds)},"
                f" after {duration(self.starting)} to start)"
            )
            lines.append(_costs(self.core_hours_per_million, self.price_per_core_hour))
        if self.estimate is not None:
            whole = self.estimate
            about = "" if whole.counted else "about "
            cost = "" if whole.cost is None else f", {_money(whole.cost)}"
            lines.append(
                f"the whole input, {about}{whole.photos:,} photos, would take"
                f" {duration(whole.seconds)} on {_cores(self.cores)}:"
                f" {whole.core_hours:,.2f} core hours{cost}"
            )
        return lines


@dataclass(frozen=True)
class Run:
    """What a run was: its cores, seconds from the first part's start on, and those before that."""

    cores: int
    photos: int
    seconds: float
    starting: float


def summarise(
    results: Iterable[PartResult],
    run: Run,
    *,
    input: str,
    output: str,
    model: str,
    price: float | None,
    whole: tuple[int, bool] | None = None,
) -> Summary:
    """Put together what a job's parts and its last run say.

    `whole` is how many photos a rehearsal's whole input has, and whether they were counted. Where
    the run had nothing left to do, speed is that of the parts: cores times photos by busy second.
    """
    results = list(results)
    by_reason: Counter[str] = Counter()
    for result in results:
        by_reason.update(result.reasons)
    captioned = sum(result.captioned for result in results)
    failed = by_reason.total()
    busy = sum(result.seconds for result in results)
    if run.photos and run.seconds > 0:
        rate = run.photos / run.seconds
    else:
        rate = run.cores * (captioned + failed) / busy if busy > 0 else 0.0
    hours = run.cores * _MILLION / rate / 3600 if rate else 0.0  # of cores, for a million
    estimate = None
    if whole is not None and rate:
        photos, counted = whole
        core_hours = hours * photos / _MILLION
        estimate = Estimate(
            photos,
            counted,
            photos / rate,
            core_hours,
            None if price is None else price * core_hours,
        )
    return Summary(
        input=input,
        output=output,
        model=model,
        parts=len(results),
        photos=captioned + failed,
        captioned=captioned,
        failed=failed,
        failed_by_reason=dict(by_reason.most_common()),
        cores=run.cores,
        run_photos=run.photos,
        run_seconds=run.seconds,
        starting=run.starting,
        photos_per_second=rate,
        core_hours_per_million=hours,
        price_per_core_hour=price,
        cost_per_million=None if price is None else price * hours,
        busy_seconds=busy,
        cpu_seconds=sum(result.cpu for result in results),
        reading_seconds=sum(result.reading for result in results),
        worker_memory=max((result.memory for result in results), default=0),
        estimate=estimate,
    )


def duration(seconds: float) -> str:
    """Return a span of time for a person: 41 s, 12 min, 3.4 h, 11.6 days."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 72 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"


def _cores(count: int) -> str:
    return f"{count:,} core" + ("s" if count != 1 else "")


def _costs(hours: float, price: float | None) -> str:
    if price is None:
        return f"a million photos: {hours:,.2f} core hours (--price-per-core-hour says the cost)"
    return f"a million photos: {hours:,.2f} core hours, {_money(price * hours)}"


def _money(amount: float) -> str:
    return f"{amount:,.2f}" if amount >= 0.1 else f"{amount:.3g}"
