"""The Parquet files of a job: captions, and in the footer which photos the part holds.

Workers write them, not `Dataset.write_parquet`: that uses random file names and cuts files where
blocks happen to end, so that the result of a retried write cannot be recognised. Here a part
always has the same name and the same content.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from showtell.cluster.storage import Storage
from showtell.errors import DatasetError
from showtell.files.typed_settings import load_settings

_METADATA_KEY = b"showtell"


@dataclass(frozen=True)
class PartResult:
    """The result of a part: how many photos were captioned and failed, and what it cost.

    `reasons` counts the failed photos by reason; `seen` includes the photos that a sample leaves
    out. `seconds` is the wall time, of which the captioner waited `reading` seconds for photos
    and `writing` seconds for the output; `cpu` is processor time. `memory` is the worker's peak
    in bytes.
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


def part_bytes(records: Sequence[dict[str, Any]], job_id: str, result: PartResult) -> bytes:
    """Return captions as a Parquet file, with the job and the result in its footer."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    alternative = pa.struct([("text", pa.string()), ("log_probability", pa.float64())])
    keyword = pa.struct([("word", pa.string()), ("probability", pa.float64())])
    schema = pa.schema(
        [
            ("path", pa.string()),
            ("text", pa.string()),
            ("log_probability", pa.float64()),
            ("confidence", pa.float64()),
            ("alternatives", pa.list_(alternative)),
            ("keywords", pa.list_(keyword)),
            ("error", pa.string()),
        ],
        metadata={_METADATA_KEY: json.dumps({"job": job_id, **asdict(result)}).encode()},
    )
    table = pa.Table.from_pylist([_utf8_record(record) for record in records], schema=schema)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def read_result(storage: Storage, name: str, job_id: str) -> PartResult | None:
    """Return the result in a part's footer; None if it is damaged or belongs to another job.

    The rows are read too, because only their checksums show that a byte has changed.
    """
    import pyarrow.parquet as pq

    try:
        with storage.opened(name) as file:
            part = pq.ParquetFile(file, page_checksum_verification=True)
            fields = json.loads((part.metadata.metadata or {})[_METADATA_KEY])
            if fields.pop("job") != job_id:
                return None
            part.read()
        return load_settings(PartResult, fields, error=DatasetError)
    except (DatasetError, KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def _utf8_record(record: dict[str, Any]) -> dict[str, Any]:
    """Escape the bytes of a path that are not UTF-8, which Parquet's text cannot hold."""
    return record | {"path": record["path"].encode("utf-8", "backslashreplace").decode("utf-8")}
