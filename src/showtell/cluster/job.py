"""The job: a pool of Ray actors captions the parts of an input, each into its own file.

Ray Data manages the pool: it starts actors on free cores, gives each the next part, restarts lost
actors with their parts, and adds machines to a growing cluster. The photos do not pass through
Ray, because its readers would copy them through the object store and cut them into different
blocks in each run. A worker reads its part itself, so that the output of a part depends on the
part alone, whichever worker captions it and however often.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
import ray.data

from showtell.bundle import MANIFEST, Bundle, load_bundle, sha256
from showtell.bundle.cpu_cores import usable_cores
from showtell.bundle.registry import find_bundle
from showtell.captioner import BATCH_SIZE
from showtell.cluster.folder_listing import (
    LISTING,
    FolderPhotos,
    ListingError,
    check_listing,
    write_listing,
)
from showtell.cluster.inputs import (
    InputKind,
    JobInput,
    ParquetOptions,
    absolute_address,
    limit_parts,
    open_input,
    total_photos,
)
from showtell.cluster.job_state import (
    JobSpec,
    check_same_job,
    clean_partial,
    finished_parts,
    load_job,
)
from showtell.cluster.output import PartResult
from showtell.cluster.parts import JobPart, part_size, sample_parts
from showtell.cluster.ray_cluster import LOCAL, cluster_address, connect_ray, one_line_errors
from showtell.cluster.storage import Storage
from showtell.cluster.summary import (
    SUMMARY_FILE,
    JobNames,
    JobSummary,
    RunStatistics,
    summarise_job,
)
from showtell.cluster.worker import CaptionWorker, WorkerSetup
from showtell.data.shards.index import OnBroken
from showtell.decoding.options import Decoding
from showtell.errors import ShowtellError
from showtell.files.printable_names import printable
from showtell.files.remote import is_remote

logger = logging.getLogger(__name__)

_PARTS_IN_FLIGHT = 2  # per actor: the current part and the next one

Report = Callable[[int, int | None], None]


@dataclass(frozen=True)
class JobOptions:
    """The options of `showtell cluster caption`, each under the same name.

    `decoding` holds the decoding options of `Captioner.caption`. `address` is that of a running
    Ray cluster, `auto` for the one that Ray finds, or `local` for this machine alone.
    `concurrency` is the number of workers, one core each, by default all cores. `part_size` is
    the number of photos per part, by default what keeps all workers busy.
    `kind` is the kind of input, detected by default. `column`, `name_column` and `root` are for
    Parquet: the columns of photos and names, and where relative paths begin. `limit` captions
    only the first photos, `sample` a fraction of all photos. `on_broken` says what happens if a
    subfolder of a folder cannot be listed: `fail`, or `skip` to leave it out with a warning.
    `price_per_core_hour` adds the cost to the summary.
    Raises ValueError if an option is out of range or two options exclude each other.
    """

    model: str | None = None
    kind: InputKind | None = None
    column: str | None = None
    name_column: str | None = None
    root: Path | str | None = None
    address: str | None = None
    concurrency: int | None = None
    batch_size: int = BATCH_SIZE
    part_size: int | None = None
    limit: int | None = None
    sample: float | None = None
    on_broken: OnBroken = "fail"
    price_per_core_hour: float | None = None
    decoding: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("concurrency", "batch_size", "part_size", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: must be at least 1, not {value}")
        if self.sample is not None and not 0 < self.sample <= 1:
            raise ValueError(f"sample: must be above 0 and at most 1, not {self.sample}")
        if self.limit is not None and self.sample is not None:
            raise ValueError("limit and sample exclude each other: give only one")
        if self.price_per_core_hour is not None and not 0 <= self.price_per_core_hour < math.inf:
            raise ValueError(
                f"price_per_core_hour: must be at least 0, not {self.price_per_core_hour}"
            )
        if self.decoding.get("strategy") == "sample":
            raise ValueError(
                "strategy: sample depends on a photo's position, which parts do not keep: choose"
                " beam, diverse or mbr"
            )

    @property
    def is_trial(self) -> bool:
        """Whether only a part of the input is captioned."""
        return self.limit is not None or self.sample is not None


class CaptionActor(CaptionWorker):
    """A worker that gets the model from Ray's object store, which sends it once per machine."""

    def __init__(self, setup: WorkerSetup, bundle: ray.ObjectRef[dict[str, bytes]]) -> None:
        super().__init__(setup, ray.get(bundle))


def caption_all(
    input: Path | str,
    output: Path | str,
    options: JobOptions,
    report: Report | None = None,
) -> JobSummary:
    """Caption the photos of `input` into Parquet files in the folder `output`, or resume that.

    `report` gets the number of finished photos and of all photos, None if that is unknown. What is
    there already and the start of Ray are logged. The summary is also written to
    `_summary.json`. Raises ShowtellError if the input has no photos, `output` holds another job or
    cannot be written, or there is no cluster; ValueError if an option is out of range.
    """
    started = time.monotonic()
    job = _prepare(input, Storage.of(output), options)
    run = RunStatistics(options.concurrency or usable_cores(), 0, 0.0, 0.0)
    if not job.is_complete:
        job.log_start()
        with connect_ray(cluster_address(options.address), options.concurrency) as cores:
            workers = options.concurrency or cores
            if job.spec is None:
                job.divide_and_save(part_size(job.wanted_photos(), workers, options.batch_size))
            clean_partial(job.storage)
            job.check_listing()
            run = _caption_parts(job, workers, report or (lambda *_: None), started)
    if not job.is_complete:
        raise ShowtellError(
            f"Ray lost {len(job.unfinished())} of {len(job.parts)} parts: run the same command"
            " again to caption them"
        )
    return _write_summary(job, run)


@dataclass
class _Job:
    """A job that is being prepared, run or resumed; `spec` is None until its parts are known."""

    job_input: JobInput
    storage: Storage
    options: JobOptions
    bundle: Bundle
    decoding: Decoding
    spec: JobSpec | None = None
    parts: list[JobPart] = field(default_factory=list)
    results: dict[int, PartResult] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether all parts are finished."""
        return self.spec is not None and not self.unfinished()

    @property
    def photos(self) -> int | None:
        """How many photos the parts have; None if that is unknown."""
        counts = [part.photos for part in self.parts]
        return None if None in counts else sum(count or 0 for count in counts)

    @property
    def finished_photos(self) -> int:
        """How many photos are in finished parts."""
        return sum(result.photos for result in self.results.values())

    def log_start(self) -> None:
        """Log how many photos of a resumed job are there, and that Ray is started."""
        if self.spec is not None:
            of_all = "" if self.photos is None else f" of {self.photos:,}"
            logger.info("resuming: %s%s photos are there", f"{self.finished_photos:,}", of_all)
        if cluster_address(self.options.address) == LOCAL:
            logger.info("starting Ray on this machine")

    def unfinished(self) -> list[JobPart]:
        """Return the parts without a result."""
        return [part for part in self.parts if part.number not in self.results]

    def divide_and_save(self, size: int) -> None:
        """Divide the input of a new job and save the job."""
        self._divide(self.options.part_size or size).save(self.storage)

    def resume(self, saved: JobSpec) -> None:
        """Divide the input as a saved job did and find its finished parts.

        Raises DatasetError if the saved job is another one.
        """
        spec = self._divide(self.options.part_size or saved.part_size)
        check_same_job(self.storage, saved, spec)
        self.results = finished_parts(self.storage, spec, self.parts)

    def check_listing(self) -> None:
        """Compare a folder's listing with the job, and list the photos again if it is damaged.

        Raises ListingError if it still is not the job's, because the folder changed meanwhile.
        """
        if self.job_input.kind != "folder":
            return
        try:
            self.parts = check_listing(self.storage, self.job_input.digest, self.parts)
        except ListingError as error:
            shown = printable(self.storage.job_files.address)
            logger.warning("%s/%s: %s: listing the photos again", shown, LISTING, error.fault)
            address = self.job_input.address
            photos = FolderPhotos(
                address if is_remote(address) else Path(address),
                skip_unlistable=self.options.on_broken == "skip",
            )
            write_listing(self.storage, photos)
            self.parts = check_listing(self.storage, self.job_input.digest, self.parts)

    def wanted_photos(self) -> int | None:
        """Return how many photos the job captions; None if that is unknown."""
        photos, limit = self.job_input.photos, self.options.limit
        if photos is None or limit is None:
            return limit if photos is None else photos
        return min(photos, limit)

    def _divide(self, size: int) -> JobSpec:
        options, job_input = self.options, self.job_input
        parts = job_input.parts(size)
        if options.limit is not None:
            parts = limit_parts(job_input, parts, options.limit)
        if options.sample is not None:
            parts = sample_parts(parts, options.sample)
        self.parts = parts
        self.spec = JobSpec(
            input=job_input.address,
            kind=job_input.kind,
            columns=None if job_input.columns is None else asdict(job_input.columns),
            root=job_input.root,
            digest=job_input.digest,
            batch_size=options.batch_size,
            part_size=size,
            parts=len(parts),
            limit=options.limit,
            sample=options.sample,
            model=self.bundle.manifest.name,
            model_sha256=sha256(self.bundle.file(MANIFEST)),
            decoding=asdict(self.decoding),
        )
        return self.spec


def _prepare(address: Path | str, storage: Storage, options: JobOptions) -> _Job:
    """Open the model and the input of a job, and resume the job in its folder, if there is one."""
    bundle = load_bundle(find_bundle(options.model))
    decoding = Decoding.of(bundle.manifest.decoding, **options.decoding)
    is_local = cluster_address(options.address) == LOCAL
    saved = load_job(storage)
    job_input = open_input(
        address if is_local else absolute_address(address),
        storage,
        kind=options.kind,
        parquet=ParquetOptions(options.column, options.name_column, options.root),
        list_photos=saved is None,
        skip_unlistable=options.on_broken == "skip",
    )
    if job_input.kind == "parquet" and f"{storage.address}/".startswith(
        f"{absolute_address(address)}/"
    ):
        raise ShowtellError(f"{storage.address}: OUTPUT must not be inside INPUT")
    job = _Job(job_input, storage, options, bundle, decoding)
    if saved is not None:
        job.resume(saved)
    return job


def _write_summary(job: _Job, run: RunStatistics) -> JobSummary:
    summary = summarise_job(
        job.results.values(),
        run,
        JobNames(job.job_input.address, job.storage.address, job.bundle.manifest.name),
        price=job.options.price_per_core_hour,
        whole=total_photos(job.job_input) if job.options.is_trial else None,
    )
    job.storage.write(SUMMARY_FILE, summary.to_json().encode())
    return summary


def _caption_parts(job: _Job, workers: int, report: Report, started: float) -> RunStatistics:
    """Caption the unfinished parts on a pool of actors and add their results to the job."""
    parts = job.unfinished()
    workers = min(workers, len(parts))
    report(job.finished_photos, job.photos)
    first_start = last_end = time.monotonic()
    photos = 0
    with one_line_errors():
        for result in _run_actors(job, parts, workers):
            last_end = time.monotonic()
            start = last_end - result.seconds
            first_start = min(first_start, start) if photos else start
            photos += result.photos
            job.results[result.number] = result
            report(job.finished_photos, job.photos)
    return RunStatistics(workers, photos, last_end - first_start, first_start - started)


def _run_actors(job: _Job, parts: Sequence[JobPart], workers: int) -> Iterator[PartResult]:
    """Yield the results of parts as actors finish them.

    Raises ShowtellError if an actor cannot go on, for example on a full disk.
    """
    assert job.spec is not None
    is_local = cluster_address(job.options.address) == LOCAL
    setup = WorkerSetup(
        job_id=job.spec.id,
        job_input=replace(job.job_input, files=()),
        storage=job.storage,
        options=job.options.decoding,
        batch_size=job.options.batch_size,
        folder=str(Path.cwd()) if is_local else None,
    )
    bundle = job.bundle
    files = {name: bundle.file(name).read_bytes() for name in [*bundle.manifest.files, MANIFEST]}
    rows = ray.data.from_items(
        [{"part": json.dumps(asdict(part))} for part in parts],
        override_num_blocks=len(parts),  # Ray schedules and retries whole blocks
    ).map_batches(
        CaptionActor,
        batch_size=1,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(
            size=workers, max_tasks_in_flight_per_actor=_PARTS_IN_FLIGHT
        ),
        fn_constructor_args=(setup, ray.put(files)),
    )
    for row in rows.iter_rows():
        result = json.loads(row["result"])
        if "stopped" in result:
            raise ShowtellError(result["stopped"])
        yield PartResult(**result)
