"""The worker of a job: it loads the captioner once and captions parts."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from showtell.bundle import load_bundle
from showtell.caption import Caption
from showtell.captioner import Captioner
from showtell.cluster.attempts import CRASHING, PartAttempts
from showtell.cluster.failure_reasons import count_failures
from showtell.cluster.inputs import JobInput
from showtell.cluster.output import PartResult, part_bytes
from showtell.cluster.parts import JobPart
from showtell.cluster.reading import PartPhoto, PartReader
from showtell.cluster.storage import Storage
from showtell.errors import DatasetError, ShowtellError
from showtell.files.peak_memory import peak_memory


@dataclass(frozen=True)
class WorkerSetup:
    """What every worker gets. Relative paths begin at `folder`, if it is set.

    `options` are those of `Captioner.caption`.
    """

    job_id: str
    job_input: JobInput
    storage: Storage
    options: dict[str, Any]
    batch_size: int
    folder: str | None


class CaptionWorker:
    """An actor of a Ray Data pool, with one core, that captions parts."""

    def __init__(self, setup: WorkerSetup, bundle: dict[str, bytes]) -> None:
        if setup.folder is not None:
            os.chdir(setup.folder)
        warnings.filterwarnings("ignore", module=r"PIL\.")
        self._setup = setup
        # The model comes with the job, so that all machines have it and have the same.
        with tempfile.TemporaryDirectory(prefix="showtell-model-") as folder:
            for name, data in bundle.items():
                Path(folder, name).write_bytes(data)
            self._captioner = Captioner(load_bundle(Path(folder)), threads=1)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Caption a batch of parts, each as JSON, and return their results as JSON."""
        return {"result": [self._result_json(part) for part in batch["part"]]}

    def _result_json(self, part: str) -> str:
        try:
            return json.dumps(asdict(self.caption(JobPart(**json.loads(part)))))
        except (ShowtellError, OSError) as error:  # Ray would show a traceback
            return json.dumps({"stopped": str(error)})

    def caption(self, part: JobPart) -> PartResult:
        """Caption a part and write its output file.

        Raises DatasetError, and writes nothing, if it is unknown which photos the part has.
        """
        storage = self._setup.storage
        start, cpu_start = time.perf_counter(), time.process_time()
        attempts = PartAttempts(storage, part.number)
        attempts.begin()
        reader = PartReader(self._setup.job_input, part, storage)
        try:
            if attempts.one_by_one:
                records = list(self._caption_one_by_one(reader, attempts))
            else:
                records = list(self._caption_batches(reader))
            failures = count_failures(records)
            if failures:
                reader.check_folders()
        except DatasetError:  # no crash: the next attempt is the first again
            with contextlib.suppress(DatasetError):
                attempts.end()
            raise
        result = PartResult(
            number=part.number,
            source=part.source,
            start=part.start,
            captioned=len(records) - sum(failures.values()),
            reasons=failures,
            seen=reader.seen,
            seconds=time.perf_counter() - start,
            cpu=time.process_time() - cpu_start,
            reading=reader.seconds,
            memory=peak_memory(),
        )
        writing_start = time.perf_counter()
        storage.write(part.name, part_bytes(records, self._setup.job_id, result))
        attempts.end()
        end = time.perf_counter()
        return replace(result, seconds=end - start, writing=end - writing_start)

    def _caption_batches(self, reader: PartReader) -> Iterator[dict[str, Any]]:
        names: deque[str] = deque()

        def photos() -> Iterator[PartPhoto]:
            for name, photo in reader:
                names.append(name)
                yield photo

        for caption in self._captioner.caption(
            photos(), batch_size=self._setup.batch_size, **self._setup.options
        ):
            yield _record(caption, names.popleft())

    def _caption_one_by_one(
        self, reader: PartReader, attempts: PartAttempts
    ) -> Iterator[dict[str, Any]]:
        for index, (name, photo) in enumerate(reader):
            if attempts.is_crashing(index):
                yield _record(Caption(error=f"{name}: {CRASHING}"), name)
                continue
            attempts.start_photo(index)
            [caption] = self._captioner.caption([photo], **self._setup.options)
            yield _record(caption, name)


def _record(caption: Caption, name: str) -> dict[str, Any]:
    """Return the fields of a caption as in JSON lines, under the photo's name."""
    return caption.to_dict(keywords=True) | {"path": name}
