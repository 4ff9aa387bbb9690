"""The job: an input's parts through a pool of Ray actors, each part into a file of its own.

Ray Data keeps the pool: it starts actors where cores are, hands each the next part when it has
room, starts lost ones again with the part that was lost, and adds machines where a cluster grows.
What it is not given are the photos. Its readers would put their bytes through the object store
into blocks that end elsewhere every time; a worker reads its part itself, as a stream, so that what
it writes depends on the part alone: whoever captions it, and however often, the file is the same.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
import ray.data
import ray.exceptions

from showtell.bundle import MANIFEST, Bundle, load_bundle, sha256
from showtell.bundle.onnx_runtime import usable_cores
from showtell.bundle.registry import find_bundle
from showtell.captioner import BATCH_SIZE
from showtell.cluster.inputs import (
    Input,
    Kind,
    Part,
    absolute,
    find_input,
    first_photos,
    part_size,
    spread_sample,
    total_photos,
)
from showtell.cluster.job_state import Job, check_same, finished, kept_job, sweep
from showtell.cluster.output import PartResult
from showtell.cluster.storage import Storage
from showtell.cluster.summary import SUMMARY, Run, Summary, summarise
from showtell.cluster.worker import CaptionParts, Work
from showtell.decoding.options import Decoding
from showtell.errors import ShowtellError

LOCAL, AUTO = "local", "auto"
ADDRESS_VARIABLE = "RAY_ADDRESS"  # set by `ray job submit`
_OBJECT_STORE = 100_000_000  # bytes: nothing but the model and the parts' results goes through it
_ANSWER = 10  # seconds in which a cluster's head must take a connection
_STARTS = 5  # of Ray on this machine, until it is given up
_QUEUED = 2  # parts that an actor has: the one it is at, and the next


@dataclass(frozen=True)
class JobOptions:
    """The options of `showtell cluster caption`, each of the same name.

    `decoding` holds those of `Captioner.caption` that say how captions are found.
    Raises ValueError where one is out of range or two do not fit together.
    """

    model: str | None = None
    kind: Kind | None = None
    column: str | None = None
    name_column: str | None = None
    root: Path | str | None = None
    address: str | None = None
    """A running Ray cluster, `auto` for the one that is found, `local` for this machine alone."""
    concurrency: int | None = None
    """Workers, one core each; None for all cores there are."""
    batch_size: int = BATCH_SIZE
    part_size: int | None = None
    """Photos of a part; None for what keeps all workers busy."""
    limit: int | None = None
    sample: float | None = None
    price_per_core_hour: float | None = None
    decoding: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("concurrency", "batch_size", "part_size", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} is less than 1")
        if self.sample is not None and not 0 < self.sample <= 1:
            raise ValueError(f"sample={self.sample} is not above 0 and at most 1")
        if self.limit is not None and self.sample is not None:
            raise ValueError("limit and sample are two ways to rehearse: give one")
        if self.price_per_core_hour is not None and not self.price_per_core_hour >= 0:
            raise ValueError(f"price_per_core_hour={self.price_per_core_hour} is negative")
        if self.decoding.get("strategy") == "sample":
            raise ValueError("strategy=sample draws by a photo's place, which parts do not keep")

    @property
    def is_rehearsal(self) -> bool:
        """Whether only a part of the input is wanted."""
        return self.limit is not None or self.sample is not None


class CaptionActor(CaptionParts):
    """A worker as Ray makes it: the model comes through the object store, once to each machine."""

    def __init__(self, work: Work, bundle: ray.ObjectRef[dict[str, bytes]]) -> None:
        super().__init__(work, ray.get(bundle))


def caption_all(
    input: Path | str,
    output: Path | str,
    options: JobOptions,
    report: Callable[[int, int], None] | None = None,
) -> Summary:
    """Caption the photos of `input` into Parquet files in the folder `output`, or go on with it.

    `report` is told how many parts of how many are done. Returns what `_summary.json` says.
    Raises ShowtellError where the input has no photos, `output` holds another job or cannot be
    written, or there is no cluster; ValueError where an option is out of range.
    """
    began = time.monotonic()
    bundle = load_bundle(find_bundle(options.model))
    decoding = Decoding.of(bundle.manifest.decoding, **options.decoding)
    storage = Storage.of(output)
    local = _address(options) == LOCAL
    kept = kept_job(storage)
    found = find_input(
        input if local else absolute(input),
        kind=options.kind,
        column=options.column,
        name_column=options.name_column,
        root=options.root,
        listing=storage,
        write_listing=kept is None,
    )
    if found.kind == "parquet" and f"{storage.address}/".startswith(f"{absolute(input)}/"):
        raise ShowtellError(f"{storage.address}: lies in INPUT, which it would become a part of")
    make = _JobMaker(found, options, bundle, decoding)
    parts, done = None, {}
    if kept is not None:
        job, parts = make(options.part_size or kept.part_size)
        check_same(storage, kept, job)
        done = finished(storage, job, parts)
    run = Run(options.concurrency or usable_cores(), 0, 0.0, 0.0)
    if parts is None or len(done) < len(parts):
        with joined(options) as cores:
            workers = options.concurrency or cores
            if parts is None:
                size = part_size(make.wanted(), workers, options.batch_size)
                job, parts = make(options.part_size or size)
                job.keep(storage)
            sweep(storage)
            work = Work(
                job.id,
                replace(found, sources=()),
                storage,
                options.decoding,
                options.batch_size,
                str(Path.cwd()) if local else None,
            )
            left = [part for part in parts if part.number not in done]
            run = _run(work, bundle, left, workers, done, report or (lambda *_: None), began)
    if len(done) < len(parts):
        raise ShowtellError(
            f"Ray lost {len(parts) - len(done)} of {len(parts)} parts: the same again captions them"
        )
    summary = summarise(
        done.values(),
        run,
        input=found.address,
        output=storage.address,
        model=bundle.manifest.name,
        price=options.price_per_core_hour,
        whole=total_photos(found) if options.is_rehearsal else None,
    )
    storage.write(SUMMARY, summary.to_json().encode())
    return summary


@dataclass(frozen=True)
class _JobMaker:
    """Makes the job, and its parts, of a size of parts."""

    found: Input
    options: JobOptions
    bundle: Bundle
    decoding: Decoding

    def __call__(self, size: int) -> tuple[Job, list[Part]]:
        options, found = self.options, self.found
        parts = found.parts(size)
        if options.limit is not None:
            parts = first_photos(found, parts, options.limit)
        if options.sample is not None:
            parts = spread_sample(parts, options.sample)
        job = Job(
            input=found.address,
            kind=found.kind,
            columns=None if found.columns is None else asdict(found.columns),
            root=found.root,
            digest=found.digest,
            batch_size=options.batch_size,
            part_size=size,
            parts=len(parts),
            limit=options.limit,
            sample=options.sample,
            model=self.bundle.manifest.name,
            model_sha256=sha256(self.bundle.file(MANIFEST)),
            decoding=asdict(self.decoding),
        )
        return job, parts

    def wanted(self) -> int | None:
        """Return how many photos are to be captioned, None where that is not known."""
        photos, options = self.found.photos, self.options
        if photos is None:
            return options.limit
        return min(photos, options.limit or photos) if options.sample is None else photos


def _run(
    work: Work,
    bundle: Bundle,
    parts: Sequence[Part],
    workers: int,
    done: dict[int, PartResult],
    report: Callable[[int, int], None],
    began: float,
) -> Run:
    """Caption parts on a pool of actors, and put their results into `done`."""
    files = {name: bundle.file(name).read_bytes() for name in [*bundle.manifest.files, MANIFEST]}
    total = len(done) + len(parts)
    report(len(done), total)
    first = last = time.monotonic()
    photos = 0
    with _as_one_line():
        rows = ray.data.from_items(
            [{"part": json.dumps(asdict(part))} for part in parts],
            override_num_blocks=len(parts),  # a part is what is handed out, and tried again
        ).map_batches(
            CaptionActor,
            batch_size=1,
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(
                size=min(workers, len(parts)), max_tasks_in_flight_per_actor=_QUEUED
            ),
            fn_constructor_args=(work, ray.put(files)),
        )
        for row in rows.iter_rows():
            answer = json.loads(row["result"])
            if "stopped" in answer:
                raise ShowtellError(answer["stopped"])
            result = PartResult(**answer)
            last = time.monotonic()
            first = min(first, last - result.seconds) if photos else last - result.seconds
            photos += result.photos
            done[result.number] = result
            report(len(done), total)
    return Run(min(workers, len(parts)), photos, last - first, first - began)


def _address(options: JobOptions) -> str:
    return options.address or os.environ.get(ADDRESS_VARIABLE) or LOCAL


@contextlib.contextmanager
def joined(options: JobOptions) -> Iterator[int]:
    """Join a cluster, or start one on this machine; yield how many cores it has.

    Jobs in the block share it. Raises ShowtellError where there is none.
    """
    if ray.is_initialized():  # by who calls this as a library
        yield _cores()
        return
    address = _address(options)
    settings: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == LOCAL:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
        settings |= {
            "num_cpus": options.concurrency or usable_cores(),
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE,
        }
        os.environ.setdefault("RAY_agent_register_timeout_ms", "120000")
    # no warning of what will change for graphics cards, nor that its token is a new one
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    logging.getLogger("ray").setLevel(logging.ERROR)
    _start(address, settings)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield _cores()
    finally:
        ray.shutdown()


def _cores() -> int:
    return int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]


def _start(address: str, settings: dict[str, Any]) -> None:
    """Call `ray.init`, again where a busy machine did not start Ray's processes in 30 seconds."""
    for trial in itertools.count(1):
        try:
            _knock(address)
            ray.init(address=address, **settings)
            return
        except Exception as error:  # for a start that takes too long Ray has no better one
            ray.shutdown()
            reason = " ".join(str(error).split())[:160]
            if address != LOCAL:
                raise ShowtellError(
                    f"no Ray cluster at {address!r} ({reason}): start one with ray start --head,"
                    f" or give --address {LOCAL}"
                ) from error
            if trial == _STARTS:
                raise ShowtellError(f"Ray does not start on this machine: {reason}") from error


def _knock(address: str) -> None:
    """Raise OSError where nobody listens at HOST:PORT: Ray itself asks there for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "://" not in address:
        socket.create_connection((host, int(port)), _ANSWER).close()


@contextlib.contextmanager
def _as_one_line() -> Iterator[None]:
    """Turn what Ray raises, pages of it, into its last line."""
    try:
        yield
    except ray.exceptions.RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1] if lines else type(error).__name__
        raise ShowtellError(
            f"Ray stopped the job: {reason[:300]} (the same again goes on)"
        ) from error
