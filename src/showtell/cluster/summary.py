"""The summary of a job: captions and failures, speed, cost, and the estimate of a rehearsal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from showtell.cluster.output import PartResult
from showtell.files.counts import count_of

SUMMARY_FILE = "_summary.json"
_MILLION = 1_000_000


@dataclass(frozen=True)
class Estimate:
    """The time and cost of the whole input at a rehearsal's speed on the same cores.

    `counted` tells whether `photos` is exact or estimated from some of the shards.
    """

    photos: int
    counted: bool
    seconds: float
    core_hours: float
    cost: float | None


@dataclass(frozen=True)
class RunStatistics:
    """A run of the job: `seconds` from the start of its first part, `starting` those before."""

    cores: int
    photos: int
    seconds: float
    starting: float


@dataclass(frozen=True)
class JobSummary:
    """A finished job. Its speed is that of the last run, or comes from the parts' own times.

    Core hours and cost are those of the processor time that all parts took.

    `run_seconds` count from the start of the first part to the end of the last; the start of Ray
    before is `starting`. `worker_memory` is the peak of any worker, in bytes.
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
        """Return the summary as JSON text."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def lines(self) -> list[str]:
        """Return the summary as lines of text."""
        captioned = count_of(self.captioned, "photo")
        lines = [f"{captioned} captioned, {self.failed:,} failed, in {self.output}"]
        lines += [f"  {count:,}: {reason}" for reason, count in self.failed_by_reason.items()]
        if self.photos_per_second:
            lines.append(
                f"{self.photos_per_second:,.1f} photos per second on {_cores_text(self.cores)}"
                f" ({self.run_photos:,} in {format_duration(self.run_seconds)},"
                f" after {format_duration(self.starting)} to start)"
            )
            lines.append(_cost_line(self.core_hours_per_million, self.price_per_core_hour))
        if self.estimate is not None:
            lines.append(_estimate_line(self.estimate, self.cores))
        return lines


@dataclass(frozen=True)
class JobNames:
    """The addresses of a job's input and output, and its model."""

    input: str
    output: str
    model: str


def summarise_job(
    results: Iterable[PartResult],
    run: RunStatistics,
    names: JobNames,
    *,
    price: float | None,
    whole: tuple[int, bool] | None = None,
) -> JobSummary:
    """Return the summary of a job's parts and its last run.

    For a rehearsal, `whole` is the number of photos of the whole input and whether it is exact.
    If the run had nothing left to do, the speed comes from the busy time of the parts.
    """
    results = list(results)
    reasons: Counter[str] = Counter()
    for result in results:
        reasons.update(result.reasons)
    captioned = sum(result.captioned for result in results)
    failed = reasons.total()
    busy = sum(result.seconds for result in results)
    if run.photos and run.seconds > 0:
        rate = run.photos / run.seconds
    else:
        rate = run.cores * (captioned + failed) / busy if busy > 0 else 0.0
    cpu = sum(result.cpu for result in results)
    photos = captioned + failed
    # processor time: wall time depends on what else runs on the cores
    core_hours = cpu * _MILLION / photos / 3600 if photos else 0.0  # per million photos
    return JobSummary(
        input=names.input,
        output=names.output,
        model=names.model,
        parts=len(results),
        photos=photos,
        captioned=captioned,
        failed=failed,
        failed_by_reason=dict(reasons.most_common()),
        cores=run.cores,
        run_photos=run.photos,
        run_seconds=run.seconds,
        starting=run.starting,
        photos_per_second=rate,
        core_hours_per_million=core_hours,
        price_per_core_hour=price,
        cost_per_million=None if price is None else price * core_hours,
        busy_seconds=busy,
        cpu_seconds=cpu,
        reading_seconds=sum(result.reading for result in results),
        worker_memory=max((result.memory for result in results), default=0),
        estimate=_estimate(whole, rate, core_hours, price),
    )


def format_duration(seconds: float) -> str:
    """Return a duration as text, such as 41 s, 12 min, 3.4 h or 11.6 days."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 72 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"


def _estimate(
    whole: tuple[int, bool] | None, rate: float, core_hours_per_million: float, price: float | None
) -> Estimate | None:
    if whole is None or not rate:
        return None
    photos, counted = whole
    core_hours = core_hours_per_million * photos / _MILLION
    cost = None if price is None else price * core_hours
    return Estimate(photos, counted, photos / rate, core_hours, cost)


def _estimate_line(estimate: Estimate, cores: int) -> str:
    about = "" if estimate.counted else "about "
    cost = "" if estimate.cost is None else f", {_money(estimate.cost)}"
    return (
        f"the whole input, {about}{count_of(estimate.photos, 'photo')}, would take"
        f" {format_duration(estimate.seconds)} on {_cores_text(cores)}:"
        f" {estimate.core_hours:,.2f} core hours{cost}"
    )


def _cost_line(core_hours: float, price: float | None) -> str:
    if price is None:
        return f"a million photos: {core_hours:,.2f} core hours (cost: give --price-per-core-hour)"
    return f"a million photos: {core_hours:,.2f} core hours, {_money(price * core_hours)}"


def _cores_text(count: int) -> str:
    return f"{count:,} core" + ("s" if count != 1 else "")


def _money(amount: float) -> str:
    return f"{amount:,.2f}" if amount >= 0.1 else f"{amount:.3g}"
