"""What runs on a cluster's cores: an actor that loads the captioner once and captions parts."""

from __future__ import annotations

import json
import os
import resource
import sys
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
from showtell.cluster.attempts import DEADLY, Tries
from showtell.cluster.inputs import Input, Part
from showtell.cluster.output import PartResult, part_bytes, reasons
from showtell.cluster.reading import OpenPhoto, PartReader
from showtell.cluster.storage import Storage
from showtell.errors import ShowtellError


@dataclass(frozen=True)
class Work:
    """What every worker is told; `folder` is where relative paths begin, if they do."""

    job: str
    source: Input
    storage: Storage
    options: dict[str, Any]
    batch_size: int
    folder: str | None


class CaptionParts:
    """An actor of a Ray Data pool, with one core: it captions the parts that it is given."""

    def __init__(self, work: Work, bundle: dict[str, bytes]) -> None:
        if work.folder is not None:
            os.chdir(work.folder)
        warnings.filterwarnings("ignore", module=r"PIL\.")
        self._work = work
        # The model comes with the job: no machine needs to have it, and all have the same.
        with tempfile.TemporaryDirectory(prefix="showtell-model-") as folder:
            for name, data in bundle.items():
                Path(folder, name).write_bytes(data)
            self._captioner = Captioner(load_bundle(Path(folder)), threads=1)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Caption a batch of parts, each given as JSON; return their results as JSON."""
        return {"result": [self._answer(Part(**json.loads(part))) for part in batch["part"]]}

    def _answer(self, part: Part) -> str:
        try:
            return json.dumps(asdict(self.caption(part)))
        except (ShowtellError, OSError) as error:  # Ray would show it as a traceback
            return json.dumps({"stopped": str(error)})

    def caption(self, part: Part) -> PartResult:
        """Caption a part and write it."""
        start, cpu = time.perf_counter(), time.process_time()
        tries = Tries(self._work.storage, part.number)
        tries.begin()
        reader = PartReader(self._work.source, part, self._work.storage)
        records = list(self._one_by_one(reader, tries) if tries.one_by_one else self._all(reader))
        failed = reasons(records)
        result = PartResult(
            part.number,
            part.source,
            part.start,
            len(records) - sum(failed.values()),
            failed,
            seen=reader.seen,
            seconds=time.perf_counter() - start,
            cpu=time.process_time() - cpu,
            reading=reader.seconds,
            memory=_most_memory(),
        )
        writing = time.perf_counter()
        data = part_bytes(records, self._work.job, result)
        self._work.storage.write(part.name, data)
        tries.end()
        end = time.perf_counter()
        return replace(result, seconds=end - start, writing=end - writing)

    def _all(self, reader: PartReader) -> Iterator[dict[str, Any]]:
        names: deque[str] = deque()

        def photos() -> Iterator[OpenPhoto]:
            for name, photo in reader:
                names.append(name)
                yield photo

        for caption in self._captioner.caption(
            photos(), batch_size=self._work.batch_size, **self._work.options
        ):
            yield _record(caption, names.popleft())

    def _one_by_one(self, reader: PartReader, tries: Tries) -> Iterator[dict[str, Any]]:
        for place, (name, photo) in enumerate(reader):
            if tries.is_deadly(place):
                yield _record(Caption(error=f"{name}: {DEADLY}"), name)
                continue
            tries.at(place)
            [caption] = self._captioner.caption([photo], **self._work.options)
            yield _record(caption, name)


def _record(caption: Caption, name: str) -> dict[str, Any]:
    """Return a caption's fields as a line of JSONL has them, under the photo's name."""
    return caption.to_dict() | {"path": name}


def _most_memory() -> int:
    """Return the most bytes that this process has held."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
