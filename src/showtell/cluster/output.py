"""The Parquet files of a job: a caption's fields, and in the footer which photos a part holds.

Written by the worker that captions the part, and not by `Dataset.write_parquet`: that names files
by a random number and cuts them where blocks happen to end, so that a write that is tried again
cannot be told from another one. Here a part has one name, whoever writes it and however often.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from showtell.cluster.storage import Storage
from showtell.errors import DatasetError

_KEY = b"showtell"


@dataclass(frozen=True)
class PartResult:
    """What became of a part: photos captioned and failed, and what it took the worker.

    `seen` counts a sample's photos with those that were left out; `reading` and `writing` are the
    seconds that the captioner waited, out of `seconds` in all, `cpu` those of the processor, which
    do not depend on what else a machine does; `memory` is the most bytes that the
    worker had held by then.
    """

    number: int
    source: str
    start: int
    captioned: int
    reasons: dict[str, int] = field(default_factory=dict)
    seen: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    reading: float = 0.0
    writing: float = 0.0
    memory: int = 0

    @property
    def failed(self) -> int:
        """How many photos have an error."""
        return sum(self.reasons.values())

    @property
    def photos(self) -> int:
        """How many rows the part has."""
        return self.captioned + self.failed


def part_bytes(records: Sequence[dict[str, Any]], job: str, result: PartResult) -> bytes:
    """Return captions as a Parquet file, whose footer says which job's part it is."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    alternative = pa.struct([("text", pa.string()), ("log_probability", pa.float64())])
    schema = pa.schema(
        [
            ("path", pa.string()),
            ("text", pa.string()),
            ("log_probability", pa.float64()),
            ("confidence", pa.float64()),
            ("alternatives", pa.list_(alternative)),
            ("error", pa.string()),
        ],
        metadata={_KEY: json.dumps({"job": job, **asdict(result)}).encode()},
    )
    table = pa.Table.from_pylist([_writable(record) for record in records], schema=schema)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def read_result(storage: Storage, name: str, job: str) -> PartResult | None:
    """Return what a part's footer says; None where it is damaged, or another job's."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with storage.opened(name) as file:
            kept = json.loads((pq.read_metadata(file).metadata or {})[_KEY])
        if kept.pop("job") != job:
            return None
        return PartResult(**kept)
    except (DatasetError, pa.ArrowException, KeyError, ValueError, TypeError):
        return None


def reason_of_failure(record: dict[str, Any]) -> str:
    """Return an error without the photo's name and its particulars, to count it with its like."""
    from showtell.files.printable_names import printable

    reason = str(record["error"]).removeprefix(f"{printable(record['path'])}: ")
    return re.sub(r"\d[\d,]*", "N", reason.partition(" (")[0].partition(": ")[0])


def reasons(records: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Count records with an error by its reason, the most frequent first."""
    failed = (reason_of_failure(record) for record in records if record["error"] is not None)
    return dict(Counter(failed).most_common())


def _writable(record: dict[str, Any]) -> dict[str, Any]:
    """Spell out the bytes of a path that are no UTF-8: Parquet's text holds nothing else."""
    return record | {"path": record["path"].encode("utf-8", "backslashreplace").decode("utf-8")}
